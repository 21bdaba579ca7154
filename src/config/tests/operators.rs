//! What operators met with their settings: the rows of docs/findings/ that the tests name.

use super::*;

/// findings P2: a secret with white space around it is refused with its place, in every protocol and from every place.
#[test]
fn a_secret_with_a_trailing_newline_is_refused_with_its_place() {
    let secrets = || Key::all().filter(|key| matches!(key.kind, Kind::Secret | Kind::Code));
    assert!(secrets().count() > 10);
    for bad in [format!("{LONG}\n"), format!(" {LONG}"), format!("{LONG}\r\n")] {
        let operator = secrets().fold(operator(), |operator, key| operator.var(&key.variable(), &bad));
        let text = operator.complaints();
        assert_eq!(text.matches("begins or ends with white space").count(), secrets().count(), "{text}");
        for key in secrets() {
            assert!(text.contains(&format!("environment variable {}\n", key.variable())), "{}: {text}", key.name);
        }
        assert!(!text.contains(LONG), "{text}");
    }
    let older = [
        ("local", "SERVER_AUTH_SECRET", "environment variable SERVER_AUTH_SECRET"),
        ("relay", "RELAY_API_KEY", "environment variable RELAY_API_KEY"),
        ("chat", "CHAT_JWT_SECRET", "environment variable CHAT_JWT_SECRET"),
        ("group", "GROUP_AUTH_ACCESSSECRET", "environment variable GROUP_AUTH_ACCESSSECRET"),
    ];
    for (mode, variable, place) in older {
        let text = operator().var("MODE", mode).var(variable, &format!("{LONG}\n")).complaints();
        assert!(text.contains("white space") && text.contains(place), "{text}");
    }
    let files = [
        ("relay", "config.json", format!("{{\n\"api_key\": \"{LONG}\\n\"}}"), "config.json:2"),
        ("chat", "config.yaml", format!("Jwt:\n  Secret: |\n    {LONG}\n"), "config.yaml:2"),
        ("local", "configs/local.yaml", format!("group:\n  service_key: \"{LONG}\\n\"\n"), "configs/local.yaml:2"),
    ];
    for (mode, file, content, place) in files {
        let text = operator().file(file, &content).var("MODE", mode).complaints();
        assert!(text.contains("white space") && text.contains(place), "{file}: {text}");
    }
}

/// findings P12: whatever the key, an empty variable is one that is not set.
#[test]
fn an_empty_variable_counts_as_unset() {
    let shown = |loaded: &Loaded| -> Vec<String> {
        let by_variable = |setting: &Setting| matches!(setting.origin, Origin::Variable(_));
        assert!(!loaded.settings.iter().any(by_variable));
        loaded.settings.iter().map(|setting| setting.shown.clone()).collect()
    };
    let unset = shown(&operator().loaded());
    let blank = operator().var("SERVER_AUTH_SECRET", "").var("LETSHARE_NO_SUCH_KEY", "");
    let loaded = Key::all().fold(blank, |operator, key| operator.var(&key.variable(), "")).loaded();
    assert_eq!(shown(&loaded), unset);
    assert!(!loaded.config.cors.allowed_origins.is_empty());
}

