//! Visits that are made up, sent to the pixel as browsers behind a proxy would.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderValue, REFERER, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use pixel_engine::log::field::Field;
use pixel_engine::log::percent;
use pixel_engine::log::schema::Schema;
use pixel_engine::plan::rate::Rate;
use pixel_engine_bench_data::visits::{Abnormalities, Options, Visits};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Instant, sleep_until};

use super::tally::FIELDS;

/// Connections. A visitor stays on one, so that his beacons come in their order.
const CONNECTIONS: usize = 8;
/// Beacons that wait for one: where the pixel is slower than it should be, fewer are sent.
const QUEUE: usize = 16;
/// A beacon that the pixel does not answer for so long has no answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How many there are, and how fast they come.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) visitors: u64,
    pub(super) rate: Rate,
}

/// What became of the beacons.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) answered: AtomicU64,
    /// Whether these are safe, the sender does not know.
    pub(super) unanswered: AtomicU64,
    pub(super) is_done: AtomicBool,
}

/// Sends until there is nothing more, or `stop` says so.
pub(super) async fn send(wanted: Wanted, pixel: SocketAddr, stop: &AtomicBool, sent: Arc<Sent>) {
    let mut lanes = Vec::new();
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (lane, beacons) = channel(QUEUE);
        lanes.push(lane);
        sending.spawn(deliver(pixel, beacons, Arc::clone(&sent)));
    }
    let options = Options {
        visitors: wanted.visitors,
        abnormal: Abnormalities::NONE,
        ..Options::new(FIELDS.parse().expect("a preset"), 1)
    };
    let (mut visits, reader) = (Visits::new(options), Reader::new());
    let begun = Instant::now();
    let (mut line, mut count) = (Vec::new(), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        line.clear();
        if !visits.append_line(&mut line) {
            break;
        }
        let Some((viewer, beacon)) = reader.beacon(&line) else { continue };
        count += 1;
        sleep_until(begun + Duration::from_secs_f64(count as f64 / wanted.rate.get())).await;
        let mut hasher = DefaultHasher::new();
        viewer.hash(&mut hasher);
        // A lane ends with this function.
        let _ = lanes[hasher.finish() as usize % CONNECTIONS].send(beacon).await;
    }
    drop(lanes);
    sending.join_all().await;
    sent.is_done.store(true, Ordering::Release);
}

type Beacon = Request<Empty<Bytes>>;

async fn deliver(pixel: SocketAddr, mut beacons: Receiver<Beacon>, sent: Arc<Sent>) {
    let mut connection = None;
    while let Some(beacon) = beacons.recv().await {
        let answer = tokio::time::timeout(TIMEOUT, ask(pixel, &mut connection, beacon)).await;
        if matches!(answer, Ok(Ok(true))) {
            sent.answered.fetch_add(1, Ordering::Relaxed);
        } else {
            sent.unanswered.fetch_add(1, Ordering::Relaxed);
            connection = None;
        }
    }
}

type Connection = SendRequest<Empty<Bytes>>;

/// Whether the pixel has taken the beacon.
async fn ask(
    pixel: SocketAddr,
    connection: &mut Option<Connection>,
    beacon: Beacon,
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let sender = match connection {
        Some(sender) if !sender.is_closed() => sender,
        _ => {
            let (sender, driver) = handshake(TokioIo::new(TcpStream::connect(pixel).await?)).await?;
            // How it ends, the next request is told.
            tokio::spawn(async move { drop(driver.await) });
            connection.insert(sender)
        }
    };
    sender.ready().await?;
    let reply = sender.send_request(beacon).await?;
    let is_taken = reply.status().is_success();
    reply.into_body().collect().await?;
    Ok(is_taken)
}

/// Makes requests of log lines.
struct Reader {
    viewer: usize,
    query: usize,
    method: usize,
    agent: usize,
    referrer: usize,
}

impl Reader {
    fn new() -> Reader {
        let schema = Schema::preset(FIELDS).expect("a preset");
        let place = |field| schema.position(field).expect("it is in the preset");
        Reader {
            viewer: place(Field::CIp),
            query: place(Field::CsUriQuery),
            method: place(Field::CsMethod),
            agent: place(Field::CsUserAgent),
            referrer: place(Field::CsReferer),
        }
    }

    /// The viewer of a line, and the request that CloudFront writes such a line for.
    fn beacon(&self, line: &[u8]) -> Option<(Vec<u8>, Beacon)> {
        let columns: Vec<&[u8]> = line.trim_ascii_end().split(|&byte| byte == b'\t').collect();
        let value = |place: usize| columns.get(place).filter(|value| **value != b"-").copied();
        let viewer = value(self.viewer)?;
        let query = percent::decode(value(self.query)?);
        let is_post = value(self.method) == Some(b"POST");
        let mut request = Request::builder()
            .method(if is_post { Method::POST } else { Method::GET })
            .uri(format!("/pixel.gif?{}", std::str::from_utf8(&query).ok()?))
            .header(HOST, "127.0.0.1")
            .header("x-forwarded-for", viewer);
        for (name, place) in [(USER_AGENT, self.agent), (REFERER, self.referrer)] {
            if let Some(value) = value(place) {
                request = request.header(name, HeaderValue::from_bytes(&percent::decode(value)).ok()?);
            }
        }
        Some((viewer.to_owned(), request.body(Empty::new()).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_visits_is_a_request() {
        let options =
            Options { visitors: 200, abnormal: Abnormalities::NONE, ..Options::new(FIELDS.parse().unwrap(), 1) };
        let (mut visits, reader, mut line) = (Visits::new(options), Reader::new(), Vec::new());
        while visits.append_line(&mut line) {
            let (viewer, request) = reader.beacon(&line).unwrap();
            assert!(!viewer.is_empty() && request.uri().query().unwrap().contains("e="), "{request:?}");
            line.clear();
        }
    }
}
