//! What the group protocol counts, for `/metrics` (`docs/protocols/group.md §8`). Numbers only: no user, no group.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    actors::metrics::GroupFigures,
    older::group::{code::Code, frame::Kind},
};

const ERRORS: [(u16, &str); 8] = [
    (400, "bad_request"),
    (401, "unauthorized"),
    (403, "forbidden"),
    (404, "not_found"),
    (413, "too_large"),
    (429, "too_frequent"),
    (500, "internal"),
    (503, "unavailable"),
];

/// See the module.
#[derive(Debug, Default)]
pub struct Counters {
    frames: [AtomicU64; Kind::NAMES.len()],
    errors: [AtomicU64; ERRORS.len()],
    stored: AtomicU64,
    storing_micros: AtomicU64,
    failed_auth: AtomicU64,
    blocked: AtomicU64,
}

impl Counters {
    /// A frame whose envelope was read.
    pub fn received(&self, kind: Kind) {
        bump_named(&Kind::NAMES, &self.frames, kind);
    }

    pub fn refused(&self, code: &Code) {
        bump_named(&ERRORS, &self.errors, code.reply().code);
    }

    /// A message is on disk, so long after it came.
    pub fn stored(&self, after: Duration) {
        bump(&self.stored, 1);
        bump(&self.storing_micros, u64::try_from(after.as_micros()).unwrap_or_default());
    }

    pub fn failed_auth(&self) {
        bump(&self.failed_auth, 1);
    }

    pub fn blocked(&self) {
        bump(&self.blocked, 1);
    }

    /// The counts now; what is no count is left at 0.
    pub fn read(&self) -> GroupFigures {
        GroupFigures {
            frames: array::from_fn(|at| (Kind::NAMES[at].1, read(&self.frames[at]))),
            errors: array::from_fn(|at| (ERRORS[at].1, read(&self.errors[at]))),
            stored: read(&self.stored),
            storing: Duration::from_micros(read(&self.storing_micros)),
            failed_auth: read(&self.failed_auth),
            refused: read(&self.blocked),
            ..GroupFigures::default()
        }
    }
}

fn bump_named<N: PartialEq>(names: &[(N, &str)], counters: &[AtomicU64], name: N) {
    if let Some(at) = names.iter().position(|(known, _)| *known == name) {
        bump(&counters[at], 1);
    }
}

fn bump(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_and_code_is_counted_by_itself() {
        let counters = Counters::default();
        counters.received(Kind::MarkRead);
        counters.refused(&Code::NoGroup);
        counters.refused(&Code::NoMessage);
        counters.stored(Duration::from_millis(3));
        let read = counters.read();
        assert!(read.frames.contains(&("mark_read", 1)) && read.frames.contains(&("ping", 0)));
        assert!(read.errors.contains(&("not_found", 2)) && read.errors.contains(&("internal", 0)));
        assert_eq!((read.stored, read.storing), (1, Duration::from_millis(3)));
    }
}
