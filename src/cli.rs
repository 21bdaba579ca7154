//! The command line: `serve` (default), `config check|show`, `data check|compact`, `import chat|group`,
//! `token mint|static|inspect`, `certificate self-signed`, `health`, `admin …`, `completions`.
//!
//! Here: arguments and which command runs. Commands give a report that is written to the streams, so tests run them
//! without a process. The exit code: 0 is good, 1 is explained on stderr, 2 is a usage error (clap's).

mod admin;
mod banner;
mod certificate;
mod data;
mod health;
mod import;
mod progress;
mod serve;
#[cfg(test)]
mod tests;
mod token;

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand};

pub use banner::{banner, ready_token};
use progress::Form;

use crate::{
    app::{self, Prepared},
    clock::Clock,
    config::{self, Complaints, Environment, Loaded},
};

/// A self-hosted broker of realtime channels, for Ably's SDKs, the LetShare web app and four older WebSocket protocols.
#[derive(Parser)]
#[command(name = "letshare-server", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    settings: SettingFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What is set by other means than flags.
const AFTER_HELP: &str = "\
Settings, the later wins:
  built-in defaults    each key is described in configs/default.yaml
  MODE=<name>          reads configs/<name>.yaml: local (the default), production, relay, postoffice, chat, group
  LETSHARE_<SECTION>_<KEY>=…  for example LETSHARE_SERVER_PORT=9000
  --set section.key=…

Examples:
  letshare-server                               serves on http://127.0.0.1:8080 and prints how to connect
  letshare-server config check                  tells every fault of the settings at once
  letshare-server token mint --user anna        makes a LetShare token
  letshare-server admin connections             shows who is connected
  MODE=production letshare-server serve         serves other machines";

const OF_OLDER_SERVERS: &str = "Options of older servers";

#[derive(Args)]
struct SettingFlags {
    /// Override a setting, for example --set limits.channels=500 (repeat for more).
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = setting, global = true)]
    set: Vec<(String, String)>,
    /// The address to listen on; short for --set server.host=…
    #[arg(long, global = true)]
    host: Option<String>,
    /// The port to listen on: that of the mode, which is server.port but for the older servers.
    #[arg(long, global = true)]
    port: Option<u16>,
    /// A settings file in place of configs/<MODE>.yaml; with MODE=postoffice that of the older server (short for
    /// POSTOFFICE_CONFIG=…).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<String>,
    /// With MODE=postoffice: which .env/config-<ENV>.json is read; short for POSTOFFICE_ENV=…
    #[arg(long, global = true, help_heading = OF_OLDER_SERVERS)]
    env: Option<String>,
    /// With MODE=group: the settings file of the older server, etc/websocket.yaml unless it is said; short for
    /// GROUP_CONFIG=…
    #[arg(short = 'f', global = true, value_name = "FILE", help_heading = OF_OLDER_SERVERS)]
    group_config: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (the default).
    #[command(aliases = ["start", "run"])]
    Serve,
    /// Look at the configuration without starting.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look after the data folder while no server uses it.
    #[command(subcommand)]
    Data(data::Command),
    /// Bring along what an older server has kept: groups, members, messages.
    Import(Box<import::Command>),
    /// Make certificates for TLS.
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// Make and examine tokens.
    #[command(subcommand)]
    Token(token::Command),
    /// See and do what an operator may on a running server, by its admin API.
    Admin(Box<admin::Command>),
    /// Print the completions for a shell, for example `letshare-server completions bash`.
    Completions { shell: clap_complete::Shell },
    /// Ask a running server whether it is well; exit code 0 if so (for HEALTHCHECK).
    Health {
        /// Another server or path than the configured one, as http://host:port/health.
        #[arg(long)]
        url: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum ConfigCommand {
    /// Tell every fault, or that there is none.
    Check,
    /// Print the effective settings and where each comes from; secrets are masked.
    Show,
}

impl Cli {
    const fn will_serve(&self) -> bool {
        matches!(self.command, None | Some(Command::Serve))
    }
}

impl SettingFlags {
    fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = self.set.clone();
        pairs.extend(self.host.iter().map(|host| ("server.host".into(), host.clone())));
        // Which key these stand for depends on the mode.
        let port = self.port.map(|port| port.to_string());
        for (flag, value) in
            [("--port", &port), ("-f", &self.group_config), ("--config", &self.config), ("--env", &self.env)]
        {
            pairs.extend(value.iter().map(|value| (flag.to_owned(), value.clone())));
        }
        pairs
    }
}

fn setting(argument: &str) -> Result<(String, String), String> {
    match argument.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
        None => Err("write it as section.key=value".to_owned()),
    }
}

