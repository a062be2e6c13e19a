//! The HTTP server: connections, limits, routes and replies.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, AUTHORIZATION,
    CACHE_CONTROL, CONTENT_TYPE, HeaderValue, ORIGIN, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use pixel_engine_core::journal::{BodyError, JournalError, Kind};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::body::{Bounds, Refusal};
use super::pixel::{GIF, Hit, headers_len};
use super::{Bound, Door, accept_all, firehose, logs};
use crate::config::{HttpConfig, PixelReply};

const LOGS: &str = "/v1/logs";
const FIREHOSE: &str = "/v1/firehose";

/// For the headers of a request, and for the next one on a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's headers. CloudFront takes 20,480, and URLs of 8,192.
const MAX_HEADERS_LEN: usize = 32 << 10;
/// Requests at a time on a connection of HTTP/2.
const MAX_STREAMS: u32 = 200;
type Reply = Response<Full<Bytes>>;

/// What answers the requests at one address.
pub(super) struct Server {
    config: HttpConfig,
    door: Door,
    bounds: Bounds,
    requests: Arc<firehose::Requests>,
}

/// Who has sent a request, and how.
struct Connection {
    peer: SocketAddr,
    tls: Option<(&'static str, String)>,
}

impl Server {
    pub(super) fn new(config: &HttpConfig, door: Door, requests: Arc<firehose::Requests>) -> Server {
        Server { config: config.clone(), door, bounds: Bounds::new(config.max_body, config.body_timeout), requests }
    }

    async fn answer(&self, request: Request<Incoming>, connection: &Connection) -> Reply {
        let begun = Instant::now();
        let (request, body) = request.into_parts();
        match request.uri.path() {
            path if path == self.config.pixel_path => self.pixel(&request, connection, begun).await,
            LOGS if request.method == Method::POST => self.logs(&request, body).await,
            FIREHOSE if request.method == Method::POST => self.firehose(&request, body).await,
            LOGS | FIREHOSE => {
                let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "send it with POST\n");
                reply.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                reply
            }
            _ => {
                let paths = format!("nothing is here; there are {}, {LOGS} and {FIREHOSE}\n", self.config.pixel_path);
                text(StatusCode::NOT_FOUND, paths)
            }
        }
    }

    async fn pixel(&self, request: &Parts, connection: &Connection, begun: Instant) -> Reply {
        let mut reply = match (&request.method, self.config.pixel_reply) {
            (&Method::OPTIONS, _) => return preflight(&request.headers),
            (&Method::GET | &Method::HEAD, PixelReply::Gif) => {
                let mut reply = Response::new(Full::new(Bytes::from_static(GIF)));
                reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("image/gif"));
                reply
            }
            // What `sendBeacon` sends is a POST, and nobody looks at the reply.
            (&Method::GET | &Method::HEAD | &Method::POST, _) => status(StatusCode::NO_CONTENT),
            _ => {
                let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD, POST or OPTIONS\n");
                reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, OPTIONS"));
                return reply;
            }
        };
        let headers = reply.headers_mut();
        headers
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache, must-revalidate, private, max-age=0"));
        allow_origin(&request.headers, headers);
        let has_body = reply.status() == StatusCode::OK && request.method != Method::HEAD;
        let body_len = if has_body { GIF.len() } else { 0 };
        let (viewer, port) = self.config.proxies.viewer(connection.peer, &request.headers);
        let hit = Hit {
            request,
            viewer,
            port,
            tls: connection.tls.as_ref().map(|(protocol, suite)| (*protocol, suite.as_str())),
            status: reply.status().as_u16(),
            body_len,
            reply_len: REPLY_LINE_LEN + headers_len(reply.headers()) + body_len,
            time: SystemTime::now(),
            took: begun.elapsed(),
        };
        let stored = match self.door.append(Kind::RealTime, &hit.line(&self.config.pixel_fields)) {
            Ok(pending) => pending.wait().await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => reply,
            Err(error) => refused(&error.into()),
        }
    }

    async fn logs(&self, request: &Parts, body: Incoming) -> Reply {
        if !self.has_key(request) {
            let mut reply = text(StatusCode::UNAUTHORIZED, "the access key is missing or wrong\n");
            reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return reply;
        }
        match logs::take(&self.door, &self.bounds, request, body).await {
            Ok((lines, bytes)) => json_reply(StatusCode::OK, &json!({ "lines": lines, "bytes": bytes })),
            Err(refusal) => refused(&refusal),
        }
    }

    async fn firehose(&self, request: &Parts, body: Incoming) -> Reply {
        let id = firehose::request_id(&request.headers);
        let reply = |status: StatusCode, error: Option<String>| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
            let mut reply = json!({ "requestId": id.as_deref().unwrap_or_default(), "timestamp": now });
            if let Some(error) = error {
                reply["errorMessage"] = error.into();
            }
            json_reply(status, &reply)
        };
        if !self.has_key(request) {
            return reply(StatusCode::UNAUTHORIZED, Some("the access key is missing or wrong".to_owned()));
        }
        match firehose::take(&self.door, &self.bounds, &self.requests, request, body).await {
            Ok(taken) => {
                if taken.is_duplicate {
                    let id = id.as_deref().unwrap_or_default();
                    tracing::warn!("Firehose has sent request {id} again; its records are safe, and not taken twice");
                }
                reply(StatusCode::OK, None)
            }
            Err(refusal) => {
                // On 413, Firehose would throw the records away.
                let status = match status_of(&refusal) {
                    StatusCode::PAYLOAD_TOO_LARGE => StatusCode::BAD_REQUEST,
                    status => status,
                };
                tracing::warn!("a request of Firehose is not taken: {refusal}");
                reply(status, Some(refusal.to_string()))
            }
        }
    }

    /// Whether the request has the access key, if there is one. How long that takes tells nothing
    /// of the key.
    fn has_key(&self, request: &Parts) -> bool {
        let Some(key) = &self.config.access_key else { return true };
        let bearer = request.headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let given = bearer.or_else(|| request.headers.get(firehose::ACCESS_KEY).map(HeaderValue::as_bytes));
        given.is_some_and(|given| given.ct_eq(key.as_bytes()).into())
    }
}

