//! `docs/protocols/chat.md §1`: `config.yaml` of the older server and its variables, and what is refused.

use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use crate::chat::house::{SECRET, load};

fn folder(file: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("config.yaml"), file).expect("written");
    folder
}

#[test]
fn a_start_with_the_settings_file_of_the_older_server() {
    let dir = folder(&format!(
        "Port: 8010\nJwt: {{ Secret: \"{SECRET}\" }}\nMongodb: {{ Host: \"db.local\", Port: 27018, Username: u, \
         Password: p }}\nRedis: {{ Addr: \"127.0.0.1:6379\" }}\nBaidu: {{ ApiKey: a, SecretKey: s, Suspect: allow, \
         TimeoutMs: 1500 }}\nCors: {{ Origins: [\"http://a.example\"] }}\n"
    ));
    let loaded = load(&[], dir.path()).expect("valid");
    let chat = &loaded.config.chat;
    assert_eq!(chat.port, Some(8010));
    assert_eq!(chat.jwt_secret.expose_secret(), SECRET);
    assert_eq!((&*chat.mongodb_host, chat.mongodb_port), ("db.local", 27_018));
    assert_eq!((&*chat.mongodb_username, &*chat.mongodb_database), ("u", "zulme"));
    assert_eq!(chat.mongodb_password.expose_secret(), "p");
    assert_eq!(chat.baidu_timeout.as_millis(), 1_500);
    assert_eq!(chat.allowed_origins, ["http://a.example"]);
    assert!(chat.uses_mongodb());
    let warnings = loaded.warnings.join("\n");
    assert!(warnings.contains("Redis is not used"), "{warnings}");
    // The variables win.
    let vars = [("CHAT_MONGODB_URI", "mongodb://other"), ("CHAT_BAIDU_API_KEY", "b"), ("CHAT_X", "1")];
    let loaded = load(&vars, dir.path()).expect("valid");
    assert_eq!(loaded.config.chat.mongodb_uri.expose_secret(), "mongodb://other");
    assert_eq!(loaded.config.chat.baidu_api_key.expose_secret(), "b");
    let warnings = loaded.warnings.join("\n");
    assert!(warnings.contains("CHAT_X is no setting of the chat"), "{warnings}");
}

#[test]
fn the_defaults_of_the_profile() {
    let nowhere = TempDir::new().expect("a folder");
    let loaded = load(&[("CHAT_JWT_SECRET", SECRET)], nowhere.path()).expect("valid");
    let chat = &loaded.config.chat;
    assert!(chat.enabled && chat.port == Some(8009) && !chat.uses_mongodb());
    assert_eq!((&*chat.ws_path, &*chat.health_path), ("/ws/chat", "/health"));
    assert_eq!(chat.allowed_origins, ["http://localhost:3000", "http://localhost:8080"]);
    let warnings = loaded.warnings.join("\n");
    assert!(warnings.contains("moderation by Baidu is off"), "{warnings}");
}

/// Published and short secrets, and none at all.
#[test]
fn secrets() {
    let nowhere = TempDir::new().expect("a folder");
    let said = |secret: &str, more: &[(&str, &str)]| -> Result<String, String> {
        let mut vars = vec![("CHAT_JWT_SECRET", secret)];
        vars.extend(more);
        match load(&vars, nowhere.path()) {
            Ok(loaded) => Ok(loaded.warnings.join("\n")),
            Err(complaints) => Err(complaints.to_string()),
        }
    };
    let local = [("LETSHARE_SERVER_HOST", "127.0.0.1")];
    let insecure = [("LETSHARE_ALLOW_INSECURE", "true")];
    for (secret, why) in [("2209", "published"), ("short", "only 5 bytes")] {
        let refused = said(secret, &[]).expect_err("refused");
        assert!(refused.contains("chat.jwt_secret") && refused.contains(why), "{refused}");
        assert!(!refused.contains(secret) || secret == "short", "{refused}");
        for more in [local, insecure] {
            let warned = said(secret, &more).expect("it starts");
            assert!(warned.contains(why), "{warned}");
        }
    }
    let refused = said("", &local).expect_err("refused");
    assert!(refused.contains("empty: nobody could connect"), "{refused}");
    assert!(!said(SECRET, &[]).expect("it starts").contains("jwt_secret is"));
}

#[test]
fn what_is_wrong_is_told() {
    let dir = folder("Jwt: { Secret: x\n");
    let complaints = load(&[("CHAT_JWT_SECRET", SECRET)], dir.path()).expect_err("no YAML");
    assert!(complaints.to_string().contains("config.yaml"), "{complaints}");
    let dir = folder("Port: many\nBaidu: { ApiKey: a }\n");
    let vars = [
        ("CHAT_JWT_SECRET", SECRET),
        ("LETSHARE_CHAT_TIMEZONE", "Mars/Olympus"),
        ("LETSHARE_CHAT_WORDS_FILE", "missing.txt"),
    ];
    let text = load(&vars, dir.path()).expect_err("refused").to_string();
    for part in ["chat.port", "config.yaml:1", "not a known time zone", "chat.words_file", "chat.baidu_secret_key"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // A port that cannot be read is one fault, not also a quarrel about the paths of the shared port.
    assert!(text.starts_with("the configuration has 4 faults"), "{text}");

    // Why the secret is missing.
    let dir = folder("Jwt: { Secert: a secret }\n");
    let text = load(&[], dir.path()).expect_err("refused").to_string();
    assert!(text.contains("empty: nobody could connect"), "{text}");
    assert!(!text.contains("allowed: a text, or empty"), "{text}");
    assert!(text.contains("config.yaml:1: \"Jwt.Secert\" is no setting of the chat"), "{text}");
}
