//! Figures: what is kept and for whom, who was turned away.

use std::collections::BTreeMap;

use actix_web::web::{self, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Admin, Answer, Refusal};
use crate::{actors::accounts::Account, limits};

#[derive(Serialize, ToSchema)]
pub(super) struct Kept {
    /// Bytes that are kept for clients.
    bytes: usize,
    /// limits.memory
    limit: usize,
    /// By kind (docs/architecture.md §6a).
    kinds: BTreeMap<&'static str, u64>,
    /// The 100 that keep most.
    apps: Vec<App>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct App {
    app: String,
    bytes: usize,
}

/// What is kept for clients.
#[utoipa::path(get, path = "/admin/api/kept", responses((status = 200, body = Kept), (status = 401, body = Refusal)))]
pub(super) async fn kept(admin: web::Data<Admin>) -> Answer<Kept> {
    let accounts = &admin.broker.accounts;
    let server: &Account = accounts.server();
    let mut apps: Vec<App> = accounts
        .apps()
        .into_iter()
        .map(|(app, account)| App { app: app.to_string(), bytes: account.kept() })
        .filter(|app| app.bytes > 0)
        .collect();
    apps.sort_unstable_by_key(|app| std::cmp::Reverse(app.bytes));
    apps.truncate(limits::ADMIN_PAGE);
    let kinds = accounts.figures().into_iter().collect();
    Ok(Json(Kept { bytes: server.kept(), limit: server.limit(), kinds, apps }))
}

#[derive(Serialize, ToSchema)]
pub(super) struct TurnedAway {
    /// How many since the start, by reason.
    reasons: BTreeMap<&'static str, u64>,
}

/// Who was turned away.
#[utoipa::path(get, path = "/admin/api/refusals", responses(
    (status = 200, body = TurnedAway), (status = 401, body = Refusal)))]
pub(super) async fn refusals(admin: web::Data<Admin>) -> Answer<TurnedAway> {
    Ok(Json(TurnedAway { reasons: admin.broker.refusals.read().into_iter().collect() }))
}
