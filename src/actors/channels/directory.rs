//! Channel name → actor. Asked when a connection attaches and, after an actor has ended, whether those of a thread's
//! channels still live; never on the way of a message. It also knows which channels nobody is attached to: those go, the
//! oldest first, before another one is refused (`docs/architecture.md §6a`).

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use actix::Addr;
use parking_lot::Mutex;

use crate::{
    actors::{
        accounts::{Account, Charge, Full, Kind},
        broker::Broker,
        channels::{
            channel::{Channel, Evict},
            names::Names,
        },
    },
    core::eviction::{ChannelShares, NoPlace, Roster, Turn},
    error::Fault,
    ids::{AppId, ChannelName},
    limits,
};

/// The channels that have an actor.
pub struct Directory {
    channels: Mutex<Channels>,
    restarts: AtomicU64,
    ended: AtomicU64,
}

struct Channels {
    actors: HashMap<ChannelName, Known>,
    /// The same channels in the order of their names.
    names: Names,
    roster: Roster,
    shares: ChannelShares,
}

struct Known {
    address: Addr<Channel>,
    place: Place,
    /// None: it is to go.
    charge: Option<Charge>,
}

/// What a channel counts as in the roster.
#[derive(Clone, Copy)]
enum Place {
    /// It was made a moment ago: whoever had it made is about to attach, so it cannot go yet.
    Opening,
    /// Somebody is attached or present.
    Used,
    Idle(Turn),
    /// It was told to go, and counts no more.
    Going,
}

impl Channels {
    /// Makes place for `name`: the channel that has to go for it, if one has to.
    fn make_place(&mut self, app: AppId) -> Result<Option<Victim>, NoPlace> {
        let victim = self.roster.make_place(app, self.shares)?;
        Ok(victim.and_then(|victim| self.going(victim)))
    }

    fn going(&mut self, name: ChannelName) -> Option<Victim> {
        let known = self.actors.get_mut(&name)?;
        known.place = Place::Going;
        known.charge = None;
        Some(Victim { address: known.address.clone(), name })
    }

    /// The actor of a channel, the last one if it has died.
    fn take(&mut self, name: ChannelName, address: Addr<Channel>, charge: Charge) {
        let app = name.app();
        match self.actors.get(&name).map(|known| known.place) {
            Some(Place::Opening | Place::Used) => self.roster.remove(app, None),
            Some(Place::Idle(turn)) => self.roster.remove(app, Some(turn)),
            Some(Place::Going) | None => {}
        }
        self.roster.add(app);
        self.names.add(name.clone());
        self.actors.insert(name, Known { address, place: Place::Opening, charge: Some(charge) });
    }
}

/// A channel that nobody is attached to, and that has to make place.
struct Victim {
    name: ChannelName,
    address: Addr<Channel>,
}

impl Victim {
    /// Its window is gone at once: a late resumer is told so. The actor ends, unless somebody attaches before it gets to it.
    fn evict(self, broker: &Broker) {
        broker.log.forget(&self.name);
        self.address.do_send(Evict);
    }
}

impl Directory {
    /// At most so many channels at once.
    pub fn new(shares: ChannelShares) -> Self {
        let channels = Channels { actors: HashMap::new(), names: Names::default(), roster: Roster::default(), shares };
        Self { channels: Mutex::new(channels), restarts: AtomicU64::new(0), ended: AtomicU64::new(0) }
    }

    /// Other bounds from now on; the channels that there are stay.
    pub fn set_shares(&self, shares: ChannelShares) {
        self.channels.lock().shares = shares;
    }

    /// The actor of a channel, which may still be reading its log. There is always one: it is made on the calling thread
    /// when it is missing, and made anew when the old one has died. A supervisor would not do that: after a panic the
    /// mailbox of an actix actor is closed for good. `payer` pays for one that is made, its app if there is none.
    ///
    /// # Errors
    /// When there is no place or no memory for it, although channels that nobody is attached to made room:
    /// [`Fault::Busy`] if that is the server's, [`Fault::AppChannels`] or [`Fault::MemoryFull`] if it is the app's own.
    pub fn channel(
        &self,
        name: &ChannelName,
        broker: &Arc<Broker>,
        payer: Option<&Account>,
    ) -> Result<Addr<Channel>, Fault> {
        if let Some(address) = self.open(name) {
            return Ok(address);
        }
        // The network of the client that opens it pays, not the client: others will use it as well, and a client may be in
        // more channels than its own memory would pay for.
        let account = payer.map_or_else(|| broker.accounts.app(name.app()), Account::above_client);
        let charge = account.charge(Kind::Channel, limits::CHANNEL_COST).map_err(Full::to_fault)?;
        let mut channels = self.channels.lock();
        let victim = match channels.actors.get(name) {
            // Somebody was faster.
            Some(known) if known.address.connected() => return Ok(known.address.clone()),
            Some(_) if broker.closing.load(Ordering::Relaxed) => {
                // It ended with its thread: a new one would have none.
                return Err(Fault::Busy);
            }
            Some(_) => {
                self.restarts.fetch_add(1, Ordering::Relaxed);
                tracing::error!("a channel actor died; it is made anew from its log");
                None
            }
            None => channels.make_place(name.app()).map_err(|no_place| refusal(no_place, channels.shares, broker))?,
        };
        let address = Channel::open(name.clone(), broker);
        let is_new = !channels.actors.contains_key(name);
        channels.take(name.clone(), address.clone(), charge);
        drop(channels);
        // Of a log that nodes share the first node that joins it tells that.
        if is_new && broker.log.shared_by(name).is_none() {
            broker.tell_channel(name, true);
        }
        if let Some(victim) = victim {
            victim.evict(broker);
        }
        Ok(address)
    }

