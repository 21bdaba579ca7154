//! Who is online, for one protocol: the transports that each of its users has on this server, and what others have left
//! for them to do. Shared by all worker threads.
//!
//! One lock, held for a look-up in a hash map: when a transport comes or goes, and once or twice for a message. Only a
//! list of the users takes longer.
//!
//! A transport is registered before it reads what its user has, so that nothing is missed that is left for it meanwhile;
//! it is online from [`Registration::enter`] on.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    mem,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;

use crate::{actors::fanout::TransportHandle, ids::Timestamp};

/// Users by `U`; `N`: what can be left for a transport; `D`: what its protocol notes of it.
pub struct Online<U: Eq + Hash, N = (), D = ()>(Mutex<State<U, N, D>>);

struct State<U, N, D> {
    /// Those with a registered transport.
    users: HashMap<U, User<N, D>>,
    /// Those who are online.
    online: usize,
    /// Transports that are online.
    transports: usize,
}

struct User<N, D> {
    /// Online since then.
    since: Option<Timestamp>,
    /// The newest last.
    transports: Vec<Arc<OnlineTransport<N, D>>>,
}

/// One transport as others see it. What they make it keep until it looks stands here alone: [`Self::notify`].
pub struct OnlineTransport<N, D> {
    pub data: D,
    /// Once it is online, and since when.
    entered: OnceLock<(TransportHandle, Timestamp)>,
    notices: Mutex<Vec<N>>,
}

/// The place of one transport among those of its user; given up when it is dropped.
pub struct Registration<U: Eq + Hash, N = (), D = ()> {
    online: Arc<Online<U, N, D>>,
    pub user: U,
    transport: Arc<OnlineTransport<N, D>>,
}

/// What has changed when a transport went online.
#[derive(Default)]
pub struct Entered {
    /// The user was not online before.
    pub is_first: bool,
    /// Transports that are not online any more, to be closed.
    pub replaced: Vec<TransportHandle>,
}

impl<U: Eq + Hash, N, D> Default for Online<U, N, D> {
    fn default() -> Self {
        Self(Mutex::new(State { users: HashMap::new(), online: 0, transports: 0 }))
    }
}

impl<N, D> OnlineTransport<N, D> {
    /// None until it is online.
    pub fn handle(&self) -> Option<&TransportHandle> {
        self.entered.get().map(|(handle, _)| handle)
    }

    /// The same, and since when it is online.
    pub fn entered(&self) -> Option<&(TransportHandle, Timestamp)> {
        self.entered.get()
    }

    /// Leaves something for it to do; it hears of that at once if it is online, else when it is.
    pub fn notify(&self, notice: N) {
        self.notify_all([notice]);
    }

    pub fn notify_all(&self, notices: impl IntoIterator<Item = N>) {
        self.notices.lock().extend(notices);
        if let Some(handle) = self.handle() {
            handle.nudge();
        }
    }

    /// What was left for it since the last call.
    pub fn take_notices(&self) -> Vec<N> {
        mem::take(&mut *self.notices.lock())
    }
}

impl<N, D> User<N, D> {
    fn online(&self) -> impl Iterator<Item = &Arc<OnlineTransport<N, D>>> {
        self.transports.iter().filter(|transport| transport.handle().is_some())
    }
}

impl<U: Eq + Hash, N, D> State<U, N, D> {
    fn since<Q: Eq + Hash + ?Sized>(&self, user: &Q) -> Option<Timestamp>
    where
        U: Borrow<Q>,
    {
        self.users.get(user)?.since
    }
}

impl<U: Eq + Hash, N, D> Online<U, N, D> {
    pub fn is_online<Q: Eq + Hash + ?Sized>(&self, user: &Q) -> bool
    where
        U: Borrow<Q>,
    {
        self.since(user).is_some()
    }

