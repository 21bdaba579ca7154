//! Who a request is from (`docs/protocols/chat.md §2`): a JWT, by which of its claims, and what those without one are answered.

use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL},
};
use serde_json::{Map, Value, json};

use crate::{
    actors::refusals::Reason,
    auth::{Expected, JwtKey, Leeway, TokenFault},
    clock::{Clock, OncePerSecond},
    config::{self, ChatCompat},
    edge::{
        http::query::Query,
        refusal::{Refused, explained},
    },
    ids::Timestamp,
    limits,
    older::chat::code::Code,
};

/// What browsers, which cannot set headers, ask for beside their token.
pub const SUBPROTOCOL: &str = "x-token";

/// Claims that name the user, the first one that does counts.
const CLAIMS: [&str; 4] = ["ID", "id", "user_id", "userId"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenUser {
    pub id: u64,
    /// When the token ends, if it does.
    pub expires: Option<Timestamp>,
}

/// Why a request is from no user: HTTP 401. `Display` is for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    #[error("the token is missing")]
    NoToken,
    #[error("the token is over")]
    Expired,
    /// For any other reason; where it is known, which: foreign tokens are not explained.
    #[error("the token is wrong")]
    Invalid(Option<String>),
}

/// Reads tokens.
pub struct TokenReader {
    key: JwtKey,
    header: String,
    in_query: bool,
    require_exp: bool,
    clock: Clock,
    /// The operator knows that there are tokens without end.
    warned_of_endless: AtomicBool,
    warning: OncePerSecond,
}

impl TokenReader {
    pub fn new(settings: &config::Chat, clock: Clock, leeway: &Leeway) -> Self {
        Self {
            key: JwtKey::new(&settings.jwt_secret).for_any_audience().with_leeway(leeway.clone()),
            header: settings.jwt_header.clone(),
            in_query: settings.token_in_query,
            require_exp: settings.require_exp,
            clock,
            warned_of_endless: AtomicBool::new(false),
            warning: OncePerSecond::default(),
        }
    }

    pub fn user(&self, request: &HttpRequest) -> Result<TokenUser, Unauthorized> {
        let token = &*self.token(request).ok_or(Unauthorized::NoToken)?;
        if token.len() > limits::TOKEN_BYTES {
            let reason = format!("the token is longer than {} bytes", limits::TOKEN_BYTES);
            return Err(Unauthorized::Invalid(Some(reason)));
        }
        let (claims, expires) = match self.key.claims(token, self.clock.now()) {
            Ok(read) => read,
            Err(TokenFault::Expired) => return Err(Unauthorized::Expired),
            Err(_) => return Err(self.invalid(token)),
        };
        if expires.is_none() {
            if self.require_exp {
                return Err(self.invalid(token));
            }
            if !self.warned_of_endless.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    "a chat client has a token without exp, which is good for ever; have them issued with exp, \
                     then set chat.require_exp"
                );
            }
        }
        let id = user_of(&claims).ok_or_else(|| self.invalid(token))?;
        Ok(TokenUser { id, expires })
    }

    /// The operator hears of it, too, who mostly has to change how tokens are issued.
    fn invalid(&self, token: &str) -> Unauthorized {
        let expected = Expected {
            user: &CLAIMS,
            kind: "a whole number from 1 to 2^63-1",
            is_user: |value| as_user(value, false).is_some(),
            needs_exp: self.require_exp,
        };
        let reason = self.key.wrong_claim(token, expected);
        let reason = reason.or_else(|| self.key.wrong_time(token, self.clock.now()));
        if let Some(reason) = &reason
            && let Some(more) = self.warning.allows(&self.clock)
        {
            tracing::warn!(reason, more, "the token of a chat client is signed by chat.jwt_secret and refused");
        }
        Unauthorized::Invalid(reason)
    }

    /// The first of the places that has one.
    fn token(&self, request: &HttpRequest) -> Option<String> {
        let header = |name: &str| {
            let value = request.headers().get(name)?.to_str().ok()?.trim();
            (!value.is_empty()).then_some(value)
        };
        let bearer = || {
            let (scheme, token) = header(AUTHORIZATION.as_str())?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
        };
        let subprotocol = || {
            let mut offered = subprotocols(request);
            if offered.next() == Some(SUBPROTOCOL) { offered.next() } else { None }
        };
        let in_query = || {
            let query = self.in_query.then(|| Query::of(request))?;
            query.get("token").map(str::to_owned)
        };
        let is_there = |token: &&str| !token.is_empty();
        let token = header(&self.header).or_else(|| bearer().filter(is_there));
        let token = token.or_else(|| subprotocol().filter(is_there)).map(str::to_owned);
        token.or_else(|| in_query().filter(|token| !token.is_empty()))
    }
}

