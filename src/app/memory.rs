//! How much may be kept for clients.

use std::fs;

use crate::{
    actors::accounts::Shares,
    config::{History, Limits},
    core::eviction::ChannelShares,
    limits::{BODIES_LEAST, BODIES_PART},
};

/// What a machine has that does not say how much: enough to start with, too little to hurt.
const UNKNOWN: usize = 1 << 30;

pub fn shares(limits: &Limits, history: &History) -> Shares {
    let server = if limits.memory == 0 { available() / 2 } else { limits.memory };
    let percent = |share: usize| server / 100 * share;
    let bodies = (server / BODIES_PART).max(BODIES_LEAST);
    Shares {
        server,
        app: percent(limits.app_share),
        network: percent(limits.network_share),
        client: limits.client_memory,
        windows: [history.total_bytes, history.total_bytes / 100 * limits.app_share],
        bodies,
    }
}

/// How many channels there may be. A share of fewer than one is one.
pub fn channels(limits: &Limits) -> ChannelShares {
    let app = (limits.channels * limits.app_share).div_ceil(100);
    ChannelShares { server: limits.channels, app }
}

/// Bytes that this process may use: those of the machine, or of the container that it is in.
fn available() -> usize {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let container = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let container = container.into_iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    machine.into_iter().chain(container).min().unwrap_or(UNKNOWN)
}

/// `MemTotal` of /proc/meminfo, which counts in KiB.
fn total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_machine_is_read() {
        assert_eq!(total("MemTotal:       24576000 kB\nMemFree: 1 kB\n"), Some(24_576_000 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(available() > 1 << 20);
    }
}
