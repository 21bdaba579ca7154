//! The server as its users run it: a process of its own, so that its memory and its end can be seen.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;

use super::{PATIENCE, raw, server::static_token};

/// Behind the static token of every server process. Must not appear in anything it writes.
pub const STATIC_SECRET: &str = "CANARY-static-secret-a2f90c7d51e84b36";
/// Signs JWTs. Must not appear either.
pub const JWT_SECRET: &str = "CANARY-jwt-secret-77bc01e5d9f24a68b3";

/// Ends with its owner, and so does a working directory of its own.
pub struct ServerProcess {
    pub address: SocketAddr,
    pub token: String,
    child: Child,
    stdout: Capture,
    stderr: Capture,
    dir: PathBuf,
    _own_dir: Option<TempDir>,
}

impl ServerProcess {
    /// Starts a server with the local defaults on a free port, but for `settings`, which are
    /// environment variables without their `LETSHARE_`.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_in("local", settings)
    }

    /// The same with the defaults of another mode.
    pub fn start_in(mode: &str, settings: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().expect("a working directory");
        let server = Self::try_start(dir.path(), &[], mode, settings);
        let mut server = server.unwrap_or_else(|stderr| panic!("{stderr}"));
        server._own_dir = Some(dir);
        server
    }

    /// Starts a server in a working directory that may have been another server's, through another program, if
    /// `launcher` has words: it must become the server by `exec`.
    ///
    /// # Errors
    /// With what was written to stderr when no server came of it.
    pub fn try_start(dir: &Path, launcher: &[&str], mode: &str, settings: &[(&str, &str)]) -> Result<Self, String> {
        // Another build may be tested, as by the tests in Node.
        let binary = std::env::var("LETSHARE_BIN");
        let binary = binary.unwrap_or_else(|_| env!("CARGO_BIN_EXE_letshare-server").to_owned());
        let mut words = launcher.iter().copied().chain([binary.as_str()]);
        let mut command = Command::new(words.next().expect("at least the server"));
        command
            .args(words)
            .current_dir(dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("MODE", mode)
            .env("LETSHARE_SERVER_HOST", "127.0.0.1")
            .env("LETSHARE_SERVER_PORT", "0")
            .env("LETSHARE_SERVER_WORKERS", "2")
            .env("LETSHARE_LOG_LEVEL", "info")
            .env("LETSHARE_JWT_SECRET", JWT_SECRET)
            .env("SERVER_AUTH_SECRET", STATIC_SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in settings {
            command.env(format!("LETSHARE_{name}"), value);
        }
        let mut child =
            command.spawn().map_err(|error| format!("{:?} cannot be run: {error}", command.get_program()))?;
        let (listening, address) = mpsc::channel();
        let stdout = Capture::start(child.stdout.take().expect("piped"), move |line| {
            if let Some(address) = listening_address(line) {
                let _ = listening.send(address);
            }
        });
        let stderr = Capture::start(child.stderr.take().expect("piped"), |_| {});
        // Fails when the server ends, since the sender goes with its stdout.
        let Ok(address) = address.recv() else {
            let _ = child.wait();
            return Err(format!("the server did not start: {}", stderr.end()));
        };
        Ok(Self {
            address,
            token: static_token(STATIC_SECRET),
            child,
            stdout,
            stderr,
            dir: dir.to_owned(),
            _own_dir: None,
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash does: it gets to do nothing any more.
    pub async fn kill(mut self) {
        let ended = self.child.try_wait().expect("our child");
        assert_eq!(ended, None, "the server ended by itself");
        self.signal(Signal::SIGKILL);
        self.exit().await;
    }

    /// Ends it in order.
    pub async fn terminate(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.exit().await;
        assert!(status.success(), "{status}: {}", self.written());
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(folder).expect("the server runs").count()
    }

    /// Resident memory now, in KiB.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most resident memory since the start or [`ServerProcess::forget_peak`], in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    pub fn forget_peak(&self) {
        // proc(5): 5 resets the peak resident set size.
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("our own process");
    }

    fn status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let figure = line.and_then(|line| line.split_whitespace().next());
        figure.and_then(|figure| figure.parse().ok()).expect(key)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a process id"));
        signal::kill(pid, signal).expect("the server runs");
    }

    /// Waits until the server has ended.
    pub async fn exit(&mut self) -> ExitStatus {
        // `wait` blocks; the clients of the test go on meanwhile.
        let pid = Pid::from_raw(self.child.id().try_into().expect("a process id"));
        let waited = tokio::task::spawn_blocking(move || {
            use nix::sys::wait::{Id, WaitPidFlag, waitid};
            // Leaves the zombie for `Child`, so that its id stays ours.
            waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
        });
        let waited = tokio::time::timeout(PATIENCE, waited).await;
        let waited = waited.expect("the server ends").expect("no panic");
        waited.expect("our child");
        self.child.wait().expect("our child")
    }

    /// Everything the server wrote so far, for people to read: stdout, stderr, errors.log.
    pub fn written(&self) -> String {
        format!("{}\n{}\n{}", self.stdout.text(), self.stderr.text(), self.errors_log())
    }

    /// Its working directory.
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    /// `logs/errors.log`; empty when there is none.
    pub fn errors_log(&self) -> String {
        fs::read_to_string(self.dir.join("logs/errors.log")).unwrap_or_default()
    }

    /// `/metrics` as JSON.
    pub async fn metrics(&self) -> Value {
        let answer = raw::get(self.address, "/metrics", "").await;
        let (_, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        serde_json::from_str(body).expect("JSON")
    }

    /// Waits until a figure of the section `websocket` of `/metrics` is `expected`.
    pub async fn until_metric(&self, name: &str, expected: u64) {
        let wait = async {
            while self.metrics().await["websocket"][name] != expected {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let metrics = self.metrics().await;
            panic!("{name} does not become {expected}: {metrics:#}");
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let status = self.child.wait().expect("our child");
        if thread::panicking() {
            eprintln!("the server ended with {status}; it wrote:\n{}", self.written());
        } else {
            let killed_by_us = status.signal() == Some(Signal::SIGKILL as i32);
            assert!(killed_by_us || status.success(), "{status}");
            let written = self.written();
            assert!(!written.contains("panicked at"), "{written}");
        }
    }
}

fn listening_address(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line["message"] != "listening" {
        return None;
    }
    line["fields"]["address"].as_str()?.parse().ok()
}

/// What a stream of the server carried, read as it comes so that the server never waits.
struct Capture {
    text: Arc<Mutex<String>>,
    thread: JoinHandle<()>,
}

impl Capture {
    fn start(stream: impl Read + Send + 'static, mut on_line: impl FnMut(&str) + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&text);
        let thread = thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                on_line(&line);
                let mut kept = kept.lock();
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        Self { text, thread }
    }

    fn text(&self) -> String {
        self.text.lock().clone()
    }

    /// The whole text of a stream whose writer has ended.
    fn end(self) -> String {
        self.thread.join().expect("no panic");
        self.text.lock().clone()
    }
}
