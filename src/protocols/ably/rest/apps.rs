//! Apps that test suites make for themselves (`docs/protocols/ably.md §11.13`). Without the sandbox these paths
//! are not there.

use actix_web::{
    http::{header::HOST, uri::Authority},
    web,
};
use serde_json::{Value, json};

use crate::{
    actors::{
        accounts::Kind,
        nodes::{Change, Table},
    },
    auth::apps::{
        App,
        setup::{AppSetup, complete, describe},
    },
    edge::http::body,
    error::{Fault, Found},
    ids::AppId,
    limits,
    protocols::ably::{
        rest::{
            answer::RestAnswer,
            call::{Call, Caller},
        },
        wire::{self, Format},
    },
};

const NO_SANDBOX: Fault = Fault::SwitchedOff { what: "/apps", setting: "ably.sandbox" };

/// POST `/apps`. The answer names the host and port that the request came to.
pub async fn create(call: &Call<'_>, payload: &mut web::Payload) -> Result<RestAnswer, Fault> {
    if !call.rest.sandbox {
        return Err(NO_SANDBOX);
    }
    let (format, body) = call.body(payload, limits::REQUEST_BODY_BYTES).await?;
    let setup = match format {
        Format::Json => AppSetup::from_json(&body)?,
        Format::Msgpack => wire::decode_value(format, &body)?,
    };
    // Whoever asks is known by the network only.
    let cost = limits::APP_COST + limits::APP_BYTE_COST * body.len();
    let charge = body::payer(call.http).map(|account| account.charge(Kind::App, cost)).transpose();
    let app = call.rest.apps.create(setup, charge.map_err(|full| full.to_fault())?)?;
    let shared = share(call, format, &body, &app).await;
    if let Err(fault) = shared {
        call.rest.apps.remove(app.id)?;
        return Err(fault);
    }
    let mut shown = describe(&app);
    let tls = call.is_tls();
    let (endpoint, port) = host(call, if tls { 443 } else { 80 });
    shown.insert("endpoint".to_owned(), json!(endpoint));
    shown.insert("port".to_owned(), json!(port));
    shown.insert("tls".to_owned(), json!(tls));
    Ok(RestAnswer::created(call.encode(&shown)).secret())
}

/// DELETE `/apps/{id}`, for whoever has a key of the app.
pub async fn delete(call: &Call<'_>, app: &str) -> Result<RestAnswer, Fault> {
    if !call.rest.sandbox {
        return Err(NO_SANDBOX);
    }
    let Caller { access, .. } = call.caller()?;
    let app = AppId::parse(app).ok_or(Fault::NotFound { what: "app" })?;
    if access.app.id != app || !access.is_basic || !access.key.capability.permits_all_channels() {
        let (operation, on) = ("deleting", Found::text(app.as_str()));
        let permitted = "what concerns their own app, and deleting it to those of its keys only that may do everything on all channels".into();
        return Err(Fault::NotPermitted { operation, on, permitted });
    }
    call.rest.apps.remove(app)?;
    call.broker().credentials_changed();
    let change = Change { table: Table::Apps, put: Vec::new(), gone: vec![app.as_str().to_owned()] };
    call.rest.worker.broker.share(&change).await?;
    Ok(RestAnswer::nothing())
}

/// The other nodes of a cluster have the app as well.
async fn share(call: &Call<'_>, format: Format, body: &[u8], app: &App) -> Result<(), Fault> {
    let setup: Value = wire::decode_value(format, body)?;
    let row = (app.id.as_str().to_owned(), complete(setup, app).to_string());
    let change = Change { table: Table::Apps, put: vec![row], gone: Vec::new() };
    call.rest.worker.broker.share(&change).await
}

/// The host and port that the client knows this server by. In HTTP/2 they stand in the request line.
fn host(call: &Call<'_>, default_port: u16) -> (String, u16) {
    let header = call.http.headers().get(HOST);
    let header = header.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let authority = header.or_else(|| call.http.uri().authority().cloned());
    authority.map_or(("localhost".to_owned(), default_port), |authority| {
        let port = authority.port_u16().unwrap_or(default_port);
        (authority.host().to_owned(), port)
    })
}
