//! Loading as an operator meets it: injected variables and folders, what is told when it is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, time::Duration};

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::{keys::Key, kind::Kind, *};

mod compose;
mod default_yaml;
pub mod fixtures;
mod operators;
mod shapes;

const LONG: &str = "0123456789abcdef0123456789abcdef";

struct Operator {
    folder: TempDir,
    environment: Environment,
    flags: Vec<(String, String)>,
}

/// An operator without files, variables and flags.
fn operator() -> Operator {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("configs")).unwrap();
    let environment = Environment { dir: folder.path().to_owned(), ..Environment::default() };
    Operator { folder, environment, flags: Vec::new() }
}

impl Operator {
    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    fn var(mut self, name: &str, value: &str) -> Self {
        self.environment.vars.insert(name.into(), value.into());
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.flags.push((key.into(), value.into()));
        self
    }

    fn load(&self) -> Result<Loaded, Complaints> {
        load(&self.environment, &self.flags)
    }

    fn loaded(&self) -> Loaded {
        self.load().unwrap_or_else(|complaints| panic!("{complaints}"))
    }

    fn complaints(&self) -> String {
        self.load().expect_err("refused").to_string()
    }
}

#[test]
fn the_built_in_defaults_are_valid_and_as_documented() {
    let config = Config::for_tests();
    assert_eq!(config.server.host.to_string(), "127.0.0.1");
    assert_eq!(config.server.port, 8080);
    assert_eq!(config.auth.mode, AuthMode::Both);
    assert_eq!(config.auth.secret.expose_secret(), "sever_auth_123");
    assert_eq!(config.cors.allowed_origins.len(), 5);
    assert_eq!(config.websocket.ping_interval, Duration::from_secs(30));
    assert_eq!(config.history.window, Duration::from_secs(120));
    assert_eq!(config.tls.cert_file, None);
}

#[test]
fn each_layer_covers_the_one_before() {
    let file = "server:\n  port: 1001\nlog:\n  level: warn\nlimits:\n  channels: 7\n";
    let operator = operator()
        .file("configs/local.yaml", file)
        .var("LETSHARE_SERVER_PORT", "1002")
        .var("LETSHARE_LOG_LEVEL", "error")
        .flag("server.port", "1003");
    let loaded = operator.loaded();
    assert_eq!(loaded.config.server.port, 1003);
    assert_eq!(loaded.config.log.level, "error");
    assert_eq!(loaded.config.limits.channels, 7);
    assert_eq!(loaded.config.limits.channels_per_connection, 200);
    let origin = |key| {
        let setting = loaded.settings.iter().find(|setting| setting.key == key).unwrap();
        setting.origin.to_string()
    };
    assert_eq!(origin("server.port"), "command line");
    assert_eq!(origin("log.level"), "environment variable LETSHARE_LOG_LEVEL");
    assert!(origin("limits.channels").ends_with("configs/local.yaml:6"));
    assert_eq!(origin("data.dir"), "built-in default");
}

#[test]
fn the_names_of_the_design_document_work() {
    let operator = operator()
        .var("MODE", "production")
        .var("LETSHARE_SERVER_PORT", "9090")
        .var("LETSHARE_JWT_SECRET", LONG)
        .var("LETSHARE_LOG_LEVEL", "warn")
        .var("LETSHARE_WEBSOCKET_MAX_ROOM_USERS", "12")
        .var("SERVER_AUTH_SECRET", "abcdef0123456789abcdef0123456789")
        .var("LETSHARE_DATA_DIR", "elsewhere")
        .var("LETSHARE_CORS_ALLOWED_ORIGINS", "https://a.example, https://b.example:444")
        .var("PATH", "/bin");
    let loaded = operator.loaded();
    assert_eq!(loaded.mode, "production");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let config = loaded.config;
    assert_eq!(config.server.host.to_string(), "0.0.0.0");
    assert_eq!(config.server.port, 9090);
    assert_eq!(config.jwt.secret.expose_secret(), LONG);
    assert_eq!(config.websocket.max_room_users, 12);
    assert!(config.data.dir.ends_with("elsewhere"));
    assert_eq!(config.cors.allowed_origins, ["https://a.example", "https://b.example:444"]);
    assert_eq!(config.shutdown.notice, Duration::from_secs(2));
}

