//! Tokens that are taken back before they end (`docs/protocols/ably.md §11.4, §12.7`).
//!
//! A revocation is kept for as long as a token that it concerns can live: an hour, and what clocks may be off.

use std::{collections::HashMap, fmt, mem, sync::Arc};

use parking_lot::Mutex;
use serde::Deserialize;

use super::{
    access::Access,
    credential::{Credential, app_of},
    gate::Gate,
};
use crate::{
    clock::{Clock, OncePerSecond},
    core::budget::{Account, Kind, Tab},
    error::{Fault, Found},
    ids::{AppId, Timestamp},
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

    /// It concerns all tokens that the other, of the same target, concerns, and applies no later.
    fn makes_needless(&self, other: &Self, now: Timestamp) -> bool {
        self.issued_before >= other.issued_before && self.applies_at.max(now) <= other.applies_at.max(now)
    }
}

/// What came of a request, and what has to change on disk for it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Of each target, in the order of the request.
    pub decided: Vec<Result<Revoked, Fault>>,
    /// What has to be on disk before it is acknowledged. Where nothing is new that is an older one that makes the new one
    /// needless: its own request may have failed to write it.
    pub kept: Vec<Kept>,
    /// What others have made needless.
    pub gone: Vec<Kept>,
}

/// A revocation as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub key_name: Arc<str>,
    /// As it was asked for.
    pub target: String,
    pub revoked: Revoked,
}

/// Which tokens a revocation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    by: By,
    value: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    ClientId,
    RevocationKey,
    /// The token's capability names exactly this resource.
    Channel,
}

/// What has been revoked, by the name of the key that the tokens are of.
#[derive(Debug, Default)]
pub(super) struct Revocations {
    all: Mutex<All>,
    warning: OncePerSecond,
}

#[derive(Debug, Default)]
struct All {
    keys: HashMap<Arc<str>, OfKey>,
    /// What of the disk others have made needless, since the last sweep.
    needless: Vec<Kept>,
}

/// Those of one key.
#[derive(Debug)]
struct OfKey {
    /// By what they are about; those of a target that make none of the others needless.
    by: [HashMap<Box<str>, Vec<Revoked>>; By::EACH.len()],
    count: usize,
    /// Of the app.
    tab: Tab,
}

impl By {
    const EACH: [Self; 3] = [Self::ClientId, Self::RevocationKey, Self::Channel];

    const fn name(self) -> &'static str {
        match self {
            Self::ClientId => "clientId",
            Self::RevocationKey => "revocationKey",
            Self::Channel => "channel",
        }
    }

    /// The longest value, in bytes, and what is said of a longer one.
    const fn longest(self) -> (usize, &'static str) {
        match self {
            Self::ClientId => (limits::CLIENT_ID_BYTES, "a clientId of at most 256 bytes"),
            Self::RevocationKey => (limits::REVOCATION_KEY_BYTES, "a revocationKey of at most 2048 bytes"),
            Self::Channel => (limits::CHANNEL_NAME_BYTES, "a channel of at most 2048 bytes"),
        }
    }
}

/// As it was asked for.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.by.name(), self.value)
    }
}

impl Target {
    fn parse(text: &str) -> Result<Self, Fault> {
        let bad = |rule| Fault::BadParameter { name: "targets", found: Found::text(text), rule };
        let target = Self::read(text).ok_or_else(|| bad("clientId:, revocationKey: or channel: and a value"))?;
        let (longest, rule) = target.by.longest();
        if target.value.len() > longest { Err(bad(rule)) } else { Ok(target) }
    }

    /// However long it is: former versions took longer ones, which hold as long as they did.
    fn read(text: &str) -> Option<Self> {
        let (kind, value) = text.split_once(':')?;
        let by = By::EACH.into_iter().find(|by| by.name() == kind)?;
        (!value.is_empty()).then(|| Self { by, value: value.into() })
    }

    const fn cost(&self) -> usize {
        limits::REVOCATION_COST + self.value.len()
    }
}

impl OfKey {
    fn new(account: Account) -> Self {
        Self { by: Default::default(), count: 0, tab: Tab::new(account, Kind::Revocations) }
    }

    /// At the limit of a key only targets that are there already are taken. Which one has to be kept: this, or one that makes
    /// it needless; and those that it makes needless.
    fn add(&mut self, target: &Target, revoked: Revoked, now: Timestamp) -> Result<(Revoked, Vec<Revoked>), Fault> {
        let same = self.by[target.by as usize].get(&target.value).map_or(&[][..], Vec::as_slice);
        if let Some(known) = same.iter().find(|known| known.makes_needless(&revoked, now)) {
            return Ok((*known, Vec::new()));
        }
        let gone = same.iter().filter(|known| revoked.makes_needless(known, now)).count();
        let (count, limit) = (self.count, limits::REVOCATIONS);
        // Those with a margin stand beside others for a while; not without end.
        if gone == 0 && (count >= 2 * limit || count >= limit && same.is_empty()) {
            return Err(Fault::TooManyRevocations { count, limit });
        }
        if gone == 0 {
            self.tab.add(target.cost()).map_err(|full| full.to_fault())?;
        }
        Ok((revoked, self.put(target, revoked, now)))
    }

