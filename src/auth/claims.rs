//! What is wrong with the claims of a token that carries our signature: for the operator's log, and for its holder, who
//! got it from an owner of the secret. Other tokens are not explained.

use serde_json::{Map, Value};

use super::{JwtKey, leeway::instant};
use crate::{ids::Timestamp, limits};

/// What a protocol wants to read in a token.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Any of these claims names the user; the first is the one that the documents have.
    pub user: &'a [&'a str],
    /// What that has to be, for the refusal, and the check.
    pub kind: &'static str,
    pub is_user: fn(&Value) -> bool,
    /// Whether tokens must end.
    pub needs_exp: bool,
}

impl JwtKey {
    /// Which claim is missing or not what it has to be. None: the token is not ours, or its claims are as they have to be.
    pub fn wrong_claim(&self, token: &str, expected: Expected<'_>) -> Option<String> {
        let claims: Map<String, Value> = self.verify(token).ok()?;
        for name in ["exp", "nbf"] {
            if claims.get(name).is_some_and(|time| !time.is_number()) {
                return Some(format!("claim {name} must be a number of seconds"));
            }
        }
        let found = expected.user.iter().find_map(|name| Some((*name, claims.get(*name)?)));
        match found {
            None => {
                let first = expected.user.first().copied().unwrap_or_default();
                Some(format!("claim {first} ({}) is missing; {}", expected.kind, there(&claims)))
            }
            Some((name, value)) if !(expected.is_user)(value) => {
                Some(format!("claim {name} must be {}", expected.kind))
            }
            Some(_) if expected.needs_exp && !claims.contains_key("exp") => Some("claim exp is missing".to_owned()),
            Some(_) => None,
        }
    }

    /// Which time of the token is why it is not valid now, although its claims have the right types. None: the token is not
    /// ours, or is valid, or has expired.
    pub fn wrong_time(&self, token: &str, now: Timestamp) -> Option<String> {
        let claims: Map<String, Value> = self.verify(token).ok()?;
        for name in ["exp", "nbf"] {
            let seconds = claims.get(name).and_then(Value::as_f64);
            if seconds.is_some_and(|seconds| instant(seconds).is_none()) {
                return Some(format!("claim {name} must be a number of seconds from 1970 on"));
            }
        }
        let begins = instant(claims.get("nbf")?.as_f64()?)?;
        let ahead = self.leeway.begun("nbf", begins, now).err()?;
        let (by, allowed) = (ahead.by.as_secs(), ahead.allowed.as_secs());
        Some(format!(
            "claim nbf: the token is not valid for another {by} s; {allowed} s are allowed (auth.clock_leeway)"
        ))
    }
}

/// The names of the claims that a token has instead: among them is mostly the one that was meant.
fn there(claims: &Map<String, Value>) -> String {
    let names = claims.keys().take(limits::CLAIMS_NAMED);
    let names: Vec<String> = names.map(|name| name.chars().take(limits::ECHOED_CHARS).collect()).collect();
    if names.is_empty() { "the token has no claims".to_owned() } else { format!("the token has {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    const EXPECTED: Expected<'_> =
        Expected { user: &["ID", "id"], kind: "a number", is_user: Value::is_u64, needs_exp: true };

    /// findings O15: the claim that is missing, or is of another type, is named; foreign tokens are not explained.
    #[test]
    fn what_is_wrong_is_named() {
        let key = JwtKey::new(&"a secret that is long enough for all".into());
        for (claims, expected) in [
            (json!({"uid": 7, "exp": 9}), Some("claim ID (a number) is missing; the token has exp, uid")),
            (json!({}), Some("claim ID (a number) is missing; the token has no claims")),
            (json!({"ID": "7"}), Some("claim ID must be a number")),
            (json!({"id": null}), Some("claim id must be a number")),
            (json!({"ID": 7}), Some("claim exp is missing")),
            (json!({"ID": 7, "exp": "9"}), Some("claim exp must be a number of seconds")),
            (json!({"ID": 7, "exp": 9}), None),
        ] {
            let token = key.sign(&claims).unwrap();
            assert_eq!(key.wrong_claim(&token, EXPECTED).as_deref(), expected, "{claims}");
        }
        let other = JwtKey::new(&"another secret that is long enough, too".into());
        assert_eq!(key.wrong_claim(&other.sign(&json!({})).unwrap(), EXPECTED), None);
        assert_eq!(key.wrong_claim("nonsense", EXPECTED), None);
    }
}
