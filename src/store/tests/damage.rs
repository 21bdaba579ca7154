//! Flipped bits and cut files.

use std::path::PathBuf;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// A closed folder with some hundred rows, and what they are.
fn sample() -> (tempfile::TempDir, Vec<Row>) {
    let folder = tempfile::tempdir().unwrap();
    let data = open(folder.path()).unwrap();
    let store = EmbeddedStore::new(Arc::clone(data.engine()));
    for round in 0..20u8 {
        let rows = (0..20u8).map(|place| (vec![place, round], vec![round; 300]));
        let batch = rows.fold(Batch::new(), |batch, (key, value)| batch.put("t", key, value));
        commit(&store, batch);
    }
    let rows = store.list("t", b"", None, 1_000).unwrap();
    assert_eq!(rows.len(), 400);
    data.close().unwrap();
    (folder, rows)
}

fn copy(from: &Path, to: &Path, with_seal: bool) -> PathBuf {
    fs::create_dir_all(to).unwrap();
    fs::copy(data_file(from), data_file(to)).unwrap();
    if with_seal {
        fs::copy(from.join("closed"), to.join("closed")).unwrap();
    }
    data_file(to)
}

/// True when the damage was found; what is served is what was written, in any case.
fn is_found(folder: &Path, rows: &[Row]) -> bool {
    let data = match open(folder) {
        Ok(data) => data,
        Err(fault @ (FolderFault::Damaged { .. } | FolderFault::Changed { .. })) => {
            assert!(fault.to_string().contains("backup"), "{fault}");
            // And it is found again.
            assert!(open(folder).is_err());
            return true;
        }
        Err(fault) => panic!("{fault}"),
    };
    let store = EmbeddedStore::new(Arc::clone(data.engine()));
    assert_eq!(store.list("t", b"", None, 1_000).unwrap(), rows);
    false
}

/// docs/goals.md R16; `goal` of 1000 runs is the nightly form.
#[test]
fn flipped_bits_and_truncations_are_found_and_never_served() {
    let (folder, rows) = sample();
    let scratch = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(5);
    let mut found = [0, 0];
    for run in 0..300 {
        let with_seal = run % 2 == 0;
        let target = scratch.path().join(run.to_string());
        let file = copy(folder.path(), &target, with_seal);
        let mut bytes = fs::read(&file).unwrap();
        let is_cut = run % 10 == 0;
        if is_cut {
            bytes.truncate(random.random_range(1..bytes.len()));
        } else {
            let place = match run % 3 {
                // The head is small and everything hangs on it.
                0 => random.random_range(0..512),
                _ => random.random_range(0..bytes.len()),
            };
            bytes[place] ^= 1 << random.random_range(0..8);
        }
        fs::write(&file, bytes).unwrap();
        let is_found = is_found(&target, &rows);
        assert!(is_found || !is_cut, "a cut was not found");
        found[usize::from(is_found)] += 1;
        fs::remove_dir_all(&target).unwrap();
    }
    // The others hit pages that hold nothing.
    assert!(found[1] >= 100, "{found:?}");
}

/// Without the look at the start, the row's own checksum finds it.
#[test]
fn a_flipped_bit_of_a_row_is_found_when_it_is_read() {
    let (folder, rows) = sample();
    let file = data_file(folder.path());
    let mut bytes = fs::read(&file).unwrap();
    let value = vec![7; 300];
    let places: Vec<_> = (0..bytes.len() - value.len()).filter(|place| bytes[*place..].starts_with(&value)).collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place + 100] ^= 4;
    }
    fs::write(&file, bytes).unwrap();
    let terms = Terms { verify_bytes: 0, ..TERMS };
    let data = DataFolder::open(folder.path(), terms, Clock::system()).unwrap();
    let store = EmbeddedStore::new(Arc::clone(data.engine()));
    let mut damaged = 0;
    for row in rows {
        match store.get("t", &row.key) {
            Ok(value) => assert_eq!(value, Some(row.value)),
            Err(StoreError::Damaged(what)) => {
                assert!(what.contains("table rows"), "{what}");
                damaged += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(damaged, 20);
}
