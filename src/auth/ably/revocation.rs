//! Tokens that are taken back before they end (`docs/protocols/ably.md §11.4, §12.7`).
//!
//! A revocation is kept for as long as a token that it concerns can live: an hour.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use serde::Deserialize;

use super::{access::Access, credential::Credential, gate::Gate};
use crate::{error::Fault, ids::Timestamp, limits};

/// The body of a request to revoke tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevocationRequest {
    /// `clientId:x`, `revocationKey:x`, `channel:x`
    pub targets: Vec<String>,
    /// Milliseconds of the epoch; none = now.
    #[serde(default)]
    pub issued_before: Option<u64>,
    /// Whoever is connected gets time to show another token.
    #[serde(default)]
    pub allow_reauth_margin: bool,
}

/// What was decided about one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Tokens issued until then are concerned.
    pub issued_before: Timestamp,
    /// From then on they are worth nothing.
    pub applies_at: Timestamp,
}

impl Revoked {
    /// No token that it concerns can live any more.
    fn is_over(&self, now: Timestamp) -> bool {
        let life = u64::try_from(limits::REVOCABLE_TOKEN_TTL.as_millis()).unwrap_or(u64::MAX);
        self.issued_before.millis().saturating_add(life) <= now.millis()
    }
}

/// Which tokens a revocation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    ClientId(String),
    RevocationKey(String),
    /// Its capability names exactly this resource.
    Channel(String),
}

/// What has been revoked, by the name of the key that the tokens are of.
#[derive(Debug, Default)]
pub(super) struct Revocations(Mutex<HashMap<Arc<str>, OfKey>>);

type OfKey = Vec<(Target, Revoked)>;

impl Target {
    fn parse(text: &str) -> Result<Self, Fault> {
        let (kind, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.to_owned();
        match kind {
            _ if value.is_empty() => Err(BAD_TARGET),
            "clientId" => Ok(Self::ClientId(value)),
            "revocationKey" => Ok(Self::RevocationKey(value)),
            "channel" => Ok(Self::Channel(value)),
            _ => Err(BAD_TARGET),
        }
    }

    fn is_about(&self, access: &Access) -> bool {
        match self {
            Self::ClientId(id) => access.client_id.as_str() == Some(id),
            Self::RevocationKey(key) => access.revocation_key.as_deref() == Some(key),
            Self::Channel(resource) => access.capability.names(resource),
        }
    }
}

const BAD_TARGET: Fault =
    Fault::BadParameter { name: "targets", rule: "each must be clientId:, revocationKey: or channel: and a value" };

impl Revocations {
    fn add(&self, key: &Arc<str>, target: Target, revoked: Revoked, now: Timestamp) -> Result<(), Fault> {
        let mut all = self.0.lock();
        let of_key = all.entry(Arc::clone(key)).or_default();
        of_key.retain(|(_, old)| !old.is_over(now));
        if of_key.len() >= limits::REVOCATIONS {
            return Err(Fault::Busy);
        }
        of_key.push((target, revoked));
        Ok(())
    }

    /// From when on a token is worth nothing, if it was revoked.
    fn end_of(&self, access: &Access) -> Option<Timestamp> {
        let issued = access.issued?;
        let all = self.0.lock();
        let of_key = all.get(&access.key.name)?;
        let concerning =
            of_key.iter().filter(|(target, revoked)| issued <= revoked.issued_before && target.is_about(access));
        concerning.map(|(_, revoked)| revoked.applies_at).min()
    }
}

impl Gate {
    /// Takes tokens of a key back; what was decided for each target, in the order of the request.
    ///
    /// # Errors
    /// When nothing at all can be revoked: the caller does not show this key, its tokens cannot be
    /// revoked, or the request is wrong in itself.
    pub fn revoke(
        &self,
        key_name: &str,
        request: &RevocationRequest,
        credential: Option<&Credential>,
        now: Timestamp,
        is_tls: bool,
    ) -> Result<Vec<Result<Revoked, Fault>>, Fault> {
        let access = self.check(credential, now, is_tls)?;
        if !access.is_basic {
            return Err(Fault::RevocationNeedsKey);
        }
        if access.key_name() != key_name {
            return Err(Fault::RevocationByOtherKey);
        }
        if !access.key.has_revocable_tokens {
            return Err(Fault::TokensNotRevocable);
        }
        if request.targets.len() > limits::REVOCATION_TARGETS {
            let rule = "at most 100 at once";
            let name = "targets";
            return Err(Fault::BadParameter { name, rule });
        }
        let margin = if request.allow_reauth_margin {
            u64::try_from(limits::TOKEN_RENEWAL.as_millis()).unwrap_or(u64::MAX)
        } else {
            0
        };
        let revoked = Revoked {
            issued_before: issued_before(request.issued_before, now)?,
            applies_at: Timestamp::from_millis(now.millis().saturating_add(margin)),
        };
        let decide = |target: &String| {
            let target = Target::parse(target)?;
            self.revocations.add(&access.key.name, target, revoked, now)?;
            Ok(revoked)
        };
        Ok(request.targets.iter().map(decide).collect())
    }

    /// Takes up what was revoked before a restart; false when it is over, or nothing that can be.
    pub fn restore(&self, key_name: &str, target: &str, revoked: Revoked, now: Timestamp) -> bool {
        let target = Target::parse(target).ok().filter(|_| !revoked.is_over(now));
        target.is_some_and(|target| {
            let added = self.revocations.add(&key_name.into(), target, revoked, now);
            added.is_ok()
        })
    }

    /// From when on an access is worth nothing, if its token was revoked.
    pub fn revoked_at(&self, access: &Access) -> Option<Timestamp> {
        self.revocations.end_of(access)
    }

    /// # Errors
    /// [`Fault::TokenRevoked`]
    pub(super) fn not_revoked(&self, access: Access, now: Timestamp) -> Result<Access, Fault> {
        match self.revoked_at(&access) {
            Some(end) if end <= now => Err(Fault::TokenRevoked),
            _ => Ok(access),
        }
    }
}

fn issued_before(asked: Option<u64>, now: Timestamp) -> Result<Timestamp, Fault> {
    let Some(asked) = asked else {
        return Ok(now);
    };
    let life = u64::try_from(limits::REVOCABLE_TOKEN_TTL.as_millis()).unwrap_or(u64::MAX);
    let oldest = now.millis().saturating_sub(life);
    if asked > now.millis() || asked < oldest {
        return Err(Fault::BadParameter { name: "issuedBefore", rule: "not in the future, and at most an hour ago" });
    }
    Ok(Timestamp::from_millis(asked))
}
