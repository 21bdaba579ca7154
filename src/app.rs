//! Wiring only: from a configuration to a running server. Tests start servers by the same function.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::Actor as _;
use actix_service::{IntoServiceFactory as _, ServiceFactory as _, fn_factory_with_config};
use actix_web::{
    HttpServer,
    dev::{AppConfig, ServerHandle},
    rt,
};
use anyhow::Context as _;
use futures_util::{FutureExt as _, future};
use parking_lot::Mutex;
use secrecy::SecretString;

use crate::{
    actors::{
        broker::{Broker, FrameRate, Settings},
        connections::Connections,
        directory::Directory,
        hub::{Drain, OpenConnections},
        metrics::{Metrics, Snapshot, Totals},
    },
    auth::{
        self,
        ably::{ConnectionKeys, Gate, ServerSecret},
        apps::{self, Apps},
    },
    clock::{Clock, OncePerSecond},
    config::{self, Config, Listener, Protocol},
    core::{rules::Namespaces, vitals::Patience, window::Bounds},
    edge::{
        admission::Admission,
        client_address::client_address_of,
        tls::{self, CertificateReloader},
        websocket,
    },
    ids::AppId,
    limits,
    log::{Log, memory::MemoryLog},
    ops::OpsState,
    protocols::{
        ably::{self, revocations::KeptRevocations},
        group::{self, Forum},
        letshare,
        postoffice::{self, Office},
        relay,
    },
};

mod chats;
mod groups;
mod site;
mod storage;

use site::{Origins, Site};
use storage::{Gauge, Storage};

/// A server that accepts connections.
pub struct Running {
    /// Where plain HTTP and WebSocket listen on the shared port.
    pub address: SocketAddr,
    /// Everything that listens without TLS, and who is served there.
    pub listening: Vec<(SocketAddr, Listener)>,
    /// Where TLS listens, if it does.
    pub tls_address: Option<SocketAddr>,
    pub broker: Arc<Broker>,
    /// The key that the default app has of its own (`ably.local_key`).
    pub local_key: Option<SecretString>,
    storage: Mutex<Option<Storage>>,
    server: ServerHandle,
    letshare: letshare::Shared,
    forum: Option<Arc<Forum>>,
    notice: Duration,
    grace: Duration,
}

/// Starts a server in the current actix system.
///
/// # Errors
/// When a port cannot be bound or the TLS files are not usable.
pub fn start(config: &Config, clock: Clock) -> anyhow::Result<Running> {
    let (apps, ably, local_key) = ably(config, &clock)?;
    let namespaces: Arc<dyn Namespaces> = Arc::clone(&apps) as Arc<_>;
    let memory = MemoryLog::new(window(config), config.history.total_bytes);
    // What needs no disk leaves none behind.
    let is_kept = config.ably.enabled
        || config.relay.enabled
        || config.postoffice.enabled
        || config.chat.enabled
        || config.group.enabled;
    let (log, storage): (Arc<dyn Log>, _) = if is_kept {
        let storage = Storage::open(config, memory, Arc::clone(&namespaces), clock.clone())?;
        (Arc::clone(&storage.log) as Arc<_>, Some(storage))
    } else {
        (Arc::new(memory), None)
    };
    let keeps = storage.as_ref().filter(|_| config.relay.enabled);
    let relay = keeps.map(|storage| {
        let store = Arc::clone(&storage.store);
        relay::Shared::open(&config.relay, store, clock.clone()).map(Arc::new)
    });
    let relay = relay.transpose()?;
    let broker = Arc::new(broker(config, clock.clone(), log, namespaces));
    let admission = Admission::new(&config.limits);
    let shared = letshare::Shared::new(config, clock);
    let gauge = storage.as_ref().map(Storage::gauge);
    let postoffice = match storage.as_ref().filter(|_| config.postoffice.enabled) {
        Some(storage) => {
            let store = Arc::clone(&storage.store);
            let office = Office::open(&config.postoffice, store, broker.clock.clone())?;
            rt::spawn(sweep(Arc::clone(&office)));
            Some(Arc::new(postoffice::Shared::new(
                &config.postoffice,
                office,
            )))
        }
        None => None,
    };
    let chat = match storage.as_ref().filter(|_| config.chat.enabled) {
        Some(storage) => {
            let store = Arc::clone(&storage.store);
            Some(chats::open(&config.chat, store, &broker.clock)?)
        }
        None => None,
    };
    let group = match storage.as_ref().filter(|_| config.group.enabled) {
        Some(storage) => {
            let store = Arc::clone(&storage.store);
            Some(groups::open(&config.group, store, &broker.clock)?)
        }
        None => None,
    };
    let forum = group.as_ref().map(|group| Arc::clone(&group.forum));
    let revocations = match &storage {
        Some(storage) => {
            let store = Arc::clone(&storage.store);
            let kept = KeptRevocations::restore(store, &ably.gate, broker.clock.now())?;
            Some(Arc::new(kept))
        }
        None => None,
    };
    let site = Site {
        revocations,
        postoffice,
        ops_state: ops_state(&broker, gauge, group.clone(), &config.server),
        group,
        origins: Arc::new(Origins::new(config)),
        config: Arc::new(config.clone()),
        broker: Arc::clone(&broker),
        letshare: shared.clone(),
        relay,
        chat,
        bound: Arc::default(),
        admission,
        ably,
        apps,
    };
    let bound = Arc::clone(&site.bound);
    let factory = move || {
        let site = site.clone();
        fn_factory_with_config(move |app: AppConfig| site.app(&app).into_factory().new_service(app))
    };

    let mut server = HttpServer::new(factory)
        .workers(workers(config))
        .backlog(limits::ACCEPT_BACKLOG)
        .tcp_nodelay(true)
        .client_request_timeout(limits::REQUEST_HEAD_TIMEOUT)
        .keep_alive(limits::KEEP_ALIVE)
        .on_connect(websocket::note_descriptor)
        .disable_signals()
        .shutdown_timeout(0);
    let listeners = config.listeners();
    for listener in &listeners {
        let address = SocketAddr::new(config.server.host, listener.port);
        server = server
            .bind(address)
            .with_context(|| cannot_listen(address, listener.key))?;
    }
    if config.tls.enabled {
        let (tls_config, reloader) = tls::server_config(&config.tls)?;
        let encrypted = SocketAddr::new(config.server.host, config.tls.port);
        server = server
            .bind_rustls_0_23(encrypted, tls_config)
            .with_context(|| cannot_listen(encrypted, "tls.port"))?;
        rt::spawn(watch_certificate(reloader));
    }
    let addresses = server.addrs();
    let address = *addresses.first().context("no address is bound")?;
    let tls_address = addresses.get(listeners.len()).copied();
    let listening: Vec<_> = addresses.into_iter().zip(listeners).collect();
    let _ = bound.set(listening.clone());
    let server = server.run();
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
        letshare: shared,
        forum,
        notice: config.shutdown.notice,
        grace: config.shutdown.grace,
    })
}

