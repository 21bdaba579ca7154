//! Where the database is, and what a connection must keep to.

use std::time::Duration;

use mongodb::options::{Acknowledgment, ClientOptions, Credential, ServerAddress, WriteConcern};
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use crate::{limits, store::StoreError};

/// Which database.
#[derive(Clone, Debug)]
pub struct Settings {
    pub server: Server,
    pub database: String,
    /// How long messages are kept; for ever if none.
    pub retention: Option<Duration>,
}

/// Where it is.
#[derive(Clone, Debug)]
pub enum Server {
    /// `mongodb://…` with all options of such a URI. `mongodb+srv://` is not supported.
    Uri(SecretString),
    /// No user: no authentication. Else against the database `admin`.
    Host { host: String, port: u16, username: String, password: SecretString },
}

/// Why there is no connection at the start.
#[derive(Debug, Error)]
pub enum ConnectFault {
    #[error(
        "the MongoDB URI cannot be used: {0}. It must be like mongodb://user:password@host:27017 (mongodb+srv:// is not \
         supported)"
    )]
    Uri(String),
    #[error(
        "MongoDB at {hosts} cannot be used: {error}. Make sure that it runs and that user and password are right, or \
         remove the MongoDB settings to keep chats in the data folder"
    )]
    Unusable { hosts: String, error: StoreError },
}

/// What the driver is to do.
pub async fn options(server: &Server) -> Result<ClientOptions, ConnectFault> {
    let mut options = match server {
        Server::Uri(uri) => ClientOptions::parse(uri.expose_secret())
            .await
            .map_err(|error| ConnectFault::Uri(without(&error.to_string(), uri)))?,
        Server::Host { host, port, username, password } => {
            let address = ServerAddress::Tcp { host: host.clone(), port: Some(*port) };
            let credential = (!username.is_empty()).then(|| {
                Credential::builder().username(username.clone()).password(password.expose_secret().to_owned()).build()
            });
            ClientOptions::builder().hosts(vec![address]).credential(credential).build()
        }
    };
    let majority = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
    options.write_concern = Some(majority);
    options.app_name.get_or_insert("letshare-server".to_owned());
    options.server_selection_timeout = Some(limits::ARCHIVE_FIND);
    options.connect_timeout = Some(limits::ARCHIVE_FIND);
    options.max_pool_size.get_or_insert(limits::ARCHIVE_CONNECTIONS);
    Ok(options)
}

/// What the driver says about a URI, unless that has something secret of it.
fn without(text: &str, uri: &SecretString) -> String {
    let secret = uri.expose_secret();
    let login = secret.split_once("://").map_or(secret, |(_, rest)| rest);
    let login = login.rsplit_once('@').map_or("", |(login, _)| login);
    let mut parts = login.split(':').filter(|part| !part.is_empty());
    if parts.any(|part| text.contains(part)) {
        return "it is malformed".to_owned();
    }
    text.to_owned()
}