/// Runs the program with the arguments, variables and streams of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = Environment::of_process();
    // First of all, so that a signal that comes early is heard.
    let process = cli.will_serve().then(serve::Process::begin).transpose();
    // Whatever thread tells how far a command is writes to stderr, so that it is not locked here.
    let outcome = run(&cli, &environment, &Clock::system(), &mut io::stdout().lock(), &mut io::stderr());
    let ended = process.and_then(|process| match (outcome, process) {
        // Serving needs stdout for its logs, so it starts when the locks are gone.
        (Outcome::Serve(prepared), Some(process)) => {
            let flags = cli.settings.pairs();
            let read_again = || app::load(&environment, &flags, &Clock::system());
            serve::run(*prepared, &environment, &read_again, process).map(|()| true)
        }
        (outcome, _) => Ok(matches!(outcome, Outcome::Done(true))),
    });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "letshare-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is left to do after the arguments were followed.
#[derive(Debug)]
enum Outcome {
    /// Whether all went well; what did not is on stderr.
    Done(bool),
    Serve(Box<Prepared>),
}

/// What a command has to say.
struct Report {
    /// For stdout; a token stands alone there, so that scripts can take it.
    out: String,
    /// For stderr.
    notes: Vec<String>,
    good: bool,
}

impl Report {
    fn good(out: impl Into<String>) -> Self {
        Self { out: out.into(), notes: Vec::new(), good: true }
    }

    fn bad(out: impl Into<String>, note: impl Into<String>) -> Self {
        Self { out: out.into(), notes: vec![note.into()], good: false }
    }
}

impl<E: Display> From<Result<String, E>> for Report {
    fn from(outcome: Result<String, E>) -> Self {
        match outcome {
            Ok(out) => Self::good(out),
            Err(fault) => Self::bad("", format!("letshare-server: {fault:#}")),
        }
    }
}

fn run<'a>(
    cli: &Cli,
    environment: &Environment,
    clock: &Clock,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
) -> Outcome {
    let report = if cli.will_serve() {
        match app::load(environment, &cli.settings.pairs(), clock) {
            Ok(prepared) => return Outcome::Serve(Box::new(prepared)),
            Err(complaints) => Err(complaints),
        }
    } else {
        report(cli, environment, clock, out, err)
    };
    let Report { out: said, notes, good } = report.unwrap_or_else(|complaints| Report::from(Err(complaints)));
    // What the command comes to stands last, where both streams go to one terminal: its answer, or why it refuses.
    let (answer, notes) = ((out, said), (err, notes.join("\n")));
    for (stream, text) in if good { [notes, answer] } else { [answer, notes] } {
        if !text.is_empty() {
            // A stream that nobody reads any more (`… | head`) is no fault worth an exit code.
            let _ = writeln!(stream, "{}", text.trim_end());
        }
    }
    Outcome::Done(good)
}

/// Does what a command says, but for serving.
fn report(
    cli: &Cli,
    environment: &Environment,
    clock: &Clock,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Report, Complaints> {
    let flags = cli.settings.pairs();
    let loaded = || config::load(environment, &flags);
    Ok(match &cli.command {
        // Needs no configuration: one that names the files is at fault until they are there.
        Some(Command::Certificate(command)) => certificate::run(command, clock).into(),
        // A check is a start that ends before anything is written or opened.
        None | Some(Command::Serve | Command::Config(ConfigCommand::Check)) => {
            let Loaded { mode, warnings, .. } = app::load(environment, &flags, clock)?.loaded;
            let notes = warnings.iter().map(|warning| format!("warning: {warning}")).collect();
            Report { out: format!("the configuration is valid (MODE {mode})"), notes, good: true }
        }
        Some(Command::Config(ConfigCommand::Show)) => Report::good(show(&loaded()?)),
        Some(Command::Data(command)) => data::run(*command, &loaded()?.config.data, clock, Form::of_process()).into(),
        Some(Command::Import(command)) => import::run(command, &loaded()?.config, clock, Form::of_process(), err),
        Some(Command::Admin(command)) => admin::run(command, &loaded()?.config, out),
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "letshare-server", &mut text);
            Report::good(String::from_utf8_lossy(&text))
        }
        Some(Command::Token(command)) => token::run(command, &loaded()?.config, clock),
        Some(Command::Health { url }) => health::ask(&loaded()?.config, url.as_deref()).into(),
    })
}

/// `1 hour`, `2 hours`.
fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// One line a key, in the order of `configs/default.yaml`.
fn show(loaded: &Loaded) -> String {
    let mut text = format!("# MODE {}\n", loaded.mode);
    for setting in &loaded.settings {
        let line = format!("{} = {}", setting.key, setting.shown);
        text.push_str(&format!("{line:<58} # {}\n", setting.origin));
    }
    text
}
