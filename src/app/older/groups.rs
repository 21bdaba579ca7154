//! The group protocol's part of a server: what it keeps, what it shares with other instances, its blacklist.

use std::sync::Arc;

use anyhow::Context as _;
use ipnet::IpNet;
use tokio::sync::mpsc;

use crate::{
    actors::accounts::Account,
    app::every,
    auth::Leeway,
    clock::Clock,
    config,
    engines::redis,
    limits,
    older::group::{
        Groups, Shared,
        ip_filter::Blacklist,
        streams::{self, Bus},
    },
    store::Store,
};

/// Opens the groups in `store`, for whose members `account` pays, and meets the other instances if Redis is named. Redis need
/// not be there yet. `is_ordered`: all instances take messages in the order of the stream.
///
/// # Errors
/// When the data folder cannot be read.
pub fn open(
    settings: &config::Group,
    blacklist: Vec<IpNet>,
    store: Arc<dyn Store>,
    account: &Account,
    clock: &Clock,
    leeway: &Leeway,
    is_ordered: bool,
) -> anyhow::Result<Arc<Shared>> {
    let instances = match &settings.redis {
        Some(endpoint) => {
            let (events, inbox) = mpsc::channel(limits::GROUP_INBOX);
            let database = u16::try_from(settings.redis_db).unwrap_or_default();
            let redis = redis::Settings::at(endpoint, settings.redis_password.clone(), database);
            let settings = streams::Settings { is_ordered, ..streams::Settings::new(redis) };
            let bus = Bus::start(settings, clock.clone(), Some(Arc::clone(&store)), events);
            let bus = bus.context("cannot read what waits for Redis in the data folder")?;
            Some((bus, inbox))
        }
        None => None,
    };
    let groups = Groups::open(settings, store, clock.clone(), instances)?;
    groups.membership.write().charge_to(account.clone());
    let swept = Arc::clone(&groups);
    every(limits::GROUP_SWEEP, async move || {
        if let Err(error) = swept.sweep().await {
            tracing::warn!(%error, "old group messages are not removed yet");
        }
    });
    let shared = Arc::new(Shared::new(groups, Blacklist::new(settings, blacklist), leeway));
    log_mode(&shared.groups.settings);
    Ok(shared)
}

/// Who may take part, and when messages are acknowledged (`docs/protocols/group.md §5`).
fn log_mode(settings: &config::Group) {
    let who = match (settings.membership, settings.open_groups) {
        (config::Membership::Anyone, _) => "whoever has a token takes part in any group",
        (config::Membership::Registry, true) => {
            "members take part in groups, and whoever joins a group that there is not makes it"
        }
        (config::Membership::Registry, false) => "only members take part in groups",
    };
    let acks = match settings.ack_mode {
        config::AckMode::Stored => "when they are on disk",
        config::AckMode::Fast => "at once, before they are on disk",
    };
    tracing::info!("group protocol: {who}; messages are acknowledged {acks}");
}