/// Any other text is a value: commas and blanks are the empty list, and are refused where they are no value.
#[test]
fn commas_and_blanks_are_values() {
    const SPACES: &str = "begins or ends with white space";
    /// Taken, but not shown as it is.
    const SECRET: &str = "";
    let empty = "empty: anybody could make tokens";
    for (variable, texts) in [
        ("LETSHARE_SERVER_METRICS_FROM", [None, None, None]),
        ("LETSHARE_CORS_ALLOWED_ORIGINS", [None, None, None]),
        ("LETSHARE_GROUP_ALLOWED_ORIGINS", [None, None, None]),
        ("LETSHARE_SERVER_TRUSTED_PROXIES", [None, None, None]),
        ("LETSHARE_SERVER_PORT", [Some("not a whole number"); 3]),
        ("LETSHARE_RELAY_PORT", [Some("not a port"); 3]),
        ("LETSHARE_TLS_ENABLED", [Some("neither true nor false"); 3]),
        ("LETSHARE_SERVER_HOST", [Some("not an IP address"); 3]),
        ("LETSHARE_HISTORY_WINDOW", [Some("not a duration"); 3]),
        ("LETSHARE_AUTH_MODE", [Some("not one of the known words"); 3]),
        ("LETSHARE_LOG_LEVEL", [Some("does not name a level"); 3]),
        ("LETSHARE_AUTH_SECRET", [Some("it has only 1 bytes"), Some(empty), Some(SPACES)]),
        ("LETSHARE_JWT_SECRET", [Some("it has only 1 bytes"), Some(empty), Some(SPACES)]),
        ("LETSHARE_RELAY_API_KEY", [Some(SECRET), Some(SPACES), Some(SPACES)]),
        ("LETSHARE_GROUP_REDIS", [Some("the port is missing"); 3]),
        ("LETSHARE_ABLY_APPS_FILE", [Some("cannot be read"); 3]),
    ] {
        for (text, expected) in [",", " ", " , "].into_iter().zip(texts) {
            // Other machines can reach it, so that a short secret is a fault.
            let open = operator().var("LETSHARE_SERVER_HOST", "0.0.0.0");
            let operator = open.var("LETSHARE_JWT_SECRET", LONG).var("LETSHARE_AUTH_SECRET", LONG).var(variable, text);
            let told = operator.load();
            match (told, expected) {
                (Ok(loaded), None | Some(SECRET)) => {
                    let origin = Origin::Variable(variable.to_owned());
                    let setting = loaded.settings.iter().find(|setting| setting.origin == origin).unwrap();
                    assert!(expected.is_some() || setting.shown == text, "{variable}={text:?}: {}", setting.shown);
                }
                (Err(complaints), Some(expected)) if !expected.is_empty() => {
                    let told = complaints.to_string();
                    assert!(told.contains("1 fault:") && told.contains(expected), "{variable}={text:?}: {told}");
                    assert!(told.contains(&format!("environment variable {variable}")), "{variable}={text:?}: {told}");
                }
                (told, expected) => panic!("{variable}={text:?}: {expected:?}, {:?}", told.map(|loaded| loaded.mode)),
            }
        }
    }
    let loaded = operator().var("LETSHARE_SERVER_METRICS_FROM", ",").loaded();
    assert!(loaded.config.server.metrics_from.is_empty());
}

/// Who makes the tokens has the secret; one that an operator makes up would refuse all of them.
#[test]
fn a_secret_that_others_sign_with_is_not_made_up() {
    let open = || operator().var("LETSHARE_SERVER_HOST", "0.0.0.0").flag("letshare.enabled", "false");
    let of_signers = "to the secret that the tokens are signed with, at least 32 bytes";
    for (key, more) in [
        ("chat.jwt_secret", ("chat.enabled", "true")),
        ("group.jwt_secret", ("group.enabled", "true")),
        ("postoffice.jwt_secret", ("postoffice.auth", "jwt")),
        ("relay.identify_secret", ("relay.identify", "jwt")),
    ] {
        let section = key.split_once('.').unwrap().0;
        let operator = || open().flag(&format!("{section}.enabled"), "true").flag(more.0, more.1);
        for value in ["", "short"] {
            let told = operator().flag(key, value).complaints();
            let about = told.split("\n\n").find(|fault| fault.contains(&format!(". {key}\n"))).unwrap_or(&told);
            assert!(about.contains(of_signers) && !about.contains("openssl"), "{key}={value}: {told}");
        }
    }
    let told = open().flag("chat.enabled", "true").flag("chat.jwt_secret", "short").complaints();
    let cause = "it has only 5 bytes and can be guessed: whoever guesses it can make tokens, from other machines too \
                 (server.host is 0.0.0.0). To mend it, set the environment variable LETSHARE_CHAT_JWT_SECRET";
    assert!(told.contains(cause), "{told}");
}

/// findings P16: a byte order mark is taken in every file of settings.
#[test]
fn a_byte_order_mark_is_taken_everywhere() {
    let files = [
        ("local", "configs/local.yaml", "server:\n  port: 1001\n", "server.port"),
        ("relay", "config.json", "{\"port\": 1001}", "relay.port"),
        ("chat", "config.yaml", "Port: 1001\n", "chat.port"),
        ("group", "etc/websocket.yaml", "Port: 1001\n", "group.port"),
        ("postoffice", ".env/config-dev.json", "{\"socketPort\": 1001}", "postoffice.port"),
    ];
    for (mode, file, content, key) in files {
        let operator = operator().var("MODE", mode).var("CHAT_JWT_SECRET", LONG).flag("server.host", "127.0.0.1");
        let path = operator.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("\u{feff}{content}")).unwrap();
        let loaded = operator.loaded();
        let setting = loaded.settings.iter().find(|setting| setting.key == key).unwrap();
        assert_eq!(setting.shown, "1001", "{file}: {:?}", loaded.warnings);
    }
}

