//! The counters in the two text forms of Prometheus (docs/architecture.md §9: names are
//! `letshare_<what>_<unit>[_total]`; no user, room or channel name is a label).
//!
//! prometheus-client writes OpenMetrics. The older form, Prometheus text 0.0.4, differs in that the
//! name of a counter ends in `_total` on its HELP and TYPE lines as well.

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{
        CounterValueEncoder, DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, GaugeValueEncoder, MetricEncoder,
        NoLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::MetricType,
    registry::{Registry, Unit},
};

use super::process::ProcessFacts;
use crate::{
    actors::{
        figures::{Figure, Figures as _, Measured as _, Number},
        metrics::{RENAMED, Snapshot},
    },
    limits::OLD_NAMES_GO_IN,
};

/// The text forms that scrapers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextForm {
    OpenMetrics,
    /// Prometheus text format 0.0.4.
    Prometheus,
}

impl TextForm {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The whole page.
pub fn render(form: TextForm, snapshot: &Snapshot, process: &ProcessFacts, uptime: Duration) -> String {
    let families = families(snapshot, process, uptime);
    let mut registry = Registry::with_prefix("letshare");
    registry.register_collector(Box::new(Page { form, families }));
    let mut text = String::new();
    // Cannot fail: writing to a String does not, and no value in the table is refused.
    let written = encode_registry(&mut text, &registry).and_then(|()| match form {
        TextForm::OpenMetrics => encode_eof(&mut text),
        TextForm::Prometheus => Ok(()),
    });
    if let Err(error) = written {
        tracing::error!(%error, "cannot write the metrics page");
    }
    text
}

/// All values under one name.
#[derive(Clone, Debug)]
struct Family {
    /// `<what>_<unit>`
    name: String,
    help: String,
    figure: Figure,
}

/// The figures by name, and those that had another name in the version before a second time.
fn families(snapshot: &Snapshot, process: &ProcessFacts, uptime: Duration) -> Vec<Family> {
    let uptime = Figure {
        json: "",
        what: "uptime",
        unit: "seconds",
        rises: false,
        help: "Time since the start",
        label: "",
        samples: uptime.samples(None),
    };
    let figures = [snapshot.figures(), process.figures(), vec![uptime]].into_iter().flatten();
    let mut families: Vec<Family> = Vec::new();
    for figure in figures.filter(|figure| !figure.what.is_empty() && !figure.samples.is_empty()) {
        let name = format!("{}_{}", figure.what, figure.unit);
        match families.last_mut().filter(|family| family.name == name) {
            Some(family) => family.figure.samples.extend(figure.samples),
            None => families.push(Family { name, help: figure.help.trim_start().to_owned(), figure }),
        }
    }
    let old = RENAMED.iter().filter_map(|(before, now)| {
        let family = families.iter().find(|family| family.name == *now)?;
        let help = format!("Old name of letshare_{now}, until version {OLD_NAMES_GO_IN}");
        Some(Family { name: (*before).to_owned(), help, figure: family.figure.clone() })
    });
    let old: Vec<_> = old.collect();
    families.extend(old);
    families
}

impl Family {
    fn encode(&self, form: TextForm, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let Figure { unit, rises, label, .. } = self.figure;
        let kind = if rises { MetricType::Counter } else { MetricType::Gauge };
        match form {
            TextForm::OpenMetrics => {
                let what = self.name.strip_suffix(unit).unwrap_or(&self.name).trim_end_matches('_');
                let unit = Unit::Other(unit.to_owned());
                self.encode_values(encoder.encode_descriptor(what, &self.help, Some(&unit), kind)?, label, rises)
            }
            TextForm::Prometheus => {
                let name = format!("{}{}", self.name, if rises { "_total" } else { "" });
                self.encode_values(encoder.encode_descriptor(&name, &self.help, None, kind)?, label, false)
            }
        }
    }

    /// The crate writes a counter's value with `_total` after the name, a gauge's with the name as it
    /// is: the second is right where the described name has its `_total` already.
    fn encode_values(&self, mut encoder: MetricEncoder, label: &str, append_total: bool) -> fmt::Result {
        let write = |encoder: &mut MetricEncoder, number: &Number| {
            if append_total {
                encoder.encode_counter::<NoLabelSet, _, u64>(number, None)
            } else {
                encoder.encode_gauge(number)
            }
        };
        self.figure.samples.iter().try_for_each(|(value, number)| match value {
            None => write(&mut encoder, number),
            Some(value) => write(&mut encoder.encode_family(&[(label, *value)])?, number),
        })
    }
}

#[derive(Debug)]
struct Page {
    form: TextForm,
    families: Vec<Family>,
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut families = self.families.iter();
        families.try_for_each(|family| family.encode(self.form, &mut encoder))
    }
}

impl EncodeCounterValue for Number {
    fn encode(&self, encoder: &mut CounterValueEncoder) -> fmt::Result {
        match self {
            Self::Whole(number) => EncodeCounterValue::encode(number, encoder),
            Self::Real(number) => EncodeCounterValue::encode(number, encoder),
        }
    }
}

impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder) -> fmt::Result {
        match self {
            Self::Whole(number) => EncodeGaugeValue::encode(number, encoder),
            Self::Real(number) => EncodeGaugeValue::encode(number, encoder),
        }
    }
}

#[cfg(test)]
mod tests;
