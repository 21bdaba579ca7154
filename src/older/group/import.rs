//! Groups that are brought along from elsewhere, with their members and messages (`docs/protocols/group.md §2, §5`): rows of
//! the [`Repository`], written by its own code. Whoever is brought along has read what was: nothing counts as unread.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use jiff::tz::TimeZone;

use crate::{
    clock::Clock,
    ids::Timestamp,
    limits,
    older::group::{
        code::Code,
        membership::{GroupInfo, Member, Membership, is_user},
        message::{GroupMessage, digest, message_id, to_json},
        repository::{self, At, Numbers, Repository},
    },
    store::{
        Batch, Store, StoreError,
        import::{Importer, Kind, Names, Outcome, Record, needed},
    },
};

const GROUP: Names = &["group_id", "id", "_id"];
const NAME: Names = &["name", "group_name"];
const OWNER: Names = &["owner_id", "creator_id"];
const MEMBERS: Names = &["member_ids", "members"];
const USER: Names = &["user_id", "member_id"];
const NICKNAME: Names = &["name", "nickname", "user_name"];
const AVATAR: Names = &["avatar"];
const JOINED: Names = &["joined_at", "created_at"];
const ID: Names = &["message_id", "id", "_id"];
const OF_GROUP: Names = &["group_id"];
const SENDER: Names = &["sender_id", "user_id"];
const SENDER_NAME: Names = &["sender_name"];
const SENDER_AVATAR: Names = &["sender_avatar"];
const KIND: Names = &["msg_type", "message_type", "type"];
const CONTENT: Names = &["content"];
const IMAGE: Names = &["image_url"];
const CREATED: Names = &["created_at", "timestamp"];

/// See the module.
pub struct Import {
    repository: Repository,
    membership: Membership,
    /// The last number of each second that has one.
    last: HashMap<u64, u64>,
    highest: u64,
    clock: Clock,
    /// Of times that do not say theirs.
    zone: TimeZone,
    age: Duration,
    /// Messages are judged and not written.
    is_dry: bool,
}

type Judged = Result<Result<Outcome, String>, StoreError>;

impl Import {
    /// # Errors
    /// When the rows of the groups cannot be read.
    pub fn open(
        store: Arc<dyn Store>,
        clock: Clock,
        zone: TimeZone,
        age: Duration,
        is_dry: bool,
    ) -> Result<Self, StoreError> {
        let repository = Repository::new(store);
        let membership = repository.membership()?;
        let mut last: HashMap<u64, u64> = HashMap::new();
        repository.each_number(|number| {
            let newest = last.entry(second_of(number)).or_default();
            *newest = number.max(*newest);
        })?;
        Ok(Self { repository, membership, last, highest: 0, clock, zone, age, is_dry })
    }

    fn time(&self, record: &Record, names: Names) -> Result<Option<Timestamp>, String> {
        let time = record.time(names, &self.zone)?;
        if time.is_some_and(|time| time > self.clock.now()) {
            return Err(format!("{} lies in the future", names.first().unwrap_or(&"a time")));
        }
        Ok(time)
    }

    fn group(&mut self, record: &Record, batch: &mut Batch) -> Result<Outcome, String> {
        let id = needed(record.text(GROUP)?, GROUP)?;
        let members = record.list(MEMBERS)?;
        let created = self.time(record, CREATED)?.unwrap_or_else(|| self.clock.now());
        let info = GroupInfo {
            name: record.text(NAME)?.unwrap_or_default(),
            owner_id: record.text(OWNER)?.unwrap_or_default(),
            created_at: created.millis() / 1_000,
            is_open: false,
        };
        self.membership.may_put(&id).map_err(|code| why(&code))?;
        self.membership.may_add(&id, members.iter().map(String::as_str)).map_err(|code| why(&code))?;
        let mut outcome = Outcome::Known;
        if self.membership.get(&id).is_none() {
            *batch = repository::put_group(std::mem::take(batch), &id, &info);
            self.membership.put(&id, info);
            outcome = Outcome::New;
        }
        for user in members {
            if self.membership.member(&id, &user).is_none() {
                let member = Member { joined_at: created.millis() / 1_000, ..Member::default() };
                self.add(&id, &user, member, batch);
                outcome = Outcome::New;
            }
        }
        Ok(outcome)
    }

