//! Who is in which group (`docs/protocols/group.md §5, §6`).

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Forum;
use crate::{
    older::group::{
        code::Code,
        courier::Parcel,
        registry::{Admission, Facts, Member},
        shelf,
        streams::Outgoing,
    },
    store::{Batch, StoreError},
};

/// Somebody who is to be a member.
#[derive(Clone, Debug, Default)]
pub struct Enrolment {
    pub user: String,
    pub name: String,
    pub avatar: String,
}

type Told = oneshot::Receiver<Result<(), StoreError>>;

impl Forum {
    /// Whether `user` may take part in a group: as a member, or, where that is allowed, by becoming one now. True: it
    /// was none before.
    ///
    /// # Errors
    /// [`Code::NoGroup`], [`Code::NotMember`], [`Code::BadGroup`], [`Code::TooMany`].
    pub fn admit(self: &Arc<Self>, group: &str, user: &str) -> Result<bool, Code> {
        let (membership, opens) = (self.settings.membership, self.settings.open_groups);
        let admission = self.registry.read().admit(group, user, membership, opens)?;
        if admission == Admission::Enrols {
            let enrolment = Enrolment { user: user.to_owned(), ..Enrolment::default() };
            // Its connections attach at once or when they are told; on disk it is before anything that it says.
            let now = self.seconds();
            let facts = |known: Option<&Facts>| {
                known.is_none().then(|| Facts { created_at: now, is_open: true, ..Facts::default() })
            };
            drop(self.enrol(group, &[enrolment], facts, true)?);
        }
        Ok(admission == Admission::Enrols)
    }

    /// # Errors
    /// [`Code::NoGroup`], [`Code::NotMember`].
    pub fn check_member(&self, group: &str, user: &str) -> Result<(), Code> {
        let registry = self.registry.read();
        if registry.member(group, user).is_some() {
            return Ok(());
        }
        let is_known = registry.get(group).is_some();
        Err(if is_known { Code::NotMember } else { Code::NoGroup })
    }

    /// Makes a group, or changes what is known of it, and adds members, all or nothing. It is on disk when this returns.
    ///
    /// # Errors
    /// [`Code::BadGroup`], [`Code::BadFormat`], [`Code::TooMany`], or what the disk says.
    pub async fn make(
        self: &Arc<Self>,
        group: &str,
        name: Option<String>,
        owner: Option<String>,
        enrolments: &[Enrolment],
    ) -> Result<(), Code> {
        let now = self.seconds();
        let facts = |known: Option<&Facts>| {
            let known = known.cloned().unwrap_or_else(|| Facts { created_at: now, ..Facts::default() });
            Some(Facts {
                name: name.unwrap_or(known.name),
                owner_id: owner.unwrap_or(known.owner_id),
                // Whoever registers a group says who is in.
                is_open: false,
                ..known
            })
        };
        let (_, told) = self.enrol(group, enrolments, facts, true)?;
        self.kept(told).await
    }

    /// Adds members; how many were none before. They are on disk when this returns.
    ///
    /// # Errors
    /// [`Code::NoGroup`], [`Code::BadFormat`], [`Code::TooMany`], or what the disk says.
    pub async fn add(self: &Arc<Self>, group: &str, enrolments: &[Enrolment]) -> Result<usize, Code> {
        let (added, told) = self.enrol(group, enrolments, |_| None, true)?;
        self.kept(told).await?;
        Ok(added)
    }

