//! How many connections may be open, in all and from one address, and how fast one address may open more WebSockets and send
//! plain requests (docs/goals.md §5, docs/architecture.md §6a).
//!
//! Not here: what an admitted connection may then do (rate limits), and which address a client has
//! behind a proxy (`client_address`).

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
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
    limits::{KEPT_DESCRIPTORS, PLAIN_BESIDE, RATED_NETWORKS, RETRY_AFTER_MAX},
    live::Live,
};

/// What POSIX promises to a process that cannot even ask for its limit.
const FEWEST_DESCRIPTORS: u64 = 1024;

/// Why a WebSocket, or a plain request, was not admitted. The texts are for the log, and reach clients as the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    #[error("{cap} WebSockets are open, the most that limits.connections and the descriptor limit allow; try later")]
    Full { cap: usize },
    #[error("{cap} WebSockets from this address are open, the most that limits.connections_per_address allows")]
    AddressFull { cap: usize },
    #[error("too many {0}; try later")]
    TooOften(Rate),
    #[error("the server is shutting down; connect again in a moment")]
    Draining,
    #[error("no memory for another connection: {0}")]
    NoMemory(Full),
}

impl NotAdmitted {
    /// The HTTP status that says it: too many of this address, or no room now.
    pub const fn status(self) -> u16 {
        match self {
            Self::AddressFull { .. } | Self::TooOften(_) => 429,
            Self::Full { .. } | Self::NoMemory(_) | Self::Draining => 503,
        }
    }

    /// What it is counted as.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Full { .. } | Self::NoMemory(_) => Reason::Full,
            Self::AddressFull { .. } => Reason::AddressFull,
            Self::TooOften(_) => Reason::TooOften,
            Self::Draining => Reason::Draining,
        }
    }
}

/// How often one network may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    what: &'static str,
    /// 0 = no limit.
    pub per_second: u32,
    pub burst: u32,
    settings: &'static str,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, per_second, burst, settings } = self;
        write!(
            f,
            "{what} from this address: {per_second} a second, {burst} at once, are the most that {settings} allow"
        )
    }
}

impl Rate {
    const fn connects(limits: &config::Limits) -> Self {
        Self {
            what: "new WebSockets",
            per_second: limits.connects_per_second,
            burst: limits.connect_burst,
            settings: "limits.connects_per_second and limits.connect_burst",
        }
    }

    const fn requests(limits: &config::Limits) -> Self {
        Self {
            what: "requests",
            per_second: limits.requests_per_second,
            burst: limits.request_burst,
            settings: "limits.requests_per_second and limits.request_burst",
        }
    }

    /// The header `Retry-After`, in seconds: when a tenth of the burst is there again.
    pub fn retry_after(&self) -> u64 {
        let wait = u64::from(self.burst / 10).checked_div(u64::from(self.per_second));
        wait.unwrap_or_default().clamp(1, RETRY_AFTER_MAX)
    }
}

/// Why a TCP connection is closed at once. The texts are for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    #[error("{cap} connections are open, the most that the descriptor limit allows")]
    Full { cap: usize },
    #[error(
        "{cap} plain HTTP connections from this address are open, the most that limits.connections_per_address allows"
    )]
    AddressFull { cap: usize },
    #[error("no memory for another connection: {0}")]
    NoMemory(Full),
}

impl NotAccepted {
    /// What it is counted as.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Full { .. } | Self::NoMemory(_) => Reason::Full,
            Self::AddressFull { .. } => Reason::AddressFull,
        }
    }
}

/// The caps of the whole server, and who is in; clones are the same.
#[derive(Clone, Debug)]
pub struct Admission(Arc<Places>);

#[derive(Debug)]
struct Places {
    caps: Live<Caps>,
    // One lock, not one per shard: it is taken a few times in the life of a connection, for a map lookup.
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Caps {
    /// WebSockets.
    total: usize,
    /// WebSockets and plain HTTP connections together, and with those from this machine.
    sockets: usize,
    with_operators: usize,
    /// Of each kind; 0 = no cap.
    per_network: usize,
    connects: Rate,
    requests: Rate,
    exempt_loopback: bool,
}

#[derive(Debug, Default)]
struct Open {
    web_sockets: Count,
    plain: Count,
    connects: Arrivals,
    requests: Arrivals,
}

#[derive(Debug, Default)]
struct Count {
    total: usize,
    /// Only networks that have a connection open, so never more entries than `total`.
    by_network: HashMap<Network, usize>,
}

impl Count {
    fn of(&self, network: Option<Network>) -> usize {
        network.and_then(|network| self.by_network.get(&network)).copied().unwrap_or(0)
    }

