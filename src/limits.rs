//! Every number that bounds a queue, a buffer or a wait and that nobody has to set. What operators
//! do set stands, with its default and reason, in `configs/default.yaml`.

use std::{num::NonZeroU32, time::Duration};

/// Settings and figures that have another name now keep the old one beside it until this version.
pub const OLD_NAMES_GO_IN: &str = "0.3";

/// Commands that wait for one channel. More are refused with `Fault::Busy`: at a few microseconds
/// each, a longer queue only means that everybody waits longer. Thirty connections that have sent
/// [`INBOUND_PORTION`] of small frames each fit in.
pub const CHANNEL_MAILBOX: usize = 16_384;

/// A publish that comes again with the same id within this time is known (`docs/protocols/ably.md §5.11`).
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(120);

/// Ids that a channel remembers for that, at most, and what each costs beside its text.
pub const IDEMPOTENCY_IDS: usize = 100_000;
pub const SEEN_ID_COST: usize = 112;

/// How long a copy of a shared log waits for an entry that is late before it reads it from the log.
pub const CHAIN_WAIT: Duration = Duration::from_millis(20);

/// Entries that a copy of a shared log keeps meanwhile; what does not fit is read from the log.
pub const CHAIN_EARLY: usize = 1_000;

/// How long it waits before it reads again what could not be read.
pub const CHAIN_AGAIN: Duration = Duration::from_secs(1);

/// A channel of a cluster that was quiet for so long looks whether anything was published that it has not heard of, and again each
/// so long: so many channels by one script, which waits so long for more of them.
pub const HEADS_QUIET: Duration = Duration::from_secs(10);
pub const HEADS_AGAIN: Duration = Duration::from_secs(40);
pub const HEADS_AT_ONCE: usize = 200;
pub const HEADS_GATHERED: Duration = Duration::from_secs(1);

/// How long a replica of Redis may take to have what was appended, where that is asked for.
pub const REDIS_COPIED: Duration = Duration::from_millis(500);

/// How often a node looks how Redis is set up.
pub const REDIS_SETUP: Duration = Duration::from_secs(10);

/// How often a node looks whether Redis takes what it writes.
pub const NODE_BEAT: Duration = Duration::from_secs(1);

/// A node takes the time of Redis by the middle one of so many looks at it, when its own clock is so many milliseconds off.
pub const NODE_OFFSETS: usize = 5;
pub const NODE_OFFSET_LEAST: u64 = 1_000;

/// A node that Redis has not answered for so long is not ready.
pub const NODE_CUT_OFF: Duration = Duration::from_secs(5);

/// How long a node waits for what it asks the others.
pub const NODE_ANSWER: Duration = Duration::from_secs(2);

/// How long the nodes know of a connection without being told of it again, and how often they are told.
pub const CONNECTION_ROW: Duration = Duration::from_mins(3);
pub const CONNECTION_ROW_AGAIN: Duration = Duration::from_mins(1);

/// The parts that the rows of connections are divided into.
pub const CONNECTION_PARTS: u32 = 64;

/// The parts that the channels of a shared log are divided into; a log that has entries cannot have others.
pub const PARTITIONS: u32 = 64;

/// A node of a cluster is taken for dead when it has not renewed its lease for so long, by the clock of Redis; how often it does.
pub const LEASE: Duration = Duration::from_secs(15);
pub const LEASE_RENEWAL: Duration = Duration::from_secs(3);

/// A node lets the members of a dead one leave only when it has itself held its lease through so many renewals: Redis that comes
/// back, or its clock when it jumps, kills nobody.
pub const LEASE_TRUST: usize = 3;

/// Channels of a dead node that are opened with each renewal, so that its members leave.
pub const REAPED_AT_ONCE: usize = 1_000;

/// How long a shared log knows where it stood, and who is present, behind the last entry and its age.
pub const HEAD_LIFE: Duration = Duration::from_mins(10);

/// What is read of a shared log at a time.
pub const REPLICA_ENTRIES: usize = 1_000;
pub const REPLICA_BYTES: usize = 4 << 20;

/// Bytes of a persisted channel that a shared log keeps, since it keeps them in memory.
pub const SHARED_BYTES: u64 = 16 << 20;

/// Members that may be present on a channel, unless its app says otherwise (`docs/protocols/ably.md §5.11`).
pub const PRESENCE_MEMBERS: usize = 200;

/// Bytes that the members of one channel may have, their data included: whoever attaches is sent all of them. Where an app
/// allows so many members that each would have less than the second number, each may have that.
pub const PRESENCE_BYTES: usize = 2 * 1024 * 1024;
pub const PRESENCE_MEMBER_BYTES: usize = 512;

/// Messages that an attachment may start with at most (`docs/protocols/ably.md §5.11`).
pub const REWIND_MESSAGES: usize = 100;

/// Ably clients are promised a sign of life at least this often (`docs/protocols/ably.md §1.5`).
pub const MAX_IDLE_INTERVAL: Duration = Duration::from_secs(15);

/// A client's ping is answered after this time: SDKs measure in whole milliseconds, and their users take a
/// round trip of zero for a fault.
pub const PING_ECHO_DELAY: Duration = Duration::from_millis(2);

/// Answers to pings that wait for that, in bytes of one connection; more leave at once. Dozens, far more than a client that
/// measures has on the way.
pub const DELAYED_BYTES: usize = 16 * 1024;

/// Silence of an Ably client, pongs counted, before its transport is given up.
pub const ABLY_IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// A comet client that asks for nothing for so long is gone: while it is there, one request to receive is always open, and
/// is answered within [`MAX_IDLE_INTERVAL`] (`docs/protocols/ably.md §1.6`).
pub const COMET_IDLE_TIMEOUT: Duration = MAX_IDLE_INTERVAL.saturating_add(Duration::from_secs(10));

/// A comet stream ends with so many heartbeats, so that the next request shows that its client is still there.
pub const COMET_STREAM_HEARTBEATS: u8 = 3;

