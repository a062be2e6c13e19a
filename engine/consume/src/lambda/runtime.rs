//! The loop of a custom runtime: asks for an invocation, hands it to the function, says what came of
//! it.
//!
//! The Runtime API is HTTP/1.1 on this machine, at the address in `AWS_LAMBDA_RUNTIME_API`, and has
//! four calls. One connection is kept for all of them. There is no limit to how long a call may
//! take: `next` waits until someone invokes the function, and meanwhile the machine may be frozen.
//!
//! Source: "Using the Lambda runtime API for custom runtimes" in the Lambda developer guide.

use std::any::Any;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

/// The variable with the address of the Runtime API.
pub const API_VARIABLE: &str = "AWS_LAMBDA_RUNTIME_API";

const VERSION: &str = "/2018-06-01";
const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
const DEADLINE: &str = "lambda-runtime-deadline-ms";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";

/// What the function is invoked with.
#[derive(Debug)]
pub struct Invocation {
    /// Names the invocation, in Lambda's log lines too.
    pub request_id: String,
    /// When Lambda ends the function, whether it has answered or not.
    pub deadline: SystemTime,
    /// The event as it came.
    pub event: Vec<u8>,
}

/// A function.
pub trait Handler {
    /// Answers an invocation with JSON.
    fn handle(&mut self, invocation: &mut Invocation) -> impl Future<Output = Result<Vec<u8>, HandlerError>>;
}

/// Why an invocation could not be answered. Whoever invoked the function is told, and sends the
/// event again or gives it up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct HandlerError {
    /// What kind of error it is, for metrics and filters: `Function.UnexpectedEvent`. Lambda takes
    /// `Function.` or `Runtime.` and a name.
    pub kind: &'static str,
    /// What happened and what to do.
    pub message: String,
}

/// Why a runtime cannot go on. The process should end, with another exit code than 0: Lambda then
/// starts a new one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// Nobody is at the address, or the connection broke twice: the execution environment is
    /// being taken down, or this is not Lambda.
    #[error("{address}: {error}: this is the address in {API_VARIABLE}, which Lambda sets")]
    Connection {
        /// Where the Runtime API should be.
        address: String,
        /// What the system or the HTTP client says.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The Runtime API says that the execution environment cannot go on.
    #[error("{call}: the Lambda runtime API answers with an error of the execution environment: {said}")]
    Environment {
        /// The path of the call.
        call: String,
        /// Status and body of the answer.
        said: String,
    },
    /// The Runtime API refuses a call, as it does one that is out of turn.
    #[error("{call}: the Lambda runtime API refuses the call: {said}")]
    Refused {
        /// The path of the call.
        call: String,
        /// Status and body of the answer.
        said: String,
    },
    /// An invocation comes without what it must have: whatever answers is not the Runtime API.
    #[error("{call}: the answer has no usable header {header}")]
    Header {
        /// The path of the call.
        call: String,
        /// The name of the header.
        header: &'static str,
    },
    /// The function panicked, which is a fault of this program. The invocation was answered with
    /// the error.
    #[error("the function panicked: {0}")]
    Panic(String),
}

/// Serves one invocation after the other, until that is no longer possible.
///
/// `api` is the host and port of the Runtime API; emulators write it as a URL, and may have a path
/// in it. An error of the handler is reported, and the next
/// invocation follows. So does it after a reply that is too large, which the API itself reports to
/// whoever invoked the function.
///
/// # Errors
/// Always, as there is no other end.
pub async fn serve(api: &str, mut handler: impl Handler) -> Result<Infallible, RuntimeError> {
    let mut api = Api::at(api);
    loop {
        let mut invocation = api.next().await?;
        let outcome = caught(handler.handle(&mut invocation)).await;
        let call = format!("/runtime/invocation/{}", invocation.request_id);
        // So that there is room for the next one.
        drop(invocation.event);
        match outcome {
            Ok(Ok(reply)) => api.respond(&format!("{call}/response"), reply).await?,
            Ok(Err(error)) => {
                tracing::error!("{}: {error}", invocation.request_id);
                api.report(&format!("{call}/error"), &error).await?;
            }
            Err(panic) => {
                let message = message_of(&*panic);
                let error = HandlerError { kind: "Runtime.Panic", message: message.clone() };
                api.report(&format!("{call}/error"), &error).await?;
                return Err(RuntimeError::Panic(message));
            }
        }
    }
}

