//! What a good credential gives: an app, a capability, an identity.

use std::sync::Arc;

use crate::{
    auth::apps::{App, Key},
    core::{
        budget::Charge,
        capability::{Capability, Operation, Operations, Resource},
        rules::Reach,
    },
    error::{Fault, Found},
    ids::{ChannelName, ClientId, Timestamp},
    limits,
};

/// What the holder of a credential may do.
#[derive(Clone, Debug)]
pub struct Access {
    pub app: Arc<App>,
    /// The key that was shown, or that stands behind the token.
    pub key: Arc<Key>,
    pub capability: Arc<Capability>,
    /// Pays for it where it is long and not the key's, as long as somebody has it.
    pub(super) _paid: Option<Arc<Charge>>,
    /// Whom the credential may speak for.
    pub client_id: AllowedClient,
    /// When the token was issued, at the latest when it was accepted here; None for a key.
    pub issued: Option<Timestamp>,
    /// From this instant on it is refused; None for a key.
    pub expires: Option<Timestamp>,
    pub is_basic: bool,
    /// What it can be revoked by, besides its client id (`docs/protocols/ably.md §12.7`).
    pub revocation_key: Option<Arc<str>>,
    pub(super) user_claims: Arc<[UserClaim]>,
}

/// Whom a credential or a connection may speak for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedClient {
    /// `*`: any client, named with each operation.
    Any,
    Only(ClientId),
    /// No client at all.
    Anonymous,
}

/// A claim of a JWT about the channels or the chat rooms of one resource (`docs/protocols/ably.md §12.4`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UserClaim {
    pub is_about_rooms: bool,
    pub resource: Resource,
    pub text: Arc<str>,
}

/// The client that `text` names.
///
/// # Errors
/// [`Fault::InvalidClientId`] for `*`, the empty text and one that is too long.
fn client_of(text: &str) -> Result<ClientId, Fault> {
    let invalid = |rule| Fault::InvalidClientId { found: Found::text(text), rule };
    if text.len() > limits::CLIENT_ID_BYTES {
        return Err(invalid("at most 256 bytes"));
    }
    ClientId::new(text).ok_or_else(|| invalid("a text that is neither empty nor the wildcard *"))
}

impl Access {
    /// The identity of a connection or request that claims `claim`, by parameter or header
    /// (`docs/protocols/ably.md §12.6`).
    pub fn claim(&self, claim: Option<&str>) -> Result<AllowedClient, Fault> {
        self.client_id.claim(claim)
    }

    /// What is permitted on a channel, by its resource. Those of the older protocols have to be named, by
    /// the key and by the token: else a token could name what its key only reaches by `*`.
    pub fn operations_on(&self, resource: &str) -> Operations {
        match Reach::of(self.app.id, resource) {
            Reach::Open => self.capability.operations_on(resource),
            Reach::Named => {
                self.capability.operations_naming(resource) & self.key.capability.operations_naming(resource)
            }
            Reach::Nobody => Operations::default(),
        }
    }

    pub fn allows(&self, resource: &str, operation: Operation) -> bool {
        self.operations_on(resource).has(operation)
    }

    /// Whether it may hear that the channel is there.
    pub fn may_know(&self, channel: &ChannelName) -> bool {
        let name = channel.as_str();
        Reach::of(self.app.id, name) == Reach::Open || !self.operations_on(name).is_empty()
    }

    /// The refusal of `operation` on a resource: it names what is permitted there.
    pub fn not_permitted(&self, operation: &'static str, resource: &str) -> Fault {
        let permitted: Vec<&str> = self.operations_on(resource).names().collect();
        let permitted = match Reach::of(self.app.id, resource) {
            Reach::Nobody => "nobody to use this channel".to_owned(),
            Reach::Named if permitted.is_empty() => {
                "only channels that both the key and the token name there".to_owned()
            }
            _ if permitted.is_empty() => "nothing there".to_owned(),
            _ => format!("{} there", permitted.join(", ")),
        };
        Fault::NotPermitted { operation, on: Found::text(resource), permitted: permitted.into() }
    }

