//! Which groups there are and who is in them (`docs/protocols/group.md §2, §5`). Pure: `groups` puts it behind a lock and on
//! disk.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    actors::accounts::{Account, Kind, Tab},
    config, limits,
    older::group::code::Code,
};

/// What is known of a group beside its members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInfo {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub owner_id: String,
    /// Unix seconds.
    pub created_at: u64,
    /// Somebody made it by joining: others may join as well while `open_groups` allows it.
    #[serde(default)]
    pub is_open: bool,
}

/// A user in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub avatar: String,
    /// Unix seconds.
    pub joined_at: u64,
    /// The last number that was given when it joined: messages with later ones can be unread.
    #[serde(default)]
    pub joined_after: u64,
    /// The last message that it has read; has a row of its own.
    #[serde(skip)]
    pub read: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Group {
    pub info: GroupInfo,
    pub members: BTreeMap<Arc<str>, Member>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Membership {
    groups: HashMap<Arc<str>, Group>,
    of_user: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    tab: Tab,
}

impl GroupInfo {
    fn cost(&self, group: &str) -> usize {
        limits::GROUP_COST + 2 * group.len() + self.name.len() + self.owner_id.len()
    }
}

impl Member {
    fn cost(&self, user: &str) -> usize {
        cost_of_member(user, &self.name, &self.avatar)
    }

    /// Messages up to this one are not unread.
    pub fn seen(&self) -> u64 {
        self.read.max(self.joined_after)
    }
}

/// What a member costs in memory, in bytes.
fn cost_of_member(user: &str, name: &str, avatar: &str) -> usize {
    limits::GROUP_MEMBER_COST + user.len() + name.len() + avatar.len()
}

/// What can be the name of a group. Not `u:…`: those channels are for one user each.
pub fn is_group(name: &str) -> bool {
    is_user(name) && !name.starts_with("u:")
}

/// What can be the name of a user.
pub fn is_user(name: &str) -> bool {
    !name.is_empty() && name.len() <= limits::GROUP_NAME_BYTES && !name.chars().any(char::is_control)
}

impl Membership {
    /// `account` pays for what there is, whatever its limit, and for what comes.
    pub fn charge_to(&mut self, account: Account) {
        let mut tab = Tab::new(account, Kind::Membership);
        tab.add_anyway(self.tab.bytes());
        self.tab = tab;
    }

    /// Pays for what an enrolment is going to add: what is to be known of the group, and members with their names and avatars.
    ///
    /// # Errors
    /// [`Code::NoMemory`]
    pub fn reserve<'a>(
        &mut self,
        group: &str,
        info: Option<&GroupInfo>,
        members: impl IntoIterator<Item = [&'a str; 3]>,
    ) -> Result<(), Code> {
        let members = members.into_iter().map(|[user, name, avatar]| cost_of_member(user, name, avatar)).sum::<usize>();
        let bytes = members + info.map_or(0, |info| info.cost(group));
        self.tab.reserve(bytes).map_err(|full| Code::NoMemory(full.to_string()))
    }

    pub fn get(&self, group: &str) -> Option<&Group> {
        self.groups.get(group)
    }

    pub fn names(&self) -> Vec<Arc<str>> {
        self.groups.keys().cloned().collect()
    }

    pub fn member(&self, group: &str, user: &str) -> Option<&Member> {
        self.groups.get(group)?.members.get(user)
    }

    fn member_mut(&mut self, group: &str, user: &str) -> Option<&mut Member> {
        self.groups.get_mut(group)?.members.get_mut(user)
    }

    /// The groups of a user, by name.
    pub fn groups_of(&self, user: &str) -> Vec<Arc<str>> {
        let groups = self.of_user.get(user);
        groups.map_or_else(Vec::new, |groups| groups.iter().cloned().collect())
    }

    /// Whether there is, or can be, a group of this name.
    pub fn may_put(&self, group: &str) -> Result<(), Code> {
        if self.groups.contains_key(group) {
            return Ok(());
        }
        if !is_group(group) {
            return Err(Code::BadGroup);
        }
        if self.groups.len() >= limits::GROUPS { Err(Code::TooMany) } else { Ok(()) }
    }

    /// Makes a group, or changes what is known of it. Whether it may stands in [`Self::may_put`].
    pub fn put(&mut self, group: &str, info: GroupInfo) {
        self.tab.add_anyway(info.cost(group));
        match self.groups.get_mut(group) {
            Some(known) => self.tab.remove(std::mem::replace(&mut known.info, info).cost(group)),
            None => drop(self.groups.insert(group.into(), Group { info, members: BTreeMap::new() })),
        }
    }

    /// Takes back what [`Self::put`] did and what did not reach the disk, unless it was changed again: the group is
    /// as it was `before`; when it was not there, it goes, unless somebody has become a member meanwhile.
    pub fn put_back(&mut self, group: &str, written: &GroupInfo, before: Option<GroupInfo>) {
        let Some(known) = self.groups.get_mut(group).filter(|known| known.info == *written) else {
            return;
        };
        let cost = known.info.cost(group);
        match before {
            Some(before) => {
                self.tab.add_anyway(before.cost(group));
                self.tab.remove(cost);
                known.info = before;
            }
            None if known.members.is_empty() => {
                self.groups.remove(group);
                self.tab.remove(cost);
            }
            None => {}
        }
    }

    /// Whether all of these users can be members of a group together, which need not be there yet.
    ///
    /// # Errors
    /// [`Code::BadFormat`] for a user that has no name, [`Code::TooMany`].
    pub fn may_add<'a>(&self, group: &str, users: impl IntoIterator<Item = &'a str>) -> Result<(), Code> {
        let members = self.groups.get(group).map(|group| &group.members);
        let is_member = |user: &str| members.is_some_and(|members| members.contains_key(user));
        let mut new = HashSet::new();
        for user in users {
            if !is_user(user) {
                return Err(Code::BadFormat);
            }
            if is_member(user) || !new.insert(user) {
                continue;
            }
            if self.of_user.get(user).map_or(0, BTreeSet::len) >= limits::GROUPS_OF_USER {
                return Err(Code::TooMany);
            }
        }
        let members = members.map_or(0, BTreeMap::len) + new.len();
        if members > limits::GROUP_MEMBERS { Err(Code::TooMany) } else { Ok(()) }
    }

    /// Adds a member to a group that there is; whether it may stands in [`Self::may_add`]. False: it was one already, and
    /// keeps what it has, but for a name and an avatar that are new.
    pub fn add(&mut self, group: &str, user: &str, member: Member) -> bool {
        let Some((name, _)) = self.groups.get_key_value(group) else {
            return false;
        };
        let (name, user): (Arc<str>, Arc<str>) = (Arc::clone(name), user.into());
        self.of_user.entry(Arc::clone(&user)).or_default().insert(Arc::clone(&name));
        let members = &mut self.groups.entry(name).or_default().members;
        let Some(known) = members.get_mut(&user) else {
            self.tab.add_anyway(member.cost(&user));
            members.insert(user, member);
            return true;
        };
        let before = known.cost(&user);
        for (known, new) in [(&mut known.name, member.name), (&mut known.avatar, member.avatar)] {
            if !new.is_empty() {
                *known = new;
            }
        }
        self.tab.add_anyway(known.cost(&user));
        self.tab.remove(before);
        false
    }

    /// Has a user be what another node has made of it; none: no member. Whether that makes it a member, or none any more.
    pub fn set(&mut self, group: &str, user: &str, member: Option<Member>) -> bool {
        let before = self.remove(group, user);
        let Some(mut member) = member else { return before.is_some() };
        if !self.groups.contains_key(group) {
            self.put(group, GroupInfo::default());
        }
        if let Some(before) = &before {
            member.read = member.read.max(before.read);
        }
        self.add(group, user, member);
        before.is_none()
    }

    /// Has everything be as it was read; paid for by who pays for this.
    pub fn replace_by(&mut self, read: Self) {
        let before = self.tab.bytes();
        self.tab.add_anyway(read.tab.bytes());
        self.tab.remove(before);
        (self.groups, self.of_user) = (read.groups, read.of_user);
    }

    /// The groups that `others` has not got.
    pub fn all_but(&self, others: &Self) -> Vec<(Arc<str>, Group)> {
        let missing = self.groups.iter().filter(|(name, _)| !others.groups.contains_key(*name));
        missing.map(|(name, group)| (Arc::clone(name), group.clone())).collect()
    }

    /// Gives a member the name and avatar that it had.
    pub fn rename(&mut self, group: &str, user: &str, name: String, avatar: String) {
        if let Some(member) = self.groups.get_mut(group).and_then(|group| group.members.get_mut(user)) {
            let before = member.cost(user);
            (member.name, member.avatar) = (name, avatar);
            self.tab.add_anyway(member.cost(user));
            self.tab.remove(before);
        }
    }

    /// What it was.
    pub fn remove(&mut self, group: &str, user: &str) -> Option<Member> {
        let member = self.groups.get_mut(group)?.members.remove(user)?;
        self.tab.remove(member.cost(user));
        if let Some(groups) = self.of_user.get_mut(user) {
            groups.remove(group);
            if groups.is_empty() {
                self.of_user.remove(user);
            }
        }
        Some(member)
    }

    /// Moves a read marker forward; what it was before, or none when it stays where it is.
    pub fn mark(&mut self, group: &str, user: &str, number: u64) -> Option<u64> {
        let member = self.member_mut(group, user).filter(|member| member.read < number)?;
        Some(std::mem::replace(&mut member.read, number))
    }

    /// Takes a move back that did not reach the disk, unless it was moved on.
    pub fn unmark(&mut self, group: &str, user: &str, number: u64, before: u64) {
        if let Some(member) = self.member_mut(group, user).filter(|member| member.read == number) {
            member.read = before;
        }
    }

    /// Whether a user may take part (§5, membership). True: it becomes a member by that, and the group may have to be made.
    pub fn admit(&self, group: &str, user: &str, mode: config::Membership, opens: bool) -> Result<bool, Code> {
        let known = self.groups.get(group);
        if known.is_some_and(|group| group.members.contains_key(user)) {
            return Ok(false);
        }
        let is_allowed = match (mode, known) {
            (config::Membership::Anyone, _) => true,
            (config::Membership::Registry, None) => opens,
            (config::Membership::Registry, Some(group)) => opens && group.info.is_open,
        };
        match known {
            _ if is_allowed && is_group(group) => Ok(true),
            _ if is_allowed => Err(Code::BadGroup),
            Some(_) => Err(Code::NotMember),
            None => Err(Code::NoGroup),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let mut membership = Membership::default();
        membership.put("g", GroupInfo::default());
        assert!(membership.add("g", "7", Member::default()));
        membership
    }

    #[test]
    fn members_are_known_both_ways() {
        let mut membership = membership();
        membership.put("h", GroupInfo::default());
        assert!(membership.add("h", "7", Member::default()));
        assert!(!membership.add("h", "7", Member::default()));
        let groups = |membership: &Membership| membership.groups_of("7").concat();
        assert_eq!(groups(&membership), "gh");
        assert!(membership.remove("g", "7").is_some());
        assert!(membership.remove("g", "7").is_none());
        assert_eq!(groups(&membership), "h");
        membership.remove("h", "7");
        assert!(membership.groups_of("7").is_empty());
        assert!(!membership.add("none", "7", Member::default()));
        assert_eq!(membership.may_add("g", [""]), Err(Code::BadFormat));
    }

    /// Groups and members are paid for as long as they are there, and those who find no room change nothing.
    #[test]
    fn groups_and_members_are_paid_for() {
        let (mut membership, account) = (membership(), Account::server(4_000));
        membership.charge_to(account.clone());
        let before = membership.tab.bytes();
        assert!(account.kept_of(Kind::Membership) >= before && before > 2 * limits::GROUP_MEMBER_COST - 1);
        let text = "x".repeat(5_000);
        let refused = membership.reserve("h", Some(&GroupInfo::default()), [["7", &*text, ""]]);
        assert!(matches!(refused, Err(Code::NoMemory(why)) if why.contains("membership")));
        let named = |name: &str| Member { name: name.into(), ..Member::default() };
        membership.put("h", GroupInfo { name: "twelve bytes".into(), ..GroupInfo::default() });
        membership.add("h", "7", named("Wu"));
        membership.add("h", "7", named("Wu Ming"));
        membership.rename("h", "7", "W".into(), String::new());
        membership.add("h", "8", named(""));
        for user in ["7", "8"] {
            membership.remove("h", user);
        }
        let written = membership.get("h").expect("a group").info.clone();
        membership.put_back("h", &written, None);
        assert_eq!(membership.tab.bytes(), before);
        membership.remove("g", "7");
        membership.put_back("g", &GroupInfo::default(), None);
        assert_eq!((membership.tab.bytes(), account.kept()), (0, 0));
    }

    #[test]
    fn a_name_that_is_new_replaces_the_old_one() {
        let mut membership = membership();
        let named = Member { name: "Wu".into(), joined_at: 5, ..Member::default() };
        assert!(!membership.add("g", "7", named));
        let member = membership.member("g", "7").expect("a member");
        assert_eq!((member.name.as_str(), member.joined_at), ("Wu", 0));
    }

    /// findings C9: what did not reach the disk is taken back, and nothing else.
    #[test]
    fn a_group_that_was_not_written_is_forgotten() {
        let mut membership = membership();
        let named = |name: &str| GroupInfo { name: name.into(), ..GroupInfo::default() };
        membership.put("new", named("n"));
        membership.put_back("new", &named("n"), None);
        assert!(membership.get("new").is_none());
        membership.put("g", named("changed"));
        membership.put_back("g", &named("changed"), Some(named("")));
        assert_eq!(membership.get("g").map(|group| &*group.info.name), Some(""));
        // Changed again meanwhile, or somebody is in it: that counts.
        membership.put_back("g", &named("changed"), None);
        membership.put_back("g", &named(""), None);
        assert!(membership.member("g", "7").is_some());
    }

    /// findings C9: all are asked for before any is added.
    #[test]
    fn whether_all_can_be_added() {
        let mut membership = membership();
        assert_eq!(membership.may_add("g", ["7", "8", "8"]), Ok(()));
        assert_eq!(membership.may_add("g", ["8", ""]), Err(Code::BadFormat));
        for number in 1..limits::GROUPS_OF_USER {
            membership.put(&number.to_string(), GroupInfo::default());
            assert!(membership.add(&number.to_string(), "7", Member::default()));
        }
        assert_eq!(membership.may_add("g", ["7"]), Ok(()), "it is in it already");
        assert_eq!(membership.may_add("new", ["8", "7"]), Err(Code::TooMany));
        let many: Vec<String> = (0..=limits::GROUP_MEMBERS).map(|number| number.to_string()).collect();
        assert_eq!(membership.may_add("new", many.iter().map(String::as_str)), Err(Code::TooMany));
    }

    /// docs/protocols/group.md §9: an older message leaves the marker unchanged.
    #[test]
    fn markers_only_move_forward() {
        let mut membership = membership();
        assert_eq!(membership.mark("g", "7", 5), Some(0));
        assert_eq!(membership.mark("g", "7", 5), None);
        assert_eq!(membership.mark("g", "7", 3), None);
        assert_eq!(membership.mark("g", "7", 9), Some(5));
        membership.unmark("g", "7", 5, 0);
        assert_eq!(membership.member("g", "7").map(Member::seen), Some(9));
        membership.unmark("g", "7", 9, 5);
        assert_eq!(membership.member("g", "7").map(Member::seen), Some(5));
        assert_eq!(membership.mark("g", "8", 9), None);
    }

    /// docs/protocols/group.md §5, membership.
    #[test]
    fn who_may_take_part() {
        use config::Membership::{Anyone, Registry as Listed};
        let mut membership = membership();
        let open = GroupInfo { is_open: true, ..GroupInfo::default() };
        membership.put("open", open);
        let enrols = || Ok(true);
        for (group, user, mode, opens, expected) in [
            ("g", "7", Listed, false, Ok(false)),
            ("g", "8", Listed, false, Err(Code::NotMember)),
            ("g", "8", Listed, true, Err(Code::NotMember)),
            ("g", "8", Anyone, false, enrols()),
            ("open", "8", Listed, false, Err(Code::NotMember)),
            ("open", "8", Listed, true, enrols()),
            ("new", "8", Listed, false, Err(Code::NoGroup)),
            ("new", "8", Listed, true, enrols()),
            ("new", "8", Anyone, false, enrols()),
            ("u:7", "8", Listed, true, Err(Code::BadGroup)),
            ("u:7", "8", Anyone, false, Err(Code::BadGroup)),
            ("u:7", "8", Listed, false, Err(Code::NoGroup)),
        ] {
            let admission = membership.admit(group, user, mode, opens);
            assert_eq!(admission, expected, "{group} {user} {mode:?} {opens}");
        }
    }

    #[test]
    fn names() {
        for good in ["g-12", "小组", "a b", "u", "U:1"] {
            assert!(is_group(good), "{good}");
        }
        for bad in ["", "u:", "u:7", "a\0b", "a\n", &"x".repeat(257)] {
            assert!(!is_group(bad), "{bad}");
        }
        assert_eq!(membership().may_put("u:7"), Err(Code::BadGroup));
    }
}
