//! What every log must do. Each implementation runs [`holds`] on itself.

use std::{sync::Arc, time::Duration};

use bytestring::ByteString;

use crate::{
    core::{
        message::{Body, Entry, EntryId, Message, Payload},
        serial::{Mint, Serial},
        window::Gap,
    },
    ids::Timestamp,
    log::Log,
};

/// An entry with `size` bytes of data and the next serial.
pub fn entry(mint: &mut Mint, size: usize) -> Arc<Entry> {
    let now = Timestamp::from_millis(1_000);
    let message = Message {
        payload: Payload::json(ByteString::from("x".repeat(size))),
        ..Message::default()
    };
    let body = Body::Messages(vec![message]);
    let serial = mint.mint(now);
    let entry = Entry::new("c".into(), serial, now, None, EntryId::Serial, body);
    Arc::new(entry)
}

fn serials(entries: &[Arc<Entry>]) -> Vec<Serial> {
    entries.iter().map(|entry| entry.serial).collect()
}

/// Checks a log made by `make`; it must keep at least ten small entries for 100 seconds and
/// nothing for longer than 200.
pub fn holds(make: impl Fn() -> Box<dyn Log>) {
    reads_back_in_order(&*make());
    goes_on_when_opened_again(&*make());
    a_closed_log_begins_a_new_epoch_once_nothing_is_kept(&*make());
    channels_do_not_mix(&*make());
}

fn reads_back_in_order(log: &dyn Log) {
    let mut channel = log.open(&"c".into());
    let mut mint = channel.mint();
    let all: Vec<_> = (0..10).map(|size| entry(&mut mint, size)).collect();
    for (second, entry) in all.iter().enumerate() {
        channel.append(Duration::from_secs(second as u64), Arc::clone(entry));
    }
    for (place, entry) in all.iter().enumerate() {
        let found = channel.after(entry.serial).expect("kept");
        assert_eq!(serials(&found), serials(&all[place + 1..]));
    }
    assert!(!channel.expire(Duration::from_secs(100)));
    assert!(channel.expire(Duration::from_secs(300)));
    assert_eq!(channel.after(all[0].serial).err(), Some(Gap::Expired));
    assert_eq!(
        channel.after(all[9].serial).expect("nothing missed").len(),
        0
    );
}

fn goes_on_when_opened_again(log: &dyn Log) {
    let mut first = log.open(&"c".into());
    let kept = entry(&mut first.mint(), 1);
    first.append(Duration::ZERO, Arc::clone(&kept));
    drop(first);

    let mut second = log.open(&"c".into());
    let next = entry(&mut second.mint(), 1);
    assert_eq!(next.serial.epoch(), kept.serial.epoch());
    assert!(next.serial.place() > kept.serial.place());
    second.append(Duration::ZERO, Arc::clone(&next));
    let found = second.after(kept.serial).expect("kept");
    assert_eq!(serials(&found), [next.serial]);
}

fn a_closed_log_begins_a_new_epoch_once_nothing_is_kept(log: &dyn Log) {
    let mut channel = log.open(&"c".into());
    let kept = entry(&mut channel.mint(), 1);
    channel.append(Duration::ZERO, Arc::clone(&kept));
    log.close(&"c".into());
    assert_eq!(
        log.open(&"c".into())
            .after(kept.serial)
            .expect("still kept")
            .len(),
        0
    );

    assert!(channel.expire(Duration::from_secs(300)));
    log.close(&"c".into());
    let anew = log.open(&"c".into());
    assert_eq!(anew.after(kept.serial).err(), Some(Gap::OtherLog));
}

fn channels_do_not_mix(log: &dyn Log) {
    let (mut a, b) = (log.open(&"a".into()), log.open(&"b".into()));
    let first = entry(&mut a.mint(), 1);
    a.append(Duration::ZERO, Arc::clone(&first));
    assert_eq!(b.after(first.serial).err(), Some(Gap::OtherLog));
}