/// What a transport without a WebSocket has for its client goes out in batches of so many bytes, one at a time.
pub const BATCH_BYTES: usize = 64 * 1024;

/// Requests that wait for the transport of a comet conversation; more wait for their turn.
pub const COMET_REQUESTS: usize = 4;

/// A peer that acknowledges nothing for so long, however little it was sent, is gone, unless a setting allows a longer stall.
pub const PEER_GONE: Duration = Duration::from_secs(60);

/// A token's client is asked for a new one this long before it ends (§4.7).
pub const TOKEN_RENEWAL: Duration = Duration::from_secs(30);

/// Targets that one request may revoke tokens by, and revocations of one key that are remembered
/// (`docs/protocols/ably.md §11.4`).
pub const REVOCATION_TARGETS: usize = 100;
pub const REVOCATIONS: usize = 10_000;

/// Longest revocationKey of a target, in bytes, and what a revocation costs beside its target.
pub const REVOCATION_KEY_BYTES: usize = 2_048;
pub const REVOCATION_COST: usize = 192;

/// Members of a connection that lost its transport stay this long (§7.6).
pub const PRESENCE_HOLD: Duration = Duration::from_secs(15);

/// A client that lost its transport enters its members again, perhaps such as it had left, for as long as it may try to
/// resume: so long are leaves remembered (RTN15g, §7.2). And how many on one channel, with how many bytes of clientIds;
/// each costs so much besides.
pub const PRESENCE_REENTRY: Duration = CONNECTION_STATE_TTL.saturating_add(MAX_IDLE_INTERVAL);
pub const PRESENCE_LEAVES: usize = 10_000;
pub const PRESENCE_LEAVE_BYTES: usize = 1024 * 1024;
pub const PRESENCE_LEAVE_COST: usize = 256;

/// Longest frame of an Ably client, in bytes (§2.5).
pub const ABLY_FRAME_BYTES: usize = 512 * 1024;

/// Longest name of a channel, qualifier included, in bytes (`docs/protocols/ably.md §5.1`).
pub const CHANNEL_NAME_BYTES: usize = 2_048;

/// What the annotations of one message are summed up to: clients, each as often as it is listed; bytes of types and names;
/// and what each type, name and client costs beside its text.
pub const SUMMARY_CLIENTS: usize = 10_000;
pub const SUMMARY_NAMES_BYTES: usize = 128 * 1024;
pub const SUMMARY_ITEM_COST: usize = 128;

/// How often one annotation may count (`docs/protocols/ably.md §9.5`).
pub const ANNOTATION_COUNT: u64 = 1_000_000;

/// What a message costs whose summary is in memory, beside its name and the summary.
pub const SUMMARY_COST: usize = 512;

/// The least time between two looks at summaries that are due.
pub const SUMMARY_TICK: Duration = Duration::from_millis(20);

/// A summary is kept on disk with every so many annotations, or as many as it lists clients: no more of them are counted
/// when it is read.
pub const SUMMARY_KEPT_EACH: usize = 256;

/// How long the summary of a message stays in memory that nobody annotates: whoever may resume may have missed it.
pub const SUMMARY_AGE: Duration = CONNECTION_STATE_TTL.saturating_add(MAX_IDLE_INTERVAL);

/// A summary is sent so long after the first change, then at most once in the second time; so many messages at once, or so
/// many bytes. One entry is not read with more bytes of them either.
pub const SUMMARY_DELAY: Duration = Duration::from_millis(50);
pub const SUMMARY_PAUSE: Duration = Duration::from_secs(1);
pub const SUMMARIES_AT_ONCE: usize = 100;
pub const SUMMARIES_BYTES: usize = 128 * 1024;

/// Messages whose summaries a channel that begins anew reads, because they were annotated lately.
pub const SUMMARIES_RECALLED: usize = 1_000;

/// Of that a client is sent so many clients of a name, and so many bytes of clientIds in all; the lists say that they are
/// clipped (`docs/protocols/ably.md §9.5`).
pub const SUMMARY_LISTED: usize = 100;
pub const SUMMARY_LISTED_BYTES: usize = 64 * 1024;

/// Longest id that a client may choose for a message, in bytes; it is kept for two minutes.
pub const MESSAGE_ID_BYTES: usize = 512;

/// What a message may have of data with all that was appended to it, in bytes (`docs/protocols/ably.md §9.4`).
pub const MESSAGE_TOTAL_BYTES: usize = 1024 * 1024;

/// Appends that have to be read on disk before the log keeps their message whole, and what each counts beside its data, in
/// bytes: as many as their message has (`core/growth.rs`).
pub const APPENDS_READ: usize = 64;
pub const APPEND_WEIGHT: usize = 1024;

/// Objects of a channel, and the bytes that they may have in all, as they are kept in memory; what was removed or deleted is
/// among them until its time is over.
pub const OBJECTS: usize = 20_000;
pub const OBJECTS_BYTES: usize = 13 << 19;

/// What an object, and an entry of a map, cost beside their texts and data.
pub const OBJECT_COST: usize = 384;
pub const OBJECT_ENTRY_COST: usize = 160;

/// How long what was removed or deleted is remembered, which clients are told (`docs/protocols/ably.md §10.7`), and how often
/// is looked for what is older.
pub const OBJECTS_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
pub const OBJECTS_LOOK: Duration = Duration::from_secs(60 * 60);

/// An object that could not be reached from root for so long is deleted.
pub const OBJECT_UNREACHABLE: Duration = Duration::from_secs(5 * 60);

/// Objects that were not changed for so long are kept on disk no longer.
pub const OBJECTS_UNUSED: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Keys of a path, and maps that are shown inside each other in an answer to a request; a deeper one is shown by its id. And
/// how many entries the paths of one request may take a look at.
pub const OBJECTS_VISITED: usize = 100_000;
pub const OBJECTS_NESTED: usize = 64;

/// What the nonce of an object that a client creates has at least, in characters.
pub const OBJECT_NONCE: usize = 16;

/// Presence data of one frame, in bytes; clients put many enters into one.
pub const PRESENCE_FRAME_BYTES: usize = 256 * 1024;

