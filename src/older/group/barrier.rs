//! Which addresses are let in at all (`docs/protocols/group.md §8`): the blacklist, bans for a while, and how often one may
//! knock.

use std::{collections::HashMap, net::IpAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use parking_lot::{Mutex, RwLock};

use crate::{
    clock::Clock,
    config::{self, FileFaults},
    edge::client_address::Source,
    limits,
    older::group::{blacklist, rates::Buckets},
};

/// See the module.
pub struct Barrier {
    lists: RwLock<Lists>,
    ban_after: u32,
    ban_for: Duration,
    failing: Mutex<HashMap<Source, Failures>>,
    knocks: Buckets<Source>,
    clock: Clock,
}

/// The blacklist.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Of the settings.
    listed: Vec<IpNet>,
    file: Option<PathBuf>,
    /// Of the file.
    read: Vec<IpNet>,
}

impl Lists {
    /// `read` is what the file has.
    pub fn new(settings: &config::Group, read: Vec<IpNet>) -> Self {
        Self { listed: settings.blacklist.clone(), file: settings.blacklist_file.clone(), read }
    }

    /// How many networks there are.
    pub const fn networks(&self) -> usize {
        self.listed.len() + self.read.len()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    since: Duration,
    count: u32,
    banned_until: Duration,
}

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// On the blacklist, or banned.
    Listed,
    TooOften,
}

impl Barrier {
    /// `read` is what the file has.
    pub fn new(settings: &config::Group, read: Vec<IpNet>, clock: Clock) -> Self {
        let per_second = settings.handshakes_per_second;
        Self {
            lists: RwLock::new(Lists::new(settings, read)),
            ban_after: settings.ban_after,
            ban_for: settings.ban_for,
            failing: Mutex::default(),
            knocks: Buckets::new(per_second, per_second.saturating_mul(10), clock.clone()),
            clock,
        }
    }

    /// Another blacklist from now on; gives the one before.
    pub fn set_lists(&self, lists: Lists) -> Lists {
        std::mem::replace(&mut *self.lists.write(), lists)
    }

    /// Reads the file again; how many networks it has. On error what was read before stays.
    ///
    /// # Errors
    /// When the file cannot be read, or has lines that are no networks.
    pub fn reload(&self) -> Result<usize, FileFaults> {
        let Some(file) = self.lists.read().file.clone() else { return Ok(0) };
        let networks = blacklist::read(&file)?;
        let count = networks.len();
        self.lists.write().read = networks;
        Ok(count)
    }

    /// # Errors
    /// [`Barred::Listed`].
    pub fn check(&self, address: IpAddr) -> Result<(), Barred> {
        let address = address.to_canonical();
        let is_listed = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        let lists = self.lists.read();
        if is_listed(&lists.listed) || is_listed(&lists.read) {
            return Err(Barred::Listed);
        }
        drop(lists);
        let failing = self.failing.lock();
        let failures = failing.get(&Source::of(address));
        if failures.is_some_and(|failures| self.clock.uptime() < failures.banned_until) {
            return Err(Barred::Listed);
        }
        Ok(())
    }

    /// The same for somebody who wants to connect.
    ///
    /// # Errors
    /// [`Barred`].
    pub fn knock(&self, address: IpAddr) -> Result<(), Barred> {
        self.check(address)?;
        if self.knocks.allow(&Source::of(address)) { Ok(()) } else { Err(Barred::TooOften) }
    }

    /// Somebody there failed to authenticate. True: it was once too often, and the address is banned.
    pub fn failed(&self, address: IpAddr) -> bool {
        if self.ban_after == 0 {
            return false;
        }
        let now = self.clock.uptime();
        let mut failing = self.failing.lock();
        if failing.len() >= limits::GROUP_FAILING {
            failing.retain(|_, failures| failures.is_of_use(now));
            if failing.len() >= limits::GROUP_FAILING {
                failing.clear();
            }
        }
        let failures = failing.entry(Source::of(address)).or_default();
        if now.saturating_sub(failures.since) > limits::GROUP_FAILURES_WITHIN {
            failures.count = 0;
        }
        if failures.count == 0 {
            failures.since = now;
        }
        failures.count += 1;
        if failures.count < self.ban_after {
            return false;
        }
        failures.banned_until = now + self.ban_for;
        failures.count = 0;
        true
    }
}

