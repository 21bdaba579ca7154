//! What operators look at: logs, health, metrics.

pub mod error_file;
pub mod logs;
