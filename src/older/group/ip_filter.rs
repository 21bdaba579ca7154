//! Which addresses may ask at all (`docs/protocols/group.md §8`): the blacklist, bans for a while, and how often one may
//! open a connection.

use std::{
    collections::HashMap,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use parking_lot::Mutex;

use crate::{
    clock::Clock,
    config::{self, FileFaults, Problem, read_text},
    ids::Network,
    limits,
    live::Live,
    older::group::{
        endpoint::Refused,
        rates::{Buckets, Tally},
    },
};

const FILE_KEY: &str = "group.blacklist_file";
/// The reason that a blocked client is given.
pub const BLOCKED: &str =
    "the address is on the blacklist (group.blacklist, group.blacklist_file), or banned for a while";

/// See the module.
pub struct IpFilter {
    blacklist: Live<Blacklist>,
    ban_after: u32,
    ban_for: Duration,
    failing: Mutex<HashMap<Network, Failures>>,
    handshakes: Buckets<Network>,
    clock: Clock,
}

#[derive(Clone, Debug, Default)]
pub struct Blacklist {
    of_settings: Vec<IpNet>,
    file: Option<PathBuf>,
    of_file: Vec<IpNet>,
}

impl Blacklist {
    /// `of_file` is what the file has.
    pub fn new(settings: &config::Group, of_file: Vec<IpNet>) -> Self {
        Self { of_settings: settings.blacklist.clone(), file: settings.blacklist_file.clone(), of_file }
    }

    fn contains(&self, address: &IpAddr) -> bool {
        self.of_settings.iter().chain(&self.of_file).any(|network| network.contains(address))
    }

    fn len(&self) -> usize {
        self.of_settings.len() + self.of_file.len()
    }
}

/// Reads the file of a blacklist: one network a line; what follows `#` is for people.
///
/// # Errors
/// When it cannot be read; else every line that is no network.
pub fn read_blacklist(path: &Path) -> Result<Vec<IpNet>, FileFaults> {
    let text = read_text(path).map_err(|error| FileFaults::unreadable(FILE_KEY, path, &error))?;
    let (mut networks, mut problems) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        match entry.parse::<IpAddr>().map(IpNet::from).or_else(|_| entry.parse()) {
            Ok(network) => networks.push(network),
            Err(_) => {
                problems.push(Problem::at(index + 1, "not an IP address and not a network such as 10.0.0.0/8"));
            }
        }
    }
    if problems.is_empty() { Ok(networks) } else { Err(FileFaults { key: FILE_KEY, path: path.to_owned(), problems }) }
}

/// Attempts to authenticate that failed.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    tally: Tally,
    banned_until: Duration,
}

impl IpFilter {
    pub fn new(settings: &config::Group, blacklist: Blacklist, clock: Clock) -> Self {
        let per_second = settings.handshakes_per_second;
        Self {
            blacklist: Live::new(blacklist),
            ban_after: settings.ban_after,
            ban_for: settings.ban_for,
            failing: Mutex::default(),
            handshakes: Buckets::new(per_second, per_second.saturating_mul(10), clock.clone()),
            clock,
        }
    }

    /// Another blacklist from now on.
    pub fn set_blacklist(&self, blacklist: Blacklist) {
        let (networks, before) = (blacklist.len(), self.blacklist.get().len());
        self.blacklist.set(blacklist);
        tracing::info!(networks, before, "the blacklist of the group protocol was read again");
    }

