//! What the group door counts, for `/metrics` (`docs/protocols/group.md §8`). Numbers only: no user, no group.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    actors::metrics::GroupFigures,
    older::group::{code::Code, frame::Kind},
};

const KINDS: [(Kind, &str); 7] = [
    (Kind::Ping, "ping"),
    (Kind::Auth, "auth"),
    (Kind::SendMessage, "send_message"),
    (Kind::JoinGroup, "join_group"),
    (Kind::LeaveGroup, "leave_group"),
    (Kind::MarkRead, "mark_read"),
    (Kind::Unknown, "unknown"),
];

const CODES: [(u16, &str); 8] = [
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
pub struct Figures {
    frames: [AtomicU64; KINDS.len()],
    errors: [AtomicU64; CODES.len()],
    stored: AtomicU64,
    storing_micros: AtomicU64,
    failed_auth: AtomicU64,
    barred: AtomicU64,
}

impl Figures {
    /// A frame whose envelope was read.
    pub fn received(&self, kind: Kind) {
        let mut kinds = KINDS.iter().zip(&self.frames);
        if let Some((_, counter)) = kinds.find(|((known, _), _)| *known == kind) {
            bump(counter, 1);
        }
    }

    pub fn refused(&self, code: Code) {
        let mut codes = CODES.iter().zip(&self.errors);
        if let Some((_, counter)) = codes.find(|((known, _), _)| *known == code.number()) {
            bump(counter, 1);
        }
    }

    /// A message is on disk, so long after it came.
    pub fn stored(&self, after: Duration) {
        bump(&self.stored, 1);
        let micros = u64::try_from(after.as_micros()).unwrap_or_default();
        bump(&self.storing_micros, micros);
    }

    pub fn failed_auth(&self) {
        bump(&self.failed_auth, 1);
    }

    pub fn barred(&self) {
        bump(&self.barred, 1);
    }

    /// The counts now; what is no count is left at 0.
    pub fn read(&self) -> GroupFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut frames = KINDS.map(|(_, name)| (name, 0));
        for ((_, count), counter) in frames.iter_mut().zip(&self.frames) {
            *count = read(counter);
        }
        let mut errors = CODES.map(|(_, name)| (name, 0));
        for ((_, count), counter) in errors.iter_mut().zip(&self.errors) {
            *count = read(counter);
        }
        GroupFigures {
            frames,
            errors,
            stored: read(&self.stored),
            storing: Duration::from_micros(read(&self.storing_micros)),
            failed_auth: read(&self.failed_auth),
            barred: read(&self.barred),
            ..GroupFigures::default()
        }
    }
}

fn bump(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_and_code_is_counted_by_itself() {
        let figures = Figures::default();
        figures.received(Kind::MarkRead);
        figures.refused(Code::NoGroup);
        figures.refused(Code::NoMessage);
        figures.stored(Duration::from_millis(3));
        let read = figures.read();
        assert!(read.frames.contains(&("mark_read", 1)) && read.frames.contains(&("ping", 0)));
        assert!(read.errors.contains(&("not_found", 2)) && read.errors.contains(&("internal", 0)));
        assert_eq!((read.stored, read.storing), (1, Duration::from_millis(3)));
    }
}
