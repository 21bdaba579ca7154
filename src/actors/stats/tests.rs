#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::faulty::FaultyDisk;

const NOON: Timestamp = Timestamp::from_millis(1_786_017_600_000);

fn traffic(requests: u64) -> Traffic {
    let mut traffic = Traffic::default();
    traffic.requests.succeeded = requests;
    traffic
}

async fn read(stats: &actix::Addr<Stats>, app: AppId, unit: Unit, forwards: bool, limit: usize) -> (Vec<u64>, bool) {
    let wanted = Wanted { app, unit, range: 0..=NOON.millis() * 2, forwards, limit };
    let page = stats.send(wanted).await.unwrap().unwrap();
    let requests = |(_, record): &(Interval, Record)| record.entries()["apiRequests.other.succeeded"];
    (page.intervals.iter().map(requests).collect(), page.has_more)
}

/// Two runs of a server, three minutes of two hours: each unit has the sums, in both directions, and what ended is not lost.
#[actix_rt::test]
async fn minutes_add_up_over_runs() {
    let store = FaultyDisk::default().store();
    let clock = Clock::manual(NOON);
    let app = AppId::random();
    for run in 1..=2 {
        let stats = Stats::new(Some(Arc::clone(&store)), clock.clone()).start();
        for requests in [1, 10, 100] {
            for app in [app, AppId::random()] {
                stats.send(Counted(FastMap::from_iter([(app, traffic(run * requests))]))).await.unwrap();
            }
            clock.advance(Duration::from_secs(20 * 60));
        }
        stats.send(Flush).await.unwrap().unwrap();
    }
    let stats = Stats::new(Some(Arc::clone(&store)), clock).start();
    assert_eq!(read(&stats, app, Unit::Minute, true, 10).await, (vec![1, 10, 100, 2, 20, 200], false));
    assert_eq!(read(&stats, app, Unit::Minute, true, 2).await, (vec![1, 10], true));
    assert_eq!(read(&stats, app, Unit::Minute, false, 4).await, (vec![200, 20, 2, 100], true));
    assert_eq!(read(&stats, app, Unit::Hour, false, 10).await, (vec![222, 111], false));
    assert_eq!(read(&stats, app, Unit::Day, false, 10).await, (vec![333], false));
    assert_eq!(read(&stats, app, Unit::Month, true, 1).await, (vec![333], false));
}

/// Whoever asks has the numbers of one app written down; those of the others are not lost.
#[actix_rt::test]
async fn asking_for_one_app_keeps_the_others() {
    let stats = Stats::new(Some(FaultyDisk::default().store()), Clock::manual(NOON)).start();
    let (app, other) = (AppId::random(), AppId::random());
    stats.send(Counted(FastMap::from_iter([(app, traffic(1)), (other, traffic(2))]))).await.unwrap();
    assert_eq!(read(&stats, app, Unit::Minute, true, 10).await.0, [1]);
    assert_eq!(read(&stats, other, Unit::Minute, true, 10).await.0, [2]);
}

#[actix_rt::test]
async fn minutes_and_hours_go_when_their_time_is_over() {
    let store = FaultyDisk::default().store();
    let clock = Clock::manual(NOON);
    let app = AppId::random();
    let stats = Stats::new(Some(Arc::clone(&store)), clock.clone()).start();
    for wait in [limits::STATS_MINUTES, limits::STATS_HOURS, Duration::ZERO] {
        stats.send(Counted(FastMap::from_iter([(app, traffic(1))]))).await.unwrap();
        stats.send(Flush).await.unwrap().unwrap();
        clock.advance(wait + Duration::from_secs(2 * 3_600));
    }
    stats.send(Counted(Tally::default())).await.unwrap();
    // They are removed behind the scenes.
    while read(&stats, app, Unit::Minute, true, 10).await.0.len() > 1 {
        actix_rt::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(read(&stats, app, Unit::Minute, true, 10).await.0, [1]);
    assert_eq!(read(&stats, app, Unit::Hour, true, 10).await.0, [1]);
    assert_eq!(read(&stats, app, Unit::Day, true, 10).await.0, [1, 1, 1]);
}

/// What there is at a time is counted though nothing happens, and forgotten when it is gone.
#[actix_rt::test]
async fn connections_have_a_peak_while_they_last() {
    let mut stats = AppStats::default();
    let mut coming = Traffic::default();
    (coming.connections.opened, coming.channels.opened) = (3, 2);
    stats.add(coming);
    stats.settle(NOON);
    stats.sample();
    let mut going = Traffic::default();
    (going.connections.closed, going.channels.closed) = (3, 2);
    stats.add(going);
    stats.settle(after(NOON, Duration::from_secs(60)));
    let minute = stats.current[0].as_ref().unwrap().record.entries();
    assert_eq!((minute["connections.all.peak"], minute["channels.peak"]), (3, 2));
    assert!(!minute.contains_key("connections.all.opened"));
    let hour = stats.current[1].as_ref().unwrap().record.entries();
    assert_eq!(hour["connections.all.opened"], 3);
    stats.current = Default::default();
    assert!(!stats.is_used());
}
