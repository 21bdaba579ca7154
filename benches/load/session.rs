//! One run of the tool: floor and server in turns, so that whatever else the machine does at that time hits both.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};

use crate::{
    dialect::Dialect,
    instructions::{Counted, Counting, count},
    older::Case,
    publish::{Publishing, publish},
    relay::{Freight, relay},
    report::{self, Compared},
    slow::slow,
    standing::{idle, storm},
    subject::{Kind, Subject},
    tally::Wrongs,
    traffic::{Leg, Pace, Traffic, measure},
};

pub struct Session {
    /// Without it only the server is measured. It may be another build of the server.
    pub floor: Option<Kind>,
    pub server: Kind,
    /// What is spoken with the server, in turns. The floor speaks LetShare.
    pub dialects: Vec<Dialect>,
    pub pairs: usize,
    /// The CPU of the process under test.
    pub cpu: Option<usize>,
    /// No message was lost, doubled, reordered or damaged, and no connection cut, so far.
    pub correct: bool,
    pub headed: bool,
}

/// What one side showed, once per round.
pub type Legs<T> = (Dialect, Vec<T>);

/// The rounds of one scenario: what the floor showed, if it took part, and the server in each protocol.
pub struct Rounds<T> {
    pub floor: Vec<T>,
    pub server: Vec<Legs<T>>,
}

impl Session {
    /// Which protocols are measured together: beside another build of the server, each alone.
    pub fn turns(&self) -> Vec<Vec<Dialect>> {
        match self.floor {
            Some(Kind::Server(_)) => self.dialects.iter().map(|&dialect| vec![dialect]).collect(),
            _ => vec![self.dialects.clone()],
        }
    }

    pub fn head(&mut self) {
        if !self.headed {
            report::traffic_head();
            self.headed = true;
        }
    }

    /// One figure of the floor and one of the server in each protocol, `pairs` times.
    fn rounds<T>(
        &mut self,
        what: &str,
        one: impl Fn(&Subject, Dialect) -> Result<T>,
        judge: impl Fn(&T) -> (&Wrongs, &[String]),
    ) -> Result<Rounds<T>> {
        let mut floor = Vec::new();
        let server = self.dialects.iter().map(|&dialect| (dialect, Vec::new()));
        let mut server: Vec<Legs<T>> = server.collect();
        for _ in 0..self.pairs {
            if let Some(kind) = &self.floor {
                let dialect = match (kind, self.dialects.as_slice()) {
                    (Kind::Server(_), [dialect]) => *dialect,
                    _ => Dialect::LetShare,
                };
                let one = |subject: &Subject| one(subject, dialect);
                floor.push(with(kind, self.cpu, one).with_context(|| format!("{what}, floor"))?);
            }
            for (dialect, legs) in &mut server {
                let one = |subject: &Subject| one(subject, *dialect);
                let leg = with(&self.server, self.cpu, one);
                legs.push(leg.with_context(|| format!("{what}, {}", dialect.name()))?);
            }
        }
        for measured in &floor {
            self.judge(what, judge(measured));
        }
        for (dialect, legs) in &server {
            for measured in legs {
                self.judge(&format!("{what}, {}", dialect.name()), judge(measured));
            }
        }
        Ok(Rounds { floor, server })
    }

    fn judge(&mut self, what: &str, (wrongs, remarks): (&Wrongs, &[String])) {
        if wrongs.any() {
            self.correct = false;
            eprintln!("{what}: {wrongs:?}: {}", remarks.join("; "));
        }
    }

    pub fn traffic(&mut self, name: String, traffic: Traffic) -> Result<()> {
        let rounds = self.rounds(
            &name,
            |subject, dialect| measure(subject, Traffic { dialect, ..traffic }),
            |leg| (&leg.wrongs, &leg.remarks),
        )?;
        report::traffic_rows(&Compared {
            name,
            goal: match traffic.pace {
                Pace::Paced => 1.4,
                Pace::Saturated => 2.0,
            },
            rounds,
        });
        Ok(())
    }

    /// Instructions of the server, and of another build of it.
    pub fn instructions(&mut self, counting: &Counting, profiles: Option<&Path>) -> Result<()> {
        let is_asked = |dialect: &Dialect| !counting.is_publish() || dialect.acknowledges();
        let dialects = counting.dialect.map_or(self.dialects.clone(), |dialect| vec![dialect]);
        for dialect in dialects.into_iter().filter(is_asked) {
            let mut one = |kind: &Kind, build: &str| -> Result<Counted> {
                let what = format!("{} {} {build}", counting.name, dialect.name()).replace(' ', "-");
                let profile = profiles.map(|folder| folder.join(&what));
                let kind = kind.with(counting.settings);
                let counted = with(&kind, self.cpu, |subject| count(subject, dialect, counting, profile.as_deref()));
                let counted = counted.with_context(|| what.clone())?;
                self.correct &= !counted.wrongs.any();
                Ok(counted)
            };
            let before = self.floor.clone().map(|kind| one(&kind, "beside")).transpose()?;
            let now = one(&self.server.clone(), "server")?;
            report::instructions_line(counting, dialect, &now, before.as_ref());
        }
        Ok(())
    }

