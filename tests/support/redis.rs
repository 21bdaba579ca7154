//! A Redis server of Debian's package, as a child process on a free port of this machine.

use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use letshare_server::{
    config::{Config, Engine},
    engines::redis::Settings,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Runtime,
};

use super::{eventually, nodes};

/// Ends with its owner.
pub struct RedisServer {
    pub port: u16,
    password: Option<&'static str>,
    dir: Folder,
    /// What it is told beside that.
    settings: Vec<String>,
    child: Option<Child>,
}

/// With `LETSHARE_ON_REDIS` or `LETSHARE_NODES` set, a server with these settings is a node of a cluster, on a Redis of its own. That
/// has its data in the data folder, so who starts again with the one finds the other.
pub fn join_if_asked(config: &mut Config) -> Option<RedisServer> {
    if !nodes::are_asked() {
        return None;
    }
    let folder = config.data.dir.join("redis");
    fs::create_dir_all(&folder).expect("the folder can be written");
    let secret = folder.join("secret");
    fs::write(&secret, "0123456789abcdef".repeat(4)).expect("the folder can be written");
    let start = || {
        Runtime::new().expect("a runtime").block_on(async {
            let redis = RedisServer::start_so(None, &["--appendfsync", "no"], Folder::Kept(folder)).await;
            // Of nodes of an earlier run.
            let forget =
                "for _, key in ipairs(redis.call('KEYS', 'ls:{*}leases')) do redis.call('DEL', key) end return 1";
            redis.command(&[b"EVAL", forget.as_bytes(), b"0"]).await;
            redis
        })
    };
    let redis = thread::spawn(start).join().expect("redis starts");
    config.cluster.engine = Engine::Redis;
    config.cluster.endpoint = Some(format!("127.0.0.1:{}", redis.port));
    config.cluster.secret_file = Some(secret);
    Some(redis)
}

/// Where its data is.
enum Folder {
    /// Gone with it.
    Own(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Own(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }

    fn own() -> Self {
        Self::Own(TempDir::new().expect("a folder for the data"))
    }
}

impl RedisServer {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With these settings on its command line.
    pub async fn start_as(settings: &[&str]) -> Self {
        Self::start_so(None, settings, Folder::own()).await
    }

    pub async fn start_with(password: Option<&'static str>) -> Self {
        Self::start_so(password, &[], Folder::own()).await
    }

    async fn start_so(password: Option<&'static str>, settings: &[&str], dir: Folder) -> Self {
        let settings = settings.iter().map(ToString::to_string).collect();
        let mut server = Self { port: 0, password, dir, settings, child: None };
        // The free port may be taken by another test before Redis binds it.
        for _ in 0..10 {
            let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
            server.port = free.local_addr().expect("bound").port();
            drop(free);
            if server.try_start().await {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("our child");
        child.wait().expect("our child");
    }

    /// Of the process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Starts it again after [`RedisServer::kill`]: same port, same data.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        assert!(self.try_start().await, "redis-server does not start again");
    }

    /// All that it was told to write since it began, as the scripts have done it.
    pub fn written(&self) -> Vec<u8> {
        let files = fs::read_dir(self.dir.path().join("appendonlydir")).expect("appendonly");
        files.flat_map(|file| fs::read(file.expect("a file").path()).expect("a file")).collect()
    }

    /// What a replica has that is a little behind: the data of now, for [`RedisServer::fall_back`].
    pub fn copy(&self) -> TempDir {
        let copy = TempDir::new().expect("a folder");
        copy_folder(self.dir.path(), copy.path()).expect("a copy of the data");
        copy
    }

    /// Starts again, after [`RedisServer::kill`], with the data of then.
    pub async fn fall_back(&mut self, copy: TempDir) {
        self.dir = Folder::Own(copy);
        self.restart().await;
    }

    /// How a client gets in.
    pub fn settings(&self) -> Settings {
        Settings {
            host: "127.0.0.1".into(),
            port: self.port,
            password: self.password.unwrap_or_default().into(),
            database: 0,
        }
    }

    /// Runs one command and gives the raw answer.
    pub async fn command(&self, words: &[&[u8]]) -> String {
        let answer = self.try_command(words).await.expect("redis answers");
        assert!(!answer.starts_with('-'), "{answer}");
        answer
    }

    /// The same, of an answer that is no text.
    pub async fn raw(&self, words: &[&[u8]]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("redis is there");
        stream.write_all(&[encoded(words), encoded(&[b"QUIT"])].concat()).await.expect("redis is there");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("redis answers");
        answer.truncate(answer.len() - b"+OK\r\n".len());
        answer
    }

    /// Whether it came up and stayed.
    async fn try_start(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        command.args(["--dir", self.dir.path().to_str().expect("UTF-8")]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        // No file comes or goes while its data is copied.
        command.args(["--auto-aof-rewrite-percentage", "0"]);
        if let Some(password) = self.password {
            command.args(["--requirepass", password]);
        }
        command.args(&self.settings);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("redis-server of the package redis-server");
        let is_up = eventually(async || {
            if child.try_wait().expect("our child").is_some() {
                return Some(false);
            }
            let answer = self.try_command(&[b"PING"]).await?;
            answer.starts_with("+PONG").then_some(true)
        });
        let is_up = is_up.await;
        self.child = Some(child);
        is_up
    }

    pub async fn try_command(&self, words: &[&[u8]]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let mut request = Vec::new();
        if let Some(password) = self.password {
            request.extend(encoded(&[b"AUTH", password.as_bytes()]));
        }
        request.extend(encoded(words));
        request.extend(encoded(&[b"QUIT"]));
        stream.write_all(&request).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let mut answer = String::from_utf8_lossy(&answer).into_owned();
        if self.password.is_some() {
            answer = answer.strip_prefix("+OK\r\n")?.to_owned();
        }
        Some(answer.strip_suffix("+OK\r\n")?.to_owned())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    for found in fs::read_dir(from)? {
        let found = found?;
        let (path, target) = (found.path(), to.join(found.file_name()));
        if path.is_dir() {
            fs::create_dir(&target)?;
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

fn encoded(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend(*word);
        bytes.extend(b"\r\n");
    }
    bytes
}
