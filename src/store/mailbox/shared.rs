//! Mailboxes of a store that several nodes share. What waits is in the store alone; the queue of a mailbox is what *this* node has
//! in hand of it: on its way to one of the owner's connections here. Whoever puts a message in, or takes one in hand, has read the
//! rows before, and what it writes counts only if nobody has changed them since.
//!
//! As [`super`], but before the facts of a message stands the node that has it, where one node at a time may have it. Row 0 of an
//! owner has the last number; it goes when nothing was put in for some time. Numbers begin with the time, so none comes twice.
//! Where messages have levels, one more row of each has them in the order in which they give way ([`Sharing::levels`]): however many
//! wait, as many are read as have to go for a message.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::timeout;

use super::{
    Bounds, Disk, FACTS_BYTES, Full, Mailbox, Mailboxes, Message, Owner, Tables, UNTIL_READ, Waiting, facts,
    queue::room_for,
};
use crate::{
    clock::Clock,
    core::budget::Kind,
    ids::Timestamp,
    limits,
    store::{
        Batch, Claims, NumberKey, Read, Row, StoreError,
        claims::{Mark, NOBODY},
    },
};

/// What nodes that share mailboxes agree on.
pub struct Sharing {
    pub claims: Claims,
    /// One node at a time has a message; else all have it whose clients read the mailbox.
    pub is_exclusive: bool,
    /// Where it stands for some minutes which messages have come, by what their sender calls them; none: that is not asked.
    pub seen: Option<&'static str>,
    /// Where messages stand in the order in which they give way: by owner, level and number. None: all have the same level.
    pub levels: Option<&'static str>,
    pub clock: Clock,
}

/// Who of this node is at a mailbox in the store.
#[derive(Default)]
pub(super) struct Access {
    /// Whoever reads what waits and then changes it has it meanwhile, in the order of asking.
    turn: tokio::sync::Mutex<()>,
    /// Somebody will read what waits.
    is_due: AtomicBool,
    /// Somebody looks from time to time whether what could not be had is free.
    is_watched: AtomicBool,
}

/// What became of a message that was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It waits; so many had to go for it.
    Kept {
        number: u64,
        displaced: u64,
    },
    /// It was put in before.
    Known,
    Full(Full),
}

/// What was found in a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// More is in hand now than before.
    pub is_more: bool,
    /// Another node has some of it.
    pub is_elsewhere: bool,
}

/// A message as the store has it.
struct Found {
    number: u64,
    mark: Mark,
    since: Timestamp,
    level: i64,
    bytes: usize,
    key: String,
    /// As it was read.
    row: Row,
}

impl Found {
    fn read(row: Row) -> Option<Self> {
        let number = NumberKey::read(&row.key)?.number;
        let (mark, rest) = row.value.split_first_chunk::<8>()?;
        let (facts, key) = rest.split_first_chunk::<FACTS_BYTES>()?;
        let (facts, _) = facts.as_chunks();
        let [since, level, bytes] = facts else { return None };
        Some(Self {
            number,
            mark: *mark,
            since: Timestamp::from_millis(u64::from_be_bytes(*since)),
            level: i64::from_be_bytes(*level),
            bytes: usize::try_from(u64::from_be_bytes(*bytes)).ok()?,
            key: String::from_utf8(key.to_vec()).ok()?,
            row,
        })
    }
}

/// The messages of an owner, in order. What cannot be read was written by nobody of us.
fn messages(owner: &str, rows: Vec<Row>) -> Vec<Found> {
    let is_one = |row: &Row| NumberKey::read(&row.key).is_none_or(|key| key.owner == owner && key.number != 0);
    rows.into_iter().filter(is_one).filter_map(Found::read).collect()
}

/// The key of a message among those of its owner, in the order in which they give way.
fn level_key(owner: &str, (number, level): (u64, i64)) -> Vec<u8> {
    // So that those below zero come first.
    let level = level.cast_unsigned() ^ (1 << 63);
    [NumberKey::prefix(owner), [level, number].map(u64::to_be_bytes).concat()].concat()
}

/// Number and level of such a key.
fn of_level_key(key: &[u8]) -> Option<(u64, i64)> {
    let (_, end) = key.split_last_chunk::<16>()?;
    let (numbers, _) = end.as_chunks();
    let [level, number] = numbers else { return None };
    Some((u64::from_be_bytes(*number), (u64::from_be_bytes(*level) ^ (1 << 63)).cast_signed()))
}

