//! Every number that bounds a queue, a buffer or a wait and that nobody has to set, by its subject. What operators
//! do set stands, with its default and reason, in `configs/default.yaml`.

mod ably;
mod accounts;
mod annotations;
mod channels;
mod chat;
mod cluster;
mod group;
mod http;
mod letshare;
mod objects;
mod operations;
mod postoffice;
mod presence;
mod relay;
mod sockets;
mod store;

pub use {
    self::ably::*, self::accounts::*, self::annotations::*, self::channels::*, self::chat::*, self::cluster::*,
    self::group::*, self::http::*, self::letshare::*, self::objects::*, self::operations::*, self::postoffice::*,
    self::presence::*, self::relay::*, self::sockets::*, self::store::*,
};