/// Tells Lambda that the function cannot start. The process should end then, with another exit code
/// than 0.
///
/// # Errors
/// The Runtime API cannot be reached or refuses the call.
pub async fn report_init_error(api: &str, error: &HandlerError) -> Result<(), RuntimeError> {
    let mut api = Api::at(api);
    api.report("/runtime/init/error", error).await
}

/// The Runtime API, and the connection to it.
struct Api {
    /// Host and port.
    address: String,
    /// What stands before the path of each call: nothing, in Lambda.
    prefix: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Api {
    fn at(url: &str) -> Api {
        let place = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let (address, prefix) = place.split_at(place.find('/').unwrap_or(place.len()));
        Api { address: address.to_owned(), prefix: prefix.to_owned(), connection: None }
    }

    async fn next(&mut self) -> Result<Invocation, RuntimeError> {
        let call = "/runtime/invocation/next";
        let answer = self.call(Method::GET, call, &[], Bytes::new()).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.error(call));
        }
        let text = |header: &'static str| answer.headers.get(header).and_then(|value| value.to_str().ok());
        let missing = |header| RuntimeError::Header { call: call.to_owned(), header };
        let request_id = text(REQUEST_ID).filter(|id| !id.is_empty()).ok_or_else(|| missing(REQUEST_ID))?.to_owned();
        let deadline = text(DEADLINE).and_then(|milliseconds| milliseconds.parse().ok());
        let deadline = SystemTime::UNIX_EPOCH + Duration::from_millis(deadline.ok_or_else(|| missing(DEADLINE))?);
        Ok(Invocation { request_id, deadline, event: answer.body })
    }

    async fn respond(&mut self, call: &str, reply: Vec<u8>) -> Result<(), RuntimeError> {
        let answer = self.call(Method::POST, call, &[], reply.into()).await?;
        if answer.status == StatusCode::PAYLOAD_TOO_LARGE {
            // The API has answered the invocation with that, and would refuse another answer.
            tracing::error!("{call}: the reply is too large for Lambda: {}", answer.said());
            return Ok(());
        }
        answer.accepted(call)
    }

    async fn report(&mut self, call: &str, error: &HandlerError) -> Result<(), RuntimeError> {
        let body = json!({ "errorMessage": error.message, "errorType": error.kind, "stackTrace": [] });
        let headers = [(ERROR_TYPE, error.kind)];
        self.call(Method::POST, call, &headers, body.to_string().into()).await?.accepted(call)
    }

    /// Calls the API, and once more if the connection turns out to be closed.
    ///
    /// A call may then arrive twice. An invocation whose event got lost on the way is not answered,
    /// so Lambda ends it in time, and whoever invoked the function tries again; a second answer to
    /// an invocation is refused.
    async fn call(
        &mut self,
        method: Method,
        call: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, RuntimeError> {
        let is_used = self.connection.is_some();
        match self.try_call(&method, call, headers, body.clone()).await {
            Err(error) if is_used => {
                tracing::debug!("{call}: {error}: connecting again");
                self.connection = None;
                self.try_call(&method, call, headers, body).await
            }
            outcome => outcome,
        }
        .map_err(|error| RuntimeError::Connection { address: self.address.clone(), error })
    }

    async fn try_call(
        &mut self,
        method: &Method,
        call: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect(&self.address).await?),
        };
        let mut request = Request::builder().method(method).uri(format!("{}{VERSION}{call}", self.prefix));
        request = request.header(HOST, &self.address).header(CONTENT_TYPE, "application/json");
        request = request.header(USER_AGENT, concat!("pixel-engine/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        connection.ready().await?;
        let response = connection.send_request(request.body(Full::new(body))?).await?;
        Answer::read(response).await
    }
}

async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // How it ends, the next request is told.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// What the API says to a call.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    async fn read(response: Response<Incoming>) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let (head, mut incoming) = response.into_parts();
        let len = incoming.size_hint().exact().and_then(|len| usize::try_from(len).ok());
        let mut body = Vec::with_capacity(len.unwrap_or_default());
        while let Some(frame) = incoming.frame().await {
            if let Some(data) = frame?.data_ref() {
                body.extend_from_slice(data);
            }
        }
        if len.is_some_and(|len| len != body.len()) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut off").into());
        }
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    fn accepted(&self, call: &str) -> Result<(), RuntimeError> {
        match self.status.is_success() {
            true => Ok(()),
            false => Err(self.error(call)),
        }
    }

    fn error(&self, call: &str) -> RuntimeError {
        let (call, said) = (call.to_owned(), self.said());
        match self.status.is_server_error() {
            true => RuntimeError::Environment { call, said },
            false => RuntimeError::Refused { call, said },
        }
    }

    /// For people.
    fn said(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let some: String = body.chars().take(200).collect();
        format!("{} {some}", self.status)
    }
}

