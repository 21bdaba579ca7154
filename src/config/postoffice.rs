//! The settings of PostOffice (`docs/protocols/postoffice.md §1`).

use std::time::Duration;

use secrecy::SecretString;

use super::{
    check::Verdict,
    keys::{Key, choices, section},
    kind::Kind,
};
use crate::limits;

section! {
    PostOffice as "postoffice";

    /// Serve the PostOffice protocol: messages between mailboxes. MODE=postoffice is the drop-in for the older server.
    enabled: bool = "false", Switch;
    /// A port of its own, beside the shared one; 0 picks a free one. There `/` takes WebSockets as well.
    port: Option<u16> = "", OwnPort;
    /// Where clients connect by WebSocket.
    ws_path: String = "/postoffice/ws", Path;
    /// On a port of its own: take WebSockets on every path, as later versions of the older server do.
    any_path: bool = "false", Switch;
    /// Says that the post office is well.
    health_path: String = "/postoffice/health", Path;
    /// Counts connections, mailboxes and stored messages.
    stats_path: String = "/postoffice/stats", Path;
    /// Lists the messages of a thread for whoever may open the mailbox: ?clientID=erp&subjectId=ord-1; without a path
    /// there is no such page.
    threads_path: Option<String> = "", OptionalPath;
    /// Open connections of this protocol.
    max_connections: usize = "20000", Whole(1, 10_000_000);
    /// Mailboxes that are kept for those who have connected as them; who comes as another one is refused.
    max_mailboxes: usize = "100000", Whole(1, 10_000_000);
    /// What opens a mailbox: `any` text, as with the older server, one of `tokens`, or a `jwt` (HS256) that names it.
    auth: PostOfficeAuth = "any", OneOf(PostOfficeAuth::WORDS);
    /// Tokens for postoffice.auth tokens; in a mailbox's name `*` stands for any text.
    tokens: Vec<SecretString> = "", Grants, reloadable;
    /// Signs the JWTs of postoffice.auth jwt; their claim clientID or sub is the mailbox.
    jwt_secret: SecretString = "", Code, reloadable;
    /// Pages that may connect, besides those of the same host. Programs without an Origin header always may.
    allowed_origins: Vec<String> = "", OriginsOrAny, reloadable;
    /// Which `from` a message may have: `known` = any but another mailbox, `strict` = the sender's own, `off` = any.
    from_check: FromCheck = "known", OneOf(FromCheck::WORDS);
    /// Leave the sender's token in the message, as the older server did: its readers could use it.
    forward_token: bool = "false", Switch;
    /// How fields are judged: not at all, by what clients send, or by the document's schema.
    validation: Validation = "off", OneOf(Validation::WORDS);
    /// With validation strict: content must be base64.
    require_base64: bool = "false", Switch;
    /// Tell senders what was not delivered and why, or keep silent as the older server did.
    errors: PostOfficeErrors = "reply", OneOf(PostOfficeErrors::WORDS);
    /// All connections of a mailbox get its messages; otherwise a new one replaces the old.
    multi_device: bool = "false", Switch;
    /// Keep messages for mailboxes that are away, or drop them as the older server did.
    offline: OfflineLetters = "store", OneOf(OfflineLetters::WORDS);
    /// Mailboxes that messages are kept for although nobody has connected as them yet.
    mailboxes: Vec<String> = "", Names;
    /// Messages that wait in one mailbox; beyond that the lowest level goes first, then the oldest.
    mailbox_messages: usize = "1000", COUNT;
    /// How long a message waits.
    mailbox_age: Duration = "168h", Span("1m", "8760h");
    /// Bytes of all messages that wait, of all mailboxes together.
    stored_bytes: u64 = "1073741824", STORE_BYTES;
    /// Mailboxes that one message may name in to and cc.
    max_recipients: usize = "1000", COUNT;
    /// Bytes of the largest message; larger ones close the connection with 1009.
    max_message_bytes: usize = "1048576", Whole(1_024, 1 << 24);
}

choices! {
    /// What a PostOffice token has to be.
    PostOfficeAuth: Any = "any", Tokens = "tokens", Jwt = "jwt";
    /// Which `from` a message may have: any but another mailbox, the sender's mailbox, or any.
    FromCheck: Known = "known", Strict = "strict", Off = "off";
    /// How the fields of a message are judged.
    Validation: Off = "off", Lenient = "lenient", Strict = "strict";
    /// Whether senders hear of what was not delivered.
    PostOfficeErrors: Reply = "reply", Silent = "silent";
    /// What becomes of a message whose reader is away.
    OfflineLetters: Store = "store", Drop = "drop";
}

impl PostOffice {
    /// Where WebSockets connect.
    pub fn ws_paths(&self) -> Vec<&str> {
        let mut paths = vec![&*self.ws_path];
        // docs/protocols/postoffice.md §2: both, for clients of either revision.
        if self.port.is_some() && self.ws_path != "/" {
            paths.push("/");
        }
        paths
    }

    /// Every path that is not named is the WebSocket.
    pub const fn takes_any_path(&self) -> bool {
        self.any_path && self.port.is_some()
    }
}

impl Verdict<'_> {
    pub(super) fn post_office(&mut self) {
        let post = &self.config.postoffice;
        if !post.enabled {
            return;
        }
        match post.auth {
            PostOfficeAuth::Any => self.any_token(),
            PostOfficeAuth::Tokens if post.tokens.is_empty() => self.complain(
                &["postoffice.tokens", "postoffice.auth"],
                "empty, and postoffice.auth is tokens: nobody could connect",
            ),
            PostOfficeAuth::Tokens | PostOfficeAuth::Jwt => {}
        }
        // What may be on the way to a client at once, with the message that makes it too much.
        let most = post.max_message_bytes + limits::MAILBOX_UNCONFIRMED_BYTES + 65_536;
        if self.config.limits.outbox_bytes < most {
            self.complain(
                &["limits.outbox_bytes", "postoffice.max_message_bytes"],
                format!("must be at least {most}, or a full mailbox is never read"),
            );
        }
    }

    /// As the older server: whoever connects may be anybody.
    fn any_token(&mut self) {
        let host = self.config.server.host;
        if host.is_loopback() {
            return;
        }
        let remedy = "postoffice:\n    auth: tokens\n    tokens: [\"A-LONG-RANDOM-TOKEN erp desk-*\"]";
        if self.config.allow_insecure {
            self.warn(format!(
                "postoffice.auth is any, and the server listens on {host}: everybody who can reach it reads every \
                 mailbox. To be safe, set\n  {remedy}"
            ));
        } else {
            self.complain(
                &["postoffice.auth", "server.host", "allow_insecure", "postoffice.enabled"],
                format!(
                    "any token would open any mailbox, and server.host {host} lets other machines in. Add these three lines \
                     (or allow_insecure: true where that does not matter):\n  {remedy}"
                ),
            );
        }
    }
}
