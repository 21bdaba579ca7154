//! The curves, one function each: it prepares a server of its own with `n` of something, and measures.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    Cost, Curve,
    client::{Client, Http, mode},
    server::{KEY, Server},
};

pub const ALL: &[Curve] = &[
    Curve {
        row: "G1",
        what: "a page of history that ends at the oldest of n persisted messages",
        sizes: [500, 2_000, 8_000, 16_000],
        measure: oldest_page,
    },
    Curve {
        row: "G1",
        what: "a page of presence history behind n persisted messages",
        sizes: [500, 2_000, 8_000, 16_000],
        measure: presence_history,
    },
    Curve {
        row: "G2",
        what: "the first attach with rewind=1, n persisted messages",
        sizes: [250, 500, 1_000, 2_000],
        measure: first_rewind,
    },
    Curve { row: "G3", what: "resume among n members and clients", sizes: [50, 100, 200, 400], measure: resume },
    Curve { row: "G4", what: "a request by a token with n resources", sizes: [10, 30, 60, 120], measure: long_token },
    Curve { row: "G5", what: "one more revocation, n there", sizes: [500, 1_000, 2_000, 4_000], measure: revocation },
    Curve { row: "G6", what: "a page of channels, n there", sizes: [500, 2_000, 8_000, 16_000], measure: channels },
    Curve { row: "G7", what: "SYNC of n members, for each", sizes: [250, 500, 1_000, 2_000], measure: sync },
    Curve { row: "G8", what: "n members cut at once, for each", sizes: [250, 500, 1_000, 2_000], measure: cut },
    Curve {
        row: "G8",
        what: "n members cut at once before 20 who look on, for each",
        sizes: [250, 500, 1_000, 2_000],
        measure: cut_before_others,
    },
    Curve { row: "G8", what: "n members close, for each", sizes: [250, 500, 1_000, 2_000], measure: close },
    Curve {
        row: "G9",
        what: "publish to nobody among n attachments",
        sizes: [100, 300, 900, 2_700],
        measure: publish_to_nobody,
    },
    Curve {
        row: "G10",
        what: "the oldest page of a window of n",
        sizes: [1_000, 4_000, 16_000, 64_000],
        measure: deep_page,
    },
    Curve {
        row: "G11",
        what: "REST presence of n, for each",
        sizes: [500, 1_000, 2_000, 4_000],
        measure: rest_presence,
    },
    Curve {
        row: "G12",
        what: "attach without presence, n members",
        sizes: [250, 1_000, 4_000, 8_000],
        measure: attach_without_presence,
    },
    Curve {
        row: "G13",
        what: "n qualified names of one connection",
        sizes: [250, 500, 1_000, 2_000],
        measure: qualified,
    },
    Curve {
        row: "G14",
        what: "n idle attached channels, each a second",
        sizes: [1_000, 2_000, 4_000, 8_000],
        measure: idle_channels,
    },
    Curve {
        row: "G15",
        what: "one connection attaches to n channels, for each",
        sizes: [500, 2_000, 8_000, 16_000],
        measure: many_channels,
    },
    Curve {
        row: "G15",
        what: "a sweep of n idle persisted channels",
        sizes: [250, 500, 1_000, 2_000],
        measure: idle_sweep,
    },
];

/// How long a server is watched that has nothing to do.
const AT_REST: Duration = Duration::from_millis(500);

fn measured(
    server: &Server,
    clients: &mut [Client],
    units: usize,
    act: impl FnOnce(&mut [Client]) -> Result<()>,
) -> Result<Cost> {
    let before = server.idle_cpu(clients)?;
    thread::sleep(AT_REST);
    // What is done all the time does not count, however long the rest takes. A thread that has ended takes its time with it.
    let at_rest = server.cpu()?.saturating_sub(before).div_duration_f64(AT_REST);
    let (before, began) = (server.cpu()?, Instant::now());
    act(clients)?;
    let used = server.idle_cpu(clients)?.saturating_sub(before);
    Ok(Cost { cpu: used.saturating_sub(began.elapsed().mul_f64(at_rest)), units })
}

/// As [`measured`], of so many requests.
fn requests(server: &Server, count: usize, target: &str) -> Result<Cost> {
    let mut http = Http::open(server.address)?;
    http.get(target)?;
    measured(server, &mut [], count, |_| (0..count).try_for_each(|_| http.get(target).map(drop)))
}

fn persisted(server: &mut Server, channel: &str, messages: usize) -> Result<()> {
    let mut client = Client::open(server.address, "")?;
    client.publish(channel, messages)
}

fn oldest_page(server: &mut Server, messages: usize) -> Result<Cost> {
    persisted(server, "persisted:a", messages)?;
    server.restart(&[])?;
    let (first, _) = Http::open(server.address)?.get("/channels/persisted:a/messages?direction=forwards&limit=1")?;
    let end = first[0]["timestamp"].as_u64().context("the time of the oldest")?;
    requests(server, 10, &format!("/channels/persisted:a/messages?end={end}&limit=10"))
}

