//! What a restart finds, and what retention leaves.

use super::*;
use crate::core::summaries::Summaries;

#[test]
fn a_restart_goes_on_with_serials_epoch_and_ids() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let all = {
        let log = log(&disk, &time);
        let mut channel = log.open(&"p".into());
        let mut all = fill(&mut *channel, &time, 5, 10);
        let named = named(channel.mint().mint(time.now()), "own id");
        append(&mut *channel, time.uptime(), Arc::clone(&named));
        all.push(named);
        all
    };
    // The clock is set back by an hour.
    let earlier = Clock::manual(Timestamp::from_millis(START - 3_600_000));
    let log = log(&disk.image(), &earlier);
    let mut channel = log.open(&"p".into());
    assert_eq!(channel.mint().position(), all[5].serial);
    let next = channel.mint().mint(earlier.now());
    assert!(next.place() > all[5].serial.place());
    assert_eq!(serials(&channel.after(all[2].serial).unwrap()), serials(&all[3..]));
    let ids = channel.remembered();
    assert_eq!(ids.len(), 1);
    assert_eq!(ids[0].published.serial, all[5].serial);

    // A new channel does not get the number of an old one.
    let mut other = log.open(&"p2".into());
    fill(&mut *other, &earlier, 1, 1);
    assert_eq!(channel.recent().len(), 6);
}

#[test]
fn what_comes_after_the_hand_over_is_refused() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let log = log(&disk, &time);
    let mut known = log.open(&"m".into());
    fill(&mut *known, &time, 3, 10);
    log.hand_over().unwrap();
    let mut new = log.open(&"new".into());
    for channel in [&mut known, &mut new] {
        let before = channel.recent().len();
        let late = named(channel.mint().mint(time.now()), "late");
        assert_eq!(try_append(&mut **channel, time.uptime(), late), Err(StoreError::Closed));
        assert_eq!(channel.recent().len(), before);
    }
}

#[test]
fn an_ordered_shutdown_hands_over_what_is_not_persisted() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let (all, idle) = {
        let log = log(&disk, &time);
        let mut quiet = log.open(&"quiet".into());
        let idle = fill(&mut *quiet, &time, 1, 1);
        time.advance(Duration::from_secs(130));
        quiet.expire(time.uptime());
        let mut channel = log.open(&"m".into());
        let all = fill(&mut *channel, &time, 50, 100);
        log.hand_over().unwrap();
        (all, idle)
    };
    time.advance(Duration::from_secs(10));
    let disk = disk.image();
    {
        let log = log(&disk, &time);
        let mut channel = log.open(&"m".into());
        assert_eq!(channel.mint().position(), all[49].serial);
        assert_eq!(serials(&channel.after(all[20].serial).unwrap()), serials(&all[21..]));
        assert!(log.sweep().is_ok());
        // Nothing was missed where nothing was said.
        assert_eq!(log.open(&"quiet".into()).after(idle[0].serial).unwrap().len(), 0);
        assert!(!channel.recent().is_empty());
        time.advance(Duration::from_secs(200));
        assert!(channel.expire(time.uptime()));
        assert!(channel.recent().is_empty());
        fill(&mut *channel, &time, 1, 1);
    }
    // Killed: the same windows do not come again.
    let log = log(&disk.image(), &time);
    let gap = log.open(&"m".into()).after(all[20].serial).err();
    assert_eq!(gap, Some(Gap::OtherLog));
    log.engine.write(0, Box::new(|_| Ok(()))).unwrap();
    let found = log.engine.read(check::read_all).unwrap();
    assert_eq!(found, check::Found::default());
}

#[test]
fn windows_that_were_not_all_written_are_not_taken_up() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let position = {
        let log = log(&disk, &time);
        let mut channel = log.open(&"m".into());
        let all = fill(&mut *channel, &time, 5, 100);
        log.hand_over().unwrap();
        let forget = |rows: &mut Writing<'_>| rows.remove(META, b"windows_complete");
        log.engine.write(0, Box::new(forget)).unwrap();
        all[4].serial
    };
    let log = log(&disk.image(), &time);
    let gap = log.open(&"m".into()).after(position).err();
    assert_eq!(gap, Some(Gap::OtherLog));
}

