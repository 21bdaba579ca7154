//! Which protocol is served on which port, and by which paths (docs/architecture.md §8).
//!
//! A protocol with a `port` of its own is served there and, without TLS, nowhere else; all others share `server.port`.
//! That one is opened only if a protocol is served there: so a drop-in profile opens the older server's port and no
//! other, with the operations beside it, and two profiles can run on one machine.
//!
//! `check` looks here for two that claim one path, `app` for what to bind. Another protocol is one more [`Protocol`],
//! its row in [`OWN_PORTS`] and its paths in [`Protocol::routes`].

use std::fmt;

use super::Config;

/// What answers requests: a protocol, or the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Operations,
    LetShare,
    Ably,
    Relay,
    PostOffice,
    Chat,
    Group,
    /// The console and the admin API.
    Console,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operations => "operations",
            Self::LetShare => "LetShare",
            Self::Ably => "Ably",
            Self::Relay => "relay",
            Self::PostOffice => "postoffice",
            Self::Chat => "chat",
            Self::Group => "group",
            Self::Console => "console",
        })
    }
}

/// One port and who is served there, in the order in which routes are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// 0 = a free one.
    pub port: u16,
    /// The setting that the port comes from.
    pub key: &'static str,
    pub protocols: Vec<Protocol>,
}

/// A path that a protocol answers, whatever the method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub protocol: Protocol,
    pub path: String,
    /// Everything below it as well.
    pub is_tree: bool,
    /// The setting that claims it.
    pub key: &'static str,
}

const SHARED_PORT: &str = "server.port";

/// First segments that are Ably's alone, whatever follows.
pub const ABLY_ROOTS: [&str; 12] = [
    "time",
    "keys",
    "channels",
    "apps",
    "is-the-internet-up.txt",
    "messages",
    "presence",
    "push",
    "stats",
    "comet",
    "sse",
    "event-stream",
];

/// The protocols that may have a port of their own, with the setting of it.
const OWN_PORTS: [(Protocol, &str); 5] = [
    (Protocol::Relay, "relay.port"),
    (Protocol::PostOffice, "postoffice.port"),
    (Protocol::Chat, "chat.port"),
    (Protocol::Group, "group.port"),
    (Protocol::Console, "console.port"),
];

impl Protocol {
    /// The setting of its own port, if it may have one.
    pub fn port_key(self) -> Option<&'static str> {
        OWN_PORTS.iter().find(|(protocol, _)| *protocol == self).map(|(_, key)| *key)
    }

    /// Whether it is switched on, and its own port, if it has one.
    fn is_on(self, config: &Config) -> (bool, Option<u16>) {
        let Config { relay, postoffice, chat, group, console, .. } = config;
        match self {
            Self::Operations => (true, None),
            Self::LetShare => (config.letshare.enabled, None),
            Self::Ably => (config.ably.enabled, None),
            Self::Relay => (relay.enabled, relay.port),
            Self::PostOffice => (postoffice.enabled, postoffice.port),
            Self::Chat => (chat.enabled, chat.port),
            Self::Group => (group.enabled, group.port),
            Self::Console => (console.enabled, console.port),
        }
    }
}

impl Config {
    /// What listens without TLS, the shared port first.
    pub fn listeners(&self) -> Vec<Listener> {
        // Ably before LetShare: it takes from `/` what names a version, LetShare the rest.
        let common = [Protocol::Ably, Protocol::LetShare].into_iter().filter(|protocol| protocol.is_on(self).0);
        let mut listeners = vec![Listener { port: self.server.port, key: SHARED_PORT, protocols: common.collect() }];
        for (protocol, key) in OWN_PORTS {
            let (true, own_port) = protocol.is_on(self) else { continue };
            let known = match own_port {
                None => listeners.first_mut(),
                // Each 0 is another port.
                Some(0) => None,
                Some(port) => listeners.iter_mut().find(|known| known.port == port),
            };
            match known {
                Some(listener) => listener.protocols.push(protocol),
                None => listeners.push(Listener { port: own_port.unwrap_or_default(), key, protocols: vec![protocol] }),
            }
        }
        if listeners.len() > 1 && listeners.first().is_some_and(|shared| shared.protocols.is_empty()) {
            listeners.remove(0);
            for listener in &mut listeners {
                listener.protocols.push(Protocol::Operations);
            }
        } else if let Some(shared) = listeners.first_mut() {
            shared.protocols.insert(0, Protocol::Operations);
        }
        // The page asks these as well.
        let beside = [Protocol::Operations, Protocol::Ably, Protocol::LetShare].into_iter();
        let beside = beside.filter(|protocol| protocol.is_on(self).0);
        for listener in listeners.iter_mut().filter(|listener| listener.key == "console.port") {
            let missing: Vec<_> = beside.clone().filter(|protocol| !listener.serves(*protocol)).collect();
            listener.protocols.extend(missing);
        }
        listeners
    }

