//! The fields of a request's `data` or body, as Go reads them: null is as good as nothing, numbers are numbers
//! (`docs/protocols/chat.md §4, §10`). Pure.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    limits,
    older::chat::{code::Code, reply::Reply},
};

/// A JSON object, and the code of the reply when a field is not what it should be.
#[derive(Debug)]
pub struct Fields {
    values: Map<String, Value>,
    pub unreadable: Code,
}

/// How strictly, and in whose words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Only the types of messages that the document knows.
    pub strict_types: bool,
    /// The texts and codes of the source where it has others.
    pub is_source: bool,
}

/// What users say to users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub content: String,
    /// `message_type`
    pub kind: i64,
    /// The sender's own id of the message.
    pub client_id: Option<String>,
}

impl Fields {
    /// Nothing is an empty object (§10).
    /// Error: Something that is no object.
    pub fn read(json: Option<&str>, unreadable: Code) -> Result<Self, Reply> {
        match json.map(serde_json::from_str) {
            None | Some(Ok(Value::Null)) => Ok(Self { values: Map::new(), unreadable }),
            Some(Ok(Value::Object(values))) => Ok(Self { values, unreadable }),
            Some(_) => Err(unreadable.into()),
        }
    }

    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name).filter(|value| !value.is_null())
    }

    /// A field, or the default of its type, which is called `expected`.
    /// Error: it is of another type.
    fn get<'a, T: Deserialize<'a> + Default>(&'a self, name: &str, expected: &str) -> Result<T, Reply> {
        let value = self.value(name).map(T::deserialize).transpose();
        value.map(Option::unwrap_or_default).map_err(|_| self.wrong_type(name, expected))
    }

    /// A text; empty when it is not there.
    /// Error: it is of another type.
    pub fn text(&self, name: &str) -> Result<&str, Reply> {
        self.get(name, "a text")
    }

    fn wrong_type(&self, name: &str, expected: &str) -> Reply {
        Reply::from(self.unreadable).because(format!("{name} must be {expected}"))
    }

    /// The reply to a field of the right type that cannot be taken: `why` stands behind the document's text.
    pub fn refusal(&self, why: &str, reason: String) -> Reply {
        Reply::with_text(self.unreadable, format!("{}: {why}", self.unreadable.row().text)).because(reason)
    }

    /// Text of a message; empty when it is not there. Spaces are content, too.
    /// Error: it is no text, or longer than [`limits::CHAT_CONTENT_BYTES`].
    pub fn content(&self, name: &str) -> Result<&str, Reply> {
        let text = self.text(name)?;
        let limit = limits::CHAT_CONTENT_BYTES;
        if text.len() > limit {
            let why = format!("内容超过{limit}字节 (longer than {limit} bytes)");
            return Err(self.refusal(&why, format!("{name} is longer than {limit} bytes")));
        }
        Ok(text)
    }

    /// The id of a user; none for 0, who is nobody.
    /// Error: it is no whole number from 0 to 2^63-1, which is what the stores have.
    pub fn user(&self, name: &str) -> Result<Option<u64>, Reply> {
        let expected = "a whole number from 1 to 2^63-1";
        let user: u64 = self.get(name, expected)?;
        if !fits_the_stores(user) {
            return Err(self.wrong_type(name, expected));
        }
        Ok((user > 0).then_some(user))
    }

    /// Ids of users, each once.
    /// Error: it is no array of such numbers, or somebody in it is nobody.
    pub fn users(&self, name: &str) -> Result<Vec<u64>, Reply> {
        let expected = "a list of whole numbers from 1 to 2^63-1";
        let mut users: Vec<u64> = self.get(name, expected)?;
        if users.contains(&0) {
            let reason = format!("{name} has 0, which is no user; it must be {expected}");
            return Err(Reply::from(self.unreadable).because(reason));
        }
        if !users.iter().copied().all(fits_the_stores) {
            return Err(self.wrong_type(name, expected));
        }
        let mut seen = HashSet::new();
        users.retain(|user| seen.insert(*user));
        Ok(users)
    }

    /// The sender's own id of its message; the empty one is none.
    /// Error: it is no text, or too long to be remembered.
    pub fn client_id(&self) -> Result<Option<String>, Reply> {
        let (id, limit) = (self.text("client_id")?, limits::CHAT_CLIENT_ID_BYTES);
        if id.len() > limit {
            let reason = format!("client_id is longer than {limit} bytes");
            return Err(self.refusal("client_id 过长 (too long)", reason));
        }
        Ok((!id.is_empty()).then(|| id.to_owned()))
    }

    /// `content`, `message_type` and `client_id`.
    /// Error: One of them is of another type or too long, or `rules` do not know the type of the message.
    pub fn message(&self, rules: Rules) -> Result<Text, Reply> {
        // To Go, none and 0 are the same; and only 1 is moderated.
        let kind = match self.get("message_type", "a whole number")? {
            0 => 1,
            kind => kind,
        };
        if rules.strict_types && !(1..=3).contains(&kind) {
            let reason = "message_type must be 1, 2 or 3 with chat.strict_types";
            return Err(self.refusal("message_type 只能是 1、2 或 3", reason.to_owned()));
        }
        Ok(Text { content: self.content("content")?.to_owned(), kind, client_id: self.client_id()? })
    }
}

/// As a number with a sign, which is what the stores have.
fn fits_the_stores(user: u64) -> bool {
    i64::try_from(user).is_ok()
}
