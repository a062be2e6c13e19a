//! The server: connections, a thread for each, and the way of a request through it.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::action::Action;
use crate::authorization::{Authority, Credentials, Principal, Scope};
use crate::counters::{Counters, Tally};
use crate::faults::{Fault, Faults};
use crate::firehose::{self, DeliveryStream};
use crate::http::{self, Connection, Envelope, Head};
use crate::kinesis::{self, Stream};
use crate::lock;
use crate::parse::Blobs;
use crate::refusal::Refusal;
use crate::reply::{Ending, Protocol, Reply};
use crate::s3::{self, Bucket};
use crate::sqs::{self, Queue};
use crate::sts::{self, Form};

/// A running server. It stops when this is dropped, and its connections end.
#[derive(Debug)]
pub struct FakeAws {
    shared: Arc<Shared>,
    address: SocketAddr,
    credentials: Credentials,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

/// What is settled before the server starts.
#[derive(Clone, Debug)]
pub struct Builder {
    region: String,
    account: String,
    signatures: bool,
}

impl Builder {
    /// The one region that there is, `us-east-1` unless set.
    pub fn region(self, region: &str) -> Builder {
        Builder { region: region.to_owned(), ..self }
    }

    /// The account's number of 12 digits, `123456789012` unless set.
    pub fn account(self, account: &str) -> Builder {
        Builder { account: account.to_owned(), ..self }
    }

    /// Whether signatures are computed and compared, which they are unless set: a SHA-256 of every
    /// body. All else about authorization is checked either way.
    pub fn verify_signatures(self, verify: bool) -> Builder {
        Builder { signatures: verify, ..self }
    }

    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// If there is no such port.
    pub fn start(self) -> FakeAws {
        let Builder { region, account, signatures } = self;
        // The ones of AWS's own documentation, which scanners for secrets know.
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        };
        let authority = Authority::default();
        authority.add_user(&credentials, format!("arn:aws:iam::{account}:user/pixel-engine"));
        let shared = Arc::new(Shared {
            region,
            account,
            signatures: AtomicBool::new(signatures),
            clock_offset: AtomicI64::new(0),
            latency: Mutex::default(),
            requests: AtomicU64::new(0),
            events: AtomicU64::new(0),
            authority,
            delivery_streams: Mutex::default(),
            streams: Mutex::default(),
            buckets: Mutex::default(),
            queues: Mutex::default(),
            faults: Faults::default(),
            head_faults: Faults::default(),
            tally: Tally::default(),
            connections: Connections::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port of 127.0.0.1");
        let address = listener.local_addr().expect("a listener has an address");
        let acceptor = Mutex::new(Some(accept(listener, &shared)));
        FakeAws { shared, address, credentials, acceptor }
    }
}

impl FakeAws {
    /// A server with [`Builder`]'s defaults.
    pub fn start() -> FakeAws {
        FakeAws::builder().start()
    }

    /// To start one that is set up otherwise.
    pub fn builder() -> Builder {
        Builder { region: "us-east-1".to_owned(), account: "123456789012".to_owned(), signatures: true }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a URL.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The one region that there is.
    pub fn region(&self) -> &str {
        &self.shared.region
    }

    /// The account's number.
    pub fn account(&self) -> &str {
        &self.shared.account
    }

    /// The credentials of the one user, `user/pixel-engine`, who may do everything that is not
    /// [denied](FakeAws::deny).
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Environment variables that lead AWS's SDKs and tools here, and nowhere else. An
    /// `AWS_PROFILE` has to be removed besides: it would name a profile that is in no file.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let Credentials { access_key, secret_key, .. } = self.credentials.clone();
        let nothing = || "/dev/null".to_owned();
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint_url()),
            ("AWS_REGION", self.shared.region.clone()),
            ("AWS_DEFAULT_REGION", self.shared.region.clone()),
            ("AWS_ACCESS_KEY_ID", access_key),
            ("AWS_SECRET_ACCESS_KEY", secret_key),
            // SDKs take an empty token for none.
            ("AWS_SESSION_TOKEN", String::new()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_CONFIG_FILE", nothing()),
            ("AWS_SHARED_CREDENTIALS_FILE", nothing()),
            ("NO_PROXY", Ipv4Addr::LOCALHOST.to_string()),
        ]
    }

