//! What the operations pages show of a server.

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::storage::Gauge;
use crate::{
    actors::{
        broker::Broker,
        metrics::{Snapshot, Totals},
    },
    config,
    edge::{client_address::client_address_of, own_hosts::OwnHosts},
    ops::OpsState,
    protocols::group,
};

pub fn ops_state(
    broker: &Arc<Broker>,
    gauge: Option<Gauge>,
    group: Option<Arc<group::Shared>>,
    settings: &config::Server,
    own_hosts: OwnHosts,
) -> OpsState {
    let broker = Arc::clone(broker);
    let (from, proxies) = (settings.metrics_from.clone(), settings.trusted_proxies.clone());
    OpsState {
        clock: broker.clock.clone(),
        ready: Arc::clone(&broker.ready),
        snapshot: Arc::new(move || snapshot(Arc::clone(&broker), gauge.clone(), group.clone()).boxed_local()),
        may_see_metrics: Arc::new(move |request| {
            let address = client_address_of(request, &proxies).to_canonical();
            if !from.iter().any(|network| network.contains(&address)) {
                return Err("this address is not in server.metrics_from\n");
            }
            // A page of a name that was pointed here reads without an Origin what counts as same-origin.
            if !own_hosts.serve(request.headers()) {
                return Err("the host that was asked for is not in server.public_hosts\n");
            }
            Ok(())
        }),
    }
}

async fn snapshot(broker: Arc<Broker>, gauge: Option<Gauge>, group: Option<Arc<group::Shared>>) -> Snapshot {
    // A metrics actor that does not answer leaves zeros, not a page that hangs.
    let mut totals = broker.metrics.send(Totals).await.unwrap_or_default();
    totals.channels_restarted = broker.directory.restarts();
    Snapshot {
        connections: totals.connections_opened.saturating_sub(totals.connections_closed),
        channels: broker.directory.len() as u64,
        history_bytes: broker.log.bytes() as u64,
        store: gauge.as_ref().map(Gauge::read).unwrap_or_default(),
        group: group.map(|group| group.figures()),
        totals,
    }
}
