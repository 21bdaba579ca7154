//! What the group protocol counts, for `/metrics` (`docs/protocols/group.md §8`). Numbers only: no user, no group.

use parking_lot::Mutex;

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
pub struct Counters(Mutex<GroupFigures>);

impl Default for Counters {
    fn default() -> Self {
        let (frames, errors) = (Kind::NAMES.map(|(_, name)| (name, 0)), ERRORS.map(|(_, name)| (name, 0)));
        Self(Mutex::new(GroupFigures { frames, errors, ..GroupFigures::default() }))
    }
}

impl Counters {
    pub fn count(&self, one: impl FnOnce(&mut GroupFigures)) {
        one(&mut self.0.lock());
    }

    /// A frame whose envelope was read.
    pub fn received(&self, kind: Kind) {
        let at = Kind::NAMES.iter().position(|(known, _)| *known == kind);
        self.count(|figures| at.into_iter().for_each(|at| figures.frames[at].1 += 1));
    }

    pub fn refused(&self, code: &Code) {
        let code = code.reply().code;
        let at = ERRORS.iter().position(|(known, _)| *known == code);
        self.count(|figures| at.into_iter().for_each(|at| figures.errors[at].1 += 1));
    }

    /// The counts now; what is no count is left at 0.
    pub fn read(&self) -> GroupFigures {
        *self.0.lock()
    }
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
        counters.count(|figures| figures.stored += 1);
        let read = counters.read();
        assert!(read.frames.contains(&("mark_read", 1)) && read.frames.contains(&("ping", 0)));
        assert!(read.errors.contains(&("not_found", 2)) && read.errors.contains(&("internal", 0)));
        assert_eq!(read.stored, 1);
    }
}