    /// The delivery stream of that name, made unless it is there.
    pub fn delivery_stream(&self, name: &str) -> DeliveryStream {
        let mut streams = lock(&self.shared.delivery_streams);
        let inner = streams.entry(name.to_owned()).or_insert_with(|| Arc::new(firehose::Inner::new(name)));
        DeliveryStream::new(Arc::clone(inner), Arc::clone(&self.shared))
    }

    /// A new data stream with so many shards, in place of one of that name.
    pub fn stream(&self, name: &str, shards: usize) -> Stream {
        let inner = Arc::new(kinesis::Inner::new(name, shards));
        lock(&self.shared.streams).insert(name.to_owned(), Arc::clone(&inner));
        Stream::new(inner, Arc::clone(&self.shared))
    }

    /// The bucket of that name, made unless it is there.
    pub fn bucket(&self, name: &str) -> Bucket {
        let mut buckets = lock(&self.shared.buckets);
        let inner = buckets.entry(name.to_owned()).or_insert_with(|| Arc::new(s3::Inner::new(name)));
        Bucket::new(Arc::clone(inner), Arc::clone(&self.shared))
    }

    /// The queue of that name, made unless it is there.
    pub fn queue(&self, name: &str) -> Queue {
        let mut queues = lock(&self.shared.queues);
        let inner = queues.entry(name.to_owned()).or_insert_with(|| Arc::new(sqs::Inner::new(name)));
        Queue::new(Arc::clone(inner), Arc::clone(&self.shared), &self.endpoint_url())
    }

    /// Denies an action to an access key, or to all sessions of a role, named by its ARN.
    pub fn deny(&self, key_or_role: &str, action: Action) -> &FakeAws {
        self.shared.authority.deny(key_or_role, action);
        self
    }

    /// Ends a [`deny`](FakeAws::deny).
    pub fn allow(&self, key_or_role: &str, action: Action) -> &FakeAws {
        self.shared.authority.allow(key_or_role, action);
        self
    }

    /// Lets nobody assume that role, named by its ARN. Everyone may assume every other.
    pub fn forbid_role(&self, role: &str) -> &FakeAws {
        self.shared.authority.forbid_role(role);
        self
    }

    /// Lets all temporary credentials that were given out expire now.
    pub fn expire_sessions(&self) -> &FakeAws {
        self.shared.authority.expire_sessions();
        self
    }

    /// The next call that names no stream (`AssumeRole`, `GetCallerIdentity`, `DescribeLimits`)
    /// meets this. For the others there is `fault_on` of the stream.
    pub fn fault_on(&self, action: Action, fault: Fault) -> &FakeAws {
        self.shared.queue_fault(&self.shared.faults, action, fault);
        self
    }

    /// Every reply comes later by so much.
    pub fn latency(&self, latency: Duration) -> &FakeAws {
        *lock(&self.shared.latency) = latency;
        self
    }

    /// Sets the server's clock so many seconds ahead of the machine's, or behind it.
    pub fn clock_offset(&self, seconds: i64) -> &FakeAws {
        self.shared.clock_offset.store(seconds, Ordering::Relaxed);
        self
    }

    /// What the server saw.
    pub fn counters(&self) -> Counters {
        self.shared.tally.snapshot()
    }