#[test]
fn retention_by_age_and_by_size() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let retention = Retention { age: Duration::from_secs(1_000), bytes: 100_000 };
    let log = log_on(engine(&disk), &time, retention);
    let mut channel = log.open(&"p".into());
    let all = fill(&mut *channel, &time, 600, 100);
    assert_eq!(log.sweep().unwrap().entries, 0);
    assert!(log.stored_bytes() > 60_000);

    time.advance(Duration::from_secs(600));
    let swept = log.sweep().unwrap();
    assert!((198..=202).contains(&swept.entries), "{swept:?}");
    channel.expire(time.uptime());
    time.advance(Duration::from_secs(30));
    channel.expire(time.uptime());
    assert_eq!(channel.after(all[10].serial).err(), Some(Gap::Expired));
    assert_eq!(channel.after(all[300].serial).unwrap().len(), 299);

    let big = fill(&mut *channel, &time, 20, 9_000);
    log.sweep().unwrap();
    assert!(log.stored_bytes() <= 100_000);
    channel.expire(time.uptime() + Duration::from_secs(200));
    assert_eq!(channel.after(all[599].serial).err(), Some(Gap::Expired));
    assert!(channel.after(big[15].serial).is_ok());

    // Nothing is left, nobody uses it: the channel goes. As long as it is used, its place is kept.
    time.advance(DAY);
    assert_eq!(log.sweep().unwrap().channels, 0);
    assert_eq!(log.stored_bytes(), 0);
    assert!(channel.expire(time.uptime()));
    assert_eq!(channel.mint().position(), big[19].serial);
    log.close(&"p".into());
    assert_eq!(log.sweep().unwrap().channels, 1);
    let anew = log.open(&"p".into());
    assert_ne!(anew.mint().position().epoch(), big[19].serial.epoch());
}

/// findings G15: kept and at rest, a channel is not looked at; what is over of it goes all the same when it is over.
#[test]
fn a_sweep_looks_at_what_has_changed_or_is_due() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let retention = Retention { age: Duration::from_secs(1_000), bytes: 100_000 };
    let log = log_on(engine(&disk), &time, retention);
    let fill_one = |name: &'static str| {
        let mut channel = log.open(&name.into());
        fill(&mut *channel, &time, 1, 100);
        channel.expire(time.uptime() + Duration::from_secs(200));
        log.close(&name.into());
    };
    fill_one("p1");
    log.sweep().unwrap();
    let one = log.stored_bytes();
    fill_one("p2");
    // A row that no look has counted: it is found by the look at all channels only.
    let hide = |rows: &mut Writing<'_>| rows.remove(rows::CHANNELS, &rows::channel_key(&"p1".into()));
    log.engine.write(0, Box::new(hide)).unwrap();
    log.sweep().unwrap();
    assert_eq!(log.stored_bytes(), 2 * one, "only the changed one was looked at");
    time.advance(crate::limits::SWEEP_ALL);
    log.sweep().unwrap();
    assert_eq!(log.stored_bytes(), one);
    // What was counted is noted.
    log.engine.write(0, Box::new(|_| Ok(()))).unwrap();
    time.advance(Duration::from_secs(402));
    assert_eq!(log.sweep().unwrap().entries, 1);
    assert_eq!(log.stored_bytes(), 0);
}

/// What messages have become is read from the file: by a server that was killed, from its window and when that is empty.
#[test]
fn messages_are_what_they_were_before_a_restart() {
    let (disk, time) = (FaultyDisk::default(), clock());
    let targets = {
        let log = log(&disk, &time);
        contract::messages_in(&log)
    };
    for rest in [Duration::ZERO, DAY / 2] {
        let later = Clock::manual(Timestamp::from_millis(2_000 + rest.as_millis() as u64));
        let log = log(&disk.image(), &later);
        let mut channel = log.open(&"p of messages".into());
        assert_eq!(channel.recent().is_empty(), !rest.is_zero());
        contract::holds_them(&*channel, targets);
        // Who comes back from before the newest append gets it as it is, or whole.
        let found = channel.after(targets[0].serial).unwrap();
        let last = found.last().and_then(|entry| entry.whole()).unwrap();
        assert_eq!(last.operation().unwrap().message.payload.data, Data::Text("B3".into()));
        // It goes on from there.
        let grown = contract::operate(&mut *channel, targets[1], Change::Append, "4");
        assert_eq!(grown.operation().unwrap().grown().unwrap().join(), Data::Text("B34".into()));
    }
}

