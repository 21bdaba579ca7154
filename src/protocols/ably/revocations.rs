//! Revocations that outlive a restart: a row each in the store, for as long as a token that it concerns can
//! live (`docs/protocols/ably.md §12.7`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    actors::nodes::{Change, Table},
    auth::ably::{Gate, Kept, Outcome, Revoked},
    error::Fault,
    ids::Timestamp,
    limits,
    protocols::ably::rows,
    store::{Batch, Store, StoreError},
};

const TABLE: &str = "ably_revocations";

/// Where they are kept.
pub struct StoredRevocations(Arc<dyn Store>);

#[derive(Serialize, Deserialize)]
struct RevocationRow {
    /// `<app>.<key>`
    key_name: String,
    /// As it was asked for.
    target: String,
    issued_before: Timestamp,
    applies_at: Timestamp,
}

impl StoredRevocations {
    /// Hands what was revoked before to `gate`, and forgets what no living token can be concerned by any more.
    pub fn restore(store: Arc<dyn Store>, gate: &Gate, now: Timestamp) -> Result<Self, StoreError> {
        rows::restore(&*store, TABLE, |row| {
            let row = serde_json::from_slice(&row.value).ok();
            row.is_some_and(|row: RevocationRow| row.restore(gate, now))
        })?;
        Ok(Self(store))
    }

    /// Keeps what was revoked, in the place of what is needless now; then it is on disk.
    ///
    /// # Errors
    /// [`Fault::DiskFull`], [`Fault::Busy`], [`Fault::Internal`]: it holds, but only until the next start.
    pub async fn keep(&self, Outcome { kept, gone, .. }: &Outcome) -> Result<(), Fault> {
        if kept.is_empty() {
            return Ok(());
        }
        let batch = gone.iter().fold(Batch::new(), |batch, gone| batch.remove(TABLE, key(gone)));
        let batch = kept.iter().fold(batch, |batch, kept| batch.put(TABLE, key(kept), row(kept)));
        self.0.commit(batch).await.map(drop).map_err(|error| error.to_fault())
    }

    /// The same for all nodes of a cluster.
    pub fn change(Outcome { kept, gone, .. }: &Outcome) -> Change {
        let put = kept.iter().map(|kept| (key(kept), row(kept))).collect();
        Change { table: Table::Revocations, put, gone: gone.iter().map(key).collect() }
    }

    /// Takes up rows that other nodes have. Whether anything is new.
    pub fn take<'a>(&self, gate: &Gate, rows: impl Iterator<Item = &'a [u8]>, now: Timestamp) -> bool {
        let read = rows.filter_map(|bytes| serde_json::from_slice::<RevocationRow>(bytes).ok());
        let new: Vec<_> = read.filter(|row| row.restore(gate, now)).collect();
        for rows in new.chunks(limits::ABLY_ROWS) {
            let put = |batch: Batch, row: &RevocationRow| {
                let kept = row.kept();
                batch.put(TABLE, key(&kept), self::row(&kept))
            };
            let written = |written: Result<_, StoreError>| {
                if let Err(error) = written {
                    tracing::warn!(%error, "what another server has revoked is not on disk");
                }
            };
            self.0.submit(rows.iter().fold(Batch::new(), put), Box::new(written));
        }
        !new.is_empty()
    }

    /// The rows of all that is revoked.
    pub fn all(gate: &Gate) -> Vec<(String, String)> {
        gate.all_revoked().iter().map(|kept| (key(kept), row(kept))).collect()
    }

    /// Forgets, here and in `gate`, what no token can live for any more: their names.
    pub fn sweep(&self, gate: &Gate, now: Timestamp) -> Vec<String> {
        let over = gate.forget_revocations(now);
        for over in over.chunks(limits::ABLY_ROWS) {
            let batch = over.iter().fold(Batch::new(), |batch, over| batch.remove(TABLE, key(over)));
            // What is not removed now is found, and over, at the next start.
            self.0.submit(batch, Box::new(drop));
        }
        over.iter().map(key).collect()
    }
}

impl RevocationRow {
    /// Hands it to `gate`; false when it is over or needless.
    fn restore(&self, gate: &Gate, now: Timestamp) -> bool {
        let revoked = Revoked { issued_before: self.issued_before, applies_at: self.applies_at };
        gate.restore(&self.key_name, &self.target, revoked, now)
    }

    fn kept(&self) -> Kept {
        let revoked = Revoked { issued_before: self.issued_before, applies_at: self.applies_at };
        Kept { key_name: (&*self.key_name).into(), target: self.target.clone(), revoked }
    }
}

