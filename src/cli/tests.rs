//! Commands as typed, with injected variables, clock and streams.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{io::Read as _, net::TcpListener, thread, time::Duration};

use super::*;
use crate::ids::Timestamp;

mod faults;

struct Said {
    good: bool,
    out: String,
    err: String,
}

fn environment(vars: &[(&str, &str)]) -> (tempfile::TempDir, Environment) {
    let folder = tempfile::tempdir().unwrap();
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment = Environment { vars: vars.collect(), dir: folder.path().to_owned(), ..Environment::default() };
    (folder, environment)
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(1_735_689_600_000))
}

fn say(arguments: &[&str], vars: &[(&str, &str)], clock: &Clock) -> Said {
    let (_folder, environment) = environment(vars);
    let cli = Cli::try_parse_from([&["letshare-server"], arguments].concat()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let good = match run(&cli, &environment, clock, &mut out, &mut err) {
        Outcome::Done(good) => good,
        Outcome::Serve(_) => panic!("serves"),
    };
    Said { good, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

#[test]
fn the_arguments_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn serving_is_the_default_and_flags_reach_the_settings() {
    for arguments in [
        vec!["letshare-server", "--port", "9", "--set", "log.level=warn", "--host", "::1"],
        vec!["letshare-server", "serve", "--set", "log.level=warn", "--port=9", "--host=::1"],
    ] {
        let (_folder, environment) = environment(&[]);
        let cli = Cli::try_parse_from(arguments).unwrap();
        let outcome = run(&cli, &environment, &clock(), &mut io::sink(), &mut io::sink());
        let Outcome::Serve(prepared) = outcome else {
            panic!("{outcome:?}");
        };
        let loaded = prepared.loaded;
        assert_eq!(loaded.config.server.port, 9);
        assert_eq!(loaded.config.server.host.to_string(), "::1");
        assert_eq!(loaded.config.log.level, "warn");
    }
    assert!(Cli::try_parse_from(["letshare-server", "--set", "log.level"]).is_err());
}

#[test]
fn config_check_tells_warnings_or_every_fault() {
    let said = say(&["config", "check"], &[], &clock());
    assert!(said.good && said.out.contains("valid (MODE local)"), "{}", said.out);
    // findings N1: one line for all of them.
    assert_eq!(said.err.matches("warning: ").count(), 1, "{}", said.err);
    assert!(said.err.contains("published secrets in use: auth.secret, jwt.secret. Fine on 127.0.0.1"), "{}", said.err);

    let said = say(&["config", "check"], &[("MODE", "production")], &clock());
    assert!(!said.good && said.out.is_empty());
    assert!(said.err.contains("2 faults") && said.err.contains("openssl rand"), "{}", said.err);
}

/// What the command comes to is the last line, not above the warnings.
#[test]
fn the_verdict_stands_below_the_warnings() {
    #[derive(Clone, Default)]
    struct Terminal(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let (_folder, environment) = environment(&[]);
    let cli = Cli::try_parse_from(["letshare-server", "config", "check"]).unwrap();
    let terminal = Terminal::default();
    run(&cli, &environment, &clock(), &mut terminal.clone(), &mut terminal.clone());
    let text = String::from_utf8(terminal.0.take()).unwrap();
    assert!(text.starts_with("warning: ") && text.ends_with("the configuration is valid (MODE local)\n"), "{text}");
}

#[test]
fn config_show_names_origins_and_masks_secrets() {
    let secret = "canary-secret-canary-secret-canary";
    let vars = [("LETSHARE_JWT_SECRET", secret), ("LETSHARE_SERVER_PORT", "81")];
    let said = say(&["config", "show"], &vars, &clock());
    assert!(said.good);
    assert!(!said.out.contains(secret));
    let line = |key: &str| said.out.lines().find(|line| line.starts_with(key)).unwrap();
    assert!(line("jwt.secret").contains("****** (34 bytes)"));
    assert!(line("server.port = 81").ends_with("# environment variable LETSHARE_SERVER_PORT"));
    assert!(line("log.level = debug").contains("local.yaml:"));
    assert!(line("limits.channels = 100000").ends_with("# built-in default"));
}

#[test]
fn a_minted_token_is_inspected_until_it_expires() {
    let clock = clock();
    let mint = ["token", "mint", "--user", "小明", "--room", "demo1", "--hours", "2"];
    let minted = say(&mint, &[], &clock);
    assert!(minted.good && minted.err.contains("2 hours"), "{}", minted.err);
    let token = minted.out.trim();
    assert_eq!(token.split('.').count(), 3);

    let said = say(&["token", "inspect", token], &[], &clock);
    assert!(said.good, "{}", said.err);
    assert!(said.out.contains("yes, until 2025-01-01 02:00 UTC (2 hours left)"), "{}", said.out);
    assert!(said.out.contains("\"room_id\": \"demo1\""), "{}", said.out);

    let other = [("LETSHARE_JWT_SECRET", "quite another secret of more than 32 bytes")];
    let said = say(&["token", "inspect", token], &other, &clock);
    assert!(!said.good && said.err.contains("another secret"), "{}", said.err);
    assert!(said.out.contains("小明"), "{}", said.out);

    let said = say(&["token", "inspect", token, "--set", "auth.mode=static"], &[], &clock);
    assert!(!said.good, "{}", said.out);

    clock.advance(Duration::from_secs(7_201));
    let said = say(&["token", "inspect", token], &[], &clock);
    assert!(!said.good && said.err.contains("(1 second ago)"), "{}", said.err);
    // findings P15: clocks may be off, so the server lets it in a little longer, and says so.
    assert!(said.err.contains("for 29 seconds more (auth.clock_leeway)"), "{}", said.err);
    clock.advance(Duration::from_secs(29));
    let said = say(&["token", "inspect", token], &[], &clock);
    assert!(said.err.contains("(30 seconds ago)") && !said.err.contains("more"), "{}", said.err);
}

#[test]
fn the_static_token_is_printed_and_recognised() {
    let token = say(&["token", "static"], &[], &clock()).out.trim().to_owned();
    assert!(token.starts_with("98d9a399") && token.ends_with("5652"), "{token}");
    let said = say(&["token", "inspect", &token], &[], &clock());
    assert!(said.good && said.out.contains("static"), "{}", said.out);
    let jwt_only = ["--set", "auth.mode=jwt"];
    assert!(!say(&[&["token", "static"], &jwt_only[..]].concat(), &[], &clock()).good);
    let said = say(&[&["token", "inspect", &token], &jwt_only[..]].concat(), &[], &clock());
    assert!(!said.good && said.err.contains("auth.mode is jwt"), "{}", said.err);
}

#[test]
fn what_is_no_token_is_told() {
    for bad in ["", "x", "a.b.c", "....", "令牌"] {
        let said = say(&["token", "inspect", bad], &[], &clock());
        assert!(!said.good && said.err.contains("valid:  no"), "{bad:?}: {}", said.err);
    }
    assert!(!say(&["token", "mint", "--user", ""], &[], &clock()).good);
    // findings N14.
    for hours in ["0", "1h", "-1", "87601"] {
        let fault = Cli::try_parse_from(["x", "token", "mint", "--user", "a", &format!("--hours={hours}")]);
        assert!(fault.err().unwrap().to_string().contains("write whole hours, such as 24"));
    }
}

#[test]
fn the_banner_has_the_two_lines_and_a_token_that_works() {
    let mut config = crate::config::Config::for_tests();
    for mode in [config::AuthMode::Both, config::AuthMode::Static, config::AuthMode::Jwt] {
        config.auth.mode = mode;
        let token = ready_token(&config, &clock()).unwrap();
        let text = banner(&config, "0.0.0.0:8080".parse().unwrap(), None, &token, None);
        assert!(text.contains("customServerUrl  ws://127.0.0.1:8080\n"), "{text}");
        assert!(text.contains(&format!("authToken        {token}\n")), "{text}");
        assert_eq!(text.contains("guest"), mode == config::AuthMode::Jwt, "{text}");
        let authenticator = crate::auth::Authenticator::new(&config, clock());
        assert!(authenticator.authenticate(&token, Some("guest:x1y2z3")).is_ok());
    }
    let text = banner(&config, "[::]:9".parse().unwrap(), None, "t", None);
    assert!(text.contains("ws://[::1]:9\n"), "{text}");
}

/// findings N9: what was made is told whole.
#[test]
fn the_confirmation_says_what_the_token_says_and_who_trusts_it() {
    let said = say(&["token", "mint", "--user", "anna", "--room", "r1", "--hours", "1"], &[], &clock());
    assert!(said.err.contains("valid for 1 hour, for the user \"anna\", in the room \"r1\" only"), "{}", said.err);
    assert!(said.err.contains("published jwt.secret"), "{}", said.err);
    let own = [("LETSHARE_JWT_SECRET", "a-secret-of-our-own-that-nobody-else-knows")];
    let said = say(&["token", "mint", "--user", "anna"], &own, &clock());
    assert!(said.err.contains("in every room") && !said.err.contains("published"), "{}", said.err);
}

/// findings N10: a token is recognised however it was pasted, and when it ended is a date.
#[test]
fn pasted_tokens_are_recognised() {
    let clock = clock();
    let token = say(&["token", "mint", "--user", "anna", "--hours", "1"], &[], &clock).out.trim().to_owned();
    for pasted in [format!("  {token}\n"), format!("Bearer {token}"), format!("Bearer   {token} ")] {
        let said = say(&["token", "inspect", &pasted], &[], &clock);
        assert!(said.good && said.out.contains("until 2025-01-01 01:00 UTC (60 minutes left)"), "{}", said.out);
    }
    clock.advance(Duration::from_secs(3 * 31_536_000));
    let said = say(&["token", "inspect", &token], &[], &clock);
    assert!(said.err.contains("expired 2025-01-01 01:00 UTC (3 years ago)"), "{}", said.err);
    let said = say(&["token", "inspect", "shared.local:secret"], &[], &clock);
    assert!(!said.good && said.out.contains("Ably key shared.local") && !said.out.contains("secret"), "{}", said.out);
}

/// findings N2: what another mode reads is refused with its name; a settings file can be named in every mode.
#[test]
fn flags_of_another_mode_are_refused_and_any_mode_takes_a_settings_file() {
    for (flag, reader) in [("-f", "group"), ("--env", "postoffice")] {
        let said = say(&["config", "check", flag, "x"], &[], &clock());
        assert!(!said.good && said.err.contains(&format!("only MODE={reader} reads it")), "{}", said.err);
    }
    let said = say(&["config", "check", "--config", "missing.yaml"], &[], &clock());
    assert!(!said.good && said.err.contains("--config") && said.err.contains("missing.yaml"), "{}", said.err);
    let (folder, environment) = environment(&[]);
    std::fs::write(folder.path().join("own.yaml"), "limits:\n  channels: 777\n").unwrap();
    let cli = Cli::try_parse_from(["x", "config", "show", "--config", "own.yaml"]).unwrap();
    let mut out = Vec::new();
    run(&cli, &environment, &clock(), &mut out, &mut io::sink());
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("limits.channels = 777") && out.contains("own.yaml:2"), "{out}");
}

/// findings N8: a profile has one port, and `--port` is that.
#[test]
fn the_port_of_a_mode_is_set_by_its_flag() {
    for (mode, key) in [("local", "server.port"), ("relay", "relay.port"), ("postoffice", "postoffice.port")] {
        let said = say(&["config", "show", "--port", "4711"], &[("MODE", mode)], &clock());
        assert!(said.out.contains(&format!("{key} = 4711")), "{}", said.out);
    }
}

/// findings N13: what people type first is understood, or they are told what to type.
#[test]
fn what_people_mistype_is_understood() {
    for word in ["serve", "start", "run"] {
        let cli = Cli::try_parse_from(["x", word, "--host", "localhost"]).unwrap();
        assert!(cli.will_serve());
        assert!(app::load(&environment(&[]).1, &cli.settings.pairs(), &clock()).is_ok());
    }
    for (name, meant) in [("LETSHARE_MODE", "MODE"), ("LETSHARE_PORT", "LETSHARE_SERVER_PORT")] {
        let said = say(&["config", "check"], &[(name, "9")], &clock());
        assert!(said.err.contains(&format!("did you mean {meant}?")), "{}", said.err);
    }
    let help = Cli::command().render_long_help().to_string();
    for told in ["Ably", "MODE=", "configs/", "LETSHARE_<SECTION>_<KEY>"] {
        assert!(help.contains(told), "{told} is not in {help}");
    }
}

/// A server that answers one request with `reply`.
fn answering(reply: &'static str) -> (u16, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let request = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        stream.write_all(reply.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (port, request)
}

#[test]
fn health_asks_the_configured_server_and_wants_200() {
    for (reply, good) in [
        ("HTTP/1.1 200 OK\r\n\r\n{}", true),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false),
        ("SSH-2.0-200\r\n", false),
        ("", false),
    ] {
        let (port, request) = answering(reply);
        // 0.0.0.0 is no address to connect to.
        let port = port.to_string();
        let arguments = ["health", "--port", &port, "--host", "0.0.0.0"];
        let said = say(&arguments, &[("LETSHARE_ALLOW_INSECURE", "true")], &clock());
        assert_eq!(said.good, good, "{reply:?}: {}", said.err);
        assert_eq!(said.out.contains("/health: healthy"), good, "{}", said.out);
        let request = request.join().unwrap();
        assert!(request.starts_with("GET /health HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("Host: 127.0.0.1:{port}\r\n")), "{request}");
    }
    let (port, request) = answering("HTTP/1.1 200 OK\r\n\r\n");
    let url = format!("http://127.0.0.1:{port}/ready");
    assert!(say(&["health", "--url", &url], &[], &clock()).good);
    assert!(request.join().unwrap().starts_with("GET /ready "));
}

#[test]
fn health_says_why_not() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    for (arguments, reason) in [
        (vec!["health", "--port", &unused], "no answer from 127.0.0.1"),
        (vec!["health", "--port", "0"], "name it with --url"),
        (vec!["health", "--url", "https://127.0.0.1/health"], "--url must look like"),
        (vec!["health", "--url", "nonsense"], "--url must look like"),
    ] {
        let said = say(&arguments, &[], &clock());
        assert!(!said.good && said.err.contains(reason), "{arguments:?}: {}", said.err);
    }
}

/// A closed data folder with a row in it, and the flag that names it.
fn data_folder() -> (tempfile::TempDir, String) {
    use crate::store::folder::{DataFolder, Terms};
    let folder = tempfile::tempdir().unwrap();
    let terms = Terms { cache_bytes: 1 << 20, verify_bytes: 1 << 20 };
    let data = DataFolder::open(folder.path(), terms, clock()).unwrap();
    for _ in 0..20 {
        let write = |rows: &mut crate::store::engine::Writing<'_>| {
            let large = vec![1; 100_000];
            rows.put(crate::store::engine::ROWS, b"t\0k", &large)
        };
        data.engine().write(0, Box::new(write)).unwrap();
    }
    data.close().unwrap();
    let flag = format!("--set=data.dir={}", folder.path().display());
    (folder, flag)
}

#[test]
fn data_is_checked_and_compacted() {
    let (folder, flag) = data_folder();
    let file = folder.path().join("letshare.redb");
    let said = say(&["data", "check", &flag], &[], &clock());
    assert!(said.good, "{}", said.err);
    assert!(said.out.contains("is whole"), "{}", said.out);
    assert!(said.out.contains("0 channels with 0 entries of 0 bytes, 1 other row,"), "{}", said.out);

    let before = std::fs::metadata(&file).unwrap().len();
    let said = say(&["data", "compact", &flag], &[], &clock());
    assert!(said.good, "{}", said.err);
    assert!(std::fs::metadata(&file).unwrap().len() < before);
    assert!(say(&["data", "check", &flag], &[], &clock()).good);
}

/// findings S4: what others can read is told, with the way out, and a start takes it away.
#[test]
fn data_that_others_can_read_is_told() {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use crate::store::folder::{DataFolder, Terms};
    let (folder, flag) = data_folder();
    let file = folder.path().join("letshare.redb");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    for (path, mode) in [(folder.path(), 0o755), (&file, 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let said = say(&["data", "check", &flag], &[], &clock());
    assert!(!said.good);
    for told in ["is whole", "has mode 0755", "letshare.redb has mode 0644", "chmod -R go= "] {
        assert!(said.err.contains(told), "{told} is not in {}", said.err);
    }
    assert_eq!(mode(&file), 0o644, "it was only looked at");
    let terms = Terms { cache_bytes: 1 << 20, verify_bytes: 1 << 20 };
    DataFolder::open(folder.path(), terms, clock()).unwrap().close().unwrap();
    assert_eq!((mode(folder.path()), mode(&file)), (0o700, 0o600));
    let said = say(&["data", "check", &flag], &[], &clock());
    assert!(said.good, "{}", said.err);
}

#[test]
fn damaged_and_missing_data_is_told() {
    let (folder, flag) = data_folder();
    let file = folder.path().join("letshare.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    let places: Vec<_> = (0..bytes.len() - 50_000)
        .step_by(10_000)
        .filter(|place| bytes[*place..*place + 30_000] == [1; 30_000])
        .collect();
    for place in places {
        bytes[place + 7] ^= 2;
    }
    std::fs::write(&file, &bytes).unwrap();
    for command in ["check", "compact"] {
        let said = say(&["data", command, &flag], &[], &clock());
        assert!(!said.good);
        assert!(said.err.contains("backup"), "{}", said.err);
        assert!(said.err.contains("table rows"), "{}", said.err);
    }
    // It was only looked at.
    assert_eq!(std::fs::read(&file).unwrap(), bytes);

    std::fs::remove_file(&file).unwrap();
    let said = say(&["data", "check", &flag], &[], &clock());
    assert!(said.err.contains("data.dir"), "{}", said.err);
}

/// docs/protocols/postoffice.md §1: `--env` and `--config` choose the older server's file.
#[test]
fn the_settings_file_of_the_older_post_office_is_chosen_by_flags() {
    let mode = [("MODE", "postoffice")];
    let said = say(&["config", "check", "--env", "zhycit"], &mode, &clock());
    assert!(!said.good);
    assert!(said.err.contains("config-zhycit.json"), "{}", said.err);
    let said = say(&["config", "check", "--config", "own.json"], &mode, &clock());
    assert!(!said.good);
    assert!(
        said.err.contains("own.json: cannot be read") || said.err.contains("own.json\n     problem: cannot be read"),
        "{}",
        said.err
    );
}
