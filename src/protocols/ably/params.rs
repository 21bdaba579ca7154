//! The channel params of an attachment: which are known, what they mean, which are sent back
//! (`docs/protocols/ably.md §5.6`).

use std::{collections::BTreeMap, time::Duration};

use crate::{
    core::{command::Rewind, modes::Modes},
    error::{Fault, Found},
    limits,
};

/// The params that a client gave, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelParams {
    /// Where to start when the client names no position.
    pub rewind: Option<Rewind>,
    /// In place of the mode flags.
    pub modes: Option<Modes>,
    pub occupancy: Option<OccupancyWanted>,
    /// Messages that grow by an append come as a whole (§9.4).
    pub full_appends: bool,
    /// The known ones as they were given, for the answer.
    pub echo: BTreeMap<String, String>,
}

/// Which counts an attachment wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OccupancyWanted {
    All,
    /// One of them, by its name on the wire.
    One(String),
}

impl ChannelParams {
    /// Reads the params; unknown ones are left out.
    ///
    /// # Errors
    /// [`Fault::BadParameter`] for a known param with a value that it cannot have.
    pub fn parse<'a>(given: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Fault> {
        let mut params = Self::default();
        let mut rewind_limit = limits::REWIND_MESSAGES;
        for (name, value) in given {
            match name {
                "rewind" => params.rewind = Some(rewind(value)?),
                "rewindLimit" => rewind_limit = count(value, "rewindLimit")?,
                "modes" => params.modes = Some(modes(value)?),
                "occupancy" => params.occupancy = Some(occupancy(value)?),
                // Taken note of; the messages come whole, as a server may always send them.
                "delta" if value == "vcdiff" => {}
                "delta" => {
                    let (found, rule) = (Found::text(value), "vcdiff");
                    return Err(Fault::BadParameter { name: "delta", found, rule });
                }
                "appendMode" => params.full_appends = value == "full",
                _ => continue,
            }
            params.echo.insert(name.to_owned(), value.to_owned());
        }
        if let Some(rewind) = &mut params.rewind {
            rewind.messages = rewind.messages.min(rewind_limit).min(limits::REWIND_MESSAGES);
        }
        Ok(params)
    }
}

/// `N` messages, or those of the last `Ns` seconds or `Nm` minutes (§8.5).
fn rewind(value: &str) -> Result<Rewind, Fault> {
    let age = |digits, unit: u64| {
        let number = u64::try_from(number(digits)?).unwrap_or(u64::MAX);
        Some(Rewind { messages: limits::REWIND_MESSAGES, age: Some(Duration::from_secs(number.saturating_mul(unit))) })
    };
    let rewind = if let Some(digits) = value.strip_suffix('s') {
        age(digits, 1)
    } else if let Some(digits) = value.strip_suffix('m') {
        age(digits, 60)
    } else {
        number(value).map(|messages| Rewind { messages, age: None })
    };
    rewind.ok_or_else(|| no_number("rewind", value))
}

fn count(value: &str, name: &'static str) -> Result<usize, Fault> {
    number(value).ok_or_else(|| no_number(name, value))
}

fn number(digits: &str) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

fn no_number(name: &'static str, value: &str) -> Fault {
    let rule = "a number, for rewind optionally followed by s or m";
    Fault::BadParameter { name, found: Found::text(value), rule }
}

fn modes(value: &str) -> Result<Modes, Fault> {
    let named = |name: &str| {
        let mut known = Modes::NAMED.iter();
        let found = known.find(|(known, _)| known.eq_ignore_ascii_case(name.trim()));
        found.map(|(_, mode)| *mode).ok_or_else(|| Fault::BadParameter {
            name: "modes",
            found: Found::text(name),
            rule: "channel modes with commas between them, such as publish,subscribe,presence,presence_subscribe",
        })
    };
    value.split(',').try_fold(Modes::NONE, |all, name| Ok(all | named(name)?))
}

fn occupancy(value: &str) -> Result<OccupancyWanted, Fault> {
    match value.strip_prefix("metrics") {
        Some("") => Ok(OccupancyWanted::All),
        Some(rest) if rest.len() > 1 && rest.starts_with('.') => Ok(OccupancyWanted::One(rest[1..].into())),
        _ => Err(Fault::BadParameter {
            name: "occupancy",
            found: Found::text(value),
            rule: "metrics, or metrics. and the name of one of them",
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(given: &[(&'static str, &'static str)]) -> Result<ChannelParams, Fault> {
        ChannelParams::parse(given.iter().copied())
    }

    /// T31.
    #[test]
    fn known_params_are_told_back_and_others_are_not() {
        let params = parse(&[("modes", "subscribe"), ("delta", "vcdiff")]).unwrap();
        assert_eq!(params.echo.len(), 2);
        assert_eq!(params.modes, Some(Modes::SUBSCRIBE));
        assert!(parse(&[("nonexistent", "foo"), ("agent", "x")]).unwrap().echo.is_empty());
    }

    #[test]
    fn rewinds() {
        let rewind = |given: &[_]| parse(given).unwrap().rewind.unwrap();
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        assert_eq!(rewind(&[("rewind", "5")]), Rewind { messages: 5, age: None });
        assert_eq!(rewind(&[("rewind", "1000")]).messages, limits::REWIND_MESSAGES);
        assert_eq!(rewind(&[("rewind", "120s")]).age, minutes(2));
        let limited = rewind(&[("rewind", "2m"), ("rewindLimit", "3")]);
        assert_eq!(limited, Rewind { messages: 3, age: minutes(2) });
    }

    #[test]
    fn values_that_a_param_cannot_have() {
        for (name, value) in [
            ("rewind", "abc"),
            ("rewind", ""),
            ("rewind", "-1"),
            ("rewind", "1h"),
            ("rewindLimit", "x"),
            ("delta", "xdelta"),
            ("modes", "fly"),
            ("occupancy", "yes"),
            ("occupancy", "metrics."),
        ] {
            let fault = parse(&[(name, value)]).unwrap_err();
            assert_eq!(fault.ably_code(), 40003, "{name}={value}");
        }
    }
}
