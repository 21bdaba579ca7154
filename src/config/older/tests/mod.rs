//! The files of the older servers.

mod chat;
mod group;
mod postoffice;

use tempfile::TempDir;

use crate::config::{Environment, Loaded, load};

/// Where an older server is started: its folder with its files, and its variables.
struct Place {
    environment: Environment,
    folder: TempDir,
}

impl Place {
    fn new(mode: &str, folder: TempDir) -> Self {
        let vars = [("MODE".to_owned(), mode.to_owned())].into();
        Self { environment: Environment { vars, dir: folder.path().to_owned(), ..Environment::default() }, folder }
    }

    fn var(mut self, name: &str, value: &str) -> Self {
        self.environment.vars.insert(name.into(), value.into());
        self
    }

    fn loaded(&self) -> Loaded {
        load(&self.environment, &[]).unwrap_or_else(|complaints| panic!("{complaints}"))
    }

    fn complaints(&self) -> String {
        load(&self.environment, &[]).expect_err("a fault").to_string()
    }
}
