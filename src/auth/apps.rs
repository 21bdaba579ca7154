//! The apps of this server: their keys, the rules of their channels, their limits
//! (`docs/protocols/ably.md §0, §5.2`).
//!
//! Here: the types and the registry that all parts share. How a set-up becomes an app is in `setup`, the
//! operator's file in `file`.

pub mod file;
pub mod setup;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, OnceLock},
};

use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::{
    clock::Clock,
    core::{
        budget::Charge,
        capability::Capability,
        presence::Member,
        rules::{Attributes, Namespaces, Terms},
    },
    error::{Fault, Found},
    ids::{AppId, ChannelName},
    limits,
};

/// A tenant. It does not change; another one takes its place in the registry.
#[derive(Debug)]
pub struct App {
    pub id: AppId,
    /// In the order in which they were set up.
    pub keys: Vec<Arc<Key>>,
    /// In the order in which they were set up.
    pub namespaces: Vec<Namespace>,
    /// Members that may be present on one of its channels at once.
    pub presence_members: usize,
    /// The members of some channels that are always there.
    pub fixtures: BTreeMap<String, Vec<Arc<Member>>>,
    /// It was made by `POST /apps`, so it may be deleted with its key.
    pub is_sandbox: bool,
    /// Of whoever made it by a request, as long as it is there.
    pub(in crate::auth) charge: Option<Charge>,
}

/// A key of an app: `<app>.<key>:<secret>`.
pub struct Key {
    /// `<app>.<key>`: what names it in public.
    pub name: Arc<str>,
    pub secret: SecretString,
    pub capability: Arc<Capability>,
    /// Whether its tokens can be revoked; they live an hour at most.
    pub has_revocable_tokens: bool,
    pub status: KeyStatus,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyStatus {
    #[default]
    Enabled,
    /// With the right secret the refusal says that it is revoked.
    Revoked,
    /// It was there once; its secret is not checked any more.
    Removed,
}

/// The rule for the channels whose names are its id, or begin with its id and `:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub id: String,
    pub attributes: Attributes,
}

impl App {
    fn has_rules_of(&self, other: &Self) -> bool {
        self.namespaces == other.namespaces && self.presence_members == other.presence_members
    }

    /// An app without keys and rules.
    pub const fn new(id: AppId) -> Self {
        Self {
            id,
            keys: Vec::new(),
            namespaces: Vec::new(),
            presence_members: limits::PRESENCE_MEMBERS,
            fixtures: BTreeMap::new(),
            is_sandbox: false,
            charge: None,
        }
    }

    /// The key with this whole name.
    pub fn key(&self, name: &str) -> Option<&Arc<Key>> {
        self.keys.iter().find(|key| &*key.name == name)
    }

    /// The attributes that its rules give a channel. A chat room is mutable without a rule
    /// (`docs/protocols/ably.md §11.12`), and what is mutable is persisted (§5.2).
    pub fn attributes_of(&self, channel: &ChannelName) -> Attributes {
        let id = channel.namespace();
        let rule = self.namespaces.iter().find(|rule| rule.id == id);
        let mut attributes = rule.map(|rule| rule.attributes).unwrap_or_default();
        attributes.is_mutable |= channel.as_str().ends_with("::$chat");
        attributes.is_persisted |= attributes.is_mutable;
        attributes
    }

    /// # Errors
    /// [`Fault::NotMutable`]: no rule lets the messages of a channel be updated, deleted or annotated.
    pub fn check_mutable(&self, channel: &ChannelName) -> Result<(), Fault> {
        if self.attributes_of(channel).is_mutable { Ok(()) } else { Err(Fault::NotMutable) }
    }
}

impl Key {
    /// Takes the same time for every secret of the right length; the length is public.
    pub fn has_secret(&self, secret: &str) -> bool {
        let own = self.secret.expose_secret().as_bytes();
        own.ct_eq(secret.as_bytes()).into()
    }

