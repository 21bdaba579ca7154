//! What is acknowledged is kept: the real server killed, stopped, traced, out of space, and its data folder
//! (docs/goals.md §2, `docs/protocols/ably.md §4.3, §5.3, §6.2, §8`; docs/architecture.md §6, promises 2 to 4).
//!
//! `crash` has a longer form for the night, switched on by `LETSHARE_NIGHTLY=1`: 100 cycles and 500,000
//! acknowledgements at least. `LETSHARE_SEED=N` draws the moments of an earlier run.
//!
//! Not here: power cuts, damaged pages and slow disks, which take a disk that obeys the test
//! (`src/store/faulty.rs`, `src/log/disk/tests`).

mod annotations;
mod backlog;
mod crash;
mod crowd;
mod folder;
mod full;
mod ground;
mod mutable;
mod objects;
mod order;
mod presence;
mod restart;
mod trace;
mod writer;