    fn member(&mut self, record: &Record, batch: &mut Batch) -> Result<Outcome, String> {
        let (group, user) = (needed(record.text(GROUP)?, GROUP)?, needed(record.text(USER)?, USER)?);
        let joined = self.time(record, JOINED)?.unwrap_or_else(|| self.clock.now());
        let member = Member {
            name: record.text(NICKNAME)?.unwrap_or_default(),
            avatar: record.text(AVATAR)?.unwrap_or_default(),
            joined_at: joined.millis() / 1_000,
            ..Member::default()
        };
        if self.membership.get(&group).is_none() {
            return Err(no_group(&group));
        }
        self.membership.may_add(&group, [&*user]).map_err(|code| why(&code))?;
        if self.membership.member(&group, &user).is_some() {
            return Ok(Outcome::Known);
        }
        self.add(&group, &user, member, batch);
        Ok(Outcome::New)
    }

    /// Nothing of what was brought along is unread; who comes back misses what came since it joined.
    fn add(&mut self, group: &str, user: &str, member: Member, batch: &mut Batch) {
        let joined_after = Numbers::first_of(Timestamp::from_millis(member.joined_at * 1_000));
        let member = Member { joined_after, read: Numbers::first_of(self.clock.now()), ..member };
        *batch = repository::put_member(std::mem::take(batch), group, user, &member);
        *batch = repository::put_marker(std::mem::take(batch), group, user, member.read);
        self.membership.add(group, user, member);
    }

    fn message(&self, record: &Record) -> Result<(GroupMessage, Timestamp), String> {
        let group_id = needed(record.text(OF_GROUP)?, OF_GROUP)?;
        let sender_id = needed(record.text(SENDER)?, SENDER)?;
        if !is_user(&sender_id) {
            return Err(why(&Code::BadFormat));
        }
        if self.membership.get(&group_id).is_none() {
            return Err(no_group(&group_id));
        }
        let sender = self.membership.member(&group_id, &sender_id);
        let (content, image_url) = (record.text(CONTENT)?, record.text(IMAGE)?);
        let msg_type = match record.integer(KIND)?.unwrap_or(1) {
            1 if content.is_none() => return Err("content is missing".to_owned()),
            2 if image_url.is_none() => return Err("image_url is missing, and msg_type is 2".to_owned()),
            1 => 1,
            2 => 2,
            other => return Err(format!("msg_type is {other}, and not 1 (text) or 2 (image)")),
        };
        let created = needed(self.time(record, CREATED)?, CREATED)?;
        let of_sender = |names, of: fn(&Member) -> &String| -> Result<String, String> {
            Ok(record.text(names)?.or_else(|| sender.map(of).cloned()).unwrap_or_default())
        };
        let mut message = GroupMessage {
            message_id: record.text(ID)?.unwrap_or_default(),
            sender_name: of_sender(SENDER_NAME, |member| &member.name)?,
            sender_avatar: of_sender(SENDER_AVATAR, |member| &member.avatar)?,
            group_id,
            sender_id,
            msg_type,
            content: content.unwrap_or_default(),
            image_url: image_url.unwrap_or_default(),
            created_at: created.millis() / 1_000,
        };
        if message.message_id.is_empty() {
            // The same row has the same id again.
            let sent = digest(&message.sender_id, &message.group_id, "", &to_json(&message));
            message.message_id = message_id(&sent, created.millis());
        }
        let size = to_json(&message).len();
        if message.message_id.len() > limits::MESSAGE_ID_BYTES {
            return Err(format!("message_id is longer than {} bytes", limits::MESSAGE_ID_BYTES));
        }
        if size > limits::GROUP_MESSAGE_BYTES {
            return Err(format!("it has {size} bytes, and may have {}", limits::GROUP_MESSAGE_BYTES));
        }
        Ok((message, created))
    }

