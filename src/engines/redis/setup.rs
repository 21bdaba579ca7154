//! How a Redis is set up, as far as it tells, and whether that is enough.

use std::{collections::HashMap, fmt};

use super::{Redis, RedisError, Value, cmd, reply};

/// How safe what was acknowledged is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Until Redis ends, or as it is set up.
    #[default]
    Memory,
    /// On disk.
    Fsync,
    /// In the memory of a replica as well.
    Replicas,
}

/// What a Redis has to be like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    pub durability: Durability,
    /// What it does not tell is as it has to be.
    pub is_trusted: bool,
}

/// What a Redis has told of itself; what it has not told is missing.
struct Setup(HashMap<String, String>);

impl Setup {
    fn read(info: &str) -> Self {
        let pairs = info.lines().filter_map(|line| line.split_once(':'));
        Self(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Why it cannot be relied upon.
    fn fault(&self, needs: Needs) -> Option<String> {
        let wrong = |name: &str, is_right: fn(&str) -> bool, what: &dyn fmt::Display| match self.get(name) {
            Some(value) if is_right(value) => None,
            Some(value) => Some(format!("{what}; its {name} is {value}")),
            None if needs.is_trusted => None,
            None => {
                Some(format!("{what}; it does not tell its {name} (cluster.trust_settings: true takes it to be right)"))
            }
        };
        let is_new = |version: &str| {
            version.split('.').next().is_some_and(|major| major.parse().is_ok_and(|major: u32| major >= 7))
        };
        let durability = needs.durability;
        wrong("redis_version", is_new, &"the redis of the cluster is too old, 7.0 or newer is needed")
            .or_else(|| {
                let what =
                    "the redis of the cluster may evict what was acknowledged, it needs maxmemory-policy noeviction";
                wrong("maxmemory_policy", |policy| policy == "noeviction", &what)
            })
            .or_else(|| {
                let what = "cluster.durability is fsync, for which redis needs appendonly yes and appendfsync always";
                let is_always = || wrong("appendfsync", |when| when == "always", &what);
                let is_due = durability == Durability::Fsync;
                is_due.then(|| wrong("aof_enabled", |is_on| is_on == "1", &what).or_else(is_always)).flatten()
            })
            .or_else(|| {
                let what = "cluster.durability is replicas, and no replica is connected to redis";
                let is_due = durability == Durability::Replicas;
                is_due.then(|| wrong("connected_slaves", |count| count != "0", &what)).flatten()
            })
    }
}

impl Redis {
    /// Why it cannot be relied upon, as it is set up now.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn fault(&self, needs: Needs) -> Result<Option<String>, RedisError> {
        let info = match self.ask("INFO", &cmd("INFO")).await {
            Ok(info) => reply::text(info).ok_or_else(|| self.strange("INFO"))?,
            // It does not tell.
            Err(RedisError::Refused { .. }) => String::new(),
            Err(error) => return Err(error),
        };
        let mut setup = Setup::read(&info);
        if needs.durability == Durability::Fsync {
            let told = match self.ask("CONFIG", cmd("CONFIG").arg("GET").arg("appendfsync")).await {
                Ok(told) => told,
                Err(RedisError::Refused { .. }) => Value::Nil,
                Err(error) => return Err(error),
            };
            setup.0.extend(reply::settings(told).unwrap_or_default());
        }
        Ok(setup.fault(needs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nmaxmemory_policy:noeviction\r\n\
        aof_enabled:1\r\nconnected_slaves:1\r\nappendfsync:always\r\n";

    fn fault(info: &str, durability: Durability, is_trusted: bool) -> String {
        Setup::read(info).fault(Needs { durability, is_trusted }).unwrap_or_default()
    }

    /// `docs/cluster.md`, Durability: row by row.
    #[test]
    fn what_is_not_as_it_has_to_be_is_named() {
        use Durability::{Fsync, Memory, Replicas};
        for durability in [Memory, Fsync, Replicas] {
            assert_eq!(fault(GOOD, durability, false), "");
        }
        let rows = [
            ("redis_version:7.0.15", "redis_version:6.2.6", Memory, "its redis_version is 6.2.6"),
            ("noeviction", "allkeys-lru", Memory, "its maxmemory_policy is allkeys-lru"),
            ("aof_enabled:1", "aof_enabled:0", Fsync, "its aof_enabled is 0"),
            ("fsync:always", "fsync:everysec", Fsync, "its appendfsync is everysec"),
            ("slaves:1", "slaves:0", Replicas, "no replica"),
        ];
        for (right, wrong, durability, told) in rows {
            let info = GOOD.replace(right, wrong);
            let why = fault(&info, durability, true);
            assert!(why.contains(told), "{why}");
            if durability != Memory {
                assert_eq!(fault(&info, Memory, false), "", "nobody asked for it");
            }
        }
    }

    #[test]
    fn what_is_not_told_is_trusted_only_where_the_operator_says_so() {
        for durability in [Durability::Memory, Durability::Fsync, Durability::Replicas] {
            assert_eq!(fault("", durability, true), "");
            assert!(fault("", durability, false).contains("cluster.trust_settings"));
        }
        let silent = GOOD.replace("appendfsync:always", "");
        assert!(fault(&silent, Durability::Fsync, false).contains("does not tell its appendfsync"));
    }
}
