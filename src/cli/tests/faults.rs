//! findings P3: `config check` and the start are one function. Every fault that the start can find before it opens a
//! port, with the words and the place that an operator is told.

use std::fs;

use rcgen::generate_simple_self_signed;

use super::*;

/// An operator's folder, in which the pair `own.pem`, `own.key` fits, `other.key` is of another certificate, and what a
/// fault needs lies beside them.
struct Fault {
    /// Settings as variables, without their `LETSHARE_`; `MODE` as it is.
    vars: &'static [(&'static str, &'static str)],
    files: &'static [(&'static str, &'static str)],
    /// What is told, all of it in one run.
    told: &'static [&'static str],
}

const FAULTS: &[Fault] = &[
    Fault {
        vars: &[("TLS_ENABLED", "true"), ("TLS_CERT_FILE", "own.pem"), ("TLS_KEY_FILE", "other.key")],
        files: &[],
        told: &["1 fault:", "tls.key_file = ", "is not the key of the first certificate", "LETSHARE_TLS_KEY_FILE"],
    },
    Fault {
        vars: &[("TLS_ENABLED", "true"), ("TLS_CERT_FILE", "empty.pem"), ("TLS_KEY_FILE", "empty.pem")],
        files: &[("empty.pem", "")],
        told: &["2 faults:", "holds no certificate", "holds no private key", "LETSHARE_TLS_CERT_FILE"],
    },
    Fault {
        vars: &[("TLS_ENABLED", "true"), ("TLS_CERT_FILE", "no.pem"), ("TLS_KEY_FILE", "own.key")],
        files: &[],
        told: &["1 fault:", "tls.cert_file = ", "cannot be read"],
    },
    Fault {
        vars: &[("TLS_ENABLED", "true")],
        files: &[],
        told: &["2 faults:", "tls.cert_file", "tls.key_file", "missing, and tls.enabled is true"],
    },
    Fault {
        vars: &[("ABLY_APPS_FILE", "apps.yaml")],
        files: &[("apps.yaml", "apps:\n  - id: x\n    kees: []\n")],
        told: &["2 faults:", "apps.yaml: apps", "there is no such key", "six characters", "LETSHARE_ABLY_APPS_FILE"],
    },
    Fault {
        vars: &[("ABLY_APPS_FILE", "apps.yaml")],
        files: &[("apps.yaml", "apps: [")],
        told: &["1 fault:", "ably.apps_file = ", "apps.yaml: "],
    },
    Fault {
        vars: &[],
        files: &[("data/ably-key.json", "{}")],
        told: &["1 fault:", "data.dir = ", "ably-key.json is damaged"],
    },
    Fault {
        vars: &[("DATA_DIR", "own.pem/data")],
        files: &[],
        told: &["1 fault:", "data.dir = ", "own.pem is not a folder", "LETSHARE_DATA_DIR"],
    },
    Fault { vars: &[("LOG_DIR", "own.pem")], files: &[], told: &["1 fault:", "log.dir = ", "is not a folder"] },
    Fault {
        vars: &[("GROUP_ENABLED", "true"), ("GROUP_BLACKLIST_FILE", "blacklist")],
        files: &[("blacklist", "10.0.0.0/8\nnonsense\n\n10.0.0.0/33 # x\n")],
        told: &["2 faults:", "blacklist:2: not an IP", "blacklist:4: not an IP", "LETSHARE_GROUP_BLACKLIST_FILE"],
    },
    Fault {
        vars: &[("CHAT_ENABLED", "true"), ("CHAT_JWT_SECRET", LONG), ("CHAT_WORDS_FILE", "words")],
        files: &[("words", "fine\n(open\n[z-a]\n")],
        told: &["2 faults:", "words:2: ", "words:3: ", "LETSHARE_CHAT_WORDS_FILE"],
    },
    #[cfg(feature = "mongo")]
    Fault {
        vars: &[("CHAT_ENABLED", "true"), ("CHAT_JWT_SECRET", LONG), ("CHAT_MONGODB_URI", "mongodb+srv://u:canary@h/")],
        files: &[],
        told: &["1 fault:", "chat.mongodb_uri", "mongodb+srv:// is not supported", "LETSHARE_CHAT_MONGODB_URI"],
    },
    #[cfg(feature = "mongo")]
    Fault {
        vars: &[("CHAT_ENABLED", "true"), ("CHAT_JWT_SECRET", LONG), ("CHAT_MONGODB_URI", "postgres://u:canary@h/")],
        files: &[],
        told: &["1 fault:", "chat.mongodb_uri", "must be like mongodb://", "LETSHARE_CHAT_MONGODB_URI"],
    },
    Fault {
        vars: &[
            ("CHAT_ENABLED", "true"),
            ("CHAT_JWT_SECRET", LONG),
            ("CHAT_BAIDU_API_KEY", "k"),
            ("CHAT_BAIDU_SECRET_KEY", "s"),
            ("CHAT_BAIDU_BASE_URL", "https://aip.baidubce.com/?q=1"),
        ],
        files: &[],
        told: &["1 fault:", "chat.baidu_base_url = ", "without a query", "LETSHARE_CHAT_BAIDU_BASE_URL"],
    },
    Fault {
        vars: &[("SERVER_HOST", "0.0.0.0"), ("GROUP_ENABLED", "true"), ("POSTOFFICE_ENABLED", "true")],
        files: &[],
        told: &["4 faults:", "auth.secret", "jwt.secret", "group.jwt_secret", "postoffice.auth", "openssl rand"],
    },
    // Of every kind at once: what is wrong with a value does not hide what is wrong with a file.
    Fault {
        vars: &[
            ("SERVER_PORT", "99999"),
            ("LOG_LEVEL", "loud"),
            ("ABLY_APPS_FILE", "apps.yaml"),
            ("GROUP_ENABLED", "true"),
            ("GROUP_BLACKLIST_FILE", "blacklist"),
        ],
        files: &[("apps.yaml", "apps: ["), ("blacklist", "nonsense")],
        told: &["4 faults:", "server.port = \"99999\"", "log.level", "apps.yaml: ", "blacklist:1: "],
    },
];