/// A page of a presence sync: whichever is reached first (§7.4).
pub const SYNC_PAGE_MEMBERS: usize = 100;
pub const SYNC_PAGE_BYTES: usize = 64 * 1024;

/// Longest clientId, in bytes (`docs/protocols/ably.md §12.6`).
pub const CLIENT_ID_BYTES: usize = 256;

/// What an attachment costs its connection, its hub and its channel together, beside the names that it is known by.
pub const ATTACHMENT_COST: usize = 640;

/// What a connection that can be resumed costs beside its clientId.
pub const CONNECTION_STATE_COST: usize = 256;

/// Networks whose new connections are rated at a time. Each is known until it may open a full burst again; beyond this
/// number another one is not rated.
pub const RATED_NETWORKS: usize = 65_536;

/// The part of `limits.memory` that bodies of requests may take while they are read: of one app, and of all whose app is not
/// known yet. At least two of the longest bodies.
pub const BODIES_PART: usize = 512;
pub const BODIES_LEAST: usize = 2 * REQUEST_BODY_BYTES;

/// What an open channel costs while nobody is attached to it: its actor and the first bytes of its window, which it may keep
/// without a charge of their own; what its window has beyond them is charged in steps, so that a publish touches no counter
/// that threads share.
pub const CHANNEL_COST: usize = 4 * 1024 + WINDOW_FREE;
pub const WINDOW_FREE: usize = 4 * 1024;
pub const WINDOW_STEP: usize = 16 * 1024;

/// How long a channel that was made for somebody cannot be evicted though nobody is attached yet.
pub const CHANNEL_OPENING: Duration = Duration::from_millis(100);

/// Channels that are evicted together when an account is full.
pub const EVICTED_AT_ONCE: usize = 16;

/// States of connections that are forgotten together when there is no memory.
pub const STATES_SHED: usize = 1_024;

/// How often the accounts are looked at. One that keeps more than so many hundredths of its limit is nearly full, and what is
/// cheapest to lose goes until it keeps less.
pub const RELIEF_CHECK: Duration = Duration::from_secs(1);
pub const NEARLY_FULL: usize = 90;

/// Whoever finds no room has it made at once. So long others may have locked what it is made of; and this is the least time
/// between two attempts to make room for the whole server of which the first found nothing.
pub const RELIEF_WAIT: Duration = Duration::from_millis(5);
pub const RELIEF_PAUSE: Duration = Duration::from_millis(10);

/// The windows of an app shrink again at once when the last time was worth it: so many bytes for each window that was looked
/// at. Otherwise once in [`RELIEF_CHECK`].
pub const SHRINK_WORTH: usize = 1024;

/// A client that lost its transport can resume its connection for this long (`docs/protocols/ably.md §4.4`).
pub const CONNECTION_STATE_TTL: Duration = Duration::from_secs(120);

/// What may wait for one channel's log: some commits at full speed. More publishes are refused.
pub const CHANNEL_HELD: usize = 16_384;

/// Messages that the differences of one entry are made to, on one thread: its subscriptions may have got different ones before
/// it. Those with yet another one get it whole.
pub const DELTA_BASES: usize = 8;

/// A channel sends its occupancy at most once in this time, to those who asked for it.
pub const OCCUPANCY_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two looks at members whose connections are lost.
pub const PRESENCE_TICK: Duration = Duration::from_millis(5);

/// Messages that wait for one worker's hub before channels publish no more. Some seconds of
/// deliveries at full load, and the entries are shared, so it costs little memory.
pub const HUB_BACKLOG: usize = 65_536;

/// A retired channel stays this long to pass on what was sent to it before it was forgotten.
/// Senders look an address up and use it at once, so any second would do.
pub const CHANNEL_FAREWELL: Duration = Duration::from_secs(1);

/// Channels look this often at what they still have to keep, depending on how long that is. With a
/// hundred thousand channels, more than once a second would be most of what the server does.
pub const CHANNEL_SWEEP_MIN: Duration = Duration::from_secs(1);
pub const CHANNEL_SWEEP_MAX: Duration = Duration::from_secs(10);

/// What a frame that waits in an outbox costs besides its bytes: its handle, a spare one (the queue
/// grows by doubling) and the bookkeeping of its allocation. Uncounted, tiny frames would cost three
/// times the limit that the operator has set.
pub const OUTBOX_FRAME_COST: usize = 128;

/// What an open connection costs while nothing waits for it, as measured (benches/README.md): its socket, its buffers, its
/// actor, and [`OUTBOX_FREE`].
pub const CONNECTION_COST: usize = 24 * 1024;

/// Plain HTTP connections that a network may have beside as many as it may have WebSockets: each of those begins as one.
pub const PLAIN_BESIDE: usize = 32;

/// What a connection costs as long as it is plain HTTP: its socket and the buffers of the parser.
pub const PLAIN_CONNECTION_COST: usize = 16 * 1024;

/// Of the descriptors that this process may have, connections never take the last tenth: it is for files and the log. Half of
/// that tenth is for connections from this machine, so that operators get in when all else is taken.
pub const KEPT_DESCRIPTORS: u64 = 10;

/// Bytes that may wait in an outbox without a charge of their own, so that a delivery to a reader that keeps up touches no
/// counter that threads share. They are part of [`CONNECTION_COST`].
pub const OUTBOX_FREE: usize = 8 * 1024;

/// What waits beyond them is charged in steps of so many bytes.
pub const OUTBOX_STEP: usize = 64 * 1024;

/// An outbox that has grown beyond this many frames gives its memory back once it is empty: idle
/// connections have to stay cheap.
pub const OUTBOX_KEPT_FRAMES: usize = 32;

/// Every frame costs 1 of `limits.publishes_per_second`, and 1 more for each so many bytes: the largest message of any
/// protocol in its frame costs no more than a small one, a full frame of presence does.
pub const FRAME_COST_BYTES: usize = 128 * 1024;

