//! Expressions that choose messages (`docs/protocols/ably.md §5.7`): JMESPath, asked of `{name, clientId, headers, extras}`.
//!
//! A subscriber's expression is evaluated for every message of everybody else. So only what takes time in proportion to
//! expression and message is allowed: nothing that walks over lists inside lists, or makes lists longer than they were.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use jmespath::ast::Ast;
use parking_lot::Mutex;
use serde::Serialize;

use crate::{
    core::{
        hashing::FastMap,
        message::{Entry, Extras, Message},
        serial::Serial,
    },
    error::Fault,
    ids::ChannelName,
    limits,
};

/// What an expression may call. None of them makes anything that is larger than what it is given.
const FUNCTIONS: [&str; 10] =
    ["abs", "ceil", "contains", "ends_with", "floor", "length", "not_null", "starts_with", "to_number", "type"];

/// Opens a level of nesting while an expression is parsed.
const NESTING: [char; 6] = ['(', '[', '{', '!', '&', '*'];

/// An expression that some subscribers of a channel have.
pub struct Expression {
    compiled: jmespath::Expression<'static>,
    /// What was found for the newest entry: the next subscriber asks about the same one.
    last: Mutex<Option<(Serial, Vec<bool>)>>,
}

/// What an expression sees of a message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seen<'a> {
    name: &'a str,
    client_id: Option<&'a str>,
    headers: Option<&'a serde_json::Value>,
    extras: Option<&'a Extras>,
}

impl Expression {
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let invalid = |why: String| Fault::InvalidFilter { why: why.into() };
        let (size, limit) = (text.len(), limits::EXPRESSION_BYTES);
        if size > limit {
            return Err(invalid(format!("{size} bytes; allowed: at most {limit}")));
        }
        let limit = limits::EXPRESSION_DEPTH;
        if text.chars().filter(|symbol| NESTING.contains(symbol)).count() > limit {
            return Err(invalid(format!("too deeply nested; allowed: at most {limit} levels")));
        }
        let compiled = jmespath::compile(text).map_err(|error| invalid(one_line(&error.to_string())))?;
        check(compiled.as_ast(), limit).map_err(|why| invalid(why.to_owned()))?;
        Ok(Self { compiled, last: Mutex::default() })
    }

    pub fn text(&self) -> &str {
        self.compiled.as_str()
    }

    /// What keeping it takes, in bytes, about: a part of the tree for every two characters.
    pub fn cost(&self) -> usize {
        size_of::<Self>() + self.text().len() * size_of::<Ast>()
    }

    /// Whether it chooses one of the messages of an entry.
    pub fn chooses(&self, entry: &Entry, index: usize) -> bool {
        let messages = entry.subjects();
        if entry.is_ephemeral || !entry.is_original() {
            // Its serial does not say which entry it is.
            return messages.get(index).is_some_and(|message| self.matches(message));
        }
        let mut last = self.last.lock();
        let verdicts = match &mut *last {
            Some((serial, verdicts)) if *serial == entry.serial => verdicts,
            last => {
                let verdicts = messages.iter().map(|message| self.matches(message)).collect();
                &mut last.insert((entry.serial, verdicts)).1
            }
        };
        verdicts.get(index).copied().unwrap_or_default()
    }

    fn matches(&self, message: &Message) -> bool {
        let extras = message.extras.as_deref();
        let seen = Seen {
            name: &message.name,
            client_id: message.client_id.as_ref().map(|id| id.as_str()),
            headers: extras.and_then(|extras| extras.get("headers")),
            extras,
        };
        // A wrong type at run time chooses nothing.
        self.compiled.search(seen).is_ok_and(|found| found.is_truthy())
    }
}

/// Whether evaluation takes no more than its time in proportion.
fn check(part: &Ast, depth: usize) -> Result<(), &'static str> {
    let depth = depth.checked_sub(1).ok_or("too deeply nested; use fewer levels")?;
    match part {
        Ast::Identity { .. } | Ast::Field { .. } | Ast::Index { .. } | Ast::Literal { .. } => Ok(()),
        Ast::Not { node, .. } => check(node, depth),
        Ast::Comparison { lhs, rhs, .. }
        | Ast::And { lhs, rhs, .. }
        | Ast::Or { lhs, rhs, .. }
        | Ast::Subexpr { lhs, rhs, .. } => check(lhs, depth).and_then(|()| check(rhs, depth)),
        Ast::Function { name, args, .. } if FUNCTIONS.contains(&&**name) => {
            args.iter().try_for_each(|argument| check(argument, depth))
        }
        Ast::Function { .. } => {
            Err("a function that filters do not have; allowed: abs, ceil, contains, ends_with, floor, \
             length, not_null, starts_with, to_number, type")
        }
        Ast::Condition { .. }
        | Ast::Expref { .. }
        | Ast::Flatten { .. }
        | Ast::MultiList { .. }
        | Ast::MultiHash { .. }
        | Ast::Projection { .. }
        | Ast::ObjectValues { .. }
        | Ast::Slice { .. } => {
            Err("projections, slices and multi-selects are not for filters; allowed: fields, indexes, comparisons, \
                 && || !, literals and functions")
        }
    }
}

/// The library shows the expression over several lines, with a mark below the place.
fn one_line(error: &str) -> String {
    error.lines().next().unwrap_or_default().to_owned()
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text()).finish()
    }
}

/// The expressions in use on one worker thread. Those of one channel with one text are one, and evaluated once.
#[derive(Default)]
pub struct Expressions(FastMap<ChannelName, Vec<Weak<Expression>>>);

impl Expressions {
    /// # Errors
    /// [`Fault::InvalidFilter`]; [`Fault::TooManyFilters`] when the channel has as many others as it may have.
    pub fn get(&mut self, channel: &ChannelName, text: &str) -> Result<Arc<Expression>, Fault> {
        // Whoever adds sweeps, when it pays: the map never holds more than twice what it must.
        if self.0.len() == self.0.capacity() {
            self.0.retain(|_, expressions| {
                expressions.retain(|known| known.strong_count() > 0);
                !expressions.is_empty()
            });
        }
        let known = self.0.entry(channel.clone()).or_default();
        known.retain(|known| known.strong_count() > 0);
        if let Some(expression) = known.iter().filter_map(Weak::upgrade).find(|known| known.text() == text) {
            return Ok(expression);
        }
        let limit = limits::EXPRESSIONS_PER_CHANNEL;
        if known.len() >= limit {
            return Err(Fault::TooManyFilters { limit });
        }
        let expression = Arc::new(Expression::parse(text)?);
        known.push(Arc::downgrade(&expression));
        Ok(expression)
    }
}

#[cfg(test)]
mod tests;