    /// The actor of a channel, if there is one that works.
    pub fn open(&self, name: &ChannelName) -> Option<Addr<Channel>> {
        let channels = self.channels.lock();
        let known = channels.actors.get(name).filter(|known| known.address.connected());
        known.map(|known| known.address.clone())
    }

    /// Whether `address` is the channel's actor, and still works.
    pub fn is_in_charge(&self, name: &ChannelName, address: &Addr<Channel>) -> bool {
        address.connected() && self.channels.lock().actors.get(name).is_some_and(|known| known.address == *address)
    }

    /// Forgets a channel that retires, if `address` is still the one in charge.
    pub fn release(&self, name: &ChannelName, address: &Addr<Channel>) {
        let mut channels = self.channels.lock();
        let Some(known) = channels.actors.get(name).filter(|known| known.address == *address) else {
            return;
        };
        match known.place {
            Place::Opening | Place::Used => channels.roster.remove(name.app(), None),
            Place::Idle(turn) => channels.roster.remove(name.app(), Some(turn)),
            Place::Going => {}
        }
        channels.actors.remove(name);
        channels.names.remove(name);
    }

    /// A channel has somebody attached from now on, or nobody; of one that had nobody before: it was used.
    pub(in crate::actors) fn note_use(
        &self,
        name: &ChannelName,
        address: &Addr<Channel>,
        is_idle: bool,
        broker: &Broker,
    ) {
        let channels = &mut *self.channels.lock();
        let Some(known) = channels.actors.get_mut(name).filter(|known| known.address == *address) else {
            return;
        };
        match known.place {
            Place::Idle(turn) => channels.roster.join(name.app(), turn),
            Place::Going => {
                channels.roster.add(name.app());
                // Not refused: somebody is attached.
                let account = broker.accounts.app(name.app());
                known.charge = Some(account.charge_anyway(Kind::Channel, limits::CHANNEL_COST));
            }
            Place::Opening | Place::Used => {}
        }
        known.place = if is_idle { Place::Idle(channels.roster.leave(name.clone())) } else { Place::Used };
    }

    /// Some channels that nobody is attached to give their windows up, those that were left first: of an app, or of the one
    /// whose windows are the largest. Whether any did.
    pub(in crate::actors) fn relieve(&self, app: Option<AppId>, broker: &Broker) -> bool {
        // Not locked for ever by whoever opens a channel and finds no room for what is known of it.
        let Some(mut channels) = self.channels.try_lock_for(limits::RELIEF_WAIT) else { return false };
        let channels = &mut *channels;
        let size = |app| broker.accounts.app(app).kept_of(Kind::Window);
        let Some(app) = app.or_else(|| channels.roster.largest(size)) else { return false };
        let oldest = |_| channels.roster.evict(app).and_then(|oldest| channels.going(oldest));
        let victims: Vec<Victim> = (0..limits::EVICTED_AT_ONCE).map_while(oldest).collect();
        let is_any = !victims.is_empty();
        victims.into_iter().for_each(|victim| victim.evict(broker));
        is_any
    }

    pub fn len(&self) -> usize {
        self.channels.lock().actors.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first `count` channels of an app that have an actor, begin with `prefix` and come after `after`, by name.
    pub fn names(&self, app: AppId, prefix: &str, after: Option<&str>, count: usize) -> Vec<ChannelName> {
        self.channels.lock().names.range(app, prefix, after).take(count).cloned().collect()
    }

    /// An actor has ended that may have been in charge, or a channel has got none. Connections that are attached to it have
    /// to be taken over.
    pub(in crate::actors) fn note_end(&self) {
        self.ended.fetch_add(1, Ordering::Release);
    }

    /// How often that has happened.
    pub(in crate::actors) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// How often an actor had to be made anew.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}

/// What is said to whoever wants another channel, and to the operator.
fn refusal(no_place: NoPlace, shares: ChannelShares, broker: &Broker) -> Fault {
    let (limit, fault) = match no_place {
        NoPlace::Server => (shares.server, Fault::Busy),
        NoPlace::App => (shares.app, Fault::AppChannels { limit: shares.app }),
    };
    if let Some(more) = broker.refusal_warning.allows(&broker.clock) {
        tracing::warn!(limit, more, "no room for another channel (limits.channels, limits.app_share)");
    }
    fault
}
