//! The four older protocols: what each of them keeps, and shares between the worker threads.

use std::sync::Arc;

use actix_web::{rt, web};
use ipnet::IpNet;

use super::{every, storage::Places};
use crate::{
    actors::broker::Broker,
    auth::Leeway,
    clock::Clock,
    config::{Config, Protocol},
    core::budget::Account,
    edge::Ingress,
    limits,
    older::{
        chat::{self, Chat, moderation::Moderation},
        group::{self, GroupEndpoint},
        postoffice, relay,
    },
};

pub(super) mod chats;
#[cfg(feature = "mongo")]
pub(super) mod database;
mod groups;
#[cfg(any(test, not(feature = "mongo")))]
#[cfg_attr(feature = "mongo", allow(dead_code))]
pub(super) mod no_database;

#[cfg(not(feature = "mongo"))]
pub(super) use no_database as database;

/// Those that are switched on.
#[derive(Clone, Default)]
pub struct Older {
    pub relay: Option<Arc<relay::Shared>>,
    pub postoffice: Option<Arc<postoffice::Shared>>,
    pub chat: Option<Arc<Chat>>,
    pub group: Option<Arc<group::Shared>>,
}

/// What [`super::prepare`] has read for them.
pub struct Read {
    pub moderation: Option<Moderation>,
    pub mongodb: Option<database::Settings>,
    pub blacklist: Vec<IpNet>,
}

impl Older {
    pub const fn is_enabled(config: &Config) -> bool {
        config.relay.enabled || config.postoffice.enabled || config.chat.enabled || config.group.enabled
    }

    /// `account` pays for what they keep: that of the app which they live in.
    ///
    /// # Errors
    /// For the operator: what is stored cannot be read, or a service that is named cannot be reached.
    pub fn open(
        config: &Config,
        read: Read,
        places: &Places,
        account: &Account,
        clock: &Clock,
        leeway: &Leeway,
    ) -> anyhow::Result<Self> {
        let mut older = Self::default();
        if config.relay.enabled {
            let shared = relay::Shared::open(&config.relay, places.of("relay"), account, clock.clone(), leeway)?;
            let shared = Arc::new(shared);
            let swept = Arc::clone(&shared);
            // What was too old already at the start.
            let begun = Arc::clone(&shared);
            rt::spawn(async move { begun.delivery.sweep().await });
            every(limits::RELAY_KEPT_SWEEP, async move || swept.delivery.sweep().await);
            older.relay = Some(shared);
        }
        if config.postoffice.enabled {
            let clock = clock.clone();
            let shared = postoffice::Shared::open(&config.postoffice, places.of("postoffice"), account, clock, leeway)?;
            let swept = Arc::clone(&shared);
            every(limits::POST_SWEEP, async move || swept.sweep().await);
            older.postoffice = Some(shared);
        }
        if let Some(moderation) = read.moderation {
            let place = places.of(chat::elsewhere::NAME);
            older.chat = Some(chats::open(config, moderation, read.mongodb, place, clock, leeway)?);
        }
        if config.group.enabled {
            older.group = Some(groups::open(config, read.blacklist, places, account, clock, leeway)?);
        }
        Ok(older)
    }

    /// They hear what their like at other nodes of a cluster asks and tells.
    pub fn attend(&self, broker: &Arc<Broker>) {
        if let Some(chat) = &self.chat {
            chat.attend(broker);
        }
        if let Some(relay) = &self.relay {
            relay.attend(broker);
        }
        if let Some(postoffice) = &self.postoffice {
            postoffice.attend(broker);
        }
        if let Some(group) = &self.group {
            broker.attendants.add(group::NAME, Arc::clone(&group.groups) as Arc<_>);
        }
    }

    /// Serves `protocol`, if it is one of them.
    pub fn routes(&self, protocol: Protocol, ingress: &Ingress, routes: &mut web::ServiceConfig) {
        let ingress = ingress.clone();
        match (protocol, self.clone()) {
            (Protocol::Relay, Self { relay: Some(shared), .. }) => relay::routes(routes, ingress, shared),
            (Protocol::PostOffice, Self { postoffice: Some(shared), .. }) => {
                postoffice::routes(routes, ingress, shared);
            }
            (Protocol::Chat, Self { chat: Some(chat), .. }) => chat::routes(routes, ingress, chat),
            (Protocol::Group, Self { group: Some(shared), .. }) => {
                group::routes(routes, &GroupEndpoint::new(ingress, shared));
            }
            _ => {}
        }
    }

    /// Gives them time to send what other instances still have to get.
    pub async fn stop(&self) {
        if let Some(relay) = &self.relay {
            relay.delivery.inboxes.end().await;
        }
        if let Some(group) = &self.group {
            group.groups.stop(limits::GROUP_LAST_WORDS).await;
        }
    }
}
