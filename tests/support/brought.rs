//! `letshare-server import`, run as its operator does, on files in a folder of its own.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

pub struct Brought {
    pub folder: TempDir,
    mode: &'static str,
}

impl Brought {
    /// Files by name and text; the data folder is `data` beside them.
    pub fn new(mode: &'static str, files: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("our folder");
        }
        Self { folder, mode }
    }

    pub fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// Arguments behind `import chat` or `import group`, with words between spaces.
    pub fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_letshare-server"));
        command.current_dir(self.folder.path()).env_clear().env("MODE", self.mode).args(["import", self.mode]);
        command.env("CHAT_JWT_SECRET", crate::chat::house::SECRET).env("LETSHARE_GROUP_MESSAGE_AGE", "0s");
        command.args(arguments.split_whitespace()).output().expect("the program runs")
    }

    /// New, known and bad rows of a run that is good.
    pub fn brings(&self, arguments: &str) -> [u64; 3] {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON where no terminal is");
        ["new", "known", "bad"].map(|name| told[name].as_u64().expect("a count"))
    }

    /// What stderr says of a run that is not.
    pub fn stops(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    }

    pub fn has_data(&self) -> bool {
        Path::new(&self.data()).exists()
    }
}
