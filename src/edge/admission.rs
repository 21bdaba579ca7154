//! How many WebSockets may be open, in all and from one address, and how fast one address may open more (docs/goals.md §5).
//!
//! Not here: what an admitted connection may then do (rate limits), and which address a client has
//! behind a proxy (`client_address`).

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use nix::sys::resource::{Resource, getrlimit};
use parking_lot::Mutex;

use crate::{
    actors::{accounts::Full, refusals::Reason},
    config,
    ids::Network,
    limits::RATED_NETWORKS,
    live::Live,
};

/// What POSIX promises to a process that cannot even ask for its limit.
const FEWEST_DESCRIPTORS: u64 = 1024;

/// Why a WebSocket was not admitted. The texts are for the log, and reach clients as the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    #[error("{cap} WebSockets are open, the most that limits.connections and the descriptor limit allow; try later")]
    Full { cap: usize },
    #[error("{cap} WebSockets from this address are open, the most that limits.connections_per_address allows")]
    AddressFull { cap: usize },
    #[error(
        "too many new WebSockets from this address: {per_second} a second, {burst} at once, are the most that \
         limits.connects_per_second and limits.connect_burst allow; try later"
    )]
    TooOften { per_second: u32, burst: u32 },
    #[error("the server is shutting down; connect again in a moment")]
    Draining,
    #[error("no memory for another connection: {0}")]
    NoMemory(Full),
}

impl NotAdmitted {
    /// The HTTP status that says it: too many of this address, or no room now.
    pub const fn status(self) -> u16 {
        match self {
            Self::AddressFull { .. } | Self::TooOften { .. } => 429,
            Self::Full { .. } | Self::NoMemory(_) | Self::Draining => 503,
        }
    }

    /// What it is counted as.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Full { .. } | Self::NoMemory(_) => Reason::Full,
            Self::AddressFull { .. } => Reason::AddressFull,
            Self::TooOften { .. } => Reason::TooOften,
            Self::Draining => Reason::Draining,
        }
    }
}

/// The caps of the whole server, and who is in; clones are the same.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Places>);

#[derive(Debug)]
struct Places {
    caps: Live<Caps>,
    // One lock, not one per shard: it is taken twice in the life of a connection, for a map lookup.
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Caps {
    total: usize,
    /// 0 = no cap.
    per_network: usize,
    /// 0 = no limit.
    per_second: u32,
    burst: u32,
    exempt_loopback: bool,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    /// Only networks that have a connection open, so never more entries than `total`.
    by_network: HashMap<Network, usize>,
    arrivals: Arrivals,
}

/// When each network will have made up for the connections that it has opened: the generic cell rate algorithm, a bucket
/// that needs no more than one time.
#[derive(Debug, Default)]
struct Arrivals(HashMap<Network, Duration>);

impl Arrivals {
    /// Whether `network` may open one more at `now` (monotonic); counts it.
    fn allow(&mut self, network: Network, now: Duration, per_second: u32, burst: u32) -> bool {
        let Some(step) = Duration::from_secs(1).checked_div(per_second) else { return true };
        let made_up = self.0.get(&network).map_or(now, |made_up| now.max(*made_up)) + step;
        if made_up > now + step.saturating_mul(burst) {
            return false;
        }
        // Whoever adds sweeps, when it pays: the map never holds more than twice what it must.
        if self.0.len() == self.0.capacity() {
            self.0.retain(|_, made_up| *made_up > now);
        }
        if self.0.len() < RATED_NETWORKS || self.0.contains_key(&network) {
            self.0.insert(network, made_up);
        }
        true
    }
}

/// The right to one open WebSocket; dropping it gives the place back.
#[derive(Debug)]
#[must_use = "the place is given back as soon as the permit is dropped"]
pub struct Permit {
    places: Arc<Places>,
    /// `None` when this connection is not counted by address.
    network: Option<Network>,
}

impl Permit {
    /// Whose share of memory it counts against.
    pub const fn network(&self) -> Option<Network> {
        self.network
    }
}

impl Admission {
    /// `limits.connections` never counts for more than nine tenths of the descriptors that this
    /// process may open: the last tenth is for files, the log and connections to be refused.
    pub fn new(limits: &config::Limits) -> Self {
        Self(Arc::new(Places { caps: Live::new(Caps::of(limits)), open: Mutex::default() }))
    }

    /// Other caps from now on; whoever is in stays.
    pub fn set_limits(&self, limits: &config::Limits) {
        self.0.caps.set(Caps::of(limits));
    }

