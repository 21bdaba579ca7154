//! The server of the same build on a fresh data folder, and as many publishers as it takes.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use serde_json::Value;

use crate::{Figure, publisher};

const KEY: &str = "bench1.root:only-for-this-bench-0123456789";
const APPS: &str = "\
apps:
  - id: bench1
    keys:
      - {id: root, secret: only-for-this-bench-0123456789}
    namespaces:
      - {id: persisted, persisted: true}
";
/// Publishes of one connection: more come by more connections.
const IN_FLIGHT_EACH: usize = 32;
const WARM_UP: Duration = Duration::from_millis(300);

/// Ends with its owner.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Publishes for a while, after a warm-up.
pub fn run(binary: &str, folder: &Path, in_flight: usize, time: Duration) -> Result<Figure> {
    let server = start(binary, folder)?;
    let connections = in_flight.div_ceil(IN_FLIGHT_EACH);
    let (is_counting, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let query = format!("v=6&key={KEY}&echo=false");
    thread::scope(|scope| {
        let publish = || {
            publisher::publish(
                server.address,
                &query,
                "persisted:bench",
                in_flight / connections,
                &is_counting,
                &is_over,
            )
        };
        let publishers: Vec<_> = (0..connections).map(|_| scope.spawn(publish)).collect();
        thread::sleep(WARM_UP);
        let before = commits(server.address);
        is_counting.store(true, Ordering::Relaxed);
        let began = Instant::now();
        thread::sleep(time);
        is_counting.store(false, Ordering::Relaxed);
        let seconds = began.elapsed().as_secs_f64();
        let after = commits(server.address);
        is_over.store(true, Ordering::Relaxed);
        let mut latencies = Histogram::<u64>::new(3)?;
        for publisher in publishers {
            let Ok(own) = publisher.join() else {
                bail!("a publisher has panicked");
            };
            latencies.add(own?)?;
        }
        Ok(Figure {
            items: latencies.len() as f64 / seconds,
            commits: (after? - before?) as f64 / seconds,
            p50: Duration::from_micros(latencies.value_at_quantile(0.5)),
            p99: Duration::from_micros(latencies.value_at_quantile(0.99)),
        })
    })
}

fn start(binary: &str, folder: &Path) -> Result<Server> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("apps.yaml"), APPS)?;
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let child = Command::new(binary)
        .current_dir(folder)
        .env_clear()
        .env("LETSHARE_SERVER_PORT", port.to_string())
        .env("LETSHARE_ABLY_APPS_FILE", "apps.yaml")
        .env("LETSHARE_ABLY_KEYS_OVER_HTTP", "true")
        .env("LETSHARE_LIMITS_PUBLISHES_PER_SECOND", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(folder.join("stderr"))?)
        .spawn()
        .context("starting the server")?;
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let mut server = Server { child, address };
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        if server.child.try_wait()?.is_some() || Instant::now() > deadline {
            let said = fs::read_to_string(folder.join("stderr")).unwrap_or_default();
            bail!("the server did not open its port: {said}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(server)
}

fn commits(address: SocketAddr) -> Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let (_, body) = page.split_once("\r\n\r\n").context("an HTTP answer")?;
    let page: Value = serde_json::from_str(body)?;
    page["store"]["commits"].as_u64().context("no store.commits in /metrics")
}