impl Failures {
    fn is_of_use(&self, now: Duration) -> bool {
        now < self.banned_until || now.saturating_sub(self.since) <= limits::GROUP_FAILURES_WITHIN
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::{config::Config, ids::Timestamp};

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn barrier(adjust: impl FnOnce(&mut config::Group)) -> (Barrier, Clock) {
        let mut settings = Config::for_tests().group;
        adjust(&mut settings);
        let clock = Clock::manual(Timestamp::from_millis(0));
        let read = settings.blacklist_file.as_deref().map(blacklist::read);
        let read = read.transpose().expect("a blacklist").unwrap_or_default();
        (Barrier::new(&settings, read, clock.clone()), clock)
    }

    #[test]
    fn networks_of_both_families() {
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect("a network"));
        let (barrier, _) = barrier(|settings| settings.blacklist = networks.into());
        for barred in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"] {
            assert_eq!(barrier.check(ip(barred)), Err(Barred::Listed), "{barred}");
        }
        for free in ["11.1.2.3", "2001:db9::7", "::1"] {
            assert_eq!(barrier.check(ip(free)), Ok(()), "{free}");
        }
    }

    #[test]
    fn the_file_is_read_again_and_a_broken_one_changes_nothing() {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("blacklist");
        fs::write(&file, "# nobody\n\n").expect("a file");
        let (barrier, _) = barrier(|settings| settings.blacklist_file = Some(file.clone()));
        assert_eq!(barrier.check(ip("10.0.0.1")), Ok(()));
        fs::write(&file, "10.0.0.0/24 # spam\n192.0.2.7\n").expect("a file");
        assert_eq!(barrier.reload().expect("read"), 2);
        assert_eq!(barrier.check(ip("10.0.0.1")), Err(Barred::Listed));
        fs::write(&file, "10.0.0.0/24\nnonsense\n").expect("a file");
        let error = barrier.reload().expect_err("broken").to_string();
        assert!(error.contains("blacklist:2"), "{error}");
        // findings P3: every bad line, not only the first.
        fs::write(&file, "x\n10.0.0.0/24\n10.0.0.0/33\n").expect("a file");
        let error = barrier.reload().expect_err("broken").to_string();
        assert!(error.contains("blacklist:1") && error.contains("blacklist:3"), "{error}");
        // findings P16.
        fs::write(&file, "\u{feff}192.0.2.7\n").expect("a file");
        assert_eq!(barrier.reload().expect("read"), 1);
        assert_eq!(barrier.check(ip("192.0.2.7")), Err(Barred::Listed));
    }

    #[test]
    fn failing_too_often_bans_for_a_while() {
        let (barrier, clock) = barrier(|settings| settings.ban_after = 3);
        let (here, near) = (ip("2001:db8::1"), ip("2001:db8::2"));
        assert!(!barrier.failed(here) && !barrier.failed(near) && barrier.failed(here));
        assert_eq!(barrier.check(near), Err(Barred::Listed));
        assert_eq!(barrier.check(ip("2001:db8:1::1")), Ok(()));
        clock.advance(Duration::from_secs(600));
        assert_eq!(barrier.check(near), Ok(()));
        let (never, _) = self::barrier(|_| {});
        assert!((0..100).all(|_| !never.failed(here)));
    }

    #[test]
    fn knocking_too_often() {
        let (barrier, clock) = barrier(|settings| settings.handshakes_per_second = 1);
        assert!((0..10).all(|_| barrier.knock(ip("10.0.0.1")).is_ok()));
        assert_eq!(barrier.knock(ip("10.0.0.1")), Err(Barred::TooOften));
        assert_eq!(barrier.knock(ip("10.0.0.2")), Ok(()));
        clock.advance(Duration::from_secs(1));
        assert_eq!(barrier.knock(ip("10.0.0.1")), Ok(()));
    }
}
