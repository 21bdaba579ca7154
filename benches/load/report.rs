//! The Markdown that comes out: one table of traffic, one list of the rest.

use hdrhistogram::Histogram;

use crate::{
    dialect::Dialect,
    instructions::{Counted, Counting},
    older::{Case, answers::Answers},
    publish::{Published, Publishing},
    relay::{Freight, Relayed},
    session::Rounds,
    slow::Slow,
    standing::{Idle, Storm},
    tally::Wrongs,
    traffic::{Leg, Pace},
};

/// All rounds of one traffic scenario.
pub struct Compared {
    pub name: String,
    /// Of the ratio to the floor.
    pub goal: f64,
    pub rounds: Rounds<Leg>,
}

pub fn traffic_head() {
    println!(
        "| scenario | protocol | floor µs/delivery | server µs/delivery | ratio | goal | to LetShare | deliveries/s floor, server | \
         p50 / p99 ms floor | p50 / p99 ms server | lost / doubled / reordered |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    );
}

pub fn traffic_rows(compared: &Compared) {
    let rate = |legs: &[Leg]| median(legs.iter().map(Leg::deliveries_per_second));
    let micros = Leg::micros_per_delivery;
    let floor = &compared.rounds.floor;
    for (dialect, legs) in &compared.rounds.server {
        println!(
            "| {} | {} | {:.2} | {:.2} | **{:.2}** | {} | {} | {:.0}, {:.0} | {} | {} | {} |",
            compared.name,
            dialect.name(),
            median(floor.iter().map(micros)),
            median(legs.iter().map(micros)),
            ratio(legs, floor, micros),
            compared.goal,
            to_letshare(&compared.rounds, *dialect, micros),
            rate(floor),
            rate(legs),
            latency(floor.iter().map(|leg| &leg.latency)),
            latency(legs.iter().map(|leg| &leg.latency)),
            wrongs(legs.iter().map(|leg| &leg.wrongs)),
        );
    }
}

/// The median of the ratios of one round each.
fn ratio<T>(legs: &[T], measure: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let rounds = legs.iter().zip(measure);
    median(rounds.map(|(leg, measure)| figure(leg) / figure(measure)))
}

/// What a protocol costs in the multiple of LetShare, where both were measured.
fn to_letshare<T>(rounds: &Rounds<T>, dialect: Dialect, figure: impl Fn(&T) -> f64) -> String {
    let mut sides = rounds.server.iter();
    let letshare = sides.clone().find(|(of, _)| *of == Dialect::LetShare);
    let own = sides.find(|(of, _)| *of == dialect && dialect != Dialect::LetShare);
    match (own, letshare) {
        (Some((_, legs)), Some((_, letshare))) => {
            format!("**{:.2}**", ratio(legs, letshare, figure))
        }
        _ => "–".to_owned(),
    }
}

/// Of the ratio to LetShare (benches/README.md).
const OLDER_GOAL: f64 = 1.2;

pub fn older_head() {
    println!(
        "\n| scenario | protocol | server µs/delivery | to LetShare | goal | deliveries/s | p50 / p99 ms | \
         lost / doubled / reordered |\n|---|---|---:|---:|---:|---:|---:|---:|"
    );
}

/// `rounds`: the legs of each side.
pub fn older_rows(case: &Case, pace: Pace, rounds: &[Vec<Leg>]) {
    let micros = Leg::micros_per_delivery;
    for (index, (side, legs)) in case.sides.iter().zip(rounds).enumerate() {
        let (ratio, goal) = match rounds.first().filter(|_| index > 0) {
            Some(letshare) => (format!("**{:.2}**", ratio(legs, letshare, micros)), OLDER_GOAL.to_string()),
            None => ("–".to_owned(), "–".to_owned()),
        };
        println!(
            "| {}, {} | {} | {:.2} | {ratio} | {goal} | {:.0} | {} | {} |",
            case.title,
            pace.word(),
            side.name,
            median(legs.iter().map(micros)),
            median(legs.iter().map(Leg::deliveries_per_second)),
            latency(legs.iter().map(|leg| &leg.latency)),
            wrongs(legs.iter().map(|leg| &leg.wrongs)),
        );
    }
}

pub fn alone_line(what: &str, all: &[Answers]) {
    println!("* For comparison, {what}: {:.2} µs CPU.", median(all.iter().map(Answers::micros_each)));
}

pub fn instructions_line(counting: &Counting, dialect: Dialect, now: &Counted, before: Option<&Counted>) {
    let beside = before.map_or(String::new(), |before| {
        format!(", the other build {:.0}, ratio **{:.3}** (goal 1.03)", before.each(), now.each() / before.each())
    });
    println!(
        "* **Instructions**, {}, {}: {:.0} per message, {:.0} per delivery{beside}; lost / doubled / reordered {}.",
        counting.name,
        dialect.name(),
        now.each(),
        now.each() / counting.population.receivers().max(1) as f64,
        wrongs([&now.wrongs].into_iter()),
    );
}

/// `beside`: the same of another build, if there is one.
pub fn publish_line(publishing: Publishing, dialect: Dialect, legs: &[Published], beside: &[Published]) {
    let ratio = match beside {
        [] => String::new(),
        beside => format!(", ratio to the other build **{:.2}**", ratio(legs, beside, Published::micros_each)),
    };
    println!(
        "* **Publish with ACK**, {}, {} in flight: {:.0} publishes/s, {:.2} µs CPU each{ratio}, publish to ACK p50 / p99 {} ms; \
         lost / doubled / reordered {}.",
        dialect.name(),
        publishing.in_flight,
        median(legs.iter().map(Published::per_second)),
        median(legs.iter().map(Published::micros_each)),
        latency(legs.iter().map(|leg| &leg.latency)),
        wrongs(legs.iter().map(|leg| &leg.wrongs)),
    );
}

pub fn storm_lines(rounds: &Rounds<Storm>) {
    let micros = |one: &Storm| one.cpu.as_secs_f64() * 1e6 / one.connections as f64;
    let rate = |one: &Storm| one.connections as f64 / one.wall.as_secs_f64();
    let floor = &rounds.floor;
    for (dialect, legs) in &rounds.server {
        println!(
            "* **Storm**, {}, {} connections, each connects and subscribes: server {:.1} µs CPU each, floor {:.1}, ratio **{:.2}** \
             (goal 2.2), to LetShare {}; {:.0} connections/s (floor {:.0}); connect to subscribed p50 / p99 {} ms (floor {}); \
             refused or cut: {}.",
            dialect.name(),
            legs.first().map_or(0, |one| one.connections),
            median(legs.iter().map(micros)),
            median(floor.iter().map(micros)),
            ratio(legs, floor, micros),
            to_letshare(rounds, *dialect, micros),
            median(legs.iter().map(rate)),
            median(floor.iter().map(rate)),
            latency(legs.iter().map(|one| &one.joining)),
            latency(floor.iter().map(|one| &one.joining)),
            legs.iter().map(|one| one.wrongs.cut).sum::<u64>(),
        );
    }
}

pub fn idle_line(dialect: Dialect, idle: &Idle) {
    println!(
        "* **Idle**, {}, {} subscribed connections: {:.2} KiB of memory each (goal 20), {:.2} µs CPU per connection and \
         second over {:.0} s (goal 2), cut: {}.",
        dialect.name(),
        idle.connections,
        idle.bytes as f64 / 1024.0 / idle.connections as f64,
        idle.cpu.as_secs_f64() * 1e6 / idle.connections as f64 / idle.wall.as_secs_f64(),
        idle.wall.as_secs_f64(),
        idle.wrongs.cut,
    );
}

pub fn slow_line(slow: &Slow) {
    let dropped = slow.dropped_after.map_or("never".to_owned(), |after| format!("after {:.1} s", after.as_secs_f64()));
    let close = slow.close_code.map_or("no close frame".to_owned(), |code| format!("close code {code}"));
    println!(
        "* **Slow reader**, one of 50 stops: memory grows by {:.2} MiB (goal: outbox + 0.5), its socket was dropped \
         {dropped} ({close}, {:.1} MiB still came to it); the others: {} deliveries, lost / doubled / reordered {}, \
         p50 / p99 {} ms, before {}.",
        slow.growth as f64 / (1 << 20) as f64,
        slow.backlog as f64 / (1 << 20) as f64,
        slow.deliveries,
        wrongs([&slow.wrongs].into_iter()),
        latency([&slow.during].into_iter()),
        latency([&slow.before].into_iter()),
    );
}

pub fn relay_line(freight: Freight, proxy: &[Relayed], server: &[Relayed]) {
    let rate = |all: &[Relayed]| median(all.iter().map(Relayed::megabytes_per_second));
    let cpu = |all: &[Relayed]| {
        let each = all.iter();
        median(each.map(|one| one.cpu.as_secs_f64() * 1e3 / one.megabytes()))
    };
    let pairs = proxy.iter().zip(server);
    let ratio = median(pairs.map(|(p, s)| s.megabytes_per_second() / p.megabytes_per_second()));
    // Without a proxy beside it only the absolute goal is left.
    let goal = (0.5 * rate(proxy)).min(400.0);
    println!(
        "* **Relay**, {} at once, {} MiB each: server **{:.0} MB/s** (goal {goal:.0}), proxy {:.0}, ratio **{ratio:.2}**; \
         {:.2} ms CPU per MB (proxy {:.2}); memory grows by at most {:.1} MB per transfer (a ring is 2.6); \
         chunks lost / doubled / reordered {}.",
        freight.transfers,
        freight.bytes_each >> 20,
        rate(server),
        rate(proxy),
        cpu(server),
        cpu(proxy),
        median(server.iter().map(|one| one.growth as f64 / 1e6)) / freight.transfers as f64,
        wrongs(server.iter().map(|one| &one.wrongs)),
    );
}

fn wrongs<'a>(all: impl Iterator<Item = &'a Wrongs>) -> String {
    let mut sum = Wrongs::default();
    all.for_each(|one| sum.add(one));
    let mut text = format!("{} / {} / {}", sum.lost, sum.doubled, sum.reordered);
    if sum.damaged + sum.cut > 0 {
        text += &format!(", {} damaged, {} cut", sum.damaged, sum.cut);
    }
    text
}

/// p50 and p99 of all samples together, in milliseconds.
fn latency<'a>(all: impl Iterator<Item = &'a Histogram<u64>>) -> String {
    let sum = all.fold(None, |sum: Option<Histogram<u64>>, one| match sum {
        None => Some(one.clone()),
        Some(mut sum) => sum.add(one).is_ok().then_some(sum),
    });
    sum.map_or("-".to_owned(), |sum| {
        let millis = |quantile| sum.value_at_quantile(quantile) as f64 / 1e6;
        format!("{:.2} / {:.2}", millis(0.5), millis(0.99))
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let low = values.get(values.len().saturating_sub(1) / 2);
    let high = values.get(values.len() / 2);
    low.zip(high).map_or(f64::NAN, |(low, high)| (low + high) / 2.0)
}
