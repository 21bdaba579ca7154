//! `admin …`: the admin API of a running server, for people and scripts. Tables for people, JSON lines for programs (`--json`);
//! nothing is coloured. What a stream tells is written as it comes.

mod client;
mod table;

use std::{
    io::{self, BufRead as _, Read as _, Write},
    path::PathBuf,
};

use argon2::{Argon2, PasswordHash, PasswordHasher as _};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Report;
use crate::config::Config;
use client::{Client, Fault};
use table::{Table, printable};

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Command {
    /// Another server than the configured one, as http://host:port.
    #[arg(long, global = true)]
    url: Option<String>,
    /// Holds the password of that server; without it the one of the settings is used.
    #[arg(long, global = true, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Write one JSON value a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    ask: Ask,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 refused or not reached (the reason is on stderr), 2 the arguments are wrong.

Examples:
  letshare-server admin connections --client-id anna
  letshare-server admin channels --prefix orders: --json
  letshare-server admin tail demo
  letshare-server admin publish demo 'hello' --name greeting
  letshare-server admin disconnect 42
  letshare-server admin block anna";

#[derive(Subcommand)]
enum Ask {
    /// The connections of the server, the oldest first.
    Connections {
        #[arg(long)]
        app: Option<String>,
        #[arg(long)]
        client_id: Option<String>,
        /// Ably, LetShare, relay, chat, group or postoffice.
        #[arg(long)]
        protocol: Option<String>,
        #[arg(long)]
        address: Option<String>,
    },
    /// The channels of an app that are open, by name.
    Channels {
        #[arg(long)]
        app: Option<String>,
        /// Names that begin with it.
        #[arg(long)]
        prefix: Option<String>,
    },
    /// The servers that share their channels: those that hold a lease.
    Nodes,
    /// Follow a channel: messages, their changes, presence and annotations as they come.
    Tail {
        channel: String,
        #[arg(long)]
        app: Option<String>,
    },
    /// Publish a message.
    Publish {
        channel: String,
        /// A text.
        data: String,
        #[arg(long)]
        name: Option<String>,
        #[arg(long)]
        app: Option<String>,
        /// The data is JSON.
        #[arg(long)]
        as_json: bool,
    },
    /// End a connection, by its id. Its client may come back.
    Disconnect { id: u64 },
    /// Take back the tokens of a client, and end its connections.
    Block {
        client_id: String,
        #[arg(long)]
        app: Option<String>,
    },
    /// Make the Argon2 hash of a password for console.password; it is read from standard input.
    Hash,
}

pub(super) fn run(command: &Command, config: &Config, out: &mut dyn Write) -> Report {
    ask(command, config, out).map_or_else(|fault| Report::from(Err(fault)), Report::good)
}

/// What is left to say at the end.
fn ask(command: &Command, config: &Config, out: &mut dyn Write) -> Result<String, Fault> {
    if let Ask::Hash = command.ask {
        return hash();
    }
    let mut client = Client::new(config, command.url.as_deref(), command.password_file.as_deref())?;
    let is_json = command.json;
    match &command.ask {
        Ask::Connections { app, client_id, protocol, address } => {
            let filter = [("app", app), ("clientId", client_id), ("protocol", protocol), ("address", address)];
            let columns =
                ["id", "clientId", "protocol", "address", "ageSeconds", "attachments", "bytesWaiting", "agent"];
            list(&mut client, "connections", &filter, &Table::new(&columns), is_json, out)
        }
        Ask::Channels { app, prefix } => {
            let columns = ["name", "connections", "publishers", "subscribers", "presenceMembers"];
            list(&mut client, "channels", &[("app", app), ("prefix", prefix)], &Table::new(&columns), is_json, out)
        }
        Ask::Nodes => {
            let columns = ["id", "isThis", "ready", "connections", "channels", "uptimeSeconds", "version"];
            list(&mut client, "nodes", &[], &Table::new(&columns), is_json, out)
        }
        Ask::Tail { channel, app } => tail(&mut client, channel, app.as_deref(), is_json, out),
        Ask::Publish { channel, data, name, app, as_json } => {
            let data = if *as_json {
                serde_json::from_str(data).map_err(|error| Fault::Data(error.to_string()))?
            } else {
                Value::from(data.as_str())
            };
            let body = json!({"app": app, "channel": channel, "name": name, "data": data});
            client.post("publish", &body).map(|answer| answer.to_string())
        }
        Ask::Disconnect { id } => client.delete(&format!("connections/{id}")).map(|answer| answer.to_string()),
        Ask::Block { client_id, app } => {
            let answer = client.post("block", &json!({"app": app, "clientId": client_id}))?;
            if is_json {
                return Ok(answer.to_string());
            }
            let mut text = format!("ended: {}\n", answer["ended"]);
            for key in answer["keys"].as_array().into_iter().flatten() {
                let outcome = key["reason"].as_str().map_or("its tokens are revoked".to_owned(), |why| {
                    format!("not revoked, so whoever has such a token or the key can come back: {why}")
                });
                text += &format!("{}: {outcome}\n", key["key"].as_str().unwrap_or_default());
            }
            text += &format!("note: {}\n", answer["caveat"].as_str().unwrap_or_default());
            Ok(text)
        }
        Ask::Hash => hash(),
    }
}

/// All pages of a list.
fn list(
    client: &mut Client,
    what: &str,
    filter: &[(&str, &Option<String>)],
    table: &Table,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<String, Fault> {
    let mut filter: Vec<(&str, String)> =
        filter.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?.clone()))).collect();
    let mut is_first = true;
    loop {
        let page = client.get(what, &filter)?;
        let rows = page["items"].as_array().map_or(&[][..], Vec::as_slice);
        let written = if is_json {
            rows.iter().try_for_each(|row| writeln!(out, "{row}"))
        } else {
            table.write(rows, is_first, out)
        };
        if written.is_err() {
            return Ok(String::new());
        }
        is_first = false;
        let next = match &page["next"] {
            Value::Null => return Ok(String::new()),
            Value::String(text) => text.clone(),
            number => number.to_string(),
        };
        filter.retain(|(name, _)| *name != "after");
        filter.push(("after", next));
    }
}

