//! From a request for a token to a token (`protocols/ably.md §11.3`).