    /// What is served on the TLS port: everybody, the shared port's first, but for those whose paths are taken by then.
    pub fn tls_listener(&self) -> Listener {
        let mut tls = Listener { port: self.tls.port, key: "tls.port", protocols: Vec::new() };
        for protocol in self.listeners().into_iter().flat_map(|listener| listener.protocols) {
            let taken = tls.routes(self);
            let is_free = |route: &Route| !taken.iter().any(|known| known.excludes(route));
            let is_elsewhere = protocol == Protocol::Console && self.console.port.is_some();
            let is_known = tls.serves(protocol) || protocol == Protocol::Operations;
            if !is_known && !is_elsewhere && protocol.routes(self).iter().all(is_free) {
                tls.protocols.push(protocol);
            }
        }
        tls.protocols.push(Protocol::Operations);
        tls
    }
}

impl Listener {
    /// The names of what is served, for messages.
    pub fn names(&self) -> String {
        self.protocols.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    pub fn serves(&self, protocol: Protocol) -> bool {
        self.protocols.contains(&protocol)
    }

    /// Every path that is answered on this port.
    pub fn routes(&self, config: &Config) -> Vec<Route> {
        let routes = self.protocols.iter();
        routes.flat_map(|protocol| protocol.routes(config)).collect()
    }

    /// Pairs of routes of which only one could be reached. On the port of an older server its `/health` is meant where
    /// both have one: the operations only fill in what it has not.
    pub fn conflicts(&self, config: &Config) -> Vec<(Route, Route)> {
        let mut routes = self.routes(config);
        if self.key != SHARED_PORT {
            routes.retain(|route| route.protocol != Protocol::Operations);
        }
        let mut conflicts = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            let earlier = routes[..index].iter();
            let clash = earlier.filter(|earlier| earlier.excludes(route));
            conflicts.extend(clash.map(|earlier| (earlier.clone(), route.clone())));
        }
        let keys = |(earlier, later): &(Route, Route)| (earlier.key, later.key);
        conflicts.dedup_by_key(|conflict| keys(conflict));
        conflicts
    }
}

impl Protocol {
    /// Its paths, by its settings.
    pub fn routes(self, config: &Config) -> Vec<Route> {
        let route = |path: &str, is_tree, key| Route { protocol: self, path: path.to_owned(), is_tree, key };
        let (exact, tree) = (|path: &str, key| route(path, false, key), |path: &str, key| route(path, true, key));
        let Config { relay, postoffice, chat, group, .. } = config;
        match self {
            Self::Operations => {
                ["/health", "/healthz", "/ready", "/readyz", "/metrics"].map(|path| exact(path, SHARED_PORT)).into()
            }
            Self::Console => ["/console", "/admin/api"].map(|path| tree(path, "console.enabled")).into(),
            Self::LetShare => ["/", "/ws", "/api/pro/activate"].map(|path| exact(path, "letshare.enabled")).into(),
            Self::Ably => {
                let roots = ABLY_ROOTS.iter().map(|root| tree(&format!("/{root}"), "ably.enabled"));
                roots.chain([exact("/", "ably.enabled")]).collect()
            }
            Self::Relay => [
                exact(&relay.ws_path, "relay.ws_path"),
                exact(&relay.push_path, "relay.push_path"),
                tree(&format!("{}/scheduled", relay.push_path), "relay.push_path"),
                exact(&relay.health_path, "relay.health_path"),
            ]
            .into_iter()
            .chain(relay.stats_path.iter().map(|path| exact(path, "relay.stats_path")))
            .collect(),
            Self::PostOffice if postoffice.takes_any_path() => vec![tree("", "postoffice.any_path")],
            Self::PostOffice => {
                let sockets = postoffice.ws_paths().into_iter().map(|path| exact(path, "postoffice.ws_path"));
                let threads = postoffice.threads_path.iter().map(|path| exact(path, "postoffice.threads_path"));
                let pages = [
                    exact(&postoffice.health_path, "postoffice.health_path"),
                    exact(&postoffice.stats_path, "postoffice.stats_path"),
                ];
                sockets.chain(threads).chain(pages).collect()
            }
            Self::Chat => vec![
                exact(&chat.ws_path, "chat.ws_path"),
                tree(&chat.api_path, "chat.api_path"),
                tree(&chat.room_path, "chat.room_path"),
                exact(&chat.health_path, "chat.health_path"),
            ],
            Self::Group => vec![
                exact(&group.ws_path, "group.ws_path"),
                exact(&group.health_path, "group.health_path"),
                exact(&group.stats_path, "group.stats_path"),
                tree(&group.api_path, "group.api_path"),
            ],
        }
    }
}

impl Route {
    pub fn matches(&self, path: &str) -> bool {
        path.strip_prefix(&*self.path).is_some_and(|rest| rest.is_empty() || self.is_tree && rest.starts_with('/'))
    }

