#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use actix_web::{
    App, HttpResponse,
    http::{Method, StatusCode, header::HeaderName},
    middleware::from_fn,
    test::{TestRequest, call_service, init_service, read_body},
    web,
};

use super::*;

fn policy(allow_lan: bool) -> OriginPolicy {
    let allowed = ["https://letshare.fun", "http://localhost:5173", "https://Cdn.LetShare.fun/"];
    OriginPolicy::new(&config::Cors { allowed_origins: allowed.map(String::from).to_vec(), allow_lan }, &own_hosts())
}

fn own_hosts() -> OwnHosts {
    OwnHosts::new(&["broker.example".to_owned()])
}

/// docs/protocols/letshare.md §4 "CORS"; the host of the server is `broker.example:8080`.
#[test]
fn every_origin_gets_the_documented_verdict() {
    use Verdict::{CrossOrigin, Plain, Refused};
    let table = [
        ("", Plain),
        ("http://broker.example:8080", Plain),
        ("https://broker.example:8080", Plain),
        ("http://broker.example", Refused),
        ("http://broker.example:80800", Refused),
        ("http://broker.example:8080/", Refused),
        ("ws://broker.example:8080", Refused),
        ("broker.example:8080", Refused),
        ("http://user@broker.example:8080", Refused),
        ("https://letshare.fun", CrossOrigin),
        ("https://cdn.letshare.fun", CrossOrigin),
        ("http://localhost:5173", CrossOrigin),
        ("http://letshare.fun", Refused),
        ("https://letshare.fun/", Refused),
        ("https://letshare.fun.", Refused),
        ("https://letshare.fun:443", Refused),
        ("https://LETSHARE.FUN", Refused),
        ("https://letshare.fun.evil.example", Refused),
        ("https://evil.example/https://letshare.fun", Refused),
        ("https://letshare.fun@evil.example", Refused),
        ("https://evil.example#https://letshare.fun", Refused),
        (" https://letshare.fun", Refused),
        ("https://letshare.fun https://evil.example", Refused),
        ("null", Refused),
        ("*", Refused),
        ("http://localhost", Refused),
        ("http://localhost:3001", Refused),
        ("http://127.0.0.1:5173", Refused),
        ("http://[::1]:5173", Refused),
        ("http://192.168.1.7", CrossOrigin),
        ("http://192.168.1.7/", CrossOrigin),
        ("https://192.168.1.255:65535", CrossOrigin),
        ("http://192.168.1.0:5173", CrossOrigin),
        ("http://192.168.1.evil.example", Refused),
        ("http://192.168.1.7.evil.example", Refused),
        ("http://192.168.1.7.", Refused),
        ("http://192.168.1.7//", Refused),
        ("http://192.168.1.7/path", Refused),
        ("http://192.168.1.7?x", Refused),
        ("http://192.168.1.256", Refused),
        ("http://192.168.1.007", Refused),
        ("http://192.168.1", Refused),
        ("http://192.168.2.7", Refused),
        ("http://192.168.1.7:", Refused),
        ("http://192.168.1.7:+80", Refused),
        ("http://192.168.1.7:65536", Refused),
        ("http://192.168.1.7:80:80", Refused),
        ("http://192.168.1.7@evil.example", Refused),
        ("http://192.168.1.7:80@evil.example", Refused),
        ("http://evil.example@192.168.1.7", Refused),
        ("http://3232235783", Refused),
        ("http://0xc0.0xa8.1.7", Refused),
        ("http://[::ffff:192.168.1.7]", Refused),
        ("HTTP://192.168.1.7", Refused),
        ("ftp://192.168.1.7", Refused),
        ("http://https://192.168.1.7", Refused),
        ("http://192.168.1.\u{0667}", Refused),
    ];
    for (origin, expected) in table {
        let verdict = policy(true).verdict(Some(origin), Some("broker.example:8080"));
        assert_eq!(verdict, expected, "Origin: {origin:?}");
    }
}

#[test]
fn a_server_reached_by_ipv6_is_its_own_host() {
    let verdict = policy(false).verdict(Some("http://[::1]:8080"), Some("[::1]:8080"));
    assert_eq!(verdict, Verdict::Plain);
}

#[test]
fn the_lan_is_refused_unless_the_setting_allows_it() {
    let verdict = policy(false).verdict(Some("http://192.168.1.7"), None);
    assert_eq!(verdict, Verdict::Refused);
}

#[test]
fn a_request_without_origin_is_no_page() {
    assert_eq!(policy(false).verdict(None, None), Verdict::Plain);
}

async fn answer(request: TestRequest) -> ServiceResponse<impl MessageBody> {
    let policy = Arc::new(policy(true));
    let app = App::new()
        .wrap(from_fn(move |request, next| enforce(policy.clone(), request, next, |_, _| {})))
        .route("/", web::get().to(|| async { HttpResponse::Ok().append_header((VARY, "Accept")).body("hello") }))
        .route("/fails", web::get().to(|| async { Err::<HttpResponse, _>(actix_web::error::ErrorImATeapot("no")) }));
    call_service(&init_service(app).await, request.to_request()).await
}