    /// Removes members; how many there were. They are off the disk when this returns, and get nothing any more.
    ///
    /// # Errors
    /// [`Code::NoGroup`], or what the disk says.
    pub async fn remove(self: &Arc<Self>, group: &str, users: &[String]) -> Result<usize, Code> {
        let mut removed = 0;
        for user in users {
            let told = self.expel(group, user, true)?;
            if let Some(told) = told {
                self.kept(told).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Adds members, all or none; how many were none before. `facts` says, by what is known of the group, what is to be
    /// known from now on; none: as it is.
    fn enrol(
        self: &Arc<Self>,
        group: &str,
        enrolments: &[Enrolment],
        facts: impl FnOnce(Option<&Facts>) -> Option<Facts>,
        is_ours: bool,
    ) -> Result<(usize, Told), Code> {
        // Before the other locks: sending holds it while it hands messages in.
        let joined_after = self.line.lock().last;
        let _changing = self.changing.lock();
        let mut registry = self.registry.write();
        let before = registry.get(group).map(|group| group.facts.clone());
        let written = facts(before.as_ref());
        // Nothing is changed before it is clear that all of it can be: what is in memory has its row.
        match written {
            None if before.is_none() => return Err(Code::NoGroup),
            None => {}
            Some(_) => registry.may_put(group)?,
        }
        registry.may_add(group, enrolments.iter().map(|enrolment| &*enrolment.user))?;
        let mut batch = Batch::new();
        if let Some(facts) = &written {
            registry.put(group, facts.clone())?;
            batch = shelf::put_group(batch, group, facts);
        }
        let (mut added, mut renamed, mut outgoing) = (Vec::new(), Vec::new(), Vec::new());
        for enrolment in enrolments {
            let user = &*enrolment.user;
            let known = registry.member(group, user).map(|member| (member.name.clone(), member.avatar.clone()));
            let member = Member {
                name: enrolment.name.clone(),
                avatar: enrolment.avatar.clone(),
                joined_at: self.seconds(),
                joined_after,
                read: 0,
            };
            registry.add(group, user, member)?;
            if let Some(member) = registry.member(group, user) {
                batch = shelf::put_member(batch, group, user, member);
            }
            match known {
                Some((name, avatar)) => renamed.push((user.to_owned(), name, avatar)),
                None => {
                    if is_ours {
                        batch = self.announce(batch, &mut outgoing, group, user, true);
                    }
                    added.push(user.to_owned());
                }
            }
        }
        drop(registry);
        let (forum, name) = (Arc::clone(self), Arc::<str>::from(group));
        let count = added.len();
        let undo = {
            let (forum, name, added) = (Arc::clone(self), Arc::clone(&name), added.clone());
            move || {
                let mut registry = forum.registry.write();
                for user in &added {
                    registry.remove(&name, user);
                }
                for (user, old, avatar) in renamed.into_iter().rev() {
                    registry.rename(&name, &user, old, avatar);
                }
                if let Some(written) = written {
                    registry.put_back(&name, &written, before);
                }
            }
        };
        let told = self.hand_in(batch, outgoing, undo, move || {
            for user in added {
                let group = Arc::clone(&name);
                forum.courier.hand_over(Parcel::Welcome { user, group });
            }
        });
        Ok((count, told))
    }

    /// None: the user was no member.
    pub(super) fn expel(self: &Arc<Self>, group: &str, user: &str, is_ours: bool) -> Result<Option<Told>, Code> {
        let _changing = self.changing.lock();
        let mut registry = self.registry.write();
        if registry.get(group).is_none() {
            return Err(Code::NoGroup);
        }
        let Some(member) = registry.remove(group, user) else {
            return Ok(None);
        };
        drop(registry);
        let mut outgoing = Vec::new();
        let mut batch = shelf::remove_member(Batch::new(), group, user);
        if is_ours {
            batch = self.announce(batch, &mut outgoing, group, user, false);
        }
        let undo = {
            let (forum, group, user) = (Arc::clone(self), group.to_owned(), user.to_owned());
            move || {
                let mut registry = forum.registry.write();
                // It may have been added again, then that counts.
                if registry.member(&group, &user).is_none() {
                    let read = member.read;
                    let _ = registry.add(&group, &user, member);
                    registry.mark(&group, &user, read);
                }
            }
        };
        let forum = Arc::clone(self);
        let (group, user) = (Arc::<str>::from(group), user.to_owned());
        let told = self.hand_in(batch, outgoing, undo, move || {
            forum.courier.hand_over(Parcel::Evict { user, group });
        });
        Ok(Some(told))
    }

    /// What another instance says is done without telling it back.
    pub(super) fn enrol_quietly(self: &Arc<Self>, group: &str, user: &str) -> Result<Option<Told>, Code> {
        if self.registry.read().member(group, user).is_some() {
            return Ok(None);
        }
        let now = self.seconds();
        let facts = |known: Option<&Facts>| known.is_none().then(|| Facts { created_at: now, ..Facts::default() });
        let enrolment = Enrolment { user: user.to_owned(), ..Enrolment::default() };
        let (_, told) = self.enrol(group, &[enrolment], facts, false)?;
        Ok(Some(told))
    }

    /// Tells the other instances, if there are any.
    fn announce(&self, batch: Batch, outgoing: &mut Vec<Outgoing>, group: &str, user: &str, is_added: bool) -> Batch {
        let Some(bus) = self.bus() else { return batch };
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

    /// Commits; then does the one, or takes back with the other.
    fn hand_in(
        &self,
        batch: Batch,
        outgoing: Vec<Outgoing>,
        undo: impl FnOnce() + Send + 'static,
        then: impl FnOnce() + Send + 'static,
    ) -> Told {
        let (told, outcome) = oneshot::channel();
        let done = Box::new(move |result: Result<_, StoreError>| {
            match &result {
                Ok(_) => {
                    outgoing.into_iter().for_each(Outgoing::send);
                    then();
                }
                Err(_) => undo(),
            }
            let _ = told.send(result.map(drop));
        });
        self.shelf.submit(batch, done);
        outcome
    }

    pub(super) async fn kept(&self, told: Told) -> Result<(), Code> {
        let outcome = told.await.unwrap_or(Err(StoreError::Closed));
        outcome.map_err(|error| self.not_stored(&error))
    }
}
