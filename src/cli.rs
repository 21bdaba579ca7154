//! The command line: `serve` (default), `config check|show`, `data check|compact`,
//! `token mint|static|inspect`, `certificate self-signed`, `health`.
//!
//! Here: arguments and which command runs. Commands write to what they are handed and return an exit
//! code, so tests run them without a process: 0 is good, 1 is told on stderr, 2 is a usage error (clap's).

mod banner;
mod certificate;
mod data;
mod health;
mod serve;
#[cfg(test)]
mod tests;
mod token;

use std::{
    io::{self, Write},
    net::IpAddr,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

pub use banner::{banner, ready_token};

use crate::{
    app::{self, Prepared},
    clock::Clock,
    config::{self, Complaints, Environment, Loaded},
};

/// A self-hosted broker of realtime channels: LetShare rooms and signalling.
#[derive(Parser)]
#[command(name = "letshare-server", version)]
struct Cli {
    #[command(flatten)]
    settings: SettingFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct SettingFlags {
    /// Override a setting, for example --set limits.channels=500 (repeat for more).
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = setting, global = true)]
    set: Vec<(String, String)>,
    /// Short for --set server.host=…
    #[arg(long, global = true)]
    host: Option<IpAddr>,
    /// Short for --set server.port=…
    #[arg(long, global = true)]
    port: Option<u16>,
    /// With MODE=postoffice: which .env/config-<ENV>.json is read; short for POSTOFFICE_ENV=…
    #[arg(long, global = true)]
    env: Option<String>,
    /// With MODE=postoffice: the settings file of the older server; short for POSTOFFICE_CONFIG=…
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<String>,
    /// With MODE=group: the settings file of the older server, etc/websocket.yaml unless it is said; short for GROUP_CONFIG=…
    #[arg(short = 'f', global = true, value_name = "FILE")]
    group_config: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (the default).
    Serve,
    /// Look at the configuration without starting.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look after the data folder while no server uses it.
    #[command(subcommand)]
    Data(data::Command),
    /// Make certificates for TLS.
    #[command(subcommand)]
    Certificate(certificate::Command),
    /// Make and examine tokens.
    #[command(subcommand)]
    Token(token::Command),
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
        pairs.extend(self.host.map(|host| ("server.host".into(), host.to_string())));
        pairs.extend(self.port.map(|port| ("server.port".into(), port.to_string())));
        // Which file of an older server is read.
        for (flag, value) in [("-f", &self.group_config), ("--config", &self.config), ("--env", &self.env)] {
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
    let code = run(&cli, &environment, &Clock::system(), &mut io::stdout().lock(), &mut io::stderr().lock());
    match code {
        // Serving needs stdout for its logs, so it starts when the locks are gone.
        Outcome::Serve(prepared) => match process.and_then(|process| {
            let process = process.map_or_else(serve::Process::begin, Ok)?;
            serve::run(*prepared, &environment, &read_again(&cli, &environment), process)
        }) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(io::stderr(), "letshare-server: {error:#}");
                ExitCode::FAILURE
            }
        },
        Outcome::Done(true) => ExitCode::SUCCESS,
        Outcome::Done(false) => ExitCode::FAILURE,
    }
}

fn read_again(cli: &Cli, environment: &Environment) -> serve::ReadAgain {
    let (environment, flags) = (environment.clone(), cli.settings.pairs());
    Box::new(move || app::load(&environment, &flags, &Clock::system()))
}

/// What is left to do after the arguments were followed.
#[derive(Debug)]
enum Outcome {
    /// Whether all went well; what did not was told.
    Done(bool),
    Serve(Box<Prepared>),
}

fn run(cli: &Cli, environment: &Environment, clock: &Clock, out: &mut dyn Write, err: &mut dyn Write) -> Outcome {
    // A stream that nobody reads any more (`… | head`) is no fault worth an exit code.
    let tell = |stream: &mut dyn Write, text: &str| drop(writeln!(stream, "{}", text.trim_end()));

    // Needs no configuration: one that names the files is at fault until they are there.
    if let Some(Command::Certificate(command)) = &cli.command {
        let made = certificate::run(command, clock);
        match &made {
            Ok(said) => tell(out, said),
            Err(fault) => tell(err, &format!("letshare-server: {fault:#}")),
        }
        return Outcome::Done(made.is_ok());
    }
    let flags = cli.settings.pairs();
    let mut refuse = |complaints: Complaints| {
        tell(err, &format!("letshare-server: {complaints}"));
        Outcome::Done(false)
    };
    // A check is a start that ends before anything is written or opened.
    if cli.will_serve() || matches!(cli.command, Some(Command::Config(ConfigCommand::Check))) {
        let prepared = match app::load(environment, &flags, clock) {
            Ok(prepared) => prepared,
            Err(complaints) => return refuse(complaints),
        };
        if cli.will_serve() {
            return Outcome::Serve(Box::new(prepared));
        }
        for warning in &prepared.loaded.warnings {
            tell(err, &format!("warning: {warning}"));
        }
        tell(out, &format!("the configuration is valid (MODE {})", prepared.loaded.mode));
        return Outcome::Done(true);
    }
    let loaded = match config::load(environment, &flags) {
        Ok(loaded) => loaded,
        Err(complaints) => return refuse(complaints),
    };
    match &cli.command {
        None | Some(Command::Serve | Command::Certificate(_) | Command::Config(ConfigCommand::Check)) => {}
        Some(Command::Config(ConfigCommand::Show)) => tell(out, &show(&loaded)),
        Some(Command::Data(command)) => {
            return match data::run(*command, &loaded.config.data, clock) {
                Ok(said) => {
                    tell(out, &said);
                    Outcome::Done(true)
                }
                Err(faults) => {
                    tell(err, &format!("letshare-server: {faults}"));
                    Outcome::Done(false)
                }
            };
        }
        Some(Command::Token(command)) => {
            let report = token::run(command, &loaded.config, clock);
            tell(out, &report.out);
            if !report.notes.is_empty() {
                tell(err, &report.notes.join("\n"));
            }
            return Outcome::Done(report.good);
        }
        Some(Command::Health { url }) => {
            return match health::ask(&loaded.config, url.as_deref()) {
                Ok(status) => {
                    tell(out, &status);
                    Outcome::Done(true)
                }
                Err(fault) => {
                    tell(err, &format!("letshare-server: {fault}"));
                    Outcome::Done(false)
                }
            };
        }
    }
    Outcome::Done(true)
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
