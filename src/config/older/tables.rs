//! The names that the older servers have for settings of this one.

use std::path::PathBuf;

use super::file::of_environment;
use crate::config::{Environment, complaint::Notes, yaml::Raw};

/// What one of them is configured by.
pub struct OlderServer {
    /// The mode that reads it.
    pub mode: &'static str,
    /// What warnings call it.
    pub name: &'static str,
    pub format: Format,
    /// Where its file is, unless it is named; it need not be there.
    pub find: fn(&Environment, &mut Notes) -> Option<PathBuf>,
    /// The variable that names the file: then it has to be there.
    pub file_variable: Option<&'static str>,
    /// Flags of the command line, each with the variable that it sets.
    pub flags: &'static [(&'static str, &'static str)],
    /// Variables with this prefix are for it; unknown ones are warned of.
    pub prefix: Option<&'static str>,
    /// Variables that are meant for nobody else: in another mode they are warned of.
    pub unmistakable: &'static [&'static str],
    pub names: &'static [Name],
    /// Beginning of a key, and why it has no effect.
    pub unused: &'static [(&'static str, &'static str)],
    /// Keys of the file count whatever their case; they are written in lower case here.
    pub any_case: bool,
    /// An empty value of the file is a value; otherwise it is as good as none.
    pub empty_counts: bool,
    /// The file wins over the variables, and what is broken or empty in it does not count, with a warning.
    pub is_lenient: bool,
}

#[derive(Clone, Copy)]
pub enum Format {
    Yaml,
    Json,
}

/// One setting.
pub struct Name {
    /// Its key in the file.
    pub file: &'static str,
    /// Its variable; may be empty.
    pub variable: &'static str,
    pub form: Form,
    /// What it is called here.
    pub key: &'static str,
}

/// What the older server writes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    AsIs,
    /// A number of seconds, where a duration belongs here.
    Seconds,
    Millis,
    /// A list that may be empty.
    List,
    /// The type of a JSON value.
    JsonNumber,
    JsonText,
    JsonEither,
}

impl Form {
    /// The value as it is written here.
    pub fn of(self, value: Raw) -> Raw {
        match (self, value) {
            (Self::Seconds, Raw::Text(text)) if text.parse::<u64>().is_ok() => Raw::Text(format!("{text}s")),
            (Self::Millis, Raw::Text(text)) => Raw::Text(format!("{text}ms")),
            (_, value) => value,
        }
    }

    pub fn takes(self, json: &str) -> bool {
        match self {
            Self::JsonNumber | Self::JsonText => json == self.wanted(),
            Self::JsonEither => json == "a string" || json.contains("number"),
            _ => true,
        }
    }

    pub fn wanted(self) -> &'static str {
        if self == Self::JsonNumber { "a whole number" } else { "a string" }
    }

    pub fn may_be_empty(self) -> bool {
        self == Self::List
    }
}

const fn name(file: &'static str, variable: &'static str, form: Form, key: &'static str) -> Name {
    Name { file, variable, form, key }
}

