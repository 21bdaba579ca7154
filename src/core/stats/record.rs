//! What is kept of one interval: numbers by name. Those of Ably's schema that follow from others are left out, and made
//! when a record is shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Numbers by name. Records of one interval that were made apart, by two runs of a server, are one when they are merged, in
/// whatever order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Record(BTreeMap<String, u64>);

/// What there is at a moment, of which a record keeps the extremes and the mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    Connections,
    Channels,
}

impl Sample {
    pub const ALL: [Self; 2] = [Self::Connections, Self::Channels];

    /// Its peak, minimum, [`SUM`] and [`SAMPLES`].
    const fn names(self) -> [&'static str; 4] {
        match self {
            Self::Connections => {
                ["connections.all.peak", "connections.all.min", "connections.all.sum", "connections.all.samples"]
            }
            Self::Channels => ["channels.peak", "channels.min", "channels.sum", "channels.samples"],
        }
    }
}

/// How many of something there were, looked at some times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    peak: u64,
    min: u64,
    sum: u64,
    samples: u64,
}

impl Level {
    /// There are so many now.
    pub fn note(&mut self, number: u64) {
        self.peak = self.peak.max(number);
        self.min = if self.samples == 0 { number } else { self.min.min(number) };
        self.sum += number;
        self.samples += 1;
    }
}

/// A mean is kept as a sum and how many it is of: two can be merged.
const SUM: &str = "sum";
const SAMPLES: &str = "samples";

impl Record {
    /// Adds a number to what is known by its name, in the way of that name.
    pub fn add(&mut self, name: &str, number: u64) {
        let Some(known) = self.0.get_mut(name) else {
            self.0.insert(name.to_owned(), number);
            return;
        };
        *known = match name.rsplit('.').next() {
            Some("peak") => number.max(*known),
            Some("min") => number.min(*known),
            _ => known.saturating_add(number),
        };
    }

