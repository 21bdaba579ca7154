//! Who is turned away, and why: counted by reason, and logged at most once a second for each reason.
//!
//! The reasons are a closed list. A log line names the address and the fault, never a token.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::clock::{Clock, OncePerSecond};

/// Declares the reasons once: the enum, the names by which `/metrics` and the log call them, and how many there are.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$doc])* $reason,)*
        }

        const NAMES: [&str; [$(Reason::$reason),*].len()] = [$($name),*];
    };
}

reasons! {
    /// A page that may not talk to this server.
    Origin = "origin",
    /// A token, key or code that is missing, wrong or over.
    Token = "token",
    /// The address is on a list of those that may not, or not on the list of those that may.
    Address = "address",
    /// The address has as many connections as it may.
    AddressFull = "address_full",
    /// The address comes too often.
    TooOften = "too_often",
    /// The server, or one of its protocols, has as many connections as it may.
    Full = "full",
    /// The server is about to end.
    Draining = "draining",
    /// What was asked for is none of the protocol: no upgrade, a name or version that there is not.
    Request = "request",
}

/// Refusals since the start, by the name of their reason.
pub type RefusalFigures = [(&'static str, u64); NAMES.len()];

/// All worker threads share these: refusals are rare, or part of an attack whose rate is no concern.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: [AtomicU64; NAMES.len()],
    warnings: [OncePerSecond; NAMES.len()],
}

impl Refusals {
    /// Counts one, and warns of it unless there was such a warning in this second: then the next one says how many
    /// `more` there were. `why` is called only for a warning.
    pub fn note(&self, clock: &Clock, reason: Reason, address: Option<IpAddr>, why: impl FnOnce() -> String) {
        let place = reason as usize;
        let (Some(count), Some(warning)) = (self.counts.get(place), self.warnings.get(place)) else {
            return;
        };
        count.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = warning.allows(clock) {
            let (address, why) = (address.map(tracing::field::display), why());
            tracing::warn!(reason = reason.name(), address, more, "{why}");
        }
    }

    pub fn read(&self) -> RefusalFigures {
        let mut figures = [("", 0); NAMES.len()];
        for (figure, (name, count)) in figures.iter_mut().zip(NAMES.into_iter().zip(&self.counts)) {
            *figure = (name, count.load(Ordering::Relaxed));
        }
        figures
    }
}

impl Reason {
    fn name(self) -> &'static str {
        NAMES.get(self as usize).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Timestamp;

    #[test]
    fn each_reason_is_counted_under_its_own_name() {
        let (refusals, clock) = (Refusals::default(), Clock::manual(Timestamp::from_millis(0)));
        for (reason, times) in [(Reason::Origin, 1), (Reason::Token, 2), (Reason::Request, 3)] {
            (0..times).for_each(|_| refusals.note(&clock, reason, None, String::new));
        }
        let counted: Vec<_> = refusals.read().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("origin", 1), ("token", 2), ("request", 3)]);
    }
}
