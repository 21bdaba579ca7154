//! Fields of a body. Each refuses by [`Code`] what is of another type.

use serde_json::{Map, Value};

use crate::{
    limits,
    older::group::{code::Code, groups::Enrolment, membership::is_user},
};

/// One member.
const MEMBER: [&str; 5] = ["user_id", "name", "username", "avatar", "avatar_url"];

/// Refuses the first field that is none of these.
pub fn only_fields(object: &Value, fields: &[&str]) -> Result<(), Code> {
    let mut names = object.as_object().into_iter().flat_map(Map::keys);
    let Some(unknown) = names.find(|name| !fields.contains(&name.as_str())) else {
        return Ok(());
    };
    let name = unknown.chars().take(limits::ECHOED_CHARS).collect();
    Err(Code::UnknownField { name, known: fields.join(", ") })
}

/// A field that is a text, or not there.
pub fn text(object: &Value, name: &'static str) -> Result<Option<String>, Code> {
    match &object[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(Code::WrongType(name, "a text")),
    }
}

/// A field that names somebody or something, or is not there.
pub fn id(object: &Value, name: &'static str) -> Result<Option<String>, Code> {
    match &object[name] {
        Value::Null => Ok(None),
        value => text_of(value).map(Some).ok_or(Code::NoId(name)),
    }
}

/// A text, or a whole number as its text: services write ids either way.
pub fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        _ => None,
    }
}

/// The users that a body names, by `user_id`, `user_ids` or `members`.
pub fn users(body: &Value) -> Result<Vec<Enrolment>, Code> {
    match (&body["members"], &body["user_ids"]) {
        (Value::Null, Value::Null) => Ok(vec![user(body)?]),
        (Value::Null, list) | (list, _) => list_of_users(list),
    }
}

/// Each a user, or `{"user_id","name","avatar"}`.
pub fn list_of_users(list: &Value) -> Result<Vec<Enrolment>, Code> {
    let list = list.as_array().ok_or(Code::BadBody(""))?;
    let read = |item: &Value| {
        only_fields(item, &MEMBER)?;
        user(item)
    };
    list.iter().map(read).collect()
}

fn user(item: &Value) -> Result<Enrolment, Code> {
    let text = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| item.get(name)?.as_str());
        found.unwrap_or_default().to_owned()
    };
    let user = if item.is_object() { text_of(&item["user_id"]) } else { text_of(item) };
    Ok(Enrolment {
        user: user.filter(|user| is_user(user)).ok_or(Code::NoUser)?,
        name: text(["name", "username"]),
        avatar: text(["avatar", "avatar_url"]),
    })
}