/// What concerns a message goes with the entry that does, so the table of it does not grow.
#[test]
fn the_sweep_leaves_nothing_of_messages_that_are_gone() {
    let (disk, time) = (FaultyDisk::default(), Clock::manual(Timestamp::from_millis(2_000)));
    let log = log(&disk, &time);
    contract::messages_in(&log);
    let rows = || {
        let mut count = 0;
        let count_row = &mut |_: &[u8], _: &[u8]| {
            count += 1;
            Ok(ControlFlow::Continue(()))
        };
        let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        log.engine.read(|rows| rows.visit(rows::BY_MESSAGE, all, Order::Rising, count_row)).unwrap();
        count
    };
    assert_eq!(rows(), 6);
    time.advance(2 * DAY);
    log.sweep().unwrap();
    assert_eq!(rows(), 0);
}

/// A long stream of appends is not read from its beginning, and is what it was.
#[test]
fn a_long_message_is_kept_whole_now_and_then() {
    const APPENDS: usize = 1_000;
    let (disk, time) = (FaultyDisk::default(), clock());
    let target = {
        let log = log(&disk, &time);
        let targets = contract::messages_in(&log);
        let mut channel = log.open(&"p of messages".into());
        for number in 0..APPENDS {
            contract::operate(&mut *channel, targets[0], Change::Append, &format!(" {number}"));
        }
        targets[0]
    };
    let later = Clock::manual(Timestamp::from_millis(START + 1_000));
    let log = log(&disk.image(), &later);
    let channel = log.open(&"p of messages".into());
    let latest = channel.message(target).unwrap();
    let expected = (0..APPENDS).fold("a".to_owned(), |text, number| format!("{text} {number}"));
    assert_eq!(latest.payload().data, Data::Text(expected.into()));
    let mut wholes = 0;
    let count = |rows: &mut _| {
        let name = "p of messages".into();
        let row = rows::channel(rows, &name)?.unwrap();
        rows::entries(rows, &name, &row, rows::Slice::ALL, Order::Rising, |stored| {
            wholes += usize::from(stored.entry()?.operation().is_some_and(|append| append.grown().is_some()));
            Ok(ControlFlow::Continue(()))
        })
    };
    log.engine.read(count).unwrap();
    let expected = APPENDS / limits::APPENDS_READ;
    assert!((expected - 2..=expected).contains(&wholes), "{wholes} of {expected}");
}

/// What annotations come to is read from the file: from its window and when that is empty; many are not counted from the first.
#[test]
fn summaries_are_what_they_were_before_a_restart() {
    const ANNOTATIONS: usize = 1_000;
    let (disk, time) = (FaultyDisk::default(), clock());
    let (target, expected) = {
        let log = log(&disk, &time);
        let [target, ..] = contract::messages_in(&log);
        let mut channel = log.open(&"p of messages".into());
        let mut known = Summaries::default();
        for number in 0..ANNOTATIONS {
            contract::annotate(&mut *channel, target, &format!("client {}", number % 100), &mut known);
        }
        (target, known.get(target).unwrap().summary.digest())
    };
    for rest in [Duration::ZERO, DAY / 2] {
        let later = Clock::manual(Timestamp::from_millis(2_000 + rest.as_millis() as u64));
        let log = log(&disk.image(), &later);
        let channel = log.open(&"p of messages".into());
        assert_eq!(channel.recent().is_empty(), !rest.is_zero());
        assert_eq!(channel.summary(target).unwrap().summary.digest(), expected);
        let kept = log.engine.read(|rows| {
            let row = rows::channel(rows, &"p of messages".into())?.unwrap();
            rows::kept_summary(rows, row.id, target, (u64::MAX, 0))
        });
        assert!(kept.unwrap().is_some());
    }
}
