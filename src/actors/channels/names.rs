//! The names of the channels that have an actor, in the order in which they are listed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use crate::ids::{AppId, ChannelName};

#[derive(Default)]
pub(super) struct Names(BTreeMap<AppId, BTreeSet<ChannelName>>);

impl Names {
    pub fn add(&mut self, name: ChannelName) {
        self.0.entry(name.app()).or_default().insert(name);
    }

    pub fn remove(&mut self, name: &ChannelName) {
        if let Some(names) = self.0.get_mut(&name.app()) {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(&name.app());
            }
        }
    }

    /// Those of an app that begin with `prefix` and come after `after`, in their order.
    pub fn range<'a>(
        &'a self,
        app: AppId,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = &'a ChannelName> {
        let start = match after.filter(|after| *after >= prefix) {
            Some(after) => Bound::Excluded(ChannelName::new(app, after)),
            None => Bound::Included(ChannelName::new(app, prefix)),
        };
        let names = self.0.get(&app).into_iter();
        let names = names.flat_map(move |names| names.range((start.clone(), Bound::Unbounded)));
        names.take_while(move |name| name.as_str().starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(names: &Names, app: AppId, prefix: &str, after: Option<&str>) -> Vec<String> {
        names.range(app, prefix, after).map(|name| name.as_str().to_owned()).collect()
    }

    /// findings G6: a page is looked for from its first name on, however many names there are.
    #[test]
    fn a_page_of_names_begins_at_its_place() {
        for count in [100, 10_000] {
            let mut names = Names::default();
            for number in 0..count {
                names.add(ChannelName::new(AppId::DEFAULT, &format!("a:{number:06}")));
                names.add(ChannelName::new(AppId::DEFAULT, &format!("b:{number:06}")));
            }
            let first = |prefix, after| {
                let name = names.range(AppId::DEFAULT, prefix, after).next();
                name.map(|name| name.as_str().to_owned())
            };
            assert_eq!(first("", None).as_deref(), Some("a:000000"));
            assert_eq!(first("b:", None).as_deref(), Some("b:000000"));
            assert_eq!(first("b:", Some("a:000050")).as_deref(), Some("b:000000"));
            assert_eq!(first("b:", Some("b:000050")).as_deref(), Some("b:000051"));
            assert_eq!(first("a:", Some("b:000000")), None);
            assert_eq!(first("c", None), None);
        }
    }

    #[test]
    fn names_are_those_of_their_app() {
        let (one, other) = (AppId::DEFAULT, AppId::parse("other1"));
        let other = other.unwrap_or_else(|| unreachable!("six characters"));
        let mut names = Names::default();
        for (app, text) in [(one, "b"), (other, "ab"), (one, "ab"), (one, "a")] {
            names.add(ChannelName::new(app, text));
        }
        assert_eq!(texts(&names, one, "", None), ["a", "ab", "b"]);
        assert_eq!(texts(&names, one, "a", Some("a")), ["ab"]);
        assert_eq!(texts(&names, other, "", None), ["ab"]);
        names.remove(&ChannelName::new(other, "ab"));
        names.remove(&ChannelName::new(other, "never"));
        assert_eq!(texts(&names, other, "", None), [""; 0]);
        assert_eq!(names.0.len(), 1, "an app without channels costs nothing");
    }
}
