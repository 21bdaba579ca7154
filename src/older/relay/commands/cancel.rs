//! `DELETE {push_path}/scheduled/{id}`: a delayed push is not sent.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use crate::older::relay::{
    endpoint::Relay,
    reply::{RelayError, done},
};

pub async fn cancel(relay: &Relay, request: &HttpRequest, _: &mut web::Payload) -> Result<HttpResponse, RelayError> {
    let id = request.match_info().query("id");
    if relay.shared.schedule.cancel(id).await? { Ok(done(json!({"id": id}))) } else { Err(RelayError::UnknownPush) }
}
