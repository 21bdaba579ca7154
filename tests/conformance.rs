//! WebSocket conformance: the 247 cases of Autobahn's suite that are about neither volume (9.*) nor
//! compression (12.*, 13.*, not negotiated), run by the PyPI package `kosoku` against an echo
//! behind our own edge (`support::echo`): guard, actix-ws decoding, connection actor, outbox body.
//!
//! `tests/run` puts kosoku into `tests/.cache/venv`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use actix_web::web;
use serde::Deserialize;

use crate::support::echo_server::EchoServer;

/// What the suite holds today; another number means that cases were dropped without a word.
const CASES: usize = 247;

/// `index.json` of the report: agent -> case -> verdicts.
type Report = BTreeMap<String, BTreeMap<String, Verdict>>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    /// Of the exchange of messages.
    behavior: String,
    /// Of the closing handshake.
    behavior_close: String,
}

impl Verdict {
    /// NON-STRICT is conformant (say, invalid UTF-8 refused at the end of a message and not in its
    /// middle); INFORMATIONAL is where the RFC leaves the choice.
    fn is_conformant(&self) -> bool {
        ["OK", "NON-STRICT", "INFORMATIONAL"].contains(&self.behavior.as_str())
            && ["OK", "INFORMATIONAL"].contains(&self.behavior_close.as_str())
    }
}

/// The runner that `tests/run` installed.
fn kosoku() -> PathBuf {
    let path = std::env::var_os("KOSOKU")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache/venv/bin/kosoku"), PathBuf::from);
    assert!(path.is_file(), "{} is missing: run tests/run once, it installs what the tests need", path.display());
    path
}

/// Runs the suite against `server`; the verdict of each case.
fn run_suite(server: SocketAddr) -> BTreeMap<String, Verdict> {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(kosoku())
        .args(["--parallelism", "8", "--outdir"])
        .arg(folder.path())
        .args(["-x", "9.*", "-x", "12.*", "-x", "13.*"])
        .arg(server.to_string())
        .output()
        .unwrap();
    let report = std::fs::read(folder.path().join("index.json")).unwrap_or_else(|error| {
        panic!("kosoku wrote no report ({error}); it said:\n{}", String::from_utf8_lossy(&output.stderr))
    });
    let report: Report = serde_json::from_slice(&report).unwrap();
    assert_eq!(report.len(), 1, "one server was tested");
    report.into_values().next().unwrap()
}

#[actix_web::test]
async fn all_cases_of_the_conformance_suite_pass() {
    let server = EchoServer::start(0);
    let address = server.address;
    let verdicts = web::block(move || run_suite(address)).await.unwrap();
    server.stop().await;

    let failed: Vec<_> = verdicts.iter().filter(|(_, verdict)| !verdict.is_conformant()).collect();
    assert!(failed.is_empty(), "{} cases failed: {failed:#?}", failed.len());
    assert_eq!(verdicts.len(), CASES);
}
