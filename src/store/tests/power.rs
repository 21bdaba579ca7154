//! Power cuts and kills under load (docs/goals.md R3).

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// How many rows there are, without a hole.
fn count(engine: &Engine) -> u32 {
    let mut count = 0;
    while has(engine, count) {
        count += 1;
    }
    let rows = engine.read(|rows| {
        let mut rows_found = 0;
        let everything = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        rows.visit(TABLE, everything, engine::Order::Rising, &mut |_, _| {
            rows_found += 1;
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        Ok(rows_found)
    });
    assert_eq!(rows.unwrap(), count, "a hole");
    count
}

/// Nothing that was told is lost, nothing is there without what came before it, and every page is whole.
#[test]
fn what_was_told_survives_cuts_and_kills() {
    let mut random = StdRng::seed_from_u64(15);
    let disk = FaultyDisk::default();
    let engine = engine(&disk);
    let (told, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let mut images = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut key = 0;
            while !stop.load(Ordering::SeqCst) {
                let answers: Vec<_> = (key..key + 20).map(|key| put(&engine, key, 300)).collect();
                for answer in answers {
                    answer.recv().unwrap().unwrap();
                    key += 1;
                    told.store(key, Ordering::SeqCst);
                }
            }
        });
        for round in 0..40 {
            let target = told.load(Ordering::SeqCst) + random.random_range(1..60);
            while told.load(Ordering::SeqCst) < target {
                thread::yield_now();
            }
            let before = told.load(Ordering::SeqCst);
            let image = match round % 4 {
                0 => disk.image(),
                1 => disk.after_power_cut(|| false),
                _ => disk.after_power_cut(|| random.random_bool(0.5)),
            };
            images.push((before, image));
        }
        stop.store(true, Ordering::SeqCst);
    });
    for (round, (before, image)) in images.into_iter().enumerate() {
        let copy = image.image();
        let whole = engine::verify(|| copy.opener()());
        assert_eq!(whole, Ok(()), "round {round}, after {before}");
        let again = Engine::start(image.opener(), Clock::system()).unwrap();
        let found = count(&again);
        assert!(found >= before, "{found} of {before}");
        // And it goes on.
        put(&again, found, 300).recv().unwrap().unwrap();
        assert_eq!(count(&again), found + 1);
    }
}
