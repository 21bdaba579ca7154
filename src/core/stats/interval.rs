//! Minutes, hours, days and months, all in UTC, and how clients write them.

use std::time::Duration;

use jiff::{
    ToSpan as _,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

use crate::ids::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Minute,
    Hour,
    Day,
    Month,
}

impl Unit {
    pub const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::Month];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }

    /// How long an interval may be.
    pub const fn longest(self) -> Duration {
        const MINUTE: u64 = 60;
        Duration::from_secs(match self {
            Self::Minute => MINUTE,
            Self::Hour => 60 * MINUTE,
            Self::Day => 24 * 60 * MINUTE,
            Self::Month => 31 * 24 * 60 * MINUTE,
        })
    }

    /// Of the id of an interval, as jiff writes it.
    const fn form(self) -> &'static str {
        match self {
            Self::Minute => "%Y-%m-%d:%H:%M",
            Self::Hour => "%Y-%m-%d:%H",
            Self::Day => "%Y-%m-%d",
            Self::Month => "%Y-%m",
        }
    }
}

/// One interval of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub unit: Unit,
    pub start: Timestamp,
}

impl Interval {
    /// Names the schema of the numbers of one. Clients show it; nothing reads it.
    pub const SCHEMA: &str = "app-stats";

    /// The one that a moment is in.
    pub fn at(unit: Unit, moment: Timestamp) -> Self {
        let time = civil(moment);
        let (date, hour, minute) = (time.date(), time.hour(), time.minute());
        let start = match unit {
            Unit::Minute => date.at(hour, minute, 0, 0),
            Unit::Hour => date.at(hour, 0, 0, 0),
            Unit::Day => date.at(0, 0, 0, 0),
            Unit::Month => date.first_of_month().at(0, 0, 0, 0),
        };
        Self { unit, start: moment_of(start) }
    }

    /// By its id: `2026-08-06:13:05`, `2026-08-06:13`, `2026-08-06`, `2026-08`.
    pub fn parse(id: &str) -> Option<Self> {
        Unit::ALL.into_iter().find_map(|unit| {
            let is_exact = |start: &DateTime| start.strftime(unit.form()).to_string() == id;
            let start = match unit {
                Unit::Month => Date::strptime("%Y-%m-%d", format!("{id}-01")).ok().map(|date| date.at(0, 0, 0, 0)),
                Unit::Hour => DateTime::strptime("%Y-%m-%d:%H:%M", format!("{id}:00")).ok(),
                Unit::Day => Date::strptime(unit.form(), id).ok().map(|date| date.at(0, 0, 0, 0)),
                Unit::Minute => DateTime::strptime(unit.form(), id).ok(),
            };
            let start = start.filter(is_exact).filter(|start| start.year() >= 1970)?;
            Some(Self { unit, start: moment_of(start) })
        })
    }

    pub fn id(self) -> String {
        civil(self.start).strftime(self.unit.form()).to_string()
    }

    /// The last moment in it.
    pub fn last(self) -> Timestamp {
        let start = civil(self.start);
        let next = match self.unit {
            Unit::Minute => start.checked_add(1.minute()),
            Unit::Hour => start.checked_add(1.hour()),
            Unit::Day => start.checked_add(1.day()),
            Unit::Month => start.checked_add(1.month()),
        };
        let next = next.map_or(self.start.millis(), |next| moment_of(next).millis());
        Timestamp::from_millis(next.saturating_sub(1))
    }
}

fn civil(moment: Timestamp) -> DateTime {
    let millis = i64::try_from(moment.millis()).unwrap_or(i64::MAX);
    // Out of jiff's range only after the year 9999.
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    TimeZone::UTC.to_datetime(time)
}

fn moment_of(time: DateTime) -> Timestamp {
    let time = TimeZone::UTC.to_timestamp(time).unwrap_or(jiff::Timestamp::MAX).as_millisecond();
    Timestamp::from_millis(u64::try_from(time).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        // 2026-08-06T13:05:17.250Z
        let moment = Timestamp::from_millis(1_786_021_517_250);
        for (unit, id) in [
            (Unit::Minute, "2026-08-06:13:05"),
            (Unit::Hour, "2026-08-06:13"),
            (Unit::Day, "2026-08-06"),
            (Unit::Month, "2026-08"),
        ] {
            let interval = Interval::at(unit, moment);
            assert_eq!(interval.id(), id);
            assert_eq!(Interval::parse(id), Some(interval));
            assert!(interval.start <= moment && moment <= interval.last());
            let next = Timestamp::from_millis(interval.last().millis() + 1);
            assert_eq!(Interval::at(unit, next).start, next, "{id}");
        }
        let leap = Interval::parse("2028-02").unwrap().last();
        assert_eq!(Interval::at(Unit::Day, leap).id(), "2028-02-29");
        let never = Interval::at(Unit::Minute, Timestamp::from_millis(u64::MAX));
        assert!(never.last() >= never.start && never.start > leap);
    }

    #[test]
    fn what_is_no_id() {
        for bad in [
            "",
            "2026",
            "2026-13",
            "2026-02-30",
            "2026-02-03:24",
            "2026-02-03:1",
            "2026-2-3",
            "26-02-03",
            "1969-01",
            "x",
            "2026-02-03:15:05:00",
        ] {
            assert_eq!(Interval::parse(bad), None, "{bad:?}");
        }
    }
}
