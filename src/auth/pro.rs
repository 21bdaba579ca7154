//! PRO tokens: they lift the size limit of the file relay for one user
//! (`docs/protocols/letshare.md §3.6`). They are no credentials: without one, or with a bad one, a client
//! connects all the same.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use super::{JwtKey, MintError, TokenFault};
use crate::{ids::Timestamp, limits};

/// Signs and checks PRO tokens, with the secret of the JWTs.
#[derive(Debug)]
pub struct ProKey(JwtKey);

/// A token and when it ends.
#[derive(Debug)]
pub struct ProToken {
    pub token: String,
    pub expires: Timestamp,
}

#[derive(Clone, Serialize, Deserialize)]
struct WireClaims {
    is_pro: bool,
    sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<Number>,
    exp: Option<Number>,
}

impl ProKey {
    pub fn new(secret: &SecretString) -> Self {
        Self(JwtKey::new(secret))
    }

    /// Whether `token` makes `user` a PRO user at `now`.
    pub fn is_pro(&self, token: &str, user: &str, now: Timestamp) -> bool {
        token.len() <= limits::TOKEN_BYTES && self.check(token, user, now).is_ok_and(|pro| pro)
    }

    fn check(&self, token: &str, user: &str, now: Timestamp) -> Result<bool, TokenFault> {
        let claims: WireClaims = self.0.verify(token)?;
        self.0.check_time(claims.exp.as_ref(), claims.nbf.as_ref(), now)?;
        Ok(claims.is_pro && claims.sub == user)
    }

    /// A token for `user`, valid for `hours` from `now`.
    /// Error: when the user is empty.
    pub fn mint(&self, user: &str, hours: u32, now: Timestamp) -> Result<ProToken, MintError> {
        if user.is_empty() {
            return Err(MintError::NoUser);
        }
        let seconds = now.millis() / 1_000;
        let expires = seconds + u64::from(hours) * 3_600;
        let claims = WireClaims {
            is_pro: true,
            sub: user.to_owned(),
            iat: Some(seconds.into()),
            nbf: None,
            exp: Some(expires.into()),
        };
        Ok(ProToken { token: self.0.sign(&claims)?, expires: Timestamp::from_millis(expires * 1_000) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn a_pro_token_is_good_for_its_user_and_its_time() {
        let key = ProKey::new(&"secret".into());
        let ProToken { token, expires } = key.mint("小明:abc123", 720, NOW).expect("signs");
        assert_eq!(expires.millis(), NOW.millis() + 720 * HOUR_MS);
        assert!(key.is_pro(&token, "小明:abc123", NOW));
        assert!(!key.is_pro(&token, "小明:abc124", NOW), "somebody else");
        assert!(!key.is_pro(&token, "小明:abc123", expires), "expired");
        assert!(!ProKey::new(&"other".into()).is_pro(&token, "小明:abc123", NOW));
        for nonsense in ["", "x", "a.b.c"] {
            assert!(!key.is_pro(nonsense, "小明:abc123", NOW));
        }
    }

    #[test]
    fn tokens_of_one_kind_are_none_of_the_other() {
        let secret = "secret".into();
        let (pro, jwt) = (ProKey::new(&secret), JwtKey::new(&secret));
        let pro_token = pro.mint("a", 1, NOW).expect("signs").token;
        assert_eq!(jwt.check(&pro_token, NOW), Err(TokenFault::NoUser));
        let login = jwt.mint("a", None, 1, NOW).expect("signs");
        assert!(!pro.is_pro(&login, "a", NOW));
    }
}