/// What an ATTACH costs beside the frame itself, with rewind, what a SYNC and an AUTH: each makes a channel, or the gate,
/// do several times the work of a publish. A client that comes back to 200 channels with rewind stays within a burst of 2000.
pub const ATTACH_COST: u32 = 4;
pub const REWIND_COST: u32 = 5;
pub const SYNC_COST: u32 = 9;
pub const AUTH_COST: u32 = 9;

/// A connection ends when it has sent, over its rate, that many times what the rate allows (`docs/protocols/ably.md §4.8`).
/// By the defaults 40000 frames at once or 10000 a second, for which refusing takes some hundredths of a processor.
pub const FLOOD_FACTOR: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// Bytes of a message that is not whole yet without a charge of their own; they are part of [`CONNECTION_COST`].
pub const INBOUND_FREE: usize = 8 * 1024;

/// Payload bytes of a frame from which on it has memory of its own while it is not whole.
pub const INBOUND_WHOLE: u64 = 4 * 1024;

/// Bytes of one connection that are decoded before the other connections of the thread have their turn.
pub const INBOUND_PORTION: usize = 32 * 1024;

/// Small frames that wait for one socket are put together up to this many bytes for one write.
pub const GATHER_BYTES: usize = 64 * 1024;

/// Sockets that are written to before the other tasks of the thread have their turn: at some
/// microseconds each, more would hold everybody up.
pub const WRITE_ROUND: usize = 256;

/// How long a close frame may take from the outbox to the wire before the socket is shut down behind
/// it. Nobody can tell when actix-http has written what it took from the body, but it writes at once.
pub const CLOSE_LINGER: Duration = Duration::from_millis(20);

/// A draining worker closes so many connections at once, and then pauses, so that their clients do not
/// all come back in the same moment.
pub const DRAIN_BATCH: usize = 200;
pub const DRAIN_PAUSE: Duration = Duration::from_millis(50);

/// How long a draining server waits until the transfers have ended. It sends one message to each: longer means that a
/// thread hangs.
pub const DRAIN_LAST_WORDS: Duration = Duration::from_secs(1);

/// How long whoever is connected has, to take what is on its way and to hang up, once a second signal has said that the
/// server is to end now.
pub const DRAIN_HURRIED: Duration = Duration::from_secs(1);

/// How often a draining server looks whether everybody has gone.
pub const DRAIN_CHECK: Duration = Duration::from_millis(20);

/// Connections that wait to be accepted. The LetShare app gives up for good after one failed
/// connect, so a burst has to fit.
pub const ACCEPT_BACKLOG: u32 = 4_096;

/// Longest head of a request, its target and headers: a token whose capability lists hundreds of channels comes in a target.
/// The first bytes are part of [`PLAIN_CONNECTION_COST`]; what is beyond them is charged in steps.
pub const HEAD_BYTES: usize = 32 * 1024;
pub const HEAD_FREE: usize = 8 * 1024;
pub const HEAD_STEP: usize = 8 * 1024;

/// What is read and thrown away behind the answer to a head that is too long, so that its sender sees the answer.
pub const REFUSED_READ: usize = 1024 * 1024;

/// A request's head has to be here within this time, however slowly it trickles.
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was answered for the last time is closed by then, whether or not the other side agrees.
pub const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the certificate files are looked at.
pub const CERTIFICATE_CHECK: Duration = Duration::from_secs(10);

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

/// Shortest nonce, in characters (`docs/protocols/ably.md §12.2`).
pub const NONCE_CHARS: usize = 16;

/// Apps that may exist at a time. Only a sandbox makes apps at run time: what each costs, and each byte of its description.
pub const APPS: usize = 10_000;
pub const APP_COST: usize = 4_096;
pub const APP_BYTE_COST: usize = 4;

/// Keys, rules, channels with fixtures that one app may have, and fixtures that one channel may have.
pub const APP_PARTS: usize = 1_000;

/// Longest token of a relay user, in bytes: it is part of a channel's name.
pub const RELAY_TOKEN_BYTES: usize = 1_024;

/// Longest body of a relay push, in bytes (`docs/protocols/relay.md §4`).
pub const RELAY_PUSH_BYTES: usize = 1024 * 1024;

/// A relay push may be delayed by this much (`docs/protocols/relay.md §4`).
pub const RELAY_DELAY: Duration = Duration::from_secs(2_592_000);

/// Delayed pushes that reached nobody and are still listed, the newest; and how many of those that are due are looked
/// at together while a server that has just started waits for its clients.
pub const RELAY_UNREACHED: usize = 100;
pub const RELAY_OVERDUE_ROWS: usize = 100;

/// Bytes of all delayed pushes together, on disk.
pub const RELAY_DELAYED_BYTES: usize = 1024 * 1024 * 1024;

/// Frames in a row that are not JSON before a relay client is closed (`docs/protocols/relay.md §3`).
pub const RELAY_UNREADABLE_FRAMES: u32 = 20;

/// Delayed pushes are looked at at least this often while there are any, since the wall clock can be set.
pub const RELAY_SCHEDULE_CHECK: Duration = Duration::from_millis(250);

/// Pushes that wait for one relay user who is away, and their bytes; the oldest go first
/// (`docs/protocols/relay.md §5`, `offline_ttl_seconds`).
pub const RELAY_KEPT_PUSHES: usize = 256;
pub const RELAY_KEPT_USER_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of the pushes that wait for all relay users together, on disk. A push takes this much more than it has: what
/// is in memory of one that waits on disk.
pub const RELAY_KEPT_BYTES: usize = 64 * 1024 * 1024;
pub const RELAY_KEPT_OVERHEAD: usize = 256;

/// How often pushes that waited too long are looked for.
pub const RELAY_KEPT_SWEEP: Duration = Duration::from_secs(60);

/// Rows of waiting pushes that are read at a time when a server starts.
pub const RELAY_KEPT_ROWS: usize = 100;

/// Longest `userId` of a LetShare page, in bytes. The app's is at most 12 characters and a suffix.
pub const USER_ID_BYTES: usize = 256;

