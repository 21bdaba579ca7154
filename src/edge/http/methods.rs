//! Which methods a page is asked for with.

use actix_web::{
    Route,
    guard::{self, Guard},
    web,
};

/// GET, and HEAD, which load balancers and monitors ask with: a page has both or none (RFC 9110 §9.3.2).
pub fn reads() -> impl Guard {
    guard::Any(guard::Get()).or(guard::Head())
}

/// A route for those.
pub fn read() -> Route {
    web::route().guard(reads())
}
