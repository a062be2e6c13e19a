//! `POST /v1/logs`: lines, or JSON in any shape, compressed or not.

use hyper::body::Incoming;
use hyper::http::request::Parts;
use pixel_engine_core::journal::Body;

use super::Door;
use super::body::{Bounds, Refusal, store};

/// How many lines and bytes are safe now.
pub(super) async fn take(
    door: &Door,
    bounds: &Bounds,
    request: &Parts,
    body: Incoming,
) -> Result<(usize, usize), Refusal> {
    let posted = bounds.read(&request.headers, body).await?;
    let format = door.format;
    let body = bounds.unpack(posted, move |bytes, max_len| Ok(Body::read(bytes, format, max_len)?)).await?;
    let lines = memchr::memchr_iter(b'\n', &body.lines).count();
    let len = body.lines.len();
    store(door, &[body]).await?;
    Ok((lines, len))
}
