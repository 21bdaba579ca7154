//! What all connections and requests of the chat share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

use jiff::tz::TimeZone;

use crate::{
    actors::broker::{self, FrameLimiter},
    auth::Leeway,
    clock::{Clock, OncePerSecond},
    config::{self, ChatCompat},
    ids::Timestamp,
    live::Live,
    older::chat::{
        code::Code,
        fields::Rules,
        first_replies::FirstReplies,
        identity::TokenReader,
        moderation::Moderation,
        online::Online,
        participants::Participants,
        push::{Foreign, local_time},
        reply::Reply,
    },
    store::{
        StoreError,
        archive::{Ids, SharedArchive},
    },
};

pub struct Chat {
    pub settings: config::Chat,
    pub archive: SharedArchive,
    pub online: Arc<Online>,
    pub zone: TimeZone,
    pub clock: Clock,
    pub moderation: Moderation,
    pub(super) tokens: Live<TokenReader>,
    /// Of requests by HTTP, of all users together; none without a limit.
    pub(super) limiter: Option<FrameLimiter>,
    pub(super) foreign: Foreign,
    pub(super) ids: Ids,
    pub(super) first_replies: FirstReplies,
    pub(super) participants: Participants,
    /// Of the group that was made last, in nanoseconds since 1970.
    pub(super) last_group: AtomicU64,
    /// The operator knows that groups are used that were not made here.
    pub(super) warned_of_unknown_group: AtomicBool,
    pub(super) store_warning: OncePerSecond,
}

impl Chat {
    pub fn new(
        settings: &config::Chat,
        archive: SharedArchive,
        moderation: Moderation,
        clock: Clock,
        leeway: &Leeway,
    ) -> Self {
        Self {
            settings: settings.clone(),
            archive,
            online: Arc::default(),
            zone: settings.zone(),
            tokens: Live::new(TokenReader::new(settings, clock.clone(), leeway)),
            limiter: broker::limiter(settings.requests_per_second, &clock),
            foreign: Foreign::default(),
            moderation,
            ids: Ids::new(clock.clone()),
            first_replies: FirstReplies::new(clock.clone()),
            participants: Participants::default(),
            last_group: AtomicU64::new(0),
            warned_of_unknown_group: AtomicBool::new(false),
            store_warning: OncePerSecond::default(),
            clock,
        }
    }

    /// Tokens are checked by other keys from now on; whoever is in stays.
    pub fn set_keys(&self, settings: &config::Chat, leeway: &Leeway) {
        self.tokens.set(TokenReader::new(settings, self.clock.clone(), leeway));
    }

    /// Whose shapes and texts clients get.
    pub const fn compat(&self) -> ChatCompat {
        self.settings.compat
    }

    pub(super) fn rules(&self) -> Rules {
        Rules { strict_types: self.settings.strict_types, is_source: self.compat() == ChatCompat::Source }
    }

    /// The time as clients get it.
    pub fn now_text(&self) -> String {
        self.time_text(self.clock.now())
    }

    pub fn time_text(&self, time: Timestamp) -> String {
        local_time(time, &self.zone)
    }

    /// An id for what is not stored.
    pub(super) fn mint_id(&self) -> String {
        self.ids.mint().to_string()
    }

    /// The reply to a sender whose message the store did not take; the operator hears of it.
    pub(super) fn not_stored(&self, error: &StoreError, code: Code) -> Reply {
        if let Some(more) = self.store_warning.allows(&self.clock) {
            tracing::error!(%error, more, "a chat message could not be stored; its sender was answered so");
        }
        match error {
            StoreError::NoRoom { .. } => Reply::from(code).because(error.to_string()),
            _ => code.into(),
        }
    }
}