/// `HTTP/1.1 200 OK` and the `Date` header.
const REPLY_LINE_LEN: usize = 17 + 37;

fn preflight(request: &HeaderMap) -> Reply {
    let mut reply = status(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    allow_origin(request, headers);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST"));
    // By name: with credentials, `*` is no wildcard.
    let asked_for = request.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked_for.unwrap_or(HeaderValue::from_static("*")));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    reply
}

/// Lets every page send hits, and read a reply that tells nothing.
///
/// `sendBeacon` sends credentials, and with a body of JSON it asks first. A browser does not take `*`
/// for an answer then, and the beacon would be lost: <https://fetch.spec.whatwg.org/#cors-protocol-and-credentials>.
fn allow_origin(request: &HeaderMap, reply: &mut HeaderMap) {
    let Some(origin) = request.get(ORIGIN) else {
        reply.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        return;
    };
    reply.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    reply.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    reply.insert(VARY, HeaderValue::from_static("origin"));
}

fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::TooLarge(_) | Refusal::Unreadable(BodyError::TooLong(_)) => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::Slow(_) => StatusCode::REQUEST_TIMEOUT,
        Refusal::Busy | Refusal::Journal(JournalError::Full { .. }) => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Journal(_) => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Unreadable(_) | Refusal::Malformed(_) | Refusal::BrokenOff(_) => StatusCode::BAD_REQUEST,
    }
}

fn refused(refusal: &Refusal) -> Reply {
    let code = status_of(refusal);
    let mut reply = text(code, format!("{refusal}\n"));
    if matches!(code, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    reply
}

fn status(code: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = code;
    reply
}

fn text(code: StatusCode, text: impl Into<Bytes>) -> Reply {
    with_type(code, text.into(), "text/plain; charset=utf-8")
}

fn json_reply(code: StatusCode, value: &serde_json::Value) -> Reply {
    with_type(code, value.to_string().into(), "application/json")
}

fn with_type(code: StatusCode, body: Bytes, kind: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = code;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

/// Serves what connects.
pub(super) async fn serve(
    server: Arc<Server>,
    socket: Bound,
    tls: Option<TlsAcceptor>,
    connections: Arc<Semaphore>,
    name: String,
) {
    let Bound::Tcp(listener) = &socket else { unreachable!("HTTP is configured for an address and a port") };
    let converse = |(stream, peer): (TcpStream, SocketAddr)| {
        // A reply is one small packet, which nothing follows that it could wait for.
        let _ = stream.set_nodelay(true);
        let (server, tls) = (Arc::clone(&server), tls.clone());
        async move {
            let Some(tls) = tls else { return converse(server, stream, Connection { peer, tls: None }).await };
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                let tls = negotiated(stream.get_ref().1);
                converse(server, stream, Connection { peer, tls }).await;
            }
        }
    };
    accept_all(|| server.door.stopped(), connections, &name, || listener.accept(), converse).await;
}

/// The protocol and the cipher suite.
fn negotiated(session: &rustls::ServerConnection) -> Option<(&'static str, String)> {
    let protocol = match session.protocol_version()? {
        rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
        rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => return None,
    };
    Some((protocol, format!("{:?}", session.negotiated_cipher_suite()?.suite())))
}

/// Answers the requests of a connection.
async fn converse(
    server: Arc<Server>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Connection,
) {
    let door = server.door.clone();
    let connection = Arc::new(connection);
    let service = service_fn(move |request| {
        let (server, connection) = (Arc::clone(&server), Arc::clone(&connection));
        async move { Ok::<_, std::convert::Infallible>(server.answer(request, &connection).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADERS_LEN);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADERS_LEN as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(HEADER_TIMEOUT)
        .keep_alive_timeout(HEADER_TIMEOUT);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    // That a client has gone, or sends what is no HTTP, is its own affair.
    tokio::select! {
        _ = serving.as_mut() => return,
        () = door.stopped() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}
