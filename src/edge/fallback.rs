//! The answers of last resort: nothing is there, or the handler broke (docs/protocols/letshare.md §1.2).

use std::panic::AssertUnwindSafe;

use actix_web::{
    Error, HttpResponse, ResponseError,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::Next,
};
use futures_util::FutureExt as _;
use serde::Serialize;

use crate::edge::{http::to_the_end::to_the_end, refusal::explained};

/// Unknown path or method. For `App::default_service`.
pub async fn not_found() -> HttpResponse {
    let nothing = HttpResponse::NotFound().content_type("text/plain").body("404 page not found");
    explained(nothing, "no protocol that is enabled on this port has this path with this method")
}

/// Has a request carried out [to its end](to_the_end), and turns a panic of its handler into the documented 500, so that a
/// fault of one request neither cuts the connection without an answer nor reaches the others. For
/// `actix_web::middleware::from_fn`, inside of what must also see the answer, such as CORS.
///
/// # Errors
/// [`HandlerPanicked`], and those of the wrapped handlers.
pub async fn catch_panic<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    // Copied, not the request cloned: the router panics on a request that somebody else holds.
    // Path only: the query carries tokens.
    let (method, path) = (request.method().clone(), request.path().to_owned());
    // A broken invariant cannot be met again: what handlers share is behind atomics, locks that do
    // not poison, or actors with mailboxes of their own.
    match AssertUnwindSafe(to_the_end(request, next)).catch_unwind().await {
        Ok(answer) => answer,
        Err(_) => {
            // The panic hook has already said what and where.
            tracing::error!(%method, path, "a request handler panicked; answered 500");
            Err(HandlerPanicked.into())
        }
    }
}

/// The handler of a request panicked.
#[derive(Debug, thiserror::Error)]
#[error("the request handler panicked")]
pub struct HandlerPanicked;

#[derive(Serialize)]
struct ErrorBody {
    error: &'static str,
    message: &'static str,
    code: u16,
}

impl ResponseError for HandlerPanicked {
    fn status_code(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        HttpResponse::InternalServerError().json(ErrorBody {
            error: "内部服务器错误",
            message: "服务器遇到了意外错误，请稍后重试",
            code: 500,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use actix_web::{
        App,
        body::to_bytes,
        dev::Service,
        middleware::from_fn,
        test::{TestRequest, call_service, init_service, read_body},
        web,
    };

    use super::*;

    #[actix_web::test]
    async fn a_panic_becomes_the_documented_500() {
        let broken = || async { panic!("a fault in a handler") as HttpResponse };
        let app = App::new().wrap(from_fn(catch_panic)).route("/broken/{id}", web::get().to(broken));
        let app = init_service(app).await;

        let request = TestRequest::with_uri("/broken/7").to_request();
        let response = app.call(request).await.unwrap_err().error_response();

        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            to_bytes(response.into_body()).await.unwrap(),
            r#"{"error":"内部服务器错误","message":"服务器遇到了意外错误，请稍后重试","code":500}"#
        );
    }

    #[actix_web::test]
    async fn nothing_there_is_told_in_plain_text() {
        let app = App::new().wrap(from_fn(catch_panic)).default_service(web::to(not_found));
        let app = init_service(app).await;

        let response = call_service(&app, TestRequest::with_uri("/x").to_request()).await;

        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers().get("content-type").unwrap(), "text/plain");
        assert_eq!(read_body(response).await, "404 page not found");
    }
}
