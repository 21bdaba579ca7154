//! Who may use the admin API.

use serde_json::json;

use super::{Operator, PASSWORD, server};
use crate::support::{Http, Response, eventually, process::ServerProcess, raw::Raw};

const NODE: &str = "/admin/api/node";

async fn login(http: &mut Http<tokio::net::TcpStream>, password: &str) -> Response {
    http.post("/admin/api/login", &[], &json!({"password": password}).to_string()).await
}

#[tokio::test]
async fn the_password_opens_a_session_that_no_script_reads() {
    let server = server(|_| {});
    let mut http = Http::connect(&server).await;
    let refused = http.ask("GET", NODE, &[]).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (401, &json!(40100)));
    assert_eq!(login(&mut http, "a wrong password").await.status, 401);

    let opened = login(&mut http, PASSWORD).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    let cookie = opened.header("set-cookie").expect("a cookie").to_owned();
    for word in ["HttpOnly", "SameSite=Strict", "Path=/admin/api", "Max-Age=43200"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    let (session, _) = cookie.split_once(';').unwrap();
    assert_eq!(http.ask("GET", NODE, &[("Cookie", &format!("a=b; {session}"))]).await.status, 200);
    let bearer = format!("Bearer {}", opened.json()["token"].as_str().unwrap());
    assert_eq!(http.ask("GET", NODE, &[("Authorization", &bearer)]).await.status, 200);
    // RFC 9110 §11.1: the scheme is case-insensitive.
    let small = bearer.replacen("Bearer", "bearer", 1);
    assert_eq!(http.ask("GET", NODE, &[("Authorization", &small)]).await.status, 200);

    let out = http.ask_with("POST", "/admin/api/logout", &[("Cookie", session), ("Content-Length", "0")], b"").await;
    assert_eq!(out.status, 200);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(http.ask("GET", NODE, &[("Cookie", session)]).await.status, 401);
    assert_eq!(http.ask("GET", NODE, &[("Authorization", &bearer)]).await.status, 401);
}

/// A page of another site, and one whose name somebody pointed at this machine (DNS rebinding).
#[tokio::test]
async fn foreign_pages_and_hosts_are_refused() {
    let server = server(|config| config.cors.allowed_origins = vec!["https://letshare.fun".to_owned()]);
    let mut http = Http::connect(&server).await;
    let bearer = format!("Bearer {PASSWORD}");
    let own = format!("http://{}", server.address);
    for (origin, status) in [("https://evil.example", 403), ("https://letshare.fun", 403), ("null", 403), (&*own, 200)]
    {
        let answer = http.ask("GET", NODE, &[("Authorization", &bearer), ("Origin", origin)]).await;
        assert_eq!(answer.status, status, "{origin}: {answer:?}");
    }
    for (host, status) in [("evil.example", 403), ("localhost", 200), ("evil.example:8080", 403)] {
        let mut raw = Raw::connect(server.address).await;
        let request = format!("GET {NODE} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {bearer}\r\n\r\n");
        raw.write(request.as_bytes()).await.expect("the server reads");
        let answer = raw.reader.answer().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
    }
}

#[tokio::test]
async fn passwords_are_tried_a_few_a_second() {
    let server = server(|_| {});
    let mut http = Http::connect(&server).await;
    let mut statuses = Vec::new();
    for attempt in 0..12 {
        statuses.push(login(&mut http, &format!("guess {attempt}")).await.status);
    }
    assert_eq!(statuses[..5], [401; 5]);
    assert!(statuses.contains(&429), "{statuses:?}");
    // A password that is shown as a bearer token is one more attempt.
    let ask = async |http: &mut Http<tokio::net::TcpStream>, shown: &str| {
        let bearer = format!("Bearer {shown}");
        http.ask("GET", "/admin/api/node", &[("Authorization", &bearer)]).await.status
    };
    let mut shown = Vec::new();
    for attempt in 0..12 {
        shown.push(ask(&mut http, &format!("guess {attempt}")).await);
    }
    assert!(shown.contains(&429), "{shown:?}");
    // Each is counted for what it was.
    let refusals = http.ask("GET", "/metrics", &[]).await.json()["refusals"].clone();
    let all = statuses.iter().chain(&shown);
    assert_eq!(refusals["too_often"], all.clone().filter(|status| **status == 429).count());
    assert_eq!(refusals["token"], all.filter(|status| **status == 401).count());
}