    /// Takes a place for one WebSocket from `address`; `now` is monotonic.
    ///
    /// # Errors
    /// [`NotAdmitted`], naming the cap that was reached.
    pub fn admit(&self, address: IpAddr, now: Duration) -> Result<Permit, NotAdmitted> {
        let places = &self.0;
        let caps = places.caps.get();
        let mut open = places.open.lock();
        if open.total >= caps.total {
            return Err(NotAdmitted::Full { cap: caps.total });
        }
        let network = caps.counted_network(address);
        let from_there = network.and_then(|network| open.by_network.get(&network)).copied().unwrap_or(0);
        if network.is_some() && from_there >= caps.per_network {
            return Err(NotAdmitted::AddressFull { cap: caps.per_network });
        }
        let Caps { per_second, burst, .. } = *caps;
        if !caps.is_exempt(address) && !open.arrivals.allow(Network::of(address), now, per_second, burst) {
            return Err(NotAdmitted::TooOften { per_second, burst });
        }
        if let Some(network) = network {
            open.by_network.insert(network, from_there + 1);
        }
        open.total += 1;
        Ok(Permit { places: Arc::clone(places), network })
    }

    /// WebSockets open now.
    pub fn open(&self) -> usize {
        self.0.open.lock().total
    }
}

impl Caps {
    fn of(limits: &config::Limits) -> Self {
        Self {
            total: total_cap(limits.connections, descriptor_limit()),
            per_network: limits.connections_per_address,
            per_second: limits.connects_per_second,
            burst: limits.connect_burst,
            exempt_loopback: limits.exempt_loopback,
        }
    }

    fn counted_network(&self, address: IpAddr) -> Option<Network> {
        (self.per_network > 0 && !self.is_exempt(address)).then(|| Network::of(address))
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        self.exempt_loopback && address.to_canonical().is_loopback()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.places.open.lock();
        open.total -= 1;
        if let Some(network) = self.network
            && let Entry::Occupied(mut from_there) = open.by_network.entry(network)
        {
            *from_there.get_mut() -= 1;
            if *from_there.get() == 0 {
                from_there.remove();
            }
        }
    }
}

/// How many files this process may open.
fn descriptor_limit() -> u64 {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _hard)) => soft,
        Err(error) => {
            tracing::warn!(%error, "cannot read the descriptor limit; {FEWEST_DESCRIPTORS} assumed");
            FEWEST_DESCRIPTORS
        }
    }
}

/// A warning for each setting that promises more connections than the descriptors of this process are enough for.
pub fn broken_promises(config: &config::Config) -> Vec<String> {
    let descriptors = descriptor_limit();
    let older = [
        ("group.max_connections", config.group.enabled, config.group.max_connections),
        ("postoffice.max_connections", config.postoffice.enabled, config.postoffice.max_connections),
    ];
    let promises = [("limits.connections", true, config.limits.connections)].into_iter().chain(older);
    let safe = total_cap(0, descriptors);
    let broken = promises.filter(|(_, is_on, promised)| *is_on && *promised > safe);
    let warnings = broken.map(|(key, _, promised)| {
        format!(
            "{key} is {promised}, but with a limit of {descriptors} open files only {safe} are safe; raise the hard \
             limit (ulimit -Hn, LimitNOFILE=, docker run --ulimit nofile=) or lower the setting"
        )
    });
    warnings.collect()
}

