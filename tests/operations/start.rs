//! What the first lines say, and what a server makes of the limits that it was started with.

use std::fs;

use tempfile::TempDir;

use crate::support::{eventually, process::ServerProcess};

/// findings P8: the soft limit of open files becomes the hard one.
#[tokio::test]
async fn the_descriptor_limit_is_raised() {
    let folder = TempDir::new().expect("a folder");
    let launcher = ["sh", "-c", "ulimit -Sn 300 && ulimit -Hn 2000 && exec \"$0\" \"$@\""];
    let server = ServerProcess::try_start(folder.path(), &launcher, "local", &[]).expect("it starts");
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.id())).expect("it runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(line.split_whitespace().nth(3), Some("2000"), "{line}");
    // findings P19.
    let descriptors = server.metrics().await["system"]["descriptors"].clone();
    assert_eq!(descriptors["allowed"], 2_000);
    assert!(descriptors["open"].as_u64().is_some_and(|open| (5..2_000).contains(&open)), "{descriptors}");
    server.terminate().await;
}

/// findings P8: what is promised and cannot be kept is told, whichever protocol promises it.
#[tokio::test]
async fn a_descriptor_limit_below_what_is_configured_is_a_warning() {
    for (mode, key, settings) in [
        ("group", "group.max_connections", [("GROUP_PORT", "0"), ("GROUP_MAX_CONNECTIONS", "10000")]),
        ("postoffice", "postoffice.max_connections", [("POSTOFFICE_PORT", "0"), ("POSTOFFICE_MAX_CONNECTIONS", "900")]),
        ("local", "limits.connections", [("LIMITS_CONNECTIONS", "901"), ("LIMITS_CHANNELS", "1000")]),
    ] {
        let folder = TempDir::new().expect("a folder");
        let launcher = ["sh", "-c", "ulimit -n 900 && exec \"$0\" \"$@\""];
        let server = ServerProcess::try_start(folder.path(), &launcher, mode, &settings).expect("it starts");
        let told =
            format!("{key} is {}", settings.iter().find(|(name, _)| name.ends_with("CONNECTIONS")).expect("set").1);
        let is_told = || server.errors_log().contains(&told);
        while !is_told() {
            tokio::task::yield_now().await;
        }
        assert!(server.errors_log().contains("with a limit of 900 open files only 810 are safe"));
        server.terminate().await;
    }
}

/// findings P11: the first lines tell the settings file, the folders, the ports and the protocols; a settings file that
/// is not used, although somebody may think so, is a warning.
#[tokio::test]
async fn the_first_lines_say_where_everything_is() {
    let root = TempDir::new().expect("a folder");
    let (here, above) = (root.path().join("here"), root.path().join("configs/production.yaml"));
    fs::create_dir_all(&here).expect("a folder");
    fs::create_dir_all(above.parent().expect("a folder")).expect("a folder");
    fs::write(&above, "limits: {channels: 7}\n").expect("written");
    let server = ServerProcess::try_start(&here, &[], "production", &[]).expect("it starts");
    let folder = fs::canonicalize(&here).expect("a folder");
    for told in [
        "settings from the built-in configs/production.yaml",
        &format!("data in {0}/data, warnings and errors in {0}/logs/errors.log", folder.display()),
        "configs/production.yaml is not used",
        r#""protocols":"operations, Ably, LetShare""#,
    ] {
        // Logs are written by a thread of their own.
        eventually(async || server.written().contains(told).then_some(())).await;
    }
    server.terminate().await;

    let beside = here.join("configs/production.yaml");
    fs::create_dir_all(beside.parent().expect("a folder")).expect("a folder");
    fs::write(&beside, "jwt: {secret: not-the-published-secret-but-another-one}\n").expect("written");
    let server = ServerProcess::try_start(&here, &[], "production", &[]).expect("it starts");
    let told = format!("settings from {}", fs::canonicalize(&beside).expect("there").display());
    eventually(async || server.written().contains(&told).then_some(())).await;
    server.terminate().await;
}
