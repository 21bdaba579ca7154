//! Log lines hold nobody up (docs/architecture.md §9).

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{PATIENCE, raw};

/// Ends with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn metrics(address: SocketAddr) -> Value {
    let answer = raw::get(address, "/metrics", "").await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    serde_json::from_str(body).expect("JSON")
}

/// findings B11: with pages that are refused, a stdout that is read up to the first lines only, and a stderr that is full
/// already, requests are answered, dropped lines are counted, and SIGTERM ends the server.
#[tokio::test]
async fn pipes_that_nobody_reads_stop_nothing() {
    let folder = TempDir::new().expect("a folder");
    let (_unread, mut full) = std::io::pipe().expect("a pipe");
    // The capacity of a pipe, unless somebody has changed it (pipe(7)).
    full.write_all(&[b'x'; 65_536]).expect("it fits");
    let mut process = Command::new(env!("CARGO_BIN_EXE_letshare-server"))
        .current_dir(folder.path())
        .env_clear()
        .env("MODE", "local")
        .env("LETSHARE_SERVER_HOST", "127.0.0.1")
        .env("LETSHARE_SERVER_PORT", "0")
        // Several lines for each request.
        .env("LETSHARE_LOG_LEVEL", "trace,mio=trace,actix_http=trace")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(full)
        .spawn()
        .map(Process)
        .expect("it runs");
    let mut stdout = BufReader::new(process.0.stdout.take().expect("piped"));
    let address = loop {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).expect("readable") > 0, "the server ended");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        if line["message"] == "listening" {
            break line["fields"]["address"].as_str().expect("text").parse().expect("an address");
        }
    };
    let mut asked = 0;
    while metrics(address).await["log"]["stdout_dropped"] == 0 {
        for _ in 0..100 {
            let answer = raw::get(address, "/health", "Origin: https://evil.example\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
            asked += 1;
        }
    }
    assert!(metrics(address).await["refusals"]["origin"].as_u64() >= Some(asked));
    let id = Pid::from_raw(process.0.id().try_into().expect("a process id"));
    signal::kill(id, Signal::SIGTERM).expect("it runs");
    let ended = tokio::task::spawn_blocking(move || process.0.wait().expect("our child"));
    let status = tokio::time::timeout(PATIENCE, ended).await.expect("it ends").expect("no panic");
    assert_eq!(status.code(), Some(0));
    drop(stdout);
}
