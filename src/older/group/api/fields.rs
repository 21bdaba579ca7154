//! Fields of a body. Each refuses by [`Code`] what is of another type.
//!
//! They are read from the JSON as it was written: as a JSON number of the library an id would lose its last digits.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{
    limits,
    older::group::{code::Code, groups::Enrolment, membership::is_user},
};

/// One member.
const MEMBER: [&str; 5] = ["user_id", "name", "username", "avatar", "avatar_url"];

/// An object, its fields as they were written.
pub struct JsonObject<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> JsonObject<'a> {
    /// An object with no other fields than these; none: it is no object.
    pub fn parse(json: &'a [u8], fields: &[&str]) -> Result<Option<Self>, Code> {
        let Ok(values) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(json) else {
            return Ok(None);
        };
        let Some(unknown) = values.keys().find(|name| !fields.contains(&name.as_str())) else {
            return Ok(Some(Self(values)));
        };
        Err(Code::UnknownField { name: echoed(unknown), known: fields.join(", ") })
    }

    /// The JSON of a field; null is as good as nothing.
    pub fn json(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|raw| raw.get()).filter(|json| *json != "null")
    }

    /// A field that is a text, or not there.
    pub fn text(&self, name: &'static str) -> Result<Option<String>, Code> {
        let read = |json| serde_json::from_str(json).map_err(|_| Code::WrongType(name, "a text"));
        self.json(name).map(read).transpose()
    }

    /// A field that names somebody or something, or is not there.
    pub fn id(&self, name: &'static str) -> Result<Option<String>, Code> {
        self.json(name).map(|json| id(json, name)).transpose()
    }

    /// A field that names a user, or is not there.
    pub fn user_id(&self, name: &'static str) -> Result<Option<String>, Code> {
        self.json(name).map(|json| user_id(json, name)).transpose()
    }

    /// A field that is a list of ids.
    pub fn ids(&self, name: &'static str) -> Result<Vec<String>, Code> {
        let json = self.json(name).ok_or(Code::Missing(name))?;
        items(json, name)?.into_iter().map(|item| id(item.get(), name)).collect()
    }

    /// The users that a body names, by `user_id`, `user_ids` or `members`.
    pub fn users(&self) -> Result<Vec<Enrolment>, Code> {
        let listed = |name| self.json(name).is_some().then_some(name);
        match listed("members").or_else(|| listed("user_ids")) {
            Some(name) => self.list_of_users(name),
            None => Ok(vec![self.user()?]),
        }
    }

    /// Each a user, or `{"user_id","name","avatar"}`; no list is an empty one.
    pub fn list_of_users(&self, name: &'static str) -> Result<Vec<Enrolment>, Code> {
        let Some(json) = self.json(name) else {
            return Ok(Vec::new());
        };
        let read = |item: &RawValue| match JsonObject::parse(item.get().as_bytes(), &MEMBER)? {
            Some(member) => member.user(),
            None => Ok(Enrolment::of(&user_id(item.get(), name)?)),
        };
        items(json, name)?.into_iter().map(read).collect()
    }

    fn user(&self) -> Result<Enrolment, Code> {
        let text = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| serde_json::from_str(self.json(name)?).ok());
            found.unwrap_or_default()
        };
        Ok(Enrolment {
            user: self.user_id("user_id")?.ok_or(Code::NoUser)?,
            name: text(["name", "username"]),
            avatar: text(["avatar", "avatar_url"]),
        })
    }
}

fn items<'a>(json: &'a str, name: &'static str) -> Result<Vec<&'a RawValue>, Code> {
    serde_json::from_str(json).map_err(|_| Code::NotAList(name))
}

/// A text, or a whole number as its digits: services write ids either way.
fn id(json: &str, name: &'static str) -> Result<String, Code> {
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match json.as_bytes().first() {
        Some(b'"') => match serde_json::from_str::<String>(json) {
            Ok(text) if text.is_empty() => Err(Code::Missing(name)),
            // Half of a surrogate pair is none.
            text => text.map_err(|_| Code::WrongType(name, "a text")),
        },
        Some(b'0'..=b'9') if is_digits(json) => Ok(json.to_owned()),
        Some(b'-' | b'0'..=b'9') => {
            let what = if is_digits(&json[1..]) { "negative" } else { "no whole number" };
            Err(Code::BadNumber { name, number: echoed(json), what })
        }
        _ => Err(Code::NoId(name)),
    }
}

fn user_id(json: &str, name: &'static str) -> Result<String, Code> {
    Some(id(json, name)?).filter(|id| is_user(id)).ok_or(Code::BadId(name))
}

fn echoed(text: &str) -> String {
    text.chars().take(limits::ECHOED_CHARS).collect()
}
