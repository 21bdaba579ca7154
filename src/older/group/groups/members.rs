//! Who is in which group (`docs/protocols/group.md §5, §6`).

use std::sync::Arc;

use super::Groups;
use crate::{
    older::group::{
        code::Code,
        delivery::Delivery,
        membership::{Admission, GroupInfo, Member},
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

impl Groups {
    /// Whether `user` may take part in a group: as a member, or, where that is allowed, by becoming one now. True: it
    /// was none before.
    pub fn admit(self: &Arc<Self>, group: &str, user: &str) -> Result<bool, Code> {
        let (mode, opens) = (self.settings.membership, self.settings.open_groups);
        let admission = self.membership.read().admit(group, user, mode, opens)?;
        if admission == Admission::Enrols {
            let enrolment = Enrolment { user: user.to_owned(), ..Enrolment::default() };
            // Not waited for: on disk it is before anything that the user says.
            drop(self.enrol(group, &[enrolment], |known| self.new_group(known, true), true)?);
        }
        Ok(admission == Admission::Enrols)
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
        if self.check_member(group, user).is_ok() {
            return Ok(());
        }
        let enrolment = Enrolment { user: user.to_owned(), ..Enrolment::default() };
        let (_, outcome) = self.enrol(group, &[enrolment], |known| self.new_group(known, false), false)?;
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
        let joined_after = self.numbers.lock().last();
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
        let mut batch = Batch::new();
        if let Some(info) = &written {
            membership.put(group, info.clone());
            batch = repository::put_group(batch, group, info);
        }
        let (mut added, mut renamed, mut outgoing) = (Vec::new(), Vec::new(), Vec::new());
        for Enrolment { user, name, avatar } in enrolments {
            let known = membership.member(group, user).map(|member| (member.name.clone(), member.avatar.clone()));
            let (name, avatar) = (name.clone(), avatar.clone());
            membership.add(group, user, Member { name, avatar, joined_at: self.seconds(), joined_after, read: 0 });
            if let Some(member) = membership.member(group, user) {
                batch = repository::put_member(batch, group, user, member);
            }
            match known {
                Some((name, avatar)) => renamed.push((user.clone(), name, avatar)),
                None => {
                    if is_ours {
                        batch = self.announce(batch, &mut outgoing, group, user, true);
                    }
                    added.push(user.clone());
                }
            }
        }
        drop(membership);
        let (count, name) = (added.len(), Arc::<str>::from(group));
        let outcome = self.commit_change(batch, outgoing, move |groups, is_stored| {
            if is_stored {
                for user in added {
                    let delivery = Delivery::Attach { user, group: Arc::clone(&name) };
                    groups.deliveries.push(group_channel(&name), delivery);
                }
                return;
            }
            let mut membership = groups.membership.write();
            for user in &added {
                membership.remove(&name, user);
            }
            for (user, old, avatar) in renamed.into_iter().rev() {
                membership.rename(&name, &user, old, avatar);
            }
            if let Some(written) = written {
                membership.put_back(&name, &written, before);
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
        let mut outgoing = Vec::new();
        let mut batch = repository::remove_member(Batch::new(), group, user);
        if is_ours {
            batch = self.announce(batch, &mut outgoing, group, user, false);
        }
        let (group, user) = (group.to_owned(), user.to_owned());
        let outcome = self.commit_change(batch, outgoing, move |groups, is_stored| {
            if is_stored {
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

    /// Says it to the other instances, if there are any.
    fn announce(&self, batch: Batch, outgoing: &mut Vec<Outgoing>, group: &str, user: &str, is_added: bool) -> Batch {
        let Some(bus) = &self.bus else { return batch };
        let prepared = if is_added { bus.member_added(group, user) } else { bus.member_removed(group, user) };
        match prepared {
            Ok(mut prepared) => {
                let batch = prepared.row(batch);
                outgoing.push(prepared);
                batch
            }
            Err(error) => {
                tracing::error!(%error, "other instances do not hear of a member that came or went");
                batch
            }
        }
    }

    /// Commits; `then` hears whether it is stored, or else to be taken back.
    fn commit_change(
        self: &Arc<Self>,
        batch: Batch,
        outgoing: Vec<Outgoing>,
        then: impl FnOnce(&Self, bool) + Send + 'static,
    ) -> Commit {
        let groups = Arc::clone(self);
        self.repository.commit_then(batch, move |result| {
            if result.is_ok() {
                outgoing.into_iter().for_each(Outgoing::send);
            }
            then(&groups, result.is_ok());
        })
    }

    pub(super) async fn stored(&self, outcome: Commit) -> Result<(), Code> {
        outcome.await.map(drop).map_err(|error| self.not_stored(&error))
    }
}
