//! Everything that can be judged before a port is opened: `config check`, a start and a reload all call [`prepare`], so
//! what one of them accepts the others accept.
//!
//! Left to the start are what the machine decides at that moment: ports, the lock and the content of the data folder,
//! services on the network. Nothing is written here.

use std::fmt;

use ipnet::IpNet;
use rustls::ServerConfig;
use secrecy::{ExposeSecret as _, SecretString};

use super::older::database;
use crate::{
    auth::{
        ably::local_key::{self, LocalKey},
        apps::{self, App},
        key_file::KeyFileFault,
        relay_key,
    },
    clock::Clock,
    config::{self, Complaints, Draft, Environment, FileFaults, Loaded},
    edge::tls::{self, CertificateReloader},
    older::{
        chat::moderation::{self, Moderation, ModerationFault},
        group::ip_filter::read_blacklist,
    },
};

/// Settings, and what the files that they name hold. A relay without a key in its settings has that of the data folder,
/// if one was made before.
pub struct Prepared {
    pub loaded: Loaded,
    pub certificate: Option<(ServerConfig, CertificateReloader)>,
    /// Those of `ably.apps_file`.
    pub apps: Vec<App>,
    /// What the Ably interface has in the data folder; none before its first start.
    pub ably_key: Option<LocalKey>,
    /// The networks of `group.blacklist_file`.
    pub blacklist: Vec<IpNet>,
    /// How the chat judges messages; there when the chat is on.
    pub moderation: Option<Moderation>,
    /// Where the chat keeps messages, unless in the data folder.
    pub mongodb: Option<database::Settings>,
}

/// Without what the files hold: there are secrets in it.
impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("loaded", &self.loaded).finish_non_exhaustive()
    }
}

/// Reads the settings and every file that they name.
///
/// # Errors
/// Everything that is wrong, each with its origin.
pub fn load(environment: &Environment, flags: &[(String, String)], clock: &Clock) -> Result<Prepared, Complaints> {
    prepare(config::read(environment, flags)?, clock)
}

/// Reads every file that the settings name.
///
/// # Errors
/// Everything that is wrong with them and with the settings, each with its origin.
pub fn prepare(mut draft: Draft, clock: &Clock) -> Result<Prepared, Complaints> {
    let certificate = certificate(&mut draft);
    let (apps, ably_key) = ably(&mut draft, clock);
    let relay_key = relay_key(&mut draft);
    let blacklist = blacklist(&mut draft);
    let moderation = moderation(&mut draft, clock);
    let mongodb = mongodb(&mut draft);
    let mut loaded = draft.finish()?;
    let relay = &mut loaded.config.relay;
    if relay.api_key.expose_secret().is_empty()
        && let Some(key) = relay_key
    {
        relay.api_key = key;
    }
    Ok(Prepared { loaded, certificate, apps, ably_key, blacklist, moderation, mongodb })
}

/// What is wrong with the file of `keys[0]`, unless something was told about it before: it cannot be read, and nobody
/// needs to hear that twice.
fn tell(draft: &mut Draft, keys: &[&str], faults: &FileFaults) {
    if draft.has_fault(faults.key) {
        return;
    }
    for problem in faults.told() {
        draft.complain(keys, problem);
    }
}

fn certificate(draft: &mut Draft) -> Option<(ServerConfig, CertificateReloader)> {
    let settings = &draft.config().tls;
    if !settings.enabled {
        return None;
    }
    match tls::server_config(settings) {
        Ok(ready) => Some(ready),
        Err(faults) => {
            for fault in faults {
                if !draft.has_fault(fault.key) {
                    draft.complain(&[fault.key, "tls.enabled"], fault.to_string());
                }
            }
            None
        }
    }
}

fn ably(draft: &mut Draft, clock: &Clock) -> (Vec<App>, Option<LocalKey>) {
    let settings = draft.config().ably.clone();
    let read = settings.apps_file.filter(|_| settings.enabled).map(|file| apps::file::read(&file, clock.now()));
    let apps = read.transpose().unwrap_or_else(|faults| {
        tell(draft, &["ably.apps_file", "ably.enabled"], &faults);
        None
    });
    let kept = if settings.enabled { local_key::look(&draft.config().data.dir) } else { Ok(None) };
    let kept = kept.unwrap_or_else(|fault| {
        tell_of_folder(draft, &fault);
        None
    });
    (apps.unwrap_or_default(), kept)
}

fn relay_key(draft: &mut Draft) -> Option<SecretString> {
    let config = draft.config();
    if !config.relay.enabled || !config.relay.api_key.expose_secret().is_empty() {
        return None;
    }
    relay_key::look(&config.data.dir).unwrap_or_else(|fault| {
        tell_of_folder(draft, &fault);
        None
    })
}

/// Each damaged file; but of a folder that cannot be used at all, once is enough.
fn tell_of_folder(draft: &mut Draft, fault: &KeyFileFault) {
    if matches!(fault, KeyFileFault::Damaged { .. }) || !draft.has_fault("data.dir") {
        draft.complain(&["data.dir"], fault.to_string());
    }
}

fn blacklist(draft: &mut Draft) -> Vec<IpNet> {
    let settings = &draft.config().group;
    let read = settings.blacklist_file.as_deref().filter(|_| settings.enabled).map(read_blacklist);
    let networks = read.transpose().unwrap_or_else(|faults| {
        tell(draft, &["group.blacklist_file", "group.enabled"], &faults);
        None
    });
    networks.unwrap_or_default()
}

fn moderation(draft: &mut Draft, clock: &Clock) -> Option<Moderation> {
    let settings = &draft.config().chat;
    if !settings.enabled {
        return None;
    }
    match Moderation::new(settings, clock.clone()) {
        Ok(moderation) => Some(moderation),
        Err(faults) => {
            for fault in faults {
                match fault {
                    ModerationFault::Words(faults) => tell(draft, &["chat.words_file", "chat.enabled"], &faults),
                    ModerationFault::Url { .. } => {
                        draft.complain(&["chat.baidu_base_url", "chat.enabled"], fault.to_string());
                    }
                }
            }
            None
        }
    }
}

fn mongodb(draft: &mut Draft) -> Option<database::Settings> {
    let settings = &draft.config().chat;
    if !settings.enabled {
        return None;
    }
    let key = if settings.mongodb_uri.expose_secret().is_empty() { "chat.mongodb_host" } else { "chat.mongodb_uri" };
    database::settings(settings).unwrap_or_else(|problem| {
        draft.complain(&[key, "chat.enabled"], problem);
        None
    })
}