    /// When the user came who is online.
    pub fn since<Q: Eq + Hash + ?Sized>(&self, user: &Q) -> Option<Timestamp>
    where
        U: Borrow<Q>,
    {
        self.0.lock().since(user)
    }

    /// The transports that the user has online.
    pub fn transports_of<Q: Eq + Hash + ?Sized>(&self, user: &Q) -> usize
    where
        U: Borrow<Q>,
    {
        self.0.lock().users.get(user).map_or(0, |user| user.online().count())
    }

    /// All that are registered for the user, the newest last; those without a handle are about to be online.
    pub fn registered<Q: Eq + Hash + ?Sized>(&self, user: &Q) -> Vec<Arc<OnlineTransport<N, D>>>
    where
        U: Borrow<Q>,
    {
        let state = self.0.lock();
        state.users.get(user).map_or_else(Vec::new, |user| user.transports.clone())
    }

    pub fn users(&self) -> usize {
        self.0.lock().online
    }

    pub fn transports(&self) -> usize {
        self.0.lock().transports
    }
}

impl<U: Eq + Hash + Ord + Clone, N, D> Online<U, N, D> {
    /// A place for a transport of `user` that is about to be online.
    pub fn register(self: &Arc<Self>, user: U, data: D) -> Registration<U, N, D> {
        let transport = Arc::new(OnlineTransport { data, entered: OnceLock::new(), notices: Mutex::default() });
        let mut state = self.0.lock();
        let known = state.users.entry(user.clone()).or_insert_with(|| User { since: None, transports: Vec::new() });
        known.transports.push(Arc::clone(&transport));
        drop(state);
        Registration { online: Arc::clone(self), user, transport }
    }

    /// A page of the users who are online, in order: those behind `after`, at most so many.
    pub fn list(&self, after: Option<&U>, most: usize) -> Vec<U> {
        let state = self.0.lock();
        let online = state.users.iter().filter(|(_, user)| user.since.is_some()).map(|(name, _)| name);
        let mut names: Vec<U> = online.filter(|name| after.is_none_or(|after| *name > after)).cloned().collect();
        drop(state);
        names.sort_unstable();
        names.truncate(most);
        names
    }
}

impl<U: Eq + Hash, N, D> Registration<U, N, D> {
    /// It is online from now on. `alone`: the user's other transports that are online are not any more, and are handed
    /// back; without effect for one that was replaced itself.
    pub fn enter(&self, handle: TransportHandle, now: Timestamp, alone: bool) -> Entered {
        let mut state = self.online.0.lock();
        let state = &mut *state;
        let Some(user) = state.users.get_mut(&self.user) else {
            return Entered::default();
        };
        if !self.is_in(user) || self.transport.entered.set((handle, now)).is_err() {
            return Entered::default();
        }
        let mut entered = Entered { is_first: user.since.is_none(), replaced: Vec::new() };
        if alone {
            user.transports.retain(|other| match other.handle() {
                Some(handle) if !Arc::ptr_eq(other, &self.transport) => {
                    entered.replaced.push(handle.clone());
                    false
                }
                _ => true,
            });
        }
        user.since.get_or_insert(now);
        state.online += usize::from(entered.is_first);
        state.transports = state.transports + 1 - entered.replaced.len();
        entered
    }

    /// It is gone; a newer one of its user stays. Since when the user was online who is not any more.
    pub fn leave(&self) -> Option<Timestamp> {
        let mut state = self.online.0.lock();
        let state = &mut *state;
        let user = state.users.get_mut(&self.user).filter(|user| self.is_in(user))?;
        user.transports.retain(|other| !Arc::ptr_eq(other, &self.transport));
        state.transports -= usize::from(self.transport.handle().is_some());
        let ended = if user.online().next().is_none() { user.since.take() } else { None };
        state.online -= usize::from(ended.is_some());
        if user.transports.is_empty() {
            state.users.remove(&self.user);
        }
        ended
    }