#[test]
fn a_secret_of_digits_keeps_every_digit() {
    let digits = "00123456789012345678901234567890123456789";
    let operator = operator().var("LETSHARE_JWT_SECRET", digits);
    assert_eq!(operator.loaded().config.jwt.secret.expose_secret(), digits);
}

#[test]
fn both_shipped_modes_are_built_in_and_a_file_wins() {
    let built_in = operator().loaded();
    assert_eq!(built_in.config.log.level, "debug");
    assert!(built_in.config.limits.exempt_loopback);
    let empty = operator().file("configs/local.yaml", "# nothing\n").loaded();
    assert_eq!(empty.config.log.level, "info");
    assert_eq!(operator().var("MODE", "").loaded().mode, "local");
}

#[test]
fn an_unknown_mode_is_refused_and_the_known_ones_are_named() {
    let text = operator().file("configs/staging.yaml", "").var("MODE", "prodution").complaints();
    assert!(text.contains("prodution.yaml"), "{text}");
    assert!(text.contains("local, production, relay, postoffice, chat, group, staging"), "{text}");
    assert!(text.contains("environment variable MODE"), "{text}");
    let text = operator().var("MODE", "../../etc/passwd").complaints();
    assert!(text.contains("not a name"), "{text}");
}

#[test]
fn every_complaint_is_told_at_once_with_value_origin_and_range() {
    let file =
        "server:\n  port: 99999\n  hots: x\nlog: verbose\njwt:\n  expiration_hours: soon\nhistory:\n  window: 30\n";
    let operator = operator()
        .file("configs/local.yaml", file)
        .var("LETSHARE_LIMITS_CHANNELS", "-1")
        .var("LETSHARE_SERVER_PROT", "1")
        .flag("tls.enabled", "yes")
        .flag("limit.channels", "1");
    let complaints = operator.load().unwrap_err();
    assert_eq!(complaints.faults.len(), 9, "{complaints}");
    let text = complaints.to_string();
    for expected in [
        "9 faults",
        "server.port = \"99999\"",
        "configs/local.yaml:2",
        "a whole number from 0 to 65535",
        "server.hots\n     problem: unknown key; did you mean server.host?",
        "configs/local.yaml:3",
        "log\n     problem: a section, not a key",
        "jwt.expiration_hours = \"soon\"",
        "write 30s or 30ms",
        "environment variable LETSHARE_LIMITS_CHANNELS",
        "LETSHARE_SERVER_PROT\n     problem: no such key, unset it if it is not meant for this server; did you mean LETSHARE_SERVER_PORT?",
        "tls.enabled = \"yes\"",
        "did you mean limits.channels?",
        "set by:  command line",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

/// One line each: a setting that must be refused, and a word of the reason.
#[test]
fn impossible_values_are_refused() {
    for (key, value, reason) in [
        ("server.host", "example.org", "not an IP address"),
        ("server.host", "", "not an IP address"),
        ("server.port", "65536", "out of range"),
        ("server.port", "-1", "not a whole number"),
        ("server.port", "8080.0", "not a whole number"),
        ("server.port", "", "not a whole number"),
        ("server.workers", "18446744073709551616", "not a whole number"),
        ("server.trusted_proxies", "10.0.0.0/33", "not an IP address"),
        ("auth.mode", "JWT", "not one of"),
        ("jwt.expiration_hours", "0", "out of range"),
        ("cors.allowed_origins", "*", "patterns"),
        ("cors.allowed_origins", "letshare.fun", "scheme is missing"),
        ("cors.allowed_origins", "https://letshare.fun/", "write that"),
        ("cors.allowed_origins", "https://letshare.fun:443", "https://letshare.fun; write that"),
        ("cors.allowed_origins", "https://LetShare.fun", "write that"),
        ("cors.allowed_origins", "https://u:p@letshare.fun", "write that"),
        ("cors.allowed_origins", "https://letshare.fun:99999", "invalid port"),
        ("cors.allowed_origins", "http://", "host"),
        ("cors.allowed_origins", "null", "scheme is missing"),
        ("cors.allow_lan", "1", "neither true nor false"),
        ("log.level", "verbose", "does not name a level"),
        ("log.level", "", "does not name a level"),
        ("log.level", "info,,debug", "does not name a level"),
        ("log.max_entries", "0", "out of range"),
        ("log.dir", "", "empty"),
        ("websocket.max_message_bytes", "512KiB", "not a whole number"),
        ("websocket.ping_interval", "-30s", "out of range"),
        ("websocket.ping_interval", "soon", "not a duration"),
        ("websocket.ping_interval", "0s", "out of range"),
        ("websocket.idle_timeout", "30s", "longer than websocket.ping_interval"),
        ("limits.outbox_bytes", "524288", "must be at least 528384"),
        ("history.total_bytes", "4194303", "at least history.channel_bytes"),
        ("shutdown.notice", "30s", "longer than shutdown.notice"),
        ("cluster.lease", "2s", "a duration from 3s to 1m"),
        ("cluster.lease", "61s", "out of range"),
        ("cluster.persisted_bytes", "1000", "out of range"),
        ("cluster.ready_without_engine", "perhaps", "neither true nor false"),
        ("tls.enabled", "true", "missing, and tls.enabled"),
        ("jwt.secret", "", "empty: anybody could make tokens"),
        ("auth.secret", "  ", "empty: anybody could make tokens"),
    ] {
        let text = operator().flag(key, value).complaints();
        assert!(text.contains(reason), "{key}={value}: {text}");
    }
}

#[test]
fn sensible_values_are_accepted() {
    for (key, value) in [
        ("server.host", "::1"),
        ("server.trusted_proxies", "10.0.0.0/8,127.0.0.1,::1"),
        ("cors.allowed_origins", ""),
        ("cors.allowed_origins", "http://[::1]:3000"),
        ("cors.allowed_origins", "capacitor://localhost"),
        ("log.level", "info,letshare_server::edge=debug"),
        ("history.window", "0s"),
        ("websocket.ping_interval", "1m 20s"),
        ("websocket.stall_timeout", "200ms"),
    ] {
        operator().flag(key, value).loaded();
    }
}

#[test]
fn tls_needs_readable_files_and_its_own_port() {
    let operator = operator()
        .file("cert.pem", "")
        .flag("tls.enabled", "true")
        .flag("tls.cert_file", "cert.pem")
        .flag("tls.key_file", "no/such/key.pem")
        .flag("tls.port", "8080");
    let complaints = operator.load().unwrap_err();
    let text = complaints.to_string();
    assert_eq!(complaints.faults.len(), 2, "{text}");
    assert!(text.contains("no/such/key.pem") && text.contains("cannot be read"), "{text}");
    assert!(text.contains("the same as server.port"), "{text}");
    let operator = operator.file("key.pem", "").flag("tls.key_file", "key.pem").flag("tls.port", "8443");
    assert!(operator.loaded().config.tls.enabled);
}

/// docs/cluster.md: a cluster has a Redis and a secret.
#[test]
fn what_a_cluster_needs_is_told_at_once() {
    let cluster = operator().flag("cluster.engine", "redis");
    let text = cluster.flag("group.enabled", "true").flag("group.redis", "127.0.0.1:6379").complaints();
    for expected in ["2 faults", "cluster.endpoint", "cluster.secret_file"] {
        assert!(text.contains(expected), "{text}");
    }
    let text = operator().flag("cluster.engine", "redis").file("secret", "short").flag("cluster.secret_file", "secret");
    let alone = text.flag("cluster.endpoint", "127.0.0.1:6379").flag("group.enabled", "true");
    let text = alone.loaded().warnings.join("\n");
    assert!(!text.contains("group.redis"), "{text}");
    let several = operator().flag("cluster.engine", "redis").flag("cluster.endpoint", "127.0.0.1:6379,127.0.0.1:6380");
    let text = several.flag("group.enabled", "true").complaints();
    assert!(text.contains("group.redis") && text.contains("one server of Redis"), "{text}");
}

/// docs/cluster.md: what the chat keeps for ever is in the memory of Redis.
#[test]
fn a_chat_that_fills_the_redis_of_a_cluster_is_warned_of() {
    let warned = |operator: Operator| operator.loaded().warnings.join("\n").contains("chat.retention_days is 0");
    let alone = || operator().flag("chat.enabled", "true").var("LETSHARE_CHAT_JWT_SECRET", LONG);
    let cluster = || {
        let cluster = alone().flag("cluster.engine", "redis").flag("cluster.endpoint", "127.0.0.1:6379");
        cluster.file("secret", &"0123456789abcdef".repeat(4)).flag("cluster.secret_file", "secret")
    };
    assert!(warned(cluster()) && !warned(alone()));
    assert!(!warned(cluster().flag("chat.retention_days", "30")));
    assert!(!warned(cluster().flag("chat.mongodb_host", "10.0.0.7")));
}

/// docs/architecture.md §8: all conflicts at once, each with the origin of the value.
#[test]
fn two_owners_of_one_path_are_refused() {
    let text = operator()
        .var("LETSHARE_RELAY_ENABLED", "true")
        .var("LETSHARE_RELAY_WS_PATH", "/ws")
        .flag("relay.health_path", "/health")
        .complaints();
    for expected in [
        "2 faults",
        "the path /ws on port 8080 is claimed by LetShare as well (letshare.enabled, set by built-in default)",
        "the path /health on port 8080 is claimed by operations as well",
        "set by:  environment variable LETSHARE_RELAY_WS_PATH",
        "set by:  command line",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_path_gets_its_slash_and_a_warning() {
    let loaded = operator().flag("relay.ws_path", "sockets").loaded();
    assert_eq!(loaded.config.relay.ws_path, "/sockets");
    let warnings = loaded.warnings.join("\n");
    assert!(warnings.contains("relay.ws_path = sockets lacks"), "{warnings}");
    for bad in ["", "/a b", "/{id}", "//x", "/x/", "/x?y"] {
        let text = operator().flag("relay.ws_path", bad).complaints();
        assert!(text.contains("relay.ws_path"), "{text}");
    }
}

/// docs/protocols/relay.md §1: flag > LETSHARE_… > file > older variable > built-in.
#[test]
fn the_older_relay_configuration_counts_in_its_mode() {
    let relay = || operator().var("MODE", "relay");
    let built_in = relay().loaded().config;
    assert_eq!(built_in.relay.port, Some(3000));
    assert_eq!(built_in.relay.ws_path, "/ws");
    assert_eq!(built_in.relay.push_path, "/api/push");
    assert!(built_in.relay.enabled && !built_in.letshare.enabled);

    let by_variables =
        || relay().var("PORT", "3001").var("WS_PATH", "/sockets").var("RELAY_API_KEY", LONG).var("PUSH_PATH", "");
    let loaded = by_variables().loaded();
    assert_eq!(loaded.config.relay.port, Some(3001));
    assert_eq!(loaded.config.relay.api_key.expose_secret(), LONG);
    assert_eq!(loaded.config.relay.push_path, "/api/push");
    let warnings = loaded.warnings.join("\n");
    assert!(warnings.contains("PUSH_PATH is empty"), "{warnings}");

    let file = "{\n \"port\": 3002,\n \"api_key\": \"abc\",\n \"ws_path\": \"\"}";
    let by_file = || by_variables().file("config.json", file);
    let loaded = by_file().loaded();
    assert_eq!(loaded.config.relay.port, Some(3002));
    assert_eq!(loaded.config.relay.ws_path, "/sockets");
    assert_eq!(loaded.config.relay.api_key.expose_secret(), "abc");
    let setting = |key: &str| {
        let mut settings = loaded.settings.iter();
        let setting = settings.find(|setting| setting.key == key).unwrap();
        (setting.shown.clone(), setting.origin.to_string())
    };
    assert!(setting("relay.api_key").1.ends_with("config.json:3"));
    assert!(!setting("relay.api_key").0.contains("abc"));
    let ours = by_file().var("LETSHARE_RELAY_PORT", "3003").loaded();
    assert_eq!(ours.config.relay.port, Some(3003));

    let elsewhere = operator().var("PORT", "3001").file("config.json", file).loaded();
    assert_eq!(elsewhere.config.relay.port, None);
}

/// docs/protocols/relay.md §1: a broken file is left alone; line and column are told.
#[test]
fn a_broken_config_json_is_left_alone() {
    let broken = "{\"port\": \"3001\",\n  oops}";
    let operator = operator().var("MODE", "relay").file("config.json", broken);
    let loaded = operator.loaded();
    assert_eq!(loaded.config.relay.port, Some(3000));
    let warnings = loaded.warnings.join("\n");
    assert!(warnings.contains("line 2, column 3"), "{warnings}");
    assert!(warnings.contains("data/relay-key.json"), "{warnings}");
    let path = operator.folder.path().join("config.json");
    assert_eq!(fs::read_to_string(path).unwrap(), broken);
}

/// docs/protocols/relay.md §1: known weak keys.
#[test]
fn published_relay_keys_stay_at_home() {
    let key = "U2FsdGVkX18ucQzBA+ozhc3ySrVZ";
    let abroad = operator().var("MODE", "relay").var("RELAY_API_KEY", key);
    let text = abroad.complaints();
    assert!(text.contains("relay.api_key") && !text.contains(key), "{text}");
    let open = abroad.flag("allow_insecure", "true").loaded();
    assert!(open.warnings.join("\n").contains("is published"));
    let home = operator().var("MODE", "relay").var("RELAY_API_KEY", "your_secure_key").flag("server.host", "127.0.0.1");
    assert!(home.loaded().warnings.join("\n").contains("published secrets in use: relay.api_key"));
}

#[test]
fn relay_clients_that_prove_themselves_need_a_secret() {
    let proof = operator().flag("relay.enabled", "true").flag("relay.identify", "jwt");
    let text = proof.complaints();
    assert!(text.contains("relay.identify_secret"), "{text}");
    proof.flag("relay.identify_secret", LONG).loaded();
}

#[test]
fn settings_of_ably() {
    let at_home = operator().loaded().config.ably;
    assert!(at_home.enabled && at_home.keys_over_http && !at_home.sandbox);
    assert_eq!(at_home.apps_file, None);
    assert!(!Config::for_tests().ably.keys_over_http, "but in MODE=local");

    let sandbox = operator().var("LETSHARE_ABLY_SANDBOX", "true");
    assert!(sandbox.loaded().config.ably.sandbox);
    let abroad = sandbox
        .var("LETSHARE_SERVER_HOST", "0.0.0.0")
        .var("LETSHARE_JWT_SECRET", LONG)
        .var("SERVER_AUTH_SECRET", "abcdef0123456789abcdef0123456789");
    let warnings = abroad.loaded().warnings.join("\n");
    assert!(warnings.contains("everybody who can reach it can make apps"), "{warnings}");

    let file = operator().flag("ably.apps_file", "apps.yaml");
    let text = file.complaints();
    assert!(text.contains("ably.apps_file") && text.contains("cannot be read"), "{text}");
    let file = file.file("apps.yaml", "apps: []");
    assert!(file.loaded().config.ably.apps_file.is_some_and(|path| path.ends_with("apps.yaml")));
    let off = operator().flag("ably.apps_file", "apps.yaml").flag("ably.enabled", "false");
    assert!(!off.loaded().config.ably.enabled);
}

#[test]
fn published_and_short_secrets_stay_at_home() {
    let at_home = operator().loaded();
    // findings N1: one line for all of them.
    assert_eq!(at_home.warnings.len(), 1, "{:?}", at_home.warnings);

    let abroad = operator().flag("server.host", "0.0.0.0");
    let text = abroad.complaints();
    assert!(text.contains("2 faults"), "{text}");
    for expected in ["LETSHARE_JWT_SECRET", "SERVER_AUTH_SECRET", "openssl rand -hex 32"] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(!text.contains("letshare-jwt-secret-key"), "{text}");

    // Only the kind of token that is switched on matters.
    let text = abroad.flag("auth.mode", "jwt").complaints();
    assert!(text.contains("1 fault") && text.contains("LETSHARE_JWT_SECRET"), "{text}");

    let short = operator()
        .flag("server.host", "192.168.1.2")
        .flag("auth.mode", "static")
        .var("SERVER_AUTH_SECRET", "thirty-one bytes are not enough");
    assert!(short.complaints().contains("only 31 bytes"));
    let open = short.flag("allow_insecure", "true").loaded();
    assert!(open.config.allow_insecure);
    assert_eq!(open.warnings.len(), 1, "{:?}", open.warnings);

    // Empty is no secret anywhere.
    let empty = operator().flag("jwt.secret", "").var("LETSHARE_ALLOW_INSECURE", "true");
    assert!(empty.complaints().contains("empty: anybody"));
}

#[test]
fn nothing_secret_is_shown() {
    let canary = "canary-1f0e";
    let operator = operator()
        .file("configs/local.yaml", &format!("jwt:\n  secrt: {canary}\nauth:\n  secret: [{canary}]\n"))
        .var("LETSHARE_JWT_SECRT", canary)
        .var("LETSHARE_JWT_SECRET", canary)
        .var("LETSHARE_SERVER_HOST", "0.0.0.0")
        .flag("jwt.sercet", canary);
    let complaints = operator.load().unwrap_err();
    assert_eq!(complaints.faults.len(), 5, "{complaints}");
    assert!(!format!("{complaints} {complaints:?}").contains(canary), "{complaints}");

    let operator = super::tests::operator().var("LETSHARE_JWT_SECRET", canary);
    assert!(!format!("{:?}", operator.loaded()).contains(canary));
}

#[test]
fn a_file_that_is_not_yaml_is_named_with_its_line() {
    let text = operator().file("configs/local.yaml", "server:\n  port: [1\n").complaints();
    assert!(text.contains("not valid YAML") && text.contains("configs/local.yaml:"), "{text}");
    let text = operator().file("configs/local.yaml", "log:\n  dir: a\n  dir: b\n").complaints();
    assert!(text.contains("set twice") || text.contains("duplicate"), "{text}");
}

#[test]
fn older_tls_keys_are_accepted_with_a_warning() {
    let file = "tls:\n  auto_cert: true\n  domain: letshare.fun\n";
    let loaded = operator().file("configs/local.yaml", file).loaded();
    let text = loaded.warnings.join("\n");
    assert!(text.contains("tls.auto_cert is not supported") && text.contains("certbot"), "{text}");
    assert!(text.contains("tls.domain is not supported"), "{text}");
}

#[test]
fn two_names_for_one_secret_must_agree() {
    let operator = operator().var("SERVER_AUTH_SECRET", LONG).var("LETSHARE_AUTH_SECRET", LONG);
    operator.loaded();
    let text = operator.var("LETSHARE_AUTH_SECRET", "x").complaints();
    assert!(text.contains("set differently"), "{text}");
}

#[test]
fn variables_that_kubernetes_makes_are_recognised() {
    let text = operator()
        .var("LETSHARE_SERVER_PORT", "tcp://10.0.0.7:8080")
        .var("LETSHARE_SERVICE_HOST", "10.0.0.7")
        .complaints();
    assert_eq!(text.matches("enableServiceLinks").count(), 2, "{text}");
}

#[test]
fn control_characters_of_a_value_do_not_reach_the_terminal() {
    let text = operator().flag("log.level", "a\u{1b}[2J\nb").complaints();
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert!(text.contains("\\n"), "{text}");
}