    /// `<app>.<key>`
    pub fn key_name(&self) -> &str {
        &self.key.name
    }

    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// What the server writes into `extras.userClaim` of what is published on `channel` (a base name):
    /// that of the most specific resource.
    pub fn user_claim(&self, channel: &str) -> Option<&str> {
        // The channel of a chat room (`docs/protocols/ably.md §11.12`).
        let room = channel.strip_suffix("::$chat");
        let about = |claim: &UserClaim| {
            if claim.is_about_rooms { room } else { Some(channel) }
        };
        let claims = self.user_claims.iter();
        claims
            .filter(|claim| about(claim).is_some_and(|name| claim.resource.matches(name)))
            .max_by_key(|claim| {
                let resource = claim.resource.as_str();
                (about(claim) == Some(resource), resource.len())
            })
            .map(|claim| &*claim.text)
    }
}

impl AllowedClient {
    /// From the `clientId` of a token; `*` is any.
    pub(super) fn of_token(client_id: Option<&str>) -> Result<Self, Fault> {
        match client_id {
            None => Ok(Self::Anonymous),
            Some("*") => Ok(Self::Any),
            Some(id) => client_of(id).map(Self::Only),
        }
    }

    /// As tokens write it; None = anonymous. CONNECTED has it too.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Any => Some("*"),
            Self::Only(id) => Some(id.as_str()),
            Self::Anonymous => None,
        }
    }

    /// The one client that it is, if it is one.
    pub const fn known(&self) -> Option<&ClientId> {
        match self {
            Self::Only(id) => Some(id),
            Self::Any | Self::Anonymous => None,
        }
    }

    /// The table of `docs/protocols/ably.md §12.6`.
    ///
    /// # Errors
    /// [`Fault::InvalidClientId`] for `*`, the empty name and one that is too long;
    /// [`Fault::IncompatibleCredentials`] for a name that the credentials do not give.
    pub fn claim(&self, claim: Option<&str>) -> Result<Self, Fault> {
        let Some(claim) = claim else {
            return Ok(self.clone());
        };
        let claim = client_of(claim)?;
        match self {
            Self::Any => Ok(Self::Only(claim)),
            Self::Only(own) if *own == claim => Ok(self.clone()),
            Self::Only(_) => Err(Fault::IncompatibleCredentials { why: "the clientId is not that of the token" }),
            Self::Anonymous => {
                Err(Fault::IncompatibleCredentials { why: "the token has no clientId, so none can be claimed" })
            }
        }
    }

    /// Whom a message is from that names `claim` (`docs/protocols/ably.md §6.6`).
    ///
    /// # Errors
    /// [`Fault::InvalidClientId`] when it is no clientId, or not an allowed one.
    pub fn attribute(&self, claim: Option<&str>) -> Result<Option<ClientId>, Fault> {
        let Some(claim) = claim else {
            return Ok(match self {
                Self::Only(own) => Some(own.clone()),
                Self::Any | Self::Anonymous => None,
            });
        };
        let invalid = |rule| Err(Fault::InvalidClientId { found: Found::text(claim), rule });
        let claim = client_of(claim)?;
        match self {
            Self::Any => Ok(Some(claim)),
            Self::Only(own) if *own == claim => Ok(Some(claim)),
            Self::Only(_) => invalid("the clientId of the connection or request, or none"),
            Self::Anonymous => invalid("none, because the client is anonymous"),
        }
    }

    /// The identity of a connection after its client has shown other credentials, which allow `next`:
    /// AUTH (`docs/protocols/ably.md §4.7`) and resume (§4.3). An anonymous connection may get a
    /// clientId; one that has a clientId keeps it.
    pub fn succeeded_by(&self, next: &Self) -> Result<Self, Fault> {
        match (self, next) {
            (Self::Only(_), Self::Any) => Ok(self.clone()),
            (Self::Only(own), Self::Only(id)) if own == id => Ok(self.clone()),
            (Self::Only(_), _) => {
                Err(Fault::IncompatibleCredentials { why: "the clientId is not that of the connection" })
            }
            (Self::Any | Self::Anonymous, next) => Ok(next.clone()),
        }
    }
}
