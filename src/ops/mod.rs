//! What an operator looks at: is it well, may it get traffic, what does it count, what does it log.
//!
//! Answers only; the counting is done elsewhere and arrives as a `Snapshot`.

pub mod admin;
mod console;
pub mod error_file;
pub mod health;
pub mod logs;
pub mod metrics_page;
mod metrics_text;
pub mod process;
mod show_time;
mod welcome;

use std::sync::{Arc, atomic::AtomicBool};

use actix_web::{HttpRequest, guard, http::header, web};
use futures_util::future::LocalBoxFuture;

pub use admin::Admin;

use crate::{actors::metrics::Snapshot, clock::Clock};

/// Asks the metrics actor; called once for each request of `/metrics`.
pub type SnapshotSource = Arc<dyn Fn() -> LocalBoxFuture<'static, Snapshot> + Send + Sync>;

/// Why no clients should be sent here although the server goes on.
pub struct Unready {
    pub why: String,
    /// The operator wants them here all the same.
    pub is_ready: bool,
}

pub type WhyNotReady = Arc<dyn Fn() -> Option<Unready> + Send + Sync>;

/// Decides who may see the metrics; the error is the body of the refusal.
pub type MetricsGate = Arc<dyn Fn(&HttpRequest) -> Result<(), &'static str> + Send + Sync>;

/// What the handlers here need; `app` puts it into the app data as `web::Data<OpsState>`.
#[derive(Clone)]
pub struct OpsState {
    pub clock: Clock,
    /// Off from the moment that the server is to stop.
    pub ready: Arc<AtomicBool>,
    pub why_not_ready: WhyNotReady,
    pub snapshot: SnapshotSource,
    pub may_see_metrics: MetricsGate,
}

/// The console, and the admin API that it is a client of.
pub fn console_routes(app: &mut web::ServiceConfig, admin: &Admin) {
    for path in ["/console", "/console/{file}"] {
        app.service(web::resource(path).guard(guard::Any(guard::Get()).or(guard::Head())).to(console::console));
    }
    admin::routes(app, admin);
}

/// `/health`, `/ready`, `/metrics` and the page of `/` for GET and HEAD; any other method is left to the default
/// service, since docs/protocols/letshare.md §1.2 wants 404 there, not 405. WebSockets are for whoever takes them on
/// every path.
///
/// `/healthz` and `/readyz` are the same for whoever is used to these names.
/// `has_console`: on this port; a browser that opens `/` is led there.
pub fn routes(app: &mut web::ServiceConfig, has_console: bool) {
    let is_plain = |asked: &guard::GuardContext<'_>| !asked.head().headers().contains_key(header::UPGRADE);
    let reads = || guard::Any(guard::Get()).or(guard::Head());
    let resource = |path| web::resource(path).guard(reads()).guard(guard::fn_guard(is_plain));
    let page = resource("/").guard(guard::fn_guard(welcome::wants_a_page));
    let page = if has_console { page.to(welcome::to_console) } else { page.to(welcome::welcome) };
    app.service(page)
        .service(resource("/health").to(health::health))
        .service(resource("/healthz").to(health::health))
        .service(resource("/ready").to(health::ready))
        .service(resource("/readyz").to(health::ready))
        .service(resource("/metrics").to(metrics_page::metrics));
}

#[cfg(test)]
mod tests;