/// Longest event name that can be subscribed to, in bytes. The app's are `signal:` and a `userId`.
pub const EVENT_NAME_BYTES: usize = 512;

/// File transfers that a server lists at a time, those included that have just ended and are remembered
/// for their late messages, and what each costs beside its ring.
pub const TRANSFERS: usize = 65_536;
pub const TRANSFER_COST: usize = 1_024;

/// Longest text field of a log line, in characters; an error's own words may be longer.
pub const LOG_FIELD_CHARS: usize = 64;
pub const LOG_ERROR_CHARS: usize = 512;
/// The text of a log line, in characters: a fault of a settings file names all of its lines.
pub const LOG_MESSAGE_CHARS: usize = 8_192;

/// Log lines that wait to be written, for stdout and for `errors.log` each: more than any burst that somebody reads.
/// Further ones are dropped and counted.
pub const LOG_LINES_WAITING: usize = 4_096;

/// Lines that the writer of `errors.log` takes together.
pub const LOG_LINES_AT_ONCE: usize = 256;

/// How long the last lines may take at the end, before the process goes without them.
pub const LOG_LAST_LINES: Duration = Duration::from_secs(2);

/// How long the lines for the person at the terminal wait for those of the log above them.
pub const BANNER_DELAY: Duration = Duration::from_millis(50);

/// Claims of a token that are named to say that the right one is not among them.
pub const CLAIMS_NAMED: usize = 8;

/// How much of what a client wrote is repeated in the answer, in characters.
pub const ECHOED_CHARS: usize = 64;

/// Frames of a transfer that are kept for a receiver who comes back; a sender may have as many
/// on the way. The app has at most 24.
pub const TRANSFER_RING_FRAMES: u64 = 40;

/// Messages that wait for one transfer; its sender's window is far below.
pub const TRANSFER_MAILBOX: usize = 256;

/// Longest id of a transfer, in bytes; it has to fit into the header of a frame.
pub const TRANSFER_ID_BYTES: usize = 128;

/// Longest control message of a transfer, in bytes; the app's are below 3 KiB. What is kept of them is
/// kept for minutes.
pub const TRANSFER_CONTROL_BYTES: usize = 8 * 1024;

/// Transfers to one user in one room that are listed, those that ended a moment ago included.
pub const TRANSFERS_LISTED: usize = 64;

/// Frames of transfers shorter than this are copied: a slice would keep the whole buffer alive that
/// they were read into.
pub const COPIED_FRAME_BYTES: usize = 32 * 1024;

/// Chunks that one message may ask for again: what the app asks for.
pub const RESEND_CHUNKS: usize = 256;

/// Chunks that may have been asked for again and not come yet.
pub const RESEND_PENDING: usize = 512;

/// A request for a transfer that nobody answers.
pub const TRANSFER_PENDING: Duration = Duration::from_secs(30);

/// A receiver whose connection dropped may come back within this time.
pub const TRANSFER_RETURN: Duration = Duration::from_secs(30);

/// A receiver that is back sooner was never away, as far as its sender knows: the app shows every notice.
pub const TRANSFER_NOTICE: Duration = Duration::from_secs(3);

/// How long a connection that may be dead has to show any sign of life. Its answer to the ping waits behind the
/// file that it receives, but a page also says `ack` every half mebibyte: that is in time above 175 kB/s.
pub const PROBE_PATIENCE: Duration = Duration::from_secs(3);

/// A transfer in which nothing happens at all.
pub const TRANSFER_IDLE: Duration = Duration::from_secs(120);

/// Late messages of an ended transfer are ignored for this long.
pub const TRANSFER_ENDED_KEPT: Duration = Duration::from_secs(30);

/// A receiver who was away at the end gets the notice of it when it comes back within this time.
pub const TRANSFER_ENDING_KEPT: Duration = Duration::from_secs(120);

/// How often transfers look at the clock.
pub const TRANSFER_TICK: Duration = Duration::from_secs(1);

/// Attempts at PRO activation that one address may make each minute.
pub const ACTIVATION_ATTEMPTS: NonZeroU32 = NonZeroU32::new(5).unwrap();

/// Largest request for PRO activation, in bytes; it has two texts.
pub const ACTIVATION_BODY_BYTES: usize = 256 * 1024;

/// Addresses remembered for that before those that have been quiet are forgotten.
pub const ACTIVATION_ADDRESSES: usize = 1_024;

/// What is written to disk in one transaction: at most so many writes or bytes, and no longer gathered than
/// that. One sync serves them all (docs/architecture.md §6).
pub const COMMIT_JOBS: usize = 1_024;
pub const COMMIT_BYTES: usize = 8 * 1024 * 1024;
pub const COMMIT_WAIT: Duration = Duration::from_millis(2);

/// What may wait for the disk, in writes and bytes; more is refused. Some seconds at full speed.
pub const STORE_QUEUE_JOBS: usize = 65_536;
pub const STORE_QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// What channels may have waiting of it, half of what the other apps have left for each app, and what a write of theirs counts
/// beside its bytes. The rest is for everything else that is written.
pub const STORE_CHANNELS_BYTES: usize = STORE_QUEUE_BYTES / 4 * 3;
pub const STORE_WRITE_COST: usize = STORE_QUEUE_BYTES / STORE_QUEUE_JOBS;

/// Entries that the sweep of the data file removes in one transaction, and how often it looks.
pub const SWEEP_ENTRIES: usize = 256;
pub const SWEEP_PAUSE: Duration = Duration::from_secs(30);

/// It looks at all channels this often, in between at those that have changed or are due; so many of either are listed
/// beforehand, and of all at a time.
pub const SWEEP_ALL: Duration = Duration::from_secs(600);
pub const SWEEP_AGENDA: usize = 10_000;

/// What is read of a backlog at a time, in bytes of memory, as the cost of an entry counts them; the next when the socket
/// has taken it. The last entry of a portion may be longer.
pub const BACKLOG_PORTION: usize = 64 * 1024;