fn values(response: &ServiceResponse<impl MessageBody>, name: HeaderName) -> Vec<String> {
    let values = response.headers().get_all(name);
    values.map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn allowed_pages_of_another_origin_get_the_headers() {
    let response = answer(TestRequest::get().insert_header((ORIGIN, "https://letshare.fun"))).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(values(&response, ACCESS_CONTROL_ALLOW_ORIGIN), ["https://letshare.fun"]);
    assert_eq!(values(&response, ACCESS_CONTROL_ALLOW_CREDENTIALS), ["true"]);
    assert_eq!(values(&response, VARY), ["Accept", "Origin"]);
    assert_eq!(read_body(response).await, "hello");
}

#[actix_web::test]
async fn errors_carry_the_headers_too() {
    let request = TestRequest::with_uri("/fails").insert_header((ORIGIN, "https://letshare.fun"));
    let response = answer(request).await;
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(values(&response, ACCESS_CONTROL_ALLOW_ORIGIN), ["https://letshare.fun"]);
}

#[actix_web::test]
async fn the_own_host_and_no_origin_get_no_headers() {
    let own =
        TestRequest::get().insert_header((HOST, "broker.example")).insert_header((ORIGIN, "https://broker.example"));
    for request in [TestRequest::get(), own] {
        let response = answer(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(values(&response, ACCESS_CONTROL_ALLOW_ORIGIN).is_empty());
    }
}

#[actix_web::test]
async fn a_preflight_gets_the_documented_lists_without_reaching_a_handler() {
    let request = TestRequest::with_uri("/no-such-route")
        .method(Method::OPTIONS)
        .insert_header((ORIGIN, "http://192.168.1.20:5173"));
    let response = answer(request).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(values(&response, ACCESS_CONTROL_ALLOW_ORIGIN), ["http://192.168.1.20:5173"]);
    assert_eq!(values(&response, ACCESS_CONTROL_ALLOW_METHODS), ["GET,POST,PUT,DELETE,OPTIONS"]);
    let headers = values(&response, ACCESS_CONTROL_ALLOW_HEADERS).concat();
    assert!(headers.starts_with("Origin,Content-Type,Authorization,Upgrade,Connection,Sec-WebSocket-Key"));
}

/// findings N3: the refusal says what it refuses, and which setting would allow it.
#[actix_web::test]
async fn other_pages_get_a_403_that_says_why_on_every_method_and_on_the_upgrade() {
    let upgrade = TestRequest::get().insert_header(("Upgrade", "websocket"));
    let preflight = TestRequest::default().method(Method::OPTIONS);
    for request in [TestRequest::get(), TestRequest::post(), preflight, upgrade] {
        let response = answer(request.insert_header((ORIGIN, "null"))).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert!(values(&response, ACCESS_CONTROL_ALLOW_ORIGIN).is_empty());
        assert_eq!(read_body(response).await, "origin null is not in cors.allowed_origins\n");
    }
}

/// findings S7: a name that anybody can point here does not become the server's own by being asked for.
#[actix_web::test]
async fn a_page_of_a_host_that_nobody_named_is_refused_and_told_how_to_name_it() {
    let page = "http://evil.example:8080";
    let request = TestRequest::get().insert_header((HOST, "evil.example:8080")).insert_header((ORIGIN, page));
    let response = answer(request).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let why = "origin http://evil.example:8080 is not in cors.allowed_origins, and its host is not in \
               server.public_hosts\n";
    assert_eq!(read_body(response).await, why);
}

/// What is no origin may be a secret.
#[actix_web::test]
async fn only_an_origin_is_told_back() {
    for page in ["https://user:secret@a.example", "https://a.example/?token=secret", "https://a.example#secret"] {
        let response = answer(TestRequest::get().insert_header((ORIGIN, page))).await;
        let why = "origin (not an origin) is not in cors.allowed_origins\n";
        assert_eq!(read_body(response).await, why, "{page}");
    }
}

/// Whatever a client writes there, the answer stays short.
#[actix_web::test]
async fn a_long_origin_is_not_told_back_whole() {
    let page = format!("http://{}.example", "x".repeat(5_000));
    let response = answer(TestRequest::get().insert_header((ORIGIN, page))).await;
    assert!(read_body(response).await.len() < 400);
}

/// findings O9: a page that may connect may also call, with the headers that the protocol's requests carry.
#[test]
fn a_public_policy_lets_every_page_call() {
    let own = own_hosts();
    let any = OriginPolicy::listed("group.allowed_origins", &["*".to_owned()], &own);
    let none_named = OriginPolicy::listed("relay.allowed_origins", &[], &own).or_public();
    for policy in [any, none_named] {
        assert_eq!(policy.verdict(Some("https://anybody.example"), None), Verdict::CrossOrigin);
        let policy = policy.with_headers(&["X-API-KEY", "API-KEY"]);
        assert!(policy.allowed_headers.to_str().unwrap().ends_with(",X-API-KEY,API-KEY"));
    }
    let closed = OriginPolicy::listed("group.allowed_origins", &[], &own);
    assert_eq!(closed.verdict(Some("https://anybody.example"), None), Verdict::Refused);
}

#[actix_web::test]
async fn two_origins_and_unreadable_ones_are_refused() {
    let two = TestRequest::get()
        .append_header((ORIGIN, "https://letshare.fun"))
        .append_header((ORIGIN, "https://evil.example"));
    let unreadable =
        TestRequest::get().append_header((ORIGIN, HeaderValue::from_bytes(b"https://\xff.example").unwrap()));
    for request in [two, unreadable] {
        assert_eq!(answer(request).await.status(), StatusCode::FORBIDDEN);
    }
}
