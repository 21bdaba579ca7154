//! One byte string as the difference to another: VCDIFF (RFC 3284), one window, the default code table, no checksum.
//!
//! Written here since the only crate that writes it joins neighbouring runs of different bytes into one, so that clients
//! would read wrong bytes without an error (`docs/dependencies.md`). Only ADD and COPY are used, and addresses count from the
//! beginning of the base: whoever decodes needs no more than that.
//!
//! The time it takes is proportional to both lengths, whatever stands in them: each byte of the target is copied or added once,
//! and of the base so many places are remembered at most.

/// Bytes that have to agree for a copy within the part that has changed. A shorter one saves nothing.
const MATCH: usize = 8;

/// Bytes that have to agree at the beginning or the end.
const EDGE: usize = 4;

/// Places of the base that are looked up, evenly spread.
const PLACES: usize = 4096;

/// The magic bytes, version 0, no secondary compressor, no code table, and the indicator of a window with a source.
const HEADER: [u8; 6] = [0xd6, 0xc3, 0xc4, 0, 0, 1];

/// What makes `target` out of `base`; none when it is not shorter.
pub fn encode(base: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let long_enough = |length| if length < EDGE { 0 } else { length };
    let head = long_enough(prefix(base, target));
    let tail = long_enough(suffix(&base[head..], &target[head..]));
    let end = target.len() - tail;

    let mut delta = Delta::default();
    delta.copy(0, head);
    // What is before `from` is written; the next copy is looked for at `at`.
    let (mut from, mut at) = (head, head);
    let mut index = None;
    // What has changed in its place has the same distance to the base as what was copied last.
    let mut distance = 0;
    while let Some(wanted) = target.get(at..at + MATCH).filter(|_| at + MATCH <= end) {
        let index = index.get_or_insert_with(|| Index::of(base));
        let places = [at.checked_add_signed(distance), index.find(wanted)];
        let agrees = |place: &usize| base.get(*place..).is_some_and(|there| there.starts_with(wanted));
        let Some(place) = places.into_iter().flatten().find(agrees) else {
            // Ever larger steps through what is new; the copy behind it is extended backwards.
            at += 1 + (at - from) / 64;
            continue;
        };
        let back = suffix(&base[..place], &target[from..at]);
        let length = back + prefix(&base[place..], &target[at..end]);
        let (place, begin) = (place - back, at - back);
        delta.add(&target[from..begin]);
        delta.copy(place, length);
        from = begin + length;
        at = from;
        distance = place.cast_signed() - begin.cast_signed();
    }
    delta.add(&target[from..end]);
    delta.copy(base.len() - tail, tail);
    let written = delta.write(base.len(), target.len());
    (written.len() < target.len()).then_some(written)
}

/// The three sections of a window.
#[derive(Default)]
struct Delta {
    data: Vec<u8>,
    instructions: Vec<u8>,
    addresses: Vec<u8>,
}

impl Delta {
    fn add(&mut self, bytes: &[u8]) {
        // 2 to 18 add so many bytes less one; 1 says how many.
        match bytes.len() {
            0 => {}
            length @ 1..=17 => self.instructions.push(1 + length as u8),
            length => {
                self.instructions.push(1);
                integer(&mut self.instructions, length);
            }
        }
        self.data.extend_from_slice(bytes);
    }

    fn copy(&mut self, place: usize, length: usize) {
        // 20 to 34 copy so many bytes less 16; 19 says how many.
        match length {
            0 => return,
            4..=18 => self.instructions.push(16 + length as u8),
            _ => {
                self.instructions.push(19);
                integer(&mut self.instructions, length);
            }
        }
        integer(&mut self.addresses, place);
    }

    fn write(self, base: usize, target: usize) -> Vec<u8> {
        let Self { data, instructions, addresses } = self;
        let mut lengths = Vec::with_capacity(16);
        integer(&mut lengths, target);
        // No section is compressed.
        lengths.push(0);
        [&data, &instructions, &addresses].into_iter().for_each(|section| integer(&mut lengths, section.len()));
        let window = [lengths, data, instructions, addresses].concat();
        let mut delta = HEADER.to_vec();
        // All of the base, from its beginning.
        [base, 0, window.len()].into_iter().for_each(|number| integer(&mut delta, number));
        delta.extend_from_slice(&window);
        delta
    }
}

/// Seven bits in each byte, the highest first; all but the last have the eighth bit.
fn integer(bytes: &mut Vec<u8>, number: usize) {
    let digits = (number.max(1).ilog2() / 7) as usize;
    let digit = |place: usize| (number >> (7 * place)) as u8 & 0x7f;
    bytes.extend((1..=digits).rev().map(|place| digit(place) | 0x80));
    bytes.push(digit(0));
}

