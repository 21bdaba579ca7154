//! THE way in: from a request to a connection, by a WebSocket or without one, or to an answer; the same steps for every
//! protocol.
//!
//! A protocol says whom it accepts ([`Endpoint::check`]), what speaks with an accepted client ([`Endpoint::open`]), and how
//! it answers those that are refused ([`Endpoint::refuse`]). Everything else stands here once: the method, the place that
//! a connection takes, the handshake, the upgrade, and that each refusal is counted and logged.

use std::convert::Infallible;

use actix_web::{
    Handler, HttpRequest, HttpResponse,
    guard::fn_guard,
    http::{
        Method,
        header::{HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE},
    },
    web,
};

use crate::{
    actors::{refusals::Reason, transport::context::ProtocolHandler},
    edge::{
        admission::NotAdmitted,
        handoff::Taker,
        http::body,
        ingress::{Ingress, Place},
        pump::{Conversation, Requests, Write},
        refusal::{NoHandshake, Refused},
    },
    limits,
};

/// What a protocol brings to its own way in; one per worker thread, clones are the same.
pub trait Endpoint: AsRef<Ingress> + Clone + 'static {
    /// Whose refusal it is, for the log.
    const NAME: &'static str;

    /// What [`Endpoint::check`] has found out about a client.
    type Accepted;

    /// Why the protocol itself refuses a client.
    type Refused: Refused;

    /// What the endpoint needs of its worker thread.
    fn ingress(&self) -> &Ingress {
        self.as_ref()
    }

    /// Whether the client may come in. It has no place yet, and nothing may be changed for it.
    ///
    /// # Errors
    /// Why it may not.
    fn check(&self, request: &HttpRequest) -> Result<Self::Accepted, Self::Refused>;

    /// What speaks with the client from now on. It has a place and its handshake is valid.
    ///
    /// # Errors
    /// Why it is refused all the same.
    fn open(
        &self,
        request: &HttpRequest,
        accepted: Self::Accepted,
    ) -> impl Future<Output = Result<Box<dyn ProtocolHandler>, Self::Refused>>;

    /// The answer to a client that is refused, as the document of the protocol has it.
    fn refuse(&self, refusal: &Refusal<Self::Refused>) -> HttpResponse;

    /// The answer to a plain request that comes too often, in the form of the protocol's other answers.
    fn refuse_request(&self, _: &HttpRequest, refusal: NotAdmitted) -> HttpResponse {
        self.refuse(&Refusal::NotAdmitted(refusal))
    }

    /// The subprotocol that the client gets of those that it has named.
    fn subprotocol(&self, _: &HttpRequest) -> Option<&'static str> {
        None
    }
}

/// Why there is no upgrade. `Display` is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Refusal<R> {
    #[error("a WebSocket begins with GET")]
    Method,
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    #[error(transparent)]
    NoHandshake(#[from] NoHandshake),
    /// For a reason of the protocol.
    #[error("{0}")]
    Own(R),
}

impl<R: Refused> Refusal<R> {
    /// The HTTP status that says it, by that of a reason of the protocol.
    pub fn status(&self, own: impl FnOnce(&R) -> u16) -> u16 {
        match self {
            Self::Method | Self::NoHandshake(_) => 400,
            Self::NotAdmitted(refusal) => refusal.status(),
            Self::Own(refusal) => own(refusal),
        }
    }

    pub fn reason(&self) -> Reason {
        match self {
            Self::Method | Self::NoHandshake(_) => Reason::Request,
            Self::NotAdmitted(refusal) => refusal.reason(),
            Self::Own(own) => own.reason(),
        }
    }
}

/// For a protocol that refuses nobody by itself.
impl Refused for Infallible {
    fn reason(&self) -> Reason {
        match *self {}
    }
}

/// The handler of a path where WebSockets begin.
pub fn websocket<E: Endpoint>(
    endpoint: &E,
) -> impl Handler<(HttpRequest, web::Payload), Output = HttpResponse> + use<E> {
    let endpoint = endpoint.clone();
    move |request: HttpRequest, payload: web::Payload| {
        let endpoint = endpoint.clone();
        async move {
            let upgraded = upgrade(&endpoint, &request, payload).await;
            upgraded.unwrap_or_else(|refusal| turn_away(&endpoint, &request, &refusal))
        }
    }
}

/// Opens a transport without a WebSocket: what it has for its client is taken by the response to this request, and by those
/// to the requests of the conversation, if it is one.
///
/// # Errors
/// The answer to a client that is refused.
pub async fn pump<E: Endpoint>(
    endpoint: &E,
    request: &HttpRequest,
    write: Write,
    conversation: Option<(&Conversation, Requests)>,
) -> Result<Taker, HttpResponse> {
    let admitted = admit(endpoint, request, || Ok(())).await;
    let (place, handler) = admitted.map_err(|refusal| turn_away(endpoint, request, &refusal))?;
    Ok(endpoint.ingress().pump(request, place, handler, write, conversation))
}