    /// Resets all connections, and refuses new ones until it is [`up`](FakeAws::up). What was
    /// stored stays.
    pub fn down(&self) {
        let Some(acceptor) = lock(&self.acceptor).take() else { return };
        self.shared.connections.reset_all();
        // Wakes it. A refused connection means that it is awake and gone.
        let _ = TcpStream::connect(self.address);
        acceptor.join().expect("the acceptor does not panic");
        self.shared.connections.wait_for_all();
    }

    /// Takes connections again, on the same port.
    ///
    /// # Panics
    ///
    /// If someone else took the port.
    pub fn up(&self) {
        let mut acceptor = lock(&self.acceptor);
        if acceptor.is_none() {
            let listener = TcpListener::bind(self.address).expect("the port is still free");
            self.shared.connections.reopen();
            *acceptor = Some(accept(listener, &self.shared));
        }
    }
}

impl Drop for FakeAws {
    fn drop(&mut self) {
        self.down();
    }
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) authority: Authority,
    pub(crate) delivery_streams: Mutex<HashMap<String, Arc<firehose::Inner>>>,
    pub(crate) streams: Mutex<HashMap<String, Arc<kinesis::Inner>>>,
    pub(crate) buckets: Mutex<HashMap<String, Arc<s3::Inner>>>,
    pub(crate) queues: Mutex<HashMap<String, Arc<sqs::Inner>>>,
    /// Of calls that name no stream.
    pub(crate) faults: Faults,
    pub(crate) tally: Tally,
    /// Those that strike before the body says which stream it is for.
    head_faults: Faults,
    signatures: AtomicBool,
    clock_offset: AtomicI64,
    latency: Mutex<Duration>,
    requests: AtomicU64,
    events: AtomicU64,
    connections: Connections,
}

/// A request whose sender is known.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) principal: &'a Principal,
    pub(crate) body: &'a [u8],
    /// What it came over.
    pub(crate) connection: &'a Connection,
    /// Counts the server's requests.
    pub(crate) number: u64,
    pub(crate) now: Timestamp,
}

impl Call<'_> {
    /// For what AWS does and this server does not.
    pub(crate) fn beyond_the_fake(&self, what: impl Display) -> Refusal {
        Refusal::violation("NotImplemented", format!("the fake does not know {what}")).status(501)
    }
}

impl Shared {
    pub(crate) fn queue_fault(&self, faults: &Faults, action: Action, fault: Fault) {
        match fault {
            Fault::ResetBeforeBody => self.head_faults.push(action, fault),
            fault => faults.push(action, fault),
        }
    }

    /// A number that grows with each event of S3.
    pub(crate) fn next_sequencer(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn are_down(&self) -> bool {
        self.connections.are_down()
    }

    fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(self.clock_offset.load(Ordering::Relaxed))
    }

    /// Serves a connection until it ends.
    fn serve(&self, stream: TcpStream) {
        // Errors mean that it has ended. The timeout is for a client that does not read: it must
        // not keep the server from stopping.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_write_timeout(Some(Duration::from_secs(10)));
        self.tally.connection();
        let mut connection = Connection::new(stream);
        let (mut body, mut blobs) = (Vec::new(), Blobs::default());
        loop {
            let head = match connection.read_head() {
                Ok(Some(head)) => head,
                Ok(None) => return,
                Err(error) => return self.refuse_bytes(connection, &error),
            };
            let targeted = head.header("x-amz-target").and_then(Action::from_target);
            let targeted = targeted.or_else(|| s3::Request::of(&head).map(|request| request.action));
            if let Some(action) = targeted.filter(|&action| self.head_faults.next(action).is_some()) {
                self.tally.request(action);
                return connection.reset();
            }
            match connection.read_body(&head, &mut body) {
                Ok(wire_bytes) => self.tally.received((head.wire_bytes + wire_bytes) as u64),
                Err(error) => return self.refuse_bytes(connection, &error),
            }
            let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
            let reply = self.reply(number, &head, &body, &mut blobs, &connection);
            let latency = *lock(&self.latency);
            self.connections.pause(latency + reply.delay);
            if self.connections.are_down() {
                return connection.reset();
            }
            let keep_alive = !head.has_token("connection", "close");
            let envelope = self.envelope(number, keep_alive);
            match reply.ending {
                Ending::Sent => {
                    if let Some(receipt) = &reply.receipt {
                        receipt.acknowledge();
                    }
                    if connection.write(&reply, &envelope, true).is_err() {
                        if let Some(receipt) = &reply.receipt {
                            receipt.revoke();
                        }
                        return;
                    }
                    if !keep_alive {
                        return;
                    }
                }
                Ending::Truncated => {
                    // That the client is gone is all the same then.
                    let _ = connection.write(&reply, &envelope, false);
                    return;
                }
                Ending::Reset => return connection.reset(),
                Ending::Silence => return connection.wait_for_the_end(),
            }
        }
    }