/// What the request names in `Sec-WebSocket-Protocol`.
pub fn subprotocols(request: &HttpRequest) -> impl Iterator<Item = &str> {
    let list = request.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    list.unwrap_or_default().split(',').map(str::trim)
}

/// The user of these claims. 0 is none (§2), and what is above 2^63-1 fits into no store.
fn user_of(claims: &Map<String, Value>) -> Option<u64> {
    let named = CLAIMS.iter().find_map(|name| claims.get(*name));
    as_user(named.or_else(|| claims.get("sub"))?, named.is_none())
}

/// `sub` is a text by RFC 7519; the others are numbers.
fn as_user(value: &Value, may_be_text: bool) -> Option<u64> {
    let id = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) if may_be_text => text.parse().ok(),
        _ => None,
    };
    id.filter(|id| *id > 0 && i64::try_from(*id).is_ok())
}

impl Refused for Unauthorized {
    fn reason(&self) -> Reason {
        Reason::Token
    }
}

impl Unauthorized {
    pub fn response(&self, compat: ChatCompat) -> HttpResponse {
        let (text, why) = match self {
            Self::NoToken => (
                "请登录",
                "no token: show one in the header x-token (chat.jwt_header), Authorization (Bearer) or \
                 Sec-WebSocket-Protocol, or with chat.token_in_query the parameter token",
            ),
            Self::Expired => ("授权已过期", "the token has expired: get another one"),
            Self::Invalid(Some(reason)) => ("未登陆", reason.as_str()),
            Self::Invalid(None) => {
                ("未登陆", "the token is wrong: it must be an HS256 JWT signed with chat.jwt_secret")
            }
        };
        let body = match (compat, self) {
            (ChatCompat::Source, Self::Invalid(_)) => json!(text),
            (ChatCompat::Source, _) => json!({"msg": text}),
            (ChatCompat::Document, _) => {
                let code = Code::Unauthorized.row().number;
                let mut body = json!({"code": code, "message": text, "data": null, "msg": text});
                if let Self::Invalid(Some(reason)) = self {
                    body["reason"] = reason.as_str().into();
                }
                body
            }
        };
        explained(HttpResponse::Unauthorized().json(body), why)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn user(claims: &Value) -> Option<u64> {
        user_of(claims.as_object().unwrap())
    }

    #[test]
    fn claims() {
        for (claims, expected) in [
            (json!({"ID": 7, "NickName": "ann", "AuthorityId": 1}), Some(7)),
            (json!({"id": 7}), Some(7)),
            (json!({"user_id": 7}), Some(7)),
            (json!({"userId": 7}), Some(7)),
            (json!({"sub": "7"}), Some(7)),
            (json!({"sub": 7}), Some(7)),
            (json!({"ID": 7, "sub": "8"}), Some(7)),
            (json!({"ID": 0}), None),
            (json!({"ID": 0, "sub": "8"}), None),
            (json!({"ID": "7"}), None),
            (json!({"ID": -7}), None),
            (json!({"ID": 7.5}), None),
            (json!({"ID": u64::MAX}), None),
            (json!({"sub": "ann"}), None),
            (json!({"sub": "0"}), None),
            (json!({}), None),
        ] {
            assert_eq!(user(&claims), expected, "{claims}");
        }
    }
}
