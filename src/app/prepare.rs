//! Everything that can be judged before a port is opened: `config check`, a start and a reload all call [`prepare`], so
//! what one of them accepts the others accept.
//!
//! What can be decided only at that moment is left to the start: ports, the lock and the content of the data folder,
//! services on the network. Nothing is written here.

use std::fmt;

use ipnet::IpNet;
use rustls::ServerConfig;
use secrecy::{ExposeSecret as _, SecretString};

use super::{admin, cluster, older::database};
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
        chat::moderation::{Moderation, ModerationFault},
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
    /// What opens the admin API.
    pub console_password: SecretString,
    /// What the files of the cluster hold.
    pub cluster: cluster::Shared,
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
    let apps = apps(&mut draft, clock);
    let ably_key = ably_key(&mut draft);
    let relay_key = relay_key(&mut draft);
    let blacklist = blacklist(&mut draft);
    let moderation = moderation(&mut draft, clock);
    let mongodb = mongodb(&mut draft);
    let cluster = cluster::prepare(&mut draft);
    let console_password = admin::password(&mut draft);
    let mut loaded = draft.finish()?;
    let relay = &mut loaded.config.relay;
    if relay.api_key.expose_secret().is_empty()
        && let Some(key) = relay_key
    {
        relay.api_key = key;
    }
    Ok(Prepared { loaded, certificate, apps, ably_key, blacklist, moderation, mongodb, console_password, cluster })
}

/// What was read; none, and complaints about the file of `keys[0]`, when it cannot be used. The check of the settings
/// has complained already of one that cannot be read.
pub(super) fn or_complain<T>(draft: &mut Draft, keys: &[&str], read: Result<T, FileFaults>) -> Option<T> {
    let complain = |faults: FileFaults| {
        if !draft.has_fault(faults.key) {
            faults.lines().into_iter().for_each(|line| draft.complain(keys, line));
        }
    };
    read.map_err(complain).ok()
}

fn certificate(draft: &mut Draft) -> Option<(ServerConfig, CertificateReloader)> {
    let settings = &draft.config().tls;
    let faults = match settings.enabled.then(|| tls::server_config(settings))? {
        Ok(ready) => return Some(ready),
        Err(faults) => faults,
    };
    for fault in faults {
        if !draft.has_fault(fault.key) {
            draft.complain(&[fault.key, "tls.enabled"], fault.to_string());
        }
    }
    None
}

fn apps(draft: &mut Draft, clock: &Clock) -> Vec<App> {
    let settings = &draft.config().ably;
    let file = settings.apps_file.as_deref().filter(|_| settings.enabled);
    let read = file.map(|file| apps::file::read(file, clock.now()));
    read.and_then(|read| or_complain(draft, &["ably.apps_file", "ably.enabled"], read)).unwrap_or_default()
}

fn ably_key(draft: &mut Draft) -> Option<LocalKey> {
    let config = draft.config();
    let look = config.ably.enabled.then(|| local_key::look(&config.data.dir))?;
    of_folder(draft, look)
}

fn relay_key(draft: &mut Draft) -> Option<SecretString> {
    let config = draft.config();
    let is_asked = config.relay.enabled && config.relay.api_key.expose_secret().is_empty();
    let look = is_asked.then(|| relay_key::look(&config.data.dir))?;
    of_folder(draft, look)
}

/// What the data folder has. Of each damaged file there is a complaint, of a folder that cannot be used at all only
/// one.
fn of_folder<T>(draft: &mut Draft, look: Result<Option<T>, KeyFileFault>) -> Option<T> {
    look.unwrap_or_else(|fault| {
        if matches!(fault, KeyFileFault::Damaged { .. }) || !draft.has_fault("data.dir") {
            draft.complain(&["data.dir"], fault.to_string());
        }
        None
    })
}

fn blacklist(draft: &mut Draft) -> Vec<IpNet> {
    let settings = &draft.config().group;
    let read = settings.blacklist_file.as_deref().filter(|_| settings.enabled).map(read_blacklist);
    read.and_then(|read| or_complain(draft, &["group.blacklist_file", "group.enabled"], read)).unwrap_or_default()
}

fn moderation(draft: &mut Draft, clock: &Clock) -> Option<Moderation> {
    let settings = &draft.config().chat;
    let made = settings.enabled.then(|| Moderation::new(settings, clock.clone()))?;
    let faults = match made {
        Ok(moderation) => return Some(moderation),
        Err(faults) => faults,
    };
    for fault in faults {
        match fault {
            ModerationFault::Words(faults) => {
                let _: Option<()> = or_complain(draft, &["chat.words_file", "chat.enabled"], Err(faults));
            }
            ModerationFault::Url { .. } => {
                draft.complain(&["chat.baidu_base_url", "chat.enabled"], fault.to_string());
            }
        }
    }
    None
}

fn mongodb(draft: &mut Draft) -> Option<database::Settings> {
    let settings = &draft.config().chat;
    let key = if settings.mongodb_uri.expose_secret().is_empty() { "chat.mongodb_host" } else { "chat.mongodb_uri" };
    let made = settings.enabled.then(|| database::settings(settings))?;
    made.unwrap_or_else(|problem| {
        draft.complain(&[key, "chat.enabled"], problem);
        None
    })
}
