//! The relay (docs/protocols/relay.md): a back end pushes by HTTP to everybody, or to one of many users.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::{
    crowd::Population,
    dialect::{Dialect, ServerFrame, Target, refusal},
    older::{
        Case, OlderDialect, Side,
        answers::{Answers, Keptalive},
    },
    stamp::Envelope,
    subject::Subject,
    traffic::Pace,
    wire,
};

/// Of this tool's servers only.
const API_KEY: &str = "of-the-load-tool-only-0123456789abcdef";
const SETTINGS: &[(&str, &str)] = &[
    ("LETSHARE_RELAY_ENABLED", "true"),
    ("LETSHARE_RELAY_API_KEY", API_KEY),
    // So that a client knows when it is there.
    ("LETSHARE_RELAY_IDENTIFY_ACK", "true"),
    ("LETSHARE_RELAY_STATS_PATH", "/relay/stats"),
];
/// Kept connections that push: as many as LetShare's publisher has messages on their way.
const BACK_ENDS: usize = 8;
/// Until everybody is counted.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom a push is for.
#[derive(PartialEq, Eq)]
enum Aim {
    Everybody,
    /// The user whose token is the name of the room.
    User,
    /// A user that is not there.
    Nobody,
}

/// A frame that is no push.
#[derive(Deserialize)]
struct Other {
    event: String,
}

struct Relay {
    name: &'static str,
    aim: Aim,
}

static BROADCAST: Relay = Relay { name: "relay", aim: Aim::Everybody };
static PUSH: Relay = Relay { name: "relay push", aim: Aim::User };
static MISS: Relay = Relay { name: "relay miss", aim: Aim::Nobody };

pub fn cases(quick: bool) -> Vec<Case> {
    let (receivers, users) = if quick { (50, 100) } else { (1_000, 10_000) };
    let inside = |rooms, members| Population { rooms, members, publishers: 1, outside: false, echo: false };
    let outside = |rooms, members| Population { outside: true, publishers: BACK_ENDS, ..inside(rooms, members) };
    let letshare = |name, population| Side { name, dialect: Dialect::LetShare, population };
    let relay =
        |dialect: &'static Relay, population| Side { name: dialect.name, dialect: Dialect::Older(dialect), population };
    vec![
        Case {
            name: "relay-broadcast",
            title: format!("relay broadcast to {receivers}"),
            paces: &[Pace::Paced, Pace::Saturated],
            sides: vec![letshare("letshare", inside(1, receivers + 1)), relay(&BROADCAST, outside(1, receivers))],
            settings: SETTINGS,
            alone: &[],
        },
        Case {
            name: "relay-push",
            title: format!("relay push to one of {users}"),
            paces: &[Pace::Paced, Pace::Saturated],
            sides: vec![
                letshare("letshare, fan-out to 1", inside(1, 2)),
                letshare("letshare, one of as many sockets", inside(users / 2, 2)),
                relay(&PUSH, outside(users, 1)),
            ],
            settings: SETTINGS,
            alone: &[("a push to a user who is not there", missed), ("a request with a wrong key (401)", turned_away)],
        },
    ]
}

impl OlderDialect for Relay {
    fn name(&self) -> &'static str {
        self.name
    }

    fn publishes_by_http(&self) -> bool {
        true
    }

    fn acknowledges(&self) -> bool {
        true
    }

    fn envelope(&self, data_bytes: usize) -> Envelope {
        Envelope::new(data_bytes, false, b",\"ts\":")
    }

    fn upgrade_request(&self, target: &Target, _: &str) -> String {
        wire::upgrade(&target.address.to_string(), "/relay/ws")
    }

    /// Everybody of a room is the same user; of the room of all, a user too (§3).
    fn join(&self, channel: &str) -> Result<Vec<u8>> {
        Ok(format!(r#"{{"event":"identify","data":{{"token":"{channel}"}}}}"#).into_bytes())
    }

    fn publish(&self, target: &Target, channel: &str, data: &str, _: u32) -> Result<Vec<u8>> {
        let token = match self.aim {
            Aim::Everybody => "null".to_owned(),
            Aim::User => format!("\"{channel}\""),
            Aim::Nobody => "\"nobody\"".to_owned(),
        };
        Ok(request(target, API_KEY, data, &token))
    }

    fn read(&self, payload: &[u8]) -> ServerFrame {
        if payload.starts_with(b"{\"event\":\"signal:all\"") {
            return ServerFrame::Message;
        }
        let other = serde_json::from_slice::<Other>(payload);
        match other {
            Ok(other) if other.event == "identified" => ServerFrame::Joined,
            _ => refusal(payload),
        }
    }

    /// An identified client may not be in the channel of all yet (§5).
    fn gathered(&self, target: &Target, population: Population) -> Result<()> {
        let expected = format!("\"connections\":{},", population.rooms * population.members);
        let mut line = Keptalive::open(target)?;
        let deadline = Instant::now() + PATIENCE;
        let asked = format!("GET /relay/stats HTTP/1.1\r\nHost: {}\r\nX-API-KEY: {API_KEY}\r\n\r\n", target.address);
        loop {
            let (_, body) = line.ask(asked.as_bytes())?;
            if body.contains(&expected) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "waited for {expected} and got {body}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What clients of the kind of Node's `fetch` send, without the headers that name them.
fn request(target: &Target, key: &str, data: &str, token: &str) -> Vec<u8> {
    let event = wire::EVENT;
    let body = format!(r#"{{"event_name":"{event}","subject":{data},"token":{token}}}"#);
    format!(
        "POST /relay/api/push HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nX-API-KEY: {key}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        target.address,
        body.len()
    )
    .into_bytes()
}

fn missed(subject: &Subject, data_bytes: usize, time: Duration) -> Result<Answers> {
    let data = filler(data_bytes);
    let request = MISS.publish(&subject.target, "", &data, 0)?;
    Answers::measure(subject, &request, "200", time).context("pushing to nobody")
}

fn turned_away(subject: &Subject, data_bytes: usize, time: Duration) -> Result<Answers> {
    let request = request(&subject.target, "wrong", &filler(data_bytes), "null");
    Answers::measure(subject, &request, "401", time).context("pushing with a wrong key")
}

fn filler(data_bytes: usize) -> String {
    format!(r#"{{"x":"{}"}}"#, "x".repeat(data_bytes.saturating_sub(8)))
}
