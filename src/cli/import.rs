//! `import chat|group`: what another server has kept is brought along, from files or from MongoDB, while no server uses the
//! data folder. Rows that are there already are left as they are, so that it can be run again.

use std::{collections::BTreeSet, io::Write, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use serde_json::json;

use super::{
    Report,
    progress::{Form, Progress},
};
use crate::{
    app::import::{Destination, Protocol},
    clock::Clock,
    config::Config,
    limits,
    store::import::{Importer, Kind, Outcome, Place, Record, Source, files},
};

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Command {
    protocol: Protocol,
    /// Groups (repeat for more files).
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["members", "messages", "participants", "mongodb"]
    )]
    groups: Vec<PathBuf>,
    /// Who is in which group.
    #[arg(long, value_name = "FILE")]
    members: Vec<PathBuf>,
    /// Messages, of groups and between two users.
    #[arg(long, value_name = "FILE")]
    messages: Vec<PathBuf>,
    /// Chat: who may read what was said in a group that is in no row of --groups.
    #[arg(long, value_name = "FILE")]
    participants: Vec<PathBuf>,
    /// The collections of that name of a database, as mongodb://user:password@host:27017/database, or a file that holds
    /// that.
    #[arg(long, value_name = "URI or FILE")]
    mongodb: Option<String>,
    /// Judge every row and write nothing. Exit code 1 when one is bad.
    #[arg(long)]
    dry_run: bool,
    /// Leave bad rows out, and go on.
    #[arg(long)]
    skip_bad: bool,
    /// The zone of times that do not say theirs, for example Asia/Shanghai.
    #[arg(long, default_value = "UTC", value_parser = zone)]
    timezone: TimeZone,
}

const AFTER_HELP: &str = "\
Files are CSV with the names of the columns in the first line, or JSON, one object a line (mongoexport). Columns:
  chat  --groups        group_id, name, owner_id, member_ids, description, created_at
        --members       group_id, user_id
        --participants  group_id, user_ids
        --messages      message_id, room_id, from_user_id, to_user_id, message_type, content, created_at
  group --groups        group_id, name, owner_id, member_ids, created_at
        --members       group_id, user_id, name, avatar, joined_at
        --messages      message_id, group_id, sender_id, sender_name, msg_type, content, image_url, created_at
Other usual names work as well (_id, id); columns that are not read are told at the end.

Use the settings that the server will have: MODE=chat or MODE=group. A server that runs has to be stopped before.

Exit codes: 0 all rows are there now, or were skipped as asked, 1 stopped (the reason is on stderr; what came before it
stays), 2 the arguments are wrong.

Examples:
  MODE=chat letshare-server import chat --messages messages.jsonl --dry-run
  MODE=chat letshare-server import chat --groups groups.csv --members members.csv --messages messages.csv
  MODE=chat letshare-server import chat --mongodb mongodb://127.0.0.1:27017/zulme
  MODE=group letshare-server import group --groups groups.csv --members members.csv --messages messages.csv \\
      --timezone Asia/Shanghai --skip-bad";

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| "no such zone; an example is Asia/Shanghai".to_owned())
}

/// What became of the rows.
#[derive(Default)]
struct Tally {
    new: u64,
    known: u64,
    too_old: u64,
    bad: u64,
    /// Columns that nothing reads.
    ignored: BTreeSet<String>,
}

pub(super) fn run(command: &Command, config: &Config, clock: &Clock, form: Form, err: &mut dyn Write) -> Report {
    bring(command, config, clock, form, err).map_err(|error| format!("{error:#}")).into()
}

/// What there is to say on stdout.
fn bring(command: &Command, config: &Config, clock: &Clock, form: Form, err: &mut dyn Write) -> anyhow::Result<String> {
    let mut sources = command.files()?;
    let zone = command.timezone.clone();
    let mut to = Destination::open(command.protocol, config, zone, clock, command.dry_run)?;
    let mut tally = Tally::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut told = Told { form, clock, err, tally: &mut tally };
    let mut carry_all = || {
        for kind in Kind::ALL {
            let of_kind: Vec<Source> = sources.extract_if(.., |source| source.kind == kind).collect();
            let stored = command.collection(kind, &*to.importer)?;
            for source in of_kind.into_iter().chain(stored) {
                carry(command, source, &mut *to.importer, &runtime, &mut told)?;
            }
        }
        anyhow::Ok(())
    };
    let carried = carry_all();
    let name = to.name.clone();
    to.close()?;
    carried.with_context(|| format!("stopped; what was brought along before stays. {}", tally.sentence()))?;
    if command.dry_run && tally.bad > 0 {
        bail!("nothing was written. {}", tally.sentence());
    }
    Ok(match form {
        Form::Lines => tally.json(&name, command.dry_run),
        Form::Bar if command.dry_run => format!("{name} would be written to, and was not: {}", tally.sentence()),
        Form::Bar => format!("{name}: {}", tally.sentence()),
    })
}

impl Command {
    /// All that are named, open: one that cannot be read stops it before anything is written.
    fn files(&self) -> anyhow::Result<Vec<Source>> {
        if self.protocol == Protocol::Group && !self.participants.is_empty() {
            bail!("--participants is for chats; who may read what was said in a group are its --members");
        }
        let named = [
            (Kind::Groups, &self.groups),
            (Kind::Members, &self.members),
            (Kind::Participants, &self.participants),
            (Kind::Messages, &self.messages),
        ];
        let paths = named.into_iter().flat_map(|(kind, paths)| paths.iter().map(move |path| files::open(kind, path)));
        paths.collect::<Result<_, _>>().map_err(anyhow::Error::msg)
    }

