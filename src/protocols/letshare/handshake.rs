//! The endpoint of LetShare: `/` and `/ws` (`docs/protocols/letshare.md §1`).

use std::{
    borrow::Cow,
    fmt::{self, Display},
    sync::Arc,
};

use actix_web::{HttpRequest, HttpResponse, web};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde_json::json;

use crate::{
    actors::{broker::Broker, refusals::Reason, transport::context::ProtocolHandler},
    auth::{Authenticator, ProKey, TokenFault},
    clock::Clock,
    config::Config,
    edge::{self, Endpoint, Methods, Refusal, Service, admission::NotAdmitted, http::answer, refusal::explained},
    error::{Reply, reply_table},
    ids::ConnectionId,
    limits,
    live::Live,
    protocols::letshare::{
        pro::{self, ActivationLimiter},
        rooms::{RoomSettings, Rooms},
        transfer::{self, Files, Transfers},
    },
};

/// The endpoint of LetShare, of one worker thread.
pub type LetShare = Service<Shared>;

/// What the LetShare endpoints of all worker threads share.
pub struct Shared {
    pub(super) terms: Live<Terms>,
    pub(super) activations: ActivationLimiter,
    transfers: Option<Arc<Transfers>>,
    pub(super) clock: Clock,
}

/// What a reload of the settings replaces.
pub(super) struct Terms {
    authenticator: Authenticator,
    pub pro: ProKey,
    /// How long a PRO token lasts.
    pub pro_hours: u32,
    /// The invite code: whoever knows it gets a PRO token.
    pub invite_code: SecretString,
    rooms: Arc<RoomSettings>,
}

impl Terms {
    fn new(config: &Config, clock: Clock) -> Self {
        Self {
            authenticator: Authenticator::new(config, clock),
            pro: ProKey::new(&config.jwt.secret),
            pro_hours: config.jwt.expiration_hours,
            invite_code: config.file_transfer.pro_invite_code.clone(),
            rooms: Arc::new(RoomSettings::new(config)),
        }
    }
}

impl Shared {
    pub fn new(config: &Config, clock: Clock) -> Self {
        let transfers = || Arc::new(Transfers::new(&config.file_transfer, config.cluster.relay_bytes));
        Self {
            terms: Live::new(Terms::new(config, clock.clone())),
            activations: pro::limiter(clock.clone()),
            transfers: config.file_transfer.enabled.then(transfers),
            clock,
        }
    }

    /// Takes over other keys and limits: tokens of the former keys are refused, open connections stay.
    pub fn set_terms(&self, config: &Config) {
        self.terms.set(Terms::new(config, self.clock.clone()));
    }

    /// A token that lets a user into a room; none if it cannot be signed.
    pub fn grant(&self, user: &str, room: &str) -> Option<String> {
        self.terms.get().authenticator.grant(user, room).ok()
    }

    /// Hears what the file relays of other nodes tell, and looks each second whether they live.
    pub fn attend(&self, broker: &Broker) -> Option<impl AsyncFn() + use<>> {
        let (transfers, log) = (self.transfers.clone()?, broker.log.shared()?);
        broker.attendants.add(transfer::NAME, Arc::clone(&transfers) as Arc<_>);
        let clock = broker.clock.clone();
        Some(async move || transfers.sweep(log.nodes(), log.lease(), &clock))
    }

    /// The server stops: transfers end now, so that each side hears of it before its close frame.
    pub async fn end_transfers(&self) {
        if let Some(transfers) = &self.transfers {
            transfers.shut().await;
        }
    }
}

/// A client whose token names a user.
pub struct Accepted {
    user: String,
    only_room: Option<String>,
    is_pro: bool,
    rooms: Arc<RoomSettings>,
}

impl Endpoint for LetShare {
    const NAME: &'static str = "LetShare";
    type Accepted = Accepted;
    type Refused = Refused;