fn presence_history(server: &mut Server, messages: usize) -> Result<Cost> {
    let mut client = Client::open(server.address, "")?;
    client.attach("persisted:a", mode::PRESENCE | mode::PUBLISH)?;
    client.enter("persisted:a", 0..1)?;
    client.publish("persisted:a", messages)?;
    server.restart(&[])?;
    requests(server, 10, "/channels/persisted:a/presence/history?limit=1")
}

fn first_rewind(server: &mut Server, messages: usize) -> Result<Cost> {
    let channels: Vec<String> = (0..6).map(|number| format!("persisted:{number}")).collect();
    for channel in &channels {
        persisted(server, channel, messages)?;
    }
    // What is older is in the file only.
    server.restart(&[("LETSHARE_HISTORY_WINDOW", "1s")])?;
    thread::sleep(Duration::from_secs(1));
    let mut clients = server.clients(1)?;
    measured(server, &mut clients, channels.len(), |clients| {
        channels
            .iter()
            .try_for_each(|channel| clients[0].attach(&format!("[?rewind=1]{channel}"), mode::SUBSCRIBE).map(drop))
    })
}

fn resume(server: &mut Server, count: usize) -> Result<Cost> {
    let mut members = server.clients(1)?;
    members[0].attach("a", mode::PRESENCE | mode::PUBLISH)?;
    members[0].enter("a", 0..count)?;
    let mut clients = server.clients(count)?;
    let mut positions = Vec::new();
    for client in &mut clients {
        positions.push(client.attach("a", mode::EVERYTHING)?["channelSerial"].clone());
    }
    server.idle_cpu(&mut clients)?;
    let keys: Vec<String> = clients.iter().map(|client| client.key.clone()).collect();
    drop(clients);
    server.idle_cpu(&mut members)?;
    members[0].publish("a", 20)?;
    let mut again = Vec::new();
    let before = server.idle_cpu(&mut members)?;
    for (key, position) in keys.iter().zip(&positions) {
        let mut client = Client::open(server.address, &format!("&resume={key}"))?;
        client.attach_with("a", mode::EVERYTHING, position)?;
        again.push(client);
    }
    Ok(Cost { cpu: server.idle_cpu(&mut again)?.saturating_sub(before), units: count })
}

/// A token of the key, with this besides.
fn token(server: &Server, mut request: Value) -> Result<String> {
    let (name, _) = KEY.split_once(':').context("a key")?;
    request["keyName"] = name.into();
    let token = Http::open(server.address)?.post(&format!("/keys/{name}/requestToken"), &request)?;
    Ok(token["token"].as_str().context("a token")?.to_owned())
}

fn long_token(server: &mut Server, resources: usize) -> Result<Cost> {
    let capability: serde_json::Map<String, Value> =
        (0..resources).map(|number| (format!("channel-{number}"), json!(["history", "publish"]))).collect();
    let token = token(server, json!({"capability": Value::Object(capability).to_string()}))?;
    let mut http = Http::open(server.address)?;
    http.authorization = format!("Bearer {}", BASE64_STANDARD.encode(token));
    http.get("/channels/channel-1/messages?limit=1")?;
    measured(server, &mut [], 50, |_| {
        (0..50).try_for_each(|_| http.get("/channels/channel-1/messages?limit=1").map(drop))
    })
}

fn revocation(server: &mut Server, revoked: usize) -> Result<Cost> {
    let mut clients = Vec::new();
    for number in 0..100 {
        let token = token(server, json!({"clientId": format!("user-{number}")}))?;
        clients.push(Client::open(server.address, &format!("&access_token={token}"))?);
    }
    let (name, _) = KEY.split_once(':').context("a key")?;
    let mut http = Http::open(server.address)?;
    let mut revoke = |from: usize, to: usize| -> Result<()> {
        let targets: Vec<String> = (from..to).map(|number| format!("clientId:gone-{number}")).collect();
        http.post(&format!("/keys/{name}/revokeTokens"), &json!({"targets": targets})).map(drop)
    };
    for from in (0..revoked).step_by(100) {
        revoke(from, (from + 100).min(revoked))?;
    }
    measured(server, &mut clients, 20, |_| (0..20).try_for_each(|more| revoke(revoked + more, revoked + more + 1)))
}

fn attached(server: &Server, channels: usize) -> Result<Vec<Client>> {
    let mut clients = server.clients(1)?;
    for number in 0..channels {
        clients[0].attach(&format!("channel-{number:06}"), mode::SUBSCRIBE)?;
    }
    Ok(clients)
}

fn channels(server: &mut Server, count: usize) -> Result<Cost> {
    let _attached = attached(server, count)?;
    requests(server, 50, "/channels?limit=100")
}

fn members(server: &Server, count: usize) -> Result<Vec<Client>> {
    let mut clients = server.clients(1)?;
    clients[0].attach("a", mode::PRESENCE)?;
    clients[0].enter("a", 0..count)?;
    Ok(clients)
}