/// The number with which a value begins.
fn first_of(value: &[u8]) -> u64 {
    value.first_chunk::<8>().map_or(0, |number| u64::from_be_bytes(*number))
}

/// The facts of a message that a node has, or nobody.
fn marked(mark: Mark, facts: &[u8]) -> Vec<u8> {
    [&mark[..], facts].concat()
}

impl<O: Owner> Mailboxes<O> {
    /// None: the mailboxes are this server's alone.
    pub const fn sharing(&self) -> Option<&Sharing> {
        self.sharing.as_ref()
    }

    /// Puts a message in, behind all that were put in before; it is in the store when this ends. One with the key of another that
    /// waits, or named `once` as one that came in the last minutes, is that one.
    ///
    /// # Errors
    /// It is not in the store, unless the answer alone was lost.
    pub async fn post(
        &self,
        mailbox: &Mailbox<O>,
        message: Message,
        bounds: Bounds,
        once: Option<Vec<u8>>,
    ) -> Result<Posted, StoreError> {
        let Some((sharing, access)) = self.sharing.as_ref().zip(mailbox.access.as_ref()) else {
            return Err(StoreError::Closed);
        };
        let cost = limits::MAILBOX_MESSAGE_COST + message.key.len() + message.body.len();
        let _charge = match self.payers.memory.charge(Kind::Mailbox, cost) {
            Ok(charge) => charge,
            Err(full) => return Ok(Posted::Full(Full::Memory(full))),
        };
        // Who waits behind others for a store that does not answer is not to wait as long as all of them.
        let _turn = timeout(limits::MAILBOX_TURN, access.turn.lock()).await.map_err(|_| StoreError::Late)?;
        let Tables { facts: table, bodies } = self.tables;
        let sized: Vec<&str> = [table, bodies].into_iter().chain(sharing.seen).chain(sharing.levels).collect();
        let seen = once.as_ref().zip(sharing.seen).map(|(name, table)| (table, name.clone()));
        let (head_key, prefix) = (NumberKey::new(&mailbox.name, 0), NumberKey::prefix(&mailbox.name));
        let stands = facts(message.since, message.level, message.bytes, &message.key);
        // One with a key has to be looked for among what waits; else it is enough how much that is.
        let is_listed = !message.key.is_empty() || bounds.bytes < usize::MAX;
        for _ in 0..limits::MAILBOX_TRIES {
            let mut reads = vec![Read::get(table, head_key), Read::count(bodies, "")];
            reads.push(match is_listed {
                true => Read::list(table, &*prefix, usize::MAX),
                false => Read::count(bodies, &*prefix),
            });
            reads.extend(sized.iter().map(|table| Read::bytes(table)));
            reads.extend(seen.iter().map(|(table, name)| Read::get(table, name.clone())));
            let mut read = self.store.read(reads).await?.into_iter();
            let mut next = || read.next().ok_or_else(|| StoreError::damaged("an answer of the store"));
            let (before, rows, waiting) = (next()?.value()?, next()?.number()?, next()?);
            let mut stored = (rows + 1).saturating_mul(limits::MAILBOX_STORED_COST as u64);
            for _ in &sized {
                stored = stored.saturating_add(next()?.number()?);
            }
            if seen.is_some() && next()?.value()?.is_some() {
                return Ok(Posted::Known);
            }
            let give_way = if is_listed {
                let found = messages(&mailbox.name, waiting.rows()?);
                if !message.key.is_empty() && found.iter().any(|found| *found.key == *message.key) {
                    return Ok(Posted::Known);
                }
                let waiting = found.iter().map(|found| (found.level, found.number, found.bytes));
                let level = |number| found.iter().find(|found| found.number == number).map_or(0, |found| found.level);
                let room = room_for(&message, bounds, waiting);
                room.map(|room| room.into_iter().map(|number| (number, level(number))).collect())
            } else {
                let excess = (waiting.number()? + 1).saturating_sub(bounds.messages as u64);
                self.first_to_go(&mailbox.name, excess, message.level).await?
            };
            let Some(give_way): Option<Vec<_>> = give_way else { return Ok(Posted::Full(Full::Owner)) };
            let own = message.body.len() + stands.len() + once.as_ref().map_or(0, Vec::len);
            if stored.saturating_add(own as u64) > self.bytes as u64 {
                return Ok(Posted::Full(Full::All));
            }
            let last = before.as_deref().map_or(0, first_of);
            let number = (last + 1).max(sharing.clock.now().millis() << limits::MAILBOX_NUMBER_BITS);
            let key = NumberKey::new(&mailbox.name, number);
            let mut batch = Batch::new()
                .expect(table, head_key, before)
                .put(table, head_key, number.to_be_bytes())
                .put(table, key, marked(NOBODY, &stands))
                .put(bodies, key, &message.body[..]);
            if let Some(levels) = sharing.levels {
                batch = batch.put(levels, level_key(&mailbox.name, (number, message.level)), []);
            }
            if let Some((seen, name)) = &seen {
                let now = sharing.clock.now().millis().to_be_bytes();
                batch = batch.expect(seen, name.clone(), None).put(seen, name.clone(), now);
            }
            batch = give_way.iter().fold(batch, |batch, one| self.without(&mailbox.name, *one, batch));
            match self.store.commit(batch).await {
                Ok(_) => return Ok(Posted::Kept { number, displaced: give_way.len() as u64 }),
                Err(StoreError::Changed) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Busy)
    }

    /// What goes first when there are so many too many, for a message of this level: numbers and levels. None: what would have
    /// to go is of a higher one. A bound that was lowered is reached by and by.
    async fn first_to_go(&self, owner: &str, excess: u64, level: i64) -> Result<Option<Vec<(u64, i64)>>, StoreError> {
        let wanted = usize::try_from(excess).unwrap_or(usize::MAX).min(limits::MAILBOX_UNCONFIRMED);
        let levels = self.sharing.as_ref().and_then(|sharing| sharing.levels);
        let (table, prefix) = (levels.unwrap_or(self.tables.facts), NumberKey::prefix(owner));
        let (mut going, mut after) = (Vec::new(), levels.is_none().then(|| NumberKey::new(owner, 0).into()));
        while going.len() < wanted {
            let read = Read::List { table: table.to_owned(), prefix: prefix.clone(), after, limit: wanted };
            let rows = self.store.read_one(read).await?.rows()?;
            let read = |row: &Row| match levels {
                Some(_) => of_level_key(&row.key),
                None => NumberKey::read(&row.key).map(|key| (key.number, 0)),
            };
            let first: Vec<_> = rows.iter().filter_map(read).take(wanted - going.len()).collect();
            if first.iter().any(|(_, of_one)| *of_one > level) {
                return Ok(None);
            }
            // Its reader was faster.
            if first.is_empty() {
                break;
            }
            going.extend(first);
            after = rows.last().map(|row| row.key.clone());
        }
        Ok(Some(going))
    }

    /// A batch that also removes the rows of a message, by number and level.
    pub(super) fn without(&self, owner: &str, one: (u64, i64), batch: Batch) -> Batch {
        let key = NumberKey::new(owner, one.0);
        let batch = batch.remove(self.tables.facts, key).remove(self.tables.bodies, key);
        match self.sharing.as_ref().and_then(|sharing| sharing.levels) {
            Some(levels) => batch.remove(levels, level_key(owner, one)),
            None => batch,
        }
    }

    /// Something may wait for an owner: it is taken in hand as long as somebody reads the mailbox here, who is nudged then. What
    /// another node has, or the store does not give, is looked for again. When nobody reads it any more, `let_go` is carried out.
    pub fn fetch(
        self: &Arc<Self>,
        mailbox: &Arc<Mailbox<O>>,
        is_read: impl Fn(&Mailbox<O>) -> bool + Send + 'static,
        nudge: impl Fn(&Mailbox<O>) + Send + 'static,
        let_go: impl Future<Output = ()> + Send + 'static,
    ) {
        let Some(access) = mailbox.access.as_ref().filter(|_| is_read(mailbox)) else { return };
        // Whose look is still to come sees it as well.
        if access.is_due.swap(true, Ordering::AcqRel) {
            return;
        }
        let (mailboxes, mailbox) = (Arc::clone(self), Arc::clone(mailbox));
        tokio::spawn(async move {
            let Some(access) = &mailbox.access else { return };
            loop {
                let is_again = match mailboxes.load(&mailbox).await {
                    Ok(loaded) => {
                        if loaded.is_more {
                            nudge(&mailbox);
                        }
                        loaded.is_elsewhere
                    }
                    Err(error) => {
                        tracing::debug!(%error, "what waits in a mailbox cannot be read yet");
                        true
                    }
                };
                // Of several who would have to look again one does.
                if !is_again || !is_read(&mailbox) || access.is_watched.swap(true, Ordering::AcqRel) {
                    break;
                }
                tokio::time::sleep(limits::MAILBOX_LOOK_AGAIN).await;
                access.is_watched.store(false, Ordering::Release);
            }
            match is_read(&mailbox) {
                true => drop(let_go),
                false => let_go.await,
            }
            mailboxes.release(&mailbox);
        });
    }

    /// Takes in hand what waits and no other node has, the first first, as much as may be on its way at once.
    ///
    /// # Errors
    /// Why the store could not be read or written.
    pub async fn load(&self, mailbox: &Mailbox<O>) -> Result<Loaded, StoreError> {
        let Some((sharing, access)) = self.sharing.as_ref().zip(mailbox.access.as_ref()) else {
            return Ok(Loaded::default());
        };
        let _turn = access.turn.lock().await;
        access.is_due.store(false, Ordering::Release);
        let Tables { facts: table, bodies } = self.tables;
        for _ in 0..limits::MAILBOX_TRIES {
            let (removals, in_hand) = {
                let queue = &mailbox.lock().queue;
                (queue.removals(), queue.last_in_hand())
            };
            let (mut loaded, mut wanted, mut bytes, mut is_left) = (Loaded::default(), Vec::new(), 0, false);
            // Where all have what waits, everything up to there is in hand, or was read; else another node may have given some back.
            let from = if sharing.is_exclusive { 0 } else { in_hand };
            let mut after = Some(NumberKey::new(&mailbox.name, from).into());
            while !is_left && after.is_some() {
                let (prefix, limit) = (NumberKey::prefix(&mailbox.name), limits::MAILBOX_UNCONFIRMED + 1);
                let page = Read::List { table: table.to_owned(), prefix, after, limit };
                let rows = self.store.read_one(page).await?.rows()?;
                after = rows.last().filter(|_| rows.len() == limit).map(|row| row.key.clone());
                for found in messages(&mailbox.name, rows) {
                    if sharing.is_exclusive && sharing.claims.is_anothers(&found.mark) {
                        loaded.is_elsewhere = true;
                    } else if mailbox.lock().queue.is_known(found.number) {
                        // In hand already.
                    } else if wanted.len() < limits::MAILBOX_UNCONFIRMED && bytes < limits::MAILBOX_UNCONFIRMED_BYTES {
                        bytes += found.bytes;
                        wanted.push(found);
                    } else {
                        is_left = true;
                    }
                }
            }
            mailbox.lock().queue.note_left(is_left);
            if wanted.is_empty() {
                return Ok(loaded);
            }
            let key = |found: &Found| NumberKey::new(&mailbox.name, found.number);
            let reads = wanted.iter().map(|found| Read::get(bodies, key(found))).collect();
            let texts = self.store.read(reads).await?;
            if sharing.is_exclusive {
                let own = sharing.claims.own();
                let claim = |batch: Batch, found: &Found| {
                    let (key, value) = (found.row.key.clone(), found.row.value.clone());
                    let claimed = marked(own, value.get(8..).unwrap_or_default());
                    batch.expect(table, key.clone(), Some(value)).put(table, key, claimed)
                };
                match self.store.commit(wanted.iter().fold(Batch::new(), claim)).await {
                    Ok(_) => {}
                    Err(StoreError::Changed) => continue,
                    Err(error) => return Err(error),
                }
            }
            let mut contents = mailbox.lock();
            // What was read here and is removed by now must not come back.
            if contents.queue.removals() != removals {
                continue;
            }
            for (found, body) in wanted.into_iter().zip(texts) {
                let Some(body) = body.value()? else { continue };
                let cost = limits::MAILBOX_MESSAGE_COST + found.key.len() + body.len();
                let waiting = Waiting {
                    body: Some(body.into()),
                    since: found.since,
                    level: found.level,
                    key: found.key.as_str().into(),
                    disk: Disk::Written,
                    charge: self.payers.all.charge_anyway(Kind::Mailbox, found.bytes),
                    memory: self.payers.memory.charge_anyway(Kind::Mailbox, cost),
                };
                contents.queue.recall(found.number, waiting);
                loaded.is_more = true;
            }
            return Ok(loaded);
        }
        Err(StoreError::Busy)
    }

    /// These are in hand no more: whoever wants them may have them. Ends when the store knows.
    pub async fn hand_back(&self, mailbox: &Mailbox<O>, numbers: Vec<u64>) {
        let Some(sharing) = &self.sharing else { return };
        let mut written = Vec::new();
        for number in numbers {
            let Some(waiting) = mailbox.lock().queue.drop_from_hand(number) else { continue };
            if sharing.is_exclusive {
                let stands = facts(waiting.since, waiting.level, waiting.bytes(), &waiting.key);
                let (key, own) = (NumberKey::new(&mailbox.name, number), marked(sharing.claims.own(), &stands));
                let batch = Batch::new().expect(self.tables.facts, key, Some(own));
                written.push(self.store.commit(batch.put(self.tables.facts, key, marked(NOBODY, &stands))));
            }
        }
        // What could not be told is found by the sweep.
        for written in written {
            let _ = written.await;
        }
    }

    /// Nobody here reads the mailbox: where all may have what waits, nothing is in hand.
    pub fn let_go(&self, mailbox: &Mailbox<O>) {
        let queue = &mut mailbox.lock().queue;
        let in_hand: Vec<u64> = queue.behind(0).map(|(number, _)| number).collect();
        in_hand.into_iter().for_each(|number| drop(queue.drop_from_hand(number)));
    }

    /// Removes what is too old, and gives the owners for whom something waits that no other node has, and whether
    /// this one has any of it.
    ///
    /// # Errors
    /// Why the store could not be read.
    pub async fn sweep(&self, before: Timestamp) -> Result<Vec<(String, bool)>, StoreError> {
        let Some(sharing) = &self.sharing else { return Ok(Vec::new()) };
        let mut owners: Vec<(String, bool)> = Vec::new();
        let (mut after, now) = (None, sharing.clock.now().millis());
        // An owner's last number, until a message of the owner is found.
        let mut head: Option<Row> = None;
        loop {
            let limit = limits::MAILBOX_ROWS;
            let page = Read::List { table: self.tables.facts.to_owned(), prefix: Vec::new(), after, limit };
            let rows = self.store.read_one(page).await?.rows()?;
            after = rows.last().map(|row| row.key.clone());
            let is_over = rows.len() < limit;
            let mut batch = Batch::new();
            for row in rows {
                let Some(NumberKey { owner, number }) = NumberKey::read(&row.key) else { continue };
                if number == 0 {
                    self.forget(head.replace(row), now);
                    continue;
                }
                head = head.filter(|head| NumberKey::read(&head.key).is_some_and(|head| head.owner != owner));
                let owner = owner.to_owned();
                let Some(found) = Found::read(row) else { continue };
                if found.since < before && found.since != UNTIL_READ {
                    batch = self.without(&owner, (number, found.level), batch);
                    continue;
                }
                let is_own = found.mark == sharing.claims.own();
                match owners.last_mut() {
                    Some((known, has_some)) if *known == owner => *has_some |= is_own,
                    _ if sharing.claims.is_anothers(&found.mark) => {}
                    _ => owners.push((owner, is_own)),
                }
            }
            self.store.commit(batch).await?;
            if is_over {
                break;
            }
        }
        self.forget(head, now);
        self.forget_seen(sharing, now).await?;
        for mailbox in self.all() {
            let again = mailbox.lock().queue.gone();
            self.remove_rows(&mailbox.name, again);
            self.release(&mailbox);
        }
        Ok(owners)
    }

    /// An owner without messages needs no last number, when the next one is greater by the time alone.
    fn forget(&self, head: Option<Row>, now: u64) {
        if let Some(Row { key, value }) = head
            && (first_of(&value) >> limits::MAILBOX_NUMBER_BITS) + limits::MAILBOX_NUMBER_LIFE < now
        {
            let batch = Batch::new().expect(self.tables.facts, key.clone(), Some(value)).remove(self.tables.facts, key);
            self.store.submit(batch, Box::new(drop));
        }
    }

    async fn forget_seen(&self, sharing: &Sharing, now: u64) -> Result<(), StoreError> {
        let Some(table) = sharing.seen else { return Ok(()) };
        let window = u64::try_from(limits::IDEMPOTENCY_WINDOW.as_millis()).unwrap_or_default();
        let mut after = None;
        loop {
            let limit = limits::MAILBOX_ROWS;
            let page = Read::List { table: table.to_owned(), prefix: Vec::new(), after, limit };
            let rows = self.store.read_one(page).await?.rows()?;
            after = rows.last().map(|row| row.key.clone());
            let is_over = rows.len() < limit;
            let old = rows.into_iter().filter(|row| first_of(&row.value) + window < now);
            self.store.commit(old.fold(Batch::new(), |batch, row| batch.remove(table, row.key))).await?;
            if is_over {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
