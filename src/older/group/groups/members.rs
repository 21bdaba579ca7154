//! Who is in which group (`docs/protocols/group.md §5, §6`).

use std::{collections::HashSet, slice, sync::Arc};

use super::{Delivery, Groups};
use crate::{
    older::group::{
        code::Code,
        membership::{GroupInfo, Member},
        message::group_channel,
        repository,
        streams::{Change, Outgoing},
    },
    store::{Batch, Commit},
};

/// Somebody who is to be a member.
#[derive(Clone, Debug, Default)]
pub struct Enrolment {
    pub user: String,
    pub name: String,
    pub avatar: String,
}

impl Enrolment {
    pub fn of(user: &str) -> Self {
        Self { user: user.to_owned(), ..Self::default() }
    }
}

fn users_of(enrolments: &[Enrolment]) -> Vec<String> {
    enrolments.iter().map(|enrolment| enrolment.user.clone()).collect()
}

impl Groups {
    /// Whether `user` may take part in a group: as a member, or, where that is allowed, by becoming one now. True: it
    /// was none before.
    pub fn admit(self: &Arc<Self>, group: &str, user: &str) -> Result<bool, Code> {
        let (mode, opens) = (self.settings.membership, self.settings.open_groups);
        let enrols = self.known()?.admit(group, user, mode, opens)?;
        if enrols {
            self.check_room()?;
            // Not waited for: on disk it is before anything that the user says.
            let (_, commit) = self.enrol(group, &[Enrolment::of(user)], |known| self.new_group(known, true), true)?;
            self.see_to(group, user, commit);
        }
        Ok(enrols)
    }

    pub fn check_member(&self, group: &str, user: &str) -> Result<(), Code> {
        let membership = self.known()?;
        match membership.get(group) {
            Some(group) if group.members.contains_key(user) => Ok(()),
            Some(_) => Err(Code::NotMember),
            None => Err(Code::NoGroup),
        }
    }

    /// Makes a group, or changes what is known of it, and adds members, all or nothing. It is on disk when this returns.
    pub async fn make(
        self: &Arc<Self>,
        group: &str,
        name: Option<String>,
        owner: Option<String>,
        enrolments: &[Enrolment],
    ) -> Result<(), Code> {
        let now = self.seconds();
        let info = |known: Option<&GroupInfo>| {
            let known = known.cloned().unwrap_or_else(|| GroupInfo { created_at: now, ..GroupInfo::default() });
            Some(GroupInfo {
                name: name.clone().unwrap_or(known.name),
                owner_id: owner.clone().unwrap_or(known.owner_id),
                // Whoever registers a group says who is in.
                is_open: false,
                ..known
            })
        };
        self.check_room()?;
        self.until_taken(group, &users_of(enrolments), || self.enrolled(group, enrolments, info)).await.map(drop)
    }

    /// Adds members; how many were none before. They are on disk when this returns.
    pub async fn add(self: &Arc<Self>, group: &str, enrolments: &[Enrolment]) -> Result<usize, Code> {
        self.check_room()?;
        self.until_taken(group, &users_of(enrolments), || self.enrolled(group, enrolments, |_| None)).await
    }

    fn enrolled(
        self: &Arc<Self>,
        group: &str,
        enrolments: &[Enrolment],
        info: impl FnOnce(Option<&GroupInfo>) -> Option<GroupInfo>,
    ) -> Result<(usize, Option<Commit>), Code> {
        let (added, commit) = self.enrol(group, enrolments, info, true)?;
        Ok((added, Some(commit)))
    }

    /// Adds a user to a group, which is made if there is none, unless it is a member. It is stored when this returns, but need not
    /// be heard.
    pub(super) async fn add_once(self: &Arc<Self>, group: &str, user: &str, is_ours: bool) -> Result<(), Code> {
        let users = [user.to_owned()];
        let change = || {
            if self.membership.read().member(group, user).is_some() {
                return Ok(((), None));
            }
            let info = |known: Option<&GroupInfo>| self.new_group(known, is_ours);
            let (_, commit) = self.enrol(group, &[Enrolment::of(user)], info, is_ours)?;
            Ok(((), Some(commit)))
        };
        self.until_stored(group, &users, change).await.map(drop)
    }

    /// Removes members; how many there were. They are off the disk when this returns, and get nothing any more.
    pub async fn remove(self: &Arc<Self>, group: &str, users: &[String]) -> Result<usize, Code> {
        let mut removed = 0;
        for user in users {
            let change = || self.expelled(group, user, true);
            removed += usize::from(self.until_taken(group, slice::from_ref(user), change).await?);
        }
        Ok(removed)
    }

    /// Whether it was a member.
    fn expelled(self: &Arc<Self>, group: &str, user: &str, is_ours: bool) -> Result<(bool, Option<Commit>), Code> {
        let commit = self.expel(group, user, is_ours)?;
        Ok((commit.is_some(), commit))
    }

    /// Another instance has added a member.
    pub(super) async fn add_from_elsewhere(self: &Arc<Self>, group: &str, user: &str) -> Result<(), Code> {
        self.add_once(group, user, false).await
    }

    /// Another instance has removed a member.
    pub(super) async fn remove_from_elsewhere(self: &Arc<Self>, group: &str, user: &str) -> Result<(), Code> {
        let change = || self.expelled(group, user, false);
        match self.until_stored(group, &[user.to_owned()], change).await {
            Ok(_) | Err(Code::NoGroup) => Ok(()),
            Err(code) => Err(code),
        }
    }