    /// Whether it has neither left nor been replaced.
    pub fn is_registered(&self) -> bool {
        let state = self.online.0.lock();
        state.users.get(&self.user).is_some_and(|user| self.is_in(user))
    }

    fn is_in(&self, user: &User<N, D>) -> bool {
        user.transports.iter().any(|other| Arc::ptr_eq(other, &self.transport))
    }
}

impl<U: Eq + Hash, N, D> Deref for Registration<U, N, D> {
    type Target = OnlineTransport<N, D>;

    fn deref(&self) -> &Self::Target {
        &self.transport
    }
}

impl<U: Eq + Hash, N, D> Drop for Registration<U, N, D> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use actix::{AsyncContext as _, Context};

    use super::*;
    use crate::{
        actors::fanout::{Hub, HubHandle},
        core::command::HubId,
        ids::SessionId,
    };

    fn handle(number: u64) -> TransportHandle {
        // An actor that is never started: nobody takes what is sent to it.
        let context = Context::<Hub>::new();
        TransportHandle { hub: HubHandle::new(HubId(0), context.address()), session: SessionId::from_number(number) }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// docs/protocols/chat.md §7: a new connection closes the old one, whose clean-up does not remove the new one.
    #[test]
    fn a_newer_transport_takes_over() {
        let online = Arc::new(Online::<u64>::default());
        let old = online.register(7, ());
        assert!(!online.is_online(&7) && online.users() == 0);
        let entered = old.enter(handle(1), at(1), true);
        assert!(entered.is_first && entered.replaced.is_empty());
        let new = online.register(7, ());
        let entered = new.enter(handle(2), at(2), true);
        let replaced: Vec<_> = entered.replaced.iter().map(|handle| handle.session).collect();
        assert_eq!((entered.is_first, replaced), (false, vec![SessionId::from_number(1)]));
        assert!(!old.is_registered() && new.is_registered());
        assert!(old.enter(handle(3), at(3), true).replaced.is_empty(), "it comes too late");
        drop(old);
        assert_eq!((online.since(&7), online.users(), online.transports()), (Some(at(1)), 1, 1));
        assert_eq!(online.list(None, 9), [7]);
        assert_eq!((new.leave(), new.leave()), (Some(at(1)), None));
        assert_eq!((online.users(), online.transports(), online.list(None, 9)), (0, 0, vec![]));
        assert!(online.0.lock().users.is_empty());
    }

    #[test]
    fn several_transports_are_one_user() {
        let online = Arc::new(Online::<u64>::default());
        let registered = [9, 10, 9, 11].map(|user| online.register(user, ()));
        for (number, registration) in (1..).zip(&registered[..3]) {
            assert!(registration.enter(handle(number), at(number), false).replaced.is_empty());
        }
        assert_eq!((online.users(), online.transports(), online.transports_of(&9)), (2, 3, 2));
        assert_eq!((online.list(None, 1), online.list(Some(&9), 9)), (vec![9], vec![10]));
        assert!(online.is_online(&9) && online.is_online(&10) && !online.is_online(&11) && !online.is_online(&12));
        assert_eq!((registered[0].leave(), registered[0].leave(), online.users()), (None, None, 2));
        assert_eq!((registered[2].leave(), online.list(None, 9)), (Some(at(1)), vec![10]));
    }

    #[test]
    fn what_is_left_is_there_also_for_who_is_about_to_come() {
        let online = Arc::new(Online::<Arc<str>, u8, &str>::default());
        let (one, other) = (online.register("a".into(), "phone"), online.register("a".into(), "desk"));
        one.enter(handle(1), at(1), false);
        for transport in online.registered("a") {
            transport.notify(7);
        }
        assert_eq!((one.take_notices(), one.take_notices(), other.take_notices()), (vec![7], vec![], vec![7]));
        let newest = online.registered("a").pop().expect("registered");
        assert!(newest.data == "desk" && newest.handle().is_none());
        assert!(online.registered("b").is_empty() && !online.is_online("b"));
    }
}
