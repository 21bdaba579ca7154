//! What the operations pages show of a server, and to whom.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix_web::HttpRequest;
use futures_util::FutureExt as _;
use ipnet::IpNet;

use super::storage::Gauge;
use crate::{
    actors::{
        accounts::Kind,
        broker::Broker,
        metrics::{ClusterFigures, Snapshot, Totals},
        refusals::Reason,
    },
    edge::{client_address::client_address_of, own_hosts::OwnHosts, tls::CertificateReloader},
    live::Live,
    older::group,
    ops::{OpsState, Unready, logs::Dropped},
};

/// What the pages are made from.
pub struct Operations {
    pub broker: Arc<Broker>,
    /// None where nothing is kept on disk.
    pub gauge: Option<Gauge>,
    pub group: Option<Arc<group::Shared>>,
    /// None where others made the logs, as in tests.
    pub log: Option<Dropped>,
    pub certificate: Option<Arc<CertificateReloader>>,
    /// Who may read `/metrics`.
    pub metrics_from: Arc<Live<Vec<IpNet>>>,
    /// The hosts that it may be asked by.
    pub own_hosts: Arc<Live<OwnHosts>>,
    pub trusted_proxies: Arc<Live<Vec<IpNet>>>,
    /// `cluster.ready_without_engine`
    pub ready_without_engine: bool,
}

impl Operations {
    pub fn state(self) -> OpsState {
        let (clock, ready) = (self.broker.clock.clone(), Arc::clone(&self.broker.ready));
        let is_borne = self.ready_without_engine;
        let operations = Arc::new(self);
        let (shown, shared) = (Arc::clone(&operations), operations.broker.log.shared());
        let groups = operations.group.clone();
        OpsState {
            clock,
            ready,
            why_not_ready: Arc::new(move || {
                let log = shared.as_ref()?;
                let unready = log.nodes().check_ready().err().map(|unready| (unready.why, unready.is_away));
                let of_groups = || Some((groups.as_ref()?.groups.why_not_ready(log.is_one_server())?, false));
                let (why, is_away) = unready.or_else(of_groups)?;
                Some(Unready { why, is_ready: is_borne && is_away })
            }),
            snapshot: Arc::new(move || {
                let shown = Arc::clone(&shown);
                async move { shown.snapshot().await }.boxed_local()
            }),
            may_see_metrics: Arc::new(move |request| operations.check(request)),
        }
    }

    /// # Errors
    /// Why whoever asks may not see `/metrics`.
    fn check(&self, request: &HttpRequest) -> Result<(), &'static str> {
        let address = client_address_of(request, &self.trusted_proxies.get()).to_canonical();
        let why = if !self.metrics_from.get().iter().any(|network| network.contains(&address)) {
            "this address is not in server.metrics_from\n"
        } else if !self.own_hosts.get().serve(request.headers()) {
            // A page of a host name that somebody pointed at this machine reads as same-origin, without an Origin.
            "the host that was asked for is not in server.public_hosts\n"
        } else {
            return Ok(());
        };
        self.broker.refused(Reason::Address, Some(address), || format!("/metrics: {}", why.trim_end()));
        Err(why)
    }

    async fn snapshot(&self) -> Snapshot {
        let broker = &self.broker;
        // A metrics actor that does not answer leaves zeros, not a page that hangs.
        let mut totals = broker.metrics.send(Totals).await.unwrap_or_default();
        totals.channels_restarted = broker.directory.restarts();
        let ends = self.certificate.as_ref().and_then(|certificate| certificate.expires());
        let now = i64::try_from(broker.clock.now().millis() / 1_000).unwrap_or(i64::MAX);
        Snapshot {
            connections: totals.connections_opened.saturating_sub(totals.connections_closed),
            channels: broker.directory.len() as u64,
            round_trip: Duration::from_micros(broker.round_trip.load(Ordering::Relaxed)),
            history_bytes: broker.accounts.server().kept_of(Kind::Window) as u64,
            kept: broker.accounts.figures(),
            store: self.gauge.as_ref().map(Gauge::read).unwrap_or_default(),
            refusals: broker.refusals.read(),
            log: self.log.as_ref().map(Dropped::read).unwrap_or_default(),
            certificate_seconds: ends.map(|end| end.saturating_sub(now)),
            cluster: broker.log.shared().as_ref().map(ClusterFigures::of),
            group: self.group.as_ref().map(|group| group.figures()),
            totals,
        }
    }
}
