//! A server of MongoDB's wire protocol as a process of its own: SecantusDB, which `tests/run` puts into
//! `tests/.cache/venv`. There is no MongoDB in Debian.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tempfile::TempDir;

use super::PATIENCE;

/// Ends with its owner. Its data survives [`Mongo::kill`].
pub struct Mongo {
    pub port: u16,
    folder: TempDir,
    child: Option<Child>,
}

/// The server that `tests/run` installed.
fn program() -> PathBuf {
    let path = env::var_os("SECANTUSD").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache/venv/bin/secantusd-py"),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} is missing: run tests/run once, it installs what the tests need (secantusdb has wheels for CPython 3.11)",
        path.display()
    );
    path
}

impl Mongo {
    /// An empty one on a free port of this machine.
    pub async fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        let folder = TempDir::new().expect("a folder for the data");
        let child = None;
        let mut server = Self { port, folder, child };
        server.start_again().await;
        server
    }

    /// Starts it with the same data on the same port, and waits until it listens.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        let log = fs::File::create(self.log()).expect("our own folder");
        let child = Command::new(program())
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string()])
            // What is acknowledged as journaled survives a kill.
            .args(["--sync-on-commit", "--cache-size", "64M", "--storage-path"])
            .arg(self.folder.path().join("data"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("an open file"))
            .stderr(log)
            .spawn()
            .expect("secantusd-py can be run");
        self.child = Some(child);
        let listening = async {
            while !self.written().contains("listening on") {
                let ended = self.child.as_mut().expect("started").try_wait();
                assert!(ended.expect("our child").is_none(), "secantusd-py has ended; it wrote:\n{}", self.written());
                // A file tells nobody that it grows.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let started = tokio::time::timeout(PATIENCE, listening).await;
        assert!(started.is_ok(), "secantusd-py does not listen; it wrote:\n{}", self.written());
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("our child");
        child.wait().expect("our child");
    }

    /// It stands still: it accepts and answers nothing, but its connections stay.
    pub async fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        // Sent is not stopped: each thread stops when it next has the processor, and until then it may still answer.
        let stopped = async {
            while !self.stands_still() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let stopped = tokio::time::timeout(PATIENCE, stopped).await;
        stopped.expect("every process can be stopped");
    }

    /// Whether all its threads are stopped (`T` in `/proc`, see proc(5)).
    fn stands_still(&self) -> bool {
        let child = self.child.as_ref().expect("it runs");
        let threads = fs::read_dir(format!("/proc/{}/task", child.id())).expect("it runs");
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // After the name, which may have spaces and brackets of its own.
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        })
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        let pid = Pid::from_raw(child.id().try_into().expect("a process id"));
        signal::kill(pid, signal).expect("our child");
    }

    /// It says that it is of a replica set, whose other members nobody could reach.
    pub fn uri(&self) -> String {
        self.uri_of("")
    }

    pub fn uri_of(&self, database: &str) -> String {
        format!("mongodb://127.0.0.1:{}/{database}?directConnection=true", self.port)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn written(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for Mongo {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