fn row(kept: &Kept) -> String {
    let row = RevocationRow {
        key_name: kept.key_name.to_string(),
        target: kept.target.clone(),
        issued_before: kept.revoked.issued_before,
        applies_at: kept.revoked.applies_at,
    };
    // Cannot fail: texts and numbers are written into memory.
    serde_json::to_string(&row).unwrap_or_default()
}

/// One row for each revocation: one that concerns fewer tokens, or applies later, must not take the place of another.
fn key(Kept { key_name, target, revoked }: &Kept) -> String {
    let (issued_before, applies_at) = (revoked.issued_before.millis(), revoked.applies_at.millis());
    format!("{key_name} {target} {issued_before} {applies_at}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::time::Duration;

    use super::*;
    use crate::{
        auth::{
            Leeway,
            ably::{Credential, RevocationRequest, ServerSecret, TokenRequest},
            apps::{Apps, setup::AppSetup},
        },
        clock::Clock,
        core::budget::{Account, Kind},
        store::faulty::FaultyDisk,
    };

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const SECRET: &str = "0123456789abcdef";
    const KEYS: [&str; 2] = ["abc123.one", "abc123.two"];

    struct Ground {
        store: Arc<dyn Store>,
        apps: Arc<Apps>,
        account: Account,
    }

    impl Ground {
        fn new() -> Self {
            let key = |id: &str| serde_json::json!({"id": id, "secret": SECRET, "revocableTokens": true});
            let setup = serde_json::json!({"id": "abc123", "keys": [key("one"), key("two")]});
            let setup: AppSetup = serde_json::from_value(setup).unwrap();
            Self {
                store: FaultyDisk::default().store(),
                apps: Arc::new(Apps::new([setup.into_app(NOW).unwrap()], Clock::manual(NOW))),
                account: Account::server(usize::MAX),
            }
        }

        fn gate(&self) -> Gate {
            let account = Arc::new(self.account.clone());
            Gate::new(Arc::clone(&self.apps), account, &ServerSecret::new([7; 32]), true, Leeway::default())
        }

        fn rows(&self) -> usize {
            self.store.list(TABLE, b"", None, usize::MAX).unwrap().len()
        }
    }

    fn credential(key: &str) -> Credential {
        Credential::key(&format!("{key}:{SECRET}"))
    }

    async fn revoke(kept: &StoredRevocations, gate: &Gate, key: &str, clients: std::ops::Range<usize>, now: Timestamp) {
        let targets: Vec<String> = clients.map(|client| format!("clientId:c{client}")).collect();
        for targets in targets.chunks(limits::REVOCATION_TARGETS) {
            let request =
                RevocationRequest { targets: targets.to_vec(), issued_before: None, allow_reauth_margin: false };
            let outcome = gate.revoke(key, &request, Some(&credential(key)), now, true).unwrap();
            assert!(outcome.decided.iter().all(Result::is_ok));
            kept.keep(&outcome).await.unwrap();
        }
    }

    fn token(gate: &Gate, key: &str, client: usize, now: Timestamp) -> Credential {
        let request = TokenRequest { client_id: Some(format!("c{client}")), ..TokenRequest::default() };
        let granted = gate.request_token(key, &request, Some(&credential(key)), now, true).unwrap();
        Credential::token(&granted.details.token)
    }

    /// findings G0: every revocation is there again after a restart, however many there are, of whatever keys.
    #[tokio::test]
    async fn all_revocations_outlive_a_restart() {
        let ground = Ground::new();
        let gate = ground.gate();
        let kept = StoredRevocations::restore(Arc::clone(&ground.store), &gate, NOW).unwrap();
        let tokens = |key| (0..9_900).step_by(99).map(|client| token(&gate, key, client, NOW)).collect::<Vec<_>>();
        let (first, second) = (tokens(KEYS[0]), tokens(KEYS[1]));
        revoke(&kept, &gate, KEYS[0], 0..9_900, NOW).await;
        revoke(&kept, &gate, KEYS[1], 0..500, NOW).await;

        let gate = ground.gate();
        StoredRevocations::restore(Arc::clone(&ground.store), &gate, NOW).unwrap();
        let is_revoked = |token: &Credential| gate.check(Some(token), NOW, true).err() == Some(Fault::TokenRevoked);
        assert!(first.iter().all(is_revoked));
        assert_eq!(second.iter().filter(|token| is_revoked(token)).count(), 500_usize.div_ceil(99));
    }

    /// findings G0: what is over goes while the server runs, in memory and on disk, and nothing else does.
    #[tokio::test]
    async fn what_no_token_can_live_for_any_more_is_swept() {
        let ground = Ground::new();
        let gate = ground.gate();
        let kept = StoredRevocations::restore(Arc::clone(&ground.store), &gate, NOW).unwrap();
        revoke(&kept, &gate, KEYS[0], 0..100, NOW).await;
        let half = Timestamp::from_millis(NOW.millis() + 1_800_000);
        // Of the first of them once more: it takes the place of the older one, whose end must not take the newer one with it.
        revoke(&kept, &gate, KEYS[0], 0..1, half).await;
        let live = token(&gate, KEYS[0], 0, half);
        let life = limits::REVOCABLE_TOKEN_TTL + limits::CLOCK_LEEWAY_MAX;
        let end = |life: Duration| Timestamp::from_millis(NOW.millis() + life.as_millis() as u64);
        kept.sweep(&gate, end(life - Duration::from_millis(1)));
        assert_eq!(gate.forget_revocations(half).len(), 0);
        assert_eq!(ground.rows(), 100);
        kept.sweep(&gate, end(life));
        // Behind the sweep in the writer's queue.
        revoke(&kept, &gate, KEYS[1], 0..1, end(life)).await;
        assert_eq!(ground.rows(), 2);
        assert_eq!(gate.check(Some(&live), half, true).err(), Some(Fault::TokenRevoked));
    }

    /// findings G0: a revocation that concerns fewer tokens does not take the place of an earlier one of the same target.
    #[tokio::test]
    async fn a_weaker_revocation_takes_no_other_away() {
        let ground = Ground::new();
        let gate = ground.gate();
        let kept = StoredRevocations::restore(Arc::clone(&ground.store), &gate, NOW).unwrap();
        let revoked = token(&gate, KEYS[0], 0, NOW);
        revoke(&kept, &gate, KEYS[0], 0..1, NOW).await;
        let asked = Timestamp::from_millis(NOW.millis() - 60_000);
        let request = RevocationRequest {
            targets: vec!["clientId:c0".to_owned()],
            issued_before: Some(asked.millis()),
            allow_reauth_margin: true,
        };
        let outcome = gate.revoke(KEYS[0], &request, Some(&credential(KEYS[0])), NOW, true).unwrap();
        assert_eq!((outcome.decided[0].as_ref().unwrap().issued_before, outcome.gone.len()), (asked, 0));
        kept.keep(&outcome).await.unwrap();
        assert_eq!(ground.rows(), 1, "the earlier one, which does more, once more");

        let gate = ground.gate();
        StoredRevocations::restore(Arc::clone(&ground.store), &gate, NOW).unwrap();
        assert_eq!(gate.check(Some(&revoked), NOW, true).err(), Some(Fault::TokenRevoked));
    }

    /// findings A9: at the limit the answer names it and the count, and a target that is there can be revoked again.
    #[tokio::test]
    async fn at_the_limit_a_target_is_renewed() {
        let ground = Ground::new();
        let gate = ground.gate();
        let kept = StoredRevocations::restore(Arc::clone(&ground.store), &gate, NOW).unwrap();
        let limit = limits::REVOCATIONS;
        revoke(&kept, &gate, KEYS[0], 0..limit, NOW).await;
        let later = Timestamp::from_millis(NOW.millis() + 60_000);
        let decide = |client: usize, allow_reauth_margin| {
            let targets = vec![format!("clientId:c{client}")];
            let request = RevocationRequest { targets, issued_before: None, allow_reauth_margin };
            gate.revoke(KEYS[0], &request, Some(&credential(KEYS[0])), later, true).unwrap()
        };
        let fault = decide(limit, false).decided.remove(0).unwrap_err();
        assert_eq!(fault, Fault::TooManyRevocations { count: limit, limit });
        assert!(fault.to_string().contains("has 10000 revocations, the limit is 10000"), "{fault}");
        let (old, new) = (token(&gate, KEYS[0], 1, later), token(&gate, KEYS[0], 0, later));
        let renewed = decide(0, false);
        assert!(renewed.decided[0].is_ok());
        assert_eq!(gate.check(Some(&new), later, true).err(), Some(Fault::TokenRevoked));
        // With a margin: what was revoked before stays so, what is new has its time.
        assert!(decide(1, true).decided[0].is_ok());
        assert!(gate.check(Some(&old), later, true).is_ok());
        let applied = Timestamp::from_millis(later.millis() + 30_000);
        assert_eq!(gate.check(Some(&old), applied, true).err(), Some(Fault::TokenRevoked));
        // One was made needless, and its row goes.
        assert_eq!((renewed.kept.len(), renewed.gone.len()), (1, 1));
    }

    /// findings B10: targets have a length; what repeats another takes its place, in memory and on disk; all is charged to the
    /// app, and given back when it is over.
    #[tokio::test]
    async fn revocations_are_bounded_and_charged() {
        let ground = Ground::new();
        let gate = ground.gate();
        let kept = StoredRevocations::restore(Arc::clone(&ground.store), &gate, NOW).unwrap();
        let ask = |targets: Vec<String>, now| {
            let request = RevocationRequest { targets, issued_before: None, allow_reauth_margin: false };
            gate.revoke(KEYS[0], &request, Some(&credential(KEYS[0])), now, true)
        };
        let long = |by: &str, bytes| format!("{by}:{}", "x".repeat(bytes));
        let targets = vec![long("clientId", 257), long("revocationKey", 2_049), long("channel", 2_049)];
        let outcome = ask(targets, NOW).unwrap();
        for decided in &outcome.decided {
            let fault = decided.as_ref().unwrap_err();
            assert_eq!((fault.ably_code(), fault.http_status()), (40003, 400), "{fault}");
        }
        assert_eq!((outcome.kept.len(), ground.account.kept()), (0, 0));
        assert!(ask(vec![String::new(); limits::REVOCATION_TARGETS + 1], NOW).is_err());

        let mut end = NOW;
        for round in 0..100 {
            end = Timestamp::from_millis(NOW.millis() + round);
            let outcome = ask(vec![long("clientId", 256), long("channel", 2_048)], end).unwrap();
            assert!(outcome.decided.iter().all(Result::is_ok));
            kept.keep(&outcome).await.unwrap();
        }
        assert_eq!(ground.rows(), 2);
        assert!(ground.store.bytes(TABLE).unwrap() < 6_000, "{:?}", ground.store.bytes(TABLE));
        let charged = ground.account.kept_of(Kind::Revocations);
        assert!((2_500..6_000).contains(&charged), "{charged}");

        let life = limits::REVOCABLE_TOKEN_TTL + limits::CLOCK_LEEWAY_MAX;
        kept.sweep(&gate, Timestamp::from_millis(end.millis() + life.as_millis() as u64));
        // Behind the sweep in the writer's queue.
        ground.store.commit(Batch::new()).await.unwrap();
        assert_eq!((ground.rows(), ground.store.bytes(TABLE), ground.account.kept()), (0, Ok(0), 0));
    }

    /// What could not be written is written when it is asked for again, also where that revokes nothing more.
    #[tokio::test]
    async fn what_failed_to_be_written_is_written_with_its_repetition() {
        let ground = Ground::new();
        let gate = ground.gate();
        let kept = StoredRevocations::restore(Arc::clone(&ground.store), &gate, NOW).unwrap();
        let targets = vec!["clientId:c0".to_owned()];
        let request = RevocationRequest { targets, issued_before: Some(NOW.millis()), allow_reauth_margin: false };
        let ask = |now| gate.revoke(KEYS[0], &request, Some(&credential(KEYS[0])), now, true).unwrap();
        // Dropped, as when the disk is full.
        let first = ask(NOW);
        let again = ask(Timestamp::from_millis(NOW.millis() + 1_000));
        assert_eq!((&again.kept, again.gone.len()), (&first.kept, 0));
        kept.keep(&again).await.unwrap();
        assert_eq!(ground.rows(), 1);
    }

    /// findings B10: an app without room is refused, target by target, and what it has revoked holds.
    #[tokio::test]
    async fn an_app_without_room_is_refused_another_target() {
        let ground = Ground::new();
        let gate = ground.gate();
        let kept = StoredRevocations::restore(Arc::clone(&ground.store), &gate, NOW).unwrap();
        let token = token(&gate, KEYS[0], 0, NOW);
        revoke(&kept, &gate, KEYS[0], 0..1, NOW).await;
        ground.account.set_limit(ground.account.kept());
        let targets = (0..2).map(|client| format!("clientId:c{client}")).collect();
        let request = RevocationRequest { targets, issued_before: None, allow_reauth_margin: true };
        let outcome = gate.revoke(KEYS[1], &request, Some(&credential(KEYS[1])), NOW, true).unwrap();
        for decided in &outcome.decided {
            let full = Some(&Fault::MemoryFull {
                whose: "the server",
                kind: "revocations",
                limit: ground.account.limit(),
                setting: "limits.memory",
            });
            assert_eq!(decided.as_ref().err(), full);
        }
        assert_eq!(gate.check(Some(&token), NOW, true).err(), Some(Fault::TokenRevoked));
    }
}
