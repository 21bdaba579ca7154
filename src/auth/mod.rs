//! Who may connect, as whom, and what for.
//!
//! Here: the two kinds of token of LetShare (docs/protocols/letshare.md §1.3), choosing between them, and the
//! rule that binds a token to the `userId` of the URL. How each kind is checked is in `static_token` and
//! `jwt`. Ably's credentials are in `ably`, the apps that they belong to in `apps`, the keys
//! that the server makes for itself in `key_file`.
//!
//! Where a credential comes from (query, header) and what status a refusal has is the edge's business.
//! Nothing here logs but `leeway`, which warns of a clock that is off; a fault never contains a credential.

pub mod ably;
mod api_key;
pub mod apps;
pub mod base64_text;
mod claims;
mod identifier;
pub mod json_body;
mod jwt;
pub mod key_file;
mod leeway;
mod pro;
pub mod relay_key;
mod static_token;
#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::{
    clock::Clock,
    config::{AuthMode, Config},
    limits,
};

pub use api_key::ApiKey;
pub use claims::Expected;
pub use identifier::Proof;
pub use jwt::{Claims, JwtKey, MintError, claims_unchecked};
pub use leeway::Leeway;
pub use pro::{ProKey, ProToken};
pub use static_token::StaticToken;

/// Whom a connection speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The id that messages are routed by; `None`: neither the token nor the URL has one, so the
    /// caller picks one.
    pub user_id: Option<String>,
    /// The only room it may join; `None`: any.
    pub room: Option<String>,
}

/// Why a token was refused. `Display` is the text that the design document and the older server send
/// to the client, after the prefix of every fault but the first (docs/protocols/letshare.md §1.2, §1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenFault {
    #[error("缺少认证token")]
    Missing,
    /// Not the static token; the text of the older server.
    #[error("token验证失败: token验证失败")]
    NotTheStaticToken,
    /// Not a JWT, or not one that we signed; the words are those of Go's JWT package.
    #[error("token验证失败: token解析失败: {0}")]
    Unreadable(&'static str),
    /// Signed by us and not for now or not for us: no `exp`, `nbf` ahead, another audience.
    #[error("token验证失败: token无效")]
    Invalid,
    /// A claim of the wrong type.
    #[error("token验证失败: claims解析失败")]
    BadClaims,
    #[error("token验证失败: token已过期")]
    Expired,
    #[error("token验证失败: token中缺少user_id")]
    NoUser,
    /// Ours, not documented elsewhere: the URL's `userId` is not that of the JWT.
    #[error("token验证失败: token与userId不匹配")]
    OtherUser,
}

impl TokenFault {
    /// The same in English, with what would be accepted; of the token only what its holder can read in it.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "the parameter token is missing",
            Self::NotTheStaticToken => {
                "the token is not the one of this server: the lower-case hex SHA-256 of auth.secret, or, with \
                 auth.mode jwt or both, a JWT"
            }
            Self::Unreadable(_) => "the token is neither the one of this server nor a JWT signed by jwt.secret",
            Self::Invalid => "the JWT is not for now or not for this server: exp, nbf and aud are looked at",
            Self::BadClaims => "a claim of the JWT has the wrong type",
            Self::Expired => "the JWT has expired: get another one",
            Self::NoUser => "the JWT has no claim user_id",
            Self::OtherUser => "the parameter userId must be the JWT's user_id, or begin with it and a colon",
        }
    }
}

/// Checks tokens as `auth.mode` says.
#[derive(Debug)]
pub struct Authenticator {
    static_token: Option<StaticToken>,
    jwt: Option<JwtKey>,
    clock: Clock,
}

impl Authenticator {
    pub fn new(config: &Config, clock: Clock) -> Self {
        let mode = config.auth.mode;
        let leeway = Leeway::new(config.auth.clock_leeway, clock.clone());
        Self {
            static_token: (mode != AuthMode::Jwt).then(|| StaticToken::of(&config.auth.secret)),
            jwt: (mode != AuthMode::Static).then(|| JwtKey::new(&config.jwt.secret).with_leeway(leeway)),
            clock,
        }
    }

    /// A token for a user in a room: a JWT of an hour, or the one that everybody shares where no JWT is taken.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn grant(&self, user: &str, room: &str) -> Result<String, MintError> {
        match (&self.jwt, &self.static_token) {
            (None, Some(shared)) => Ok(shared.reveal().to_owned()),
            (Some(jwt), _) => jwt.mint(user, Some(room), 1, self.clock.now()),
            (None, None) => Err(MintError::NoUser),
        }
    }

    /// Whom `token` lets in; `user_id` is the URL's, percent-decoded. An empty one counts as absent.
    ///
    /// # Errors
    /// Why not; every fault is a 401.
    pub fn authenticate(&self, token: &str, user_id: Option<&str>) -> Result<Identity, TokenFault> {
        if token.is_empty() {
            return Err(TokenFault::Missing);
        }
        if token.len() > limits::TOKEN_BYTES {
            return Err(TokenFault::Unreadable("token is too long"));
        }
        let user_id = user_id.filter(|id| !id.is_empty());
        if let Some(expected) = &self.static_token
            && expected.matches(token)
        {
            return Ok(Identity { user_id: user_id.map(str::to_owned), room: None });
        }
        match &self.jwt {
            // A static token has no dots: with both kinds on, the fault is that of the kind that was meant.
            Some(jwt) if self.static_token.is_none() || token.contains('.') => {
                let claims = jwt.check(token, self.clock.now())?;
                Ok(Identity { user_id: Some(routing_id(claims.user_id, user_id)?), room: claims.room_id })
            }
            _ => Err(TokenFault::NotTheStaticToken),
        }
    }
}

impl Authenticator {
    /// Which claim of a JWT of ours is missing or wrong, if that is why it was refused.
    pub fn wrong_claim(&self, token: &str) -> Option<String> {
        let expected =
            Expected { user: &["user_id"], kind: "a text that is not empty", is_user: is_filled, needs_exp: true };
        let jwt = self.jwt.as_ref().filter(|_| token.len() <= limits::TOKEN_BYTES)?;
        jwt.wrong_claim(token, expected)
    }
}

fn is_filled(value: &serde_json::Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

/// The page routes by `<user>:<random>`, and a JWT cannot know the random part (docs/protocols/letshare.md §1.3).
fn routing_id(of_token: String, of_url: Option<&str>) -> Result<String, TokenFault> {
    let Some(of_url) = of_url else {
        return Ok(of_token);
    };
    match of_url.strip_prefix(of_token.as_str()) {
        Some(rest) if rest.is_empty() || rest.starts_with(':') => Ok(of_url.to_owned()),
        _ => Err(TokenFault::OtherUser),
    }
}
