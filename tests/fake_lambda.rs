//! Lambda, as a custom runtime sees it: the four calls of the Runtime API, and what can go wrong
//! with them. The rules are those of AWS's runtime interface emulator, which is built from the
//! service's own code.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::support::Workspace;

/// The largest reply: 6 MiB and 100 bytes.
pub(crate) const MAX_REPLY_SIZE: usize = 6 * 1_024 * 1_024 + 100;
/// How long a function may take that no test has given another time.
const TIMEOUT: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(30);

/// A Runtime API on a free port.
pub(crate) struct FakeLambda {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Events that nobody has asked for yet, with their numbers.
    events: VecDeque<(u64, Vec<u8>)>,
    /// The event that the runtime has, and has not answered.
    invoked: Option<(u64, Vec<u8>)>,
    invocations: u64,
    answers: VecDeque<Answer>,
    faults: Vec<(Call, Fault)>,
    /// What the runtime did against the rules.
    violations: Vec<String>,
    /// Each call that came: `GET next`.
    calls: Vec<Call>,
    connections: u64,
    is_closed: bool,
    /// How long the function may take.
    timeout: Option<Duration>,
}

/// What came of an invocation, or of the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The function answered.
    Reply(Vec<u8>),
    /// It reported an error.
    Error(FunctionError),
    /// It could not start.
    InitError(FunctionError),
    /// Its reply was larger than [`MAX_REPLY_SIZE`].
    TooLarge,
}

/// An error as a function reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FunctionError {
    /// `errorType`, which is in a header too.
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// A call of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Next,
    Response,
    Error,
    InitError,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ends before the call is looked at.
    CloseBefore,
    /// The call is answered, and then the connection ends without a word of it.
    CloseAfter,
    /// The answer breaks off in the middle of its body.
    CutOff,
    /// The call is answered with that status.
    Status(u16),
    /// The answer to `next` lacks that header.
    WithoutHeader(&'static str),
}

impl FakeLambda {
    pub(crate) fn start() -> FakeLambda {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::<Shared>::default();
        let of_server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&of_server);
                if shared.lock().is_closed {
                    return;
                }
                shared.lock().connections += 1;
                // A connection that breaks is the runtime's to deal with.
                thread::spawn(move || stream.and_then(|stream| serve(stream, &shared)));
            }
        });
        FakeLambda { address, shared }
    }

    /// The binary as the runtime of a function with these variables.
    pub(crate) fn function(&self, workspace: &Workspace, variables: &[(&str, &str)]) -> Command {
        let mut command = workspace.command(&["lambda"]);
        without_own_variables(&mut command).env("AWS_LAMBDA_RUNTIME_API", self.address.to_string());
        command.envs(variables.iter().copied());
        command
    }

    /// Invocations end after that time from here on.
    pub(crate) fn timeout(&self, timeout: Duration) {
        self.shared.lock().timeout = Some(timeout);
    }

    /// What comes of an invocation with that event.
    #[track_caller]
    pub(crate) fn invoke(&self, event: impl Into<Vec<u8>>) -> Answer {
        self.offer(event);
        self.answer()
    }

    /// Invokes the function, and does not wait for what comes of it.
    pub(crate) fn offer(&self, event: impl Into<Vec<u8>>) {
        let mut state = self.shared.lock();
        state.invocations += 1;
        let number = state.invocations;
        state.events.push_back((number, event.into()));
        drop(state);
        self.shared.changed.notify_all();
    }

    /// The JSON that an invocation with that event is answered with.
    #[track_caller]
    pub(crate) fn reply(&self, event: impl Into<Vec<u8>>) -> Value {
        match self.invoke(event) {
            Answer::Reply(reply) => serde_json::from_slice(&reply).expect("a reply is JSON"),
            other => panic!("no reply: {other:?}"),
        }
    }

    /// The next answer, of an invocation or of the start.
    #[track_caller]
    pub(crate) fn answer(&self) -> Answer {
        self.wait_for(|state| state.answers.pop_front())
    }

    /// The fault happens to the next call of that kind.
    pub(crate) fn fault(&self, call: Call, fault: Fault) {
        self.shared.lock().faults.push((call, fault));
    }

    /// Waits until the runtime asks for an invocation that there is not yet.
    #[track_caller]
    pub(crate) fn wait_until_asked(&self) {
        self.wait_for(|state| (state.calls.last() == Some(&Call::Next) && state.invoked.is_none()).then_some(()));
    }

    /// Every call so far, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.lock().calls.clone()
    }

    /// How many connections the runtime has made.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.lock().connections
    }

    /// What the runtime did against the rules.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.shared.lock().violations.clone()
    }

    #[track_caller]
    fn wait_for<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let begun = Instant::now();
        let mut state = self.shared.lock();
        loop {
            if let Some(found) = look(&mut state) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing came in {PATIENCE:?}; the calls were {:?}", state.calls);
            state = self.shared.changed.wait_timeout(state, PATIENCE).expect("no panic").0;
        }
    }
}

/// The command without the variables of the tests, which are no settings of a function.
pub(crate) fn without_own_variables(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PIXEL_ENGINE_") && name != "PIXEL_ENGINE_SIMD") {
            command.env_remove(name);
        }
    }
    command
}