    fn envelope(&self, number: u64, keep_alive: bool) -> Envelope {
        let request_id = format!("{:08x}-0000-4000-8000-{:012x}", number >> 48, number & 0xffff_ffff_ffff);
        Envelope { request_id, date: self.now(), keep_alive }
    }

    /// Answers what is not HTTP; says nothing if the connection just ended.
    fn refuse_bytes(&self, mut connection: Connection, error: &io::Error) {
        if error.kind() == ErrorKind::InvalidData {
            self.tally.violation(format!("HTTP: {error}"));
            let reply = Reply { status: 400, content_type: "text/plain", ..Reply::json(error.to_string().into()) };
            let _ = connection.write(&reply, &self.envelope(0, false), true);
        }
    }

    fn reply(&self, number: u64, head: &Head, body: &[u8], blobs: &mut Blobs, connection: &Connection) -> Reply {
        let is_form = head.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-url"));
        let request = s3::Request::of(head);
        let protocol = match request {
            Some(_) => Protocol::S3,
            None if is_form => Protocol::Query,
            None => Protocol::Json,
        };
        let answer = match protocol {
            Protocol::S3 => self.answer_s3(number, head, body, request, connection),
            Protocol::Json => self.answer_json(number, head, body, blobs, connection),
            Protocol::Query => self.answer_form(number, head, body, connection),
        };
        let reply = answer.unwrap_or_else(|refusal| {
            if refusal.violation {
                let what = head.header("x-amz-target").unwrap_or(match protocol {
                    Protocol::S3 => "S3",
                    _ => "STS",
                });
                self.tally.violation(format!("{what}: {}: {}", refusal.code, refusal.message));
            }
            Reply { head_only: head.method == "HEAD", ..refusal.reply(protocol) }
        });
        if let Some(code) = &reply.error {
            self.tally.request_error(code);
        }
        match head.header("x-amz-target") {
            Some(target) if target.starts_with("AmazonSQS.") => {
                let error =
                    reply.error.as_deref().map(|code| ("x-amzn-query-error".to_owned(), sqs::query_error(code)));
                Reply { content_type: "application/x-amz-json-1.0", headers: error.into_iter().collect(), ..reply }
            }
            _ => reply,
        }
    }

    fn answer_json(
        &self,
        number: u64,
        head: &Head,
        body: &[u8],
        blobs: &mut Blobs,
        connection: &Connection,
    ) -> Result<Reply, Refusal> {
        let action = head.header("x-amz-target").and_then(Action::from_target);
        let version = if action.is_some_and(|action| action.service() == "sqs") { "1.0" } else { "1.1" };
        let typed = head.header("content-type") == Some(&format!("application/x-amz-json-{version}"));
        let Some(action) = action.filter(|_| typed && head.method == "POST") else {
            let message = "this needs POST, a target and application/x-amz-json of the service's version";
            return Err(Refusal::violation("UnknownOperationException", message).status(404));
        };
        self.tally.request(action);
        let now = self.now();
        let principal = self.authority.verify(head, body, action.service(), self.scope(now))?;
        let call = Call { shared: self, principal: &principal, body, connection, number, now };
        match action {
            Action::DescribeDeliveryStream => firehose::describe_delivery_stream(&call),
            Action::DescribeLimits => kinesis::describe_limits(&call),
            Action::DescribeStreamSummary => kinesis::describe_stream_summary(&call),
            Action::ListShards => kinesis::list_shards(&call),
            Action::PutRecordBatch => firehose::put_record_batch(&call, blobs),
            Action::PutRecords => kinesis::put_records(&call, blobs),
            Action::ChangeMessageVisibility
            | Action::DeleteMessage
            | Action::GetQueueAttributes
            | Action::ReceiveMessage => sqs::answer(&call, action),
            _ => unreachable!("no target names the others"),
        }
    }

