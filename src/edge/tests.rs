//! What stands around every handler, on the wire.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{io, net::SocketAddr, sync::Arc};

use actix_web::{
    App, HttpResponse, HttpServer,
    dev::ServerHandle,
    middleware::from_fn,
    rt::{self, task::JoinHandle},
    web,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
};

use super::{
    fallback::{catch_panic, not_found},
    origin::{OriginPolicy, enforce},
    own_hosts::OwnHosts,
};
use crate::config;

/// A server whose handlers are surrounded as those of `app`.
struct Server {
    address: SocketAddr,
    handle: ServerHandle,
    running: JoinHandle<io::Result<()>>,
}

impl Server {
    fn start(routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static) -> Self {
        let pages = config::Cors { allowed_origins: vec!["https://letshare.fun".to_owned()], allow_lan: false };
        let policy = Arc::new(OriginPolicy::new(&pages, &OwnHosts::default()));
        let server = HttpServer::new(move || {
            let policy = Arc::clone(&policy);
            App::new()
                .wrap(from_fn(catch_panic))
                .wrap(from_fn(move |request, next| enforce(Arc::clone(&policy), request, next, |_, _| {})))
                .configure(routes.clone())
                .default_service(web::to(not_found))
        });
        let server = server.workers(1).bind(("127.0.0.1", 0)).unwrap();
        let address = server.addrs()[0];
        let server = server.disable_signals().run();
        Self { address, handle: server.handle(), running: rt::spawn(server) }
    }

    async fn stop(self) {
        self.handle.stop(false).await;
        self.running.await.unwrap().unwrap();
    }
}

#[actix_web::test]
async fn on_the_wire_a_panic_costs_one_answer_and_not_the_connection() {
    let broken = || async { panic!("a fault in a handler") as HttpResponse };
    let server = Server::start(move |routes| {
        routes.route("/broken", web::get().to(broken));
    });
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let requests = "GET /broken HTTP/1.1\r\nHost: h\r\nOrigin: https://letshare.fun\r\n\r\n\
                    HEAD /nothing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    socket.write_all(requests.as_bytes()).await.unwrap();
    let mut answers = String::new();
    socket.read_to_string(&mut answers).await.unwrap();

    assert!(answers.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{answers}");
    assert!(answers.contains("access-control-allow-origin: https://letshare.fun\r\n"), "{answers}");
    assert!(answers.contains("\"code\":500}HTTP/1.1 404 Not Found\r\n"), "{answers}");
    assert!(answers.ends_with("\r\n\r\n"), "HEAD has no body: {answers}");
    server.stop().await;
}

/// findings C8: a client that is gone does not end what it has asked for half-way.
#[actix_web::test]
async fn a_request_whose_client_is_gone_is_carried_out() {
    type Steps = (oneshot::Sender<()>, oneshot::Receiver<()>, oneshot::Sender<()>);
    let (begun, has_begun) = oneshot::channel();
    let (go_on, going_on) = oneshot::channel();
    let (done, is_done) = oneshot::channel();
    let steps: Arc<Mutex<Option<Steps>>> = Arc::new(Mutex::new(Some((begun, going_on, done))));
    let server = Server::start(move |routes| {
        let steps = Arc::clone(&steps);
        let handler = move || {
            let steps = steps.lock().take();
            async move {
                let Some((begun, going_on, done)) = steps else {
                    panic!("a fault in a handler");
                };
                begun.send(()).unwrap();
                going_on.await.unwrap();
                done.send(()).unwrap();
                HttpResponse::Ok().finish()
            }
        };
        routes.route("/", web::post().to(handler));
    });
    let request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";

    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(request).await.unwrap();
    has_begun.await.unwrap();
    socket.set_zero_linger().unwrap();
    drop(socket);
    // By another connection of the same worker thread: it has seen the reset of the first before it answers this one.
    // A panic is answered as everywhere.
    let mut other = TcpStream::connect(server.address).await.unwrap();
    other.write_all(request).await.unwrap();
    let mut answer = [0; 12];
    other.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 500");
    go_on.send(()).unwrap();
    is_done.await.unwrap();
    server.stop().await;
}
