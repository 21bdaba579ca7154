//! What a request brings to prove who sends it (`docs/protocols/ably.md §1.2, §1.8, §12.1`).

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::{auth::base64_text, error::Fault, ids::AppId};

/// A credential as it was written; [`Gate`](super::Gate) checks it.
#[derive(Clone)]
pub enum Credential {
    /// `<app>.<key>:<secret>`
    Basic(SecretString),
    /// A native token or a JWT.
    Token(SecretString),
}

impl Credential {
    /// The value of `key=`.
    pub fn key(text: &str) -> Self {
        Self::Basic(text.into())
    }

    /// The value of `accessToken=` or `access_token=`, or what an AUTH frame brings.
    pub fn token(text: &str) -> Self {
        Self::Token(text.into())
    }

    /// The first credential that a request has: its `Authorization` header, else the first of `query`
    /// that is one. The pairs are percent-decoded. None: it has none.
    ///
    /// # Errors
    /// [`Fault::UnreadableCredentials`] when the header is neither `Basic` with base64 nor `Bearer`.
    pub fn find<'a>(
        authorization: Option<&str>,
        query: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<Self>, Fault> {
        if let Some(header) = authorization {
            return Self::from_header(header).map(Some);
        }
        let mut query = query.into_iter();
        Ok(query.find_map(|(name, value)| match name {
            "key" => Some(Self::key(value)),
            "accessToken" | "access_token" => Some(Self::token(value)),
            _ => None,
        }))
    }

    /// The value of an `Authorization` header.
    pub fn from_header(header: &str) -> Result<Self, Fault> {
        let (scheme, text) = header.trim().split_once(' ').unwrap_or((header, ""));
        let text = text.trim();
        let decoded = || base64_text::decode(text.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok());
        if scheme.eq_ignore_ascii_case("basic") {
            let why = "the Authorization header is Basic, but not followed by the base64 of a key";
            let key = decoded().ok_or(Fault::UnreadableCredentials { why })?;
            return Ok(Self::Basic(key.into()));
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            let why = "the Authorization header is neither Basic with a key nor Bearer with a token";
            return Err(Fault::UnreadableCredentials { why });
        }
        // SDKs encode the token once more, users of JWTs do not. Both kinds of token have a dot, and
        // base64 has none.
        if text.contains('.') {
            return Ok(Self::token(text));
        }
        Ok(Self::Token(decoded().unwrap_or_else(|| text.to_owned()).into()))
    }

    pub const fn is_basic(&self) -> bool {
        matches!(self, Self::Basic(_))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic(_) => "Basic(…)",
            Self::Token(_) => "Token(…)",
        })
    }
}

/// A key in its parts.
pub(super) struct KeyParts<'a> {
    pub app: AppId,
    /// `<app>.<key>`
    pub name: &'a str,
    pub secret: &'a str,
}

impl<'a> KeyParts<'a> {
    /// # Errors
    /// As [`app_of`]; [`Fault::UnreadableCredentials`] when the secret is missing.
    pub fn read(key: &'a SecretString) -> Result<Self, Fault> {
        let key = key.expose_secret();
        let app = app_of(key)?;
        // Secrets may have colons.
        let why = "a key is <app>.<key>:<secret>; the colon and the secret are missing";
        let (name, secret) = key.split_once(':').ok_or(Fault::UnreadableCredentials { why })?;
        Ok(Self { app, name, secret })
    }
}

/// The app that a key, a key's name or a native token begins with: six characters and a dot.
///
/// # Errors
/// [`Fault::Unauthenticated`]: without an app it cannot be checked (`docs/protocols/ably.md §4.2`).
pub(super) fn app_of(text: &str) -> Result<AppId, Fault> {
    let id = text.split_once('.').and_then(|(id, _)| AppId::parse(id));
    id.ok_or(Fault::Unauthenticated {
        why: "no app id in the credentials; keys and tokens begin with the six characters of one and a dot, which a shared \
              token of LetShare does not",
    })
}