    /// Of the database, if one is named.
    fn collection(&self, kind: Kind, importer: &dyn Importer) -> anyhow::Result<Option<Source>> {
        let Some(named) = self.mongodb.as_ref().filter(|_| !importer.columns(kind).is_empty()) else {
            return Ok(None);
        };
        let uri = if named.contains("://") {
            named.clone()
        } else {
            std::fs::read_to_string(named).with_context(|| format!("{named} cannot be read"))?.trim().to_owned()
        };
        of_mongodb(SecretString::from(uri), kind).map(Some)
    }
}

#[cfg(feature = "mongo")]
fn of_mongodb(uri: SecretString, kind: Kind) -> anyhow::Result<Source> {
    crate::store::archive::mongo::collection(uri, kind).map_err(anyhow::Error::msg)
}

#[cfg(not(feature = "mongo"))]
fn of_mongodb(_: SecretString, _: Kind) -> anyhow::Result<Source> {
    bail!("this program was built without MongoDB: cargo build --release --features mongo, or use the image")
}

/// Where it is told how far it is and what is wrong.
struct Told<'t> {
    form: Form,
    clock: &'t Clock,
    err: &'t mut dyn Write,
    tally: &'t mut Tally,
}

/// Brings the rows of one source along.
fn carry(
    command: &Command,
    source: Source,
    importer: &mut dyn Importer,
    runtime: &tokio::runtime::Runtime,
    told: &mut Told<'_>,
) -> anyhow::Result<()> {
    let Source { kind, total, mut rows } = source;
    let mut progress = Progress::new(told.form, kind.name(), total, told.clock.uptime());
    let columns = importer.columns(kind).concat();
    loop {
        let (mut places, mut records, mut done, mut is_over): (Vec<Place>, Vec<Record>, _, _) =
            (Vec::new(), Vec::new(), 0, false);
        let mut first_bad = None;
        while records.len() < limits::IMPORT_ROWS {
            let Some(row) = rows.next() else {
                is_over = true;
                break;
            };
            let row = row.map_err(anyhow::Error::msg)?;
            done = row.done;
            match row.record {
                Ok(record) => {
                    let unread = record.columns().filter(|name| !columns.contains(name));
                    told.tally.ignored.extend(unread.map(|name| format!("{name} of {}", kind.name())));
                    places.push(row.place);
                    records.push(record);
                }
                Err(reason) => {
                    told.bad(&mut progress, &row.place, &reason);
                    first_bad.get_or_insert(row.place);
                    if !command.goes_on() {
                        break;
                    }
                }
            }
        }
        let outcomes = runtime.block_on(importer.put(kind, &records))?;
        for (place, outcome) in places.into_iter().zip(outcomes) {
            match outcome {
                Outcome::New => told.tally.new += 1,
                Outcome::Known => told.tally.known += 1,
                Outcome::TooOld => told.tally.too_old += 1,
                Outcome::Bad(reason) => {
                    told.bad(&mut progress, &place, &reason);
                    first_bad.get_or_insert(place);
                }
            }
        }
        if let Some(place) = first_bad.filter(|_| !command.goes_on()) {
            progress.clear(told.err);
            bail!("{place} is bad; mend it and run this again, or leave bad rows out by --skip-bad");
        }
        if is_over {
            progress.clear(told.err);
            return Ok(());
        }
        progress.tell(done, &told.tally.sentence(), told.clock.uptime(), told.err);
    }
}

impl Command {
    const fn goes_on(&self) -> bool {
        self.skip_bad || self.dry_run
    }
}

impl Told<'_> {
    fn bad(&mut self, progress: &mut Progress, place: &Place, reason: &str) {
        self.tally.bad += 1;
        if self.tally.bad > limits::IMPORT_TOLD {
            return;
        }
        progress.clear(self.err);
        // As with all that is written to stderr: nobody may be reading.
        let _ = match self.form {
            Form::Bar => writeln!(self.err, "{place}: {reason}"),
            Form::Lines => writeln!(self.err, "{}", json!({"bad": place.to_string(), "reason": reason})),
        };
        if self.tally.bad == limits::IMPORT_TOLD {
            let _ = writeln!(self.err, "more bad rows are counted, and not told one by one");
        }
    }
}

impl Tally {
    fn sentence(&self) -> String {
        let Self { new, known, too_old, bad, ignored } = self;
        let mut text = format!("{new} new, {known} there already, {bad} bad");
        if *too_old > 0 {
            text += &format!(
                ", {too_old} left out because they are older than group.message_age or chat.retention_days keeps them"
            );
        }
        if !ignored.is_empty() {
            let names: Vec<&str> = ignored.iter().map(String::as_str).collect();
            text += &format!("; not read: {}", names.join(", "));
        }
        text
    }

    fn json(&self, destination: &str, is_dry: bool) -> String {
        let Self { new, known, too_old, bad, ignored } = self;
        let counts = json!({"destination": destination, "dry_run": is_dry, "new": new, "known": known, "bad": bad,
            "too_old": too_old, "columns_not_read": ignored});
        counts.to_string()
    }
}
