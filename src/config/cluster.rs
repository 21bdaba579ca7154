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
    /// The Redis of the cluster: one server, or some of a Redis Cluster. It needs a maxmemory, maxmemory-policy noeviction, and
    /// appendonly yes to survive its end.
    endpoint: Option<String> = "", Endpoints;
    /// Holds the password of that Redis.
    password_file: Option<PathBuf> = "", File;
    /// Holds 64 hexadecimal digits, the same at every server: connections and tokens of one are good at the others.
    secret_file: Option<PathBuf> = "", File;
    /// What is acknowledged survives the end of Redis: `memory` = as far as it is set up for that; `fsync` = it is on disk, and
    /// Redis has to have appendonly yes, appendfsync always; `replicas` = a replica has it as well.
    durability: Durability = "memory", OneOf(Durability::WORDS);
    /// What a Redis does not tell of its settings, as some that are rented, is taken to be as it has to be.
    trust_settings: bool = "false", Switch;
    /// A publish that Redis has not taken by then is refused, and will not appear later.
    deadline: Duration = "5s", Span("100ms", "1m");
    /// A server that Redis has not heard of for so long is taken for dead by the others: its members leave, its seats are free. The
    /// same at every server; each tells Redis five times in that time that it lives.
    lease: Duration = "15s", Span("3s", "1m");
    /// Bytes of the newest messages of one persisted channel that Redis keeps, since it keeps them in memory; at most
    /// history.persisted_bytes.
    persisted_bytes: u64 = "16777216", STORE_BYTES;
    /// /ready stays 200 while Redis is away that was there before, and says so: for who would rather have clients come to a server
    /// that refuses what they publish than to none.
    ready_without_engine: bool = "false", Switch;
    /// Bytes of files on their way to users at other servers, of all transfers that this one carries: each has as much as the
    /// receiver may ask for again, at most 40 pieces. One more transfer is refused as busy.
    relay_bytes: usize = "33554432", STORE_BYTES;
}

choices! {
    /// What the servers of a cluster share.
    Engine: None = "none", Redis = "redis";
}

choices! {
    /// How safe what was acknowledged is.
    Durability: Memory = "memory", Fsync = "fsync", Replicas = "replicas";
}

impl Verdict<'_> {
    pub(super) fn cluster(&mut self) {
        let cluster = &self.config.cluster;
        if cluster.engine == Engine::None {
            return;
        }
        self.file(&["cluster.password_file"], cluster.password_file.as_deref());
        self.file(&["cluster.secret_file"], cluster.secret_file.as_deref());
        if cluster.endpoint.is_none() {
            self.complain(&["cluster.endpoint", "cluster.engine"], "the servers of a cluster need a Redis to meet on");
        }
        let is_several = cluster.endpoint.as_ref().is_some_and(|endpoint| endpoint.contains(','));
        if is_several && self.config.group.enabled && self.config.group.redis.is_none() {
            let why = "groups need one server of Redis, since a message and its entry in a stream are written at once, and \
                       several are those of a Redis Cluster: name another one";
            self.complain(&["group.redis", "cluster.endpoint", "group.enabled"], why);
        }
        if self.config.ably.enabled && cluster.secret_file.is_none() {
            let why = "needed, the same at every server: without it no connection can be resumed at another one. Make one \
                       with `openssl rand -hex 32`";
            self.complain(&["cluster.secret_file", "cluster.engine"], why);
        }
    }
}
