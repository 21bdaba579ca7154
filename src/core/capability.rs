//! What credentials allow: resources and the operations that are permitted on them
//! (`docs/protocols/ably.md §12.5`).
//!
//! Here: the sets, their JSON form, matching against channel names, intersection. Which operations there
//! are stands in `operation`, how a resource is matched in `resource`, how the matching ones of many are found in `search`.

mod operation;
mod resource;
mod search;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

use crate::{
    error::{Fault, Found, reason},
    limits,
};

pub use operation::{Operation, Operations};
pub use resource::Resource;

/// Resources and what is permitted on each. It may be empty: then it permits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capability(BTreeMap<Resource, Operations>);

impl Capability {
    /// `{"[*]*":["*"]}`: every operation on everything, qualified names included.
    pub fn everything() -> Self {
        Self::of("[*]*", Operations::ALL)
    }

    /// `{"*":["*"]}`: every operation on every ordinary channel; what a key has that names no
    /// capability (`docs/protocols/ably.md §11.13`).
    pub fn all_channels() -> Self {
        Self::of("*", Operations::ALL)
    }

    fn of(resource: &str, operations: Operations) -> Self {
        Self([(Resource::new(resource), operations)].into())
    }

    /// Reads the JSON text. Resources and operations may be in any order; `""` is not a capability.
    ///
    /// # Errors
    /// [`Fault::Malformed`] for what is no object of non-empty lists of known operations, `*` beside others, a
    /// resource that stands twice or is empty, a text that is too long.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let malformed = |what: String| Fault::Malformed { what: what.into() };
        if text.len() > limits::CAPABILITY_BYTES {
            let (size, limit) = (text.len(), limits::CAPABILITY_BYTES);
            return Err(malformed(format!("the capability: {size} bytes exceed the limit of {limit} bytes")));
        }
        let Written(entries) = serde_json::from_str(text).map_err(|error| {
            let (found, why) = (Found::text(text), reason(&error.to_string()));
            malformed(format!(
                "the capability: found {found} ({why}); allowed: the text of a JSON object of resources, each with a list of \
                 operations"
            ))
        })?;
        let mut resources = BTreeMap::new();
        for (resource, operations) in entries {
            let found = Found::text(&resource);
            if resource.is_empty() {
                return Err(malformed(
                    "the capability has an empty resource; allowed: the name of a channel or a pattern".into(),
                ));
            }
            let operations = Operations::parse(&operations).map_err(|(what, allowed)| {
                malformed(format!("the capability has {what} for the resource {found}; allowed: {allowed}"))
            })?;
            if resources.insert(Resource::new(&resource), operations).is_some() {
                return Err(malformed(format!("the capability has the resource {found} twice; allowed: once")));
            }
        }
        Ok(Self(resources))
    }

    /// What is permitted on a channel: all that its matching resources permit together. `channel` is a
    /// base name, or one with a qualifier that is a resource of its own, as `[meta]log`.
    pub fn operations_on(&self, channel: &str) -> Operations {
        self.permitted(channel, false)
    }

    /// The same of those resources only that name the channel's first segment, as `relay:*` does and `*`
    /// does not.
    pub fn operations_naming(&self, channel: &str) -> Operations {
        self.permitted(channel, true)
    }

    fn permitted(&self, channel: &str, is_named: bool) -> Operations {
        if self.0.len() > limits::CAPABILITY_FEW {
            return search::permitted(&self.0, channel, is_named);
        }
        let counts = |resource: &Resource| !is_named || resource.names_namespace();
        let matching = self.0.iter().filter(|(resource, _)| counts(resource) && resource.matches(channel));
        matching.fold(Operations::NONE, |all, (_, operations)| all | *operations)
    }

    pub fn allows(&self, channel: &str, operation: Operation) -> bool {
        self.operations_on(channel).has(operation)
    }

    /// Whether it is at least that of a key that names none.
    pub fn permits_all_channels(&self) -> bool {
        ["*", "[*]*"].iter().any(|all| self.0.get(&Resource::new(all)) == Some(&Operations::ALL))
    }

    /// Whether one of its resources is exactly this text.
    pub fn names(&self, resource: &str) -> bool {
        self.0.contains_key(resource)
    }

    /// Its resources, sorted.
    pub fn resources(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(Resource::as_str)
    }

    /// How many resources it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What both permit: of each two resources the narrower, if one covers the other. None when that is
    /// nothing.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        // A resource covers another one if it matches its text, so what is permitted on that text is what all that cover
        // it permit: each resource is looked for once, not held against each of the others.
        let narrower = |some: &Self, others: &Self| {
            let permitted = |(resource, own): (&Resource, &Operations)| {
                let both = *own & others.operations_on(resource.as_str());
                (!both.is_empty()).then(|| (resource.clone(), both))
            };
            some.0.iter().filter_map(permitted).collect::<BTreeMap<_, _>>()
        };
        let mut both = narrower(self, other);
        for (resource, operations) in narrower(other, self) {
            let entry = both.entry(resource).or_default();
            *entry = *entry | operations;
        }
        (!both.is_empty()).then_some(Self(both))
    }
}

/// The canonical JSON text: compact, resources and operations sorted (`docs/protocols/ably.md §11.13`).
impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (resource, operations)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let resource = serde_json::to_string(resource.as_str()).map_err(|_| fmt::Error)?;
            write!(f, "{comma}{resource}:[")?;
            for (index, name) in operations.names().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                write!(f, "{comma}\"{name}\"")?;
            }
            f.write_str("]")?;
        }
        f.write_str("}")
    }
}

/// An object with its members in their order; a map of serde would lose those that stand twice.
struct Written(Vec<(String, Vec<String>)>);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, Vec<String>>()? {
                    if members.len() == limits::CAPABILITY_RESOURCES {
                        return Err(A::Error::custom("too many resources"));
                    }
                    members.push(member);
                }
                Ok(Written(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}