    /// Puts one in that is paid for, unless it takes the place of others; what it makes needless.
    fn put(&mut self, target: &Target, revoked: Revoked, now: Timestamp) -> Vec<Revoked> {
        let same = self.by[target.by as usize].entry(target.value.clone()).or_default();
        let gone: Vec<_> = same.extract_if(.., |known| revoked.makes_needless(known, now)).collect();
        same.push(revoked);
        self.count = self.count + 1 - gone.len();
        // One of them has paid for this one.
        self.tab.remove(target.cost() * gone.len().saturating_sub(1));
        gone
    }

    /// Takes up what was there before a restart, whatever the limit; what of it and the others is needless.
    fn restore(&mut self, target: &Target, revoked: Revoked, now: Timestamp) -> Vec<Revoked> {
        let same = self.by[target.by as usize].get(&target.value).map_or(&[][..], Vec::as_slice);
        if same.iter().any(|known| known.makes_needless(&revoked, now)) {
            return vec![revoked];
        }
        if !same.iter().any(|known| revoked.makes_needless(known, now)) {
            self.tab.add_anyway(target.cost());
        }
        self.put(target, revoked, now)
    }

    fn all<'a>(&'a self, key_name: &'a Arc<str>) -> impl Iterator<Item = Kept> + 'a {
        By::EACH.into_iter().flat_map(move |by| {
            self.by[by as usize].iter().flat_map(move |(value, same)| {
                let target = Target { by, value: value.clone() }.to_string();
                let kept = move |revoked: &Revoked| Kept {
                    key_name: Arc::clone(key_name),
                    target: target.clone(),
                    revoked: *revoked,
                };
                same.iter().map(kept)
            })
        })
    }

    /// Takes out what is over.
    fn forget(&mut self, key_name: &Arc<str>, now: Timestamp, over: &mut Vec<Kept>) {
        for by in By::EACH {
            self.by[by as usize].retain(|value, same| {
                for revoked in same.extract_if(.., |revoked| revoked.is_over(now)) {
                    let target = Target { by, value: value.clone() };
                    self.count -= 1;
                    self.tab.remove(target.cost());
                    over.push(Kept { key_name: Arc::clone(key_name), target: target.to_string(), revoked });
                }
                !same.is_empty()
            });
        }
    }

    /// Those whose target a token is, found by a few look-ups however many there are.
    fn about<'a>(&'a self, access: &'a Access) -> impl Iterator<Item = &'a Revoked> {
        let of = |by: By, value: &str| self.by[by as usize].get(value);
        let client = access.client_id.as_str().and_then(|id| of(By::ClientId, id));
        let key = access.revocation_key.as_deref().and_then(|key| of(By::RevocationKey, key));
        let channels = &self.by[By::Channel as usize];
        // Whichever are fewer are looked up among the others.
        let has_more = access.capability.len() > channels.len();
        let channels_of = has_more.then_some(channels).into_iter().flatten();
        let named = channels_of.filter(|(name, _)| access.capability.names(name)).map(|(_, same)| same);
        let resources = (!has_more).then(|| access.capability.resources()).into_iter().flatten();
        let channel = resources.filter_map(|resource| channels.get(resource));
        client.into_iter().chain(key).chain(named).chain(channel).flatten()
    }
}

impl All {
    fn of_key(&mut self, key_name: &Arc<str>, account: impl FnOnce() -> Account) -> &mut OfKey {
        self.keys.entry(Arc::clone(key_name)).or_insert_with(|| OfKey::new(account()))
    }
}

impl Revocations {
    /// Takes out what is over, or needless.
    fn forget(&self, now: Timestamp) -> Vec<Kept> {
        let mut all = self.all.lock();
        let mut over = mem::take(&mut all.needless);
        all.keys.retain(|key_name, of_key| {
            of_key.forget(key_name, now, &mut over);
            of_key.count > 0
        });
        over
    }

    /// From when on a token is refused, if it was revoked.
    fn end_of(&self, access: &Access) -> Option<Timestamp> {
        let issued = access.issued?;
        let all = self.all.lock();
        let about = all.keys.get(&access.key.name)?.about(access);
        about.filter(|revoked| issued <= revoked.issued_before).map(|revoked| revoked.applies_at).min()
    }
}