    fn put_message(&mut self, record: &Record, new: &mut HashSet<String>, batch: &mut Batch) -> Judged {
        let (message, created) = match self.message(record) {
            Ok(read) => read,
            Err(reason) => return Ok(Err(reason)),
        };
        match self.repository.find(&message.message_id)? {
            Some((_, group)) if group != message.group_id => {
                return Ok(Err(format!("a message of the group {group} has this message_id")));
            }
            Some(_) => return Ok(Ok(Outcome::Known)),
            None if new.contains(&message.message_id) => return Ok(Ok(Outcome::Known)),
            None => {}
        }
        let oldest = self.clock.now().millis().saturating_sub(self.age.as_millis() as u64);
        if !self.age.is_zero() && created.millis() < oldest {
            return Ok(Ok(Outcome::TooOld));
        }
        // Numbers say when, and each is one message's in all groups.
        let first = Numbers::first_of(created);
        let last = self.last.entry(second_of(first)).or_default();
        let number = first.max(*last + 1);
        *last = number;
        self.highest = number.max(self.highest);
        *batch = repository::put_message(std::mem::take(batch), At::Number(number), &message, &to_json(&message));
        new.insert(message.message_id);
        Ok(Ok(Outcome::New))
    }

    async fn put_all(&mut self, kind: Kind, records: &[Record]) -> Result<Vec<Outcome>, StoreError> {
        let (mut batch, mut outcomes, mut new) = (Batch::new(), Vec::new(), HashSet::new());
        for record in records {
            let outcome = match kind {
                Kind::Messages => self.put_message(record, &mut new, &mut batch),
                Kind::Groups => Ok(self.group(record, &mut batch)),
                Kind::Members | Kind::Participants => Ok(self.member(record, &mut batch)),
            };
            outcomes.push(outcome?.unwrap_or_else(Outcome::Bad));
        }
        if kind != Kind::Messages || !self.is_dry {
            let batch = self.repository.go_on_behind(self.highest, batch)?;
            self.repository.commit(batch).await?;
        }
        Ok(outcomes)
    }
}

impl Importer for Import {
    fn columns(&self, kind: Kind) -> &'static [Names] {
        match kind {
            Kind::Groups => &[GROUP, NAME, OWNER, MEMBERS, CREATED],
            Kind::Members => &[GROUP, USER, NICKNAME, AVATAR, JOINED],
            Kind::Messages => &[ID, OF_GROUP, SENDER, SENDER_NAME, SENDER_AVATAR, KIND, CONTENT, IMAGE, CREATED],
            Kind::Participants => &[],
        }
    }

    fn put<'i>(&'i mut self, kind: Kind, records: &'i [Record]) -> BoxFuture<'i, Result<Vec<Outcome>, StoreError>> {
        self.put_all(kind, records).boxed()
    }
}

const fn second_of(number: u64) -> u64 {
    Numbers::time_of(number).millis() / 1_000
}

fn no_group(group: &str) -> String {
    format!("there is no group {group}: bring --groups along first")
}

/// For the operator.
fn why(code: &Code) -> String {
    match code {
        Code::BadGroup => format!(
            "this can be the id of no group: 1 to {} bytes without control characters, not u:…",
            limits::GROUP_NAME_BYTES
        ),
        Code::BadFormat => {
            format!("this can be the id of no user: 1 to {} bytes without control characters", limits::GROUP_NAME_BYTES)
        }
        _ => format!(
            "too many: {} groups, {} members of a group, {} groups of a user",
            limits::GROUPS,
            limits::GROUP_MEMBERS,
            limits::GROUPS_OF_USER
        ),
    }
}