/// Where in the base some bytes stand: the first place of each hash.
struct Index {
    /// Places plus 1; 0 is none.
    places: Vec<u32>,
    bits: u32,
}

impl Index {
    fn of(base: &[u8]) -> Self {
        let step = (base.len() / PLACES).max(1);
        let bits = (2 * base.len() / step).max(2).next_power_of_two().ilog2();
        let mut index = Self { places: vec![0; 1 << bits], bits };
        for (place, bytes) in base.windows(MATCH).enumerate().step_by(step) {
            let slot = index.slot(bytes);
            if index.places[slot] == 0 {
                index.places[slot] = place as u32 + 1;
            }
        }
        index
    }

    fn find(&self, bytes: &[u8]) -> Option<usize> {
        self.places[self.slot(bytes)].checked_sub(1).map(|place| place as usize)
    }

    fn slot(&self, bytes: &[u8]) -> usize {
        let bytes = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        (bytes.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - self.bits)) as usize
    }
}

/// How many bytes agree from the beginning on.
fn prefix(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.chunks_exact(16).zip(other.chunks_exact(16));
    let agreed = 16 * blocks.take_while(|(one, other)| one == other).count();
    let rest = one[agreed..].iter().zip(&other[agreed..]);
    agreed + rest.take_while(|(one, other)| one == other).count()
}

/// The same from the end on.
fn suffix(one: &[u8], other: &[u8]) -> usize {
    let blocks = one.rchunks_exact(16).zip(other.rchunks_exact(16));
    let agreed = 16 * blocks.take_while(|(one, other)| one == other).count();
    let rest = one[..one.len() - agreed].iter().rev().zip(other[..other.len() - agreed].iter().rev());
    agreed + rest.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use oxidelta::vcdiff::decoder::decode_memory;
    use proptest::prelude::*;

    use super::*;

    /// How long the delta is; the decoder of another house makes the target out of it.
    fn checked(base: &[u8], target: &[u8]) -> Option<usize> {
        let delta = encode(base, target)?;
        assert_eq!(decode_memory(&delta, base).unwrap(), target);
        Some(delta.len())
    }

    /// What was cut out, put in or written over.
    fn changed(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, usize, Vec<u8>)]) -> Vec<u8> {
        for (at, cut, put) in changes {
            let at = at.index(bytes.len() + 1);
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, put.iter().copied());
        }
        bytes
    }

    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        (1u8..=255).prop_flat_map(move |letters| prop::collection::vec(0..letters, 0..most))
    }

    proptest! {
        #[test]
        fn whatever_was_changed_comes_out(
            base in bytes(12_000),
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0usize..300, bytes(300)), 0..8),
        ) {
            let target = changed(base.clone(), &changes);
            checked(&base, &target);
            checked(&target, &base);
        }

        #[test]
        fn so_does_what_has_nothing_in_common(base in bytes(3_000), target in bytes(3_000)) {
            checked(&base, &target);
        }
    }

    /// ably-js, test/realtime/delta.test.js: four deltas of five messages.
    #[test]
    fn the_messages_of_the_suite_are_shorter() {
        let messages = [("1", "active"), ("2", "active"), ("2", "inactive"), ("3", "inactive"), ("3", "active")];
        let messages =
            messages.map(|(count, status)| format!(r#"{{"foo":"bar","count":{count},"status":"{status}"}}"#));
        for pair in messages.windows(2) {
            assert!(checked(pair[0].as_bytes(), pair[1].as_bytes()).unwrap() < 30);
        }
    }

    /// Several values of a document have changed, one of them its length.
    #[test]
    fn a_few_changes_take_a_few_bytes() {
        let document = |changed: usize| -> String {
            let value = |field: usize| if field.is_multiple_of(changed) { field } else { 123 * field };
            (0..60).map(|field| format!("\"field{field}\":{{\"value\":{},\"unit\":\"ms\"}},", value(field))).collect()
        };
        let (one, other) = (document(20), document(30));
        assert!(one.len() > 2_000);
        assert!(checked(one.as_bytes(), other.as_bytes()).unwrap() < 80);
    }

    /// findings: the crate `oxidelta` joins runs of different bytes.
    #[test]
    fn runs_stay_apart() {
        let base = b"0123456789".repeat(20);
        let target = [&base[..], &[b'-'; 40], &[b'='; 40], &base[..]].concat();
        checked(&base, &target).unwrap();
    }

    #[test]
    fn what_is_not_shorter_is_no_delta() {
        for (base, target) in [("", ""), ("", "abc"), ("abc", ""), ("abcdefgh", "abcdefgh"), ("abcdefgh", "xyz")] {
            assert_eq!(encode(base.as_bytes(), target.as_bytes()), None, "{base} {target}");
        }
    }
}
