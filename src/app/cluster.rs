//! The cluster's part of a server: the log that it shares, the secret, what other nodes tell and ask.

use std::{path::Path, sync::Arc};

use anyhow::bail;
use secrecy::SecretString;

use crate::{
    auth::ably::ServerSecret,
    clock::Clock,
    config::{Config, Draft, Durability, Engine, FileFaults, Problem, read_text},
    core::rules::Namespaces,
    engines::redis::{self, RedisError},
    ids::{AppId, ChannelName},
    log::{
        disk::Retention,
        memory::MemoryLog,
        shared::{Keeping, SharedLog, Times, nodes},
    },
    older::group,
    store::{Claims, redis::RedisStore},
};

/// What the files hold that the settings name.
#[derive(Default)]
pub struct Shared {
    password: SecretString,
    /// None: the one of the data folder.
    pub secret: Option<ServerSecret>,
}

/// # Errors
/// What is wrong with the file of `key`.
pub(super) fn read<T>(
    key: &'static str,
    path: &Path,
    understand: impl FnOnce(&str) -> Result<T, &'static str>,
) -> Result<T, FileFaults> {
    let text = read_text(path).map_err(|error| FileFaults::unreadable(key, path, &error))?;
    let wrong = |what: &str| FileFaults { key, path: path.to_owned(), problems: vec![Problem::whole(what)] };
    understand(text.trim()).map_err(wrong)
}

/// Reads the files that the settings name, and complains about those that cannot be used.
pub fn prepare(draft: &mut Draft) -> Shared {
    let settings = draft.config().cluster.clone();
    if settings.engine == Engine::None {
        return Shared::default();
    }
    let password = settings.password_file.map(|path| read("cluster.password_file", &path, |text| Ok(text.into())));
    let secret = settings.secret_file.map(|path| {
        read("cluster.secret_file", &path, |text| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(text, &mut bytes).map_err(|_| "it does not hold 64 hexadecimal digits")?;
            Ok(ServerSecret::new(bytes))
        })
    });
    let password = password.and_then(|read| super::prepare::or_complain(draft, &["cluster.password_file"], read));
    let secret = secret.and_then(|read| super::prepare::or_complain(draft, &["cluster.secret_file"], read));
    Shared { password: password.unwrap_or_default(), secret }
}

/// What servers share.
pub struct Joined {
    pub log: SharedLog,
    pub store: RedisStore,
    pub claims: Claims,
    /// How the Redis is reached, or some server of it.
    pub redis: redis::Settings,
}

/// The log of all channels, and the rows of the older protocols, if servers share them. `config` has checked the endpoint.
/// A Redis that is away is waited for later.
///
/// # Errors
/// For the operator: the servers that share this Redis are set up otherwise, or no server can use it.
pub fn log(
    config: &Config,
    shared: Shared,
    fingerprint: Option<String>,
    memory: MemoryLog,
    namespaces: Arc<dyn Namespaces>,
    clock: Clock,
) -> anyhow::Result<Option<Joined>> {
    let settings = &config.cluster;
    let Some(endpoint) = settings.endpoint.as_deref().filter(|_| settings.engine == Engine::Redis) else {
        return Ok(None);
    };
    let retention = Retention {
        age: config.history.persisted_age,
        bytes: config.history.persisted_bytes.min(settings.persisted_bytes),
    };
    let retention = move |channel: &_| namespaces.terms(channel).attributes.is_persisted.then_some(retention);
    // Their messages go from node to node by streams that services read, which have an order of their own.
    let has_streams = config.group.enabled;
    let is_group =
        |channel: &ChannelName| channel.app() == AppId::DEFAULT && channel.as_str().starts_with(group::GROUP);
    let is_own = move |channel: &ChannelName| has_streams && is_group(channel);
    let seeds = redis::Settings::at_each(endpoint, &shared.password);
    let redis = redis::Settings::at(endpoint.split(',').next().unwrap_or_default(), shared.password, 0);
    let greeting = nodes::greeting(fingerprint, settings.lease);
    let durability = match settings.durability {
        Durability::Memory => redis::Durability::Memory,
        Durability::Fsync => redis::Durability::Fsync,
        Durability::Replicas => redis::Durability::Replicas,
    };
    let needs = redis::Needs { durability, is_trusted: settings.trust_settings };
    match redis::Slots::greet(&seeds, &greeting) {
        Err(error @ (RedisError::Foreign { .. } | RedisError::Denied { .. } | RedisError::Unfit { .. })) => {
            return Err(error.into());
        }
        Err(error) => {
            tracing::warn!(%error, "no client should be sent here (/ready: 503) until the redis of the cluster is reached")
        }
        Ok(is_one_server) if !is_one_server && config.group.enabled && config.group.redis.is_none() => {
            bail!(
                "the groups of group.enabled need one server of Redis, since a message and its entry in a stream are written at once, \
                 and {endpoint} is a Redis Cluster: name another one in group.redis"
            );
        }
        Ok(_) => {}
    }
    let is_copied = needs.durability == redis::Durability::Replicas;
    let store =
        RedisStore::start(seeds.clone(), Some(greeting.clone()), is_copied, settings.deadline, clock.clone(), "");
    let log = SharedLog::start(
        seeds,
        greeting,
        needs,
        Times { deadline: settings.deadline, lease: settings.lease },
        memory,
        Keeping { retention: Box::new(retention), is_own: Box::new(is_own) },
        clock.clone(),
    );
    let nodes = log.nodes().clone();
    let claims = Claims::new(nodes.own(), move || nodes.alive(), settings.lease, clock);
    tracing::info!(node = %log.nodes().own(), engine = "redis", endpoint, "this server is a node of a cluster");
    Ok(Some(Joined { log, store: store?, claims, redis }))
}
