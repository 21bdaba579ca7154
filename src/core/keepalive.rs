//! Is a connection still alive? What to do about it, once every tick.

use std::time::Duration;

/// The limits that a connection is watched by.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A ping is sent this often.
    pub ping_interval: Duration,
    /// Longest silence of the peer.
    pub idle_timeout: Duration,
    /// Longest time without any byte taken while some wait.
    pub stall_timeout: Duration,
}

impl Timeouts {
    /// How often to look: often enough for the shortest of the limits, at most once a second.
    pub fn tick(&self) -> Duration {
        let shortest = self.ping_interval.min(self.idle_timeout).min(self.stall_timeout);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// What a tick asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    SendPing,
    /// The peer was silent for too long.
    Idle,
    /// The peer took nothing for too long.
    Stalled,
}

/// What is known of one connection's life; a few bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keepalive {
    silent: Duration,
    since_ping: Duration,
    stalled: Duration,
    frames_taken: u64,
}

impl Keepalive {
    /// `elapsed` has passed since the last tick. `heard`: something arrived meanwhile.
    /// `frames_taken`: how many frames the socket took since the connection opened.
    /// `waiting`: some frame waits now.
    pub fn tick(
        &mut self,
        elapsed: Duration,
        heard: bool,
        frames_taken: u64,
        waiting: bool,
        timeouts: &Timeouts,
    ) -> Verdict {
        self.silent = if heard { Duration::ZERO } else { self.silent + elapsed };
        self.stalled =
            if waiting && frames_taken == self.frames_taken { self.stalled + elapsed } else { Duration::ZERO };
        self.frames_taken = frames_taken;
        self.since_ping += elapsed;

        if self.stalled >= timeouts.stall_timeout {
            Verdict::Stalled
        } else if self.silent >= timeouts.idle_timeout {
            Verdict::Idle
        } else if self.since_ping >= timeouts.ping_interval {
            self.since_ping = Duration::ZERO;
            Verdict::SendPing
        } else {
            Verdict::Fine
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUTS: Timeouts = Timeouts {
        ping_interval: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(90),
        stall_timeout: Duration::from_secs(10),
    };

    #[test]
    fn pings_go_out_every_interval_and_silence_ends_it() {
        let mut keepalive = Keepalive::default();
        let verdicts: Vec<Verdict> = (0..90).map(|_| keepalive.tick(SECOND, false, 0, false, &TIMEOUTS)).collect();
        let pings = verdicts.iter().filter(|v| **v == Verdict::SendPing).count();
        assert_eq!(pings, 2);
        assert_eq!(verdicts[29], Verdict::SendPing);
        assert_eq!(verdicts[89], Verdict::Idle);
    }

    #[test]
    fn any_sign_of_life_starts_the_silence_anew() {
        let mut keepalive = Keepalive::default();
        for second in 0..1_000 {
            let heard = second % 80 == 0;
            let verdict = keepalive.tick(SECOND, heard, 0, false, &TIMEOUTS);
            assert_ne!(verdict, Verdict::Idle, "second {second}");
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_stalls_one_that_takes_a_little_does_not() {
        let mut stuck = Keepalive::default();
        let mut slow = Keepalive::default();
        for second in 1..=10 {
            let verdict = stuck.tick(SECOND, true, 3, true, &TIMEOUTS);
            // The first tick sees three frames taken since the connection opened: progress.
            assert_eq!(verdict == Verdict::Stalled, second > 10, "second {second}");
            let taken = second / 9;
            assert_ne!(slow.tick(SECOND, true, taken, true, &TIMEOUTS), Verdict::Stalled);
        }
        assert_eq!(stuck.tick(SECOND, true, 3, true, &TIMEOUTS), Verdict::Stalled);
    }

    #[test]
    fn the_tick_follows_the_shortest_limit() {
        assert_eq!(TIMEOUTS.tick(), SECOND);
        let hasty = Timeouts { stall_timeout: Duration::from_millis(200), ..TIMEOUTS };
        assert_eq!(hasty.tick(), Duration::from_millis(50));
    }
}
