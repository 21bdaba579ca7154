//! What the older servers are configured by: a file and variables of their own, each read in its mode only.
//!
//! A row of `tables` has the names of one setting: in the file, as a variable, and here. Their variables win over their
//! file (with the relay it is the other way round), `LETSHARE_…` and flags win over both. Names that mean nothing here
//! are warned of.

mod file;
pub mod production;
mod tables;
#[cfg(test)]
mod tests;

use super::{
    Environment,
    complaint::{Complaint, Notes, Origin},
    layers::{KUBERNETES_LINK, Layer, is_kubernetes_link, kubernetes_link, nearest},
    yaml::Raw,
};
use tables::{OlderServer, SERVERS};

/// The settings of the older server of a mode; of two places the later wins.
pub fn read(environment: &Environment, mode: &str, notes: &mut Notes) -> Vec<Layer> {
    let Some(server) = SERVERS.iter().find(|server| server.mode == mode) else { return Vec::new() };
    let mut layers = [server.file(environment, notes), server.variables(environment, notes)];
    if server.is_lenient {
        layers.reverse();
    }
    for layer in &mut layers {
        // The older PostOffice serves TLS when a port for it is named.
        let origin = server.names.iter().find(|name| name.key == "tls.port").and_then(|name| layer.origin(name.key));
        if let Some(origin) = origin.cloned() {
            layer.set("tls.enabled", Raw::Text("true".into()), origin);
        }
    }
    layers.into()
}

impl OlderServer {
    fn variables(&self, environment: &Environment, notes: &mut Notes) -> Layer {
        let mut layer = Layer::default();
        for (name, text) in &environment.vars {
            let known = self.names.iter().find(|known| known.variable == name);
            let is_ours = self.prefix.is_some_and(|prefix| name.starts_with(prefix));
            match known {
                Some(_) if text.is_empty() && self.is_lenient => {
                    notes.warn(format!("the environment variable {name} is empty; the default counts"));
                }
                _ if text.is_empty() || self.flags.iter().any(|(_, variable)| variable == name) => {}
                Some(_) if is_kubernetes_link(name, text) => notes.fault(kubernetes_link(name)),
                Some(known) => {
                    let value = known.form.of(Raw::Text(text.clone()));
                    layer.set(known.key, value, Origin::Variable(name.clone()));
                }
                None if !is_ours => {}
                None if is_kubernetes_link(name, text) => notes.warn(format!("{name} {KUBERNETES_LINK}")),
                None => {
                    let near = nearest(name, self.names.iter().map(|known| known.variable));
                    notes.warn(format!("the environment variable {name} is no setting of the {}{near}", self.name));
                }
            }
        }
        layer
    }
}

/// The flags whose meaning depends on the mode. `--port` is that of the mode. Those that choose the file of an older
/// server become its variables; those of another mode are refused, because nobody would read what they name. `--config`
/// is the settings file of every other mode. Gives the other flags back.
pub fn mode_flags(
    environment: &Environment,
    flags: &[(String, String)],
    mode: &str,
    notes: &mut Notes,
) -> (Environment, Vec<(String, String)>) {
    let (mut environment, mut others) = (environment.clone(), Vec::new());
    let known = || SERVERS.iter().flat_map(|server| server.flags.iter().map(move |flag| (server.mode, flag)));
    for (name, value) in flags {
        match known().find(|(_, (flag, _))| flag == name) {
            None if name == "--port" => {
                let of_mode = SERVERS.iter().find(|server| server.mode == mode);
                others.push((format!("{}.port", of_mode.map_or("server", |server| server.mode)), value.clone()));
            }
            None => others.push((name.clone(), value.clone())),
            Some((reader, (_, variable))) if reader == mode => {
                environment.vars.insert((*variable).into(), value.clone());
            }
            Some((_, ("--config", _))) => environment.settings_file = Some(environment.dir.join(value)),
            Some((reader, (flag, _))) => {
                let problem =
                    format!("only MODE={reader} reads it, and this is MODE={mode}; set MODE={reader}, or leave it out");
                notes.fault(Complaint::about(*flag, problem).with_value(value.clone()).set_by(Origin::Flag));
            }
        }
    }
    (environment, others)
}

/// What is set for another mode has no effect.
pub fn warn_of_other_modes(environment: &Environment, mode: &str, notes: &mut Notes) {
    for server in SERVERS.iter().filter(|server| server.mode != mode) {
        for name in server.unmistakable.iter().filter(|name| environment.var(name).is_some()) {
            let reader = server.mode;
            notes.warn(format!("the environment variable {name} has no effect: only MODE={reader} reads it"));
        }
    }
}
