//! The access token of the moderation service: shared by all threads, kept until shortly before its end, fetched by one
//! at a time.

use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::{clock::Clock, limits};

pub struct TokenCell {
    clock: Clock,
    /// Locked while one is fetched.
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    token: Token,
    /// No longer used from then on, by [`Clock::uptime`].
    ends: Duration,
}

/// A token, and which of those that were fetched it is.
#[derive(Clone)]
pub struct Token {
    pub secret: SecretString,
    number: u64,
}

/// As it comes from the service.
pub struct Fetched {
    pub secret: SecretString,
    pub lifetime: Duration,
}

impl TokenCell {
    pub fn new(clock: Clock) -> Self {
        let kept = Mutex::new(None);
        Self { clock, kept }
    }

    /// The one there is, or a new one: when it is about to end, or is `refused`, which the service did not accept.
    ///
    /// # Errors
    /// Those of `fetch`.
    pub async fn get<E>(
        &self,
        refused: Option<&Token>,
        fetch: impl AsyncFnOnce() -> Result<Fetched, E>,
    ) -> Result<Token, E> {
        let mut kept = self.kept.lock().await;
        let known = kept.as_ref().filter(|kept| {
            // Another caller may have fetched one after it was refused.
            let is_refused = refused.is_some_and(|refused| refused.number == kept.token.number);
            !is_refused && self.clock.uptime() < kept.ends
        });
        if let Some(known) = known {
            return Ok(known.token.clone());
        }
        let number = kept.as_ref().map_or(0, |kept| kept.token.number + 1);
        let fetched = fetch().await?;
        let token = Token { secret: fetched.secret, number };
        // A short-lived one is used for half of its time at least.
        let margin = limits::MODERATION_TOKEN_MARGIN.min(fetched.lifetime / 2);
        *kept = Some(Kept { token: token.clone(), ends: self.clock.uptime() + (fetched.lifetime - margin) });
        Ok(token)
    }
}