/// What a backlog, or whatever else is framed only as its socket drains, costs while it waits, beside what it keeps.
pub const OUTBOX_SOURCE_COST: usize = 1024;

/// How often an outbox goes on with a backlog in one turn, before the other sockets of the thread have theirs.
pub const OUTBOX_PORTIONS: usize = 16;

/// What one request reads of the file before the others have their turn, in rows and bytes.
pub const READ_ROWS: usize = 2_000;
pub const READ_BYTES: usize = 4 * 1024 * 1024;

/// Who comes back late has so much read ahead for those who missed a little more.
pub const BACKLOG_AHEAD: usize = 1024 * 1024;

/// What was read back of a channel's past stays in memory this long, for others who come back for it.
pub const BACKLOG_KEPT: Duration = Duration::from_secs(20);

/// Longest body of a request to the Ably interface, in bytes (`docs/protocols/ably.md §5.11`).
pub const REQUEST_BODY_BYTES: usize = 2 * 1024 * 1024;

/// Longest request for a token, in bytes: a capability and some short texts. Nobody is known yet when it
/// is read.
pub const TOKEN_REQUEST_BYTES: usize = 64 * 1024;

/// A request's body has to be here within this time after its head, however slowly it trickles. While the server waits for it,
/// each of the shorter times has to bring so many bytes, or the end.
pub const REQUEST_BODY_TIMEOUT: Duration = Duration::from_secs(30);
pub const BODY_PATIENCE: Duration = Duration::from_secs(10);
pub const BODY_LEAST_BYTES: usize = 10 * 1024;

/// What the HTTP parser gets of a connection before it has to parse and what it has parsed has to be taken, in bytes, beside
/// what its last read brings.
pub const READ_TURN: usize = 4 * 1024;

/// What one read of a connection brings at most, in bytes: as much as the parser's buffer has room for while it is small.
pub const READ_AT_ONCE: usize = 8 * 1024;

/// The pause between two such turns of what is thrown away, since its sender has broken a rule.
pub const DISCARD_PAUSE: Duration = Duration::from_millis(10);

/// An answer of which nothing is taken for so long is given up.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait that `Retry-After` asks for, in seconds.
pub const RETRY_AFTER_MAX: u64 = 60;

/// Items on a page of a list: unless asked otherwise, and at most (`docs/protocols/ably.md §5.11`).
pub const PAGE_ITEMS: usize = 100;
pub const PAGE_ITEMS_MAX: usize = 1_000;

/// Items on a page of the admin API, and connections of one worker thread that are looked at for it: those that a filter does
/// not want count as well.
pub const ADMIN_PAGE: usize = 100;
pub const LISTED_AT_ONCE: usize = 1_000;

/// How long a connection to the port of TLS may wait with its first byte.
pub const TLS_BEGIN: Duration = Duration::from_secs(3);

/// Bytes of a body of the admin API.
pub const ADMIN_BODY: usize = 128 * 1024;

/// How long a session of the admin API lasts, and how many there are at most: the oldest goes.
pub const ADMIN_SESSION: Duration = Duration::from_secs(12 * 3_600);
pub const ADMIN_SESSIONS: usize = 64;

/// Passwords that one network may try, and networks whose attempts are remembered; beyond them nobody new may try.
pub const LOGINS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN;
pub const LOGIN_BURST: NonZeroU32 = NonZeroU32::new(5).unwrap();
pub const LOGIN_NETWORKS: usize = 4_096;

/// Bytes that are kept of what a client calls itself; they are part of [`CONNECTION_COST`].
pub const AGENT_BYTES: usize = 128;

/// What is handed out of a page at a time, in bytes of memory, as the cost of an entry counts them; the next when the
/// client has taken it. And what is given to its socket at a time.
pub const PAGE_PORTION: usize = 128 * 1024;
pub const ANSWER_SLICE: usize = 16 * 1024;

/// Longest expression that chooses messages, in bytes, and how deeply its parts may stand in each other
/// (`docs/protocols/ably.md §5.7`).
pub const EXPRESSION_BYTES: usize = 1_024;
pub const EXPRESSION_DEPTH: usize = 64;

/// Different expressions by which one channel's messages are chosen on one worker thread: each is evaluated for each message.
pub const EXPRESSIONS_PER_CHANNEL: usize = 32;

/// How long statistics of minutes and of hours are kept; those of days and months stay (`docs/protocols/ably.md §11.8`).
pub const STATS_MINUTES: Duration = Duration::from_secs(7 * 24 * 3_600);
pub const STATS_HOURS: Duration = Duration::from_secs(90 * 24 * 3_600);

/// How often connections and channels are counted for their peaks, and how often statistics are written down: each time costs
/// a write that waits for the disk.
pub const STATS_SAMPLE: Duration = Duration::from_secs(1);
pub const STATS_FLUSH: Duration = Duration::from_secs(30);

/// Rows of statistics that are read, or removed, at a time.
pub const STATS_SWEEP: usize = 1_000;

/// Channels of one batch, and how many of them are asked at once (`docs/protocols/ably.md §11.9`).
pub const BATCH_CHANNELS: usize = 100;
pub const BATCH_AT_ONCE: usize = 8;

/// Messages or presence events of one Ably frame or REST publish (`docs/protocols/ably.md §6.1`).
pub const FRAME_ITEMS: usize = 1_000;

/// Levels that MessagePack may nest: as many as serde_json allows in JSON.
pub const MSGPACK_DEPTH: usize = 128;

/// Longest name of a mailbox, in bytes (`docs/protocols/postoffice.md §6`).
pub const POST_NAME_BYTES: usize = 256;

/// Mailboxes that are remembered; whoever connects beyond that gets nothing stored. About 300 bytes each.
pub const POST_MAILBOXES: usize = 100_000;

/// Messages out of a mailbox on the way to one connection that it has not confirmed, and their bytes; more wait in the
/// mailbox (`docs/protocols/postoffice.md §4`). They have to fit into the smallest outbox that is allowed beside one message.
pub const MAILBOX_UNCONFIRMED: usize = 256;
pub const MAILBOX_UNCONFIRMED_BYTES: usize = 1024 * 1024;

