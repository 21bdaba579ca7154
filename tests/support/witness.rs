//! Well-behaved clients that go on talking while others misbehave, and notice when anything is lost,
//! doubled, reordered or not theirs.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{process::ServerProcess, raw::Raw};

const MEMBERS: usize = 3;
const EVENT: &str = "beat";
/// One message this often: not to wait for anything, but to leave the server to its attackers.
const PACE: Duration = Duration::from_millis(5);
/// Rounds that must still work when the attack is over.
const ENCORE: u64 = 30;

/// Three members of one room; in each round one speaks and the others must hear it, and nothing else.
pub struct Witness {
    stop: Arc<Notify>,
    task: JoinHandle<u64>,
}

impl Witness {
    pub async fn start(server: &ServerProcess, room: &str) -> Self {
        let mut members = Vec::new();
        for member in 0..MEMBERS {
            members.push(Raw::join(server, &format!("good:{member}"), room, EVENT).await);
        }
        let stop = Arc::new(Notify::new());
        let task = tokio::spawn(talk(members, room.to_owned(), Arc::clone(&stop)));
        Self { stop, task }
    }

    /// Ends after some more rounds and tells how many there were. Panics if any went wrong.
    pub async fn finish(self) -> u64 {
        self.stop.notify_one();
        self.task.await.expect("the good clients noticed nothing")
    }
}

async fn talk(mut members: Vec<Raw>, room: String, stop: Arc<Notify>) -> u64 {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut round, mut last) = (0, None);
    while last != Some(round) {
        tokio::select! {
            _ = pace.tick() => {}
            () = stop.notified(), if last.is_none() => last = Some(round + ENCORE),
        }
        let speaker = round as usize % MEMBERS;
        members[speaker].publish(&room, EVENT, json!({ "round": round })).await;
        for listener in (0..MEMBERS).filter(|member| *member != speaker) {
            let heard = members[listener].message().await;
            assert_eq!(heard["event"], EVENT, "{heard}");
            assert_eq!(heard["data"]["round"], round, "{heard}");
            assert_eq!(heard["data"]["from"], format!("good:{speaker}"), "{heard}");
        }
        round += 1;
    }
    for member in &mut members {
        assert!(member.answers_so_far().await.is_empty(), "a message too many");
    }
    round
}
