//! The fields of a row, as exports of databases write them: numbers as text, MongoDB's extended JSON, dates of several forms.
//! A field that is null or empty is not there.

use jiff::{civil::DateTime, tz::TimeZone};
use serde_json::{Map, Value};

use crate::ids::Timestamp;

/// What a column may be called; the first name is the one that is told.
pub type Names = &'static [&'static str];

/// A whole number from here on is a time in milliseconds, below in seconds: as seconds it is the year 5138.
const MILLISECONDS: i64 = 100_000_000_000;

/// A row by the names of its columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record(Map<String, Value>);

/// # Errors
/// Of all readers: the field and what is wrong with it.
impl Record {
    pub fn new(fields: Map<String, Value>) -> Self {
        Self(fields.into_iter().map(|(name, value)| (name, plain(value))).collect())
    }

    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn find(&self, names: Names) -> Option<(&'static str, &Value)> {
        let found = names.iter().filter_map(|name| Some((*name, self.0.get(*name)?)));
        found.into_iter().find(|(_, value)| !matches!(value, Value::Null) && value.as_str() != Some(""))
    }

    /// A text, or a whole number as its decimal text.
    pub fn text(&self, names: Names) -> Result<Option<String>, String> {
        self.find(names).map(|(name, value)| text_of(value).ok_or_else(|| wrong(name, value, "a text"))).transpose()
    }

    pub fn integer(&self, names: Names) -> Result<Option<i64>, String> {
        let Some((name, value)) = self.find(names) else {
            return Ok(None);
        };
        let number = text_of(value).and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| wrong(name, value, "a whole number"))
    }

    /// Several texts or numbers: an array, or a text with commas, semicolons or spaces between them.
    pub fn list(&self, names: Names) -> Result<Vec<String>, String> {
        let Some((name, value)) = self.find(names) else {
            return Ok(Vec::new());
        };
        match value {
            Value::Array(values) => {
                let texts = values.iter().map(text_of);
                texts.collect::<Option<_>>().ok_or_else(|| wrong(name, value, "a list of texts or numbers"))
            }
            Value::String(text) => {
                // An array of JSON in a column of CSV has brackets and quotes.
                let marks = |c: char| c == ',' || c == ';' || c.is_whitespace() || matches!(c, '[' | ']' | '"');
                Ok(text.split(marks).filter(|part| !part.is_empty()).map(str::to_owned).collect())
            }
            value => Ok(vec![text_of(value).ok_or_else(|| wrong(name, value, "a list"))?]),
        }
    }

    /// Seconds or milliseconds since 1970, RFC 3339, or `YYYY-MM-DD hh:mm:ss` in `zone`.
    pub fn time(&self, names: Names, zone: &TimeZone) -> Result<Option<Timestamp>, String> {
        let Some((name, value)) = self.find(names) else {
            return Ok(None);
        };
        let read = || {
            let text = text_of(value)?;
            let millis = match text.parse::<i64>() {
                Ok(number) if number < MILLISECONDS => number.checked_mul(1_000)?,
                Ok(number) => number,
                Err(_) => match text.parse::<jiff::Timestamp>() {
                    Ok(moment) => moment.as_millisecond(),
                    Err(_) => {
                        let local = text.parse::<DateTime>().ok()?;
                        zone.to_ambiguous_timestamp(local).compatible().ok()?.as_millisecond()
                    }
                },
            };
            u64::try_from(millis).ok().map(Timestamp::from_millis)
        };
        let forms = "a time: seconds or milliseconds since 1970, 2025-07-01T11:03:23Z, or 2025-07-01 11:03:23";
        read().map(Some).ok_or_else(|| wrong(name, value, forms))
    }
}

/// # Errors
/// When there is none.
pub fn needed<T>(found: Option<T>, names: Names) -> Result<T, String> {
    found.ok_or_else(|| format!("{} is missing", names.first().unwrap_or(&"a column")))
}

fn wrong(name: &str, value: &Value, expected: &str) -> String {
    let mut shown = value.to_string();
    if let Some((end, _)) = shown.char_indices().nth(60) {
        shown.truncate(end);
        shown.push('…');
    }
    format!("{name} is {shown}, and not {expected}")
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        // Spreadsheets and JavaScript write large whole numbers so.
        Value::Number(number) => {
            let number = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15)?;
            Some((number as i64).to_string())
        }
        _ => None,
    }
}

/// MongoDB's extended JSON as plain values: `{"$oid":"…"}`, `{"$date":…}`, `{"$numberLong":"…"}`.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(fields) if fields.len() == 1 => {
            let mut fields = fields.into_iter();
            match fields.next() {
                Some((name, value)) if name.starts_with('$') => plain(value),
                Some((name, value)) => Value::Object([(name, value)].into_iter().collect()),
                None => Value::Null,
            }
        }
        Value::Array(values) => values.into_iter().map(plain).collect(),
        value => value,
    }
}