    /// Reads the file again; how many networks it has. On error the blacklist stays as it is.
    ///
    /// # Errors
    /// When the file cannot be read, or has lines that are no networks.
    pub fn reload(&self) -> Result<usize, FileFaults> {
        let known = self.blacklist.get();
        let Some(file) = &known.file else { return Ok(0) };
        let of_file = read_blacklist(file)?;
        let count = of_file.len();
        self.set_blacklist(Blacklist { of_file, ..(*known).clone() });
        Ok(count)
    }

    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let address = address.to_canonical();
        if self.blacklist.get().contains(&address) {
            return Err(Refused::Blocked);
        }
        let failing = self.failing.lock();
        let failures = failing.get(&Network::of(address));
        let is_banned = failures.is_some_and(|failures| self.clock.uptime() < failures.banned_until);
        if is_banned { Err(Refused::Blocked) } else { Ok(()) }
    }

    /// The same for somebody who wants to connect.
    pub fn check_handshake(&self, address: IpAddr) -> Result<(), Refused> {
        self.check(address)?;
        if self.handshakes.allow(&Network::of(address)) { Ok(()) } else { Err(Refused::TooOften) }
    }

    /// Somebody there failed to authenticate. True: it was once too often, and the address is banned.
    pub fn note_failure(&self, address: IpAddr) -> bool {
        if self.ban_after == 0 {
            return false;
        }
        let now = self.clock.uptime();
        let mut failing = self.failing.lock();
        if failing.len() >= limits::GROUP_FAILING {
            let within = limits::GROUP_FAILURES_WITHIN;
            failing.retain(|_, known| now < known.banned_until || known.tally.is_current(now, within));
            if failing.len() >= limits::GROUP_FAILING {
                failing.clear();
            }
        }
        let failures = failing.entry(Network::of(address)).or_default();
        if failures.tally.note(now, limits::GROUP_FAILURES_WITHIN) < self.ban_after {
            return false;
        }
        *failures = Failures { tally: Tally::default(), banned_until: now + self.ban_for };
        true
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

    fn filter(adjust: impl FnOnce(&mut config::Group)) -> (IpFilter, Clock) {
        let mut settings = Config::for_tests().group;
        adjust(&mut settings);
        let clock = Clock::manual(Timestamp::from_millis(0));
        let read = settings.blacklist_file.as_deref().map(read_blacklist);
        let read = read.transpose().expect("a blacklist").unwrap_or_default();
        (IpFilter::new(&settings, Blacklist::new(&settings, read), clock.clone()), clock)
    }

    #[test]
    fn networks_of_both_families() {
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect("a network"));
        let (filter, _) = filter(|settings| settings.blacklist = networks.into());
        for blocked in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::7"] {
            assert_eq!(filter.check(ip(blocked)), Err(Refused::Blocked), "{blocked}");
        }
        for free in ["11.1.2.3", "2001:db9::7", "::1"] {
            assert_eq!(filter.check(ip(free)), Ok(()), "{free}");
        }
    }

    #[test]
    fn the_file_is_read_again_and_a_broken_one_changes_nothing() {
        let folder = TempDir::new().expect("a folder");
        let file = folder.path().join("blacklist");
        fs::write(&file, "# nobody\n\n").expect("a file");
        let (filter, _) = filter(|settings| settings.blacklist_file = Some(file.clone()));
        assert_eq!(filter.check(ip("10.0.0.1")), Ok(()));
        fs::write(&file, "10.0.0.0/24 # spam\n192.0.2.7\n").expect("a file");
        assert_eq!(filter.reload().expect("read"), 2);
        assert_eq!(filter.check(ip("10.0.0.1")), Err(Refused::Blocked));
        fs::write(&file, "10.0.0.0/24\nnonsense\n").expect("a file");
        let error = filter.reload().expect_err("broken").to_string();
        assert!(error.contains("blacklist:2"), "{error}");
        // findings P3: every bad line, not only the first.
        fs::write(&file, "x\n10.0.0.0/24\n10.0.0.0/33\n").expect("a file");
        let error = filter.reload().expect_err("broken").to_string();
        assert!(error.contains("blacklist:1") && error.contains("blacklist:3"), "{error}");
        // findings P16.
        fs::write(&file, "\u{feff}192.0.2.7\n").expect("a file");
        assert_eq!(filter.reload().expect("read"), 1);
        assert_eq!(filter.check(ip("192.0.2.7")), Err(Refused::Blocked));
    }

    #[test]
    fn failing_too_often_bans_for_a_while() {
        let (filter, clock) = filter(|settings| settings.ban_after = 3);
        let (here, near) = (ip("2001:db8::1"), ip("2001:db8::2"));
        assert!(!filter.note_failure(here) && !filter.note_failure(near) && filter.note_failure(here));
        assert_eq!(filter.check(near), Err(Refused::Blocked));
        assert_eq!(filter.check(ip("2001:db8:1::1")), Ok(()));
        clock.advance(Duration::from_secs(600));
        assert_eq!(filter.check(near), Ok(()));
        let (never, _) = self::filter(|_| {});
        assert!((0..100).all(|_| !never.note_failure(here)));
    }

    #[test]
    fn handshakes_too_often() {
        let (filter, clock) = filter(|settings| settings.handshakes_per_second = 1);
        assert!((0..10).all(|_| filter.check_handshake(ip("10.0.0.1")).is_ok()));
        assert_eq!(filter.check_handshake(ip("10.0.0.1")), Err(Refused::TooOften));
        assert_eq!(filter.check_handshake(ip("10.0.0.2")), Ok(()));
        clock.advance(Duration::from_secs(1));
        assert_eq!(filter.check_handshake(ip("10.0.0.1")), Ok(()));
    }
}