    /// Whether one request could be meant for both.
    fn excludes(&self, other: &Self) -> bool {
        // These two share `/`: Ably's have a query with `v`.
        let share = |route: &Self| matches!(route.protocol, Protocol::LetShare | Protocol::Ably);
        if share(self) && share(other) {
            return false;
        }
        self.matches(&other.path) || other.matches(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(adjust: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config::for_tests();
        config.relay.enabled = true;
        adjust(&mut config);
        config
    }

    fn clashes(config: &Config) -> Vec<(&'static str, &'static str)> {
        let conflicts = |listener: &Listener| listener.conflicts(config);
        let all = config.listeners();
        let pairs = all.iter().flat_map(conflicts);
        pairs.map(|(earlier, later)| (earlier.key, later.key)).collect()
    }

    #[test]
    fn a_protocol_is_on_the_shared_port_or_on_its_own() {
        let ports = |config: &Config| -> Vec<(u16, usize)> {
            let all = config.listeners().into_iter();
            all.map(|listener| (listener.port, listener.protocols.len())).collect()
        };
        assert_eq!(ports(&Config::for_tests()), [(8080, 3)]);
        assert_eq!(ports(&relay(|_| {})), [(8080, 4)]);
        let own = |port| relay(|config| config.relay.port = Some(port));
        assert_eq!(ports(&own(3000)), [(8080, 3), (3000, 1)]);
        assert_eq!(ports(&own(8080)), [(8080, 4)]);
        let free = relay(|config| (config.server.port, config.relay.port) = (0, Some(0)));
        assert_eq!(ports(&free), [(0, 3), (0, 1)]);
        let shared = relay(|config| config.server.port = 0);
        assert_eq!(ports(&shared), [(0, 4)]);
    }

    /// Only the relay and the post office, each on a port of its own.
    fn apart() -> Config {
        relay(|config| {
            (config.letshare.enabled, config.ably.enabled) = (false, false);
            (config.relay.port, config.relay.health_path) = (Some(3000), "/health".into());
            config.postoffice.enabled = true;
            (config.postoffice.port, config.postoffice.health_path) = (Some(7502), "/health".into());
        })
    }

    /// findings O6: nobody is on the shared port, so it is not opened, and the operations are where the others are.
    #[test]
    fn the_shared_port_is_opened_for_somebody_only() {
        let listening: Vec<_> = apart().listeners().into_iter().map(|one| (one.port, one.protocols)).collect();
        let with_operations = |protocol| vec![protocol, Protocol::Operations];
        let expected = [(3000, with_operations(Protocol::Relay)), (7502, with_operations(Protocol::PostOffice))];
        assert_eq!(listening, expected);
        assert_eq!(clashes(&apart()), []);
        let nobody = relay(|config| {
            (config.letshare.enabled, config.ably.enabled, config.relay.enabled) = (false, false, false);
        });
        assert_eq!(nobody.listeners().len(), 1, "somebody asks for the operations");
    }

    /// findings O5: the TLS port serves what the others serve, unless two claim a path.
    #[test]
    fn the_tls_port_serves_everybody_whose_paths_are_free() {
        use Protocol::{Ably, LetShare, Operations, PostOffice, Relay};
        let on_tls = |config: &Config| config.tls_listener().protocols;
        let profile = relay(|config| {
            config.letshare.enabled = false;
            config.relay.port = Some(3000);
            config.relay.health_path = "/health".into();
        });
        assert_eq!(on_tls(&profile), [Ably, Relay, Operations]);
        let clash = relay(|config| (config.relay.port, config.relay.ws_path) = (Some(3000), "/ws".into()));
        assert_eq!(on_tls(&clash), [Ably, LetShare, Operations]);
        // Both have `/health`; the relay comes first.
        assert_eq!(on_tls(&apart()), [Relay, Operations]);
        let post = relay(|config| {
            (config.letshare.enabled, config.ably.enabled, config.relay.enabled) = (false, false, false);
            (config.postoffice.enabled, config.postoffice.port) = (true, Some(7502));
            config.postoffice.any_path = true;
        });
        assert_eq!(on_tls(&post), [PostOffice, Operations]);
    }

    /// docs/architecture.md §8: the defaults do not collide.
    #[test]
    fn the_defaults_do_not_collide() {
        assert_eq!(clashes(&relay(|_| {})), []);
        let all = relay(|config| {
            config.postoffice.enabled = true;
            config.chat.enabled = true;
        });
        assert_eq!(clashes(&all), []);
    }

    #[test]
    fn every_clash_is_found() {
        let original = |config: &mut Config| {
            config.relay.ws_path = "/ws".into();
            config.relay.push_path = "/channels/x".into();
            config.relay.health_path = "/health".into();
        };
        assert_eq!(
            clashes(&relay(original)),
            [
                ("letshare.enabled", "relay.ws_path"),
                ("ably.enabled", "relay.push_path"),
                ("server.port", "relay.health_path"),
            ]
        );
        let apart = relay(|config| {
            original(config);
            config.relay.port = Some(3000);
        });
        assert_eq!(clashes(&apart), []);
        // docs/protocols/relay.md §1: `ws_path` = `push_path` or = the health path.
        let within = relay(|config| {
            config.relay.port = Some(3000);
            config.relay.ws_path = "/same".into();
            config.relay.push_path = "/same".into();
            config.relay.health_path = "/same/scheduled/x".into();
        });
        assert_eq!(clashes(&within), [("relay.ws_path", "relay.push_path"), ("relay.push_path", "relay.health_path"),]);
    }
}
