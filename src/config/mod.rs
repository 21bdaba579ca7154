//! The settings of the server, typed. What each key means, its default and the values that it takes stand in one row
//! (`keys`); `configs/default.yaml` is made from those.
//!
//! `load` reads them (defaults < `configs/$MODE.yaml` < files and variables of an older server < environment < flags),
//! `kind` judges each value, `check` those that must agree. Settings are handed to each part at construction; there are
//! no globals.

mod chat;
mod check;
mod cluster;
mod complaint;
mod group;
mod keys;
mod kind;
mod layers;
mod listeners;
mod load;
mod older;
mod postoffice;
mod process;
mod relay;
mod reload;
mod secrets;
mod settings_file;
#[cfg(test)]
mod tests;
mod text_file;
mod traffic;
mod yaml;

pub use chat::{Chat, ChatCompat, Moderated, UnknownGroup};
pub use cluster::{Cluster, Durability, Engine};
pub use complaint::{Complaint, Complaints, Origin, masked};
pub use group::{AckMode, Group, Membership};
pub use listeners::{ABLY_ROOTS, Listener, Protocol, Route};
pub use load::{Draft, Environment, Loaded, Setting, load, read};
pub use postoffice::{FromCheck, OfflineLetters, PostOffice, PostOfficeAuth, PostOfficeErrors, Validation};
pub use process::{Auth, AuthMode, Console, Cors, Data, Jwt, Log, Server, Shutdown, Tls};
pub use relay::{Identify, Relay, UnresolvedToken};
pub use reload::Change;
pub use secrets::GROUP_SAMPLE_SECRET;
pub use secrets::is_published;
pub use settings_file::{edited_defaults, unused_files};
#[cfg(test)]
pub use tests::fixtures;
pub use text_file::{FileFaults, Problem, read_bytes, read_text};
pub use traffic::{Ably, FileTransfer, History, LetShare, Limits, WebSocket};

use keys::Key;
use kind::Kind;

/// Everything that an operator can set: `field: Section`, in the order of `configs/default.yaml`.
macro_rules! sections {
    ($($field:ident: $Section:ident $(and $more:path)?,)+) => {
        #[derive(Debug, Clone, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Config {
            /// Allows published default secrets and short secrets on addresses other than loopback.
            pub allow_insecure: bool,
            $(pub $field: $Section,)+
        }

        /// The keys of each section.
        const TABLES: &[&[Key]] = &[&[ALLOW_INSECURE], $($Section::KEYS, $($more,)?)+];

        impl Config {
            /// Takes over what takes effect without a restart.
            fn adopt(&mut self, new: &Self) {
                $(self.$field.adopt(&new.$field);)+
            }
        }
    };
}

const ALLOW_INSECURE: Key = Key {
    name: "allow_insecure",
    kind: Kind::Switch,
    default: "false",
    is_reloadable: false,
    #[cfg(test)]
    text: &[
        " Accept published or short secrets although other machines can reach the server. For throw-away set-ups only.",
    ],
};

sections! {
    server: Server,
    tls: Tls and process::IGNORED,
    auth: Auth,
    jwt: Jwt,
    cors: Cors,
    log: Log,
    websocket: WebSocket,
    letshare: LetShare,
    ably: Ably,
    file_transfer: FileTransfer,
    limits: Limits,
    history: History,
    console: Console,
    shutdown: Shutdown,
    data: Data,
    cluster: Cluster,
    relay: Relay,
    postoffice: PostOffice,
    chat: Chat,
    group: Group,
}