const LONG: &str = "0123456789abcdef0123456789abcdef";

fn folder_of(fault: &Fault) -> (tempfile::TempDir, Environment) {
    let (folder, mut environment) = environment(&[]);
    for (certificate, key) in [("own.pem", "own.key"), ("other.pem", "other.key")] {
        let issued = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join(certificate), issued.cert.pem()).unwrap();
        fs::write(folder.path().join(key), issued.signing_key.serialize_pem()).unwrap();
    }
    for (name, text) in fault.files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    for (name, value) in fault.vars {
        environment.vars.insert(format!("LETSHARE_{name}"), (*value).to_owned());
    }
    (folder, environment)
}

/// What a command says on stderr when it refuses.
fn refusal(command: &[&str], environment: &Environment) -> String {
    let cli = Cli::try_parse_from([&["letshare-server"], command].concat()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = run(&cli, environment, &clock(), &mut out, &mut err);
    let said = String::from_utf8(err).unwrap();
    assert!(matches!(outcome, Outcome::Done(false)), "{command:?} {outcome:?} {said}");
    assert!(out.is_empty());
    said
}

/// findings P3: the check finds what the start finds, in the same words; all of it, each with its origin.
#[test]
fn the_check_and_the_start_refuse_the_same() {
    for fault in FAULTS {
        let (folder, environment) = folder_of(fault);
        let before = names(folder.path());
        let check = refusal(&["config", "check"], &environment);
        assert_eq!(check, refusal(&["serve"], &environment));
        for told in fault.told {
            assert!(check.contains(told), "{told:?} is not in\n{check}");
        }
        assert!(!check.contains("canary"), "{check}");
        assert_eq!(names(folder.path()), before, "looking writes nothing");
    }
}

/// The same settings with files as they should be are valid.
#[cfg(feature = "mongo")]
#[test]
fn good_files_are_valid() {
    let fault = Fault {
        vars: &[
            ("TLS_ENABLED", "true"),
            ("TLS_CERT_FILE", "own.pem"),
            ("TLS_KEY_FILE", "own.key"),
            ("ABLY_APPS_FILE", "apps.yaml"),
            ("GROUP_ENABLED", "true"),
            ("GROUP_BLACKLIST_FILE", "blacklist"),
            ("CHAT_ENABLED", "true"),
            ("CHAT_JWT_SECRET", LONG),
            ("CHAT_WORDS_FILE", "words"),
            ("CHAT_MONGODB_URI", "mongodb://u:p@h:1/?replicaSet=r"),
        ],
        files: &[("apps.yaml", "apps: []"), ("blacklist", "10.0.0.0/8"), ("words", "a.b")],
        told: &[],
    };
    let (_folder, environment) = folder_of(&fault);
    let prepared = app::load(&environment, &[], &clock()).unwrap_or_else(|complaints| panic!("{complaints}"));
    assert!(prepared.certificate.is_some() && prepared.moderation.is_some() && prepared.mongodb.is_some());
    assert_eq!(prepared.blacklist.len(), 1);
}

fn names(folder: &std::path::Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}