/// What a message in a mailbox costs in memory, beside its key, and its body while that is not on disk.
pub const MAILBOX_MESSAGE_COST: usize = 192;

/// Rows of waiting messages that are read at a time when a server starts.
pub const MAILBOX_ROWS: usize = 1_000;

/// Ids of messages that one mailbox remembers for `IDEMPOTENCY_WINDOW`.
pub const POST_IDS: usize = 4_096;

/// Messages that are looked through for one request for a thread.
pub const POST_THREAD_LETTERS: usize = 20_000;

/// How often messages that are too old are looked for.
pub const POST_SWEEP: Duration = Duration::from_secs(60);

/// Rows of the chat archive that are read or removed at a time.
pub const ARCHIVE_ROWS: usize = 1_000;

/// How often the chat archive removes what is too old.
pub const ARCHIVE_SWEEP: Duration = Duration::from_secs(60);

/// How long a call of the chat archive waits for MongoDB to be found, and how long it takes at most: a sender waits for
/// it, and gets 10008 then (`docs/protocols/chat.md §9`).
pub const ARCHIVE_FIND: Duration = Duration::from_secs(3);
pub const ARCHIVE_CALL: Duration = Duration::from_secs(5);

/// Connections to MongoDB unless its URI says otherwise. A message takes one for a few milliseconds.
pub const ARCHIVE_CONNECTIONS: u32 = 32;

/// Calls of the moderation service at a time; each takes a thread. More wait, within their own time limit.
pub const MODERATION_CALLS: usize = 32;

/// Failures in a row after which the moderation service is left alone, and for how long.
pub const MODERATION_FAILURES: u32 = 5;
pub const MODERATION_PAUSE: Duration = Duration::from_secs(10);

/// A new token for the moderation service is fetched this long before the old one ends.
pub const MODERATION_TOKEN_MARGIN: Duration = Duration::from_secs(60);

/// Longest answer of the moderation service that is read, in bytes; real ones are below 10 KiB.
pub const MODERATION_ANSWER_BYTES: u64 = 256 * 1024;

/// Entries that wait to be published on a stream, and their bytes; more are refused (`docs/protocols/group.md §7`).
pub const STREAM_QUEUE: usize = 10_000;
pub const STREAM_QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// Entries that a stream keeps, about (`docs/protocols/group.md §7`).
pub const STREAM_ENTRIES: usize = 100_000;

/// Entries that are read from streams or published on one at a time, and bytes that are published.
pub const STREAM_PAGE: usize = 256;
pub const STREAM_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Entries of all streams that are remembered so that none is taken twice: about 100 bytes each.
pub const STREAM_IDS: usize = 16_384;

/// A read of streams waits this long for entries before it is asked again.
pub const STREAM_BLOCK: Duration = Duration::from_secs(2);

/// What only concerns who is connected is not delivered any more when an instance was away for longer.
pub const STREAM_STALE: Duration = Duration::from_secs(60);

/// A consumer that handled nothing and asked for nothing for so long is forgotten.
pub const STREAM_CONSUMER_GONE: Duration = Duration::from_hours(1);

/// How long Redis may take to accept a connection and to answer a command.
pub const REDIS_CONNECT: Duration = Duration::from_secs(3);
pub const REDIS_ANSWER: Duration = Duration::from_secs(5);

/// What may wait for one line of scripts, in bytes of arguments; more is refused.
pub const REDIS_WAITING_BYTES: usize = 16 << 20;

/// Scripts that are sent at a time, and about so many bytes of arguments.
pub const REDIS_BATCH: usize = 128;
pub const REDIS_BATCH_BYTES: usize = 1 << 20;

/// Topics that are subscribed to by one command.
pub const REDIS_TOPICS: usize = 1_000;

/// How often Redis is asked whether it is there.
pub const REDIS_CHECK: Duration = Duration::from_secs(1);

/// The pauses between attempts to reach Redis: doubled from the first to the last, each shortened by chance.
pub const REDIS_PAUSE_FIRST: Duration = Duration::from_millis(50);
pub const REDIS_PAUSE_LAST: Duration = Duration::from_secs(3);

/// Users whose state is sent to Redis at a time, and how often that is repeated for all who are online.
pub const ONLINE_PAGE: usize = 256;
pub const ONLINE_REFRESH: Duration = Duration::from_mins(10);

/// How long it is kept when a user was online (`docs/protocols/group.md §7`).
pub const STATUS_KEPT: Duration = Duration::from_hours(30 * 24);

/// Longest message of a chat, in bytes of UTF-8: what the moderation service takes (`docs/protocols/chat.md §7`).
pub const CHAT_CONTENT_BYTES: usize = 20_000;

/// Longest frame of a chat client, and longest body of a request, in bytes (`docs/protocols/chat.md §7`).
pub const CHAT_FRAME_BYTES: usize = 64 * 1024;

/// Longest id of a chat room, in bytes: it is part of a channel's name.
pub const CHAT_ROOM_ID_BYTES: usize = 256;

/// Longest name and description of a chat group, in bytes.
pub const CHAT_GROUP_NAME_BYTES: usize = 256;
pub const CHAT_GROUP_DESCRIPTION_BYTES: usize = 4_096;

/// Members of one chat group.
pub const CHAT_GROUP_MEMBERS: usize = 5_000;

/// Users who are remembered to have taken part in one chat group that was not made here: later ones do not read its
/// history. Those of all groups that are kept in memory beside, and for how long until the store is asked again; it is
/// told at least so often that a group is in use.
pub const CHAT_PARTICIPANTS: usize = 10_000;
pub const CHAT_PARTICIPANTS_KNOWN: usize = 262_144;
pub const CHAT_PARTICIPANTS_FRESH: Duration = Duration::from_secs(10 * 60);
pub const CHAT_PARTICIPANTS_TOUCHED: Duration = Duration::from_secs(3_600);

