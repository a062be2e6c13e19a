//! The admin listener: health, metrics and a live page of the pipelines over HTTP/1.1.
//!
//! | path | what it answers | token |
//! |---|---|---|
//! | `/healthz` | 200, as the process is up | not needed |
//! | `/readyz` | 200, or 503 with a line for each reason, which only those with the token see | not needed |
//! | `/metrics` | the [metrics] in Prometheus's text format | needed |
//! | `/events` | server-sent events, a look at all pipelines each second | needed |
//! | `/report.json`, `/report.html` | the report of a pipeline, and what the page shows of it | needed |
//! | `/`, `/page.css`, `/page.js` | the page that shows the pipelines, without any data | not needed |
//! | `/report`, `/report.css`, `/report.js` | the page that shows a report, without any data | not needed |
//!
//! Probes need no token, as Kubernetes could only send one that stands in the manifest. Without a
//! token the listener is on the loopback interface, and answers only to names of that: a web page
//! elsewhere whose name was made to point here gets nothing.

mod answer;
mod events;
pub mod metrics;
mod report;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pixel_engine_report::Document;
use subtle::ConstantTimeEq;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use crate::listen::accept_all;
use crate::watch::Watches;
use answer::Admin;

/// Connections at a time; others wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// Those of them that may be streams of events, so that probes always find room.
const MAX_EVENT_STREAMS: usize = 16;
/// How long the head of a request may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Of a request's head.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// How long its connections may take to notice that it ends.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// How to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where.
    pub listen: SocketAddr,
    /// What a client has to present to see numbers.
    pub token: Option<Token>,
    /// Whether the page shows what stands in bad lines.
    pub bad_line_text: bool,
}

/// A secret that clients present as `Authorization: Bearer`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// A page without data, and what it asks for.
#[derive(Clone, Debug)]
pub struct Page {
    /// The document, which asks for its style sheet and its script.
    pub html: String,
    /// Its style sheet.
    pub style: String,
    /// Its script, which reads the data.
    pub script: &'static str,
}

/// What people look at.
#[derive(Clone, Debug)]
pub struct Pages {
    /// The page at `/`, with `page.css` and `page.js`, which reads `events`.
    pub pipelines: Page,
    /// The page at `/report`, with `report.css` and `report.js`, which reads `report.html`.
    pub report: Page,
    /// Draws `report.html`.
    pub draw_report: fn(&DrawnReport<'_>) -> String,
}

/// A report that is to be drawn.
#[derive(Debug)]
pub struct DrawnReport<'a> {
    /// What is counted.
    pub document: &'a Document,
    /// The most rows of a table.
    pub rows: usize,
    /// Whose report it is.
    pub pipeline: &'a str,
    /// Every pipeline that has one, in the order of their names, each with the address of its page.
    pub pipelines: &'a [(String, String)],
}

/// The listener; it ends when this is dropped.
#[derive(Debug)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Token {
    /// Shorter ones could be guessed.
    pub const MIN_LEN: usize = 16;

    /// That secret; `None` when it is too short.
    pub fn new(secret: &str) -> Option<Token> {
        (secret.len() >= Token::MIN_LEN).then(|| Token(secret.to_owned()))
    }

    /// Whether that is the secret, in a time that does not depend on where the two differ.
    pub(crate) fn is(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("***")
    }
}

/// Listens from here on, on a thread of its own.
///
/// # Errors
/// The address cannot be listened on, or the system has no thread to give.
pub fn listen(config: &AdminConfig, watches: Arc<Watches>, pages: Pages) -> io::Result<Listener> {
    let listener = TcpListener::bind(config.listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("admin").enable_all().build()?;
    let _in_runtime = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    runtime.spawn(serve(listener, Arc::new(Admin::new(config, watches, pages, MAX_EVENT_STREAMS))));
    drop(_in_runtime);
    Ok(Listener { address, runtime: Some(runtime) })
}

/// Answers requests until the runtime ends.
async fn serve(listener: tokio::net::TcpListener, admin: Arc<Admin>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accept = || async { Ok(listener.accept().await?.0) };
    let converse = |stream| {
        let admin = Arc::clone(&admin);
        async move {
            let answer = service_fn(move |request| {
                let admin = Arc::clone(&admin);
                async move { admin.answer(&request).await }
            });
            let mut http = http1::Builder::new();
            // A connection that is kept open would keep its room.
            http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).keep_alive(false);
            http.max_buf_size(MAX_HEADER_BYTES);
            // Who goes away in the middle has no one to be told.
            let _ = http.serve_connection(TokioIo::new(stream), answer).await;
        }
    };
    accept_all(std::future::pending, connections, "admin", accept, converse).await;
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The address is free afterwards.
            runtime.shutdown_timeout(END_TIMEOUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_compared_as_a_whole_and_never_shown() {
        assert!(Token::new("short").is_none());
        let token = Token::new("0123456789abcdef").unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for wrong in [&b""[..], b"0123456789abcde", b"0123456789abcdefg", b"0123456789abcdeF"] {
            assert!(!token.is(wrong));
        }
        assert_eq!(format!("{token:?}"), "***");
    }
}
