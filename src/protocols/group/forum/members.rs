//! Who is in which group (`docs/protocols/group.md §5, §6`).

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Forum;
use crate::{
    protocols::group::{
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
            drop(self.enrol(group, &[enrolment], true)?);
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

    /// Makes a group, or changes what is known of it. It is on disk when this returns.
    ///
    /// # Errors
    /// [`Code::BadGroup`], [`Code::TooMany`], or what the disk says.
    pub async fn make(
        self: &Arc<Self>,
        group: &str,
        name: Option<String>,
        owner: Option<String>,
    ) -> Result<Facts, Code> {
        let (facts, told) = {
            let _changing = self.changing.lock();
            let mut registry = self.registry.write();
            let known = registry.get(group).map(|group| group.facts.clone());
            let known = known.unwrap_or_else(|| Facts { created_at: self.seconds(), ..Facts::default() });
            let facts = Facts {
                name: name.unwrap_or(known.name),
                owner_id: owner.unwrap_or(known.owner_id),
                // Whoever registers a group says who is in.
                is_open: false,
                ..known
            };
            registry.put(group, facts.clone())?;
            drop(registry);
            let batch = shelf::put_group(Batch::new(), group, &facts);
            (facts, self.hand_in(batch, Vec::new(), || {}))
        };
        self.kept(told).await?;
        Ok(facts)
    }

    /// Adds members; how many were none before. They are on disk when this returns.
    ///
    /// # Errors
    /// [`Code::NoGroup`], [`Code::BadFormat`], [`Code::TooMany`], or what the disk says.
    pub async fn add(self: &Arc<Self>, group: &str, enrolments: &[Enrolment]) -> Result<usize, Code> {
        let (added, told) = self.enrol(group, enrolments, false)?;
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

    fn enrol(self: &Arc<Self>, group: &str, enrolments: &[Enrolment], opens: bool) -> Result<(usize, Told), Code> {
        // Before the other locks: sending holds it while it hands messages in.
        let joined_after = self.line.lock().last;
        let _changing = self.changing.lock();
        let mut batch = Batch::new();
        let mut added = Vec::new();
        let mut outgoing = Vec::new();
        let mut registry = self.registry.write();
        if opens && registry.get(group).is_none() {
            let facts = Facts { created_at: self.seconds(), is_open: true, ..Facts::default() };
            registry.put(group, facts.clone())?;
            batch = shelf::put_group(batch, group, &facts);
        }
        let mut refused = None;
        for enrolment in enrolments {
            let member = Member {
                name: enrolment.name.clone(),
                avatar: enrolment.avatar.clone(),
                joined_at: self.seconds(),
                joined_after,
                read: 0,
            };
            let user = &*enrolment.user;
            match registry.add(group, user, member) {
                Ok(is_new) => {
                    if let Some(member) = registry.member(group, user) {
                        batch = shelf::put_member(batch, group, user, member);
                    }
                    if is_new {
                        batch = self.announce(batch, &mut outgoing, group, user, true);
                        added.push(user.to_owned());
                    }
                }
                Err(code) => {
                    refused = Some(code);
                    break;
                }
            }
        }
        if let Some(code) = refused {
            // All or none.
            for user in &added {
                registry.remove(group, user);
            }
            return Err(code);
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
            }
        };
        let told = self.hand_in_then(batch, outgoing, undo, move || {
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
        let told = self.hand_in_then(batch, outgoing, undo, move || {
            forum.courier.hand_over(Parcel::Evict { user, group });
        });
        Ok(Some(told))
    }

    /// What another instance says is done without telling it back.
    pub(super) fn enrol_quietly(self: &Arc<Self>, group: &str, user: &str) -> Result<Option<Told>, Code> {
        if self.registry.read().member(group, user).is_some() {
            return Ok(None);
        }
        let joined_after = self.line.lock().last;
        let _changing = self.changing.lock();
        let mut batch = Batch::new();
        let mut registry = self.registry.write();
        if registry.get(group).is_none() {
            let facts = Facts { created_at: self.seconds(), ..Facts::default() };
            registry.put(group, facts.clone())?;
            batch = shelf::put_group(batch, group, &facts);
        }
        let member = Member { joined_at: self.seconds(), joined_after, ..Member::default() };
        batch = shelf::put_member(batch, group, user, &member);
        registry.add(group, user, member)?;
        drop(registry);
        let undo = {
            let (forum, group, user) = (Arc::clone(self), group.to_owned(), user.to_owned());
            move || drop(forum.registry.write().remove(&group, &user))
        };
        let forum = Arc::clone(self);
        let (group, user) = (Arc::<str>::from(group), user.to_owned());
        let told = self.hand_in_then(batch, Vec::new(), undo, move || {
            forum.courier.hand_over(Parcel::Welcome { user, group });
        });
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

    fn hand_in(&self, batch: Batch, outgoing: Vec<Outgoing>, undo: impl FnOnce() + Send + 'static) -> Told {
        self.hand_in_then(batch, outgoing, undo, || {})
    }

    /// Commits; then does the one, or takes back with the other.
    fn hand_in_then(
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