/// findings P18: whatever the key, a variable that Kubernetes made is told as one, not as a bad value.
#[test]
fn kubernetes_variables_have_one_rule() {
    let all = Key::all().fold(operator(), |operator, key| operator.var(&key.variable(), "tcp://10.0.0.7:8080"));
    let text = all.complaints();
    let count = Key::all().count();
    assert!(text.contains(&format!("{count} faults:")), "{text}");
    assert_eq!(text.matches("enableServiceLinks").count(), count, "{text}");
    for key in Key::all() {
        assert!(text.contains(&format!("set by:  environment variable {}\n", key.variable())), "{text}");
    }
    for (name, value) in [
        ("LETSHARE_RELAY_SERVICE_PORT_HTTP", "3000"),
        ("LETSHARE_RELAY_PORT_3000_TCP_ADDR", "10.0.0.7"),
        ("LETSHARE_PORT", "udp://10.0.0.7:1"),
    ] {
        assert!(operator().var(name, value).complaints().contains("enableServiceLinks"), "{name}");
    }
    // The older servers' prefixes: the name of a setting is refused, another one is told.
    let group = operator().var("MODE", "group").var("GROUP_PORT", "tcp://10.0.0.7:8889");
    assert!(group.complaints().contains("enableServiceLinks"));
    let group = operator().var("MODE", "group").var("GROUP_SERVICE_HOST", "10.0.0.7");
    assert!(group.loaded().warnings.join("\n").contains("enableServiceLinks"));
    // A misspelt key is not one of those.
    let text = operator().var("LETSHARE_GROUP_SERVICE_KEYS", LONG).complaints();
    assert!(text.contains("did you mean LETSHARE_GROUP_SERVICE_KEY?"), "{text}");
}

/// findings O7: a flag that another mode reads is refused and names the mode.
#[test]
fn a_flag_of_another_mode_is_refused_and_names_it() {
    for (flag, mode) in [("-f", "group"), ("--env", "postoffice")] {
        for other in ["local", "production", "relay", "chat"] {
            let operator = operator().var("MODE", other).flag(flag, "etc/x").flag("server.port", "99999");
            let text = operator.complaints();
            let told = format!("{flag} = \"etc/x\"\n     problem: only MODE={mode} reads it, and this is MODE={other}");
            assert!(text.contains(&told) && text.contains("command line"), "{text}");
            assert!(text.contains("server.port = \"99999\""), "all faults at once: {text}");
        }
        let own = operator().var("MODE", mode).flag(flag, "etc/x").complaints();
        assert!(!own.contains("only MODE"), "{own}");
    }
    let warnings = operator().var("CHAT_JWT_SECRET", LONG).var("RELAY_API_KEY", LONG).loaded().warnings.join("\n");
    assert!(warnings.contains("CHAT_JWT_SECRET has no effect: only MODE=chat reads it"), "{warnings}");
    assert!(warnings.contains("RELAY_API_KEY has no effect: only MODE=relay reads it"), "{warnings}");
}

/// findings O8: LetShare's older `production.yaml` has no `server.host`, and its server listened on every address.
#[test]
fn an_older_production_file_listens_on_every_address() {
    let file = "server:\n  port: 8080\nlog:\n  level: info\n";
    let older = || operator().file("configs/production.yaml", file).var("MODE", "production");
    let safe =
        || older().var("LETSHARE_JWT_SECRET", LONG).var("SERVER_AUTH_SECRET", "abcdef0123456789abcdef0123456789");
    let loaded = safe().loaded();
    assert_eq!(loaded.config.server.host.to_string(), "0.0.0.0");
    let host = loaded.settings.iter().find(|setting| setting.key == "server.host").unwrap();
    assert_eq!(host.shown, "0.0.0.0");
    assert!(host.origin.to_string().ends_with("(built-in copy)"), "{}", host.origin);

    let loaded = older().loaded();
    assert_eq!(loaded.config.server.host.to_string(), "127.0.0.1");
    let warnings = loaded.warnings.join("\n");
    assert!(warnings.contains("has no server.host") && warnings.contains("auth.secret, jwt.secret"), "{warnings}");

    let said = safe().flag("server.host", "127.0.0.1").loaded();
    assert_eq!(said.config.server.host.to_string(), "127.0.0.1");
    assert!(said.warnings.is_empty(), "{:?}", said.warnings);
    assert_eq!(operator().file("configs/local.yaml", file).loaded().config.server.host.to_string(), "127.0.0.1");
}

