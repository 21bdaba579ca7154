//! The process under test: the server or the floor. Started on a free loopback port, measured through `/proc`, and ended
//! by its own id. Nothing else on the machine is touched.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use sha2::{Digest, Sha256};

use crate::{dialect::Target, floor::Fault};

/// Of this tool's servers only.
const SECRET: &str = "of-the-load-tool-only-0123456789abcdef";

/// Of callgrind, in the folder of its process.
const PROFILE: &str = "callgrind.out";

#[derive(Clone, Debug)]
pub enum Kind {
    Floor {
        batched: bool,
        fault: Option<Fault>,
    },
    /// The floor of the relay: copies bytes from socket to socket.
    Proxy,
    Server(ServerSetup),
}

#[derive(Clone, Debug)]
pub struct ServerSetup {
    pub binary: PathBuf,
    /// None leaves the choice to the server.
    pub workers: Option<usize>,
    /// More settings, `NAME=value`.
    pub settings: Vec<(String, String)>,
    /// Under callgrind, which counts its instructions.
    pub is_counted: bool,
}

impl Kind {
    /// The same with more settings.
    pub fn with(&self, settings: &[(&str, &str)]) -> Self {
        let mut kind = self.clone();
        if let Self::Server(setup) = &mut kind {
            let more = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            // Before those of the caller, which win.
            setup.settings.splice(0..0, more);
        }
        kind
    }
}

pub struct Subject {
    child: Child,
    pub target: Target,
    log: PathBuf,
    folder: PathBuf,
}

impl Subject {
    /// Starts the process and waits until it accepts connections. `folder` takes its logs and data; `cpu` is the one it may use.
    pub fn start(kind: &Kind, folder: &Path, cpu: Option<usize>) -> Result<Self> {
        let port = free_port()?;
        let log = folder.join("output.log");
        let output = File::create(&log)?;
        let mut command = match kind {
            Kind::Floor { batched, fault } => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("floor").arg(port.to_string());
                if !batched {
                    command.arg("--unbatched");
                }
                if let Some(fault) = fault {
                    command.arg("--fault").arg(format!("{fault:?}").to_lowercase());
                }
                command
            }
            Kind::Proxy => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("proxy").arg(port.to_string());
                command
            }
            Kind::Server(setup) => server(setup, port, folder),
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        if let Some(cpu) = cpu {
            pin(Pid::from_raw(child.id().try_into()?), cpu)?;
        }
        let target = Target {
            address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            token: hex::encode(Sha256::digest(SECRET)),
            key: None,
        };
        let folder = folder.to_owned();
        let mut subject = Self { child, target, log, folder };
        subject.wait_until_open()?;
        // What the server made for whoever starts it without any apps.
        if let Ok(kept) = fs::read(subject.folder.join("data/ably-key.json")) {
            let kept: serde_json::Value = serde_json::from_slice(&kept)?;
            subject.target.key = kept["key"].as_str().map(str::to_owned);
        }
        Ok(subject)
    }

    fn wait_until_open(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(self.target.address).is_err() {
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                let output = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("the process under test did not open its port; it said:\n{output}");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Nanoseconds on a CPU, user and system, all threads. Exact for threads that do not run at this moment.
    pub fn cpu(&self) -> Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            let on_cpu = text.split_whitespace().next().unwrap_or("0");
            sum += on_cpu.parse::<u64>().context("reading schedstat")?;
        }
        Ok(sum)
    }

    /// Instructions since it was asked last, all threads, and the profile of them. Only under callgrind.
    pub fn instructions(&self) -> Result<(u64, PathBuf)> {
        let pid = self.pid().to_string();
        let told = Command::new("callgrind_control").arg("--dump").arg(&pid).output();
        let told = told.context("asking callgrind for its counts")?;
        ensure!(told.status.success(), "callgrind_control: {}", String::from_utf8_lossy(&told.stderr));
        // Each dump is a file of the next number, and begins the counts anew.
        let of_number = |number: u32| self.folder.join(format!("{PROFILE}.{number}"));
        let newest = (1..).map(of_number).take_while(|file| file.exists()).last();
        let newest = newest.context("callgrind has left no counts")?;
        let text = fs::read_to_string(&newest)?;
        let totals = text.lines().find_map(|line| line.strip_prefix("totals:"));
        Ok((totals.context("no totals in a profile")?.trim().parse()?, newest))
    }

    /// Bytes of resident memory. (`statm` may be off by half a MiB, this is not.)
    pub fn memory(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next());
        let kib: u64 = kib.context("no Rss line in smaps_rollup")?.parse()?;
        Ok(kib << 10)
    }

    /// Forgets the highest memory so far; bytes of resident memory now.
    pub fn reset_peak_memory(&self) -> Result<u64> {
        // 5 resets the high-water mark (proc_pid_clear_refs(5)).
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").context("resetting the peak of memory")?;
        self.peak_memory()
    }

    /// Bytes of resident memory, the highest since [`Subject::reset_peak_memory`].
    pub fn peak_memory(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next());
        let kib: u64 = kib.context("no VmHWM line in status")?.parse()?;
        Ok(kib << 10)
    }

    /// Connections that the process has open.
    pub fn sockets(&self) -> Result<usize> {
        let folder = format!("/proc/{}/fd", self.pid());
        Ok(fs::read_dir(folder)?
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count())
    }

    /// What it wrote to its log so far, the last few lines.
    pub fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Already gone is fine too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server(setup: &ServerSetup, port: u16, folder: &Path) -> Command {
    let mut command = Command::new(if setup.is_counted { Path::new("valgrind") } else { &setup.binary });
    if setup.is_counted {
        let file = folder.join(PROFILE);
        command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", file.display())).arg(&setup.binary);
    }
    // Settings of the caller must not leak into the measurement.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LETSHARE_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("MODE", "local")
        .env("SERVER_AUTH_SECRET", SECRET)
        .env("LETSHARE_SERVER_HOST", "127.0.0.1")
        .env("LETSHARE_SERVER_PORT", port.to_string())
        .env("LETSHARE_WEBSOCKET_MAX_ROOM_USERS", "5000")
        .env("LETSHARE_LIMITS_CONNECTIONS_PER_ADDRESS", "0")
        .env("LETSHARE_LIMITS_PUBLISHES_PER_SECOND", "0")
        .env("LETSHARE_LOG_LEVEL", "warn")
        .env("LETSHARE_LOG_DIR", folder.join("logs"))
        .env("LETSHARE_DATA_DIR", folder.join("data"));
    if let Some(workers) = setup.workers {
        command.env("LETSHARE_SERVER_WORKERS", workers.to_string());
    }
    for (name, value) in &setup.settings {
        command.env(name, value);
    }
    command
}

/// Binds a process (0: this one) to one CPU. Threads that it starts later are bound too.
pub fn pin(process: Pid, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(process, &set).context("binding a process to a CPU")
}

fn free_port() -> Result<u16> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(probe.local_addr()?.port())
}
