//! What the operating system knows of this process.

use std::{fs, num::NonZeroUsize, thread, time::Duration};

use nix::sys::{
    resource::{Resource, Usage, UsageWho, getrlimit, getrusage, setrlimit},
    time::TimeVal,
};

use crate::actors::figures::figures;

figures! {
    /// One look at the process; what cannot be read is 0.
    ProcessFacts {
        /// Memory of the process in RAM
        resident_bytes: u64 = (now, "", "process_resident_memory", "bytes");
        /// Threads of the process
        threads: u64 = (now, "system.goroutines", "process", "threads");
        /// Processor time, user and kernel
        cpu: Duration = (rises, "", "process_cpu", "seconds");
        /// Processors that this process may use.
        processors: u64 = (now, "system.cpu_count", "", "");
        /// Files and sockets that are open now
        open_descriptors: u64 = (now, "system.descriptors.open", "open", "descriptors");
        /// Files and sockets that may be open
        allowed_descriptors: u64 = (now, "system.descriptors.allowed", "allowed", "descriptors");
    }
}

impl ProcessFacts {
    /// Three system calls, one small file and one folder.
    pub fn read() -> Self {
        // `status` and not `statm`: it counts in KiB instead of pages of unknown size, and has the
        // threads as well.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let usage = getrusage(UsageWho::RUSAGE_SELF);
        Self {
            resident_bytes: number_after(&status, "VmRSS:") * 1024,
            threads: number_after(&status, "Threads:"),
            cpu: usage.map_or(Duration::ZERO, |usage| cpu_time(&usage)),
            open_descriptors: fs::read_dir("/proc/self/fd").map_or(0, |folder| folder.count() as u64),
            allowed_descriptors: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _hard)| soft),
            processors: thread::available_parallelism().map_or(0, NonZeroUsize::get) as u64,
        }
    }
}

/// Lets this process open as many files as it may allow itself: shells and service managers often set the soft limit to
/// 1024, for programs of another age, and a hard one of many times that.
/// Error: for the operator.
pub fn raise_descriptor_limit() -> nix::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) }
}

fn number_after(status: &str, name: &str) -> u64 {
    let mut lines = status.lines();
    let number = lines.find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn cpu_time(usage: &Usage) -> Duration {
    let as_duration = |time: TimeVal| {
        let seconds = Duration::from_secs(time.tv_sec().unsigned_abs());
        seconds + Duration::from_micros(time.tv_usec().unsigned_abs())
    };
    as_duration(usage.user_time()) + as_duration(usage.system_time())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name() {
        let status = "Name:\tserver\nVmHWM:\t  9 kB\nVmRSS:\t   5188 kB\nThreads:\t7\n";
        assert_eq!(number_after(status, "VmRSS:"), 5188);
        assert_eq!(number_after(status, "Threads:"), 7);
        assert_eq!(number_after(status, "VmSwap:"), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_and_threads() {
        let facts = ProcessFacts::read();
        assert!(facts.resident_bytes > 100_000 && facts.threads >= 1 && facts.processors >= 1);
        assert!(facts.open_descriptors >= 3 && facts.allowed_descriptors >= facts.open_descriptors);
    }
}
