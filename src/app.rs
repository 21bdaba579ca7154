//! Wiring only: from a configuration to a running server. Tests start servers by the same function.

use std::{
    io,
    net::SocketAddr,
    num::NonZeroU32,
    path::Path,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use actix::Actor as _;
use actix_web::rt;
use anyhow::Context as _;
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    actors::{
        accounts::Accounts,
        attendants::Attendants,
        broker::{Broker, Settings},
        channels::{Reaper, directory::Directory, listening::Listening},
        connections::Connections,
        metrics::Metrics,
        nodes::{self, About, Change, Port, Table},
        refusals::Refusals,
        relief,
        stats::{Stats, TellBy},
    },
    auth::{
        Leeway,
        ably::{
            ConnectionKeys, Gate, ServerSecret,
            local_key::{self, LocalKey},
        },
        apps::{App, Apps},
        key_file::KeyFileFault,
        relay_key,
    },
    clock::{Clock, OncePerSecond},
    config::{Config, Draft, Durability, Engine, Listener},
    core::{keepalive::Timeouts, rate::FrameRate, rules::Namespaces, window::Bounds},
    edge::{admission::Admission, own_hosts::OwnHosts},
    ids::AppId,
    limits,
    live::Live,
    log::{Log, memory::MemoryLog},
    ops::{Admin, admin::door::Door, logs::Dropped},
    protocols::{
        ably::{self, nodes::Common, nonces::StoredNonces, revocations::StoredRevocations},
        letshare,
    },
    store::Store,
};

mod admin;
mod cluster;
pub mod import;
mod listen;
mod memory;
mod older;
mod operations;
mod prepare;
mod reload;
mod running;
mod site;
mod storage;

use admin::AdminHooks;
use cluster::Joined;
use listen::Bound;
use older::{Older, Read};
use operations::Operations;
pub use prepare::{Prepared, load, prepare};
use reload::Reloader;
pub use running::Running;
use site::{Origins, Site};
use storage::{Places, SharedRedis, Storage};

/// Starts a server with settings that a program has made.
///
/// # Errors
/// As [`prepare`] and [`launch`].
pub fn start(config: &Config, clock: Clock) -> anyhow::Result<Running> {
    let prepared = prepare(Draft::of(config.clone()), &clock)?;
    launch(prepared, clock, None)
}

