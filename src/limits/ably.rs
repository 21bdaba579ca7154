//! Ably: frames, tokens, apps, statistics.

use std::time::Duration;

use super::MAX_IDLE_INTERVAL;

/// Silence of an Ably client, pongs counted, before its transport is given up.
pub const ABLY_IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// A comet client that asks for nothing for so long is gone: while it is there, one request to receive is always open, and
/// is answered within [`MAX_IDLE_INTERVAL`](super::MAX_IDLE_INTERVAL) (`docs/protocols/ably.md §1.6`).
pub const COMET_IDLE_TIMEOUT: Duration = MAX_IDLE_INTERVAL.saturating_add(Duration::from_secs(10));

/// A comet stream ends with so many heartbeats, so that the next request shows that its client is still there.
pub const COMET_STREAM_HEARTBEATS: u8 = 3;

/// Requests that wait for the transport of a comet conversation; more wait for their turn.
pub const COMET_REQUESTS: usize = 4;

/// A token's client is asked for a new one this long before it ends (§4.7).
pub const TOKEN_RENEWAL: Duration = Duration::from_secs(30);

/// Targets that one request may revoke tokens by, and revocations of one key that are remembered
/// (`docs/protocols/ably.md §11.4`).
pub const REVOCATION_TARGETS: usize = 100;
pub const REVOCATIONS: usize = 10_000;

/// Longest revocationKey of a target, in bytes, and what a revocation costs beside its target.
pub const REVOCATION_KEY_BYTES: usize = 2_048;
pub const REVOCATION_COST: usize = 192;

/// Longest frame of an Ably client, in bytes (§2.5).
pub const ABLY_FRAME_BYTES: usize = 512 * 1024;

/// Longest clientId, in bytes (`docs/protocols/ably.md §12.6`).
pub const CLIENT_ID_BYTES: usize = 256;

/// Longest token, in bytes. Ours are below 500; whatever is longer is not worth hashing.
pub const TOKEN_BYTES: usize = 8 * 1024;

/// Longest text of a capability, in bytes, and the resources it may have. A token must carry it in a URL;
/// every check of a channel looks at each resource.
pub const CAPABILITY_BYTES: usize = 16 * 1024;
pub const CAPABILITY_RESOURCES: usize = 512;

/// How long an Ably token may live, and one that can be revoked; and how long it does if nobody says
/// (`docs/protocols/ably.md §12.2`).
pub const TOKEN_TTL: Duration = Duration::from_secs(24 * 3_600);
pub const REVOCABLE_TOKEN_TTL: Duration = Duration::from_secs(3_600);
pub const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(3_600);

/// A token request may be that much older or newer than now (`docs/protocols/ably.md §12.2`).
pub const TOKEN_REQUEST_AGE: Duration = Duration::from_secs(120);

/// Nodes tell each other for so long that a request was granted: its timestamp may be as far ahead of us as it may be behind.
pub const NONCE_LIFE: Duration = TOKEN_REQUEST_AGE.saturating_mul(2);

/// The most that `auth.clock_leeway` may be: an ended token is taken for that long.
pub const CLOCK_LEEWAY_MAX: Duration = Duration::from_secs(120);

/// The log says that the clock of whoever signs JWTs is off from that much on; less is the delay of the network.
pub const CLOCK_SKEW_TOLD: Duration = Duration::from_secs(1);

/// Capabilities of tokens that are remembered as they came to be beside that of their key, in bytes of their texts: twice
/// so many, and several times that in memory. What is shorter than the second is read faster than it is found.
pub const CAPABILITIES_KNOWN_BYTES: usize = 1024 * 1024;
pub const CAPABILITY_KNOWN_BYTES: usize = 512;

/// What a byte of the text of a long capability costs while a connection has it.
pub const CAPABILITY_COST: usize = 4;

/// Capabilities with more resources are searched, those with fewer looked through.
pub const CAPABILITY_FEW: usize = 8;

/// Rows of revocations or nonces that are read or removed together.
pub const ABLY_ROWS: usize = 1_000;

/// How often revocations and nonces are looked through for those that are over.
pub const REVOCATION_SWEEP: Duration = Duration::from_secs(60);

/// Nonces of the token requests of one key that are remembered, for four minutes at most, and what each costs.
pub const NONCES: usize = 262_144;
pub const NONCE_COST: usize = 80;

/// Apps that may exist at a time. Only a sandbox makes apps at run time: what each costs, and each byte of its description.
pub const APPS: usize = 10_000;
pub const APP_COST: usize = 4_096;
pub const APP_BYTE_COST: usize = 4;

/// Keys, rules, channels with fixtures that one app may have, and fixtures that one channel may have.
pub const APP_PARTS: usize = 1_000;

/// How long statistics of minutes and of hours are kept; those of days and months stay (`docs/protocols/ably.md §11.8`).
pub const STATS_MINUTES: Duration = Duration::from_secs(7 * 24 * 3_600);
pub const STATS_HOURS: Duration = Duration::from_secs(90 * 24 * 3_600);

/// How often connections and channels are counted for their peaks, and how often statistics are written down: each time costs
/// a write that waits for the disk.
pub const STATS_SAMPLE: Duration = Duration::from_secs(1);
pub const STATS_FLUSH: Duration = Duration::from_secs(30);

/// How long after a minute the nodes of a cluster are asked what they have counted in it.
pub const STATS_OF_ALL: Duration = Duration::from_secs(3);

/// Rows of statistics that are read, or removed, at a time.
pub const STATS_SWEEP: usize = 1_000;

/// Channels of one batch, and how many of them are asked at once (`docs/protocols/ably.md §11.9`).
pub const BATCH_CHANNELS: usize = 100;
pub const BATCH_AT_ONCE: usize = 8;

/// Messages or presence events of one Ably frame or REST publish (`docs/protocols/ably.md §6.1`).
pub const FRAME_ITEMS: usize = 1_000;

/// Levels that MessagePack may nest: as many as serde_json allows in JSON.
pub const MSGPACK_DEPTH: usize = 128;
