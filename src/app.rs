//! Wiring only: from a configuration to a running server. Tests start servers by the same function.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, atomic::AtomicBool},
};

use actix::Actor as _;
use actix_service::{IntoServiceFactory as _, ServiceFactory as _, fn_factory_with_config};
use actix_web::{HttpServer, dev::AppConfig, rt};
use anyhow::Context as _;
use parking_lot::Mutex;
use secrecy::SecretString;

use crate::{
    actors::{
        broker::{Broker, FrameRate, Settings},
        connections::Connections,
        directory::Directory,
        metrics::Metrics,
    },
    auth::{
        self, Leeway,
        ably::{ConnectionKeys, Gate, ServerSecret},
        apps::{self, Apps},
    },
    clock::{Clock, OncePerSecond},
    config::Config,
    core::{rules::Namespaces, vitals::Patience, window::Bounds},
    edge::{
        admission::Admission,
        tls::{self, CertificateReloader},
        websocket,
    },
    ids::AppId,
    limits,
    log::{Log, memory::MemoryLog},
    protocols::{
        ably::{self, nonces::KeptNonces, revocations::KeptRevocations},
        letshare,
    },
};

mod figures;
mod older;
mod running;
mod site;
mod storage;

use figures::ops_state;
use older::Older;
pub use running::Running;
use site::{Origins, Site};
use storage::Storage;

/// Starts a server in the current actix system.
///
/// # Errors
/// When a port cannot be bound or the TLS files are not usable.
pub fn start(config: &Config, clock: Clock) -> anyhow::Result<Running> {
    let leeway = Leeway::new(config.auth.clock_leeway, clock.clone());
    let (apps, ably, local_key) = ably(config, &clock, &leeway)?;
    let namespaces: Arc<dyn Namespaces> = Arc::clone(&apps) as Arc<_>;
    let memory = MemoryLog::new(window(config), config.history.total_bytes);
    // What needs no disk leaves none behind.
    let is_kept = config.ably.enabled || Older::is_enabled(config);
    let (log, storage): (Arc<dyn Log>, _) = if is_kept {
        let storage = Storage::open(config, memory, Arc::clone(&namespaces), clock.clone())?;
        (Arc::clone(&storage.log) as Arc<_>, Some(storage))
    } else {
        (Arc::new(memory), None)
    };
    let older = match &storage {
        Some(storage) => Older::open(config, &storage.store, &clock, &leeway)?,
        None => Older::default(),
    };
    let broker = Arc::new(broker(config, clock.clone(), log, namespaces));
    let admission = Admission::new(&config.limits);
    let shared = letshare::Shared::new(config, clock);
    let gauge = storage.as_ref().map(Storage::gauge);
    let (revocations, nonces) = match &storage {
        Some(storage) => {
            let (gate, now) = (&ably.gate, broker.clock.now());
            let revocations = Arc::new(KeptRevocations::restore(Arc::clone(&storage.store), gate, now)?);
            rt::spawn(sweep_revocations(Arc::clone(&revocations), Arc::clone(&ably), broker.clock.clone()));
            let nonces = KeptNonces::restore(Arc::clone(&storage.store), gate, now)?;
            (Some(revocations), Some(Arc::new(nonces)))
        }
        None => (None, None),
    };
    let site = Site {
        revocations,
        nonces,
        ops_state: ops_state(&broker, gauge, older.group.clone(), &config.server),
        older: older.clone(),
        origins: Arc::new(Origins::new(config)),
        config: Arc::new(config.clone()),
        broker: Arc::clone(&broker),
        letshare: shared.clone(),
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
        server = server.bind(address).with_context(|| cannot_listen(address, listener.key))?;
    }
    if config.tls.enabled {
        let (tls_config, reloader) = tls::server_config(&config.tls)?;
        let encrypted = SocketAddr::new(config.server.host, config.tls.port);
        server =
            server.bind_rustls_0_23(encrypted, tls_config).with_context(|| cannot_listen(encrypted, "tls.port"))?;
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
        older,
        notice: config.shutdown.notice,
        grace: config.shutdown.grace,
    })
}

/// What the worker threads of a server share, before any of them runs.
pub fn broker(config: &Config, clock: Clock, log: Arc<dyn Log>, namespaces: Arc<dyn Namespaces>) -> Broker {
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
            frame_rate: rate.map(|per_second| FrameRate { per_second, burst: burst.unwrap_or(per_second) }),
            channel_sweep: (history.age / 8).clamp(limits::CHANNEL_SWEEP_MIN, limits::CHANNEL_SWEEP_MAX),
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
    Bounds { age: config.history.window, entries: config.history.channel_entries, bytes: config.history.channel_bytes }
}

/// The apps of this server, what the Ably doors of all its threads share, and the key of the default app if
/// it has one of its own.
fn ably(
    config: &Config,
    clock: &Clock,
    leeway: &Leeway,
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
        Gate::new(Arc::clone(&apps), &secret, settings.keys_over_http, leeway.clone()),
        ConnectionKeys::new(&secret),
        ably::door::Settings {
            max_message_bytes: settings.max_message_bytes,
            max_frame_bytes: config.websocket.max_message_bytes,
        },
    );
    Ok((apps, Arc::new(shared), local_key))
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

/// Revocations go when no token that they concern can live any more.
async fn sweep_revocations(kept: Arc<KeptRevocations>, ably: Arc<ably::door::Shared>, clock: Clock) {
    loop {
        rt::time::sleep(limits::REVOCATION_SWEEP).await;
        kept.sweep(&ably.gate, clock.now());
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
