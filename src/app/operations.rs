//! What the operations pages show of a server.

use std::sync::Arc;

use futures_util::FutureExt as _;
use ipnet::IpNet;

use super::storage::Gauge;
use crate::{
    actors::{
        broker::Broker,
        metrics::{Snapshot, Totals},
        refusals::Reason,
    },
    edge::{client_address::client_address_of, own_hosts::OwnHosts, tls::CertificateReloader},
    live::Live,
    older::group,
    ops::{OpsState, logs::Dropped},
};

/// What does not belong to the broker.
#[derive(Clone, Default)]
pub struct Watched {
    /// None where others made the logs, as in tests.
    pub log: Option<Dropped>,
    pub certificate: Option<Arc<CertificateReloader>>,
}

/// Who may read `/metrics`.
pub struct Readers {
    pub from: Arc<Live<Vec<IpNet>>>,
    /// The hosts that it may be asked by.
    pub by: Arc<Live<OwnHosts>>,
}

pub fn ops_state(
    broker: &Arc<Broker>,
    gauge: Option<Gauge>,
    group: Option<Arc<group::Shared>>,
    readers: Readers,
    proxies: &Arc<Live<Vec<IpNet>>>,
    watched: Watched,
) -> OpsState {
    let broker = Arc::clone(broker);
    let (proxies, asked) = (Arc::clone(proxies), Arc::clone(&broker));
    OpsState {
        clock: broker.clock.clone(),
        ready: Arc::clone(&broker.ready),
        snapshot: Arc::new(move || {
            snapshot(Arc::clone(&broker), gauge.clone(), group.clone(), watched.clone()).boxed_local()
        }),
        may_see_metrics: Arc::new(move |request| {
            let address = client_address_of(request, &proxies.get()).to_canonical();
            let refuse = |why: &'static str| {
                asked.refused(Reason::Address, Some(address), || format!("/metrics: {}", why.trim_end()));
                Err(why)
            };
            if !readers.from.get().iter().any(|network| network.contains(&address)) {
                return refuse("this address is not in server.metrics_from\n");
            }
            // A page of a host name that somebody pointed at this machine reads as same-origin, without an Origin
            // header.
            if !readers.by.get().serve(request.headers()) {
                return refuse("the host that was asked for is not in server.public_hosts\n");
            }
            Ok(())
        }),
    }
}

async fn snapshot(
    broker: Arc<Broker>,
    gauge: Option<Gauge>,
    group: Option<Arc<group::Shared>>,
    watched: Watched,
) -> Snapshot {
    // A metrics actor that does not answer leaves zeros, not a page that hangs.
    let mut totals = broker.metrics.send(Totals).await.unwrap_or_default();
    totals.channels_restarted = broker.directory.restarts();
    Snapshot {
        connections: totals.connections_opened.saturating_sub(totals.connections_closed),
        channels: broker.directory.len() as u64,
        history_bytes: broker.log.bytes() as u64,
        store: gauge.as_ref().map(Gauge::read).unwrap_or_default(),
        refusals: broker.refusals.read(),
        log: watched.log.as_ref().map(Dropped::read).unwrap_or_default(),
        certificate_seconds: watched.certificate.as_ref().and_then(|certificate| certificate.expires()).map(|end| {
            let now = i64::try_from(broker.clock.now().millis() / 1_000).unwrap_or(i64::MAX);
            end.saturating_sub(now)
        }),
        group: group.map(|group| group.figures()),
        totals,
    }
}
