//! A window in memory and what pays for it (`docs/architecture.md §6a`).

use std::{ops::Deref, sync::Arc, time::Duration};

use crate::{
    core::{
        budget::{Account, Charge, Full, Kind},
        message::Entry,
        window::{Bounds, Window},
    },
    limits::{WINDOW_FREE, WINDOW_STEP},
};

/// Read as the window that it is.
#[derive(Debug)]
pub struct KeptWindow {
    window: Window,
    account: Account,
    /// None: the channel has paid for all of it.
    charge: Option<Charge>,
}

impl Deref for KeptWindow {
    type Target = Window;

    fn deref(&self) -> &Window {
        &self.window
    }
}

impl KeptWindow {
    pub const fn new(window: Window, account: Account) -> Self {
        Self { window, account, charge: None }
    }

    /// Adds the newest entry.
    ///
    /// # Errors
    /// [`Full`]: there is no room for it, and nothing has changed.
    pub fn append(&mut self, now: Duration, entry: Arc<Entry>, bounds: Bounds) -> Result<(), Full> {
        let cost = entry.cost();
        self.pay((self.window.bytes() + cost).min(bounds.bytes.max(cost)))?;
        self.window.append_of(cost, now, entry, bounds);
        Ok(())
    }

    /// Adds the newest entry, of which there is another copy: what cannot be paid is not kept, the oldest first.
    pub fn append_copy(&mut self, now: Duration, entry: Arc<Entry>, bounds: Bounds) {
        self.window.append(now, entry, bounds);
        while self.pay(self.window.bytes()).is_err() {
            self.drop_oldest(WINDOW_STEP);
        }
    }

    /// Drops what the bounds no longer allow.
    pub fn trim(&mut self, now: Duration, bounds: Bounds) {
        self.window.trim(now, bounds);
        self.settle();
    }

    /// Drops the oldest entries, so many bytes of them; false when there are none.
    pub fn give_up(&mut self, bytes: usize) -> bool {
        let is_any = self.drop_oldest(bytes);
        self.settle();
        is_any
    }

    /// Of what the channel itself has not paid for, the oldest eighth goes, and so much that less is due; not when `least` or
    /// less is. Whether anything went.
    pub fn shrink(&mut self, least: usize) -> bool {
        let paid = self.charge.as_ref().map_or(0, Charge::bytes);
        let due = (paid / 8 * 7).min(paid.saturating_sub(WINDOW_STEP));
        paid > least && self.give_up(self.window.bytes().saturating_sub(due + WINDOW_FREE))
    }

    fn drop_oldest(&mut self, bytes: usize) -> bool {
        let before = self.window.bytes();
        let upto = before.saturating_sub(bytes);
        while self.window.bytes() > upto && self.window.drop_oldest() {}
        self.window.bytes() < before
    }

    fn pay(&mut self, bytes: usize) -> Result<(), Full> {
        let due = due(bytes);
        match &mut self.charge {
            None if due == 0 => {}
            None => self.charge = Some(self.account.charge(Kind::Window, due)?),
            Some(charge) if due > charge.bytes() => charge.set(due)?,
            Some(_) => {}
        }
        Ok(())
    }

    /// What is not due any more is given back.
    fn settle(&mut self) {
        let due = due(self.window.bytes());
        match &mut self.charge {
            Some(_) if due == 0 => self.charge = None,
            Some(charge) if due < charge.bytes() => {
                // Less is never refused.
                let _ = charge.set(due);
            }
            _ => {}
        }
    }
}

/// What a window of so many bytes has to pay: what is beyond the first, in steps.
const fn due(bytes: usize) -> usize {
    bytes.saturating_sub(WINDOW_FREE).div_ceil(WINDOW_STEP) * WINDOW_STEP
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        core::serial::{Epoch, Mint},
        log::contract::entry,
    };

    #[derive(Clone, Debug)]
    enum Step {
        Append { window: usize, size: usize },
        Copy { window: usize, size: usize },
        GiveUp { window: usize, bytes: usize },
        Shrink { window: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (window, size) = (0..3_usize, 0..30_000_usize);
        let step = prop_oneof![
            3 => (window.clone(), size.clone()).prop_map(|(window, size)| Step::Append { window, size }),
            2 => (window.clone(), size.clone()).prop_map(|(window, size)| Step::Copy { window, size }),
            1 => (window.clone(), size).prop_map(|(window, bytes)| Step::GiveUp { window, bytes }),
            1 => window.prop_map(|window| Step::Shrink { window }),
        ];
        proptest::collection::vec(step, 1..60)
    }

    proptest! {
        /// Three windows of one account: what they have beyond what their channels paid is paid, and given back; an append
        /// that is refused has changed nothing.
        #[test]
        fn windows_pay_for_what_they_keep(steps in steps()) {
            const LIMIT: usize = 8 * WINDOW_STEP;
            let account = Account::server(LIMIT);
            let bounds = Bounds { age: Duration::from_secs(1), entries: 20, bytes: 6 * WINDOW_STEP };
            let mut mint = Mint::new(Epoch::new(1));
            let new = || KeptWindow::new(Window::new(Epoch::new(1)), account.clone());
            let mut windows = [new(), new(), new()];
            for step in steps {
                match step {
                    Step::Append { window, size } => {
                        let before = windows[window].bytes();
                        if windows[window].append(Duration::ZERO, entry(&mut mint, size), bounds).is_err() {
                            prop_assert_eq!(windows[window].bytes(), before);
                        }
                    }
                    Step::Copy { window, size } => {
                        windows[window].append_copy(Duration::ZERO, entry(&mut mint, size), bounds);
                    }
                    Step::GiveUp { window, bytes } => drop(windows[window].give_up(bytes)),
                    Step::Shrink { window } => {
                        let paid = account.kept();
                        prop_assert!(!windows[window].shrink(0) || account.kept() < paid);
                    }
                }
                let paid: usize = windows.iter().map(|window| window.charge.as_ref().map_or(0, Charge::bytes)).sum();
                prop_assert_eq!(account.kept_of(Kind::Window), paid);
                prop_assert!(paid <= LIMIT);
                for window in &windows {
                    let paid = window.charge.as_ref().map_or(0, Charge::bytes);
                    prop_assert!(window.bytes() <= paid + WINDOW_FREE, "{} bytes, {paid} paid", window.bytes());
                }
            }
            for window in &mut windows {
                window.trim(Duration::from_secs(2), bounds);
                prop_assert_eq!(window.bytes(), 0);
            }
            prop_assert_eq!(account.kept(), 0);
        }
    }
}
