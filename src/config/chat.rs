//! The settings of the chat (`docs/protocols/chat.md §1`).

use std::{path::PathBuf, time::Duration};

use jiff::tz::TimeZone;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Engine,
    check::Verdict,
    keys::{Key, choices, section},
    kind::Kind,
};

section! {
    Chat as "chat";

    /// Serve the chat: messages between users, groups and rooms. MODE=chat is the drop-in for the older server.
    enabled: bool = "false", Switch;
    /// A port of its own, beside the shared one; 0 picks a free one.
    port: Option<u16> = "", OwnPort;
    /// Where clients connect by WebSocket.
    ws_path: String = "/ws/chat", Path;
    /// Above online-count, online-users, send-message, broadcast and messages.
    api_path: String = "/api/ws", Path;
    /// Above <room>/messages, another way to the history.
    room_path: String = "/chat/room", Path;
    /// Says that the chat is well; with ?deep=1 it also asks the store.
    health_path: String = "/chat/health", Path;
    /// Whose shapes, where the design document and the source of the older server disagree: code 0 or 200, and others.
    compat: ChatCompat = "document", OneOf(ChatCompat::WORDS);
    /// Signs the tokens (HS256) of users. At least 32 bytes when others can reach the server.
    jwt_secret: SecretString = "", Code, reloadable;
    /// The header that tokens come in; Authorization: Bearer and Sec-WebSocket-Protocol: x-token, <token> work as well.
    jwt_header: String = "x-token", Header;
    /// Refuse tokens without exp, and close connections with 4401 when their token ends.
    require_exp: bool = "false", Switch;
    /// Take tokens by ?token= too; proxies write them to their logs.
    token_in_query: bool = "false", Switch;
    /// Pages that may connect and ask. Programs without an Origin header always may.
    allowed_origins: Vec<String> = "http://localhost:3000,http://localhost:8080", OriginsOrAny, reloadable;
    /// The times in messages to clients are those of this zone; empty for the zone of the machine.
    timezone: String = "", Zone;
    /// Keep all connections of a user; otherwise a new one closes the old with 4001.
    multi_device: bool = "false", Switch;
    /// Send a user who comes back the messages that it missed; otherwise they are in the history only.
    replay_on_connect: bool = "false", Switch;
    /// A message to a group that was not made here goes to everybody online, as with the older server, or is refused.
    unknown_group: UnknownGroup = "broadcast", OneOf(UnknownGroup::WORDS);
    /// Refuse messages whose message_type is not 1, 2 or 3.
    strict_types: bool = "false", Switch;
    /// Days that messages are kept; 0 keeps them for ever.
    retention_days: u32 = "0", Whole(0, 36_500);
    /// Bytes of all that is kept on the Redis of a cluster; more messages are refused. Without a cluster, or in MongoDB, there is
    /// no such bound.
    stored_bytes: u64 = "1073741824", STORE_BYTES;
    /// Messages a second by HTTP, all users together; 0 = no limit.
    requests_per_second: u32 = "0", RATE;
    /// Keep messages and groups in this MongoDB instead of the data folder: mongodb://user:password@host:27017.
    mongodb_uri: SecretString = "", Code;
    /// The same in parts: the host; empty for the data folder.
    mongodb_host: String = "", Host;
    /// The port of that host.
    mongodb_port: u16 = "27017", Whole(1, 65_535);
    /// The user there; empty for none.
    mongodb_username: String = "", Text;
    /// The password of that user.
    mongodb_password: SecretString = "", Code;
    /// The database, by URI or by host.
    mongodb_database: String = "zulme", Text;
    /// Have texts judged by Baidu's text censor: the API key of the application. Without keys, texts are not judged.
    baidu_api_key: SecretString = "", Code;
    /// The secret key of that application.
    baidu_secret_key: SecretString = "", Code;
    /// What becomes of a text when the service does not answer or not as expected.
    baidu_on_error: Moderated = "allow", OneOf(Moderated::WORDS);
    /// What becomes of a text that the service finds suspect.
    baidu_suspect: Moderated = "block", OneOf(Moderated::WORDS);
    /// How long a message waits for the service.
    baidu_timeout: Duration = "3s", Span("100ms", "1m");
    /// Where that service is; for tests and proxies.
    baidu_base_url: String = "https://aip.baidubce.com", HttpUrl;
    /// Regular expressions, one a line, of texts that are blocked before the service is asked.
    words_file: Option<PathBuf> = "", File, reloadable;
}

choices! {
    /// Whose message formats, where the document and the source of the older server disagree.
    ChatCompat: Document = "document", Source = "source";
    /// What becomes of a message to a group that was not made here: everybody online gets it, or nobody.
    UnknownGroup: Broadcast = "broadcast", Reject = "reject";
    /// What becomes of a message that the service has no clear answer for.
    Moderated: Allow = "allow", Block = "block";
}

impl Chat {
    pub fn uses_mongodb(&self) -> bool {
        !self.mongodb_uri.expose_secret().is_empty() || !self.mongodb_host.is_empty()
    }

    /// Whether the service is asked.
    pub fn uses_baidu(&self) -> bool {
        let keys = [&self.baidu_api_key, &self.baidu_secret_key];
        keys.into_iter().all(|key| !key.expose_secret().is_empty())
    }

    /// How long messages are kept; for ever if none.
    pub fn retention(&self) -> Option<Duration> {
        let days = u64::from(self.retention_days);
        (days > 0).then(|| Duration::from_secs(days * 24 * 3_600))
    }

    /// The zone of the times in messages to clients.
    pub fn zone(&self) -> TimeZone {
        if self.timezone.is_empty() {
            return TimeZone::try_system().unwrap_or(TimeZone::UTC);
        }
        // `Kind::Zone` has taken only names that can be looked up.
        TimeZone::get(&self.timezone).unwrap_or(TimeZone::UTC)
    }
}

impl Verdict<'_> {
    pub(super) fn chat(&mut self) {
        let chat = &self.config.chat;
        if !chat.enabled {
            return;
        }
        self.file(&["chat.words_file", "chat.enabled"], chat.words_file.as_deref());
        match [&chat.baidu_api_key, &chat.baidu_secret_key].map(|key| key.expose_secret().is_empty()) {
            [false, false] => {}
            [true, true] => self.warn(
                "chat: moderation by Baidu is off, because chat.baidu_api_key and chat.baidu_secret_key are empty",
            ),
            _ => self.complain(
                &["chat.baidu_secret_key", "chat.baidu_api_key"],
                "only one of chat.baidu_api_key and chat.baidu_secret_key is set; moderation needs both",
            ),
        }
        if chat.uses_mongodb() && chat.mongodb_database.is_empty() {
            self.complain(&["chat.mongodb_database", "chat.mongodb_host"], "empty, and the messages go to MongoDB");
        }
        if self.config.cluster.engine != Engine::None && !chat.uses_mongodb() && chat.retention_days == 0 {
            self.warn(
                "chat.retention_days is 0 without MongoDB: messages stay for ever in the memory of the cluster's Redis, and when \
                 they have chat.stored_bytes more are refused; set chat.retention_days, or name a MongoDB",
            );
        }
        if !chat.require_exp {
            self.warn(
                "chat.require_exp is false: tokens without exp are good for ever; once all are issued with exp, set it",
            );
        }
    }
}