    /// Only the server, or two builds of it, and only protocols with acknowledgements.
    pub fn publish(&mut self, publishing: Publishing) -> Result<()> {
        let floor = self.floor.clone().filter(|kind| matches!(kind, Kind::Server(_)));
        let mut answering = Self { floor, server: self.server.clone(), dialects: self.dialects.clone(), ..*self };
        answering.dialects.retain(|dialect| dialect.acknowledges());
        let rounds = answering.rounds(
            &format!("publish, {} in flight", publishing.in_flight),
            |subject, dialect| publish(subject, dialect, publishing),
            |published| (&published.wrongs, &published.remarks),
        )?;
        self.correct = answering.correct;
        for (dialect, legs) in &rounds.server {
            report::publish_line(publishing, *dialect, legs, &rounds.floor);
        }
        Ok(())
    }

    pub fn storm(&mut self, connections: usize) -> Result<()> {
        let rounds = self.rounds(
            "storm",
            |subject, dialect| storm(subject, dialect, connections),
            |storm| (&storm.wrongs, &storm.remarks),
        )?;
        report::storm_lines(&rounds);
        Ok(())
    }

    /// The floor holds no state worth a comparison: only the server.
    pub fn idle(&mut self, connections: usize, time: Duration) -> Result<()> {
        for dialect in self.dialects.clone() {
            let what = format!("idle, {}", dialect.name());
            let one = |subject: &Subject| idle(subject, dialect, connections, time);
            let idle = with(&self.server, self.cpu, one).context(what.clone())?;
            self.judge(&what, (&idle.wrongs, &idle.remarks));
            report::idle_line(dialect, &idle);
        }
        Ok(())
    }

    /// Against the proxy instead of the floor.
    pub fn relay(&mut self, freight: Freight) -> Result<()> {
        let mut server = self.server.clone();
        match &mut server {
            // Room for every file, whoever sends it (docs/protocols/letshare.md §3.6).
            Kind::Server(setup) => {
                setup.settings.insert(0, ("LETSHARE_FILE_TRANSFER_FREE_LIMIT".to_owned(), (3u64 << 30).to_string()))
            }
            other => *other = Kind::Proxy,
        }
        let mut against_proxy = Self {
            floor: self.floor.is_some().then_some(Kind::Proxy),
            server,
            dialects: vec![Dialect::LetShare],
            ..*self
        };
        let what = format!("relay of {} at once", freight.transfers);
        let rounds = against_proxy.rounds(
            &what,
            |subject, _| relay(subject, freight),
            |relayed| (&relayed.wrongs, &relayed.remarks),
        )?;
        self.correct = against_proxy.correct;
        for (_, server) in &rounds.server {
            report::relay_line(freight, &rounds.floor, server);
        }
        Ok(())
    }

    /// All sides of a case in turns; there is no floor that speaks the older protocols.
    pub fn older(&mut self, case: &Case, data_bytes: usize, time: Duration) -> Result<()> {
        let server @ Kind::Server(_) = self.server.with(case.settings) else {
            return Ok(());
        };
        report::older_head();
        for &pace in case.paces {
            let mut rounds: Vec<Vec<Leg>> = case.sides.iter().map(|_| Vec::new()).collect();
            for _ in 0..self.pairs {
                for (side, legs) in case.sides.iter().zip(&mut rounds) {
                    let traffic =
                        Traffic { dialect: side.dialect, population: side.population, pace, data_bytes, time };
                    let what = format!("{}, {}, {}", case.title, side.name, pace.word());
                    let leg = with(&server, self.cpu, |subject| measure(subject, traffic));
                    let leg = leg.with_context(|| what.clone())?;
                    self.judge(&what, (&leg.wrongs, &leg.remarks));
                    legs.push(leg);
                }
            }
            report::older_rows(case, pace, &rounds);
        }
        println!();
        for (what, alone) in case.alone {
            let all: Result<Vec<_>> =
                (0..self.pairs).map(|_| with(&server, self.cpu, |subject| alone(subject, data_bytes, time))).collect();
            report::alone_line(what, &all.with_context(|| (*what).to_owned())?);
        }
        Ok(())
    }

    pub fn slow(&mut self, time: Duration) -> Result<()> {
        let one = |subject: &Subject| slow(subject, time);
        let slow = with(&self.server, self.cpu, one).context("slow reader")?;
        self.judge("slow reader", (&slow.wrongs, &slow.remarks));
        report::slow_line(&slow);
        if !slow.ended {
            self.correct = false;
            eprintln!("slow reader: the server kept the connection");
        }
        Ok(())
    }
}

/// Starts a fresh process, measures it, ends it.
fn with<T>(kind: &Kind, cpu: Option<usize>, one: impl Fn(&Subject) -> Result<T>) -> Result<T> {
    let folder = tempfile::tempdir().context("making a folder for logs")?;
    let subject = Subject::start(kind, folder.path(), cpu)?;
    let measured = one(&subject);
    measured.with_context(|| format!("the process said: {:?}", subject.last_words()))
}