impl Drop for FakeLambda {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
        // So that the server looks.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}

impl State {
    /// What the runtime does wrong, and the answer to it.
    fn violation(&mut self, what: String) -> (u16, Vec<u8>) {
        let body = format!(r#"{{"errorMessage":"{what}","errorType":"InvalidStateTransition"}}"#);
        self.violations.push(what);
        (403, body.into_bytes())
    }

    /// Ends the invocation of that request id.
    fn answered(&mut self, id: &str, answer: Answer) -> (u16, Vec<u8>) {
        if self.invoked.as_ref().is_none_or(|(number, _)| request_id(*number) != id) {
            return self.violation(format!("{id} is not invoked"));
        }
        self.invoked = None;
        let status = if answer == Answer::TooLarge { 413 } else { 202 };
        self.answers.push_back(answer);
        (status, br#"{"status":"OK"}"#.to_vec())
    }
}

fn request_id(number: u64) -> String {
    format!("8476a536-e9f4-11e8-9739-{number:012}")
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// `None` when the connection has ended.
    fn read(input: &mut impl BufRead) -> io::Result<Option<Request>> {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(ToOwned::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            input.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Request { method, path, headers, body: Vec::new() };
        let len = request.header("content-length").map_or(0, |len| len.parse().expect("a number"));
        request.body.resize(len, 0);
        input.read_exact(&mut request.body)?;
        Ok(Some(request))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }

    /// The error that it reports.
    fn error(&self) -> Result<FunctionError, String> {
        let body: Value = serde_json::from_slice(&self.body).map_err(|error| format!("no JSON: {error}"))?;
        let text = |name: &str| body[name].as_str().map(ToOwned::to_owned).ok_or(format!("no {name}: {body}"));
        let error = FunctionError { kind: text("errorType")?, message: text("errorMessage")? };
        match self.header("lambda-runtime-function-error-type") {
            Some(kind) if kind == error.kind && (kind.starts_with("Function.") || kind.starts_with("Runtime.")) => {
                Ok(error)
            }
            other => Err(format!("the header says {other:?}, and the body {}", error.kind)),
        }
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (BufReader::new(stream.try_clone()?), stream);
    while let Some(request) = Request::read(&mut input)? {
        let path: Vec<&str> = request.path.split('/').skip(1).collect();
        let (call, id) = match (request.method.as_str(), path.as_slice()) {
            ("GET", ["2018-06-01", "runtime", "invocation", "next"]) => (Call::Next, ""),
            ("POST", ["2018-06-01", "runtime", "invocation", id, "response"]) => (Call::Response, *id),
            ("POST", ["2018-06-01", "runtime", "invocation", id, "error"]) => (Call::Error, *id),
            ("POST", ["2018-06-01", "runtime", "init", "error"]) => (Call::InitError, ""),
            _ => {
                shared.lock().violations.push(format!("{} {}", request.method, request.path));
                return respond(&mut output, 404, "", b"", 0);
            }
        };
        let fault = {
            let mut state = shared.lock();
            state.calls.push(call);
            let at = state.faults.iter().position(|fault| fault.0 == call);
            at.map(|at| state.faults.remove(at).1)
        };
        shared.changed.notify_all();
        match fault {
            Some(Fault::CloseBefore) => return Ok(()),
            Some(Fault::Status(status)) => {
                let body = br#"{"errorMessage":"as the test wants it","errorType":"Fault"}"#;
                respond(&mut output, status, "", body, body.len())?;
                continue;
            }
            _ => {}
        }
        let (status, headers, body) = match call {
            Call::Next => {
                let Some((number, event)) = next(shared, fault == Some(Fault::CutOff)) else { return Ok(()) };
                let deadline = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
                let deadline = (deadline + shared.lock().timeout.unwrap_or(TIMEOUT)).as_millis();
                let headers = [
                    ("Lambda-Runtime-Aws-Request-Id", request_id(number)),
                    ("Lambda-Runtime-Deadline-Ms", deadline.to_string()),
                    ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:it".into()),
                    ("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700".into()),
                ];
                let is_left_out = |name: &str| matches!(fault, Some(Fault::WithoutHeader(left_out)) if name.eq_ignore_ascii_case(left_out));
                let headers = headers.iter().filter(|(name, _)| !is_left_out(name));
                (200, headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect(), event)
            }
            _ => {
                let mut state = shared.lock();
                let (status, body) = match (call, request.error()) {
                    (Call::Response, _) if request.body.len() > MAX_REPLY_SIZE => state.answered(id, Answer::TooLarge),
                    (Call::Response, _) => state.answered(id, Answer::Reply(request.body)),
                    (_, Err(wrong)) => state.violation(wrong),
                    (Call::Error, Ok(error)) => state.answered(id, Answer::Error(error)),
                    (_, Ok(error)) => {
                        state.answers.push_back(Answer::InitError(error));
                        (202, br#"{"status":"OK"}"#.to_vec())
                    }
                };
                (status, String::new(), body)
            }
        };
        shared.changed.notify_all();
        match fault {
            Some(Fault::CutOff) => return respond(&mut output, status, &headers, &body[..body.len() / 2], body.len()),
            _ => respond(&mut output, status, &headers, &body, body.len())?,
        }
        if fault == Some(Fault::CloseAfter) {
            return Ok(());
        }
    }
    Ok(())
}

/// The next event, once there is one. One that is to get lost on the way is invoked again, as
/// whoever invoked the function would.
fn next(shared: &Shared, is_lost: bool) -> Option<(u64, Vec<u8>)> {
    let mut state = shared.lock();
    if state.invoked.is_some() {
        state.violation("next, before the invocation was answered".to_owned());
    }
    loop {
        if state.is_closed {
            return None;
        }
        if let Some(event) = state.events.pop_front() {
            match is_lost {
                true => state.events.push_front(event.clone()),
                false => state.invoked = Some(event.clone()),
            }
            return Some(event);
        }
        state = shared.changed.wait(state).expect("no panic");
    }
}

fn respond(output: &mut TcpStream, status: u16, headers: &str, body: &[u8], len: usize) -> io::Result<()> {
    let head =
        format!("HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\n{headers}Content-Length: {len}\r\n\r\n");
    output.write_all(&[head.as_bytes(), body].concat())
}
