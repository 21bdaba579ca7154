//! Which channels nobody is attached to, and which of them goes first when another one needs its place or its memory
//! (`docs/architecture.md §6a`).

use std::collections::{BTreeMap, HashMap};

use crate::ids::{AppId, ChannelName};

/// How many channels there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelShares {
    pub server: usize,
    pub app: usize,
}

/// Why there is no place for another channel: every one that there is has somebody attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    Server,
    /// The app has all that it may.
    App,
}

/// The channels that take a place, by app. A channel that is to go takes none any more.
#[derive(Debug, Default)]
pub struct Roster {
    apps: HashMap<AppId, App>,
    len: usize,
    /// Of the channel that was left, or used without anybody attached, most recently.
    turn: Turn,
}

/// The order in which channels go.
pub type Turn = u64;

#[derive(Debug, Default)]
struct App {
    len: usize,
    idle: BTreeMap<Turn, ChannelName>,
}

impl Roster {
    /// Channels that take a place.
    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A channel takes a place: a new one, or one that was to go and stays, since somebody has attached meanwhile.
    pub fn add(&mut self, app: AppId) {
        self.len += 1;
        self.apps.entry(app).or_default().len += 1;
    }

    /// Nobody is attached to it any more, or it was used without.
    pub fn leave(&mut self, name: ChannelName) -> Turn {
        self.turn += 1;
        if let Some(app) = self.apps.get_mut(&name.app()) {
            app.idle.insert(self.turn, name);
        }
        self.turn
    }

    /// Somebody is attached from now on, or it is left anew.
    pub fn join(&mut self, app: AppId, turn: Turn) {
        if let Some(app) = self.apps.get_mut(&app) {
            app.idle.remove(&turn);
        }
    }

    /// A channel gives its place up; `turn` if nobody is attached to it.
    pub fn remove(&mut self, app: AppId, turn: Option<Turn>) {
        if let Some(of_app) = self.apps.get_mut(&app) {
            if let Some(turn) = turn {
                of_app.idle.remove(&turn);
            }
            of_app.len -= 1;
            self.len -= 1;
            if of_app.len == 0 {
                self.apps.remove(&app);
            }
        }
    }

    /// Makes place for another channel of `app`: the channel that has to go for it, if one has to.
    pub fn make_place(&mut self, app: AppId, shares: ChannelShares) -> Result<Option<ChannelName>, NoPlace> {
        let of_app = self.apps.get(&app).map_or(0, |app| app.len);
        if of_app >= shares.app && self.len < shares.server {
            return self.evict(app).map(Some).ok_or(NoPlace::App);
        }
        if self.len < shares.server {
            return Ok(None);
        }
        // An app that has all that it may takes nothing from others.
        let victim = match self.largest(|app| self.apps.get(&app).map_or(0, |app| app.len)) {
            Some(largest) if of_app < shares.app => self.evict(largest),
            _ => self.evict(app),
        };
        victim.map(Some).ok_or(NoPlace::Server)
    }

    /// The app that counts most by `size`, of those that have channels without anybody attached.
    pub fn largest(&self, size: impl Fn(AppId) -> usize) -> Option<AppId> {
        let with_idle = self.apps.iter().filter(|(_, app)| !app.idle.is_empty());
        with_idle.map(|(id, _)| *id).max_by_key(|id| size(*id))
    }

