//! The group protocol's part of a server: what it keeps, what it shares with other instances, its blacklist.

use std::sync::Arc;

use anyhow::Context as _;
use ipnet::IpNet;
use tokio::sync::mpsc;

use crate::{
    actors::accounts::Account,
    app::{
        every,
        storage::{Places, SharedRedis},
    },
    auth::Leeway,
    clock::Clock,
    config::{self, Config},
    engines::redis,
    limits,
    older::group::{
        Groups, NAME, Shared,
        ip_filter::Blacklist,
        streams::{self, Bus},
    },
    store::{Place, Readers, redis::RedisStore},
};

/// Opens the groups, for whose members `account` pays, and meets the other instances if there is a Redis. That need not be there
/// yet.
///
/// # Errors
/// When the data folder cannot be read.
pub fn open(
    config: &Config,
    blacklist: Vec<IpNet>,
    places: &Places,
    account: &Account,
    clock: &Clock,
    leeway: &Leeway,
) -> anyhow::Result<Arc<Shared>> {
    let settings = &config.group;
    let (place, redis) = place(config, places, clock)?;
    let instances = match redis {
        Some(redis) => {
            let (events, inbox) = mpsc::channel(limits::GROUP_INBOX);
            let settings = streams::Settings { is_shared: place.claims.is_some(), ..streams::Settings::new(redis) };
            let bus = Bus::start(settings, clock.clone(), Some(Arc::clone(&place.store)), events);
            let bus = bus.context("cannot read what waits for Redis in the data folder")?;
            Some((bus, inbox))
        }
        None => None,
    };
    let readers = if place.claims.is_some() { Readers::within(config.cluster.deadline) } else { Readers::default() };
    let groups = Groups::open(settings, place, readers, clock.clone(), instances)?;
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

/// Where groups are kept, and the Redis of the streams. What nodes have in common stands on that: a script writes rows and stream.
fn place(config: &Config, places: &Places, clock: &Clock) -> anyhow::Result<(Place, Option<redis::Settings>)> {
    let settings = &config.group;
    let own = settings.redis.as_ref().map(|endpoint| {
        let database = u16::try_from(settings.redis_db).unwrap_or_default();
        redis::Settings::at(endpoint, settings.redis_password.clone(), database)
    });
    let Some(SharedRedis { claims, redis, is_copied, .. }) = &places.shared else {
        return Ok((Place { store: Arc::clone(&places.folder), claims: None }, own));
    };
    let Some(own) = own else { return Ok((places.of(NAME), Some(redis.clone()))) };
    let deadline = config.cluster.deadline;
    let store = RedisStore::start(vec![own.clone()], None, *is_copied, deadline, clock.clone(), NAME)?;
    Ok((Place { store: Arc::new(store), claims: Some(claims.clone()) }, Some(own)))
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
