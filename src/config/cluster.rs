//! The settings of a cluster (`docs/cluster.md`).

use std::{path::PathBuf, time::Duration};

use super::{
    check::Verdict,
    keys::{Key, choices, section},
    kind::Kind,
};

section! {
    Cluster as "cluster";

    /// What several servers share their channels by: `redis`; `none` = this server is alone.
    engine: Engine = "none", OneOf(Engine::WORDS);
    /// The Redis of the cluster. It needs a maxmemory, maxmemory-policy noeviction, and appendonly yes to survive its end.
    endpoint: Option<String> = "", Endpoint;
    /// Holds the password of that Redis.
    password_file: Option<PathBuf> = "", File;
    /// Holds 64 hexadecimal digits, the same at every server: connections and tokens of one are good at the others.
    secret_file: Option<PathBuf> = "", File;
    /// A publish that Redis has not taken by then is refused, and will not appear later.
    deadline: Duration = "5s", Span("100ms", "1m");
    /// Bytes of files on their way to users at other servers, of all transfers that this one carries: each has as much as the
    /// receiver may ask for again, at most 40 pieces. One more transfer is refused as busy.
    relay_bytes: usize = "33554432", STORE_BYTES;
}

choices! {
    /// What the servers of a cluster share.
    Engine: None = "none", Redis = "redis";
}

/// What is not shared yet; told at each start.
const PER_SERVER: &str = "cluster.engine is redis: messages, history, resume, presence, occupancy, connections, tokens, apps and \
     statistics are shared, and so is what the relay and the post office keep. Per server are still: file transfers, and \
     what the chat and group protocols keep; objects of channels are refused";

impl Verdict<'_> {
    pub(super) fn cluster(&mut self) {
        let cluster = &self.config.cluster;
        if cluster.engine == Engine::None {
            return;
        }
        self.warn(PER_SERVER);
        let config = self.config;
        let older = [(config.chat.enabled, "chat"), (config.group.enabled, "group")];
        for (_, name) in older.into_iter().filter(|(is_enabled, _)| *is_enabled) {
            self.warn(format!(
                "{name}.enabled: what this protocol keeps, and whom it takes to be online, is each server's own; have all of its \
                 clients and back ends come to one server"
            ));
        }
        self.file(&["cluster.password_file"], cluster.password_file.as_deref());
        self.file(&["cluster.secret_file"], cluster.secret_file.as_deref());
        if cluster.endpoint.is_none() {
            self.complain(&["cluster.endpoint", "cluster.engine"], "the servers of a cluster need a Redis to meet on");
        }
        if self.config.ably.enabled && cluster.secret_file.is_none() {
            let why = "needed, the same at every server: without it no connection can be resumed at another one. Make one \
                       with `openssl rand -hex 32`";
            self.complain(&["cluster.secret_file", "cluster.engine"], why);
        }
        if self.config.group.enabled && self.config.group.redis.is_some() {
            let why =
                "group.redis and cluster.engine both carry group messages, so each would come twice; leave one out";
            self.complain(&["group.redis", "cluster.engine"], why);
        }
    }
}
