//! The settings of the group protocol (`docs/protocols/group.md §1, §8`).

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    check::Verdict,
    keys::{Key, choices, section},
    kind::Kind,
};

/// A shorter key of services is warned of.
const SERVICE_KEY_BYTES: usize = 16;

section! {
    Group as "group";

    /// Serve the group protocol: group chat and notifications. MODE=group is the drop-in for the older server.
    enabled: bool = "false", Switch;
    /// A port of its own, beside the shared one; 0 picks a free one.
    port: Option<u16> = "", OwnPort;
    /// Where clients connect by WebSocket.
    ws_path: String = "/group/ws", Path;
    /// Says that the group server is well.
    health_path: String = "/group/health", Path;
    /// Counts the users that are online.
    stats_path: String = "/group/stats", Path;
    /// What stands before /messages, /notifications, /groups and /users.
    api_path: String = "/group/api", Path;
    /// Signs the tokens of users (HS256, claim userId); the services that make them have the same. This default is
    /// public knowledge.
    jwt_secret: SecretString = "k9#8G7&6F5%4D3$2S1@0P9*8O7!6N5^4M3+2L1=0", Secret, reloadable;
    /// Services show it in X-Service-Key to make groups, change members and send notifications; empty: nobody can.
    service_key: SecretString = "", Code, reloadable;
    /// Pages that may connect, besides those of the same host. Programs without an Origin header always may.
    allowed_origins: Vec<String> = "", OriginsOrAny, reloadable;
    /// Who takes part in a group: `registry` = its members, `anyone` with a token, as with the older server.
    membership: Membership = "registry", OneOf(Membership::WORDS);
    /// With membership registry: joining a group that there is not makes it, and everybody may join such a group.
    open_groups: bool = "false", Switch;
    /// When a message is acknowledged: `stored` = when it is on disk, `fast` = at once, as with the older server.
    ack_mode: AckMode = "stored", OneOf(AckMode::WORDS);
    /// Tell a user's other connections how far it has read.
    read_events: bool = "false", Switch;
    /// Open connections of this protocol; 0 = limits.connections alone counts.
    max_connections: usize = "10000", CONNECTIONS;
    /// A connection has to authenticate within this time.
    auth_timeout: Duration = "30s", Span("1s", "24h");
    /// A ping goes to each client this often.
    ping_interval: Duration = "54s", Span("1s", "24h");
    /// A connection from which nothing arrived for this long, no pong either, is closed. Longer than ping_interval.
    idle_timeout: Duration = "60s", Span("1s", "24h");
    /// A connection that took no byte for this long although some waited is closed.
    stall_timeout: Duration = "10s", Span("1s", "24h");
    /// Messages that one user, and one connection, may send each second in the long run; 0 = no limit.
    messages_per_second: u32 = "20", RATE;
    /// Messages that one user, and one connection, may send at once.
    message_burst: u32 = "40", Whole(1, 1_000_000);
    /// Connections that one address may open each second in the long run, ten times as many at once; 0 = no limit.
    handshakes_per_second: u32 = "50", RATE;
    /// Addresses that are refused with 403.
    blacklist: Vec<IpNet> = "", Networks, reloadable;
    /// More of them, one a line; read again on SIGHUP and by POST <group.api_path>/blacklist/reload.
    blacklist_file: Option<PathBuf> = "", File, reloadable;
    /// Failed attempts to authenticate from one address in ten minutes that ban it; 0 = no address is banned.
    ban_after: u32 = "0", RATE;
    /// How long such a ban lasts.
    ban_for: Duration = "10m", Span("1s", "24h");
    /// Messages and notifications are kept for this long; 0s keeps them for ever.
    message_age: Duration = "2160h", Span("0s", "87600h");
    /// In a cluster: bytes of messages, notifications and groups that are kept on Redis; more are refused.
    stored_bytes: u64 = "1073741824", STORE_BYTES;
    /// Redis that the instances and services meet on; without it this instance is alone. In a cluster it is that of the cluster,
    /// unless it is named here.
    redis: Option<String> = "", Endpoint;
    /// Password of that Redis.
    redis_password: SecretString = "", Code;
    /// Number of the database there.
    redis_db: u32 = "0", Whole(0, 65_535);
}

choices! {
    /// Who may take part in a group: its members, or whoever is authenticated, who becomes a member by taking part.
    Membership: Registry = "registry", Anyone = "anyone";
    /// When a message is acknowledged: when it is on disk, or at once, so that a crash can lose it.
    AckMode: Stored = "stored", Fast = "fast";
}

impl Verdict<'_> {
    pub(super) fn group(&mut self) {
        let group = &self.config.group;
        if !group.enabled {
            return;
        }
        let pair = ["group.idle_timeout", "group.ping_interval"];
        self.longer(pair, [group.idle_timeout, group.ping_interval], "idle clients are closed before they are asked");
        self.file(&["group.blacklist_file"], group.blacklist_file.as_deref());
        if group.service_key.expose_secret().is_empty() {
            self.warn(
                "group.service_key is empty: nobody can make groups or add members by HTTP. Set \
                 LETSHARE_GROUP_SERVICE_KEY to a secret of your own, for example one made with `openssl rand -hex 32`",
            );
        } else if !self.config.server.host.is_loopback() && group.service_key.expose_secret().len() < SERVICE_KEY_BYTES
        {
            let host = self.config.server.host;
            self.warn(format!(
                "group.service_key can be guessed: it has fewer than {SERVICE_KEY_BYTES} bytes, and the server listens \
                 on {host}. Whoever has it adds members to any group and reads it; set LETSHARE_GROUP_SERVICE_KEY to \
                 one made with `openssl rand -hex 32`"
            ));
        }
        self.who_may_take_part();
        self.redis();
    }

    /// Warns of what is more open than that members alone take part (`docs/protocols/group.md §5`).
    fn who_may_take_part(&mut self) {
        let group = &self.config.group;
        let warning = match (group.membership, group.open_groups) {
            (Membership::Registry, false) => return,
            (Membership::Registry, true) => {
                "group.open_groups is true: whoever joins a group that there is not makes it, and whoever knows its \
                 name can join it; groups that were registered need membership"
            }
            (Membership::Anyone, _) => {
                "group.membership is anyone: whoever has a token and knows the name of a group reads and writes it"
            }
        };
        self.warn(warning);
    }

    fn redis(&mut self) {
        let group = &self.config.group;
        let Some(endpoint) = &group.redis else { return };
        let host = endpoint.rsplit_once(':').map_or("", |(host, _)| host);
        let is_near = matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]");
        if !is_near && group.redis_password.expose_secret().is_empty() {
            self.warn(format!(
                "group.redis_password is empty, and Redis at {endpoint} is another machine: whoever reaches it reads \
                 and writes every message"
            ));
        }
    }
}