#[tokio::test]
async fn whoever_knows_the_password_may_show_it_as_often_as_they_like() {
    let server = server(|_| {});
    let mut http = Http::connect(&server).await;
    let bearer = format!("Bearer {PASSWORD}");
    for _ in 0..30 {
        let answer = http.ask("GET", "/admin/api/node", &[("Authorization", &bearer)]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test]
async fn the_settings_may_have_a_hash() {
    let hash = made_hash();
    let server = server(|config| config.console.password = hash.clone().into());
    let mut http = Http::connect(&server).await;
    // The hash itself opens nothing, and neither does the password as a bearer token.
    for shown in [hash.as_str(), PASSWORD] {
        let bearer = format!("Bearer {shown}");
        assert_eq!(http.ask("GET", NODE, &[("Authorization", &bearer)]).await.status, 401);
    }
    assert_eq!(login(&mut http, &hash).await.status, 401);
    let token = login(&mut http, PASSWORD).await.json()["token"].as_str().expect("a token").to_owned();
    let bearer = format!("Bearer {token}");
    assert_eq!(http.ask("GET", NODE, &[("Authorization", &bearer)]).await.status, 200);
}

/// A hash of nothing opens nothing, and none is made.
#[tokio::test]
async fn an_empty_password_opens_nothing() {
    use argon2::{Argon2, PasswordHasher as _};
    let hash = Argon2::default().hash_password_with_salt(b"", b"some salt of a test").unwrap().to_string();
    let server = server(|config| config.console.password = hash.into());
    assert_eq!(login(&mut Http::connect(&server).await, "").await.status, 401);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_letshare-server"));
    let out = command.args(["admin", "hash"]).stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!((out.status.code(), out.stdout.is_empty()), (Some(1), true));
    assert!(String::from_utf8_lossy(&out.stderr).contains("holds no password"));
}

/// No page of another origin is told that it may read an answer, those of `cors.allowed_origins` neither.
#[tokio::test]
async fn preflights_are_refused() {
    let server = server(|config| config.cors.allowed_origins = vec!["https://letshare.fun".to_owned()]);
    for path in [NODE, "/console"] {
        for origin in ["https://letshare.fun", "https://evil.example"] {
            let headers = [("Origin", origin), ("Access-Control-Request-Method", "GET")];
            let answer = Http::connect(&server).await.ask("OPTIONS", path, &headers).await;
            assert!([403, 404].contains(&answer.status), "{path} {origin}: {answer:?}");
            for granted in ["access-control-allow-origin", "access-control-allow-methods"] {
                assert_eq!(answer.header(granted), None, "{path} {origin}");
            }
        }
    }
    let health = Http::connect(&server).await.ask("OPTIONS", "/health", &[("Origin", "https://letshare.fun")]).await;
    assert_eq!(health.header("access-control-allow-origin"), Some("https://letshare.fun"), "others answer as before");
}

/// SIGHUP: the new password opens, sessions that the old one has opened are over, and the log says so.
#[tokio::test]
async fn a_password_file_that_was_changed_is_read_again() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "the first password").unwrap();
    let server = ServerProcess::start(&[("CONSOLE_PASSWORD_FILE", file.to_str().unwrap())]);
    let mut http = Http::connect_to(server.address).await;
    let token = login(&mut http, "the first password").await.json()["token"].as_str().unwrap().to_owned();
    let session = format!("Bearer {token}");
    assert_eq!(http.ask("GET", NODE, &[("Authorization", &session)]).await.status, 200);
    std::fs::write(&file, "the second password").unwrap();
    server.signal(nix::sys::signal::Signal::SIGHUP);
    eventually(async || server.written().contains("the password of the admin API is another one").then_some(())).await;
    assert_eq!(http.ask("GET", NODE, &[("Authorization", &session)]).await.status, 401);
    assert_eq!(login(&mut http, "the first password").await.status, 401);
    assert_eq!(login(&mut http, "the second password").await.status, 200);
    server.terminate().await;
}

/// The printed link leads to where the console is, and a browser that opens a port that has it comes there, too.
#[tokio::test]
async fn people_are_led_to_the_console() {
    let own = ServerProcess::start(&[("CONSOLE_PORT", "0")]);
    let link = eventually(async || {
        let printed = own.stderr();
        let (_, link) = printed.split_once("Try it in a browser: http://")?;
        Some(link.split_once("/console#key=")?.0.to_owned())
    })
    .await;
    assert_ne!(link, own.address.to_string());
    let accept = [("Accept", "text/html")];
    let led = Http::connect_to(link.parse().unwrap()).await.ask("GET", "/", &accept).await;
    assert_eq!((led.status, led.header("location")), (303, Some("/console")));
    let shared = Http::connect_to(own.address).await.ask("GET", "/", &accept).await;
    assert_eq!((shared.status, shared.body.contains("Ably.Realtime")), (200, true));
    own.terminate().await;
}

fn made_hash() -> String {
    use std::io::Write as _;
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_letshare-server"))
        .args(["admin", "hash"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// MODE=local on loopback: whoever is on this machine, and nobody that a proxy stands for.
#[tokio::test]
async fn a_local_server_is_open_to_programs_of_its_machine_alone() {
    let local = ServerProcess::start(&[]);
    let mut http = Http::connect_to(local.address).await;
    assert_eq!(http.ask("GET", NODE, &[]).await.status, 200);
    assert_eq!(http.ask("GET", NODE, &[("X-Forwarded-For", "203.0.113.9")]).await.status, 403);
    assert_eq!(http.ask("GET", NODE, &[("Origin", "http://localhost:3000")]).await.status, 403);
    assert_eq!(login(&mut http, "").await.status, 401);
    let other = ServerProcess::start_in("production", &[("CONSOLE_ENABLED", "true"), ("ABLY_LOCAL_KEY", "true")]);
    let refused = Http::connect_to(other.address).await.ask("GET", NODE, &[]).await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("console.password is not set"), "{}", refused.body);
}

/// A port of its own has the console and what its page asks, and the shared port has neither.
#[tokio::test]
async fn it_may_have_a_port_of_its_own() {
    use letshare_server::config::Protocol;
    let server = server(|config| config.console.port = Some(0));
    let address = server.address_of(Protocol::Console);
    assert_ne!(address, server.address);
    let mut own = Http::connect_to(address).await;
    for (path, status) in [("/console", 200), (NODE, 401), ("/metrics", 200), ("/time", 200), ("/readyz", 200)] {
        assert_eq!(own.ask("GET", path, &[]).await.status, status, "{path}");
    }
    let mut shared = Http::connect(&server).await;
    for path in ["/console", NODE] {
        assert_eq!(shared.ask("GET", path, &[]).await.status, 404, "{path}");
    }
    assert_eq!(Operator(&server).ask("GET", "node").await.status, 404);
}
