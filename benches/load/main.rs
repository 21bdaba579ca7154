//! The load tool: `cargo bench --bench load -- --help`. It starts the server and beside it the floor (the least that any
//! server could do), drives both with the same clients in turns, and prints what the server costs, absolutely and as a multiple of
//! the floor. Every message is counted: the exit code is 1 when one was lost, doubled, reordered or damaged, whatever the times were.

mod crowd;
mod dialect;
mod floor;
mod instructions;
mod member;
mod older;
mod publish;
mod relay;
mod report;
mod session;
mod slow;
mod stamp;
mod standing;
mod subject;
mod tally;
mod traffic;
mod wire;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use nix::unistd::Pid;

use crate::{
    crowd::Population,
    dialect::Dialect,
    floor::Fault,
    instructions::Counting,
    publish::Publishing,
    relay::Freight,
    session::Session,
    subject::{Kind, ServerSetup},
    traffic::{Pace, Traffic},
};

#[derive(Parser)]
#[command(about = "Measures the server against a bare epoll server, and counts every message")]
struct Arguments {
    #[command(subcommand)]
    scenario: Option<Scenario>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
struct Options {
    /// A smoke test of a few seconds: small crowds, only the counts matter
    #[arg(long, global = true)]
    quick: bool,
    /// Pairs (floor, server) per scenario; the median counts
    #[arg(long, global = true, default_value_t = 5)]
    pairs: usize,
    /// Seconds of each measurement of traffic
    #[arg(long, global = true, default_value_t = 2.0)]
    seconds: f64,
    /// What is spoken with the server, in turns; the floor speaks LetShare. With LetShare among them, what
    /// the others cost is also told as a multiple of LetShare in the same round
    #[arg(long, global = true, value_delimiter = ',', default_value = "letshare,ably-json,ably-msgpack")]
    protocols: Vec<Dialect>,
    /// Bytes of `data` in each message
    #[arg(long, global = true, default_value_t = 128)]
    payload: usize,
    /// Worker threads of the server; its own choice if absent
    #[arg(long, global = true)]
    workers: Option<usize>,
    /// The server: a binary, or `floor` or `floor-unbatched` to compare the floor with itself, or
    /// `floor-lose`, `-double`, `-swap`, `-damage` to see that the tool notices
    #[arg(long, global = true, default_value = env!("CARGO_BIN_EXE_letshare-server"))]
    server: PathBuf,
    /// One more setting of the server: NAME=VALUE
    #[arg(long = "set", global = true, value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Another build of the server, which takes the place of the floor: the same legs in turns, each protocol beside itself
    #[arg(long, global = true)]
    beside: Option<PathBuf>,
    /// Measure against the floor that writes each delivery at once
    #[arg(long, global = true)]
    unbatched_floor: bool,
    /// Clients on CPU 1, server on CPU 0: steadier, but the server has one CPU only
    #[arg(long, global = true)]
    pin: bool,
    /// Only the server, no floor: for a profiler
    #[arg(long, global = true)]
    alone: bool,
    /// `cargo bench` passes it, `cargo test --all-targets` does not
    #[arg(long, global = true, hide = true)]
    bench: bool,
    /// What test runners ask
    #[arg(long, hide = true)]
    list: bool,
    #[arg(long, hide = true)]
    format: Option<String>,
}

#[derive(Subcommand, Clone)]
enum Scenario {
    /// Everything below, one after the other (the default)
    All,
    /// One publisher, one room
    Fanout {
        /// Receivers
        #[arg(long, value_delimiter = ',', default_value = "1,10,50,100,1000")]
        members: Vec<usize>,
        #[arg(long)]
        paced_only: bool,
        #[arg(long)]
        saturated_only: bool,
    },
    /// 50 rooms of 50 users, 5 publishers in each
    Rooms,
    /// One publisher alone, who waits for Ably's acknowledgements
    Publish {
        /// Publishes on their way at a time
        #[arg(long, value_delimiter = ',', default_value = "1,8,64")]
        in_flight: Vec<u64>,
    },
    /// Instructions per delivery and publish, under valgrind's callgrind: the same figure on any day
    Instructions {
        /// Messages that are counted, after half as many that are not
        #[arg(long, default_value_t = 2_000)]
        messages: usize,
        /// Where callgrind's profiles are left, for callgrind_annotate
        #[arg(long)]
        profiles: Option<PathBuf>,
    },
    /// Everybody connects and subscribes (Ably: attaches) at once
    Storm {
        #[arg(long)]
        connections: Option<usize>,
    },
    /// Memory and CPU of connections that only stand there
    Idle {
        #[arg(long)]
        connections: Option<usize>,
        /// Seconds; more than the 30 s between two pings
        #[arg(long, default_value_t = 35.0)]
        time: f64,
    },
    /// One of 50 readers stops
    Slow,
    /// Files through the relay, beside a plain TCP proxy
    Relay {
        /// Transfers at once
        #[arg(long, value_delimiter = ',', default_value = "1,10")]
        transfers: Vec<usize>,
        /// MiB of each file; 256 for one, 64 for several if absent
        #[arg(long)]
        mebibytes: Option<u64>,
    },
    /// The older protocols beside LetShare: all of them, or those named
    Older {
        #[arg(value_parser = ["relay-broadcast", "relay-push", "group"])]
        cases: Vec<String>,
    },
    #[command(hide = true)]
    Proxy { port: u16 },
    #[command(hide = true)]
    Floor {
        port: u16,
        #[arg(long)]
        unbatched: bool,
        #[arg(long)]
        fault: Option<Fault>,
    },
}

fn setting(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(Arguments { scenario, options }: Arguments) -> Result<bool> {
    if scenario.is_none() && !options.bench && !options.quick {
        // A test runner, not somebody who wants figures.
        if !options.list {
            println!("nothing measured: name a scenario, or `all`");
        }
        return Ok(true);
    }
    let scenario = scenario.unwrap_or(Scenario::All);
    if let Scenario::Floor { port, unbatched, fault } = scenario {
        return floor::run(port, !unbatched, fault).map(|()| true);
    }
    if let Scenario::Proxy { port } = scenario {
        return relay::proxy::run(port).map(|()| true);
    }
    let server = match options.server.to_str().map(|name| name.split_once("floor")) {
        Some(Some(("", kind))) => Kind::Floor {
            batched: kind != "-unbatched",
            fault: Fault::from_str(kind.trim_start_matches('-'), false).ok(),
        },
        _ => Kind::Server(ServerSetup {
            binary: options.server.clone(),
            workers: options.workers,
            settings: options.settings.clone(),
            is_counted: matches!(scenario, Scenario::Instructions { .. }),
        }),
    };
    let dialects = match server {
        Kind::Server(_) => options.protocols.clone(),
        _ => vec![Dialect::LetShare],
    };
    let floor = match (&options.beside, &server) {
        (Some(binary), Kind::Server(setup)) => Kind::Server(ServerSetup { binary: binary.clone(), ..setup.clone() }),
        _ => Kind::Floor { batched: !options.unbatched_floor, fault: None },
    };
    if options.pin {
        subject::pin(Pid::this(), 1)?;
    }
    let mut session = Session {
        cpu: options.pin.then_some(0),
        floor: (!options.alone).then_some(floor),
        server,
        dialects,
        pairs: if options.quick { 1 } else { options.pairs },
        correct: true,
        headed: false,
    };
    // Instructions are counted of one protocol at a time anyway.
    let is_counted = matches!(scenario, Scenario::Instructions { .. });
    let turns = if is_counted { vec![session.dialects.clone()] } else { session.turns() };
    for dialects in turns {
        session.dialects = dialects;
        play(&scenario, &options, &mut session)?;
    }
    Ok(session.correct)
}

fn play(scenario: &Scenario, options: &Options, session: &mut Session) -> Result<()> {
    let quick = options.quick;
    let seconds = if quick { 0.3 } else { options.seconds };
    let traffic = |rooms, members, publishers, pace| Traffic {
        dialect: Dialect::LetShare,
        population: Population { rooms, members, publishers, outside: false, echo: false },
        pace,
        data_bytes: options.payload,
        time: Duration::from_secs_f64(seconds),
    };
    match scenario {
        Scenario::All => {
            let sizes = if quick { "1,50,200" } else { "1,10,50,100,1000" };
            let sizes = sizes.split(',').flat_map(str::parse).collect();
            let fanout = Scenario::Fanout { members: sizes, paced_only: false, saturated_only: false };
            play(&fanout, options, session)?;
            play(&Scenario::Rooms, options, session)?;
            println!();
            let in_flight = vec![1, 8, 64];
            play(&Scenario::Publish { in_flight }, options, session)?;
            play(&Scenario::Storm { connections: None }, options, session)?;
            let time = if quick { 0.5 } else { 35.0 };
            let connections = None;
            play(&Scenario::Idle { connections, time }, options, session)?;
            play(&Scenario::Slow, options, session)?;
            let transfers = vec![1, 10];
            let mebibytes = quick.then_some(4);
            let relay = Scenario::Relay { transfers, mebibytes };
            play(&relay, options, session)?;
            play(&Scenario::Older { cases: Vec::new() }, options, session)
        }
        Scenario::Fanout { members, paced_only, saturated_only } => {
            session.head();
            for (pace, skip) in [(Pace::Paced, saturated_only), (Pace::Saturated, paced_only)] {
                for &members in members.iter().filter(|_| !skip) {
                    let name = format!("fan-out to {members}, {}", pace.word());
                    session.traffic(name, traffic(1, members + 1, 1, pace))?;
                }
            }
            Ok(())
        }
        Scenario::Rooms => {
            session.head();
            for pace in [Pace::Paced, Pace::Saturated] {
                let name = format!("50 rooms of 50, 5 publishers each, {}", pace.word());
                session.traffic(name, traffic(50, 50, 5, pace))?;
            }
            // Long queues at members that publish at the same time.
            let name = "1 room of 50, all publish, saturated".to_owned();
            session.traffic(name, traffic(1, 50, 50, Pace::Saturated))
        }
        Scenario::Publish { in_flight } => {
            for &in_flight in in_flight {
                session.publish(Publishing {
                    in_flight,
                    data_bytes: options.payload,
                    time: Duration::from_secs_f64(seconds),
                })?;
            }
            Ok(())
        }
        Scenario::Instructions { messages, profiles } => {
            let messages = if quick { 50 } else { *messages };
            for counting in Counting::all(messages, options.payload) {
                session.instructions(&counting, profiles.as_deref())?;
            }
            Ok(())
        }
        Scenario::Storm { connections } => session.storm(connections.unwrap_or(if quick { 500 } else { 5_000 })),
        Scenario::Idle { connections, time } => {
            session.idle(connections.unwrap_or(if quick { 500 } else { 10_000 }), Duration::from_secs_f64(*time))
        }
        Scenario::Slow => session.slow(Duration::from_secs_f64(if quick { 2.5 } else { 8.0 })),
        Scenario::Relay { transfers, mebibytes } => {
            for &transfers in transfers {
                let usual = if transfers == 1 { 256 } else { 64 };
                session.relay(Freight { transfers, bytes_each: mebibytes.unwrap_or(usual) << 20 })?;
            }
            Ok(())
        }
        Scenario::Older { cases } => {
            let is_asked = |case: &older::Case| cases.is_empty() || cases.iter().any(|name| name == case.name);
            let time = Duration::from_secs_f64(seconds);
            for case in older::cases(quick).iter().filter(|case| is_asked(case)) {
                session.older(case, options.payload, time)?;
            }
            Ok(())
        }
        Scenario::Floor { .. } | Scenario::Proxy { .. } => Ok(()),
    }
}