/// Starts a server in the current actix system; `/metrics` shows what the logs of this process had to drop.
///
/// # Errors
/// When a port cannot be bound, the data folder cannot be used, or a service that is named cannot be reached.
pub fn launch(prepared: Prepared, clock: Clock, dropped: Option<Dropped>) -> anyhow::Result<Running> {
    let Prepared {
        mut loaded,
        certificate,
        apps,
        ably_key,
        blacklist,
        moderation,
        mongodb,
        console_password,
        mut cluster,
    } = prepared;
    let relay = &mut loaded.config.relay;
    if relay.enabled && relay.api_key.expose_secret().is_empty() {
        // A relay that nobody can push to would be of no use: without a key there is no start.
        relay.api_key = make_relay_key(&loaded.config.data.dir)?;
    }
    let config = &loaded.config;
    let clock = if config.cluster.engine == Engine::None { clock } else { clock.led() };
    let (tls_config, certificate) = certificate.map(|(tls, reloader)| (tls, Arc::new(reloader))).unzip();
    let leeway = Leeway::new(config.auth.clock_leeway, clock.clone());
    let accounts = Arc::new(accounts(config));
    let fingerprint = cluster.secret.as_ref().map(ServerSecret::fingerprint);
    let Tenants { apps, ably, local_app, local_key } =
        tenants(config, apps, ably_key, cluster.secret.take(), &clock, &leeway, &accounts)?;
    let namespaces: Arc<dyn Namespaces> = Arc::clone(&apps) as Arc<_>;
    let memory = MemoryLog::new(window(config), Arc::<Accounts>::clone(&accounts));
    // What needs no disk leaves none behind.
    let is_kept = config.ably.enabled || Older::is_enabled(config);
    let (log, storage): (Arc<dyn Log>, _) = if is_kept {
        let storage = Storage::open(config, memory, Arc::clone(&namespaces), clock.clone())?;
        (Arc::clone(&storage.log) as Arc<_>, Some(storage))
    } else {
        (Arc::new(memory), None)
    };
    let copies = MemoryLog::new(window(config), Arc::<Accounts>::clone(&accounts));
    let joined = cluster::log(config, cluster, fingerprint, copies, Arc::clone(&namespaces), clock.clone())?;
    let (log, shared): (Arc<dyn Log>, _) = match joined {
        Some(Joined { log, store, claims, redis }) => {
            let is_copied = config.cluster.durability == Durability::Replicas;
            (Arc::new(log), Some(SharedRedis { store, claims, redis, is_copied }))
        }
        None => (log, None),
    };
    let older = match &storage {
        Some(storage) => {
            let read = Read { moderation, mongodb, blacklist };
            let places = Places { folder: Arc::clone(&storage.store), shared };
            Older::open(config, read, &places, &accounts.app(AppId::DEFAULT), &clock, &leeway)?
        }
        None => Older::default(),
    };
    let store = storage.as_ref().map(|storage| Arc::clone(&storage.store));
    let broker = Arc::new(broker(config, clock.clone(), log, namespaces, accounts, store));
    broker.stats.do_send(TellBy(Arc::downgrade(&broker)));
    relief::at_once(&broker);
    let relieved = Arc::clone(&broker);
    every(limits::RELIEF_CHECK, async move || relief::relieve(&relieved));
    if let (Some(reaper), Some(shared)) = (Reaper::new(&broker), broker.log.shared()) {
        nodes::attend(&broker, shared.nodes());
        let listening = Arc::clone(&broker);
        let renewal = shared.lease() / limits::LEASE_RENEWALS;
        every(renewal, async move || reaper.wake());
        every(renewal, async move || {
            if !listening.listening.here().is_empty() {
                listening.tell_listening().await;
            }
        });
        let (kept, clock) = (Arc::clone(&broker), broker.clock.clone());
        every(Duration::from_secs(1), async move || kept.keep_connections(&clock));
    }
    let admission = Admission::new(&config.limits);
    let letshare = Arc::new(letshare::Shared::new(config, clock));
    if let Some(sweep) = letshare.attend(&broker) {
        every(limits::TRANSFER_TICK, sweep);
    }
    older.attend(&broker);
    let (revocations, nonces) = match &storage {
        Some(storage) => {
            let (gate, now) = (&ably.gate, broker.clock.now());
            let revocations = Arc::new(StoredRevocations::restore(Arc::clone(&storage.store), gate, now)?);
            let nonces = Arc::new(StoredNonces::restore(Arc::clone(&storage.store), gate, now)?);
            let swept = (Arc::clone(&revocations), Arc::clone(&nonces));
            let (shared, clock) = (Arc::clone(&ably), broker.clock.clone());
            // They go when nothing that they concern can be taken any more.
            let sharing = Arc::clone(&broker);
            every(limits::REVOCATION_SWEEP, async move || {
                let (revocations, nonces) = &swept;
                let gone = revocations.sweep(&shared.gate, clock.now());
                nonces.sweep(&shared.gate, clock.now());
                if !gone.is_empty() {
                    // What is not removed now is over at every node all the same.
                    let _ = sharing.share(&Change { table: Table::Revocations, put: Vec::new(), gone }).await;
                }
            });
            if let Some(log) = broker.log.shared().filter(|_| config.ably.enabled) {
                let (broker, shared, apps) = (Arc::clone(&broker), Arc::clone(&ably), Arc::clone(&apps));
                let common = Common { broker, shared, apps, revocations: Arc::clone(&revocations) };
                common.follow(log.nodes().clone());
            }
            (Some(revocations), Some(nonces))
        }
        None => (None, None),
    };
    let own_hosts = Arc::new(Live::new(OwnHosts::new(&config.server.public_hosts)));
    let trusted_proxies = Arc::new(Live::new(config.server.trusted_proxies.clone()));
    let metrics_from = Arc::new(Live::new(config.server.metrics_from.clone()));
    let operations = Operations {
        broker: Arc::clone(&broker),
        gauge: storage.as_ref().map(Storage::gauge),
        group: older.group.clone(),
        log: dropped,
        certificate: certificate.clone(),
        metrics_from: Arc::clone(&metrics_from),
        own_hosts: Arc::clone(&own_hosts),
        trusted_proxies: Arc::clone(&trusted_proxies),
        ready_without_engine: config.cluster.ready_without_engine,
    };
    let is_open = loaded.mode == "local" && config.server.host.is_loopback();
    let admin = Admin {
        door: Arc::new(Door::new(console_password, is_open, broker.clock.clone())),
        broker: Arc::clone(&broker),
        hooks: Arc::new(AdminHooks {
            broker: Arc::clone(&broker),
            ably: Arc::clone(&ably),
            apps: Arc::clone(&apps),
            revocations: revocations.clone(),
            letshare: config.letshare.enabled.then(|| Arc::clone(&letshare)),
            own_hosts: Arc::clone(&own_hosts),
            trusted_proxies: Arc::clone(&trusted_proxies),
        }),
    };
    let site = Site {
        admin,
        revocations,
        nonces,
        ops_state: operations.state(),
        older: older.clone(),
        origins: Arc::new(Live::new(Origins::new(config, &own_hosts.get()))),
        trusted_proxies,
        config: Arc::new(config.clone()),
        broker: Arc::clone(&broker),
        letshare: Arc::clone(&letshare),
        admission,
        ably,
        apps,
    };
    let reloader =
        Reloader { site: site.clone(), leeway, metrics_from, own_hosts, certificate: certificate.clone(), local_app };
    let bind = |listener: Listener, tls| {
        let (address, key) = (SocketAddr::new(config.server.host, listener.port), listener.key);
        Bound::open(address, listener, tls).map_err(|error| cannot_listen(address, key, error))
    };
    let mut open = Vec::new();
    for listener in config.listeners() {
        open.push(bind(listener, None)?);
    }
    let listening: Vec<_> = open.iter().map(|bound| (bound.address, bound.listener.clone())).collect();
    let address = listening.first().context("no address is bound")?.0;
    let mut tls_address = None;
    if let (Some(tls_config), Some(certificate)) = (tls_config, certificate) {
        let bound = bind(config.tls_listener(), Some(tls_config))?;
        tls_address = Some(bound.address);
        open.push(bound);
        every(limits::CERTIFICATE_CHECK, async move || match certificate.reload_if_changed() {
            Ok(true) => tracing::info!("new TLS certificate in use"),
            Ok(false) => {}
            Err(faults) => {
                for fault in faults {
                    tracing::error!("the old TLS certificate stays in use: {fault}");
                }
            }
        });
    }
    let ports = open.iter().map(|bound| Port {
        address: bound.address.to_string(),
        protocols: bound.listener.names(),
        is_encrypted: bound.tls.is_some(),
    });
    let about =
        About { version: env!("CARGO_PKG_VERSION").to_owned(), mode: loaded.mode.clone(), ports: ports.collect() };
    broker.about.get_or_init(|| about);
    let probed = Arc::clone(&broker);
    every(limits::WORKER_PROBE, async move || probed.measure_round_trip().await);
    let server = listen::serve(open, &site).context("cannot serve what is listened on")?;
    let handle = server.handle();
    rt::spawn(server);
    Ok(Running {
        address,
        tls_address,
        listening,
        broker,
        local_key,
        storage: Mutex::new(storage),
        server: handle,
        letshare,
        older,
        reloader,
        notice: config.shutdown.notice,
        grace: config.shutdown.grace,
    })
}