/// How long the creator of a chat group waits until the members who are online are there.
pub const CHAT_GROUP_WAIT: Duration = Duration::from_secs(2);

/// Groups that one user may have made, and groups whose messages one connection gets: each is a channel.
pub const CHAT_GROUPS_MADE: usize = 200;
pub const CHAT_GROUPS: usize = 2_000;

/// Longest id that a chat client gives a request, which is repeated in the answer, or a message; in bytes.
pub const CHAT_REQUEST_ID_BYTES: usize = 256;
pub const CHAT_CLIENT_ID_BYTES: usize = 256;

/// Requests of one chat connection that wait for the one before them: moderation may take seconds. More are refused.
pub const CHAT_WAITING_REQUESTS: usize = 64;

/// Rooms that one chat connection may have joined.
pub const CHAT_ROOMS: usize = 100;

/// First answers to messages with a `client_id` that are remembered: about 500 bytes each.
pub const CHAT_ANSWERS: usize = 50_000;

/// Missed messages that are read at a time, and sent at most: older ones are in the history.
pub const CHAT_REPLAY_PAGE: usize = 100;
pub const CHAT_REPLAY_MESSAGES: usize = 1_000;

/// New messages that wait until the missed ones have been sent, and their bytes; what is more is read from the store.
pub const CHAT_HELD_MESSAGES: usize = 1_000;
pub const CHAT_HELD_BYTES: usize = 64 * 1024;

/// How soon a chat connection asks again for its groups when the store has not answered.
pub const CHAT_GROUPS_RETRY: Duration = Duration::from_secs(1);

/// Messages on a page of a chat's history: unless asked otherwise, and at most (`docs/protocols/chat.md §3`).
pub const CHAT_PAGE_MESSAGES: usize = 20;
pub const CHAT_PAGE_MESSAGES_MAX: usize = 100;

/// Longest name of a group or a user of the group protocol, in bytes: it is part of a channel's name.
pub const GROUP_NAME_BYTES: usize = 256;

/// Groups, members of one, and groups of one user. All are kept in memory: about 200 bytes for each member.
pub const GROUPS: usize = 1_000_000;
pub const GROUP_MEMBERS: usize = 100_000;
pub const GROUPS_OF_USER: usize = 5_000;

/// Longest message of the group protocol, in bytes; up to the second it is answered with 413, above it the connection
/// is closed (`docs/protocols/group.md §5, §9`).
pub const GROUP_MESSAGE_BYTES: usize = 512 * 1024;
pub const GROUP_FRAME_BYTES: usize = 576 * 1024;

/// Attempts to authenticate that one connection of the group protocol has (`docs/protocols/group.md §5`).
pub const GROUP_AUTH_ATTEMPTS: u32 = 5;

/// A group message that comes again within this time is known (`docs/protocols/group.md §6`).
pub const GROUP_SEEN: Duration = Duration::from_secs(24 * 3_600);

/// Missed messages that follow `auth_success` (`docs/protocols/group.md §6`), their bytes, how many of a group are read
/// at a time, and what may come meanwhile.
pub const GROUP_RESUMED: usize = 500;
pub const GROUP_RESUMED_BYTES: usize = 4 * 1024 * 1024;
pub const GROUP_RESUMED_PAGE: usize = 32;
pub const GROUP_HELD: usize = 4_096;

/// Messages that the rate limit refuses in a minute before the connection is closed (`docs/protocols/group.md §8`).
pub const GROUP_REFUSALS: u32 = 100;
pub const GROUP_REFUSALS_WITHIN: Duration = Duration::from_secs(60);

/// Users and addresses whose rates are remembered before those that have been quiet are forgotten.
pub const GROUP_RATES: usize = 16_384;

/// Failed attempts to authenticate count for this long; addresses that are remembered for that.
pub const GROUP_FAILURES_WITHIN: Duration = Duration::from_secs(600);
pub const GROUP_FAILING: usize = 65_536;

/// Messages that wait to be published after their commit, of all groups and of one, and their bytes; more are refused.
pub const GROUP_OUTSTANDING: usize = 65_536;
pub const GROUP_OUTSTANDING_OF_ONE: usize = 4_096;
pub const GROUP_OUTSTANDING_BYTES: usize = 32 * 1024 * 1024;
pub const GROUP_OUTSTANDING_BYTES_OF_ONE: usize = 8 * 1024 * 1024;

/// How many of them go to their channel together, at most.
pub const GROUP_TOGETHER: usize = 64;

/// The pause before a channel that is too busy is asked again, and after how many of them the log says that it still
/// is.
pub const GROUP_RETRY: Duration = Duration::from_millis(5);
pub const GROUP_RETRIES: u32 = 2_000;

/// Unread notifications and, in one group, messages that are counted, and how many of its newest are looked at for
/// that.
pub const GROUP_UNREAD: usize = 10_000;
pub const GROUP_UNREAD_MESSAGES: usize = 1_000;
pub const GROUP_UNREAD_ROWS: usize = 10_000;

/// Requests that read what one protocol has on disk at a time, beside the worker threads; others wait for their turn.
pub const READERS: usize = 4;

/// Rows that are read at a time when a server starts, and removed in one commit; how often that is done.
pub const GROUP_ROWS: usize = 1_000;
pub const GROUP_SWEPT: usize = 256;
pub const GROUP_SWEEP: Duration = Duration::from_secs(60);

/// Items on a page of history: unless asked otherwise, and at most (`docs/protocols/group.md §2`).
pub const GROUP_PAGE: usize = 20;
pub const GROUP_PAGE_MAX: usize = 100;

/// Longest body of a request to the group interface, in bytes.
pub const GROUP_BODY_BYTES: usize = 1024 * 1024;

/// Events of Redis streams that wait to be handled.
pub const GROUP_INBOX: usize = 256;

/// How long a server that stops waits for Redis to take what its groups still have to publish.
pub const GROUP_LAST_WORDS: Duration = Duration::from_secs(2);

/// Notifications sent to Redis that are waited for, so that they are not shown twice.
pub const GROUP_ECHOES: usize = 10_000;