impl Running {
    /// Where a protocol is served; none if it is switched off.
    pub fn address_of(&self, protocol: Protocol) -> Option<SocketAddr> {
        let mut listening = self.listening.iter();
        let found = listening.find(|(_, listener)| listener.serves(protocol));
        found.map(|(address, _)| *address)
    }

    /// Ends the server without losing what waits for its clients: tells load balancers, lets nobody
    /// in, closes every connection with 1001, waits for them until the grace time is over.
    pub async fn drain(&self) {
        self.broker.ready.store(false, Ordering::Relaxed);
        tracing::info!(connections = self.open_connections().await, "draining");
        rt::time::sleep(self.notice).await;
        self.broker.closing.store(true, Ordering::Relaxed);
        self.server.pause().await;
        let last_words = self.letshare.last_words();
        if rt::time::timeout(limits::DRAIN_LAST_WORDS, last_words)
            .await
            .is_err()
        {
            tracing::warn!("some file transfers end without a word");
        }
        for hub in self.broker.hubs.lock().iter() {
            hub.address.do_send(Drain);
        }
        let everybody_gone = async {
            while self.open_connections().await > 0 {
                rt::time::sleep(limits::DRAIN_CHECK).await;
            }
        };
        let in_time =
            rt::time::timeout(self.grace.saturating_sub(self.notice), everybody_gone).await;
        if in_time.is_err() {
            let connections = self.open_connections().await;
            tracing::warn!(connections, "grace time is over; cutting the rest");
        }
        self.stop().await;
    }

    /// Ends the server at once.
    pub async fn stop(&self) {
        self.broker.ready.store(false, Ordering::Relaxed);
        self.server.stop(false).await;
        if let Some(forum) = &self.forum {
            forum.stop(limits::GROUP_LAST_WORDS).await;
        }
        // Threads may still serve requests for a moment: the logs refuse what comes too late.
        if let Some(mut storage) = self.storage.lock().take() {
            storage.close();
        }
    }

    async fn open_connections(&self) -> usize {
        let hubs: Vec<_> = self.broker.hubs.lock().clone();
        let counts = hubs.iter().map(|hub| hub.address.send(OpenConnections));
        let counts = future::join_all(counts).await;
        counts.into_iter().map(Result::unwrap_or_default).sum()
    }
}