    fn add(&mut self, network: Option<Network>) {
        self.total += 1;
        if let Some(network) = network {
            *self.by_network.entry(network).or_default() += 1;
        }
    }

    fn remove(&mut self, network: Option<Network>) {
        self.total -= 1;
        if let Some(network) = network
            && let Entry::Occupied(mut from_there) = self.by_network.entry(network)
        {
            *from_there.get_mut() -= 1;
            if *from_there.get() == 0 {
                from_there.remove();
            }
        }
    }
}

/// When each network will have made up for what it has done: the generic cell rate algorithm, a bucket
/// that needs no more than one time.
#[derive(Debug, Default)]
struct Arrivals(HashMap<Network, Duration>);

impl Arrivals {
    /// Whether `network` may once more at `now` (monotonic); counts it.
    fn allow(&mut self, network: Network, now: Duration, Rate { per_second, burst, .. }: Rate) -> bool {
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

/// The right to one open connection; dropping it gives the place back.
#[derive(Debug)]
#[must_use = "the place is given back as soon as the permit is dropped"]
pub struct Permit {
    places: Arc<Places>,
    /// `None` when this connection is not counted by address.
    network: Option<Network>,
    is_plain: bool,
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
        if open.web_sockets.total >= caps.total {
            return Err(NotAdmitted::Full { cap: caps.total });
        }
        let network = caps.counted_network(address);
        if network.is_some() && open.web_sockets.of(network) >= caps.per_network {
            return Err(NotAdmitted::AddressFull { cap: caps.per_network });
        }
        if !caps.is_exempt(address) && !open.connects.allow(Network::of(address), now, caps.connects) {
            return Err(NotAdmitted::TooOften(caps.connects));
        }
        open.web_sockets.add(network);
        Ok(Permit { places: Arc::clone(places), network, is_plain: false })
    }

    /// Takes a place for a TCP connection from `address`, which is plain HTTP until it gives it up. A network may have as many
    /// of them as of WebSockets, and some more.
    ///
    /// # Errors
    /// [`NotAccepted`], naming the cap that was reached.
    pub fn accept(&self, address: IpAddr, is_proxy: bool) -> Result<Permit, NotAccepted> {
        let places = &self.0;
        let caps = places.caps.get();
        let mut open = places.open.lock();
        let cap = if address.to_canonical().is_loopback() { caps.with_operators } else { caps.sockets };
        if open.web_sockets.total + open.plain.total >= cap {
            return Err(NotAccepted::Full { cap });
        }
        let network = caps.counted_network(address).filter(|_| !is_proxy);
        let plain = caps.per_network + PLAIN_BESIDE;
        if network.is_some() && open.plain.of(network) >= plain {
            return Err(NotAccepted::AddressFull { cap: plain });
        }
        open.plain.add(network);
        Ok(Permit { places: Arc::clone(places), network, is_plain: true })
    }

    /// Counts a plain request from `address`; `now` is monotonic. Gives the network whose share of memory it counts against.
    pub fn request(&self, address: IpAddr, now: Duration) -> Result<Option<Network>, NotAdmitted> {
        let caps = self.0.caps.get();
        let is_within =
            caps.is_exempt(address) || self.0.open.lock().requests.allow(Network::of(address), now, caps.requests);
        if is_within { Ok(caps.counted_network(address)) } else { Err(NotAdmitted::TooOften(caps.requests)) }
    }

    /// The network whose account pays for a client at `address`; none where clients are not counted by address.
    pub fn network(&self, address: IpAddr) -> Option<Network> {
        self.0.caps.get().counted_network(address)
    }

    /// WebSockets open now.
    pub fn open(&self) -> usize {
        self.0.open.lock().web_sockets.total
    }
}

impl Caps {
    fn of(limits: &config::Limits) -> Self {
        let descriptors = descriptor_limit();
        Self {
            total: total_cap(limits.connections, descriptors),
            sockets: total_cap(0, descriptors),
            with_operators: total_cap(0, descriptors + descriptors / KEPT_DESCRIPTORS / 2),
            per_network: limits.connections_per_address,
            connects: Rate::connects(limits),
            requests: Rate::requests(limits),
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
        let count = if self.is_plain { &mut open.plain } else { &mut open.web_sockets };
        count.remove(self.network);
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
    let safe = usize::try_from(descriptors - descriptors / KEPT_DESCRIPTORS).unwrap_or(usize::MAX);
    if configured == 0 { safe } else { configured.min(safe) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn caps(total: usize, per_network: usize, exempt_loopback: bool) -> Caps {
        let limits =
            config::Limits { connects_per_second: 0, requests_per_second: 0, ..Config::defaults().unwrap().limits };
        Caps { total, sockets: total, with_operators: total, per_network, exempt_loopback, ..Caps::of(&limits) }
    }

    fn with(caps: Caps) -> Admission {
        Admission(Arc::new(Places { caps: Live::new(caps), open: Mutex::default() }))
    }

    fn admission(total: usize, per_network: usize, exempt_loopback: bool) -> Admission {
        with(caps(total, per_network, exempt_loopback))
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    fn networks(admission: &Admission) -> usize {
        admission.0.open.lock().web_sockets.by_network.len()
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
        let rate = Rate { per_second: 2, burst: 3, ..caps(100, 0, true).connects };
        let admission = with(Caps { connects: rate, ..caps(100, 0, true) });
        let at = |host: &str, millis| admission.admit(ip(host), Duration::from_millis(millis)).err();
        let refused = Some(NotAdmitted::TooOften(rate));
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
        assert!(admission.0.open.lock().connects.0.len() < 20);
    }

    /// findings B3: plain connections count like WebSockets, each kind for itself; what is left of the descriptors is for
    /// operators on this machine.
    #[test]
    fn plain_connections_are_counted() {
        let cap = PLAIN_BESIDE + 2;
        let admission = with(Caps { with_operators: cap + 3, ..caps(cap + 2, 2, false) });
        let accept = |host| admission.accept(ip(host), false);
        let held: Vec<_> = (0..cap).map(|_| accept("10.0.0.1").unwrap()).collect();
        assert_eq!(accept("10.0.0.1").unwrap_err(), NotAccepted::AddressFull { cap });
        let web_socket = admission.admit(ip("10.0.0.1"), Duration::ZERO).unwrap();
        // A proxy's own address is nobody's.
        let proxied = admission.accept(ip("10.0.0.1"), true).unwrap();
        assert_eq!(accept("10.0.0.2").unwrap_err(), NotAccepted::Full { cap: cap + 2 });
        let operator = accept("127.0.0.1").unwrap();
        assert_eq!(accept("127.0.0.1").unwrap_err(), NotAccepted::Full { cap: cap + 3 });
        drop((held, web_socket, proxied, operator));
        assert!(accept("10.0.0.2").is_ok());
        assert_eq!(admission.0.open.lock().plain.by_network.len(), 0);
    }

    /// findings B3: so are plain requests rated.
    #[test]
    fn plain_requests_are_rated() {
        let rate = Rate { per_second: 2, burst: 30, ..caps(1, 1, false).requests };
        let admission = with(Caps { requests: rate, ..caps(1, 1, false) });
        let ask = |millis| admission.request(ip("10.0.0.1"), Duration::from_millis(millis));
        for _ in 0..30 {
            assert_eq!(ask(0), Ok(Some(Network::of(ip("10.0.0.1")))));
        }
        let refused = ask(499).unwrap_err();
        assert_eq!((refused, rate.retry_after()), (NotAdmitted::TooOften(rate), 1));
        assert!(refused.to_string().contains("30 at once, are the most that limits.requests_per_second"), "{refused}");
        assert!(ask(500).is_ok());
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
                prop_assert!(admission.0.open.lock().web_sockets.by_network.values().all(|open| (1..=3).contains(open)));
            }
        }
    }
}
