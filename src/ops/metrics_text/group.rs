//! What the group protocol counts (`docs/protocols/group.md §8`).

use super::{Family, Number};
use crate::actors::metrics::GroupFigures;

pub fn families(figures: &GroupFigures) -> Vec<Family> {
    // Taken apart without `..`, so that a new figure cannot be forgotten.
    let GroupFigures {
        connections,
        users,
        frames,
        errors,
        stored,
        storing,
        undelivered,
        failed_auth,
        barred,
        redis_up,
        redis_waiting,
        redis_published,
        redis_received,
        redis_malformed,
    } = *figures;
    let counter = |what, unit, value, help| Family::of(what, unit, true, Number::Whole(value), help);
    let gauge = |what, unit, value, help| Family::of(what, unit, false, Number::Whole(value), help);
    let by = |what, unit, help, counts: &[(&'static str, u64)]| Family {
        what,
        unit,
        rises: true,
        help,
        values: counts.iter().map(|(reason, count)| (Some(*reason), Number::Whole(*count))).collect(),
    };
    vec![
        gauge("group_open", "connections", connections, "Connections of the group protocol open now"),
        gauge("group_online", "users", users, "Users with an authenticated connection here now"),
        by("group_received", "frames", "Frames of group clients, by type", &frames),
        by("group_told", "errors", "Errors that group clients were told, by code", &errors),
        counter("group_stored", "messages", stored, "Group messages that were stored"),
        Family::of(
            "group_storing",
            "seconds",
            true,
            Number::Real(storing.as_secs_f64()),
            "Time from the arrival of group messages to their commit, all together",
        ),
        gauge("group_undelivered", "messages", undelivered, "Stored group messages that wait to be delivered now"),
        counter("group_failed", "attempts", failed_auth, "Attempts of group clients to authenticate that failed"),
        counter(
            "group_barred",
            "requests",
            barred,
            "Requests from addresses on the blacklist of the group protocol, banned, or too frequent",
        ),
        gauge("group_redis", "up", redis_up, "Whether Redis answers now"),
        gauge("group_redis_waiting", "entries", redis_waiting, "Stream entries that wait for Redis now"),
        counter("group_redis_published", "entries", redis_published, "Stream entries that Redis took"),
        counter("group_redis_received", "entries", redis_received, "Stream entries of others that were understood"),
        counter(
            "group_redis_malformed",
            "entries",
            redis_malformed,
            "Stream entries of others that were not understood",
        ),
    ]
}