/// What the number of an action says, by the event that has it.
const fn actions(event: &str) -> &'static [&'static str] {
    match event.as_bytes() {
        b"presence" => &["absent", "present", "enter", "leave", "update"],
        b"annotation" => &["create", "delete"],
        _ => &["", "update", "delete", "meta", "summary", "append"],
    }
}

fn tail(
    client: &mut Client,
    channel: &str,
    app: Option<&str>,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<String, Fault> {
    let mut event = String::new();
    for line in io::BufReader::new(client.follow(channel, app)?).lines() {
        let line = line.map_err(|error| Fault::Broken(error.to_string()))?;
        if let Some(name) = line.strip_prefix("event:") {
            name.trim().clone_into(&mut event);
        }
        let Some(data) = line.strip_prefix("data:").map(str::trim_start) else { continue };
        let Ok(data) = serde_json::from_str::<Value>(data) else { continue };
        let said = if is_json { json!({"event": event, "data": data}).to_string() } else { shown(&event, &data) };
        if writeln!(out, "{said}").and_then(|()| out.flush()).is_err() {
            return Ok(String::new());
        }
    }
    Err(Fault::Broken("the server has ended it".to_owned()))
}

fn shown(event: &str, data: &Value) -> String {
    let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
    let millis = data["timestamp"].as_i64().unwrap_or_default();
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default().strftime("%H:%M:%S").to_string();
    let number = data["action"].as_u64().and_then(|number| usize::try_from(number).ok());
    let action = number.and_then(|number| actions(event).get(number)).copied().unwrap_or_default();
    // The message that it is about.
    let about = match (event, action) {
        ("annotation", _) => text("messageSerial"),
        ("message", "update" | "delete" | "append" | "summary") => text("serial"),
        _ => String::new(),
    };
    let body = match (&data["data"], &data["annotations"]["summary"]) {
        (Value::Null, Value::Null) => String::new(),
        (Value::Null, summary) => summary.to_string(),
        (Value::String(text), _) => text.clone(),
        (other, _) => other.to_string(),
    };
    let about = if about.is_empty() { about } else { format!("of {about}") };
    let words = [time, event.to_owned(), action.to_owned(), about, text("clientId"), text("type"), text("name"), body];
    let words = words.iter().filter(|word| !word.is_empty()).map(|word| printable(word));
    words.collect::<Vec<_>>().join("  ")
}

fn hash() -> Result<String, Fault> {
    let mut password = String::new();
    io::stdin().read_to_string(&mut password).map_err(|error| Fault::Data(error.to_string()))?;
    let password = password.trim_end_matches(['\r', '\n']).as_bytes();
    if password.is_empty() {
        return Err(Fault::Data("standard input holds no password".to_owned()));
    }
    let hash = Argon2::default().hash_password_with_salt(password, &rand::random::<[u8; 16]>());
    hash.map(|hash: PasswordHash| hash.to_string()).map_err(|error| Fault::Data(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_called_by_their_names() {
        for (event, data, line) in [
            ("message", json!({"action": 0, "name": "n", "data": "x"}), "message  n  x"),
            ("message", json!({"action": 2, "serial": "s", "name": "n"}), "message  delete  of s  n"),
            (
                "message",
                json!({"action": 4, "serial": "s", "annotations": {"summary": {"r:flag.v1": {"total": 1}}}}),
                r#"message  summary  of s  {"r:flag.v1":{"total":1}}"#,
            ),
            ("presence", json!({"action": 2, "clientId": "a", "data": {"x": 1}}), r#"presence  enter  a  {"x":1}"#),
            ("presence", json!({"action": 3, "clientId": "a"}), "presence  leave  a"),
            ("presence", json!({"action": 4, "clientId": "a\u{202e}"}), "presence  update  a?"),
            (
                "annotation",
                json!({"action": 1, "messageSerial": "s", "clientId": "a", "type": "r:flag.v1", "name": "n"}),
                "annotation  delete  of s  a  r:flag.v1  n",
            ),
        ] {
            assert_eq!(shown(event, &data), format!("00:00:00  {line}"));
        }
    }
}