/// findings O17: a key in other letters, or nearly right, is told with the one that was meant; in all of the older
/// files.
#[test]
fn an_unknown_key_of_an_older_file_names_the_one_it_nearly_is() {
    for (mode, file, content, meant) in [
        ("chat", "config.yaml", "jwt:\n  secret: x\n", "did you mean Jwt.Secret?"),
        ("chat", "config.yaml", "port: 8009\n", "did you mean Port?"),
        ("relay", "config.json", "{\"apikey\": \"x\"}", "did you mean api_key?"),
        ("postoffice", ".env/config-dev.json", "{\"socketport\": 7502}", "did you mean socketPort?"),
        ("group", "etc/websocket.yaml", "AllowedOrigin: []\n", "did you mean allowedorigins?"),
    ] {
        let operator = operator().var("MODE", mode).var("CHAT_JWT_SECRET", LONG);
        let path = operator.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let warnings = operator.loaded().warnings.join("\n");
        assert!(warnings.contains(meant), "{file}: {warnings}");
    }
    let group = operator().var("MODE", "group").var("GROUP_AUTH_ACCESSECRET", LONG).loaded().warnings.join("\n");
    assert!(group.contains("did you mean GROUP_AUTH_ACCESSSECRET?"), "{group}");
    assert!(operator().var("MODE", "Production").complaints().contains("did you mean production?"));
}

/// findings S8: no value that is shown has the user part of an address in it, of whichever kind its key is: it may be
/// where none belongs.
#[test]
fn the_user_part_of_an_address_is_never_shown() {
    let address = "http://canary-user:canary-word@host.example:1/path";
    let mut kinds = Vec::new();
    for key in Key::all() {
        let kind = std::mem::discriminant(&key.kind);
        if kinds.contains(&kind) {
            continue;
        }
        kinds.push(kind);
        let operator = operator().flag(key.name, address);
        let told = match operator.load() {
            Ok(loaded) => format!("{:?} {:?}", loaded.settings, loaded.warnings),
            Err(complaints) => complaints.to_string(),
        };
        assert!(!told.contains("canary"), "{}: {told}", key.name);
    }
    let loaded = operator().flag("chat.baidu_base_url", address).loaded();
    let setting = loaded.settings.iter().find(|setting| setting.key == "chat.baidu_base_url").unwrap();
    assert_eq!(setting.shown, "http://******@host.example:1/path");
    for key in ["chat.mongodb_host", "group.redis"] {
        let text = operator().flag(key, "canary-user:canary-word@host:1").complaints();
        assert!(text.contains("******@host:1") && !text.contains("canary"), "{text}");
    }
    assert_eq!(masked("a://u@h b://h/p@q, c://x:y@z@h"), "a://******@h b://h/p@q, c://******@h");
}

/// A key that has another name now is read under the old one, from every place, with a warning that names both.
#[test]
fn an_old_name_is_read_with_a_warning() {
    let places = [
        operator().file("configs/local.yaml", "postoffice:\n  mailbox_letters: 7\n"),
        operator().var("LETSHARE_POSTOFFICE_MAILBOX_LETTERS", "7"),
        operator().flag("postoffice.mailbox_letters", "7"),
    ];
    for operator in places {
        let loaded = operator.loaded();
        assert_eq!(loaded.config.postoffice.mailbox_messages, 7);
        let warnings = loaded.warnings.join("\n");
        let told =
            "postoffice.mailbox_letters is called postoffice.mailbox_messages now; the old name is read until version";
        assert!(warnings.contains(told), "{warnings}");
    }
    let both = "postoffice:\n  mailbox_letters: 7\n  mailbox_messages: 8\n";
    assert!(operator().file("configs/local.yaml", both).complaints().contains("set twice"));
}