/// What pays for all that is kept.
pub fn accounts(config: &Config) -> Accounts {
    Accounts::new(memory::shares(&config.limits, &config.history))
}

/// What the worker threads of a server share, before any of them runs.
pub fn broker(
    config: &Config,
    clock: Clock,
    log: Arc<dyn Log>,
    namespaces: Arc<dyn Namespaces>,
    accounts: Arc<Accounts>,
    store: Option<Arc<dyn Store>>,
) -> Broker {
    Broker {
        stats: Stats::new(store, clock.clone()).start(),
        clock,
        log,
        namespaces,
        connections: Connections::default(),
        accounts,
        directory: Directory::new(memory::channels(&config.limits)),
        metrics: Metrics::default().start(),
        settings: Live::new(broker_settings(config)),
        ready: Arc::new(AtomicBool::new(true)),
        closing: AtomicBool::new(false),
        refusal_warning: OncePerSecond::default(),
        refusals: Refusals::default(),
        attendants: Attendants::default(),
        listening: Listening::default(),
        disk_warning: OncePerSecond::default(),
        hubs: Mutex::default(),
        about: OnceLock::new(),
        round_trip: AtomicU64::new(0),
    }
}

/// What its actors have to know of the configuration.
fn broker_settings(config: &Config) -> Settings {
    let history = window(config);
    let rate = NonZeroU32::new(config.limits.publishes_per_second);
    let burst = NonZeroU32::new(config.limits.publish_burst);
    Settings {
        outbox_bytes: config.limits.outbox_bytes,
        replay_bytes: history.bytes,
        channels_per_connection: config.limits.channels_per_connection,
        timeouts: Timeouts {
            ping_interval: config.websocket.ping_interval,
            idle_timeout: config.websocket.idle_timeout,
            stall_timeout: config.websocket.stall_timeout,
        },
        close_timeout: config.websocket.close_timeout,
        frame_rate: rate.map(|per_second| FrameRate { per_second, burst: burst.unwrap_or(per_second) }),
        channel_sweep: (history.age / 8).clamp(limits::CHANNEL_SWEEP_MIN, limits::CHANNEL_SWEEP_MAX),
    }
}

/// What each channel keeps in memory.
fn window(config: &Config) -> Bounds {
    Bounds { age: config.history.window, entries: config.history.channel_entries, bytes: config.history.channel_bytes }
}