    /// What is another thing than `before`, without secrets.
    fn changes(&self, before: &Self) -> Vec<String> {
        let shown = |capability: &Capability| {
            let text = capability.to_string();
            if text.len() > SHOWN_BYTES { format!("one of {} bytes", text.len()) } else { text }
        };
        let mut changes = Vec::new();
        if !self.has_secret(before.secret.expose_secret()) {
            changes.push("another secret".to_owned());
        }
        if self.capability != before.capability {
            let (now, then) = (shown(&self.capability), shown(&before.capability));
            changes.push(format!("capability {now}, before {then}"));
        }
        if self.has_revocable_tokens != before.has_revocable_tokens {
            changes.push(format!("revocableTokens {}", self.has_revocable_tokens));
        }
        if self.status != before.status {
            changes.push(format!("{:?}, before {:?}", self.status, before.status).to_lowercase());
        }
        changes
    }

    /// `<app>.<key>:<secret>`, for its owner. Not for logs.
    pub fn reveal(&self) -> String {
        format!("{}:{}", self.name, self.secret.expose_secret())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}:…)", self.name)
    }
}

/// What is different about the keys of the operator's apps, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub new: Vec<String>,
    pub gone: Vec<String>,
    /// With what is another one: secret, which is not shown, capability, state.
    pub changed: Vec<String>,
    /// Apps that were there before and have other namespaces or limits.
    pub apps: Vec<String>,
}

/// A longer capability is not shown in the log.
const SHOWN_BYTES: usize = 512;

type Names = BTreeMap<Arc<str>, Arc<Key>>;

fn keys_of<'a>(apps: impl Iterator<Item = &'a Arc<App>>) -> Names {
    let configured = apps.filter(|app| !app.is_sandbox);
    configured.flat_map(|app| &app.keys).map(|key| (Arc::clone(&key.name), Arc::clone(key))).collect()
}

/// All apps of this server. There is always the default one.
#[derive(Debug)]
pub struct Apps {
    apps: RwLock<HashMap<AppId, Arc<App>>>,
    clock: Clock,
    /// Whether other servers may have made apps that are not known here yet.
    lacks_some: OnceLock<LacksSome>,
}

struct LacksSome(Box<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for LacksSome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LacksSome")
    }
}

impl Apps {
    /// With these apps; the default app is added when it is not among them.
    pub fn new(apps: impl IntoIterator<Item = App>, clock: Clock) -> Self {
        let default = App::new(AppId::DEFAULT);
        let apps = [default].into_iter().chain(apps);
        Self {
            apps: RwLock::new(apps.map(|app| (app.id, Arc::new(app))).collect()),
            clock,
            lacks_some: OnceLock::new(),
        }
    }

    /// The operator's apps are these from now on; those of the sandbox stay. What clients were granted they keep.
    pub fn replace(&self, configured: impl IntoIterator<Item = Arc<App>>) -> Difference {
        let default = Arc::new(App::new(AppId::DEFAULT));
        let configured = [default].into_iter().chain(configured).map(|app| (app.id, app));
        let mut next: HashMap<_, _> = configured.collect();
        let mut apps = self.apps.write();
        let (before, after) = (keys_of(apps.values()), keys_of(next.values()));
        let others = next.values().filter(|app| apps.get(&app.id).is_some_and(|old| !old.has_rules_of(app)));
        let mut others: Vec<String> = others.map(|app| app.id.to_string()).collect();
        others.sort();
        for app in apps.values().filter(|app| app.is_sandbox) {
            next.insert(app.id, Arc::clone(app));
        }
        *apps = next;
        let missing = |from: &Names, there: &Names| {
            let names = there.keys().filter(|name| !from.contains_key(*name));
            names.map(ToString::to_string).collect()
        };
        let changes = |(name, key): (&Arc<str>, &Arc<Key>)| {
            let changes = key.changes(before.get(name)?);
            (!changes.is_empty()).then(|| format!("{name} ({})", changes.join("; ")))
        };
        let changed = after.iter().filter_map(changes).collect();
        Difference { new: missing(&before, &after), gone: missing(&after, &before), changed, apps: others }
    }

