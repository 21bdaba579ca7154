//! A server of the same build with a folder of its own, and the CPU that it has used.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::client::Client;

pub const KEY: &str = "bench1.root:only-for-this-bench-0123456789";
const APPS: &str = "\
apps:
  - id: bench1
    limits: {presence: {maxMembers: 20000}}
    keys:
      - {id: root, secret: only-for-this-bench-0123456789, revocableTokens: true}
    namespaces:
      - {id: persisted, persisted: true}
";

/// Ends with its owner.
pub struct Server {
    binary: PathBuf,
    child: Child,
    pub address: SocketAddr,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub fn start(binary: &Path) -> Result<Self> {
        // Not the folder for temporary files: that may be memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        fs::write(folder.path().join("apps.yaml"), APPS)?;
        let (child, address) = spawn(binary, &folder, &[])?;
        Ok(Self { binary: binary.to_owned(), child, address, folder })
    }

    /// Ends it in order, and starts it anew with the same data and these settings.
    pub fn restart(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGTERM)?;
        self.child.wait()?;
        (self.child, self.address) = spawn(&self.binary, &self.folder, settings)?;
        Ok(())
    }

    /// On a CPU, user and system, all threads. Exact for threads that do not run at this moment.
    pub fn cpu(&self) -> Result<Duration> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            let on_cpu = text.split_whitespace().next().unwrap_or("0");
            sum += on_cpu.parse::<u64>().context("reading schedstat")?;
        }
        Ok(Duration::from_nanos(sum))
    }

    /// What it has used when it has nothing more to do and everybody has read what came.
    pub fn idle_cpu(&self, clients: &mut [Client]) -> Result<Duration> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let (mut before, mut quiet) = (self.cpu()?, 0);
        while Instant::now() < deadline {
            let came = clients.iter_mut().try_fold(0, |came, client| anyhow::Ok(came + client.drain()?))?;
            thread::sleep(Duration::from_millis(10));
            let now = self.cpu()?;
            // Timers tick all the time; that is next to nothing.
            let is_quiet = came == 0 && now.saturating_sub(before) < Duration::from_micros(200);
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet == 3 {
                return Ok(now);
            }
            before = now;
        }
        bail!("the server did not come to rest")
    }

    pub fn clients(&self, count: usize) -> Result<Vec<Client>> {
        (0..count).map(|_| Client::open(self.address, "")).collect()
    }
}

fn spawn(binary: &Path, folder: &TempDir, settings: &[(&str, &str)]) -> Result<(Child, SocketAddr)> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let mut child = Command::new(binary)
        .current_dir(folder.path())
        .env_clear()
        .env("LETSHARE_SERVER_PORT", port.to_string())
        .env("LETSHARE_SERVER_WORKERS", "1")
        .env("LETSHARE_ABLY_APPS_FILE", "apps.yaml")
        .env("LETSHARE_ABLY_KEYS_OVER_HTTP", "true")
        .env("LETSHARE_LIMITS_CONNECTIONS_PER_ADDRESS", "0")
        .env("LETSHARE_LIMITS_CONNECTS_PER_SECOND", "0")
        .env("LETSHARE_LIMITS_PUBLISHES_PER_SECOND", "0")
        .env("LETSHARE_LIMITS_CHANNELS_PER_CONNECTION", "20000")
        .env("LETSHARE_LOG_LEVEL", "warn")
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(folder.path().join("stderr"))?)
        .spawn()
        .context("starting the server")?;
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(address).is_err() {
        if child.try_wait()?.is_some() || Instant::now() > deadline {
            let said = fs::read_to_string(folder.path().join("stderr")).unwrap_or_default();
            let _ = child.kill();
            bail!("the server did not open its port; it said:\n{said}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok((child, address))
}
