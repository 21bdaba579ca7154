//! Paths through the maps of a channel, from key to key: `a.b`, `\.` for a dot in a key, `*` for every key
//! (`docs/protocols/ably.md §10.8`).

use std::collections::HashSet;

use bytestring::ByteString;

use crate::{
    core::objects::{ObjectId, Snapshot, Value},
    limits,
};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Key(ByteString),
    Every,
}

/// The steps of a path; none when it is empty.
pub fn parse(path: &str) -> Vec<Step> {
    if path.is_empty() {
        return Vec::new();
    }
    let (mut steps, mut key, mut is_literal) = (Vec::new(), String::new(), false);
    let mut symbols = path.chars();
    let mut end = |key: &mut String, is_literal: &mut bool| {
        let is_every = key == "*" && !std::mem::take(is_literal);
        steps.push(if is_every { Step::Every } else { Step::Key(std::mem::take(key).into()) });
        key.clear();
    };
    while let Some(symbol) = symbols.next() {
        match symbol {
            '.' => end(&mut key, &mut is_literal),
            '\\' => {
                // A backslash before anything else stands for itself.
                match symbols.next() {
                    Some(escaped @ ('.' | '*' | '\\')) => {
                        key.push(escaped);
                        is_literal = true;
                    }
                    other => key.extend([Some('\\'), other].into_iter().flatten()),
                }
            }
            symbol => key.push(symbol),
        }
    }
    end(&mut key, &mut is_literal);
    steps
}

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place<'a> {
    Object(&'a ObjectId),
    /// A value that is no object.
    Value(&'a Value),
}

impl Snapshot {
    /// All places that a path leads to from an object that there is; each place once for each way.
    ///
    /// None: it is longer than [`limits::OBJECTS_NESTED`], or takes a look at more entries than `left`.
    pub fn follow<'a>(&'a self, from: &'a ObjectId, steps: &[Step], left: &mut usize) -> Option<Vec<Place<'a>>> {
        if steps.len() > limits::OBJECTS_NESTED {
            return None;
        }
        let mut places = vec![Place::Object(from)];
        for step in steps {
            let mut next = Vec::new();
            for place in places {
                let Place::Object(id) = place else { continue };
                let Some(object) = self.get(id) else { continue };
                let seen = if *step == Step::Every { object.entries().len() } else { 1 };
                *left = left.checked_sub(seen)?;
                match step {
                    Step::Key(key) => {
                        let value = object.entries().get(key).and_then(|entry| entry.value.as_ref());
                        next.extend(value.and_then(|value| self.place(value)));
                    }
                    Step::Every => next.extend(object.values().filter_map(|(_, value)| self.place(value))),
                }
            }
            // Many ways lead to one object; one is enough.
            let mut seen = HashSet::new();
            next.retain(|place| match place {
                Place::Object(id) => seen.insert(*id),
                Place::Value(_) => true,
            });
            places = next;
        }
        Some(places)
    }

    /// None: it is an object that is deleted.
    pub fn place<'a>(&'a self, value: &'a Value) -> Option<Place<'a>> {
        match value {
            Value::Object(id) => self.get(id).filter(|object| object.head.deleted.is_none()).map(|_| Place::Object(id)),
            value => Some(Place::Value(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_at_dots_that_are_not_escaped() {
        let key = |text: &'static str| Step::Key(text.into());
        for (path, steps) in [
            ("", vec![]),
            ("a", vec![key("a")]),
            ("a.b", vec![key("a"), key("b")]),
            (r"a\.b.c", vec![key("a.b"), key("c")]),
            ("a.*", vec![key("a"), Step::Every]),
            (r"\*", vec![key("*")]),
            (r"a\b\\", vec![key(r"a\b\")]),
            ("a..b", vec![key("a"), key(""), key("b")]),
        ] {
            assert_eq!(parse(path), steps, "{path}");
        }
    }
}
