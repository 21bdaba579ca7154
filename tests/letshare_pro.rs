//! PRO over real sockets: `protocols/letshare.md §3.6`.
