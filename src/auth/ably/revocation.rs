//! Tokens that are taken back before they end (`docs/protocols/ably.md §11.4, §12.7`).
//!
//! A revocation is kept for as long as a token that it concerns can live: an hour, and what clocks may be off.

use std::{cmp::Reverse, collections::HashMap, fmt, mem, sync::Arc};

use parking_lot::Mutex;
use serde::Deserialize;

use super::{access::Access, credential::Credential, gate::Gate};
use crate::{
    clock::{Clock, OncePerSecond},
    error::{Fault, Found},
    ids::Timestamp,
    limits,
};

/// The body of a request to revoke tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevocationRequest {
    /// `clientId:x`, `revocationKey:x`, `channel:x`
    pub targets: Vec<String>,
    /// Milliseconds of the epoch; none = now.
    #[serde(default)]
    pub issued_before: Option<u64>,
    /// Open connections get time to show another token.
    #[serde(default)]
    pub allow_reauth_margin: bool,
}

/// What was decided about one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Tokens issued until then are concerned.
    pub issued_before: Timestamp,
    /// From then on they are refused.
    pub applies_at: Timestamp,
}

impl Revoked {
    /// No token that it concerns can live any more.
    fn is_over(&self, now: Timestamp) -> bool {
        let life = limits::REVOCABLE_TOKEN_TTL + limits::CLOCK_LEEWAY_MAX;
        let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
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
pub(super) struct Revocations {
    all: Mutex<HashMap<Arc<str>, OfKey>>,
    /// What others have made needless since the last sweep.
    replaced: Mutex<Vec<Gone>>,
    warning: OncePerSecond,
}

/// The key, the target and what was decided.
type Gone = (Arc<str>, String, Revoked);

type OfKey = Vec<(Target, Revoked)>;

/// As it was asked for.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, value) = match self {
            Self::ClientId(id) => ("clientId", id),
            Self::RevocationKey(key) => ("revocationKey", key),
            Self::Channel(resource) => ("channel", resource),
        };
        write!(f, "{kind}:{value}")
    }
}

impl Target {
    fn parse(text: &str) -> Result<Self, Fault> {
        let (kind, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.to_owned();
        let bad = || {
            let rule = "clientId:, revocationKey: or channel: and a value";
            Fault::BadParameter { name: "targets", found: Found::text(text), rule }
        };
        match kind {
            _ if value.is_empty() => Err(bad()),
            "clientId" => Ok(Self::ClientId(value)),
            "revocationKey" => Ok(Self::RevocationKey(value)),
            "channel" => Ok(Self::Channel(value)),
            _ => Err(bad()),
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

impl Revocations {
    /// At the limit of a key only targets that are there already are taken: then what it makes needless goes.
    fn add(&self, key: &Arc<str>, target: Target, revoked: Revoked, now: Timestamp) -> Result<(), Fault> {
        let mut all = self.all.lock();
        let of_key = all.entry(Arc::clone(key)).or_default();
        let (count, limit) = (of_key.len(), limits::REVOCATIONS);
        if count < limit {
            of_key.push((target, revoked));
            return Ok(());
        }
        // Those with a margin stand beside others for a while; not without end.
        let is_known = of_key.iter().any(|(known, _)| *known == target);
        if !is_known || count >= 2 * limit {
            return Err(Fault::TooManyRevocations { count, limit });
        }
        let mut same: Vec<Revoked> =
            of_key.extract_if(.., |(known, _)| *known == target).map(|(_, revoked)| revoked).collect();
        same.push(revoked);
        same.sort_by_key(|revoked| (Reverse(revoked.issued_before), revoked.applies_at));
        same.dedup();
        let mut soonest = None;
        for revoked in same {
            // Those before concern all tokens that it concerns.
            let applies_at = revoked.applies_at.max(now);
            if soonest.is_none_or(|soonest| applies_at < soonest) {
                soonest = Some(applies_at);
                of_key.push((target.clone(), revoked));
            } else {
                self.replaced.lock().push((Arc::clone(key), target.to_string(), revoked));
            }
        }
        Ok(())
    }

    /// Takes up again what was there before a restart; there is a place for it, because there was one.
    fn restore(&self, key: Arc<str>, target: Target, revoked: Revoked) {
        self.all.lock().entry(key).or_default().push((target, revoked));
    }

    /// Takes out what is over, or needless.
    fn forget(&self, now: Timestamp) -> Vec<Gone> {
        let mut over = mem::take(&mut *self.replaced.lock());
        self.all.lock().retain(|key, of_key| {
            for (target, revoked) in of_key.extract_if(.., |(_, revoked)| revoked.is_over(now)) {
                over.push((Arc::clone(key), target.to_string(), revoked));
            }
            !of_key.is_empty()
        });
        over
    }

    /// From when on a token is refused, if it was revoked.
    fn end_of(&self, access: &Access) -> Option<Timestamp> {
        let issued = access.issued?;
        let all = self.all.lock();
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
    /// revoked, or the request is malformed.
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
            let (name, rule) = ("targets", "a list of at most 100");
            let found = Found::number(request.targets.len());
            return Err(Fault::BadParameter { name, found, rule });
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

    /// Warns, once a second, that a key has as many revocations as it may.
    pub fn warn_of_full(&self, clock: &Clock, key_name: &str, fault: &Fault) {
        if let Some(more) = self.revocations.warning.allows(clock) {
            tracing::warn!(key = key_name, more, "tokens are not revoked: Ably: {fault}");
        }
    }

    /// Takes up what was revoked before a restart; false when it is over, or nothing that can be.
    pub fn restore(&self, key_name: &str, target: &str, revoked: Revoked, now: Timestamp) -> bool {
        let target = Target::parse(target).ok().filter(|_| !revoked.is_over(now));
        let Some(target) = target else {
            return false;
        };
        self.revocations.restore(key_name.into(), target, revoked);
        true
    }

    /// Forgets what no token can live for any more: the key, the target and what was decided of each.
    pub fn forget_revocations(&self, now: Timestamp) -> Vec<(Arc<str>, String, Revoked)> {
        self.revocations.forget(now)
    }

    /// From when on an access is refused, if its token was revoked.
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
        let rule = "milliseconds since the epoch, not in the future and at most an hour ago";
        return Err(Fault::BadParameter { name: "issuedBefore", found: Found::number(asked), rule });
    }
    Ok(Timestamp::from_millis(asked))
}
