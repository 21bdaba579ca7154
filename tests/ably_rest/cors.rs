//! Pages of any origin (§1.9, T8, T9).

use super::sandbox::Sandbox;

const ORIGIN: (&str, &str) = ("Origin", "https://anywhere.example");

#[tokio::test]
async fn any_page_may_read_every_answer() {
    let mut sandbox = Sandbox::start().await;
    for (target, status) in [("/time", 200), ("/channels/x/messages", 401), ("/invalid?v=6", 404)] {
        let response = sandbox.http.ask("GET", target, &[ORIGIN]).await;
        assert_eq!(response.status, status, "{response:?}");
        assert_eq!(response.lines("access-control-allow-origin"), [ORIGIN.1]);
        assert_eq!(response.lines("access-control-allow-credentials"), ["true"]);
        assert_eq!(response.header("vary"), Some("Origin"));
        let exposed = response.header("access-control-expose-headers").expect("a list");
        for name in ["Link", "X-Ably-ErrorCode", "X-Ably-ErrorMessage"] {
            assert!(exposed.split(", ").any(|exposed| exposed == name), "{exposed}");
        }
    }
}

#[tokio::test]
async fn preflights_are_answered_on_any_path() {
    let mut sandbox = Sandbox::start().await;
    let wanted = ("Access-Control-Request-Headers", "authorization,x-ably-version");
    let method = ("Access-Control-Request-Method", "POST");
    for target in ["/channels/x/messages", "/keys/a.b/requestToken", "/not/there"] {
        let response = sandbox.http.ask("OPTIONS", target, &[ORIGIN, wanted, method]).await;
        assert_eq!(response.status, 204, "{response:?}");
        assert_eq!(response.lines("access-control-allow-origin"), [ORIGIN.1]);
        assert_eq!(response.header("access-control-allow-headers"), Some(wanted.1));
        let methods = response.header("access-control-allow-methods").expect("a list");
        assert_eq!(methods, "GET, POST, PUT, PATCH, DELETE, OPTIONS");
        assert!(response.header("access-control-max-age").is_some());
    }
    let response = sandbox.http.ask("OPTIONS", "/channels", &[ORIGIN]).await;
    let allowed = response.header("access-control-allow-headers").expect("a list");
    assert!(allowed.contains("X-Ably-Version") && allowed.contains("Authorization"));
}

/// What is not Ably's keeps its list of pages.
#[tokio::test]
async fn other_routes_keep_their_own_policy() {
    let mut sandbox = Sandbox::start().await;
    for target in ["/health", "/invalid"] {
        let response = sandbox.http.ask("GET", target, &[ORIGIN]).await;
        assert_eq!(response.status, 403, "{target}");
    }
}
