//! The file of addresses that are refused (`group.blacklist_file`): one network a line; what follows `#` is for people.

use std::{net::IpAddr, path::Path};

use ipnet::IpNet;

use crate::config::{FileFaults, Problem, read_text};

const KEY: &str = "group.blacklist_file";

/// # Errors
/// When it cannot be read; else every line that is no network.
pub fn read(path: &Path) -> Result<Vec<IpNet>, FileFaults> {
    let text = read_text(path).map_err(|error| FileFaults::unreadable(KEY, path, &error))?;
    let (mut networks, mut problems) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        match entry.parse::<IpAddr>().map(IpNet::from).or_else(|_| entry.parse()) {
            Ok(network) => networks.push(network),
            Err(_) => {
                problems.push(Problem::at(index + 1, "not an IP address and not a network such as 10.0.0.0/8"));
            }
        }
    }
    if problems.is_empty() { Ok(networks) } else { Err(FileFaults { key: KEY, path: path.to_owned(), problems }) }
}
