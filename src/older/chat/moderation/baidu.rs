//! Baidu's text censor (`docs/protocols/chat.md §8`; <https://ai.baidu.com/ai-doc/ANTIPORN/Rk3h6xb3i>).
//!
//! ```text
//! POST /oauth/2.0/token?grant_type=client_credentials&client_id=…&client_secret=…
//!   {"access_token": "…", "expires_in": 2592000}   or {"error": "invalid_client", "error_description": "…"}
//! POST /rest/2.0/solution/v1/text_censor/v2/user_defined?access_token=…     text=… as a form
//!   {"log_id": 1, "conclusion": "不合规", "conclusionType": 2, "data": [{"msg": "…"}]}
//!   or {"error_code": 110, "error_msg": "Access token invalid or no longer valid"}
//! ```
//!
//! The HTTP client blocks, so each call has a thread of the runtime's pool. `awc` does not, but needs HTTP/2, in a
//! version with a known weakness, and would switch it on in the server as well.

use std::{io, sync::Arc, time::Duration};

use rustls::crypto::aws_lc_rs;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::sync::Semaphore;
use ureq::{
    Agent,
    tls::{RootCerts, TlsConfig},
};
use url::{Url, form_urlencoded};

use crate::{
    clock::Clock,
    config, limits,
    older::chat::moderation::{ModerationFault, breaker::Breaker, token::TokenCell},
};

/// "Access token invalid or no longer valid", "Access token expired".
const TOKEN_REFUSED: [i64; 2] = [110, 111];
/// "Open api qps request limit reached": the service is there, but not for this many.
const TOO_FAST: i64 = 18;

/// What the service says about a text, with its reason.
#[derive(Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// 合规
    Compliant,
    /// 不合规
    Violation(Option<String>),
    /// 疑似
    Suspected(Option<String>),
}

/// Why it says nothing about a text. No text, no key and no token is in it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CensorFault {
    #[error("it has not answered in time")]
    Timeout,
    #[error("it is left alone for some seconds after it failed some times in a row")]
    Open,
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it answered with HTTP status {0}")]
    Status(u16),
    #[error("its answer cannot be read")]
    Unreadable,
    #[error("it refuses the keys (Baidu.ApiKey, Baidu.SecretKey): {0}")]
    Keys(String),
    #[error("it says error {0}: {1}")]
    Code(i64, String),
    #[error("its audit has failed (conclusionType 4)")]
    AuditFailed,
    #[error("it says conclusionType {0}, which is not known")]
    UnknownConclusion(i64),
}

impl CensorFault {
    /// Whether the next text will fail as well.
    const fn is_outage(&self) -> bool {
        !matches!(self, Self::Code(TOO_FAST, _) | Self::AuditFailed | Self::UnknownConclusion(_) | Self::Open)
    }
}

pub struct Censor {
    agent: Agent,
    token_url: Url,
    censor_url: Url,
    api_key: SecretString,
    secret_key: SecretString,
    timeout: Duration,
    token: TokenCell,
    breaker: Breaker,
    calls: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Option<SecretString>,
    /// Seconds.
    expires_in: Option<u64>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    conclusion_type: Option<i64>,
    #[serde(default)]
    data: Vec<Finding>,
    #[serde(rename = "error_code")]
    error_code: Option<i64>,
    #[serde(rename = "error_msg", default)]
    error_msg: String,
}

#[derive(Deserialize)]
struct Finding {
    msg: Option<String>,
}

