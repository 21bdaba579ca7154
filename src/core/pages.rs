//! A list as clients are sent it, page by page: each page is encoded when the first of them gets there, for all who do before
//! the list changes.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::core::{
    budget::{Account, Charge, Kind},
    wire::{FORMATS, Slot},
};

/// Where a page begins: the place in the order of the list, and what its readers have been told already of the thing that
/// stands there, when the page begins within it.
pub type Start<K, T> = (K, T);

/// A page, and where the next one begins; none: it is the last.
#[derive(Clone, Debug)]
pub struct Page<K, T> {
    pub bytes: Bytes,
    pub next: Option<Start<K, T>>,
}

/// Where the pages of a list begin, and what is encoded of them by now.
#[derive(Debug)]
pub struct Pages<K, T> {
    /// Of all but the first page, which begins with the list.
    starts: Box<[Start<K, T>]>,
    encoded: Box<[[OnceLock<Encoded>; FORMATS]]>,
    payer: Option<(Account, Kind)>,
}

#[derive(Debug)]
struct Encoded {
    bytes: Bytes,
    /// Whatever the limit: what is listed is bounded, and its readers are to see it.
    _charge: Option<Charge>,
}

impl<K: Ord + Clone, T: PartialEq + Clone> Pages<K, T> {
    /// `starts` of all pages but the first, in their order; `payer` pays for what is encoded.
    pub fn new(starts: Vec<Start<K, T>>, payer: Option<(Account, Kind)>) -> Self {
        let encoded = (0..=starts.len()).map(|_| Default::default()).collect();
        Self { starts: starts.into(), encoded, payer }
    }

    /// There is no second one.
    pub const fn is_one(&self) -> bool {
        self.starts.is_empty()
    }

    /// The page from `from` on, which may be where a page of an earlier list began; none: the first. `encode` writes what
    /// stands before the place that it is given.
    pub fn page(
        &self,
        from: Option<&Start<K, T>>,
        slot: Slot,
        encode: impl FnOnce(Option<&Start<K, T>>) -> Bytes,
    ) -> Page<K, T> {
        let place = from.map_or(0, |(key, _)| self.starts.partition_point(|(start, _)| start <= key));
        let next = self.starts.get(place);
        let own = place.checked_sub(1).and_then(|before| self.starts.get(before));
        let bytes = if own == from {
            let encoded = self.encoded[place][slot.index()].get_or_init(|| {
                let bytes = encode(next);
                let payer = self.payer.as_ref();
                let _charge = payer.map(|(account, kind)| account.charge_anyway(*kind, bytes.len()));
                Encoded { bytes, _charge }
            });
            encoded.bytes.clone()
        } else {
            // Others seldom stand at the same place.
            encode(next)
        };
        Page { bytes, next: next.cloned() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = Page<u32, ()>;

    /// Numbers in pages of so many.
    fn pages(numbers: &[u32], size: usize, account: &Account) -> Pages<u32, ()> {
        let starts = numbers.iter().copied().skip(size).step_by(size).map(|number| (number, ())).collect();
        Pages::new(starts, Some((account.clone(), Kind::Presence)))
    }

    fn read(pages: &Pages<u32, ()>, numbers: &[u32], from: Option<&Start<u32, ()>>, encoded: &mut usize) -> Read {
        pages.page(from, Slot::AblyJson, |next| {
            *encoded += 1;
            let stands_there = |number: &&u32| {
                from.is_none_or(|(from, ())| from <= *number) && next.is_none_or(|(next, ())| *number < next)
            };
            numbers.iter().filter(stands_there).map(|number| *number as u8).collect::<Vec<u8>>().into()
        })
    }

    proptest! {
        /// Whatever enters and leaves between two pages: who was there all the time is listed once, in order, and who never was
        /// is not.
        #[test]
        fn who_stays_is_listed_once(
            lists in prop::collection::vec(prop::collection::btree_set(0..60_u32, 0..40), 1..12),
            size in 1..9_usize,
        ) {
            let account = Account::server(0);
            let lists: Vec<Vec<u32>> = lists.into_iter().map(|list| list.into_iter().collect()).collect();
            let (mut told, mut from): (Vec<u32>, Option<Start<u32, ()>>) = (Vec::new(), None);
            for list in lists.iter().chain(std::iter::repeat(&lists[lists.len() - 1])) {
                let page = read(&pages(list, size, &account), list, from.as_ref(), &mut 0);
                prop_assert!(page.bytes.len() <= size);
                told.extend(page.bytes.iter().map(|number| u32::from(*number)));
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
            prop_assert!(told.is_sorted_by(|a, b| a < b), "{told:?}");
            for number in 0..60 {
                let is_in = |list: &Vec<u32>| list.contains(&number);
                prop_assert!(told.contains(&number) || !lists.iter().all(is_in));
                prop_assert!(!told.contains(&number) || lists.iter().any(is_in));
            }
            prop_assert_eq!(account.kept(), 0);
        }
    }

    /// findings G7: a crowd of readers costs one encoding, and what nobody gets to costs none.
    #[test]
    fn pages_are_encoded_once_and_only_when_somebody_gets_there() {
        let (account, numbers) = (Account::server(0), (0..100).collect::<Vec<u32>>());
        let pages = pages(&numbers, 10, &account);
        let mut encoded = 0;
        for _ in 0..1_000 {
            let first = read(&pages, &numbers, None, &mut encoded);
            read(&pages, &numbers, first.next.as_ref(), &mut encoded);
        }
        assert_eq!((encoded, account.kept_of(Kind::Presence)), (2, 20));
        let between = read(&pages, &numbers, Some(&(15, ())), &mut encoded);
        assert_eq!((between.bytes.len(), between.next, account.kept()), (5, Some((20, ())), 20));
        drop(pages);
        assert_eq!(account.kept(), 0);
    }
}