    /// Other servers make apps too; `lacks_some` says whether this one may not have heard of some.
    pub fn are_those_of_all(&self, lacks_some: impl Fn() -> bool + Send + Sync + 'static) {
        // There is one cluster, and it is told once.
        let _ = self.lacks_some.set(LacksSome(Box::new(lacks_some)));
    }

    /// What is said of an app that is not here: it may be found later while other servers cannot be heard.
    pub fn unknown(&self) -> Fault {
        match self.lacks_some.get() {
            Some(lacks_some) if (lacks_some.0)() => Fault::Busy,
            _ => Fault::NotFound { what: "app" },
        }
    }

    pub fn find(&self, id: AppId) -> Option<Arc<App>> {
        self.apps.read().get(&id).cloned()
    }

    /// Makes a sandbox app with new ids and secrets; those in `setup` are ignored. `charge` pays for it.
    ///
    /// # Errors
    /// What is wrong with the set-up; [`Fault::Busy`] when there are too many apps.
    pub fn create(&self, setup: setup::AppSetup, mut charge: Option<Charge>) -> Result<Arc<App>, Fault> {
        let now = self.clock.now();
        loop {
            let mut app = setup.clone().into_sandbox_app(AppId::random(), now)?;
            let mut apps = self.apps.write();
            if apps.len() >= limits::APPS {
                return Err(Fault::Busy);
            }
            if apps.contains_key(&app.id) {
                continue;
            }
            app.charge = charge.take();
            let app = Arc::new(app);
            apps.insert(app.id, Arc::clone(&app));
            return Ok(app);
        }
    }

    /// Takes up a sandbox app that another node has made, with its ids and secrets; `charge` pays for it. False: it is none, or there
    /// are too many.
    pub fn adopt(&self, setup: setup::AppSetup, charge: Charge) -> bool {
        let Ok(mut app) = setup.into_app(self.clock.now()) else { return false };
        (app.is_sandbox, app.charge) = (true, Some(charge));
        let mut apps = self.apps.write();
        let has_place = apps.len() < limits::APPS && !apps.contains_key(&app.id);
        if has_place {
            apps.insert(app.id, Arc::new(app));
        }
        has_place
    }

    /// The ids of the sandbox apps.
    pub fn made_by_request(&self) -> Vec<AppId> {
        self.apps.read().values().filter(|app| app.is_sandbox).map(|app| app.id).collect()
    }

    /// Forgets a sandbox app.
    ///
    /// # Errors
    /// [`Fault::NotFound`]; [`Fault::NotPermitted`] for an app that the operator has set up.
    pub fn remove(&self, id: AppId) -> Result<Arc<App>, Fault> {
        let mut apps = self.apps.write();
        match apps.get(&id) {
            None => return Err(Fault::NotFound { what: "app" }),
            Some(app) if !app.is_sandbox => {
                let operation = "deleting an app of the configuration";
                let (on, permitted) = (Found::text(id.as_str()), "that for apps made by POST /apps only".into());
                return Err(Fault::NotPermitted { operation, on, permitted });
            }
            Some(_) => {}
        }
        apps.remove(&id).ok_or(Fault::NotFound { what: "app" })
    }
}

/// A channel of an app that is gone has the common terms.
impl Namespaces for Apps {
    fn terms(&self, channel: &ChannelName) -> Terms {
        let Some(app) = self.find(channel.app()) else {
            return Terms::default();
        };
        Terms {
            presence_members: app.presence_members,
            fixtures: app.fixtures.get(channel.as_str()).cloned().unwrap_or_default(),
            attributes: app.attributes_of(channel),
        }
    }
}
