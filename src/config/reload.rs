//! What a reload (SIGHUP) takes over, and what is different between the settings in force and those that were read
//! anew.

use std::{collections::BTreeSet, fmt};

use secrecy::ExposeSecret as _;

use super::{Loaded, Origin, Setting, keys::Key};

/// A setting whose value is another one now. Secrets are not shown.
#[derive(Clone, Debug)]
pub struct Change {
    pub key: &'static str,
    pub is_reloadable: bool,
    from: String,
    to: String,
    origin: Origin,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, from, to, origin, .. } = self;
        if from == to {
            // A secret of the same length.
            return write!(f, "{key} is another one (set by {origin})");
        }
        let shown = |value: &str| if value.is_empty() { "nothing".to_owned() } else { value.to_owned() };
        write!(f, "{key} = {}, before {} (set by {origin})", shown(to), shown(from))
    }
}

impl Loaded {
    /// Why `new` must not take the place of these settings: a file that had settings has none any more, or a secret of
    /// the operator's own would be replaced by the published default.
    pub fn lost_in(&self, new: &Self) -> Vec<String> {
        let file = |setting: &Setting| match &setting.origin {
            Origin::File { path, embedded: false, .. } => Some(path.clone()),
            _ => None,
        };
        let there: BTreeSet<_> = new.settings.iter().filter_map(file).collect();
        let before: BTreeSet<_> = self.settings.iter().filter_map(file).collect();
        let gone = before.difference(&there);
        let gone = gone.map(|path| format!("{} has settings no more: is it whole, and still there?", path.display()));

        let is_built_in = |origin: &Origin| matches!(origin, Origin::Default | Origin::File { embedded: true, .. });
        let pairs = self.settings.iter().zip(&new.settings);
        let given_up = pairs.filter(|(old, new)| {
            let is_secret = Key::find(old.key).is_some_and(Key::is_secret);
            let is_published = is_built_in(&new.origin) && !new.value.expose_secret().is_empty();
            is_secret && is_published && !is_built_in(&old.origin)
        });
        let given_up = given_up.map(|(old, _)| {
            format!("{} was set by {}, and would be the published one that is built in", old.key, old.origin)
        });
        gone.chain(given_up).collect()
    }

    /// Takes over what takes effect without a restart, and says what is different, the rest included.
    pub fn adopt(&mut self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (old, new) in self.settings.iter_mut().zip(&new.settings) {
            let is_same = old.value.expose_secret() == new.value.expose_secret();
            let is_reloadable = Key::find(old.key).is_some_and(|key| key.is_reloadable);
            if !is_same {
                let (from, to, origin) = (old.shown.clone(), new.shown.clone(), new.origin.clone());
                changes.push(Change { key: old.key, is_reloadable, from, to, origin });
            }
            if is_reloadable {
                *old = new.clone();
            }
        }
        self.config.adopt(&new.config);
        changes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::config::{Environment, load};

    fn loaded(flags: &[(&str, &str)]) -> Loaded {
        let flags: Vec<_> = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        load(&Environment::default(), &flags).expect("valid")
    }

    /// The keys that README says take effect at once.
    #[test]
    fn the_reloadable_keys() {
        let names: Vec<_> = Key::all().filter(|key| key.is_reloadable).map(|key| key.name).collect();
        assert_eq!(names.len(), 46, "{names:?}");
        assert!(["tls.key_file", "auth.secret", "group.blacklist"].iter().all(|name| names.contains(name)));
        assert!(!names.contains(&"server.host"));
    }

    /// findings P1: what can be taken over is, what cannot is told, and secrets are shown to nobody.
    #[test]
    fn changes_are_told_and_only_reloadable_ones_are_taken_over() {
        let mut in_force = loaded(&[("limits.channels", "5"), ("auth.secret", &"a".repeat(40))]);
        let new = [("limits.channels", "7"), ("auth.secret", &"b".repeat(40)), ("history.window", "3s")];
        let changes = in_force.adopt(&loaded(&new));
        let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("auth.secret is another one"), "{told:?}");
        assert!(told[1].starts_with("limits.channels = 7, before 5"), "{told:?}");
        assert!(told[2].starts_with("history.window = 3s, before "), "{told:?}");
        assert_eq!(changes.iter().map(|change| change.is_reloadable).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(in_force.config.limits.channels, 7);
        assert_eq!(in_force.config.auth.secret.expose_secret(), "b".repeat(40));
        assert_ne!(in_force.config.history.window, std::time::Duration::from_secs(3));
        // A secret of one's own never gives way to the published one by a reload.
        let lost = in_force.lost_in(&loaded(&[]));
        assert!(lost.len() == 1 && lost[0].starts_with("auth.secret was set by"), "{lost:?}");
        assert_eq!(in_force.lost_in(&loaded(&new)), Vec::<String>::new());
        // What waits for a restart is told again, what was taken over is not.
        let again = in_force.adopt(&loaded(&new));
        assert_eq!(again.iter().map(|change| change.key).collect::<Vec<_>>(), ["history.window"]);
    }
}
