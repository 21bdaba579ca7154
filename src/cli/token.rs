//! `token mint`, `token static`, `token inspect`: tokens for and from operators. How tokens are made and checked is in
//! `auth`; here is what is said about them.

use std::{io::Read as _, time::Duration};

use clap::Subcommand;

use super::{Report, banner::ready_token, count};
use crate::{
    auth::{Authenticator, JwtKey, StaticToken, TokenFault, claims_unchecked},
    clock::Clock,
    config::{AuthMode, Config, is_published},
    limits,
};

#[derive(Subcommand)]
pub enum Command {
    /// Make a JWT for a user, signed with jwt.secret.
    Mint {
        /// Whom it is for: it opens connections with userId USER or USER:<anything>.
        #[arg(long)]
        user: String,
        /// Allow this room only.
        #[arg(long)]
        room: Option<String>,
        /// How long it is valid; jwt.expiration_hours when not given.
        #[arg(long, value_parser = hours)]
        hours: Option<u32>,
    },
    /// Print the static token, the one that everybody shares.
    Static,
    /// Show what a token says and whether this configuration accepts it (exit code 1 if not).
    Inspect {
        /// The token, or - to read it from standard input, which keeps it out of the shell's history.
        token: String,
    },
}

pub(super) fn run(command: &Command, config: &Config, clock: &Clock) -> Report {
    match command {
        Command::Mint { user, room, hours } => mint(config, clock, user, room.as_deref(), *hours),
        Command::Static if config.auth.mode == AuthMode::Jwt => {
            Report::bad("", "auth.mode is jwt: this server accepts no static token")
        }
        Command::Static => ready_token(config, clock).into(),
        Command::Inspect { token } if token == "-" => {
            let mut text = String::new();
            let limit = limits::TOKEN_BYTES as u64 + 2;
            match std::io::stdin().take(limit).read_to_string(&mut text) {
                Ok(_) => inspect(config, clock, &text),
                Err(error) => Report::bad("", format!("cannot read the token: {error}")),
            }
        }
        Command::Inspect { token } => inspect(config, clock, token),
    }
}

fn hours(text: &str) -> Result<u32, String> {
    let hours = text.parse().ok().filter(|hours| (1..=87_600).contains(hours));
    hours.ok_or_else(|| "write whole hours, such as 24; at most 87600".to_owned())
}

fn mint(config: &Config, clock: &Clock, user: &str, room: Option<&str>, hours: Option<u32>) -> Report {
    let hours = hours.unwrap_or(config.jwt.expiration_hours);
    let key = JwtKey::new(&config.jwt.secret);
    let place = room.map_or_else(|| "every room".to_owned(), |room| format!("the room {room:?} only"));
    let mut notes = vec![format!("valid for {}, for the user {user:?}, in {place}", count(hours.into(), "hour"))];
    if is_published(&config.jwt.secret) {
        notes.push("warning: signed with the published jwt.secret; servers that others can reach refuse that".into());
    }
    if config.auth.mode == AuthMode::Static {
        notes.push("warning: auth.mode is static, so this server does not accept it".into());
    }
    match key.mint(user, room, hours, clock.now()) {
        Ok(token) => Report { notes, ..Report::good(token) },
        Err(error) => Report::bad("", format!("no token was made: {error}")),
    }
}

fn inspect(config: &Config, clock: &Clock, text: &str) -> Report {
    // As it is pasted from a header, a settings page or a terminal.
    let text = text.trim();
    let token = text.strip_prefix("Bearer ").map_or(text, str::trim_start);
    if let Some((name, _)) = token.split_once(':').filter(|(name, _)| name.contains('.')) {
        let out = format!("kind:   Ably key {name}");
        return Report::bad(
            out,
            "valid:  not judged: this looks at LetShare tokens; Ably's SDKs take the key as it is",
        );
    }
    // Without the leeway: what the token says by itself. That the server takes it a little longer is said beside it.
    let leeway = config.auth.clock_leeway.as_secs_f64();
    let mut exact = config.clone();
    exact.auth.clock_leeway = Duration::ZERO;
    let verdict = Authenticator::new(&exact, clock.clone()).authenticate(token, None);
    if StaticToken::of(&config.auth.secret).matches(token) {
        let out = "kind:   static token of auth.secret\n".to_owned();
        return match verdict {
            Ok(_) => Report::good(format!("{out}valid:  yes, until auth.secret changes")),
            Err(_) => Report::bad(out, "valid:  no: auth.mode is jwt"),
        };
    }
    let Some(claims) = claims_unchecked(token) else {
        let fault = verdict.err().unwrap_or(TokenFault::NotTheStaticToken);
        return Report::bad("", format!("valid:  no: {}", explain(fault)));
    };
    let seconds_left = claims
        .get("exp")
        .and_then(serde_json::Value::as_f64)
        .map(|expires| expires - clock.now().millis() as f64 / 1_000.0);
    let claims = serde_json::Value::Object(claims);
    let out = format!("kind:   JWT\nclaims: {claims:#}\n");
    match (verdict, seconds_left) {
        (Ok(_), Some(left)) => Report::good(format!("{out}valid:  yes, until {}", at(clock, left))),
        (Ok(_), None) => Report::good(format!("{out}valid:  yes")),
        (Err(TokenFault::Expired), Some(left)) => {
            let still = leeway + left;
            let note = if still > 0.0 {
                format!("; the server takes it for {still:.0} seconds more (auth.clock_leeway)")
            } else {
                String::new()
            };
            Report::bad(out, format!("valid:  no: expired {}{note}", at(clock, left)))
        }
        (Err(fault), _) => Report::bad(out, format!("valid:  no: {}", explain(fault))),
    }
}

/// A moment that is so many seconds away, and how far that is in the unit that people would use.
fn at(clock: &Clock, seconds_left: f64) -> String {
    let moment = clock.now().millis() as f64 + seconds_left * 1_000.0;
    let moment = jiff::Timestamp::from_millisecond(moment as i64).unwrap_or_default();
    let (amount, unit) = match seconds_left.abs() {
        s if s < 120.0 => (s, "second"),
        s if s < 7_200.0 => (s / 60.0, "minute"),
        s if s < 172_800.0 => (s / 3_600.0, "hour"),
        s if s < 63_072_000.0 => (s / 86_400.0, "day"),
        s => (s / 31_536_000.0, "year"),
    };
    let (amount, tense) = (count(amount.round() as u64, unit), if seconds_left < 0.0 { "ago" } else { "left" });
    format!("{} ({amount} {tense})", moment.strftime("%Y-%m-%d %H:%M UTC"))
}

/// The fault in words for the operator; clients get the documented ones.
fn explain(fault: TokenFault) -> &'static str {
    match fault {
        TokenFault::Missing => "it is empty",
        TokenFault::NotTheStaticToken => {
            "not the static token of the configured auth.secret (and auth.mode may exclude JWTs)"
        }
        TokenFault::Unreadable("signature is invalid") => {
            "signed with another secret than the configured jwt.secret, or changed afterwards"
        }
        TokenFault::Unreadable(reason) => reason,
        TokenFault::Invalid => "no usable exp, not valid yet (nbf), or made for another audience",
        TokenFault::BadClaims => "a claim has the wrong type",
        TokenFault::Expired => "expired",
        TokenFault::NoUser => "no user_id",
        TokenFault::OtherUser => "for another user",
    }
}
