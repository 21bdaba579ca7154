//! What is kept in many small pieces, paid for together.

use crate::core::budget::{Account, Charge, Full, Kind};

/// Pays for pieces that come and go one by one. What is paid doubles, as the memory of a collection does when it grows, and
/// is halved behind it: so one more piece seldom touches what threads share. Without a payer, as in tests, it only counts.
#[derive(Debug, Default)]
pub struct Tab {
    payer: Option<(Account, Kind)>,
    /// What the pieces have.
    bytes: usize,
    charge: Option<Charge>,
}

impl Tab {
    pub const fn new(account: Account, kind: Kind) -> Self {
        Self { payer: Some((account, kind)), bytes: 0, charge: None }
    }

    /// What all pieces have together.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn paid(&self) -> usize {
        self.charge.as_ref().map_or(0, Charge::bytes)
    }

    /// Pays for another piece, before it is kept.
    ///
    /// # Errors
    /// [`Full`]; then it is not paid for.
    pub fn add(&mut self, bytes: usize) -> Result<(), Full> {
        self.reserve(bytes)?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Pays for a piece of which it is not known yet whether it will be kept: if so, [`Self::add_anyway`] finds it paid.
    pub fn reserve(&mut self, bytes: usize) -> Result<(), Full> {
        let after = self.bytes.saturating_add(bytes);
        if let Some((account, kind)) = &self.payer
            && after > self.paid()
        {
            let charge = self.charge.get_or_insert_with(|| account.charge_anyway(*kind, 0));
            let ahead = after.checked_next_power_of_two().unwrap_or(after);
            // Where there is no room to pay ahead, there may be room for the piece.
            charge.set_ahead(ahead).or_else(|_| charge.set(after))?;
        }
        Ok(())
    }

    /// The same whatever the limit, for a piece that is there already or has to be.
    pub fn add_anyway(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some((account, kind)) = &self.payer
            && self.bytes > self.paid()
        {
            let paid = self.bytes.checked_next_power_of_two().unwrap_or(self.bytes);
            self.charge.get_or_insert_with(|| account.charge_anyway(*kind, 0)).set_anyway(paid);
        }
    }

    /// A piece is gone.
    pub fn remove(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if self.bytes == 0 {
            self.charge = None;
        } else if self.bytes <= self.paid() / 4
            && let Some(charge) = &mut self.charge
        {
            charge.set_anyway(2 * self.bytes);
        }
    }

    /// All pieces are gone.
    pub fn clear(&mut self) {
        self.remove(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::budget::Level;

    proptest! {
        /// What is paid is never less than what there is, nor much more; when all is gone, so is the charge. Only what has to
        /// be there may take the account over its limit.
        #[test]
        fn pieces_are_paid_for(steps in proptest::collection::vec((0..4_u8, 1..200_usize), 1..200)) {
            let account = Account::server(4_096);
            let mut tab = Tab::new(account.clone(), Kind::SeenIds);
            let (mut pieces, mut is_strict) = (Vec::new(), true);
            for (step, bytes) in steps {
                match step {
                    0 if !pieces.is_empty() => tab.remove(pieces.swap_remove(bytes % pieces.len())),
                    3 => {
                        tab.add_anyway(bytes);
                        pieces.push(bytes);
                        is_strict = false;
                    }
                    _ if tab.add(bytes).is_ok() => pieces.push(bytes),
                    _ => {}
                }
                let held: usize = pieces.iter().sum();
                prop_assert_eq!(tab.bytes(), held);
                prop_assert!(account.kept() >= held && account.kept() <= 4 * held.next_power_of_two());
                prop_assert!(!is_strict || account.kept() <= account.limit());
            }
            for piece in pieces {
                tab.remove(piece);
            }
            prop_assert_eq!((tab.bytes(), account.kept()), (0, 0));
        }
    }

    #[test]
    fn who_has_no_room_is_refused_another_piece_and_keeps_what_is_there() {
        let account = Account::server(usize::MAX).open(Level::App, 1_000);
        let mut tab = Tab::new(account.clone(), Kind::SeenIds);
        tab.add(500).expect("room");
        assert_eq!(tab.add(600).expect_err("no room").level, Level::App);
        assert_eq!((tab.bytes(), account.kept()), (500, 512));
        tab.add_anyway(600);
        assert_eq!((tab.bytes(), account.kept()), (1_100, 2_048));
        tab.clear();
        assert_eq!((tab.bytes(), account.kept()), (0, 0));
    }
}
