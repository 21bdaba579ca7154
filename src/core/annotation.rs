//! How annotations are counted: reactions, flags, votes (`docs/protocols/ably.md §9.5`).

use crate::{
    core::operation::Annotation,
    error::{Fault, Found},
};

/// How the annotations of one type are summed up: the end of the type's name says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// How many there are.
    Total,
    /// The clients, each once.
    Flag,
    /// The clients of each name, each once.
    Distinct,
    /// The same, but a client has one name at a time.
    Unique,
    /// The clients of each name, and how often.
    Multiple,
}

impl Method {
    const ALL: [(&str, Self); 5] = [
        ("total.v1", Self::Total),
        ("flag.v1", Self::Flag),
        ("distinct.v1", Self::Distinct),
        ("unique.v1", Self::Unique),
        ("multiple.v1", Self::Multiple),
    ];

    /// Of a type; none: its annotations are stored and delivered, and not summed up.
    pub fn of(kind: &str) -> Option<Self> {
        let (_, suffix) = kind.rsplit_once(':')?;
        Self::ALL.iter().find(|(name, _)| *name == suffix).map(|(_, method)| *method)
    }

    /// Each name is summed up for itself.
    pub const fn is_by_name(self) -> bool {
        matches!(self, Self::Distinct | Self::Unique | Self::Multiple)
    }

    /// It counts clients, so it needs to know them.
    pub const fn needs_client(self) -> bool {
        matches!(self, Self::Flag | Self::Distinct | Self::Unique)
    }
}

/// # Errors
/// What the type of an annotation asks for and it has not.
pub fn check(annotation: &Annotation) -> Result<(), Fault> {
    let missing = |name, rule| Err(Fault::BadParameter { name, found: Found::nothing(), rule });
    if annotation.kind.is_empty() {
        return missing("annotations[].type", "a text like reaction:distinct.v1");
    }
    let Some(method) = Method::of(&annotation.kind) else {
        return Ok(());
    };
    if method.needs_client() && annotation.client_id.is_none() {
        let rule = "a clientId: annotations of the methods flag, distinct and unique are counted by client";
        return Err(Fault::InvalidClientId { found: Found::nothing(), rule });
    }
    // A client has one name of a unique type at most, so who deletes it need not say which.
    let is_needed = method != Method::Unique || !annotation.is_delete;
    if method.is_by_name() && is_needed && annotation.name.is_empty() {
        return missing("annotations[].name", "a text: the methods distinct, unique and multiple count by name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocols/ably.md §9.5.
    #[test]
    fn the_end_of_a_type_says_how_it_is_summed_up() {
        for (kind, method) in [
            ("reaction:total.v1", Some(Method::Total)),
            ("a:b:flag.v1", Some(Method::Flag)),
            (":distinct.v1", Some(Method::Distinct)),
            ("reaction:unique.v1", Some(Method::Unique)),
            ("reaction:multiple.v1", Some(Method::Multiple)),
            ("reaction:multiple.v2", None),
            ("reaction:multiple", None),
            ("total.v1", None),
            ("comment", None),
        ] {
            assert_eq!(Method::of(kind), method, "{kind}");
        }
    }
}
