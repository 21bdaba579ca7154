//! The fields of a request's `data` or body, as Go reads them: null is as good as nothing, numbers are numbers
//! (`docs/protocols/chat.md §4, §10`). Pure.

use std::{borrow::Cow, collections::HashSet};

use serde_json::{Map, Value};

use crate::{
    limits,
    older::chat::{code::Code, reply::Reply},
};

/// A JSON object.
#[derive(Debug)]
pub struct Fields(Map<String, Value>);

/// A field is not what it should be; what is said about it, if it is more than that.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong(Option<Cow<'static, str>>);

impl Wrong {
    const TYPE: Self = Self(None);

    pub fn said(text: &'static str) -> Self {
        Self(Some(text.into()))
    }

    /// As a reply with this code: its text, and what there is to say.
    pub fn told(self, code: Code) -> Reply {
        match self.0 {
            None => code.into(),
            Some(said) => Reply::told(code, format!("{}: {said}", code.text())),
        }
    }
}

impl Fields {
    /// Nothing is an empty object (§10).
    ///
    /// # Errors
    /// Something that is no object.
    pub fn read(json: Option<&str>) -> Result<Self, Wrong> {
        match json.map(serde_json::from_str) {
            None | Some(Ok(Value::Null)) => Ok(Self(Map::new())),
            Some(Ok(Value::Object(fields))) => Ok(Self(fields)),
            Some(_) => Err(Wrong::TYPE),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// # Errors
    /// It is no text.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Wrong> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Wrong::TYPE),
        }
    }

    /// Text of a message; empty when it is not there. Spaces are content, too.
    ///
    /// # Errors
    /// It is no text, or longer than [`limits::CHAT_CONTENT_BYTES`].
    pub fn content(&self, name: &str) -> Result<&str, Wrong> {
        let text = self.text(name)?.unwrap_or_default();
        if text.len() > limits::CHAT_CONTENT_BYTES {
            let limit = limits::CHAT_CONTENT_BYTES;
            return Err(Wrong(Some(format!("内容超过{limit}字节 (longer than {limit} bytes)").into())));
        }
        Ok(text)
    }

    /// # Errors
    /// It is no whole number.
    pub fn whole(&self, name: &str) -> Result<Option<i64>, Wrong> {
        let whole = |value: &Value| value.as_i64().ok_or(Wrong::TYPE);
        self.get(name).map(whole).transpose()
    }

    /// The id of a user; none for 0, who is nobody.
    ///
    /// # Errors
    /// It is no whole number from 0 to 2^63-1, which is what the stores have.
    pub fn user(&self, name: &str) -> Result<Option<u64>, Wrong> {
        let user = self.get(name).map(user).transpose()?;
        Ok(user.filter(|user| *user > 0))
    }

    /// Ids of users, each once.
    ///
    /// # Errors
    /// It is no array of such numbers, or somebody in it is nobody.
    pub fn users(&self, name: &str) -> Result<Vec<u64>, Wrong> {
        let users = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(users)) => users,
            Some(_) => return Err(Wrong::TYPE),
        };
        let mut seen = HashSet::new();
        let mut each = Vec::new();
        for value in users {
            let user = user(value)?;
            if user == 0 {
                return Err(Wrong::TYPE);
            }
            if seen.insert(user) {
                each.push(user);
            }
        }
        Ok(each)
    }

    /// The sender's own id of its message; the empty one is none.
    ///
    /// # Errors
    /// It is no text, or too long to be remembered.
    pub fn client_id(&self) -> Result<Option<String>, Wrong> {
        let id = self.text("client_id")?.filter(|id| !id.is_empty());
        if id.is_some_and(|id| id.len() > limits::CHAT_CLIENT_ID_BYTES) {
            return Err(Wrong::said("client_id 过长 (too long)"));
        }
        Ok(id.map(str::to_owned))
    }
}

fn user(value: &Value) -> Result<u64, Wrong> {
    let user = value.as_u64().filter(|user| i64::try_from(*user).is_ok()).ok_or(Wrong::TYPE)?;
    Ok(user)
}