fn turn_away<E: Endpoint>(endpoint: &E, request: &HttpRequest, refusal: &Refusal<E::Refused>) -> HttpResponse {
    let why = || format!("{}: {refusal}", E::NAME);
    endpoint.ingress().turn_away(request, refusal.reason(), why);
    let mut response = endpoint.refuse(refusal);
    if let Refusal::NoHandshake(_) = refusal {
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}

async fn upgrade<E: Endpoint>(
    endpoint: &E,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal<E::Refused>> {
    let (place, handler) = admit(endpoint, request, || NoHandshake::check(request)).await?;
    let mut response = endpoint.ingress().start(request, payload, place, handler).await?;
    if let Some(subprotocol) = endpoint.subprotocol(request) {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    Ok(response)
}

/// What a client of any transport goes through.
async fn admit<E: Endpoint>(
    endpoint: &E,
    request: &HttpRequest,
    handshake: impl FnOnce() -> Result<(), NoHandshake>,
) -> Result<(Place, Box<dyn ProtocolHandler>), Refusal<E::Refused>> {
    let accepted = endpoint.check(request).map_err(Refusal::Own)?;
    if request.method() != Method::GET {
        return Err(Refusal::Method);
    }
    let permit = endpoint.ingress().take_place(request)?;
    handshake()?;
    let handler = endpoint.open(request, accepted).await.map_err(Refusal::Own)?;
    let place = endpoint.ingress().take_memory(permit, &*handler, endpoint.ingress().peer(request, E::NAME))?;
    Ok((place, handler))
}

/// By which methods a path is asked for. Any other method is left to the next route with this path, or to the default
/// service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Methods {
    /// GET, and HEAD, which load balancers and monitors ask with: a page has both or none (RFC 9110 §9.3.2).
    Read,
    /// The same, unless it asks for a WebSocket: those are for whoever takes them on every path.
    PlainRead,
    Post,
    Any,
}

impl Methods {
    fn have(self, method: &Method, has_upgrade: bool) -> bool {
        match self {
            Self::Read => method == Method::GET || method == Method::HEAD,
            Self::PlainRead => Self::Read.have(method, has_upgrade) && !has_upgrade,
            Self::Post => method == Method::POST,
            Self::Any => true,
        }
    }
}

/// Serves `path` by `handler`.
pub fn route<E, H>(config: &mut web::ServiceConfig, path: &str, methods: Methods, endpoint: &E, handler: H)
where
    E: Endpoint,
    H: AsyncFn(&E, &HttpRequest, &mut web::Payload) -> HttpResponse + Clone + 'static,
{
    let endpoint = endpoint.clone();
    let page = move |request: HttpRequest, payload: web::Payload| {
        let (endpoint, handler) = (endpoint.clone(), handler.clone());
        async move { serve(&endpoint, &handler, request, payload).await }
    };
    let asked = fn_guard(move |context| {
        let head = context.head();
        methods.have(&head.method, head.headers.contains_key(UPGRADE))
    });
    config.service(web::resource(path).guard(asked).to(page));
}

/// Answers one plain request by `handler`. What is left of its body is read, so that the client's next request on the
/// connection is not lost, and answers that are errors are counted.
///
/// The one place where the rate of a network for plain requests stands, as [`Ingress::take_place`] is for WebSockets.
pub async fn serve<E, H>(endpoint: &E, handler: &H, request: HttpRequest, mut payload: web::Payload) -> HttpResponse
where
    E: Endpoint,
    H: AsyncFn(&E, &HttpRequest, &mut web::Payload) -> HttpResponse,
{
    let response = match endpoint.ingress().take_request(&request) {
        Ok(()) => handler(endpoint, &request, &mut payload).await,
        Err(refusal) => turned_down(endpoint, &request, refusal),
    };
    // What follows a request for an upgrade has no end: it is no body.
    if !request.head().upgrade() {
        body::discard(request.headers(), &mut payload, limits::REQUEST_BODY_BYTES).await;
    }
    if response.status().is_client_error() || response.status().is_server_error() {
        endpoint.ingress().worker.count(|counters| counters.errors_sent += 1);
    }
    response
}

fn turned_down<E: Endpoint>(endpoint: &E, request: &HttpRequest, refusal: NotAdmitted) -> HttpResponse {
    endpoint
        .ingress()
        .note_refusal(request, refusal.reason(), || format!("{}: a request is refused: {refusal}", E::NAME));
    let mut response = endpoint.refuse_request(request, refusal);
    if let NotAdmitted::TooOften(rate) = refusal {
        response.headers_mut().insert(RETRY_AFTER, rate.retry_after().into());
    }
    response
}