pub const SERVERS: [OlderServer; 4] = [
    // docs/protocols/relay.md §1. Without a prefix: elsewhere a `PORT` means something else.
    OlderServer {
        mode: "relay",
        name: "relay",
        format: Format::Json,
        find: |environment, _| Some(environment.dir.join("config.json")),
        file_variable: None,
        flags: &[],
        prefix: None,
        unmistakable: &["RELAY_API_KEY"],
        names: &[
            name("port", "PORT", Form::JsonEither, "relay.port"),
            name("api_key", "RELAY_API_KEY", Form::JsonText, "relay.api_key"),
            name("ws_path", "WS_PATH", Form::JsonText, "relay.ws_path"),
            name("push_path", "PUSH_PATH", Form::JsonText, "relay.push_path"),
        ],
        unused: &[],
        any_case: false,
        empty_counts: false,
        is_lenient: true,
    },
    // docs/protocols/postoffice.md §1. A port or limit of the wrong type stops the start.
    OlderServer {
        mode: "postoffice",
        name: "post office",
        format: Format::Json,
        find: of_environment,
        file_variable: Some("POSTOFFICE_CONFIG"),
        flags: &[("--config", "POSTOFFICE_CONFIG"), ("--env", "POSTOFFICE_ENV")],
        prefix: Some("POSTOFFICE_"),
        unmistakable: &["POSTOFFICE_ENV", "POSTOFFICE_CONFIG", "POSTOFFICE_SOCKETPORT"],
        names: &[
            name("socketPort", "POSTOFFICE_SOCKETPORT", Form::JsonNumber, "postoffice.port"),
            name(
                "maxWebSocketConnections",
                "POSTOFFICE_MAXWEBSOCKETCONNECTIONS",
                Form::JsonNumber,
                "postoffice.max_connections",
            ),
            name("sslPort", "POSTOFFICE_SSLPORT", Form::JsonNumber, "tls.port"),
            name("sslCertPath", "POSTOFFICE_SSLCERTPATH", Form::JsonText, "tls.cert_file"),
            name("sslKeyPath", "POSTOFFICE_SSLKEYPATH", Form::JsonText, "tls.key_file"),
        ],
        unused: &[("dataSource.redis", "messages are kept in the data folder of this server alone")],
        any_case: false,
        empty_counts: true,
        is_lenient: false,
    },
    // docs/protocols/chat.md §1.
    OlderServer {
        mode: "chat",
        name: "chat",
        format: Format::Yaml,
        find: |environment, _| Some(environment.dir.join("config.yaml")),
        file_variable: None,
        flags: &[],
        prefix: Some("CHAT_"),
        unmistakable: &["CHAT_JWT_SECRET", "CHAT_MONGODB_URI", "CHAT_BAIDU_API_KEY", "CHAT_BAIDU_SECRET_KEY"],
        names: &[
            name("Port", "", Form::AsIs, "chat.port"),
            name("Jwt.Secret", "CHAT_JWT_SECRET", Form::AsIs, "chat.jwt_secret"),
            name("Jwt.Header", "", Form::AsIs, "chat.jwt_header"),
            name("Mongodb.Uri", "CHAT_MONGODB_URI", Form::AsIs, "chat.mongodb_uri"),
            name("Mongodb.Username", "", Form::AsIs, "chat.mongodb_username"),
            name("Mongodb.Password", "", Form::AsIs, "chat.mongodb_password"),
            name("Mongodb.Host", "", Form::AsIs, "chat.mongodb_host"),
            name("Mongodb.Port", "", Form::AsIs, "chat.mongodb_port"),
            name("Mongodb.Database", "", Form::AsIs, "chat.mongodb_database"),
            name("Baidu.ApiKey", "CHAT_BAIDU_API_KEY", Form::AsIs, "chat.baidu_api_key"),
            name("Baidu.SecretKey", "CHAT_BAIDU_SECRET_KEY", Form::AsIs, "chat.baidu_secret_key"),
            name("Baidu.OnError", "", Form::AsIs, "chat.baidu_on_error"),
            name("Baidu.Suspect", "", Form::AsIs, "chat.baidu_suspect"),
            name("Baidu.TimeoutMs", "", Form::Millis, "chat.baidu_timeout"),
            name("Baidu.BaseUrl", "", Form::AsIs, "chat.baidu_base_url"),
            // Nobody is on the list of pages when it is empty.
            name("Cors.Origins", "", Form::List, "chat.allowed_origins"),
        ],
        unused: &[
            ("Redis", "who is online is known to this server alone"),
            ("Mysql", "groups are kept with the messages"),
        ],
        any_case: false,
        empty_counts: false,
        is_lenient: false,
    },
    // docs/protocols/group.md §1: a file of go-zero.
    OlderServer {
        mode: "group",
        name: "group server",
        format: Format::Yaml,
        find: |environment, _| Some(environment.dir.join("etc/websocket.yaml")),
        file_variable: Some("GROUP_CONFIG"),
        flags: &[("-f", "GROUP_CONFIG")],
        prefix: Some("GROUP_"),
        unmistakable: &["GROUP_CONFIG", "GROUP_AUTH_ACCESSSECRET"],
        names: &[
            name("host", "GROUP_HOST", Form::AsIs, "server.host"),
            name("port", "GROUP_PORT", Form::AsIs, "group.port"),
            name("redis.host", "GROUP_REDIS_HOST", Form::AsIs, "group.redis"),
            name("redis.pass", "GROUP_REDIS_PASS", Form::AsIs, "group.redis_password"),
            name("redis.db", "GROUP_REDIS_DB", Form::AsIs, "group.redis_db"),
            name("auth.accesssecret", "GROUP_AUTH_ACCESSSECRET", Form::AsIs, "group.jwt_secret"),
            name("websocket.maxconnections", "GROUP_WEBSOCKET_MAXCONNECTIONS", Form::AsIs, "group.max_connections"),
            name("websocket.readtimeout", "GROUP_WEBSOCKET_READTIMEOUT", Form::Seconds, "group.idle_timeout"),
            name("websocket.writetimeout", "GROUP_WEBSOCKET_WRITETIMEOUT", Form::Seconds, "group.stall_timeout"),
            name(
                "websocket.heartbeatinterval",
                "GROUP_WEBSOCKET_HEARTBEATINTERVAL",
                Form::Seconds,
                "group.ping_interval",
            ),
            name("allowedorigins", "GROUP_ALLOWEDORIGINS", Form::AsIs, "group.allowed_origins"),
        ],
        unused: &[
            ("name", "nothing here has a name"),
            ("chatrpc", "groups and messages are kept by this server itself; see group.service_key"),
            ("userrpc", "names come with the members of a group"),
            ("auth.accessexpire", "whoever makes the tokens says how long they live"),
        ],
        any_case: true,
        empty_counts: true,
        is_lenient: false,
    },
];