    pub fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|(name, number)| self.add(&name, number));
    }

    /// There were so many for a while.
    pub fn sample(&mut self, what: Sample, Level { peak, min, sum, samples }: Level) {
        if samples > 0 {
            what.names().into_iter().zip([peak, min, sum, samples]).for_each(|(name, number)| self.add(name, number));
        }
    }

    /// The numbers of a fixture (`docs/protocols/ably.md §11.8`): nested, as version 2 shows them. None: there is something
    /// else than numbers in it, or a name that is none.
    pub fn of_fixture(fixture: &Map<String, Value>) -> Option<Self> {
        let mut record = Self::default();
        let is_number = |name: &str| !matches!(name, "intervalId" | "unit" | "inProgress" | "count" | "all");
        for (name, value) in fixture.iter().filter(|(name, _)| is_number(name)) {
            record.add_nested(name.clone(), value)?;
        }
        Some(record)
    }

    fn add_nested(&mut self, path: String, value: &Value) -> Option<()> {
        if let Value::Object(fields) = value {
            // Deeper than any name of the schema.
            (path.len() < 100).then_some(())?;
            return fields.iter().try_for_each(|(name, value)| self.add_nested(format!("{path}.{name}"), value));
        }
        let number = value.as_u64()?;
        // A client of version 2 that has a field for each number sends all of them, those too that are not kept here.
        if number == 0 {
            return Some(());
        }
        let mut parts: Vec<&str> = path.split('.').collect();
        let is_name = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        parts.iter().all(is_name).then_some(())?;
        match *parts {
            ["inbound" | "outbound" | "persisted" | "processed", ..] => parts.insert(0, "messages"),
            ["apiRequests", ..] => parts.insert(1, "other"),
            ["tokenRequests", ..] => parts.insert(0, "apiRequests"),
            // Those with TLS and those without are not told apart.
            ["connections", _, _] => parts[1] = "all",
            _ => {}
        }
        let (measure, path) = parts.split_last()?;
        let path = path.join(".");
        match *parts {
            // These follow from others.
            ["messages", .., "all", _] | ["messages", .., "all", _, _] | ["messages", .., "uncompressedData"] => {}
            ["connections", "all", "mean"] | ["channels", "mean"] => {
                self.add(&format!("{path}.{SUM}"), number);
                self.add(&format!("{path}.{SAMPLES}"), 1);
            }
            ["messages", "inbound" | "outbound", _, _, _]
            | ["messages", "persisted", _, _]
            | ["messages", "processed", _, _, ..]
            | ["apiRequests", _, _]
            | ["connections", "all", _]
            | ["channels", _]
            | ["push", _, ..] => self.add(&format!("{path}.{measure}"), number),
            _ => return None,
        }
        Some(())
    }

    /// All numbers of the schema that are not 0, by name.
    pub fn entries(&self) -> BTreeMap<String, u64> {
        let mut shown = Self::default();
        for (name, number) in &self.0 {
            let parts: Vec<&str> = name.split('.').collect();
            match *parts {
                ["messages", way @ ("inbound" | "outbound"), source, kind, measure] => {
                    for path in [
                        format!("{way}.{source}.{kind}"),
                        format!("{way}.{source}.all"),
                        format!("{way}.all.{kind}"),
                        format!("{way}.all.all"),
                        format!("all.{kind}"),
                        "all.all".to_owned(),
                    ] {
                        shown.add_volume(&path, measure, *number);
                    }
                }
                ["messages", "persisted", kind, measure] => {
                    shown.add_volume(&format!("persisted.{kind}"), measure, *number);
                    shown.add_volume("persisted.all", measure, *number);
                }
                ["apiRequests", _, outcome] => {
                    shown.add(&format!("apiRequests.all.{outcome}"), *number);
                    shown.add(name, *number);
                }
                [.., SUM] => {
                    let path = name.trim_end_matches(SUM);
                    let samples = self.0.get(&format!("{path}{SAMPLES}")).copied().unwrap_or(1);
                    shown.add(&format!("{path}mean"), number.checked_div(samples).unwrap_or_default());
                }
                [.., SAMPLES] => {}
                _ => shown.add(name, *number),
            }
        }
        shown.0.retain(|_, number| *number > 0);
        shown.0
    }

    fn add_volume(&mut self, path: &str, measure: &str, number: u64) {
        self.add(&format!("messages.{path}.{measure}"), number);
        if measure == "data" {
            self.add(&format!("messages.{path}.uncompressedData"), number);
        }
    }

    /// The same as version 2 shows it: objects in objects.
    pub fn nested(&self) -> Map<String, Value> {
        let mut nested = Map::new();
        for (name, number) in self.entries() {
            let parts: Vec<&str> = name.split('.').collect();
            let parts = match &parts[..] {
                // It has no place there.
                ["apiRequests", "all", ..] => continue,
                ["apiRequests", "other", outcome] => &["apiRequests", outcome],
                ["messages" | "apiRequests", rest @ ..] => rest,
                parts => parts,
            };
            let Some((measure, path)) = parts.split_last() else {
                continue;
            };
            let place = path.iter().try_fold(&mut nested, |place, part| {
                place.entry(*part).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
            });
            if let Some(place) = place {
                place.insert((*measure).to_owned(), number.into());
            }
        }
        nested
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(fixture: &Value) -> Record {
        Record::of_fixture(fixture.as_object().unwrap()).unwrap()
    }

    /// The fixture of the suites of the client libraries.
    #[test]
    fn sums_follow_from_what_is_kept() {
        let fixture = json!({
            "intervalId": "2026-02-03:15:05",
            "inbound": {"realtime": {"messages": {"count": 70, "data": 7000}}},
            "outbound": {"realtime": {"messages": {"count": 40, "data": 4000}}},
            "persisted": {"presence": {"count": 20, "data": 2000}},
            "connections": {"tls": {"peak": 20, "opened": 10}},
            "channels": {"peak": 50, "opened": 30},
            "apiRequests": {"succeeded": 50, "failed": 10},
            "tokenRequests": {"succeeded": 60, "failed": 20},
        });
        let record = of(&fixture);
        let entries = record.entries();
        for (name, number) in [
            ("messages.inbound.realtime.messages.count", 70),
            ("messages.inbound.realtime.all.count", 70),
            ("messages.inbound.all.messages.data", 7000),
            ("messages.inbound.all.all.uncompressedData", 7000),
            ("messages.all.messages.count", 110),
            ("messages.all.all.data", 11000),
            ("messages.persisted.all.count", 20),
            ("connections.all.peak", 20),
            ("connections.all.opened", 10),
            ("channels.peak", 50),
            ("apiRequests.other.succeeded", 50),
            ("apiRequests.tokenRequests.failed", 20),
            ("apiRequests.all.succeeded", 110),
        ] {
            assert_eq!(entries.get(name), Some(&number), "{name}");
        }
        let nested = record.nested();
        assert_eq!(nested["inbound"]["all"]["messages"]["count"], 70);
        assert_eq!(nested["all"]["all"]["count"], 110);
        assert_eq!(nested["persisted"]["presence"]["data"], 2000);
        assert_eq!(nested["apiRequests"]["succeeded"], 50);
        assert_eq!(nested["tokenRequests"]["succeeded"], 60);
        assert_eq!(nested["connections"]["all"]["peak"], 20);
        assert!(nested["all"].get("succeeded").is_none());
    }

    /// As ably-go writes one: all that it has a field for.
    #[test]
    fn fields_that_count_nothing() {
        let record = of(&json!({
            "intervalId": "2020-01-28:14:00", "unit": "minute", "inProgress": "", "count": 0,
            "inbound": {"realtime": {"messages": {"count": 50, "data": 5000, "failed": 0}}},
            "xchgProducer": {"all": {"messages": {"count": 0}}},
            "peakRates": {"reactor": {"amqp": 0}},
        }));
        assert_eq!(
            record.nested()["all"],
            json!({"messages": {"count": 50, "data": 5000, "uncompressedData": 5000},
            "all": {"count": 50, "data": 5000, "uncompressedData": 5000}})
        );
    }

    #[test]
    fn fixtures_that_are_none() {
        for bad in [
            json!({"inbound": 1}),
            json!({"inbound": {"realtime": {"messages": {"count": -1}}}}),
            json!({"inbound": {"realtime": {"messages": {"count": "1"}}}}),
            json!({"inbound": {"real.time": {"messages": {"count": 1}}}}),
            json!({"inbound": {"": {"messages": {"count": 1}}}}),
            json!({"something": {"count": 1}}),
            json!({"inbound": [1]}),
        ] {
            assert_eq!(Record::of_fixture(bad.as_object().unwrap()), None, "{bad}");
        }
    }

    #[test]
    fn extremes_and_means() {
        let mut record = Record::default();
        for numbers in [&[3, 1][..], &[], &[8]] {
            let mut level = Level::default();
            numbers.iter().for_each(|number| level.note(*number));
            record.sample(Sample::Channels, level);
        }
        let entries = record.entries();
        let of = |name: &str| entries.get(&format!("channels.{name}")).copied();
        assert_eq!(
            (of("peak"), of("min"), of("mean"), of("sum"), of("samples")),
            (Some(8), Some(1), Some(4), None, None)
        );
    }

    fn record() -> impl Strategy<Value = Record> {
        let number = (prop::sample::select(vec!["a.peak", "a.min", "a.sum", "a.samples", "b.count"]), 0..100_u64);
        prop::collection::vec(number, 0..6).prop_map(|numbers| {
            let mut record = Record::default();
            numbers.into_iter().for_each(|(name, number)| record.add(name, number));
            record
        })
    }

    proptest! {
        #[test]
        fn records_are_merged_in_any_order(records in prop::collection::vec(record(), 0..5)) {
            let merged = |records: &mut dyn Iterator<Item = &Record>| {
                let mut all = Record::default();
                records.for_each(|record| all.merge(record.clone()));
                all
            };
            prop_assert_eq!(merged(&mut records.iter()), merged(&mut records.iter().rev()));
        }
    }
}