    fn check(&self, request: &HttpRequest) -> Result<Accepted, Refused> {
        let query = request.query_string();
        let token = parameter(query, "token")?.unwrap_or_default();
        let user_id = parameter(query, "userId")?.filter(|user| !user.is_empty());
        if user_id.as_ref().is_some_and(|user| user.len() > limits::USER_ID_BYTES) {
            return Err(Refused::LongUserId);
        }
        let terms = self.shared.terms.get();
        let identity = terms.authenticator.authenticate(&token, user_id.as_deref());
        let identity = identity.map_err(|fault| Refused::BadToken(fault, terms.authenticator.wrong_claim(&token)))?;
        let user = identity.user_id.unwrap_or_else(|| ConnectionId::random().to_string());
        // A bad PRO token is no refusal: its user connects as a free one.
        let pro_token = parameter(query, "pro_token").unwrap_or_default();
        let is_pro = pro_token.is_some_and(|token| terms.pro.is_pro(&token, &user, self.shared.clock.now()));
        Ok(Accepted { user, only_room: identity.room, is_pro, rooms: Arc::clone(&terms.rooms) })
    }

    async fn open(&self, _: &HttpRequest, accepted: Accepted) -> Result<Box<dyn ProtocolHandler>, Refused> {
        let Accepted { user, only_room, is_pro, rooms } = accepted;
        let files = Files::new(user.clone(), is_pro, self.shared.transfers.clone());
        Ok(Box::new(Rooms::new(user, only_room, rooms, files)))
    }

    fn refuse(&self, refusal: &Refusal<Refused>) -> HttpResponse {
        let code_and_text = match refusal {
            Refusal::NotAdmitted(NotAdmitted::AddressFull { .. }) => (429, "该地址的连接数已达上限"),
            Refusal::NotAdmitted(NotAdmitted::TooOften(_)) => (429, "请求过于频繁，请稍后重试"),
            Refusal::NotAdmitted(NotAdmitted::Full { .. } | NotAdmitted::NoMemory(_)) => {
                (503, "服务器连接数已达上限，请稍后重试")
            }
            Refusal::NotAdmitted(NotAdmitted::Draining) => (503, "服务器正在关闭"),
            Refusal::Method | Refusal::NoHandshake(_) => {
                return explained(answer::plain(400, "Bad Request"), &refusal.to_string());
            }
            Refusal::Own(own) => return json_error(&own.reply()),
        };
        json_error(&Reply::new(code_and_text.0, code_and_text.1, refusal.to_string()))
    }
}

reply_table! {
    /// Why LetShare refuses a client (`docs/protocols/letshare.md §1.2`).
    #[derive(Debug)]
    pub enum Refused {
        NotUtf8(name: &'static str) => Reply::new(
            400,
            format!("{name} 不是有效的 UTF-8"),
            format!("{name} must be UTF-8, percent-encoded"),
        ),
        LongUserId => Reply::new(
            400,
            "userId 过长",
            format!("userId is too long: it may have {} bytes", limits::USER_ID_BYTES),
        ),
        BadToken(
            fault: TokenFault,
            /// The claim that is wrong, of a token with our signature.
            claim: Option<String>
        ) => Reply::new(401, fault.to_string(), claim.clone().unwrap_or_else(|| fault.reason().to_owned())),
    }
    fn reply(&self) -> Reply;
}

impl edge::Refused for Refused {
    fn reason(&self) -> Reason {
        match self {
            Self::BadToken(..) => Reason::Token,
            Self::NotUtf8(_) | Self::LongUserId => Reason::Request,
        }
    }
}

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reply().reason;
        match self {
            Self::BadToken(..) => write!(f, "the token is refused: {reason}"),
            Self::NotUtf8(_) | Self::LongUserId => f.write_str(&reason),
        }
    }
}

/// Serves `/`, `/ws` and `/api/pro/activate`.
pub fn routes(config: &mut web::ServiceConfig, letshare: &LetShare) {
    for path in ["/", "/ws"] {
        config.route(path, web::get().to(edge::websocket(letshare)));
    }
    edge::route(config, "/api/pro/activate", Methods::Post, letshare, LetShare::activate);
}

/// An error as LetShare says it over HTTP.
pub fn json_error(reply: &Reply) -> HttpResponse {
    answer::build(reply.code).json(json!({ "error": reply.text, "reason": reply.reason }))
}

/// The value of a query parameter, percent-decoded. The app does not encode what it writes there, so a
/// `+` means itself (`docs/protocols/letshare.md §1.1`).
fn parameter<'a>(query: &'a str, name: &'static str) -> Result<Option<Cow<'a, str>>, Refused> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| percent_decode_str(value).decode_utf8())
        .transpose()
        .map_err(|_| Refused::NotUtf8(name))
}