impl Censor {
    /// # Errors
    /// The base URL is not a URL.
    pub fn new(settings: &config::Chat, clock: Clock) -> Result<Self, ModerationFault> {
        let url = |path: &str| endpoint(&settings.baidu_base_url, path);
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::WebPki)
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            // Without this, the client would take a proxy from the environment.
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent("letshare-server")
            .timeout_global(Some(settings.baidu_timeout))
            .max_idle_connections_per_host(limits::MODERATION_CALLS)
            .build()
            .new_agent();
        Ok(Self {
            agent,
            token_url: url("/oauth/2.0/token")?,
            censor_url: url("/rest/2.0/solution/v1/text_censor/v2/user_defined")?,
            api_key: settings.baidu_api_key.clone(),
            secret_key: settings.baidu_secret_key.clone(),
            timeout: settings.baidu_timeout,
            token: TokenCell::new(clock.clone()),
            breaker: Breaker::new(clock),
            calls: Arc::new(Semaphore::new(limits::MODERATION_CALLS)),
        })
    }

    /// # Errors
    /// When the service says nothing about it, in time.
    pub async fn judge(&self, text: &str) -> Result<Conclusion, CensorFault> {
        let call = self.breaker.admit().ok_or(CensorFault::Open)?;
        let outcome = tokio::time::timeout(self.timeout, self.ask(text)).await;
        let outcome = outcome.unwrap_or(Err(CensorFault::Timeout));
        match &outcome {
            Err(fault) if fault.is_outage() => call.failed(),
            _ => call.succeeded(),
        }
        outcome
    }

    async fn ask(&self, text: &str) -> Result<Conclusion, CensorFault> {
        let token = self.token(None).await?;
        match self.ask_with(&token, text).await {
            Err(CensorFault::Code(code, _)) if TOKEN_REFUSED.contains(&code) => {
                let token = self.token(Some(&token)).await?;
                self.ask_with(&token, text).await
            }
            outcome => outcome,
        }
    }

    async fn token(&self, refused: Option<&SecretString>) -> Result<SecretString, CensorFault> {
        self.token.get(refused, async || self.fetch().await).await
    }

    /// A token, and how long it is good.
    async fn fetch(&self) -> Result<(SecretString, Duration), CensorFault> {
        let mut url = self.token_url.clone();
        url.query_pairs_mut()
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", self.api_key.expose_secret())
            .append_pair("client_secret", self.secret_key.expose_secret());
        let (status, body) = self.post(url, String::new()).await?;
        // Refused keys come with status 401.
        let answer: TokenAnswer = read(status, &body)?;
        match (answer.access_token, answer.error) {
            (Some(token), None) => Ok((token, Duration::from_secs(answer.expires_in.ok_or(CensorFault::Unreadable)?))),
            (_, Some(error)) => Err(CensorFault::Keys(shortened(&error))),
            (None, None) => Err(if status == 200 { CensorFault::Unreadable } else { CensorFault::Status(status) }),
        }
    }

    async fn ask_with(&self, token: &SecretString, text: &str) -> Result<Conclusion, CensorFault> {
        let mut url = self.censor_url.clone();
        url.query_pairs_mut().append_pair("access_token", token.expose_secret());
        let form = form_urlencoded::Serializer::new(String::new()).append_pair("text", text).finish();
        let (status, body) = self.post(url, form).await?;
        let answer: Answer = read(status, &body)?;
        if let Some(code) = answer.error_code {
            return Err(CensorFault::Code(code, shortened(&answer.error_msg)));
        }
        let mut reasons = answer.data.iter().filter_map(|found| found.msg.as_deref());
        let reason = reasons.next().map(shortened);
        match answer.conclusion_type {
            Some(1) => Ok(Conclusion::Compliant),
            Some(2) => Ok(Conclusion::Violation(reason)),
            Some(3) => Ok(Conclusion::Suspected(reason)),
            Some(4) => Err(CensorFault::AuditFailed),
            Some(other) => Err(CensorFault::UnknownConclusion(other)),
            None if status == 200 => Err(CensorFault::Unreadable),
            None => Err(CensorFault::Status(status)),
        }
    }

    /// The status and the body of an answer.
    async fn post(&self, url: Url, form: String) -> Result<(u16, Vec<u8>), CensorFault> {
        let calls = Arc::clone(&self.calls);
        // Only fails when it is closed, which nobody does.
        let place = calls.acquire_owned().await.map_err(|_| CensorFault::Timeout)?;
        let agent = self.agent.clone();
        let call = move || {
            let answer = agent.post(url.as_str()).content_type("application/x-www-form-urlencoded").send(form);
            let mut answer = answer.map_err(|error| fault_of(&error))?;
            let status = answer.status().as_u16();
            let body = answer.body_mut().with_config();
            let body = body.limit(limits::MODERATION_ANSWER_BYTES).read_to_vec();
            // The thread is free now, whether anybody still waits or not.
            drop(place);
            Ok((status, body.map_err(|error| fault_of(&error))?))
        };
        let called = tokio::task::spawn_blocking(call).await;
        called.unwrap_or(Err(CensorFault::Unreadable))
    }
}

fn endpoint(base: &str, path: &str) -> Result<Url, ModerationFault> {
    let url = Url::parse(base).ok().filter(|url| {
        let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
        is_http && url.query().is_none() && url.fragment().is_none()
    });
    let url = url.and_then(|url| {
        let whole = format!("{}{path}", url.as_str().trim_end_matches('/'));
        Url::parse(&whole).ok()
    });
    url.ok_or_else(|| ModerationFault::Url { url: config::masked(base) })
}

fn read<T: DeserializeOwned>(status: u16, body: &[u8]) -> Result<T, CensorFault> {
    serde_json::from_slice(body).map_err(|_| match status {
        200 => CensorFault::Unreadable,
        status => CensorFault::Status(status),
    })
}

/// Without the texts of the HTTP client, which name the URL, with what is secret in it.
fn fault_of(error: &ureq::Error) -> CensorFault {
    match error {
        ureq::Error::Timeout(_) => CensorFault::Timeout,
        ureq::Error::HostNotFound => CensorFault::Unreachable("its name is not known".to_owned()),
        // What is wrong with TLS is in the text.
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            CensorFault::Unreachable(error.to_string())
        }
        ureq::Error::Io(error) => CensorFault::Unreachable(error.kind().to_string()),
        ureq::Error::Rustls(error) => CensorFault::Unreachable(error.to_string()),
        ureq::Error::ConnectionFailed => CensorFault::Unreachable("no connection".to_owned()),
        _ => CensorFault::Unreadable,
    }
}

/// A text of the service, for the log.
fn shortened(words: &str) -> String {
    words.chars().take(limits::LOG_FIELD_CHARS).collect()
}