/// What the future comes to, or what it panics with.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    // Whatever the panic leaves behind is not looked at again: the process ends.
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// What a panic says.
fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;

    use super::*;

    /// Answers the calls on one connection with these statuses; each is an invocation with the event
    /// `event`. What came is told: path and body.
    fn api(statuses: &'static [u16]) -> (String, Receiver<(String, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (calls, told) = channel();
        thread::spawn(move || {
            let mut stream: TcpStream = listener.accept().unwrap().0;
            let mut input = BufReader::new(stream.try_clone().unwrap());
            for status in statuses {
                let (mut head, mut len) = (Vec::new(), 0);
                loop {
                    let mut line = String::new();
                    input.read_line(&mut line).unwrap();
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        len = value.trim().parse().unwrap();
                    }
                    if line == "\r\n" {
                        break;
                    }
                    head.push(line);
                }
                let mut body = vec![0; len];
                input.read_exact(&mut body).unwrap();
                let path = head[0].split(' ').nth(1).unwrap().to_owned();
                calls.send((path, String::from_utf8(body).unwrap())).unwrap();
                let headers = format!("{REQUEST_ID}: 1\r\n{DEADLINE}: 1767571200068\r\nContent-Length: 5");
                write!(stream, "HTTP/1.1 {status} Status\r\n{headers}\r\n\r\nevent").unwrap();
            }
        });
        (address, told)
    }

    /// A function that is what the closure is.
    struct Function<F>(F);

    impl<F: FnMut(&Invocation) -> Result<Vec<u8>, HandlerError>> Handler for Function<F> {
        async fn handle(&mut self, invocation: &mut Invocation) -> Result<Vec<u8>, HandlerError> {
            // Somewhere behind the first poll.
            tokio::task::yield_now().await;
            (self.0)(invocation)
        }
    }

    fn served(api: &str, function: impl FnMut(&Invocation) -> Result<Vec<u8>, HandlerError>) -> RuntimeError {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let Err(error) = runtime.block_on(serve(api, Function(function)));
        error
    }

    #[test]
    fn an_invocation_has_its_id_its_deadline_and_its_event() {
        let (api, told) = api(&[200, 202, 500]);
        let error = served(&format!("http://{api}/.rt/"), |invocation| {
            let deadline = invocation.deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!((deadline.as_millis(), &invocation.event[..]), (1_767_571_200_068, &b"event"[..]));
            Ok(invocation.request_id.clone().into_bytes())
        });
        assert!(matches!(error, RuntimeError::Environment { .. }), "{error}");
        let calls: Vec<(String, String)> = told.iter().collect();
        let next = ("/.rt/2018-06-01/runtime/invocation/next".to_owned(), String::new());
        let reply = ("/.rt/2018-06-01/runtime/invocation/1/response".to_owned(), "1".to_owned());
        assert_eq!(calls, [next.clone(), reply, next]);
    }

    #[test]
    fn a_panic_is_reported_and_ends_the_runtime() {
        let (api, told) = api(&[200, 202]);
        let error = served(&api, |_| panic!("a fault of {}", "ours"));
        assert_eq!(error.to_string(), "the function panicked: a fault of ours");
        let (path, body) = told.iter().nth(1).expect("a second call");
        assert_eq!(path, "/2018-06-01/runtime/invocation/1/error");
        assert_eq!(body, r#"{"errorMessage":"a fault of ours","errorType":"Runtime.Panic","stackTrace":[]}"#);
    }

    #[test]
    fn a_reply_that_is_too_large_is_followed_by_the_next_invocation() {
        let (api, told) = api(&[200, 413, 200, 202, 500]);
        served(&api, |_| Ok(Vec::new()));
        let paths: Vec<String> = told.iter().map(|call| call.0).collect();
        let (next, response) = ("/2018-06-01/runtime/invocation/next", "/2018-06-01/runtime/invocation/1/response");
        assert_eq!(paths, [next, response, next, response, next]);
    }
}