    /// Of an app's channels that nobody is attached to, the one that was left first. It gives its place up.
    pub fn evict(&mut self, app: AppId) -> Option<ChannelName> {
        let (turn, name) = self.apps.get(&app)?.idle.first_key_value()?;
        let (turn, name) = (*turn, name.clone());
        self.remove(app, Some(turn));
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHARES: ChannelShares = ChannelShares { server: 12, app: 7 };

    #[derive(Clone, Debug)]
    enum Step {
        Open { app: usize },
        Join { channel: usize },
        Leave { channel: usize },
        Retire { channel: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let channel = 0..30_usize;
        let step = prop_oneof![
            4 => (0..3_usize).prop_map(|app| Step::Open { app }),
            2 => channel.clone().prop_map(|channel| Step::Join { channel }),
            1 => channel.clone().prop_map(|channel| Step::Leave { channel }),
            1 => channel.prop_map(|channel| Step::Retire { channel }),
        ];
        proptest::collection::vec(step, 1..120)
    }

    /// What the roster must know, oldest first; `turn` of those that nobody is attached to.
    struct Channel {
        name: ChannelName,
        turn: Option<Turn>,
    }

    proptest! {
        /// findings B4: three apps open, join, leave and end channels. There are never more than may be; who goes is idle, the
        /// one of its app that was left first, and of another app only if that one is the largest and the newcomer's has
        /// not all that it may; who is refused finds no idle channel that might go for it.
        #[test]
        fn idle_channels_go_before_anybody_is_refused(steps in steps()) {
            let apps: Vec<AppId> = (0..3).map(|_| AppId::random()).collect();
            let (mut roster, mut there): (Roster, Vec<Channel>) = (Roster::default(), Vec::new());
            for (number, step) in steps.into_iter().enumerate() {
                let len = |there: &[Channel], app| there.iter().filter(|channel| channel.name.app() == app).count();
                match step {
                    Step::Open { app } => {
                        let app = apps[app];
                        let idle = |of: Option<AppId>| {
                            let of_app = there.iter().filter(move |channel| of.is_none_or(|of| channel.name.app() == of));
                            of_app.filter(|channel| channel.turn.is_some()).min_by_key(|channel| channel.turn)
                        };
                        let (own, all) = (len(&there, app), there.len());
                        match roster.make_place(app, SHARES) {
                            Ok(None) => prop_assert!(own < SHARES.app && all < SHARES.server),
                            Ok(Some(victim)) => {
                                prop_assert!(own >= SHARES.app || all >= SHARES.server);
                                let oldest = idle(Some(victim.app())).map(|channel| channel.name.clone());
                                prop_assert_eq!(Some(&victim), oldest.as_ref());
                                if victim.app() != app {
                                    prop_assert!(own < SHARES.app);
                                    let largest = apps.iter().filter(|app| idle(Some(**app)).is_some());
                                    let largest = largest.map(|app| len(&there, *app)).max();
                                    prop_assert_eq!(Some(len(&there, victim.app())), largest);
                                }
                                there.retain(|channel| channel.name != victim);
                            }
                            Err(NoPlace::App) => {
                                prop_assert!(own >= SHARES.app && idle(Some(app)).is_none());
                                continue;
                            }
                            Err(NoPlace::Server) => {
                                prop_assert!(all >= SHARES.server);
                                prop_assert!(idle(Some(app)).is_none() && (own >= SHARES.app || idle(None).is_none()));
                                continue;
                            }
                        }
                        let name = ChannelName::new(app, &number.to_string());
                        roster.add(name.app());
                        let turn = Some(roster.leave(name.clone()));
                        there.push(Channel { name, turn });
                    }
                    Step::Join { channel } => if let Some(channel) = there.get_mut(channel)
                        && let Some(turn) = channel.turn.take()
                    {
                        roster.join(channel.name.app(), turn);
                    },
                    Step::Leave { channel } => if let Some(channel) = there.get_mut(channel)
                        && channel.turn.is_none()
                    {
                        channel.turn = Some(roster.leave(channel.name.clone()));
                    },
                    Step::Retire { channel } => if channel < there.len() {
                        let gone = there.remove(channel);
                        roster.remove(gone.name.app(), gone.turn);
                    },
                }
                prop_assert_eq!(roster.len(), there.len());
                prop_assert!(roster.len() <= SHARES.server);
                for app in &apps {
                    prop_assert!(len(&there, *app) <= SHARES.app);
                    prop_assert_eq!(roster.apps.get(app).map_or(0, |app| app.len), len(&there, *app));
                }
            }
        }
    }
}