fn sync(server: &mut Server, count: usize) -> Result<Cost> {
    let _members = members(server, count)?;
    let mut clients = server.clients(20)?;
    measured(server, &mut clients, 20 * count, |clients| {
        clients.iter_mut().try_for_each(|client| client.attach("a", mode::EVERYTHING).map(drop))
    })
}

/// Each a connection of its own; they leave at once when they are cut.
fn present(server: &Server, count: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for number in 0..count {
        let mut client = Client::open(server.address, "&remainPresentFor=1000")?;
        client.attach("a", mode::PRESENCE | mode::SUBSCRIBE)?;
        client.enter("a", number..number + 1)?;
        clients.push(client);
    }
    Ok(clients)
}

fn cut(server: &mut Server, count: usize) -> Result<Cost> {
    cut_before(server, count, 0)
}

fn cut_before_others(server: &mut Server, count: usize) -> Result<Cost> {
    cut_before(server, count, 20)
}

fn cut_before(server: &mut Server, count: usize, watchers: usize) -> Result<Cost> {
    let mut members = present(server, count)?;
    let mut watching = server.clients(watchers)?;
    watching.iter_mut().try_for_each(|client| client.attach("a", mode::EVERYTHING).map(drop))?;
    server.idle_cpu(&mut members)?;
    measured(server, &mut watching, count, |watching| {
        drop(members);
        thread::sleep(Duration::from_millis(1_500));
        watching.iter_mut().try_for_each(|client| client.drain().map(drop))
    })
}

fn close(server: &mut Server, count: usize) -> Result<Cost> {
    let mut members = present(server, count)?;
    server.idle_cpu(&mut members)?;
    measured(server, &mut [], count, |_| members.iter_mut().try_for_each(Client::close))
}

fn publish_to_nobody(server: &mut Server, count: usize) -> Result<Cost> {
    let mut clients = server.clients(count + 1)?;
    clients.iter_mut().try_for_each(|client| client.attach("a", mode::PRESENCE | mode::PUBLISH).map(drop))?;
    measured(server, &mut clients, 2_000, |clients| clients[0].publish("a", 2_000))
}

fn deep_page(server: &mut Server, messages: usize) -> Result<Cost> {
    persisted(server, "a", messages)?;
    let (first, _) = Http::open(server.address)?.get("/channels/a/messages?direction=forwards&limit=1")?;
    let end = first[0]["timestamp"].as_u64().context("the time of the oldest")?;
    requests(server, 100, &format!("/channels/a/messages?end={end}&limit=1"))
}

fn rest_presence(server: &mut Server, count: usize) -> Result<Cost> {
    let _members = members(server, count)?;
    let mut http = Http::open(server.address)?;
    measured(server, &mut [], 5 * count, |_| {
        for _ in 0..5 {
            let mut query = Some("limit=100".to_owned());
            while let Some(page) = query {
                query = http.get(&format!("/channels/a/presence?{page}"))?.1;
            }
        }
        Ok(())
    })
}

fn attach_without_presence(server: &mut Server, count: usize) -> Result<Cost> {
    let _members = members(server, count)?;
    let mut clients = server.clients(200)?;
    measured(server, &mut clients, 200, |clients| {
        clients.iter_mut().try_for_each(|client| client.attach("a", mode::SUBSCRIBE).map(drop))
    })
}

fn qualified(server: &mut Server, count: usize) -> Result<Cost> {
    let mut clients = server.clients(1)?;
    measured(server, &mut clients, count, |clients| {
        (0..count).try_for_each(|number| {
            clients[0].attach(&format!("[?rewind=1]channel-{number}"), mode::SUBSCRIBE).map(drop)
        })
    })
}

fn idle_channels(server: &mut Server, count: usize) -> Result<Cost> {
    const SECONDS: usize = 5;
    let mut clients = attached(server, count)?;
    server.idle_cpu(&mut clients)?;
    let before = server.cpu()?;
    thread::sleep(Duration::from_secs(SECONDS as u64));
    Ok(Cost { cpu: server.cpu()?.saturating_sub(before), units: count * SECONDS })
}

fn many_channels(server: &mut Server, count: usize) -> Result<Cost> {
    let mut clients = server.clients(1)?;
    measured(server, &mut clients, count, |clients| {
        (0..count).try_for_each(|number| clients[0].attach(&format!("channel-{number}"), mode::SUBSCRIBE).map(drop))
    })
}

/// All there is to do in a minute is two sweeps.
fn idle_sweep(server: &mut Server, count: usize) -> Result<Cost> {
    let mut client = Client::open(server.address, "")?;
    (0..count).try_for_each(|number| client.publish(&format!("persisted:{number}"), 1))?;
    drop(client);
    server.restart(&[])?;
    // The first sweep may have something to count.
    thread::sleep(Duration::from_secs(35));
    let before = server.cpu()?;
    thread::sleep(Duration::from_secs(60));
    Ok(Cost { cpu: server.cpu()?.saturating_sub(before), units: 2 })
}