/// The apps of this server, and what belongs to them.
struct Tenants {
    apps: Arc<Apps>,
    /// What the Ably endpoints of all worker threads share.
    ably: Arc<ably::endpoint::Shared>,
    /// The default app with a key of its own (`ably.local_key`), unless the file of apps has a default app.
    local_app: Option<Arc<App>>,
    /// The key of it, if it serves.
    local_key: Option<SecretString>,
}

/// `configured` are the apps of the operator's file, `kept` is what the data folder has, `shared` is the secret that other
/// servers have as well.
fn tenants(
    config: &Config,
    configured: Vec<App>,
    kept: Option<LocalKey>,
    shared: Option<ServerSecret>,
    clock: &Clock,
    leeway: &Leeway,
    accounts: &Arc<Accounts>,
) -> anyhow::Result<Tenants> {
    let settings = &config.ably;
    let mut configured: Vec<_> = configured.into_iter().map(Arc::new).collect();
    let (mut secret, mut local_app, mut local_key) = (ServerSecret::random(), None, None);
    if settings.enabled {
        let kept = kept.map_or_else(|| local_key::open(&config.data.dir), Ok)?;
        if settings.local_key {
            local_app = Some(Arc::new(kept.default_app()));
            if configured.iter().all(|app| app.id != AppId::DEFAULT) {
                configured.extend(local_app.clone());
                local_key = Some(kept.reveal_key().into());
            }
        }
        secret = shared.unwrap_or(kept.server_secret);
    }
    let apps = Arc::new(Apps::new([], clock.clone()));
    apps.replace(configured);
    let ably = ably::endpoint::Shared::new(
        Gate::new(
            Arc::clone(&apps),
            Arc::<Accounts>::clone(accounts),
            &secret,
            settings.keys_over_http,
            leeway.clone(),
        ),
        ConnectionKeys::new(&secret),
        ably::endpoint::Settings {
            max_message_bytes: settings.max_message_bytes,
            max_frame_bytes: config.websocket.max_message_bytes,
        },
    );
    Ok(Tenants { apps, ably: Arc::new(ably), local_app, local_key })
}

/// The key itself is in no log.
fn make_relay_key(folder: &Path) -> Result<SecretString, KeyFileFault> {
    let key = relay_key::make(folder)?;
    let path = folder.join(relay_key::FILE);
    tracing::warn!(path = %path.display(), "a key of the relay was made; back ends push with the one in this file");
    Ok(key)
}

/// Names the port, the setting and the way out.
fn cannot_listen(address: SocketAddr, key: &str, error: io::Error) -> anyhow::Error {
    let what = format!("cannot listen on {address} (server.host, {key})");
    let way_out = match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "port {} needs a permission that this process does not have: give it CAP_NET_BIND_SERVICE (`setcap \
             cap_net_bind_service=+ep` on the program, `AmbientCapabilities=CAP_NET_BIND_SERVICE` in a systemd unit), or \
             choose a port from 1024 on and have a proxy pass connections to it",
            address.port()
        ),
        io::ErrorKind::AddrInUse => "is another server running there?".to_owned(),
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is no address of this machine; server.host 0.0.0.0 means all that it has", address.ip())
        }
        _ => return anyhow::Error::new(error).context(what),
    };
    anyhow::Error::new(error).context(format!("{what}; {way_out}"))
}

/// One worker thread for every two processors: what crosses threads costs more than it gains until
/// there is work for all of them, and the kernel's half of the work needs a processor, too
/// (docs/measured.md).
fn workers(config: &Config) -> usize {
    match config.server.workers {
        0 => std::thread::available_parallelism().map_or(1, |count| count.get().div_ceil(2)),
        workers => workers,
    }
}

/// Does something again and again, with a pause before each time, as long as the server runs.
fn every(pause: Duration, task: impl AsyncFn() + 'static) {
    rt::spawn(async move {
        loop {
            rt::time::sleep(pause).await;
            task().await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// findings P14: what keeps the server from a port is named, with the port and the way out.
    #[test]
    fn why_a_port_cannot_be_had() {
        let address = SocketAddr::from(([0, 0, 0, 0], 80));
        for (kind, words) in [
            (io::ErrorKind::PermissionDenied, ["0.0.0.0:80", "server.port", "port 80 ", "CAP_NET_BIND_SERVICE"]),
            (io::ErrorKind::AddrInUse, ["0.0.0.0:80", "server.port", "another server", "running there"]),
            (io::ErrorKind::AddrNotAvailable, ["0.0.0.0:80", "server.host", "0.0.0.0 is no address", "machine"]),
        ] {
            let told = format!("{:#}", cannot_listen(address, "server.port", kind.into()));
            assert!(words.iter().all(|word| told.contains(word)), "{told}");
            assert_eq!(told.contains("another server"), kind == io::ErrorKind::AddrInUse, "{told}");
        }
    }
}
