//! The parameters of a query string, in the order in which they came.

use actix_web::HttpRequest;
use url::form_urlencoded;

use crate::limits;

/// A decoded query: percent-encoding undone, `+` is a space, as forms and most client libraries write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn of(request: &HttpRequest) -> Self {
        Self::parse(request.query_string())
    }

    pub fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The first value with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        let found = pairs.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The same, unless it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|text| !text.is_empty())
    }

    /// How many items a page may have, by the parameter `limit`; none when that is no such number.
    pub fn page_items(&self) -> Option<usize> {
        let limit = self.get("limit").map_or(Ok(limits::PAGE_ITEMS), str::parse).ok();
        limit.filter(|limit| (1..=limits::PAGE_ITEMS_MAX).contains(limit))
    }

    /// The first value with one of these names.
    pub fn get_any(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// All of them, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        let query = Query::parse("a=1&b=x%2By+z&a=2&c&=d");
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.get("b"), Some("x+y z"));
        assert_eq!(query.get("c"), Some(""));
        assert_eq!(query.get_any(&["none", "b"]), Some("x+y z"));
        assert!(!query.has("d"));
    }
}
