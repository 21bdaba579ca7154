//! What pays for something that is kept.

use super::{Account, Full, Kind};

/// Pays for what lies beside it; given back when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Charge {
    pub(super) account: Account,
    pub(super) kind: Kind,
    pub(super) bytes: usize,
}

impl Charge {
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Pays for `bytes` in all from now on.
    ///
    /// # Errors
    /// [`Full`] when there is no room for more; the charge stays as it is.
    pub fn set(&mut self, bytes: usize) -> Result<(), Full> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.account.take_or_relieve(self.kind, more, 0)?,
            None => self.account.give_back(self.kind, self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Pays for more ahead of its need: nothing has to go for that.
    pub(super) fn set_ahead(&mut self, bytes: usize) -> Result<(), Full> {
        self.account.take(self.kind, bytes.saturating_sub(self.bytes), 0)?;
        self.bytes = self.bytes.max(bytes);
        Ok(())
    }

    /// The same whatever the limit, for what is there already.
    pub fn set_anyway(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.account.take_anyway(self.kind, more),
            None => self.account.give_back(self.kind, self.bytes - bytes),
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.give_back(self.kind, self.bytes);
    }
}
