//! A server of echo rooms alone, in this process: the edge and the actors as `app` builds them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{App, HttpServer, dev::ServerHandle, rt};
use letshare_server::{
    actors::{accounts::Accounts, broker::Broker, inbox::Inboxes, worker::Worker},
    app,
    clock::Clock,
    config::Config,
    core::{rules::Terms, window::Bounds},
    edge::{Ingress, admission::Admission, guard::MessageLimits, websocket::note_descriptor},
    ids::AppId,
    log::memory::MemoryLog,
    store::{
        Place,
        embedded::EmbeddedStore,
        folder::{self, DataFolder},
        mailbox::{self, Tables},
    },
};
use tempfile::TempDir;

use super::echo::{self, Echo};

pub struct EchoServer {
    pub address: SocketAddr,
    pub broker: Arc<Broker>,
    pub inboxes: Inboxes,
    handle: ServerHandle,
    _folder: DataFolder,
    _data: TempDir,
}

impl EchoServer {
    /// `connections` may be open at once.
    pub fn start(connections: usize) -> Self {
        let mut config = Config::defaults().unwrap();
        // The conformance suite sends as fast as it can.
        config.limits.publishes_per_second = 0;
        config.limits.connects_per_second = 0;
        config.limits.connections = connections;
        let window = Bounds { age: Duration::ZERO, entries: 1, bytes: 1 << 20 };
        let accounts = Arc::new(app::accounts(&config));
        let log = Arc::new(MemoryLog::new(window, Arc::<Accounts>::clone(&accounts)));
        let broker = Arc::new(app::broker(&config, Clock::system(), log, Arc::new(Terms::default()), accounts, None));
        let data = tempfile::tempdir().unwrap();
        let terms = folder::Terms { cache_bytes: 1 << 20, verify_bytes: 1 << 20 };
        let folder = DataFolder::open(data.path(), terms, Clock::system()).unwrap();
        let place = Place { store: Arc::new(EmbeddedStore::new(Arc::clone(folder.engine()))), claims: None };
        let (tables, bounds) =
            (Tables { facts: "echo", bodies: "echo bodies" }, mailbox::Bounds { messages: 16, bytes: 4096 });
        let account = broker.accounts.app(AppId::DEFAULT);
        let inboxes = Inboxes::open(&place, tables, 1 << 20, bounds, &account, Clock::system()).unwrap();
        let admission = Admission::new(&config.limits);
        let limits = MessageLimits {
            max_message_bytes: config.websocket.max_message_bytes,
            max_fragments: config.websocket.max_fragments,
        };
        let (shared, boxes) = (Arc::clone(&broker), inboxes.clone());
        let server = HttpServer::new(move || {
            let ingress = Ingress {
                worker: Worker::on_this_thread(&shared),
                admission: admission.clone(),
                trusted_proxies: Arc::default(),
                limits,
            };
            let echo = Echo { ingress, inboxes: boxes.clone() };
            App::new().configure(|routes| echo::routes(routes, &echo))
        });
        let server = server.on_connect(note_descriptor).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        rt::spawn(server);
        Self { address, broker, inboxes, handle, _folder: folder, _data: data }
    }

    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}
