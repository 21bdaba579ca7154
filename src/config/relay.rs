//! The settings of the relay (`docs/protocols/relay.md §1`).

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    check::Verdict,
    keys::{Key, choices, section},
    kind::Kind,
    secrets::{OF_SIGNERS, SECRET_BYTES},
};

section! {
    Relay as "relay";

    /// Serve the relay protocol: HTTP pushes to WebSockets. MODE=relay is the drop-in for the older server.
    enabled: bool = "false", Switch;
    /// A port of its own, beside the shared one; 0 picks a free one.
    port: Option<u16> = "", OwnPort;
    /// Where clients connect by WebSocket.
    ws_path: String = "/relay/ws", Path;
    /// Where back ends push by POST. Below it, /scheduled lists what is delayed.
    push_path: String = "/relay/api/push", Path;
    /// Says that the relay is well.
    health_path: String = "/relay/health", Path;
    /// Counts connections and users for whoever has the API key; without a path there is no such page.
    stats_path: Option<String> = "", OptionalPath;
    /// Back ends show it with every push. If it is empty, one is made at the first start: <data.dir>/relay-key.json.
    api_key: SecretString = "", Code, reloadable;
    /// Pages that may connect or push; none named = all may, as with the older server.
    allowed_origins: Vec<String> = "", Origins, reloadable;
    /// How clients show who they are: `open` needs no proof, `jwt` takes the `sub` of a JWT, and `signed` takes
    /// <id>.<hex HMAC-SHA256>.
    identify: Identify = "open", OneOf(Identify::WORDS);
    /// Behind relay.identify jwt and signed; not used by open.
    identify_secret: SecretString = "", Code, reloadable;
    /// Answer `identify` with an `identified` event.
    identify_ack: bool = "false", Switch;
    /// Take a push without `subject` for one with null, as the older server did.
    lenient_push: bool = "false", Switch;
    /// A push whose token names nobody goes to everybody, as with the older server, or is refused.
    unresolved_token: UnresolvedToken = "broadcast", OneOf(UnresolvedToken::WORDS);
    /// Pushes a second, all back ends together; 0 = no limit.
    pushes_per_second: u32 = "0", RATE;
    /// Delayed pushes that are later than that, because the server was down, are dropped; 0s sends them all.
    max_lateness: Duration = "0s", Span("0s", "8760h");
    /// For so long after the start clients are still coming back. A delayed push that falls due then, or did while the
    /// server was down: one to a user is kept until the user has read it, one to everybody is sent at the end of it.
    overdue_grace: Duration = "30s", Span("0s", "1h");
    /// Pushes for a user who is away are kept for so long, on disk, until one of the user's connections identifies; 0s
    /// keeps none, as the older server.
    offline_ttl: Duration = "0s", Span("0s", "720h");
}

choices! {
    /// How a relay client shows who it is.
    Identify: Open = "open", Jwt = "jwt", Signed = "signed";
    /// What becomes of a relay push whose token names nobody.
    UnresolvedToken: Broadcast = "broadcast", Reject = "reject";
}

impl Verdict<'_> {
    pub(super) fn relay(&mut self) {
        let relay = &self.config.relay;
        if !relay.enabled {
            return;
        }
        if relay.api_key.expose_secret().is_empty() {
            let folder = self.config.data.dir.display();
            self.warn(format!(
                "relay.api_key is empty: back ends push with the key in {folder}/relay-key.json, which is made at the \
                 first start. Or set LETSHARE_RELAY_API_KEY to a secret of your own"
            ));
        }
        if relay.identify == Identify::Open {
            self.warn(
                "relay.identify is open: whoever knows the identifier of a user can read what is pushed to them; jwt \
                 or signed ask for a proof",
            );
        } else if relay.identify_secret.expose_secret().len() < SECRET_BYTES {
            self.complain(
                &["relay.identify_secret", "relay.identify"],
                format!(
                    "empty, or shorter than {SECRET_BYTES} bytes: relay.identify needs it to judge the proofs of \
                     clients. Set the environment variable LETSHARE_RELAY_IDENTIFY_SECRET to {OF_SIGNERS}"
                ),
            );
        }
    }
}
