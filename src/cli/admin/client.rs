//! One request of the admin API after the other, by the password of the settings or of a file.

use std::{fs, io, net::SocketAddr, path::Path, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::crypto::aws_lc_rs;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use thiserror::Error;
use ureq::{
    Agent, RequestBuilder,
    http::{Response, Uri},
    tls::{RootCerts, TlsConfig},
};
use url::Url;

use crate::{
    cli::banner::reachable,
    config::{Config, Protocol},
};

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Fault {
    #[error("--url must look like http://127.0.0.1:8080")]
    BadUrl,
    #[error("console.enabled is false in these settings; name the server with --url")]
    NoConsole,
    #[error("{key} is 0, so the port is not known here; name it with --url")]
    UnknownPort { key: &'static str },
    #[error(
        "{0} is a hash, which is no password: put the password itself into a file and name that with --password-file"
    )]
    IsHash(&'static str),
    #[error("the password cannot be read: {0}")]
    NoPassword(io::Error),
    #[error("{0}")]
    Data(String),
    #[error("no answer from {url}: {error}")]
    Silent { url: String, error: Box<ureq::Error> },
    #[error("{0}")]
    Refused(String),
    #[error("the stream broke: {0}")]
    Broken(String),
}

pub struct Client {
    agent: Agent,
    base: Url,
    password: Option<String>,
    /// What is shown from now on.
    bearer: Option<String>,
}

impl Client {
    pub fn new(config: &Config, url: Option<&str>, password_file: Option<&Path>) -> Result<Self, Fault> {
        let base = match url {
            Some(url) => Url::parse(url).map_err(|_| Fault::BadUrl)?,
            None => own_url(config)?,
        };
        let file = password_file.or_else(|| config.console.password_file.as_deref().filter(|_| url.is_none()));
        let password = match file {
            Some(file) => fs::read_to_string(file).map_err(Fault::NoPassword)?.trim().to_owned(),
            None => config.console.password.expose_secret().to_owned(),
        };
        if password.starts_with("$argon2") {
            let key =
                if file.is_some() { "what the password file holds" } else { "console.password of these settings" };
            return Err(Fault::IsHash(key));
        }
        let password = Some(password).filter(|text| !text.is_empty());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::WebPki)
            .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
            .build();
        let agent = Agent::config_builder().tls_config(tls).proxy(None).max_redirects(0).http_status_as_error(false);
        Ok(Self { agent: agent.build().new_agent(), base, bearer: password.clone(), password })
    }

    pub fn get(&mut self, path: &str, query: &[(&str, String)]) -> Result<Value, Fault> {
        self.ask(path, query, |agent, url, bearer| with(agent.get(url), bearer).call())
    }

    pub fn delete(&mut self, path: &str) -> Result<Value, Fault> {
        self.ask(path, &[], |agent, url, bearer| with(agent.delete(url), bearer).call())
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Result<Value, Fault> {
        let body = body.to_string();
        self.ask(path, &[], |agent, url, bearer| {
            with(agent.post(url), bearer).header("Content-Type", "application/json").send(&body)
        })
    }

    /// The lines of Ably's stream of events for a channel.
    pub fn follow(&mut self, channel: &str, app: Option<&str>) -> Result<impl io::Read + use<>, Fault> {
        let answer = self.post("token", &json!({"app": app}))?;
        let token = BASE64_STANDARD.encode(answer["token"].as_str().unwrap_or_default());
        // Annotations come to who asks for them; a name with a qualifier of its own is left as it is.
        let listening = "[?modes=subscribe,presence_subscribe,annotation_subscribe]";
        let channel = if channel.starts_with('[') { channel.to_owned() } else { format!("{listening}{channel}") };
        let mut url = self.base.clone();
        url.set_path("/sse");
        url.query_pairs_mut().append_pair("channels", &channel).append_pair("v", "1.2").append_pair("separator", "\n");
        let response = with(self.agent.get(uri(&url)?), Some(&token)).call().map_err(|error| silent(&url, error))?;
        if response.status() != 200 {
            return Err(refusal(response));
        }
        Ok(response.into_body().into_reader())
    }

    /// A password that is a hash at the server opens a session first.
    fn ask(
        &mut self,
        path: &str,
        query: &[(&str, String)],
        send: impl Fn(&Agent, Uri, Option<&str>) -> Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, Fault> {
        let mut url = self.base.clone();
        url.set_path(&format!("/admin/api/{path}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let address = uri(&url)?;
        let ask =
            |bearer: Option<&str>| send(&self.agent, address.clone(), bearer).map_err(|error| silent(&url, error));
        let mut response = ask(self.bearer.as_deref())?;
        if response.status() == 401
            && let Some(password) = self.password.take()
        {
            let mut login = self.base.clone();
            login.set_path("/admin/api/login");
            let request = self.agent.post(uri(&login)?).header("Content-Type", "application/json");
            let answer = request.send(json!({"password": password}).to_string());
            let answer = read(answer.map_err(|error| silent(&login, error))?)?;
            self.bearer = answer["token"].as_str().map(str::to_owned);
            response = ask(self.bearer.as_deref())?;
        }
        read(response)
    }
}

fn with<B>(request: RequestBuilder<B>, bearer: Option<&str>) -> RequestBuilder<B> {
    match bearer {
        Some(bearer) => request.header("Authorization", format!("Bearer {bearer}")),
        None => request,
    }
}

fn uri(url: &Url) -> Result<Uri, Fault> {
    url.as_str().parse().map_err(|_| Fault::BadUrl)
}

fn silent(url: &Url, error: ureq::Error) -> Fault {
    Fault::Silent { url: url.as_str().to_owned(), error: Box::new(error) }
}

fn read(mut response: Response<ureq::Body>) -> Result<Value, Fault> {
    if response.status() != 200 {
        return Err(refusal(response));
    }
    let text = response.body_mut().read_to_string().map_err(|error| Fault::Broken(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| Fault::Broken(error.to_string()))
}

/// In the server's own words.
fn refusal(mut response: Response<ureq::Body>) -> Fault {
    let status = response.status();
    let text = response.body_mut().read_to_string().unwrap_or_default();
    let body: Option<Value> = serde_json::from_str(&text).ok();
    let message = body.and_then(|body| Some(body["error"]["message"].as_str()?.to_owned()));
    Fault::Refused(
        message.unwrap_or_else(|| format!("the server answered {status}; is its console enabled (console.enabled)?")),
    )
}

/// Where the console of these settings listens.
fn own_url(config: &Config) -> Result<Url, Fault> {
    let listeners = config.listeners();
    let listener = listeners.iter().find(|listener| listener.serves(Protocol::Console)).ok_or(Fault::NoConsole)?;
    if listener.port == 0 {
        return Err(Fault::UnknownPort { key: listener.key });
    }
    let address = SocketAddr::new(reachable(config.server.host), listener.port);
    Url::parse(&format!("http://{address}")).map_err(|_| Fault::BadUrl)
}
