//! One run of the tool: floor and server in turns, so that whatever else the machine does at that time hits both.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::{
    relay::{Freight, relay},
    report::{self, Compared},
    slow::slow,
    standing::{idle, storm},
    subject::{Kind, Subject},
    tally::Wrongs,
    traffic::{Pace, Traffic, measure},
};

pub struct Session {
    /// Without it only the server is measured.
    pub floor: Option<Kind>,
    pub server: Kind,
    pub pairs: usize,
    /// The CPU of the process under test.
    pub cpu: Option<usize>,
    /// No message was lost, doubled, reordered or damaged, and no connection cut, so far.
    pub correct: bool,
    pub headed: bool,
}

impl Session {
    pub fn head(&mut self) {
        if !self.headed {
            report::traffic_head();
            self.headed = true;
        }
    }

    /// One figure of the floor and one of the server, `pairs` times.
    fn pairs<T>(
        &mut self,
        what: &str,
        one: impl Fn(&Subject) -> Result<T>,
        judge: impl Fn(&T) -> (&Wrongs, &[String]),
    ) -> Result<(Vec<T>, Vec<T>)> {
        let (mut floor, mut server) = (Vec::new(), Vec::new());
        for _ in 0..self.pairs {
            if let Some(kind) = &self.floor {
                floor.push(with(kind, self.cpu, &one).with_context(|| format!("{what}, floor"))?);
            }
            server.push(
                with(&self.server, self.cpu, &one).with_context(|| format!("{what}, server"))?,
            );
        }
        for measured in floor.iter().chain(&server) {
            self.judge(what, judge(measured));
        }
        Ok((floor, server))
    }

    fn judge(&mut self, what: &str, (wrongs, remarks): (&Wrongs, &[String])) {
        if wrongs.any() {
            self.correct = false;
            eprintln!("{what}: {wrongs:?}: {}", remarks.join("; "));
        }
    }

    pub fn traffic(&mut self, name: String, traffic: Traffic) -> Result<()> {
        let (floor, server) = self.pairs(
            &name,
            |subject| measure(subject, traffic),
            |leg| (&leg.wrongs, &leg.remarks),
        )?;
        report::traffic_row(&Compared {
            name,
            goal: match traffic.pace {
                Pace::Paced => 1.4,
                Pace::Saturated => 2.0,
            },
            floor,
            server,
        });
        Ok(())
    }

    pub fn storm(&mut self, connections: usize) -> Result<()> {
        let (floor, server) = self.pairs(
            "storm",
            |subject| storm(subject, connections),
            |storm| (&storm.wrongs, &storm.remarks),
        )?;
        report::storm_line(&floor, &server);
        Ok(())
    }

    /// The floor holds no state worth a comparison: only the server.
    pub fn idle(&mut self, connections: usize, time: Duration) -> Result<()> {
        let one = |subject: &Subject| idle(subject, connections, time);
        let idle = with(&self.server, self.cpu, one).context("idle")?;
        self.judge("idle", (&idle.wrongs, &idle.remarks));
        report::idle_line(&idle);
        Ok(())
    }

    /// Against the proxy instead of the floor.
    pub fn relay(&mut self, freight: Freight) -> Result<()> {
        let mut server = self.server.clone();
        match &mut server {
            // Room for every file, whoever sends it (protocols/letshare.md §3.6).
            Kind::Server(setup) => setup.settings.insert(
                0,
                (
                    "LETSHARE_FILE_TRANSFER_FREE_LIMIT".to_owned(),
                    (3u64 << 30).to_string(),
                ),
            ),
            other => *other = Kind::Proxy,
        }
        let mut against_proxy = Self {
            floor: self.floor.is_some().then_some(Kind::Proxy),
            server,
            pairs: self.pairs,
            cpu: self.cpu,
            correct: true,
            headed: false,
        };
        let what = format!("relay of {} at once", freight.transfers);
        let (proxy, server) = against_proxy.pairs(
            &what,
            |subject| relay(subject, freight),
            |relayed| (&relayed.wrongs, &relayed.remarks),
        )?;
        self.correct &= against_proxy.correct;
        report::relay_line(freight, &proxy, &server);
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
