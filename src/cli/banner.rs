//! What a local start prints for the person at the terminal: where the server is and the two lines to
//! enter in LetShare's settings. It holds a token, so it goes to the terminal (stderr), never to a log.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use secrecy::{ExposeSecret, SecretString};

use crate::{
    auth::{JwtKey, MintError, StaticToken},
    clock::Clock,
    config::{AuthMode, Config},
};

/// Whom the ready token is for when static tokens are off: a JWT needs a name.
const GUEST: &str = "guest";

/// A token that opens this server right away: the static one, or a JWT for the user `guest`.
///
/// # Errors
/// When the JWT cannot be signed.
pub fn ready_token(config: &Config, clock: &Clock) -> Result<String, MintError> {
    match config.auth.mode {
        AuthMode::Static | AuthMode::Both => Ok(StaticToken::of(&config.auth.secret).reveal().to_owned()),
        AuthMode::Jwt => {
            let key = JwtKey::new(&config.jwt.secret);
            key.mint(GUEST, None, config.jwt.expiration_hours, clock.now())
        }
    }
}

/// The lines to print when `MODE` is `local`; the addresses are those that were bound, none: there is no console.
pub fn banner(
    config: &Config,
    address: SocketAddr,
    console: Option<SocketAddr>,
    token: &str,
    ably_key: Option<&SecretString>,
) -> String {
    let reached = |address: SocketAddr| SocketAddr::new(reachable(address.ip()), address.port());
    let address = reached(address);
    let mut text = format!(
        "\n  letshare-server is ready: http://{address}\n\n  \
         Enter these two lines in LetShare's settings (custom server):\n\n    \
         customServerUrl  ws://{address}\n    \
         authToken        {token}\n"
    );
    if config.auth.mode == AuthMode::Jwt {
        text.push_str(&format!(
            "\n  This token is for the user name {GUEST} only; for another one:\n    \
             letshare-server token mint --user NAME\n"
        ));
    }
    let key = ably_key.map(ExposeSecret::expose_secret);
    if let Some(console) = console.map(reached) {
        // Browsers keep what stands behind # to themselves.
        let place = key.map_or("#/try".to_owned(), |key| format!("#key={key}"));
        text.push_str(&format!("\n  Try it in a browser: http://{console}/console{place}\n"));
    }
    if let Some(key) = key {
        text.push_str(&ably_lines(address, key));
    }
    text
}

/// How to try the Ably interface: with nothing but curl, and with any of the SDKs.
fn ably_lines(address: SocketAddr, key: &str) -> String {
    let port = address.port();
    format!(
        "\n  Ably SDKs connect with these options (JavaScript):\n\n    \
         new Ably.Realtime({{ key: '{key}', endpoint: 'localhost', port: {port}, tls: false }})\n\n  \
         A first message: listen in one terminal, publish in another\n\n    \
         curl -Nu '{key}' 'http://{address}/sse?channels=demo&v=1.2'\n    \
         curl -u '{key}' http://{address}/channels/demo/messages \\\n      \
         -H 'Content-Type: application/json' -d '{{\"name\":\"greeting\",\"data\":\"hello\"}}'\n"
    )
}

/// An address that a client on this machine can use for one that means "all".
pub(super) fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    }
}