/// What the worker threads of a server share, before any of them runs.
pub fn broker(
    config: &Config,
    clock: Clock,
    log: Arc<dyn Log>,
    namespaces: Arc<dyn Namespaces>,
) -> Broker {
    let history = window(config);
    let rate = NonZeroU32::new(config.limits.publishes_per_second);
    let burst = NonZeroU32::new(config.limits.publish_burst);
    Broker {
        clock,
        log,
        namespaces,
        connections: Connections::default(),
        directory: Directory::new(config.limits.channels),
        metrics: Metrics::default().start(),
        settings: Settings {
            outbox_bytes: config.limits.outbox_bytes,
            replay_bytes: history.bytes,
            channels_per_connection: config.limits.channels_per_connection,
            patience: Patience {
                ping_interval: config.websocket.ping_interval,
                idle_timeout: config.websocket.idle_timeout,
                stall_timeout: config.websocket.stall_timeout,
            },
            close_timeout: config.websocket.close_timeout,
            frame_rate: rate.map(|per_second| FrameRate {
                per_second,
                burst: burst.unwrap_or(per_second),
            }),
            channel_sweep: (history.age / 8)
                .clamp(limits::CHANNEL_SWEEP_MIN, limits::CHANNEL_SWEEP_MAX),
        },
        ready: Arc::new(AtomicBool::new(true)),
        closing: AtomicBool::new(false),
        refusal_warning: OncePerSecond::default(),
        disk_warning: OncePerSecond::default(),
        hubs: Mutex::default(),
    }
}

/// What each channel keeps in memory.
fn window(config: &Config) -> Bounds {
    Bounds {
        age: config.history.window,
        entries: config.history.channel_entries,
        bytes: config.history.channel_bytes,
    }
}

/// The apps of this server, what the Ably doors of all its threads share, and the key of the default app if
/// it has one of its own.
fn ably(
    config: &Config,
    clock: &Clock,
) -> anyhow::Result<(Arc<Apps>, Arc<ably::door::Shared>, Option<SecretString>)> {
    let settings = &config.ably;
    let mut apps = match &settings.apps_file {
        Some(file) => apps::file::read(file, clock.now())?,
        None => Vec::new(),
    };
    let (mut secret, mut local_key) = (ServerSecret::random(), None);
    if settings.enabled {
        let kept = auth::ably::local_key::open(&config.data.dir)?;
        if settings.local_key && apps.iter().all(|app| app.id != AppId::DEFAULT) {
            apps.push(kept.default_app());
            local_key = Some(kept.reveal_key().into());
        }
        secret = kept.server_secret;
    }
    let apps = Arc::new(Apps::new(apps, clock.clone()));
    let shared = ably::door::Shared::new(
        Gate::new(Arc::clone(&apps), &secret, settings.keys_over_http),
        ConnectionKeys::new(&secret),
        ably::door::Settings {
            max_message_bytes: settings.max_message_bytes,
            max_frame_bytes: config.websocket.max_message_bytes,
        },
    );
    Ok((apps, Arc::new(shared), local_key))
}

fn ops_state(
    broker: &Arc<Broker>,
    gauge: Option<Gauge>,
    group: Option<Arc<group::Shared>>,
    settings: &config::Server,
) -> OpsState {
    let broker = Arc::clone(broker);
    let (from, proxies) = (
        settings.metrics_from.clone(),
        settings.trusted_proxies.clone(),
    );
    OpsState {
        clock: broker.clock.clone(),
        ready: Arc::clone(&broker.ready),
        snapshot: Arc::new(move || {
            snapshot(Arc::clone(&broker), gauge.clone(), group.clone()).boxed_local()
        }),
        may_see_metrics: Arc::new(move |request| {
            let address = client_address_of(request, &proxies).to_canonical();
            from.iter().any(|network| network.contains(&address))
        }),
    }
}

async fn snapshot(
    broker: Arc<Broker>,
    gauge: Option<Gauge>,
    group: Option<Arc<group::Shared>>,
) -> Snapshot {
    // A metrics actor that does not answer leaves zeros, not a page that hangs.
    let mut totals = broker.metrics.send(Totals).await.unwrap_or_default();
    totals.channels_restarted = broker.directory.restarts();
    Snapshot {
        connections: totals
            .connections_opened
            .saturating_sub(totals.connections_closed),
        channels: broker.directory.len() as u64,
        history_bytes: broker.log.bytes() as u64,
        store: gauge.as_ref().map(Gauge::read).unwrap_or_default(),
        group: group.map(|group| group.figures()),
        totals,
    }
}

fn cannot_listen(address: SocketAddr, key: &str) -> String {
    format!("cannot listen on {address} (server.host, {key}); is another server running there?")
}

/// One worker thread for every two processors: what crosses threads costs more than it gains until
/// there is work for all of them, and the kernel's half of the work needs a processor, too
/// (README, Measured).
fn workers(config: &Config) -> usize {
    match config.server.workers {
        0 => std::thread::available_parallelism().map_or(1, |count| count.get().div_ceil(2)),
        workers => workers,
    }
}

/// Letters that nobody fetches go when they are too old.
async fn sweep(office: Arc<Office>) {
    loop {
        rt::time::sleep(limits::POST_SWEEP).await;
        office.sweep();
    }
}

async fn watch_certificate(reloader: CertificateReloader) {
    loop {
        rt::time::sleep(limits::CERTIFICATE_CHECK).await;
        match reloader.reload_if_changed() {
            Ok(true) => tracing::info!("new TLS certificate in use"),
            Ok(false) => {}
            Err(error) => tracing::error!("the old TLS certificate stays in use: {error}"),
        }
    }
}
