//! What stands in for `database` in a program that is built without the feature `mongo`: settings that name a MongoDB
//! are refused.

use crate::{clock::Clock, config, store::archive::SharedArchive};

/// Nothing can be set.
pub enum Settings {}

/// Nothing runs.
pub enum Driver {}

/// None: the chat keeps its messages in the data folder.
///
/// # Errors
/// When the settings want a MongoDB.
pub fn settings(chat: &config::Chat) -> Result<Option<Settings>, String> {
    if chat.uses_mongodb() {
        return Err(
            "this program is built without MongoDB: build it with `cargo build --release --features mongo` or use \
                    the image, or leave the MongoDB settings empty to keep messages in the data folder"
                .to_owned(),
        );
    }
    Ok(None)
}

/// Is never called.
pub fn open(settings: Settings, _: &Clock) -> anyhow::Result<(SharedArchive, Driver)> {
    match settings {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, load};

    fn outcome(flags: &[(&str, &str)]) -> Result<bool, String> {
        let flags: Vec<_> = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let loaded = load(&Environment::default(), &flags).expect("valid");
        settings(&loaded.config.chat).map(|settings| settings.is_some())
    }

    #[test]
    fn settings_that_name_a_database_are_refused_with_the_way_out() {
        assert_eq!(outcome(&[]), Ok(false));
        for named in [("chat.mongodb_uri", "mongodb://h:1"), ("chat.mongodb_host", "db.local")] {
            let refusal = outcome(&[named]).expect_err("refused");
            assert!(refusal.contains("--features mongo") && refusal.contains("data folder"), "{refusal}");
        }
    }
}
