//! What SIGHUP does: settings and the files that they name are read again, and what takes effect without a restart
//! does. Everything is read and judged before anything is changed; if one thing is wrong, nothing is.

use std::sync::Arc;

use ipnet::IpNet;

use super::{
    Running, broker_settings, configured_apps,
    site::{Origins, Site},
};
use crate::{
    auth::apps::{App, Difference},
    config::{Change, Complaints, Config, Loaded},
    edge::tls::{CertificateReloader, Renewal},
    ids::AppId,
    live::Live,
    protocols::{chat::moderation::Words, group::barrier::Lists, relay},
};

/// Whatever can be replaced while the server runs.
pub struct Reloader {
    pub site: Site,
    pub metrics_from: Arc<Live<Vec<IpNet>>>,
    pub certificate: Option<Arc<CertificateReloader>>,
    /// See [`super::Tenants`].
    pub local_app: Option<Arc<App>>,
}

/// Files that were read, and can be used.
struct Files {
    apps: Vec<Arc<App>>,
    certificate: Option<Renewal>,
    blacklist: Option<Lists>,
    words: Option<Words>,
}

impl Running {
    /// Replaces what is `in_force` by what was `read` anew, as far as that takes effect without a restart, and logs what
    /// is different. When anything is wrong with it, that is logged and nothing changes. Whoever is connected stays.
    pub fn reload(&self, in_force: &mut Loaded, read: Result<Loaded, Complaints>) {
        let known = in_force.warnings.clone();
        let outcome = read.map_err(|complaints| complaints.to_string()).and_then(|new| {
            let mut next = in_force.clone();
            next.warnings.clone_from(&new.warnings);
            let changes = next.adopt(new);
            let files = self.reloader.read_files(&next.config).map_err(|faults| faults.join("\n"))?;
            Ok((next, changes, files))
        });
        match outcome {
            Err(faults) => tracing::error!("the new settings are refused, those before stay in force: {faults}"),
            Ok((next, changes, files)) => {
                changes.iter().for_each(tell);
                self.reloader.apply(&next.config, files);
                for warning in next.warnings.iter().filter(|warning| !known.contains(warning)) {
                    tracing::warn!("{warning}");
                }
                tracing::info!(
                    changes = changes.len(),
                    "settings, certificates, apps, keys, limits and lists were read again"
                );
                *in_force = next;
            }
        }
    }
}

fn tell(change: &Change) {
    if change.is_reloadable {
        tracing::info!("setting changed: {change}");
    } else {
        tracing::warn!("a restart is needed: {change}");
    }
}

impl Reloader {
    /// # Errors
    /// Everything that is wrong.
    fn read_files(&self, config: &Config) -> Result<Files, Vec<String>> {
        let mut faults = Vec::new();
        let apps = or_fault(configured_apps(config, &self.site.broker.clock), &mut faults).unwrap_or_default();
        let prepare = |certificate: &Arc<CertificateReloader>| certificate.prepare(&config.tls);
        let certificate = self.certificate.as_ref().map(prepare);
        let certificate = certificate.and_then(|read| or_fault(read, &mut faults));
        let blacklist = self.site.older.group.is_some().then(|| Lists::read(&config.group));
        let blacklist = blacklist.map(|read| read.map_err(|error| format!("group.blacklist_file: {error}")));
        let blacklist = blacklist.and_then(|read| or_fault(read, &mut faults));
        let words = self.site.older.chat.as_ref().and(config.chat.words_file.as_deref()).map(Words::load);
        let words = words.and_then(|read| or_fault(read, &mut faults));
        if faults.is_empty() { Ok(Files { apps, certificate, blacklist, words }) } else { Err(faults) }
    }

    fn apply(&self, config: &Config, files: Files) {
        let Files { apps, certificate, blacklist, words } = files;
        self.apply_apps(apps);
        if let (Some(reloader), Some(renewal)) = (&self.certificate, certificate)
            && reloader.renew(renewal)
        {
            tracing::info!("new TLS certificate in use");
        }
        self.apply_older(config, blacklist, words);

        let site = &self.site;
        site.trusted_proxies.set(config.server.trusted_proxies.clone());
        self.metrics_from.set(config.server.metrics_from.clone());
        site.origins.set(Origins::new(config));
        site.admission.set_limits(&config.limits);
        site.broker.settings.set(broker_settings(config));
        site.broker.directory.set_limit(config.limits.channels);
        site.letshare.set_terms(config);
    }

    fn apply_apps(&self, mut apps: Vec<Arc<App>>) {
        if apps.iter().all(|app| app.id != AppId::DEFAULT) {
            apps.extend(self.local_app.clone());
        }
        let Difference { new, gone, changed } = self.site.apps.replace(apps);
        for (what, names) in [("new keys", new), ("keys that are gone", gone), ("keys that are others now", changed)] {
            if !names.is_empty() {
                tracing::info!("apps were read again; {what}: {}", names.join(", "));
            }
        }
    }

    fn apply_older(&self, config: &Config, blacklist: Option<Lists>, words: Option<Words>) {
        let older = &self.site.older;
        if let Some(relay) = &older.relay {
            relay.keys.set(relay::Keys::new(&config.relay));
        }
        if let Some(postoffice) = &older.postoffice {
            postoffice.set_keys(&config.postoffice);
        }
        if let Some(chat) = &older.chat {
            chat.set_keys(&config.chat);
            if let Some(words) = &words {
                tracing::info!(words = words.count(), "the word list of the chat was read again");
            }
            chat.set_words(words);
        }
        if let Some(group) = &older.group {
            group.set_keys(&config.group);
            if let Some(lists) = blacklist {
                let networks = lists.networks();
                let before = group.barrier.set_lists(lists).networks();
                tracing::info!(networks, before, "the blacklist of the group protocol was read again");
            }
        }
    }
}

fn or_fault<T, E: ToString>(read: Result<T, E>, faults: &mut Vec<String>) -> Option<T> {
    read.map_err(|fault| faults.push(fault.to_string())).ok()
}
