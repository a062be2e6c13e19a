//! What each path answers.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::events::{Events, Reply};
use super::metrics;
use super::report::{self, Form};
use super::{AdminConfig, Pages, Token};
use crate::watch::Watches;

const TEXT: &str = "text/plain; charset=utf-8";
/// Everything that the page may load or reach is here.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The same for the page of reports, whose bars have their widths in attributes.
const REPORT_POLICY: &str = "default-src 'none'; img-src data:; style-src 'self'; style-src-attr 'unsafe-inline'; script-src 'self'; \
                             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What answers requests.
pub(super) struct Admin {
    watches: Arc<Watches>,
    token: Option<Token>,
    bad_line_text: bool,
    pages: Pages,
    event_streams: Arc<Semaphore>,
}

impl Admin {
    pub(super) fn new(config: &AdminConfig, watches: Arc<Watches>, pages: Pages, max_event_streams: usize) -> Admin {
        let AdminConfig { token, bad_line_text, .. } = config.clone();
        Admin { watches, token, bad_line_text, pages, event_streams: Arc::new(Semaphore::new(max_event_streams)) }
    }

    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Result<Response<Reply>, Infallible> {
        let mut response = self.reply(request).await;
        let headers = response.headers_mut();
        let policy = if request.uri().path() == "/report" { REPORT_POLICY } else { POLICY };
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    async fn reply<B>(&self, request: &Request<B>) -> Response<Reply> {
        if self.token.is_none() && !is_local(request) {
            return text(StatusCode::FORBIDDEN, "without a token, only names of the loopback interface are answered\n");
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match request.uri().path() {
            "/healthz" => text(StatusCode::OK, "up\n"),
            "/readyz" => self.readiness(self.may_see(request)),
            "/" => whole(StatusCode::OK, HTML, self.pages.pipelines.html.clone()),
            "/page.css" => whole(StatusCode::OK, CSS, self.pages.pipelines.style.clone()),
            "/page.js" => whole(StatusCode::OK, SCRIPT, self.pages.pipelines.script),
            "/report" => whole(StatusCode::OK, HTML, self.pages.report.html.clone()),
            "/report.css" => whole(StatusCode::OK, CSS, self.pages.report.style.clone()),
            "/report.js" => whole(StatusCode::OK, SCRIPT, self.pages.report.script),
            "/metrics" | "/events" | "/report.json" | "/report.html" if !self.may_see(request) => {
                let mut refused = text(StatusCode::UNAUTHORIZED, "Authorization: Bearer TOKEN is needed\n");
                refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                refused
            }
            "/report.json" => self.report(request, Form::Json).await,
            "/report.html" => self.report(request, Form::Html(self.pages.draw_report)).await,
            "/metrics" => whole(StatusCode::OK, metrics::CONTENT_TYPE, metrics::text(&self.watches)),
            "/events" if request.method() == Method::HEAD => whole(StatusCode::OK, "text/event-stream", ""),
            "/events" => match Arc::clone(&self.event_streams).try_acquire_owned() {
                Ok(room) => {
                    let events = Events::new(Arc::clone(&self.watches), self.bad_line_text, room);
                    response(StatusCode::OK, "text/event-stream", Reply::Events(Box::new(events)))
                }
                Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "too many open pages: close some\n"),
            },
            _ => text(StatusCode::NOT_FOUND, "/, /healthz, /readyz, /metrics, /events, /report or /report.json\n"),
        }
    }

    async fn report<B>(&self, request: &Request<B>, form: Form) -> Response<Reply> {
        let content_type = if matches!(form, Form::Json) { "application/json" } else { HTML };
        if request.method() == Method::HEAD {
            return whole(StatusCode::OK, content_type, "");
        }
        match report::report(&self.watches, request.uri().query(), form).await {
            Ok(body) => whole(StatusCode::OK, content_type, body),
            Err(message) => text(StatusCode::NOT_FOUND, message + "\n"),
        }
    }

    fn may_see<B>(&self, request: &Request<B>) -> bool {
        let Some(token) = &self.token else { return true };
        let presented = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let (scheme, secret) = presented.split_at(presented.len().min("Bearer ".len()));
        scheme.eq_ignore_ascii_case(b"Bearer ") && token.is(secret)
    }

    fn readiness(&self, with_reasons: bool) -> Response<Reply> {
        let troubles = self.watches.troubles();
        match (troubles.is_empty(), with_reasons) {
            (true, _) => text(StatusCode::OK, "ready\n"),
            (false, true) => text(StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n"),
            (false, false) => text(StatusCode::SERVICE_UNAVAILABLE, "not ready; the reasons need the token\n"),
        }
    }
}

/// Whether the client called this machine by a name of its loopback interface, or by none.
fn is_local<B>(request: &Request<B>) -> bool {
    let Some(host) = request.headers().get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(address) => address.split_once(']').map_or(address, |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let is_loopback = |address: IpAddr| match address {
        IpAddr::V6(address) => address == Ipv6Addr::LOCALHOST,
        IpAddr::V4(address) => address.is_loopback(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback)
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Reply> {
    whole(status, TEXT, text)
}

fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Reply> {
    response(status, content_type, Reply::whole(body.into()))
}

fn response(status: StatusCode, content_type: &'static str, reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use hyper::body::Body;

    use super::super::Page;
    use super::*;

    fn admin(token: Option<&str>) -> Admin {
        let token = token.map(|secret| Token::new(secret).unwrap());
        let config = AdminConfig { listen: "127.0.0.1:0".parse().unwrap(), token, bad_line_text: false };
        let page = || Page { html: "<p>".to_owned(), style: "p {}".to_owned(), script: "0;" };
        let pages = Pages { pipelines: page(), report: page(), draw_report: |_| String::new() };
        Admin::new(&config, Arc::default(), pages, 1)
    }

    async fn get(admin: &Admin, path: &str, headers: &[(&str, &str)]) -> Response<Reply> {
        let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        admin.answer(&request.body(()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn numbers_are_for_those_with_the_token() {
        let admin = admin(Some("0123456789abcdef"));
        for (path, status) in [
            ("/metrics", 401),
            ("/report.json", 401),
            ("/report.html?pipeline=a", 401),
            ("/healthz", 200),
            ("/readyz", 200),
            ("/", 200),
            ("/report", 200),
            ("/x", 404),
        ] {
            assert_eq!(get(&admin, path, &[("Host", "admin.example")]).await.status(), status, "{path}");
        }
        for (presented, status) in [
            ("Bearer 0123456789abcdef", 200),
            ("bearer 0123456789abcdef", 200),
            ("Bearer 0123456789abcdee", 401),
            ("Basic 0123456789abcdef", 401),
            ("Bearer", 401),
        ] {
            assert_eq!(get(&admin, "/metrics", &[("Authorization", presented)]).await.status(), status, "{presented}");
        }
        assert_eq!(get(&admin, "/events", &[]).await.headers()[WWW_AUTHENTICATE], "Bearer");
    }

    #[tokio::test]
    async fn without_a_token_other_names_get_nothing() {
        let admin = admin(None);
        for (host, status) in [
            ("localhost", 200),
            ("LOCALHOST:9464", 200),
            ("127.0.0.1:9464", 200),
            ("[::1]:9464", 200),
            ("evil.example:9464", 403),
            ("localhost.evil.example", 403),
            ("10.0.0.1", 403),
        ] {
            assert_eq!(get(&admin, "/metrics", &[("Host", host)]).await.status(), status, "{host}");
        }
    }

    #[tokio::test]
    async fn every_answer_has_the_policy_and_nothing_is_posted() {
        let admin = admin(None);
        for path in ["/", "/page.js", "/report", "/report.json", "/metrics", "/nothing"] {
            let headers = get(&admin, path, &[]).await.headers().clone();
            assert!(headers[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
            assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(headers[CACHE_CONTROL], "no-store");
        }
        let posted = admin.answer(&Request::post("/metrics").body(()).unwrap()).await.unwrap();
        assert_eq!(posted.status(), 405);
        assert_eq!(posted.headers()[ALLOW], "GET, HEAD");
    }

    #[tokio::test]
    async fn streams_of_events_are_limited_and_give_their_room_back() {
        let admin = admin(None);
        let open = get(&admin, "/events", &[]).await;
        assert!(!open.body().is_end_stream());
        assert_eq!((open.status().as_u16(), get(&admin, "/events", &[]).await.status().as_u16()), (200, 503));
        drop(open);
        assert_eq!(get(&admin, "/events", &[]).await.status(), 200);
    }
}
