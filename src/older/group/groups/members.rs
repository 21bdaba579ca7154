//! Who is in which group (`docs/protocols/group.md §5, §6`).

use std::sync::Arc;

use super::{Delivery, Groups};
use crate::{
    older::group::{
        code::Code,
        membership::{GroupInfo, Member},
        message::group_channel,
        repository,
        streams::Outgoing,
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

impl Groups {
    /// Whether `user` may take part in a group: as a member, or, where that is allowed, by becoming one now. True: it
    /// was none before.
    pub fn admit(self: &Arc<Self>, group: &str, user: &str) -> Result<bool, Code> {
        let (mode, opens) = (self.settings.membership, self.settings.open_groups);
        let enrols = self.membership.read().admit(group, user, mode, opens)?;
        if enrols {
            // Not waited for: on disk it is before anything that the user says.
            drop(self.enrol(group, &[Enrolment::of(user)], |known| self.new_group(known, true), true)?);
        }
        Ok(enrols)
    }

    pub fn check_member(&self, group: &str, user: &str) -> Result<(), Code> {
        let membership = self.membership.read();
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
                name: name.unwrap_or(known.name),
                owner_id: owner.unwrap_or(known.owner_id),
                // Whoever registers a group says who is in.
                is_open: false,
                ..known
            })
        };
        let (_, outcome) = self.enrol(group, enrolments, info, true)?;
        self.stored(outcome).await
    }

    /// Adds members; how many were none before. They are on disk when this returns.
    pub async fn add(self: &Arc<Self>, group: &str, enrolments: &[Enrolment]) -> Result<usize, Code> {
        let (added, outcome) = self.enrol(group, enrolments, |_| None, true)?;
        self.stored(outcome).await?;
        Ok(added)
    }

    /// Removes members; how many there were. They are off the disk when this returns, and get nothing any more.
    pub async fn remove(self: &Arc<Self>, group: &str, users: &[String]) -> Result<usize, Code> {
        let mut removed = 0;
        for user in users {
            if let Some(outcome) = self.expel(group, user, true)? {
                self.stored(outcome).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Another instance has added a member.
    pub(super) async fn add_from_elsewhere(self: &Arc<Self>, group: &str, user: &str) -> Result<(), Code> {
        let (_, outcome) = self.enrol(group, &[Enrolment::of(user)], |known| self.new_group(known, false), false)?;
        self.stored(outcome).await
    }

    /// Another instance has removed a member.
    pub(super) async fn remove_from_elsewhere(self: &Arc<Self>, group: &str, user: &str) -> Result<(), Code> {
        match self.expel(group, user, false) {
            Ok(Some(outcome)) => self.stored(outcome).await,
            Ok(None) | Err(Code::NoGroup) => Ok(()),
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
        if let Some(info) = &written {
            membership.put(group, info.clone());
            batch = repository::put_group(batch, group, info);
        }
        // Who they are, and the name and avatar of who was a member before.
        let (mut enrolled, mut outgoing) = (Vec::new(), Vec::new());
        for Enrolment { user, name, avatar } in enrolments {
            let known = membership.member(group, user).map(|member| (member.name.clone(), member.avatar.clone()));
            let (name, avatar) = (name.clone(), avatar.clone());
            membership.add(group, user, Member { name, avatar, joined_at: self.seconds(), joined_after, read: 0 });
            if let Some(member) = membership.member(group, user) {
                batch = repository::put_member(batch, group, user, member);
            }
            if known.is_none() && is_ours {
                outgoing.extend(self.announce(group, user, true));
            }
            enrolled.push((user.clone(), known));
        }
        drop(membership);
        let count = enrolled.iter().filter(|(_, known)| known.is_none()).count();
        let group = group.to_owned();
        let outcome = self.commit(batch, outgoing, move |groups, outcome| {
            if outcome.is_ok() {
                for (user, _) in enrolled.into_iter().filter(|(_, known)| known.is_none()) {
                    groups.deliveries.push(group_channel(&group), Delivery::Attach { user });
                }
                return;
            }
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
        let outgoing = if is_ours { self.announce(group, user, false) } else { None };
        let batch = repository::remove_member(Batch::new(), group, user);
        let (group, user) = (group.to_owned(), user.to_owned());
        let outcome = self.commit(batch, outgoing, move |groups, outcome| {
            if outcome.is_ok() {
                return groups.deliveries.push(group_channel(&group), Delivery::Detach { user });
            }
            let mut membership = groups.membership.write();
            // It may have been added again, then that counts.
            if membership.member(&group, &user).is_none() {
                membership.add(&group, &user, member);
            }
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