impl Gate {
    /// Takes tokens of a key back.
    ///
    /// # Errors
    /// When nothing at all can be revoked: the caller does not show this key, its tokens cannot be revoked, or
    /// the request is malformed.
    pub fn revoke(
        &self,
        key_name: &str,
        request: &RevocationRequest,
        credential: Option<&Credential>,
        now: Timestamp,
        is_tls: bool,
    ) -> Result<Outcome, Fault> {
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
        let key_name = &access.key.name;
        let mut outcome = Outcome::default();
        let mut all = self.revocations.all.lock();
        let of_key = all.of_key(key_name, || self.accounts.of_app(access.app.id));
        let kept = |target: &Target, revoked| {
            let (key_name, target) = (Arc::clone(key_name), target.to_string());
            Kept { key_name, target, revoked }
        };
        for target in &request.targets {
            let decided = Target::parse(target).and_then(|target| {
                let (stays, gone) = of_key.add(&target, revoked, now)?;
                outcome.kept.push(kept(&target, stays));
                outcome.gone.extend(gone.into_iter().map(|gone| kept(&target, gone)));
                Ok(revoked)
            });
            outcome.decided.push(decided);
        }
        if of_key.count == 0 {
            all.keys.remove(key_name);
        }
        Ok(outcome)
    }

    /// Warns, once a second, that a key or its app has as many revocations as it may.
    pub fn warn_of_full(&self, clock: &Clock, key_name: &str, fault: &Fault) {
        if let Some(more) = self.revocations.warning.allows(clock) {
            tracing::warn!(key = key_name, more, "tokens are not revoked: Ably: {fault}");
        }
    }

    /// Takes up what was revoked before a restart; false when it is over, needless, or nothing that can be revoked.
    pub fn restore(&self, key_name: &str, target: &str, revoked: Revoked, now: Timestamp) -> bool {
        let Some(target) = Target::read(target).filter(|_| !revoked.is_over(now)) else {
            return false;
        };
        let key_name: Arc<str> = key_name.into();
        let app = app_of(&key_name).unwrap_or(AppId::DEFAULT);
        let mut all = self.revocations.all.lock();
        let gone = all.of_key(&key_name, || self.accounts.of_app(app)).restore(&target, revoked, now);
        let is_needed = !gone.contains(&revoked);
        let gone = gone.into_iter().filter(|gone| *gone != revoked);
        let kept = |revoked| Kept { key_name: Arc::clone(&key_name), target: target.to_string(), revoked };
        all.needless.extend(gone.map(kept));
        is_needed
    }

    /// Everything that is revoked.
    pub fn all_revoked(&self) -> Vec<Kept> {
        let all = self.revocations.all.lock();
        all.keys.iter().flat_map(|(key_name, of_key)| of_key.all(key_name)).collect()
    }

    /// Forgets what no token can live for any more.
    pub fn forget_revocations(&self, now: Timestamp) -> Vec<Kept> {
        self.revocations.forget(now)
    }

    /// From when on an access is refused, if its token was revoked.
    pub fn revoked_at(&self, access: &Access) -> Option<Timestamp> {
        self.revocations.end_of(access)
    }

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::array;

    use super::*;
    use crate::auth::ably::tests::revocable;

    const NOW: Timestamp = Timestamp::from_millis(1_735_689_600_000);

    fn target(text: &str) -> Target {
        Target::parse(text).unwrap()
    }

    /// findings G5: of many revocations a connection finds its own by a few look-ups, and of those that repeat each other
    /// there is one.
    #[test]
    fn a_token_looks_at_the_revocations_of_its_own_targets() {
        let access = revocable(r#"{"a":["*"],"b:*":["*"]}"#, "c7");
        let mut of_key = OfKey::new(Account::server(usize::MAX));
        let times: [Revoked; 100] = array::from_fn(|n| {
            let now = Timestamp::from_millis(NOW.millis() + n as u64);
            Revoked { issued_before: now, applies_at: now }
        });
        for number in 0..2_000 {
            for text in [format!("clientId:c{number}"), format!("channel:room-{number}"), "channel:b:*".to_owned()] {
                of_key.add(&target(&text), times[0], NOW).unwrap();
            }
        }
        assert_eq!((of_key.count, of_key.about(&access).count()), (4_001, 2));
        for revoked in times {
            of_key.add(&target("clientId:c7"), revoked, revoked.applies_at).unwrap();
        }
        assert_eq!(of_key.count, 4_001);
        assert_eq!(of_key.about(&access).collect::<Vec<_>>(), [&times[99], &times[0]]);
        // Fewer targets than the token has resources: those are looked for among them.
        let mut few = OfKey::new(Account::server(usize::MAX));
        few.add(&target("channel:a"), times[0], NOW).unwrap();
        few.add(&target("channel:b:c"), times[0], NOW).unwrap();
        assert_eq!(few.about(&access).count(), 1);
    }
}