/// `configured` = 0 asks for as many as the descriptors allow.
fn total_cap(configured: usize, descriptors: u64) -> usize {
    let safe = usize::try_from(descriptors - descriptors / 10).unwrap_or(usize::MAX);
    if configured == 0 { safe } else { configured.min(safe) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn admission(total: usize, per_network: usize, exempt_loopback: bool) -> Admission {
        let caps = Live::new(Caps { total, per_network, per_second: 0, burst: 1, exempt_loopback });
        Admission(Arc::new(Places { caps, open: Mutex::default() }))
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    fn networks(admission: &Admission) -> usize {
        admission.0.open.lock().by_network.len()
    }

    #[test]
    fn the_total_is_capped_and_a_dropped_permit_makes_room() {
        let admission = admission(2, 0, false);
        let first = admission.admit(ip("127.0.0.1"), Duration::ZERO).unwrap();
        let _second = admission.admit(ip("127.0.0.2"), Duration::ZERO).unwrap();
        assert_eq!(admission.admit(ip("127.0.0.3"), Duration::ZERO).unwrap_err(), NotAdmitted::Full { cap: 2 });
        drop(first);
        assert!(admission.clone().admit(ip("127.0.0.3"), Duration::ZERO).is_ok());
    }

    #[test]
    fn each_address_has_its_own_cap() {
        let admission = admission(100, 2, false);
        let _held = [
            admission.admit(ip("10.0.0.1"), Duration::ZERO).unwrap(),
            admission.admit(ip("10.0.0.1"), Duration::ZERO).unwrap(),
        ];
        let refusal = NotAdmitted::AddressFull { cap: 2 };
        assert_eq!(admission.admit(ip("10.0.0.1"), Duration::ZERO).unwrap_err(), refusal);
        assert_eq!(admission.admit(ip("::ffff:10.0.0.1"), Duration::ZERO).unwrap_err(), refusal);
        assert!(admission.admit(ip("10.0.0.2"), Duration::ZERO).is_ok());
        assert_eq!(admission.open(), 2);
    }

    #[test]
    fn ipv6_is_counted_by_its_64() {
        let admission = admission(100, 1, false);
        let _held = admission.admit(ip("2001:db8:0:1::1"), Duration::ZERO).unwrap();
        assert!(admission.admit(ip("2001:db8:0:1:ffff::2"), Duration::ZERO).is_err());
        assert!(admission.admit(ip("2001:db8:0:2::1"), Duration::ZERO).is_ok());
    }

    #[test]
    fn loopback_is_exempt_from_the_cap_by_address_only_when_asked() {
        for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"].map(ip) {
            let exempt = admission(3, 1, true);
            let held: Vec<_> = (0..3).map(|_| exempt.admit(loopback, Duration::ZERO).unwrap()).collect();
            assert_eq!(exempt.admit(loopback, Duration::ZERO).unwrap_err(), NotAdmitted::Full { cap: 3 });
            assert_eq!(held.len(), exempt.open());

            let strict = admission(3, 1, false);
            let _held = strict.admit(loopback, Duration::ZERO).unwrap();
            assert!(strict.admit(loopback, Duration::ZERO).is_err());
        }
    }

    #[test]
    fn the_descriptor_limit_bounds_every_setting() {
        assert_eq!(total_cap(0, 20_000), 18_000);
        assert_eq!(total_cap(500, 20_000), 500);
        assert_eq!(total_cap(50_000, 1024), 922);
        assert!(total_cap(0, u64::MAX) > 1 << 60);
    }

    #[test]
    fn threads_share_one_count() {
        let admission = admission(1000, 10, false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for host in 0..200u8 {
                        let _permit = admission.admit(IpAddr::from([10, 0, 0, host]), Duration::ZERO).unwrap();
                    }
                });
            }
        });
        assert_eq!((admission.open(), networks(&admission)), (0, 0));
    }

    /// findings B6: new connections of a network are rated; what was refused counts for nothing.
    #[test]
    fn new_connections_of_a_network_are_rated() {
        let caps = Caps { total: 100, per_network: 0, per_second: 2, burst: 3, exempt_loopback: true };
        let admission = Admission(Arc::new(Places { caps: Live::new(caps), open: Mutex::default() }));
        let at = |host: &str, millis| admission.admit(ip(host), Duration::from_millis(millis)).err();
        let refused = Some(NotAdmitted::TooOften { per_second: 2, burst: 3 });
        for _ in 0..3 {
            assert_eq!(at("10.0.0.1", 0), None);
        }
        assert_eq!((at("10.0.0.1", 0), at("10.0.0.1", 499)), (refused, refused));
        assert_eq!((at("10.0.0.2", 499), at("127.0.0.1", 499)), (None, None));
        assert_eq!((at("10.0.0.1", 500), at("10.0.0.1", 500)), (None, refused));
        for host in 0..1_000_u32 {
            let address = IpAddr::from(host.to_be_bytes());
            drop(admission.admit(address, Duration::from_secs(10 + u64::from(host))));
        }
        assert!(admission.0.open.lock().arrivals.0.len() < 20);
    }

    proptest! {
        #[test]
        fn the_map_holds_open_networks_only(steps in proptest::collection::vec((0..6u8, any::<bool>()), 0..200)) {
            let admission = admission(20, 3, false);
            let mut held = Vec::new();
            for (host, opens) in steps {
                if opens {
                    held.extend(admission.admit(IpAddr::from([10, 0, 0, host]), Duration::ZERO).ok());
                } else if !held.is_empty() {
                    drop(held.swap_remove(usize::from(host) % held.len()));
                }
                prop_assert_eq!(admission.open(), held.len());
                prop_assert!(networks(&admission) <= held.len());
                prop_assert!(admission.0.open.lock().by_network.values().all(|open| (1..=3).contains(open)));
            }
        }
    }
}
