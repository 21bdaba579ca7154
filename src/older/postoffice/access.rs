//! Who may be which mailbox (`docs/protocols/postoffice.md §1`).

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::{
    auth::{JwtKey, Leeway},
    config::{self, PostOfficeAuth},
    ids::Timestamp,
    limits,
};

/// What a token has to be.
pub enum Access {
    /// Anything.
    Any,
    Listed(Vec<Grant>),
    Signed(Box<JwtKey>),
}

/// A token, and the mailboxes it opens.
pub struct Grant {
    /// Of equal length whatever the token, so that comparing takes equal time.
    digest: [u8; 32],
    names: Arc<[String]>,
}

/// Whose a connection is, beyond the mailbox that it empties.
#[derive(Clone, Debug, Default)]
pub struct Principal(Option<Arc<[String]>>);

impl Principal {
    /// Whether the mailbox `name` is its own as well.
    pub fn covers(&self, name: &str) -> bool {
        let mut patterns = self.0.iter().flat_map(|patterns| patterns.iter());
        patterns.any(|pattern| matches(pattern, name))
    }
}

/// The token opens nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied;

impl Access {
    pub fn new(settings: &config::PostOffice, leeway: &Leeway) -> Self {
        match settings.auth {
            PostOfficeAuth::Any => Self::Any,
            PostOfficeAuth::Tokens => Self::Listed(settings.tokens.iter().filter_map(Grant::read).collect()),
            PostOfficeAuth::Jwt => {
                Self::Signed(Box::new(JwtKey::new(&settings.jwt_secret).with_leeway(leeway.clone())))
            }
        }
    }

    /// Whether `token` opens the mailbox `name`, or, without one, any.
    ///
    /// # Errors
    /// [`Denied`]; nobody is told why.
    pub fn check(&self, token: &str, name: Option<&str>, now: Timestamp) -> Result<Principal, Denied> {
        if token.is_empty() || token.len() > limits::TOKEN_BYTES {
            return Err(Denied);
        }
        match self {
            Self::Any => Ok(Principal::default()),
            Self::Listed(grants) => {
                let digest = Sha256::digest(token);
                let is_it = |grant: &&Grant| bool::from(grant.digest[..].ct_eq(&digest[..]));
                let grant = grants.iter().find(is_it).ok_or(Denied)?;
                let principal = Principal(Some(Arc::clone(&grant.names)));
                match name {
                    Some(name) if !principal.covers(name) => Err(Denied),
                    _ => Ok(principal),
                }
            }
            Self::Signed(key) => {
                let claimed = key.claim(token, &["clientID", "sub"], now);
                let claimed = claimed.ok().flatten().ok_or(Denied)?;
                match name {
                    Some(name) if name != claimed => Err(Denied),
                    _ => Ok(Principal::default()),
                }
            }
        }
    }
}

impl Grant {
    /// `TOKEN pattern…`, as it is written in the settings; `config` has checked it.
    fn read(line: &SecretString) -> Option<Self> {
        let mut words = line.expose_secret().split_whitespace();
        let digest = Sha256::digest(words.next()?).into();
        let names = words.map(str::to_owned).collect();
        Some(Self { digest, names })
    }
}

/// `*` stands for any text, also in the middle.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            let Some(at) = rest.find(middle) else {
                return false;
            };
            rest = &rest[at + middle.len()..];
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("erp", "erp", true),
            ("erp", "erp2", false),
            ("*", "anything", true),
            ("desk-*", "desk-7", true),
            ("desk-*", "desk", false),
            ("/service/*/company/*", "/service/erp/company/001", true),
            ("/service/*/company/*", "/service/company/001", false),
            ("*-*-z", "a-b-z", true),
            ("*-*-z", "a-z", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn listed_tokens_open_their_mailboxes() {
        let lines = ["s3cret erp desk-*", "other audit"].map(|line| SecretString::from(line.to_owned()));
        let access = Access::Listed(lines.iter().filter_map(Grant::read).collect());
        let now = Timestamp::from_millis(0);
        let opens = |token, name| access.check(token, name, now).is_ok();
        assert!(opens("s3cret", Some("desk-7")) && opens("other", Some("audit")) && opens("other", None));
        assert!(!opens("s3cret", Some("audit")) && !opens("s3cre", Some("erp")) && !opens("", Some("erp")));
    }
}
