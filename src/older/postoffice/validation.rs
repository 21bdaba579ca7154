//! What the fields of a letter must look like: the table of `docs/protocols/postoffice.md §3`.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::value::RawValue;

use crate::{
    config::Validation,
    older::postoffice::{letter::Letter, refusal::Refusal},
};

/// The type of a field, by the document and by what later clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    /// A string, or an array whose items are judged one by one.
    Names,
    Content,
    /// 1 to 4; later clients: also a word.
    Type,
    /// A whole number; later clients: also a text.
    ContentType,
    Whole,
    Texts,
    List,
}

const REQUIRED: [&str; 4] = ["from", "subject", "content", "type"];

const FIELDS: [(&str, Kind); 19] = [
    ("from", Kind::Text),
    ("to", Kind::Names),
    ("subject", Kind::Text),
    ("content", Kind::Content),
    ("type", Kind::Type),
    ("cc", Kind::Names),
    ("contentType", Kind::ContentType),
    ("charset", Kind::Text),
    ("level", Kind::Whole),
    ("tags", Kind::Texts),
    ("attachments", Kind::List),
    ("references", Kind::Text),
    ("inReplyTo", Kind::Text),
    ("subjectId", Kind::Text),
    ("createTime", Kind::Whole),
    ("lastUpdateTime", Kind::Whole),
    ("state", Kind::Whole),
    ("token", Kind::Text),
    ("fromTag", Kind::Text),
];

/// Judges a letter; with `require_base64` strict validation takes `content` in base64 only. That `to` is there is looked at
/// elsewhere: it is needed always.
/// Error: the first field that is missing or of the wrong type.
pub fn check(letter: &Letter<'_>, level: Validation, require_base64: bool) -> Result<(), Refusal> {
    if level == Validation::Off {
        return Ok(());
    }
    if let Some(field) = REQUIRED.into_iter().find(|field| letter.get(field).is_none()) {
        return Err(Refusal::MissingField(field));
    }
    let strict = level == Validation::Strict;
    for (field, kind) in FIELDS {
        if let Some(value) = letter.get(field) {
            let (is_right, wanted) = kind.judge(value, strict, require_base64);
            if !is_right {
                return Err(Refusal::WrongField { field, wanted });
            }
        }
    }
    Ok(())
}

impl Kind {
    /// Whether a value is right, and what is.
    fn judge(self, value: &str, strict: bool, require_base64: bool) -> (bool, &'static str) {
        match self {
            Self::Text => (is_text(value), "a string"),
            Self::Names => (is_text(value) || is_list(value), "a string or an array of strings"),
            Self::Content if strict && require_base64 => (is_base64(value), "a string in base64"),
            Self::Content => (!strict || is_text(value), "a string"),
            Self::Type if strict => (is_type(value), "1, 2, 3 or 4"),
            Self::Type => (is_type(value) || is_text(value), "1, 2, 3 or 4, or a string"),
            Self::ContentType if strict => (is_whole(value), "a whole number"),
            Self::ContentType => (is_whole(value) || is_text(value), "a whole number or a string"),
            Self::Whole => (is_whole(value), "a whole number"),
            Self::Texts => (serde_json::from_str::<Vec<String>>(value).is_ok(), "an array of strings"),
            Self::List => (is_list(value), "an array"),
        }
    }
}

fn is_text(value: &str) -> bool {
    value.starts_with('"')
}

fn is_list(value: &str) -> bool {
    serde_json::from_str::<Vec<&RawValue>>(value).is_ok()
}

/// JSON Schema takes 2.0 for an integer, too.
fn is_whole(value: &str) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain || value.parse::<f64>().is_ok_and(|number| number.fract() == 0.0)
}

fn is_type(value: &str) -> bool {
    let number = value.parse::<f64>();
    number.is_ok_and(|number| [1.0, 2.0, 3.0, 4.0].contains(&number))
}

fn is_base64(value: &str) -> bool {
    let text = serde_json::from_str::<String>(value);
    text.is_ok_and(|text| BASE64_STANDARD.decode(text).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    fn check(level: Validation, change: Value) -> Result<(), String> {
        let mut letter = json!({"from": "a", "to": "b", "subject": "s", "content": "b2s=", "type": 1});
        for (name, value) in change.as_object().unwrap() {
            letter[name] = value.clone();
        }
        let text = letter.to_string().into();
        let checked = super::check(&Letter::read(&text).unwrap(), level, true);
        checked.map_err(|refusal| refusal.reply().1.into_owned())
    }

    /// docs/protocols/postoffice.md §3, row by row: a value that is wrong at both levels, and one that is right.
    #[test]
    fn each_field_has_its_type() {
        let rows = [
            ("from", json!(1), json!("x")),
            ("to", json!(1), json!(["x"])),
            ("to", json!({}), json!("x")),
            ("subject", json!(false), json!("")),
            ("type", json!(5), json!(4)),
            ("type", json!(0), json!(2.0)),
            ("type", json!([1]), json!(1)),
            ("cc", json!(true), json!(["x", "y"])),
            ("contentType", json!([]), json!(3)),
            ("charset", json!(8), json!("UTF-8")),
            ("level", json!("high"), json!(-2)),
            ("level", json!(1.5), json!(0)),
            ("tags", json!("a"), json!(["a"])),
            ("tags", json!([1]), json!([])),
            ("attachments", json!({}), json!([{}, 1])),
            ("references", json!(1), json!("r")),
            ("inReplyTo", json!(1), json!("i")),
            ("subjectId", json!(1), json!("s")),
            ("createTime", json!("now"), json!(1_760_000_000)),
            ("lastUpdateTime", json!("now"), json!(1_760_000_000)),
            ("state", json!("sent"), json!(1)),
            ("token", json!(1), json!("t")),
            ("fromTag", json!(1), json!("APP")),
        ];
        for (name, wrong, right) in rows {
            for level in [Validation::Lenient, Validation::Strict] {
                let fault = check(level, json!({ name: wrong })).unwrap_err();
                assert!(fault.contains(&format!("field {name} ")), "{fault}");
                assert_eq!(check(level, json!({ name: right })), Ok(()), "{name}");
            }
            assert_eq!(check(Validation::Off, json!({ name: wrong })), Ok(()));
        }
    }

    #[test]
    fn required_fields_are_missed() {
        for name in REQUIRED {
            for level in [Validation::Lenient, Validation::Strict] {
                let fault = check(level, json!({ name: null })).unwrap_err();
                assert_eq!(fault, format!("field {name} is missing"));
            }
            assert_eq!(check(Validation::Off, json!({ name: null })), Ok(()));
        }
    }

    /// What later clients send is right for `lenient` only.
    #[test]
    fn later_clients_are_lenient() {
        for change in [json!({"type": "msg"}), json!({"contentType": "text/plain"}), json!({"content": {"a": 1}})] {
            assert_eq!(check(Validation::Lenient, change.clone()), Ok(()));
            assert!(check(Validation::Strict, change).is_err());
        }
        assert!(check(Validation::Strict, json!({"content": "not base64!"})).is_err());
        assert_eq!(check(Validation::Lenient, json!({"content": "not base64!"})), Ok(()));
    }

    #[test]
    fn large_numbers_are_whole() {
        assert_eq!(check(Validation::Strict, json!({"state": u64::MAX})), Ok(()));
        assert!(is_whole("123456789012345678901234567890"));
        assert!(is_whole("1e3") && !is_whole("1e-3") && !is_whole("-"));
    }
}
