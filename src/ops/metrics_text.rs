//! The counters in the two text forms of Prometheus (docs/architecture.md §9: names are
//! `letshare_<what>_<unit>[_total]`; no user, room or channel name is a label).
//!
//! prometheus-client writes OpenMetrics. The older form, Prometheus text 0.0.4, differs in that the
//! name of a counter ends in `_total` on its HELP and TYPE lines as well; both come from one table.

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

use super::{metrics_page::days, process::ProcessFacts};
use crate::actors::metrics::{Counters, LogFigures, Snapshot, StoreFigures};

mod group;

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

/// All values under one name: `letshare_<what>_<unit>`, and `_total` when they only rise.
#[derive(Debug)]
struct Family {
    what: &'static str,
    unit: &'static str,
    rises: bool,
    help: &'static str,
    /// One value without a label, or one for each `reason`.
    values: Vec<(Option<&'static str>, Number)>,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Whole(u64),
    Real(f64),
}

/// Says once what each figure is. Taken apart without `..`, so that a new counter cannot be forgotten.
fn families(snapshot: &Snapshot, process: &ProcessFacts, uptime: Duration) -> Vec<Family> {
    let Snapshot {
        totals,
        connections,
        channels,
        history_bytes,
        store,
        refusals,
        log: LogFigures { stdout_dropped, errors_dropped },
        certificate_seconds,
        group,
    } = *snapshot;
    let StoreFigures { reads, commits, stored_bytes, file_bytes } = store;
    let Counters {
        connections_opened,
        connections_closed,
        connections_refused,
        messages_in,
        messages_out,
        bytes_in,
        bytes_out,
        published,
        errors_told,
        closed_slow,
        closed_idle,
        closed_protocol_error,
        rate_limited,
        transfers_started,
        transfers_completed,
        transfers_cancelled,
        transfers_refused,
        transfers_timed_out,
        transfers_lost_sender,
        transfers_lost_receiver,
        transfers_broken,
        transfer_bytes,
        channels_restarted,
    } = totals;
    let ProcessFacts {
        resident_bytes,
        threads,
        cpu,
        open_descriptors,
        allowed_descriptors,
        processors: _, // The machine's, and known to whoever scrapes the machine.
    } = *process;

    let counter = |what, unit, value, help| Family::of(what, unit, true, Number::Whole(value), help);
    let gauge = |what, unit, value, help| Family::of(what, unit, false, Number::Whole(value), help);
    let cut = Family {
        what: "cut",
        unit: "connections",
        rises: true,
        help: "Connections closed by the server because of what the client did or did not do",
        values: vec![
            (Some("slow_reader"), Number::Whole(closed_slow)),
            (Some("silent"), Number::Whole(closed_idle)),
            (Some("protocol_error"), Number::Whole(closed_protocol_error)),
        ],
    };
    let ended = Family {
        what: "ended",
        unit: "transfers",
        rises: true,
        help: "File transfers that ended, by how",
        values: vec![
            (Some("completed"), Number::Whole(transfers_completed)),
            (Some("cancelled"), Number::Whole(transfers_cancelled)),
            (Some("timed_out"), Number::Whole(transfers_timed_out)),
            (Some("lost_sender"), Number::Whole(transfers_lost_sender)),
            (Some("lost_receiver"), Number::Whole(transfers_lost_receiver)),
            (Some("broken"), Number::Whole(transfers_broken)),
        ],
    };
    let dropped = Family {
        what: "dropped",
        unit: "log_lines",
        rises: true,
        help: "Log lines that were not written, by where they are missing",
        values: vec![
            (Some("stdout"), Number::Whole(stdout_dropped)),
            (Some("errors_log"), Number::Whole(errors_dropped)),
        ],
    };
    let refused = Family {
        what: "refusals",
        unit: "requests",
        rises: true,
        help: "Connections and requests that were turned away, by why",
        values: refusals.iter().map(|(reason, count)| (Some(*reason), Number::Whole(*count))).collect(),
    };
    let mut families = vec![
        gauge("open", "connections", connections, "WebSockets open now"),
        gauge("active", "channels", channels, "Channels in memory now"),
        gauge("history", "bytes", history_bytes, "Bytes that the in-memory log holds now"),
        counter("opened", "connections", connections_opened, "WebSockets that were upgraded"),
        counter("closed", "connections", connections_closed, "WebSockets that ended, for whatever reason"),
        cut,
        counter("refused", "connections", connections_refused, "Upgrades refused: a bad token, or a cap"),
        counter("received", "messages", messages_in, "Data frames that clients sent"),
        counter("received", "bytes", bytes_in, "Payload bytes that clients sent"),
        counter("sent", "messages", messages_out, "Data frames handed to sockets"),
        counter("sent", "bytes", bytes_out, "Frame bytes handed to sockets"),
        counter("published", "messages", published, "Messages accepted into the log of a channel"),
        counter("told", "errors", errors_told, "Error messages told to clients"),
        counter("rate_limited", "frames", rate_limited, "Frames refused by the rate limit of their connection"),
        counter("started", "transfers", transfers_started, "File transfers that were let through"),
        ended,
        counter(
            "refused",
            "transfers",
            transfers_refused,
            "File transfers refused before they began: size, room or limits",
        ),
        counter("transfer", "bytes", transfer_bytes, "Bytes of the frames that senders of files handed in"),
        counter("restarted", "channels", channels_restarted, "Channels made anew after a panic"),
        counter("store", "reads", reads, "Times that something was read from the data file"),
        counter("store", "commits", commits, "Transactions in the data file, those of earlier runs included"),
        gauge(
            "stored",
            "bytes",
            stored_bytes,
            "Bytes of the messages of persisted channels, counted every half minute",
        ),
        gauge("store_file", "bytes", file_bytes, "Size of the data file"),
        Family::of("uptime", "seconds", false, Number::Real(uptime.as_secs_f64()), "Time since the start"),
        Family::of("process_cpu", "seconds", true, Number::Real(cpu.as_secs_f64()), "Processor time, user and kernel"),
        gauge("process_resident_memory", "bytes", resident_bytes, "Memory of the process in RAM"),
        gauge("process", "threads", threads, "Threads of the process"),
        gauge("open", "descriptors", open_descriptors, "Files and sockets that are open now"),
        gauge("allowed", "descriptors", allowed_descriptors, "Files and sockets that may be open"),
        dropped,
        refused,
    ];
    families.extend(certificate_seconds.map(|seconds| {
        let days = Number::Real(days(seconds));
        Family::of("certificate", "days", false, days, "Time until the TLS certificate ends; less than 0 when it has")
    }));
    families.extend(group.iter().flat_map(group::families));
    families
}

impl Family {
    fn of(what: &'static str, unit: &'static str, rises: bool, value: Number, help: &'static str) -> Self {
        let values = vec![(None, value)];
        Self { what, unit, rises, help, values }
    }

