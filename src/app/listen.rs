//! From listeners to HTTP: what `actix_web::HttpServer` does, which has no place for what stands in front of its parser:
//! whether there is a place for the connection ([`Counted`]), and its time limits ([`RequestStream`]). Each listener tells its
//! own app whom it serves.

use std::{
    future::ready,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use actix_http::{HttpService, Protocol, Request, error::DispatchError};
use actix_service::{
    IntoServiceFactory as _, Service as _, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, fn_service,
    map_config,
};
use actix_tls::accept::{
    TlsError,
    rustls_0_23::{Acceptor, TlsStream},
};
use actix_web::{
    dev::{AppConfig, Server},
    rt::net::TcpStream,
};
use futures_util::TryFutureExt as _;
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpSocket,
};

use super::{site::Site, workers};
use crate::{
    actors::refusals::Reason,
    config::Listener,
    edge::{counted::Counted, expect_tls::expect_tls, intake::Intake, stream::RequestStream, websocket},
    limits,
};

/// A port that is open, and what is served there.
pub struct Bound {
    socket: TcpListener,
    pub address: SocketAddr,
    pub listener: Listener,
    /// None: plain.
    pub tls: Option<ServerConfig>,
}

impl Bound {
    /// # Errors
    /// When the address cannot be listened on.
    pub fn open(address: SocketAddr, listener: Listener, tls: Option<ServerConfig>) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A server that comes right after another must not wait for that one's last connections.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let socket = socket.listen(limits::ACCEPT_BACKLOG)?.into_std()?;
        Ok(Self { address: socket.local_addr()?, socket, listener, tls })
    }
}

/// Serves what is open.
///
/// # Errors
/// When a socket fails.
pub fn serve(bound: Vec<Bound>, site: &Site) -> io::Result<Server> {
    let mut server = Server::build().workers(workers(&site.config)).disable_signals().shutdown_timeout(0);
    for Bound { socket, address, listener, tls } in bound {
        let http = Http { site: site.clone(), listener: Arc::new(listener), address };
        let name = address.to_string();
        let (gate, refusing) = (site.clone(), Arc::clone(&site.broker));
        let config = &site.config;
        let gone = limits::PEER_GONE.max(config.websocket.stall_timeout).max(config.group.stall_timeout);
        let accept = move |io: TcpStream| {
            // Who is gone already is noticed by the first read.
            let _ = io.set_nodelay(true);
            // The kernel's own patience with a peer that has vanished is a quarter of an hour.
            let _ = setsockopt(&io, TcpUserTimeout, &(gone.as_millis() as u32));
            Counted::accept(io, &gate.admission, &gate.broker, &gate.trusted_proxies.get())
        };
        server = match tls {
            None => server.listen(name, socket, move || {
                let accept = accept.clone();
                let plain = move |io: TcpStream| ready(accept(io).map(ready_for_http).map_err(DispatchError::Io));
                fn_service(plain).and_then(http.service())
            })?,
            Some(tls) => server.listen(name, socket, move || {
                let (accept, broker) = (accept.clone(), Arc::clone(&refusing));
                let counted = move |io: TcpStream| {
                    let (address, accepted) = (io.peer_addr().ok(), accept(io));
                    let broker = Arc::clone(&broker);
                    async move {
                        let begun = expect_tls(accepted?).await;
                        // Who hangs up without a word only looks whether somebody listens.
                        if let Err(error) = &begun
                            && error.kind() != io::ErrorKind::UnexpectedEof
                        {
                            broker.refused(Reason::Request, address.map(|address| address.ip()), || {
                                format!("TLS: {error}")
                            });
                        }
                        begun
                    }
                    .map_err(|error| TlsFault::Service(DispatchError::Io(error)))
                };
                let broker = Arc::clone(&refusing);
                let failed = move |fault: TlsFault| {
                    let why = match &fault {
                        TlsError::Timeout => "the handshake has not come to its end in time".to_owned(),
                        TlsError::Tls(error) => error.to_string(),
                        TlsError::Service(_) => return fault,
                    };
                    broker.refused(Reason::Request, None, || format!("TLS: {why}"));
                    fault
                };
                let encrypted = |io: TlsStream<Counted>| ready(Ok::<_, TlsFault>(ready_for_http(io)));
                fn_service(counted)
                    .and_then(Acceptor::new(tls.clone()).map_err(TlsError::into_service_error).map_err(failed))
                    .and_then(fn_service(encrypted))
                    .and_then(http.service().map_err(TlsFault::Service))
            })?,
        };
    }
    Ok(server.run())
}

/// What the HTTP service takes.
type Accepted<T> = (RequestStream<T>, Protocol, Option<SocketAddr>);

type TlsFault = TlsError<io::Error, DispatchError>;

/// A connection, plain or encrypted, and the counted one below.
trait OverTcp {
    fn counted(&self) -> &Counted;
}

impl OverTcp for Counted {
    fn counted(&self) -> &Counted {
        self
    }
}

impl OverTcp for TlsStream<Counted> {
    fn counted(&self) -> &Counted {
        self.get_ref().0
    }
}

fn ready_for_http<T: OverTcp>(io: T) -> Accepted<T> {
    let (peer, place) = (io.counted().tcp().peer_addr().ok(), io.counted().place());
    (RequestStream::new(io, place), Protocol::Http1, peer)
}

/// Makes the HTTP service of one listener, on every worker thread.
#[derive(Clone)]
struct Http {
    site: Site,
    listener: Arc<Listener>,
    address: SocketAddr,
}

impl Http {
    fn service<T: AsyncRead + AsyncWrite + Unpin + 'static>(
        &self,
    ) -> impl ServiceFactory<Accepted<T>, Config = (), Response = (), Error = DispatchError, InitError = ()> + use<T>
    {
        let app = self.site.app(&self.listener).into_factory();
        let app = app.map_err(|error: actix_web::Error| error.error_response());
        HttpService::build()
            .keep_alive(self.site.config.server.keep_alive)
            .client_request_timeout(limits::REQUEST_HEAD_TIMEOUT)
            .client_disconnect_timeout(limits::DISCONNECT_TIMEOUT)
            .local_addr(self.address)
            .on_connect_ext(|io: &RequestStream<T>, extensions| {
                websocket::note_descriptor(io.inner(), extensions);
                extensions.insert(io.intake());
            })
            .finish(apply_fn_factory(map_config(app, |()| AppConfig::default()), |mut request: Request, app| {
                Intake::follow(&mut request);
                app.call(request)
            }))
    }
}
