//! stub
use crate::{core::capability::Capability, error::Fault, ids::*};
use secrecy::SecretString;
use std::sync::Arc;
pub struct App {
    pub id: AppId,
}
pub enum Credential {
    Key(SecretString),
    Token(SecretString),
    None,
}
#[derive(Clone)]
pub struct Access {
    pub app: Arc<App>,
    pub capability: Arc<Capability>,
    pub client_id: AllowedClient,
    pub expires: Option<Timestamp>,
}
#[derive(Clone)]
pub enum AllowedClient {
    Any,
    Only(ClientId),
    Anonymous,
}
impl AllowedClient {
    pub fn known(&self) -> Option<&ClientId> {
        None
    }
    pub fn as_wire(&self) -> Option<&str> {
        None
    }
}
impl Access {
    pub fn claim(self, _c: Option<&str>) -> Result<Self, Fault> {
        Ok(self)
    }
    pub fn attribute(&self, _c: Option<&str>) -> Result<Option<ClientId>, Fault> {
        Ok(None)
    }
    pub fn check_identified(&self, _c: &ChannelName) -> Result<(), Fault> {
        Ok(())
    }
}
pub struct ConnectionKeys;
impl ConnectionKeys {
    pub fn mint(&self, _a: AppId, _c: ConnectionId) -> String {
        String::new()
    }
    pub fn verify(&self, _a: AppId, _k: &str) -> Result<ConnectionId, Fault> {
        Err(Fault::Busy)
    }
}
pub struct Gate;
impl Gate {
    pub fn check(&self, _c: &Credential, _n: Timestamp, _t: bool) -> Result<Access, Fault> {
        Err(Fault::Busy)
    }
}