    fn answer_s3(
        &self,
        number: u64,
        head: &Head,
        body: &[u8],
        request: Option<s3::Request>,
        connection: &Connection,
    ) -> Result<Reply, Refusal> {
        let request = request.expect("the protocol is that of such a request");
        self.tally.request(request.action);
        let now = self.now();
        let principal = self.authority.verify(head, body, "s3", self.scope(now))?;
        s3::answer(&Call { shared: self, principal: &principal, body, connection, number, now }, head, &request)
    }

    fn answer_form(&self, number: u64, head: &Head, body: &[u8], connection: &Connection) -> Result<Reply, Refusal> {
        let form = Form::parse(body);
        let action = form.action()?;
        self.tally.request(action);
        let now = self.now();
        let principal = self.authority.verify(head, body, action.service(), self.scope(now))?;
        let call = Call { shared: self, principal: &principal, body, connection, number, now };
        match action {
            Action::AssumeRole => sts::assume_role(&call, &form),
            _ => Ok(sts::caller_identity(&call)),
        }
    }

    fn scope(&self, now: Timestamp) -> Scope<'_> {
        Scope { region: &self.region, now, signatures: self.signatures.load(Ordering::Relaxed) }
    }
}

/// Takes connections until they are down.
fn accept(listener: TcpListener, shared: &Arc<Shared>) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.connections.are_down() {
                return;
            }
            // One that ended in the queue.
            let Ok(stream) = stream else { continue };
            if let Some(number) = shared.connections.register(&stream) {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let _registration = Registration { shared: &shared, number };
                    shared.serve(stream);
                });
            }
        }
    })
}

/// Takes a connection off the list, even when its thread panics.
struct Registration<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let connections = &self.shared.connections;
        lock(&connections.open).sockets.remove(&self.number);
        connections.changed.notify_all();
    }
}

/// The connections that are open.
#[derive(Debug, Default)]
struct Connections {
    open: Mutex<Open>,
    /// One ended, or all are to.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Open {
    down: bool,
    next: u64,
    sockets: HashMap<u64, TcpStream>,
}

impl Connections {
    fn register(&self, stream: &TcpStream) -> Option<u64> {
        let mut open = lock(&self.open);
        let clone = stream.try_clone().ok().filter(|_| !open.down)?;
        open.next += 1;
        let number = open.next;
        open.sockets.insert(number, clone);
        Some(number)
    }

    fn are_down(&self) -> bool {
        lock(&self.open).down
    }

    fn reopen(&self) {
        lock(&self.open).down = false;
    }

    fn reset_all(&self) {
        let mut open = lock(&self.open);
        open.down = true;
        open.sockets.values().for_each(http::reset);
        self.changed.notify_all();
    }

    fn wait_for_all(&self) {
        let open = lock(&self.open);
        let waited = self.changed.wait_while(open, |open| !open.sockets.is_empty());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Sleeps, unless everything goes down.
    fn pause(&self, duration: Duration) {
        if !duration.is_zero() {
            let open = lock(&self.open);
            let waited = self.changed.wait_timeout_while(open, duration, |open| !open.down);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }
}