    /// What is to be known of a group that there may not be yet.
    fn new_group(&self, known: Option<&GroupInfo>, is_open: bool) -> Option<GroupInfo> {
        known.is_none().then(|| GroupInfo { created_at: self.seconds(), is_open, ..GroupInfo::default() })
    }

    /// Adds members, all or none; how many were none before. `info` says, by what is known of the group, what is to be
    /// known from now on; none: as it is. `is_ours`: the other instances do not know of it yet.
    fn enrol(
        self: &Arc<Self>,
        group: &str,
        enrolments: &[Enrolment],
        info: impl FnOnce(Option<&GroupInfo>) -> Option<GroupInfo>,
        is_ours: bool,
    ) -> Result<(usize, Commit), Code> {
        // Before the other locks: sending holds it while it hands messages in.
        let joined_after = self.last_number();
        let _changing = self.changing.lock();
        let mut membership = self.membership.write();
        let before = membership.get(group).map(|group| group.info.clone());
        let written = info(before.as_ref());
        // Nothing is changed before it is clear that all of it can be: what is in memory has its row.
        match written {
            None if before.is_none() => return Err(Code::NoGroup),
            None => {}
            Some(_) => membership.may_put(group)?,
        }
        membership.may_add(group, enrolments.iter().map(|enrolment| &*enrolment.user))?;
        let members = enrolments.iter().map(|Enrolment { user, name, avatar }| [&**user, &**name, &**avatar]);
        membership.reserve(group, written.as_ref(), members)?;
        let mut batch = Batch::new();
        if self.is_shared() {
            batch = repository::expect_group(batch, group, before.as_ref());
            let users: HashSet<&str> = enrolments.iter().map(|enrolment| &*enrolment.user).collect();
            let expect =
                |batch, user: &str| repository::expect_member(batch, group, user, membership.member(group, user));
            batch = users.into_iter().fold(batch, expect);
        }
        if let Some(info) = &written {
            membership.put(group, info.clone());
            batch = repository::put_group(batch, group, info);
        }
        // Who they are, and the name and avatar of who was a member before.
        let (mut enrolled, mut announced, mut members) = (Vec::new(), Vec::new(), Vec::new());
        for Enrolment { user, name, avatar } in enrolments {
            let known = membership.member(group, user).map(|member| (member.name.clone(), member.avatar.clone()));
            let (name, avatar) = (name.clone(), avatar.clone());
            membership.add(group, user, Member { name, avatar, joined_at: self.seconds(), joined_after, read: 0 });
            if let Some(member) = membership.member(group, user) {
                batch = repository::put_member(batch, group, user, member);
                if self.is_shared() {
                    members.push((user.clone(), Some(member.clone())));
                }
            }
            if known.is_none() && is_ours {
                announced.extend(self.announce(group, user, true));
            }
            enrolled.push((user.clone(), known));
        }
        drop(membership);
        let count = enrolled.iter().filter(|(_, known)| known.is_none()).count();
        let group = group.to_owned();
        let change = Change { group: group.clone(), info: written.clone(), members, read: None };
        let outgoing = self.tell_nodes(&change).into_iter().chain(announced);
        let outcome = self.commit(batch, outgoing, move |groups, outcome| {
            let Err(error) = outcome else {
                for (user, _) in enrolled.into_iter().filter(|(_, known)| known.is_none()) {
                    groups.deliveries.push(group_channel(&group), Delivery::Attach { user });
                }
                return;
            };
            let mut membership = groups.membership.write();
            for (user, known) in enrolled.into_iter().rev() {
                match known {
                    Some((name, avatar)) => membership.rename(&group, &user, name, avatar),
                    None => drop(membership.remove(&group, &user)),
                }
            }
            if let Some(written) = written {
                membership.put_back(&group, &written, before);
            }
            groups.doubt(error);
        });
        Ok((count, outcome))
    }

    /// None: the user was no member.
    fn expel(self: &Arc<Self>, group: &str, user: &str, is_ours: bool) -> Result<Option<Commit>, Code> {
        let _changing = self.changing.lock();
        let mut membership = self.membership.write();
        if membership.get(group).is_none() {
            return Err(Code::NoGroup);
        }
        let Some(member) = membership.remove(group, user) else {
            return Ok(None);
        };
        drop(membership);
        let announced = if is_ours { self.announce(group, user, false) } else { None };
        let mut batch = Batch::new();
        if self.is_shared() {
            batch = repository::expect_member(batch, group, user, Some(&member));
        }
        let batch = repository::remove_member(batch, group, user);
        let change = Change { group: group.to_owned(), members: vec![(user.to_owned(), None)], ..Change::default() };
        let outgoing = self.tell_nodes(&change).into_iter().chain(announced);
        let (group, user) = (group.to_owned(), user.to_owned());
        let outcome = self.commit(batch, outgoing, move |groups, outcome| {
            let Err(error) = outcome else {
                return groups.deliveries.push(group_channel(&group), Delivery::Detach { user });
            };
            let mut membership = groups.membership.write();
            // It may have been added again, then that counts.
            if membership.member(&group, &user).is_none() {
                membership.add(&group, &user, member);
            }
            groups.doubt(error);
        });
        Ok(Some(outcome))
    }

    /// What says it to the other instances, if there are any.
    fn announce(&self, group: &str, user: &str, is_added: bool) -> Option<Outgoing> {
        let bus = self.bus.as_ref()?;
        let prepared = if is_added { bus.member_added(group, user) } else { bus.member_removed(group, user) };
        if let Err(error) = &prepared {
            tracing::error!(%error, "other instances do not hear of a member that came or went");
        }
        prepared.ok()
    }
}
