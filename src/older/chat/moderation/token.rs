//! The access token of the moderation service: shared by all threads, kept until shortly before its end, fetched by one
//! at a time.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use crate::{clock::Clock, limits};

pub struct TokenCell {
    clock: Clock,
    /// A token, and from when on it is not used any more, by [`Clock::uptime`]. Locked while one is fetched.
    current: Mutex<Option<(SecretString, Duration)>>,
}

impl TokenCell {
    pub fn new(clock: Clock) -> Self {
        Self { clock, current: Mutex::new(None) }
    }

    /// The one there is, or a new one: when it is about to end, or is `refused`, which the service did not accept.
    /// `fetch` gives a token and how long it is good.
    /// Error: those of `fetch`.
    pub async fn get<E>(
        &self,
        refused: Option<&SecretString>,
        fetch: impl AsyncFnOnce() -> Result<(SecretString, Duration), E>,
    ) -> Result<SecretString, E> {
        let mut current = self.current.lock().await;
        let refused = refused.map(SecretString::expose_secret);
        if let Some((token, ends)) = &*current
            // Another caller may have fetched one after it was refused.
            && refused != Some(token.expose_secret())
            && self.clock.uptime() < *ends
        {
            return Ok(token.clone());
        }
        let (token, lifetime) = fetch().await?;
        // A short-lived one is used for half of its time at least.
        let margin = limits::MODERATION_TOKEN_MARGIN.min(lifetime / 2);
        *current = Some((token.clone(), self.clock.uptime() + (lifetime - margin)));
        Ok(token)
    }
}
