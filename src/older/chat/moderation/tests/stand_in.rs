//! A stand-in for the moderation service.

use std::{
    collections::VecDeque,
    future::pending,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::ServerHandle,
    web::{self, Bytes},
};
use futures_util::stream;
use parking_lot::Mutex;
use url::form_urlencoded;

/// Of its tokens.
pub const LIFETIME: Duration = Duration::from_secs(2_592_000);

/// What it says to a text.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Json(&'static str),
    Status(u16),
    /// More than anybody would read.
    Huge,
    /// Less than announced.
    Cut,
    Never,
}

/// What it was asked.
#[derive(Clone, Default)]
pub struct Seen {
    pub tokens: usize,
    pub texts: Vec<String>,
    /// Of the last request.
    pub token_query: String,
    pub body: String,
    pub content_type: String,
}

#[derive(Default)]
struct State {
    seen: Seen,
    next: VecDeque<Answer>,
    /// Of the tokens that were issued, those from this one on are good.
    first_good: usize,
    refuses_keys: bool,
    stalls_tokens: bool,
}

/// Ends with its owner.
pub struct StandIn {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    handle: ServerHandle,
}

impl StandIn {
    /// One that says `usual` unless told otherwise.
    pub fn start(usual: &'static str) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let shared = web::Data::from(Arc::clone(&state));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .app_data(web::Data::new(usual))
                .route("/oauth/2.0/token", web::post().to(token))
                .route("/rest/2.0/solution/v1/text_censor/v2/user_defined", web::post().to(censor))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)
        .unwrap()
        .run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { address, state, handle }
    }

    /// Its next answers to texts.
    pub fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.lock().next.extend(answers);
    }

    pub fn seen(&self) -> Seen {
        self.state.lock().seen.clone()
    }

    /// No token that was issued so far is good any more.
    pub fn void_tokens(&self) {
        let mut state = self.state.lock();
        state.first_good = state.seen.tokens + 1;
    }

    pub fn refuse_keys(&self) {
        self.state.lock().refuses_keys = true;
    }

    pub fn stall_tokens(&self) {
        self.state.lock().stalls_tokens = true;
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // Told at once; nobody waits for the end.
        drop(self.handle.stop(false));
    }
}

async fn token(request: HttpRequest, state: web::Data<Mutex<State>>) -> HttpResponse {
    let (number, refuses, stalls) = {
        let mut state = state.lock();
        state.seen.token_query = request.query_string().to_owned();
        state.seen.tokens += 1;
        (state.seen.tokens, state.refuses_keys, state.stalls_tokens)
    };
    if stalls {
        pending::<()>().await;
    }
    if refuses {
        return HttpResponse::Unauthorized()
            .content_type("application/json")
            .body(r#"{"error":"invalid_client","error_description":"unknown client id"}"#);
    }
    let body = format!(
        r#"{{"refresh_token":"r","expires_in":{},"access_token":"token-{number}&+","scope":"public"}}"#,
        LIFETIME.as_secs()
    );
    HttpResponse::Ok().content_type("application/json").body(body)
}

async fn censor(
    request: HttpRequest,
    body: Bytes,
    state: web::Data<Mutex<State>>,
    usual: web::Data<&'static str>,
) -> HttpResponse {
    let mut query = form_urlencoded::parse(request.query_string().as_bytes());
    let token = query.find(|(name, _)| name == "access_token").unwrap().1;
    let number = token.strip_prefix("token-").and_then(|rest| rest.strip_suffix("&+"));
    let number: usize = number.unwrap().parse().unwrap();
    let answer = {
        let mut state = state.lock();
        let form: Vec<_> = form_urlencoded::parse(&body).into_owned().collect();
        assert_eq!(form.len(), 1, "one field");
        assert_eq!(form[0].0, "text");
        state.seen.texts.push(form[0].1.clone());
        state.seen.body = String::from_utf8(body.to_vec()).unwrap();
        let kind = request.headers().get("content-type").unwrap();
        state.seen.content_type = kind.to_str().unwrap().to_owned();
        if number < state.first_good {
            Answer::Json(super::TOKEN_EXPIRED)
        } else {
            state.next.pop_front().unwrap_or(Answer::Json(usual.get_ref()))
        }
    };
    match answer {
        Answer::Json(text) => HttpResponse::Ok().content_type("application/json").body(text),
        Answer::Status(status) => HttpResponse::build(status.try_into().unwrap()).body("<html>"),
        Answer::Huge => HttpResponse::Ok().body(vec![b' '; 2_000_000]),
        Answer::Cut => {
            let broken = std::io::Error::other("cut");
            let parts = [Ok(Bytes::from_static(b"{\"conclusionType\":1}")), Err(broken)];
            HttpResponse::Ok().streaming(stream::iter(parts))
        }
        Answer::Never => pending().await,
    }
}
