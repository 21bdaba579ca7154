//! WebSocket conformance: the 247 cases of Autobahn's suite that are about neither volume (9.*) nor
//! compression (12.*, 13.*, not negotiated), run by the PyPI package `kosoku` against an echo
//! behind our own edge: guard, actix-ws decoding, connection actor, outbox body.
//!
//! `tests/run` puts kosoku into `tests/.cache/venv`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use letshare_server::{
    actors::{
        transport::context::{ProtocolHandler, TransportContext},
        worker::Worker,
    },
    app,
    clock::Clock,
    config::Config,
    core::{
        command::Answer,
        frame,
        message::Entry,
        rules::Terms,
        window::Bounds,
        wire::{Slot, WireFormat},
    },
    edge::{
        admission::Admission,
        guard::MessageLimits,
        websocket::{Entrance, note_descriptor},
    },
    ids::ChannelName,
    log::memory::MemoryLog,
};
use serde::Deserialize;

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

/// Sends every message back.
struct Echo;

impl ProtocolHandler for Echo {
    fn format(&self) -> &'static dyn WireFormat {
        &NoEntries
    }

    fn text(&mut self, text: ByteString, link: &mut TransportContext<'_>) {
        link.send_text(text.as_bytes());
    }

    fn binary(&mut self, data: Bytes, link: &mut TransportContext<'_>) {
        // A text frame with the other opcode (RFC 6455 §5.2).
        let mut frame = BytesMut::from(frame::text(&data));
        frame[0] = 0x82;
        link.send_frame(frame.freeze());
    }

    fn answered(&mut self, _: &ChannelName, _: Answer, _: &mut TransportContext<'_>) {}
}

/// The echo attaches to no channel.
struct NoEntries;

impl WireFormat for NoEntries {
    fn slot(&self) -> Slot {
        Slot::LetShareJson
    }

    fn encode(&self, _: &Entry) -> Bytes {
        Bytes::new()
    }
}

async fn echo(
    request: HttpRequest,
    payload: web::Payload,
    entrance: web::Data<Entrance>,
) -> actix_web::Result<HttpResponse> {
    let permit = entrance.admit(&request).unwrap();
    Ok(entrance.upgrade(&request, payload, permit, Box::new(Echo)).await.expect("a handshake"))
}

#[actix_web::test]
async fn all_cases_of_the_conformance_suite_pass() {
    let mut config = Config::defaults().unwrap();
    // The suite sends as fast as it can.
    config.limits.publishes_per_second = 0;
    let window = Bounds { age: Duration::ZERO, entries: 1, bytes: 1 << 20 };
    let broker = Arc::new(app::broker(
        &config,
        Clock::system(),
        Arc::new(MemoryLog::new(window, 1 << 20)),
        Arc::new(Terms::default()),
    ));
    let admission = Admission::new(&config.limits);
    let limits = MessageLimits {
        max_message_bytes: config.websocket.max_message_bytes,
        max_fragments: config.websocket.max_fragments,
    };
    let server = HttpServer::new(move || {
        let entrance = Entrance {
            worker: Worker::on_this_thread(&broker),
            admission: admission.clone(),
            trusted_proxies: Arc::default(),
            limits,
        };
        App::new().app_data(web::Data::new(entrance)).default_service(web::to(echo))
    })
    .on_connect(note_descriptor)
    .workers(1)
    .bind("127.0.0.1:0")
    .unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);

    let verdicts = web::block(move || run_suite(address)).await.unwrap();
    handle.stop(false).await;

    let failed: Vec<_> = verdicts.iter().filter(|(_, verdict)| !verdict.is_conformant()).collect();
    assert!(failed.is_empty(), "{} cases failed: {failed:#?}", failed.len());
    assert_eq!(verdicts.len(), CASES);
}
