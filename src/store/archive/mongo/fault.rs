//! What the driver's errors mean.

use std::sync::Arc;

use mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::store::StoreError;

const DUPLICATE_KEY: i32 = 11_000;
const OUT_OF_DISK_SPACE: i32 = 14_031;
/// A server that is no primary (any more), or ends: another one is looked for.
const LOOKING_FOR_ANOTHER: [i32; 7] = [91, 189, 10_107, 11_600, 11_602, 13_435, 13_436];

/// The number of what the server refused.
pub fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        _ => None,
    }
}

/// What the driver says, as the store says it.
impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        // The whole error also tells its labels, which are of use to drivers only.
        let text: Arc<str> = error.kind.to_string().into();
        match &*error.kind {
            ErrorKind::ServerSelection { .. }
            | ErrorKind::Io(_)
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::DnsResolve { .. }
            | ErrorKind::Authentication { .. }
            // It is not known whether the majority has it.
            | ErrorKind::Write(WriteFailure::WriteConcernError(_)) => Self::Unreachable(text),
            _ if code(&error).is_some_and(|code| LOOKING_FOR_ANOTHER.contains(&code)) => Self::Unreachable(text),
            _ if code(&error) == Some(OUT_OF_DISK_SPACE) => Self::Full,
            _ => Self::Io(text),
        }
    }
}

/// Whether a document with this id, or what must be unique in it, is there already.
pub fn is_duplicate(error: &Error) -> bool {
    code(error) == Some(DUPLICATE_KEY)
}