    fn encode(&self, form: TextForm, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let kind = if self.rises { MetricType::Counter } else { MetricType::Gauge };
        let Self { what, unit, help, .. } = *self;
        match form {
            TextForm::OpenMetrics => {
                let unit = Unit::Other(unit.to_owned());
                let encoder = encoder.encode_descriptor(what, help, Some(&unit), kind)?;
                self.encode_values(encoder, self.rises)
            }
            TextForm::Prometheus => {
                let total = if self.rises { "_total" } else { "" };
                let name = format!("{what}_{unit}{total}");
                let encoder = encoder.encode_descriptor(&name, help, None, kind)?;
                self.encode_values(encoder, false)
            }
        }
    }

    /// The crate writes a counter's value with `_total` after the name, a gauge's with the name as it
    /// is: the second is right where the described name has its `_total` already.
    fn encode_values(&self, mut encoder: MetricEncoder, append_total: bool) -> fmt::Result {
        let write = |encoder: &mut MetricEncoder, number: &Number| {
            if append_total {
                encoder.encode_counter::<NoLabelSet, _, u64>(number, None)
            } else {
                encoder.encode_gauge(number)
            }
        };
        self.values.iter().try_for_each(|(reason, number)| match reason {
            None => write(&mut encoder, number),
            Some(reason) => write(&mut encoder.encode_family(&[("reason", *reason)])?, number),
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
