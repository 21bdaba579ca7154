//! What SIGHUP does: settings and the files that they name are read again, and what takes effect without a restart
//! does. Everything is read and judged before anything is changed; if one thing is wrong, nothing is.

use std::sync::Arc;

use ipnet::IpNet;
use secrecy::ExposeSecret as _;

use super::{
    Prepared, Running, broker_settings, memory,
    site::{Origins, Site},
};
use crate::{
    auth::{
        Leeway,
        apps::{App, Difference},
    },
    config::{Change, Complaints, Config, Loaded},
    edge::{own_hosts::OwnHosts, tls::CertificateReloader},
    ids::AppId,
    live::Live,
    older::{chat::moderation::Moderation, group::ip_filter::Blacklist, relay},
};

/// What can be replaced while the server runs.
pub struct Reloader {
    pub site: Site,
    pub leeway: Leeway,
    pub metrics_from: Arc<Live<Vec<IpNet>>>,
    pub own_hosts: Arc<Live<OwnHosts>>,
    pub certificate: Option<Arc<CertificateReloader>>,
    /// See [`super::Tenants`].
    pub local_app: Option<Arc<App>>,
}

impl Running {
    /// Replaces what is `in_force` by what was `read` anew, as far as that takes effect without a restart, and logs
    /// what is different. When anything is wrong with it, that is logged and nothing changes. Whoever is connected
    /// stays.
    pub fn reload(&self, in_force: &mut Loaded, read: Result<Prepared, Complaints>) {
        let fresh = match read {
            Ok(fresh) => fresh,
            Err(faults) => {
                tracing::error!("the new settings are refused, those before stay in force: {faults}");
                return;
            }
        };
        let lost = in_force.lost_in(&fresh.loaded);
        if !lost.is_empty() {
            tracing::error!("the new settings are refused, those before stay in force: {}", lost.join("; "));
            return;
        }
        let before = in_force.warnings.clone();
        in_force.warnings.clone_from(&fresh.loaded.warnings);
        in_force.adopt(&fresh.loaded).iter().for_each(log);
        for warning in in_force.warnings.iter().filter(|warning| !before.contains(warning)) {
            tracing::warn!("{warning}");
        }
        self.reloader.apply(&in_force.config, fresh);
        tracing::info!("settings, certificates, apps, keys, limits and lists were read again");
    }
}

fn log(change: &Change) {
    if change.is_reloadable {
        tracing::info!("setting changed: {change}");
    } else {
        tracing::warn!("a restart is needed: {change}");
    }
}

impl Reloader {
    fn apply(&self, config: &Config, fresh: Prepared) {
        let Prepared { loaded, certificate, apps, blacklist, moderation, console_password, .. } = fresh;
        // Without the console in its settings there is no password either, and that opens nothing.
        if loaded.config.console.enabled && self.site.admin.door.set_password(console_password) {
            tracing::info!("the password of the admin API is another one: whoever has a session logs in again");
        }
        self.apply_apps(apps.into_iter().map(Arc::new).collect());
        if let (Some(reloader), Some((_, fresh))) = (&self.certificate, certificate)
            && reloader.renew(fresh)
        {
            tracing::info!("new TLS certificate in use");
        }
        self.apply_older(config, blacklist, moderation);

        let site = &self.site;
        site.trusted_proxies.set(config.server.trusted_proxies.clone());
        self.metrics_from.set(config.server.metrics_from.clone());
        let own_hosts = OwnHosts::new(&config.server.public_hosts);
        site.origins.set(Origins::new(config, &own_hosts));
        self.own_hosts.set(own_hosts);
        site.admission.set_limits(&config.limits);
        site.broker.settings.set(broker_settings(config));
        site.broker.directory.set_shares(memory::channels(&config.limits));
        site.broker.accounts.set_shares(memory::shares(&config.limits, &config.history));
        site.letshare.set_terms(config);
    }

    fn apply_apps(&self, mut apps: Vec<Arc<App>>) {
        if apps.iter().all(|app| app.id != AppId::DEFAULT) {
            apps.extend(self.local_app.clone());
        }
        let Difference { new, gone, changed, apps } = self.site.apps.replace(apps);
        for (what, names) in [
            ("new keys", new),
            ("keys that are gone", gone),
            ("keys that are others now", changed),
            ("apps with other namespaces or limits", apps),
        ] {
            if !names.is_empty() {
                tracing::info!("apps were read again; {what}: {}", names.join(", "));
            }
        }
    }

    fn apply_older(&self, config: &Config, blacklist: Vec<IpNet>, moderation: Option<Moderation>) {
        let (older, leeway) = (&self.site.older, &self.leeway);
        // Without a key in the settings or the data folder, the one that was made for this run holds for this run.
        if let Some(relay) = older.relay.as_ref().filter(|_| !config.relay.api_key.expose_secret().is_empty()) {
            relay.keys.set(relay::Keys::new(&config.relay, leeway));
        }
        if let Some(postoffice) = &older.postoffice {
            postoffice.set_keys(&config.postoffice, leeway);
        }
        if let Some(chat) = &older.chat {
            chat.set_keys(&config.chat, leeway);
            if let Some(moderation) = &moderation {
                let words = chat.moderation.adopt_words(moderation);
                tracing::info!(words, "the word list of the chat was read again");
            }
        }
        if let Some(group) = &older.group {
            group.set_keys(&config.group, leeway);
            group.ip_filter.set_blacklist(Blacklist::new(&config.group, blacklist));
        }
    }
}
