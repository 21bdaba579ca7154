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
    /// Of the token: digests have one length, so comparing them takes the same time for every token.
    digest: [u8; 32],
    names: Arc<[String]>,
}

/// Whose a connection is: the mailboxes that its token opens, beyond the one that it reads.
#[derive(Clone, Debug, Default)]
pub struct Principal(Arc<[String]>);

impl Principal {
    /// Whether the mailbox `name` is its own as well.
    pub fn covers(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, name))
    }
}

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

    /// Who shows `token`, if it opens the mailbox `name` or, without one, any.
    pub fn check(&self, token: &str, name: Option<&str>, now: Timestamp) -> Option<Principal> {
        if token.is_empty() || token.len() > limits::TOKEN_BYTES {
            return None;
        }
        let (principal, opens) = match self {
            Self::Any => (Principal::default(), true),
            Self::Listed(grants) => {
                let digest = Sha256::digest(token);
                let mut grants = grants.iter();
                let grant = grants.find(|grant| bool::from(grant.digest[..].ct_eq(&digest[..])))?;
                let principal = Principal(Arc::clone(&grant.names));
                let opens = name.is_none_or(|name| principal.covers(name));
                (principal, opens)
            }
            Self::Signed(key) => {
                let claimed = key.claim(token, &["clientID", "sub"], now).ok().flatten()?;
                (Principal::default(), name.is_none_or(|name| name == claimed))
            }
        };
        opens.then_some(principal)
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
        let opens = |token, name| access.check(token, name, now).is_some();
        assert!(opens("s3cret", Some("desk-7")) && opens("other", Some("audit")) && opens("other", None));
        assert!(!opens("s3cret", Some("audit")) && !opens("s3cre", Some("erp")) && !opens("", Some("erp")));
    }
}
