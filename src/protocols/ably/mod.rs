//! Ably's protocol, so that unmodified Ably SDKs work here (`docs/protocols/ably.md`).
//!
//! * [`wire`]: frames and bodies in JSON and MessagePack; no rule of who may do what.
//! * [`endpoint`]: from a request to a connection; [`connection`]: its protocol handler, with `attach`, `sync`, `publish`, `reauth`.
//! * [`comet`] and [`events`]: the same without a WebSocket, and streams of events for those who only listen.
//! * [`rest`]: everything that is asked for by HTTP.
//! * [`name`], [`params`], [`acks`], [`messages`], [`version`]: the pure pieces that these are made of.

use actix_web::{HttpRequest, HttpResponse, guard, web};

use crate::edge::{self, Ingress, Methods};

pub use rest::is_meant;

pub mod acks;
mod aliases;
mod annotations;
mod attach;
mod behalf;
pub mod comet;
pub mod connection;
pub mod endpoint;
pub mod events;
mod farewell;
pub mod messages;
pub mod name;
pub mod nodes;
pub mod nonces;
mod objects;
mod operate;
pub mod params;
mod publish;
mod rates;
mod reauth;
mod refusal;
pub mod rest;
pub mod revocations;
mod rows;
mod sync;
mod version;
pub mod wire;

/// The Ably interface of one worker thread.
#[derive(Clone)]
pub struct Ably {
    pub ingress: Ingress,
    pub rest: rest::Rest,
}

/// Serves Ably's paths, WebSockets on `/` that name a protocol version, and on all paths without a route
/// what its clients ask for; `otherwise` answers everybody else there.
pub fn routes<F>(config: &mut web::ServiceConfig, ably: &Ably, otherwise: fn() -> F)
where
    F: Future<Output = HttpResponse> + 'static,
{
    let names_a_version = guard::fn_guard(|asked| endpoint::names_a_version(asked.head()));
    config.route("/", web::get().guard(names_a_version).to(edge::websocket(ably)));
    for root in rest::ROOTS {
        for pattern in [format!("/{root}"), format!("/{root}/{{rest:.*}}")] {
            match root {
                "comet" => edge::route(config, &pattern, Methods::Any, ably, Ably::comet),
                "sse" | "event-stream" => edge::route(config, &pattern, Methods::Any, ably, Ably::events),
                _ => edge::route(config, &pattern, Methods::Any, ably, Ably::rest),
            }
        }
    }

    let ably = ably.clone();
    let anything_else = move |request: HttpRequest, payload: web::Payload| {
        let ably = ably.clone();
        // No other route has matched.
        async move {
            if is_meant(&request, |_| false) {
                edge::serve(&ably, &Ably::rest, request, payload).await
            } else {
                otherwise().await
            }
        }
    };
    config.default_service(web::to(anything_else));
}
