//! Channels that die and channels that retire, with everything around them alive: real actors on two
//! threads, connections without sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backlogs;
mod lists;
mod lost;
pub(super) mod stage;

use std::time::Duration;

use super::{accounts::Kind, channels::Command, worker::Worker};
use crate::{
    core::{
        command::Publish,
        message::{EntryId, Message, Payload},
    },
    ids::{AppId, ChannelName},
    limits,
};
use stage::{ROOM, Stage, kill};

#[actix::test]
async fn a_channel_that_dies_is_made_anew_and_nothing_is_lost_or_doubled() {
    let stage = Stage::set();
    let mut a = stage.join(0).await;
    let mut b = stage.join(0).await;
    let mut c = stage.join(1).await;
    a.say("1");
    for listener in [&mut b, &mut c] {
        assert_eq!(listener.hear().await, "1");
    }

    kill(&stage).await;
    a.say("2");
    a.say("3");
    for listener in [&mut b, &mut c] {
        assert_eq!(listener.hear().await, "2");
        assert_eq!(listener.hear().await, "3");
    }
    c.say("4");
    for listener in [&mut a, &mut b] {
        assert_eq!(listener.hear().await, "4");
    }
    assert_eq!(stage.broker.directory.restarts(), 1);
}

/// The other thread's members hear what was said before they were introduced to the successor.
#[actix::test]
async fn the_first_message_of_all_survives_a_death_before_it() {
    let stage = Stage::set();
    let mut a = stage.join(0).await;
    let mut c = stage.join(1).await;
    kill(&stage).await;
    a.say("1");
    assert_eq!(c.hear().await, "1");
    c.say("2");
    assert_eq!(a.hear().await, "2");
}

/// A newcomer makes the successor known to the thread; the older members must not lose what was said
/// until then.
#[actix::test]
async fn a_newcomer_after_a_death_costs_the_others_nothing() {
    let stage = Stage::set();
    let mut a = stage.join(0).await;
    let mut c = stage.join(1).await;
    kill(&stage).await;
    c.say("1");
    assert_eq!(c.ask("?").await, "what?", "it is on its way");
    let mut d = stage.join(0).await;
    c.say("2");
    assert_eq!(d.hear().await, "2");
    assert_eq!(a.hear().await, "1");
    assert_eq!(a.hear().await, "2");
}

#[actix::test]
async fn the_cap_still_counts_after_a_death() {
    let stage = Stage::set();
    let a = stage.join(0).await;
    let mut b = stage.join(0).await;
    let mut c = stage.join(1).await;
    kill(&stage).await;
    a.say("1");
    for listener in [&mut b, &mut c] {
        assert_eq!(listener.hear().await, "1");
    }
    let mut d = stage.open(1);
    assert_eq!(d.ask("join").await, "refused: channel has reached its limit of 3 members");

    // Going away frees a place, however a member goes.
    drop(b);
    stage::until_joined(&mut d).await;
    let mut e = stage.open(0);
    assert!(e.ask("join").await.starts_with("refused"));
    assert_eq!(c.ask("leave").await, "left");
    stage::until_joined(&mut e).await;
    a.say("2");
    for listener in [&mut d, &mut e] {
        assert_eq!(listener.hear().await, "2");
    }
}

#[actix::test]
async fn who_leaves_a_dead_channel_has_left() {
    let stage = Stage::set();
    let mut a = stage.join(0).await;
    let b = stage.join(1).await;
    kill(&stage).await;
    assert_eq!(a.ask("leave").await, "left");
    drop(b);
    stage.until_channels(0).await;
}

#[actix::test]
async fn an_idle_channel_retires_with_its_log() {
    let stage = Stage::set();
    let mut a = stage.join(0).await;
    let mut b = stage.join(1).await;
    a.say("1");
    assert_eq!(b.hear().await, "1");
    assert_eq!(stage.broker.directory.len(), 1);
    assert_eq!(a.ask("leave").await, "left");
    drop(b);
    stage.clock.advance(Duration::from_secs(1_000));
    stage.until_channels(0).await;
    assert!(stage.broker.log.open(&ROOM.into()).recent().is_empty());
    assert_eq!(stage.broker.directory.restarts(), 0);
}

/// What an app's channel remembers of its publishes is charged to the app, and given back in time.
#[actix::test]
async fn ids_seen_are_charged_until_they_are_forgotten() {
    let stage = Stage::set();
    let _a = stage.join(0).await;
    let account = stage.broker.accounts.app(AppId::DEFAULT);
    assert_eq!(account.kept_of(Kind::SeenIds), 0);
    for number in 0..10 {
        let message = Message { payload: Payload::json("x".into()), ..Message::default() };
        let body = Publish::message(EntryId::Base(number.to_string().into()), message);
        stage.channel().do_send(Command::new(stage.hub_here(), ChannelName::from(ROOM), body));
    }
    stage::until(|| account.kept_of(Kind::SeenIds) >= 10 * limits::SEEN_ID_COST).await;
    stage.clock.advance(limits::IDEMPOTENCY_WINDOW + Duration::from_secs(1));
    stage::until(|| account.kept_of(Kind::SeenIds) == 0).await;
}

#[actix::test]
async fn what_still_reaches_a_retired_channel_is_passed_on() {
    let stage = Stage::set();
    let mut a = stage.join(0).await;
    let retired = stage.channel();
    assert_eq!(a.ask("leave").await, "left");
    stage.until_channels(0).await;

    let mut b = stage.join(0).await;
    assert_eq!(a.ask("join").await, "joined");
    assert_ne!(stage.channel(), retired);
    for session in stage.sessions_here() {
        let message = Message { payload: Payload::json("late".into()), ..Message::default() };
        let body = Publish { attached: Some(session), ..Publish::message(EntryId::Serial, message) };
        let hub = stage.hub_here();
        retired.do_send(Command::new(hub, ChannelName::from(ROOM), body));
    }
    // Both hear both.
    for listener in [&mut a, &mut b] {
        assert_eq!(listener.hear().await, "late");
        assert_eq!(listener.hear().await, "late");
        assert_eq!(listener.ask("?").await, "what?");
    }
}

/// A channel keeps the count of its app for as long as it lives, and others may count before and after it.
#[actix::test]
async fn what_is_counted_for_an_app_is_taken_once_whoever_keeps_the_count() {
    let worker = Worker::on_this_thread(&Stage::set().broker);
    let opened = || worker.take_tally().get(&AppId::DEFAULT).map(|traffic| traffic.channels.opened);
    let kept = worker.traffic(AppId::DEFAULT);
    for number in [1, 2] {
        kept.borrow_mut().channels.opened += number;
        worker.count_for(AppId::DEFAULT, |traffic| traffic.channels.opened += 10);
        assert_eq!(opened(), Some(10 + number));
        assert_eq!(opened(), None);
    }
    drop(kept);
    worker.count_for(AppId::DEFAULT, |traffic| traffic.channels.opened += 1);
    assert_eq!(opened(), Some(1));
}
