//! What tokens may do whose capabilities are long, as it came out the last time: the same text comes with every request, and
//! with the token of each client of a fleet.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use crate::{
    core::{budget::Charge, capability::Capability},
    limits,
};

/// By the texts that tokens carry. Bounded by [`limits::CAPABILITIES_KNOWN_BYTES`]: when the young ones have so many, they
/// become the old ones, and those that were old and not asked for since are forgotten.
#[derive(Debug, Default)]
pub(super) struct Capabilities(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    young: HashMap<Arc<str>, Known>,
    old: HashMap<Arc<str>, Known>,
    /// Of the young texts.
    bytes: usize,
}

#[derive(Debug)]
struct Known {
    /// The one that is the key's counts, not one that is like it: a key of the same name may permit something else by now.
    of_key: Arc<Capability>,
    permitted: Arc<Capability>,
    /// Of those who have it: none of them is needed to remember it here, where it is bounded.
    paid: Weak<Charge>,
}

impl All {
    fn put(&mut self, text: Arc<str>, known: Known) {
        if self.bytes + text.len() > limits::CAPABILITIES_KNOWN_BYTES {
            self.old = mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += text.len();
        if let Some(before) = self.young.insert(Arc::clone(&text), known) {
            drop(before);
            self.bytes -= text.len();
        }
    }
}

impl Capabilities {
    /// What a token with this text may do by a key that permits `of_key`, if that is known; and its charge, if somebody
    /// has it now.
    pub fn find(&self, text: &str, of_key: &Arc<Capability>) -> Option<(Arc<Capability>, Option<Arc<Charge>>)> {
        let mut all = self.0.lock();
        if let Some((text, known)) = all.old.remove_entry(text) {
            all.put(text, known);
        }
        let known = all.young.get(text).filter(|known| Arc::ptr_eq(&known.of_key, of_key));
        known.map(|known| (Arc::clone(&known.permitted), known.paid.upgrade()))
    }

    pub fn note(&self, text: &str, of_key: &Arc<Capability>, permitted: &Arc<Capability>, paid: &Arc<Charge>) {
        let (of_key, permitted) = (Arc::clone(of_key), Arc::clone(permitted));
        let known = Known { of_key, permitted, paid: Arc::downgrade(paid) };
        self.0.lock().put(text.into(), known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::budget::{Account, Kind};

    fn text(number: usize) -> String {
        format!("{number:0>width$}", width = limits::CAPABILITY_KNOWN_BYTES)
    }

    /// findings G4: what is long is read once for a key, and found again as long as it is asked for; what is remembered is
    /// bounded.
    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let (known, of_key) = (Capabilities::default(), Arc::new(Capability::everything()));
        let permitted = Arc::new(Capability::all_channels());
        let paid = Arc::new(Account::server(1).charge(Kind::Connection, 1).expect("room"));
        for number in 0..4 * limits::CAPABILITIES_KNOWN_BYTES / limits::CAPABILITY_KNOWN_BYTES {
            known.note(&text(number), &of_key, &permitted, &paid);
            let (first, charge) = known.find(&text(0), &of_key).expect("known");
            assert!(Arc::ptr_eq(&first, &permitted) && charge.is_some());
        }
        assert!(known.find(&text(1), &of_key).is_none());
        assert!(known.find(&text(0), &Arc::new(Capability::everything())).is_none(), "of another key");
        drop(paid);
        assert!(known.find(&text(0), &of_key).expect("known").1.is_none(), "nobody has it");
        let all = known.0.lock();
        let kept: usize = all.young.keys().chain(all.old.keys()).map(|text| text.len()).sum();
        assert!(kept <= 2 * limits::CAPABILITIES_KNOWN_BYTES);
    }
}
