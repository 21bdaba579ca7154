//! Chats, their archive and their moderation.

use std::time::Duration;

/// Rows of the chat archive that are read or removed at a time.
pub const ARCHIVE_ROWS: usize = 1_000;

/// What a row of the archive costs on Redis beside its bytes.
pub const ARCHIVE_ROW_COST: usize = 160;

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
/// told at least so often that a group is in use. Other nodes are asked who has come since they were asked last, and so
/// long before.
pub const CHAT_PARTICIPANTS: usize = 10_000;
pub const CHAT_PARTICIPANTS_KNOWN: usize = 262_144;
pub const CHAT_PARTICIPANTS_FRESH: Duration = Duration::from_secs(10 * 60);
pub const CHAT_PARTICIPANTS_TOUCHED: Duration = Duration::from_secs(3_600);
pub const CHAT_PARTICIPANTS_SLACK: Duration = Duration::from_secs(10);

/// How long the creator of a chat group waits until the members who are online are there, and how long another node
/// does that is asked for it: what it says has to come within [`NODE_ANSWER`](super::NODE_ANSWER).
pub const CHAT_GROUP_WAIT: Duration = Duration::from_secs(2);
pub const CHAT_GROUP_WAIT_ELSEWHERE: Duration = Duration::from_millis(1_500);

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
