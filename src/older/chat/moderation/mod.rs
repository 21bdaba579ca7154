//! Whether a text may be sent (`docs/protocols/chat.md §8`): the local word list first, then Baidu's text censor, when they are
//! configured. Only texts (`message_type` 1) are judged; the caller knows which are.

use thiserror::Error;

use crate::{
    clock::{Clock, OncePerSecond},
    config::{self, FileFaults, Moderated},
    live::Live,
    older::chat::moderation::baidu::{Censor, Conclusion},
};

pub use words::Words;

mod baidu;
mod breaker;
#[cfg(test)]
mod tests;
mod token;
mod words;

/// Why moderation cannot begin; for the operator.
#[derive(Debug, Error)]
pub enum ModerationFault {
    #[error(transparent)]
    Words(#[from] FileFaults),
    #[error("Baidu.BaseUrl {url:?} cannot be used: it must be like https://aip.baidubce.com, without a query")]
    Url { url: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Blocked {
        /// As the service says it, or `消息不合规` (the message does not comply). No part of the text.
        reason: String,
    },
}

impl Verdict {
    /// With the text of the older server.
    fn blocked() -> Self {
        let reason = "消息不合规".to_owned();
        Self::Blocked { reason }
    }
}

/// One for all threads.
pub struct Moderation {
    words: Live<Option<Words>>,
    censor: Option<Censor>,
    /// What becomes of a text about which the service says nothing.
    on_error: Moderated,
    /// What becomes of a text that it suspects.
    suspect: Moderated,
    clock: Clock,
    warning: OncePerSecond,
}

impl Moderation {
    /// Reads the word list.
    /// Error: everything that is wrong.
    pub fn new(settings: &config::Chat, clock: Clock) -> Result<Self, Vec<ModerationFault>> {
        let words = settings.words_file.as_deref().map(Words::load).transpose();
        let censor = settings.uses_baidu().then(|| Censor::new(settings, clock.clone())).transpose();
        match (words, censor) {
            (Ok(words), Ok(censor)) => Ok(Self {
                words: Live::new(words),
                censor,
                on_error: settings.baidu_on_error,
                suspect: settings.baidu_suspect,
                clock,
                warning: OncePerSecond::default(),
            }),
            (words, censor) => {
                let words = words.err().map(ModerationFault::from);
                Err(words.into_iter().chain(censor.err()).collect())
            }
        }
    }

    /// Texts are held against the word list of `fresh` from now on; how many words it has.
    pub fn adopt_words(&self, fresh: &Self) -> usize {
        let words = fresh.words.get();
        let count = words.as_ref().as_ref().map_or(0, Words::count);
        self.words.set(words);
        count
    }

    /// Whether anything is judged at all.
    #[cfg(test)]
    fn is_on(&self) -> bool {
        self.words.get().is_some() || self.censor.is_some()
    }

    /// Takes as long as `chat.baidu_timeout` at most. Must be called on a tokio runtime with time.
    pub async fn judge(&self, text: &str) -> Verdict {
        if self.words.get().as_ref().as_ref().is_some_and(|words| words.has(text)) {
            return Verdict::blocked();
        }
        let Some(censor) = &self.censor else {
            return Verdict::Pass;
        };
        match censor.judge(text).await {
            Ok(Conclusion::Compliant) => Verdict::Pass,
            Ok(Conclusion::Suspected(_)) if self.suspect == Moderated::Allow => Verdict::Pass,
            Ok(Conclusion::Violation(reason) | Conclusion::Suspected(reason)) => {
                reason.map_or_else(Verdict::blocked, |reason| Verdict::Blocked { reason })
            }
            Err(fault) => {
                let verdict = self.on_error;
                if let Some(more) = self.warning.allows(&self.clock) {
                    tracing::warn!(
                        error = %fault,
                        ?verdict,
                        more,
                        "a chat message was not judged by the moderation service (Baidu.OnError)"
                    );
                }
                match verdict {
                    Moderated::Allow => Verdict::Pass,
                    Moderated::Block => Verdict::blocked(),
                }
            }
        }
    }
}
