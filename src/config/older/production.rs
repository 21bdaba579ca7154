//! LetShare's own older `configs/production.yaml`.

use std::{collections::BTreeSet, net::Ipv4Addr};

use crate::config::{
    Config, Environment, Origin, Setting,
    check::Verdict,
    complaint::{Complaint, Notes},
    layers::Layer,
    load::shipped,
};

pub const MODE: &str = "production";

/// The older server had no `server.host`: it listened on every address, and so does a `production.yaml` of its time, as
/// the profile of today does, provided that everything is as safe as that wants it. If not, this machine alone can
/// reach the server, with a warning.
pub fn adopt(
    config: &mut Config,
    settings: &mut [Setting],
    unread: &BTreeSet<&'static str>,
    environment: &Environment,
) -> Option<String> {
    let file = environment.mode_file(MODE);
    let host = settings.iter().position(|setting| setting.key == "server.host")?;
    if !file.is_file() || settings.get(host)?.origin != Origin::Default {
        return None;
    }
    let mut open = config.clone();
    open.server.host = Ipv4Addr::UNSPECIFIED.into();
    let faults = |config: &Config| -> Vec<Complaint> { Verdict::new(config, settings, unread).judge().faults };
    let known = faults(config);
    let new = faults(&open).into_iter().filter(|fault| !known.contains(fault));
    let in_the_way: Vec<_> = new.map(|fault| fault.subject).collect();
    if in_the_way.is_empty() {
        *config = open;
        let shipped = Layer::file(shipped(MODE)?, &file, true, &mut Notes::default());
        let setting = settings.get_mut(host)?;
        setting.shown = config.server.host.to_string();
        setting.origin = shipped.origin("server.host")?.clone();
        return None;
    }
    Some(format!(
        "{} has no server.host, and the server listens on {} only: other machines cannot reach it. The older server \
         listened on every address, and so would this one, but for {}; set server.host to 0.0.0.0 to be told what is wrong",
        file.display(),
        config.server.host,
        in_the_way.join(", ")
    ))
}
