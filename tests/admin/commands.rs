//! `letshare-server admin` beside a server and real connections.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PASSWORD, server};
use crate::support::{Client, Server};

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// The command, and the folder that it runs in.
fn admin(server: &Server, arguments: &[&str]) -> (Command, TempDir) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_letshare-server"));
    command.env_clear().current_dir(folder.path()).arg("admin");
    command.args(["--url", &format!("http://{}", server.address), "--password-file", file.to_str().unwrap()]);
    command.args(arguments);
    (command, folder)
}

async fn run(server: &Server, arguments: &[&str]) -> Said {
    let (mut command, _folder) = admin(server, arguments);
    let out = tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: out.status.code(), out: text(out.stdout), err: text(out.stderr) }
}

#[tokio::test]
async fn tables_for_people_and_json_for_programs() {
    let server = server(|config| config.ably.local_key = true);
    let mut anna = Client::join(&server, "anna:1", "demo").await;
    let table = run(&server, &["connections"]).await;
    assert_eq!(table.code, Some(0), "{}", table.err);
    let lines: Vec<&str> = table.out.lines().collect();
    assert!(lines[0].starts_with("id ") && lines[0].contains("clientId"), "{}", table.out);
    assert!(lines[1].contains("anna:1") && lines[1].contains("LetShare"), "{}", table.out);
    let json = run(&server, &["channels", "--json"]).await;
    let row: Value = serde_json::from_str(json.out.lines().next().unwrap()).expect("JSON");
    assert_eq!((row["name"].as_str(), row["connections"].as_u64()), (Some("demo"), Some(1)));

    let nodes = run(&server, &["nodes"]).await.out;
    assert!(nodes.lines().nth(1).is_some_and(|line| line.contains(env!("CARGO_PKG_VERSION"))), "{nodes}");
    assert_eq!(run(&server, &["publish", "demo", "hello", "--name", "signal:all"]).await.code, Some(0));
    assert_eq!(anna.next().await["data"], "hello");
    let id = run(&server, &["connections", "--json"]).await.out;
    let id = serde_json::from_str::<Value>(id.lines().next().unwrap()).unwrap()["id"].to_string();
    assert_eq!(run(&server, &["disconnect", &id]).await.code, Some(0));
    assert_eq!(u16::from(anna.expect_close().await.unwrap().code), 1008);

    let refused = run(&server, &["disconnect", "999999"]).await;
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
    assert!(refused.err.contains("no connection of this server has this id"), "{}", refused.err);
    let blocked = run(&server, &["block", "evil"]).await;
    assert!(blocked.out.contains("ended: 0") && blocked.out.contains("not revoked"), "{}", blocked.out);
    assert!(blocked.out.contains("note: ") && blocked.out.contains("any clientId (*)"), "{}", blocked.out);
    assert_eq!(run(&server, &["nonsense"]).await.code, Some(2));
    // A hash opens nothing, and says what would.
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_letshare-server"));
    command.env_clear().current_dir(folder.path());
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0$qrvBFkJXVqbTWkQ0PLtFCAqIUKiyHPPZbtB2U0pPmZc";
    command.env("LETSHARE_CONSOLE_PASSWORD", hash).args(["admin", "channels"]);
    let out = tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.unwrap();
    let told = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.code() == Some(1) && told.contains("is a hash") && told.contains("--password-file"), "{told}");
}

#[tokio::test]
async fn tail_says_what_is_published_as_it_comes() {
    let server = server(|config| config.ably.local_key = true);
    let (mut command, _folder) = admin(&server, &["tail", "demo"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut anna = Client::join(&server, "anna:1", "demo").await;
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        line
    });
    tokio::pin!(read);
    // Until it is attached nothing of it comes.
    let line = loop {
        anna.publish("demo", "greeting", json!({"text": "hello there"})).await;
        anna.subscribe("demo", "greeting").await;
        tokio::select! {
            biased;
            line = &mut read => break line.unwrap(),
            () = tokio::task::yield_now() => {}
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("message") && line.contains("greeting") && line.contains("hello there"), "{line}");
}
