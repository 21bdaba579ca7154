//! Channels: which are open, publishing to one, and a token to look at them with.

use actix_web::web::{self, Json};
use futures_util::future;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Admin, Answer, Refusal, app, page_size};
use crate::{actors::channels::meta::META, auth::json_body::Object};

#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The app `shared` unless it is said.
    app: Option<String>,
    /// Names that begin with it.
    prefix: Option<String>,
    /// `next` of the page before.
    after: Option<String>,
    /// At most 100.
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Channels {
    /// By name.
    items: Vec<Channel>,
    next: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Channel {
    name: String,
    connections: usize,
    publishers: usize,
    subscribers: usize,
    presence_members: usize,
}

/// The channels of an app that are open on this server.
#[utoipa::path(get, path = "/admin/api/channels", params(Wanted), responses(
    (status = 200, body = Channels), (status = 400, body = Refusal)))]
pub(super) async fn list(admin: web::Data<Admin>, wanted: web::Query<Wanted>) -> Answer<Channels> {
    let (app, limit) = (app(wanted.app.as_ref())?, page_size(wanted.limit));
    let prefix = wanted.prefix.as_deref().unwrap_or_default();
    let mut names = admin.broker.directory.names(app, prefix, wanted.after.as_deref(), limit + 1);
    let has_more = names.len() > limit;
    names.truncate(limit);
    let next = names.last().filter(|_| has_more).map(ToString::to_string);
    names.retain(|name| !name.as_str().starts_with(META));
    let occupancies = future::join_all(names.iter().map(|name| admin.broker.occupancy(name))).await;
    let items = names.iter().zip(occupancies).map(|(name, occupancy)| {
        // A channel that ends at this moment has nobody.
        let occupancy = occupancy.unwrap_or_default();
        Channel {
            name: name.to_string(),
            connections: occupancy.connections,
            publishers: occupancy.publishers,
            subscribers: occupancy.subscribers,
            presence_members: occupancy.presence_members,
        }
    });
    Ok(Json(Channels { items: items.collect(), next }))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewMessage {
    /// The app `shared` unless it is said.
    app: Option<String>,
    pub channel: String,
    pub name: Option<String>,
    pub client_id: Option<String>,
    /// A text, or any other JSON value; may be missing where there is a name.
    #[schema(value_type = Object)]
    pub data: Option<serde_json::Value>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Published {
    /// The position of the message in its channel.
    serial: String,
}

/// Publishes a message.
#[utoipa::path(post, path = "/admin/api/publish", request_body = NewMessage, responses(
    (status = 200, body = Published), (status = 400, body = Refusal)))]
pub(super) async fn publish(admin: web::Data<Admin>, message: Json<Object<NewMessage>>) -> Answer<Published> {
    let Object(message) = message.into_inner();
    if message.name.is_none() && message.data.is_none() {
        return Err(Refusal::new(40000, "name or data: a message with neither says nothing"));
    }
    let serial = admin.hooks.publish(app(message.app.as_ref())?, message).await?;
    Ok(Json(Published { serial }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    /// The app `shared` unless it is said.
    app: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Token {
    /// For Ably's REST interface and its streams: `Authorization: Bearer` and its base64.
    token: String,
}

/// A token of an app for an hour, which may do everything there: to follow channels by `/sse`, to read history and presence.
#[utoipa::path(post, path = "/admin/api/token", request_body = Whose, responses(
    (status = 200, body = Token), (status = 404, body = Refusal, description = "The app has no key")))]
pub(super) async fn token(admin: web::Data<Admin>, whose: Json<Object<Whose>>) -> Answer<Token> {
    let Object(whose) = whose.into_inner();
    Ok(Json(Token { token: admin.hooks.token(app(whose.app.as_ref())?)? }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Guest {
    /// Its `userId` is this name, or begins with it and a colon.
    user: String,
    room: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RoomToken {
    /// The parameter `token` of LetShare's WebSocket `/ws`.
    token: String,
}

/// A token for a LetShare room: a JWT of an hour for this user and room, or the one token of the server where `auth.mode` takes no JWT.
#[utoipa::path(post, path = "/admin/api/room-token", request_body = Guest, responses(
    (status = 200, body = RoomToken), (status = 400, body = Refusal),
    (status = 404, body = Refusal, description = "LetShare is switched off")))]
pub(super) async fn room_token(admin: web::Data<Admin>, guest: Json<Object<Guest>>) -> Answer<RoomToken> {
    let Object(Guest { user, room }) = guest.into_inner();
    if user.is_empty() || room.is_empty() {
        return Err(Refusal::new(40000, "user and room: texts that are not empty"));
    }
    Ok(Json(RoomToken { token: admin.hooks.room_token(&user, &room)? }))
}
