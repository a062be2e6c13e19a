//! HTTP/1.1 over a socket, as much of it as clients of AWS speak, with a hand on the socket for
//! faults.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use jiff::Timestamp;

use crate::reply::Reply;

/// A request's head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) wire_bytes: usize,
}

impl Head {
    const HEADERS: usize = 64;

    /// The head at the beginning of `bytes`, if all of it is there.
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Option<Head>> {
        let mut headers = [httparse::EMPTY_HEADER; Self::HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let wire_bytes = match request.parse(bytes).map_err(invalid)? {
            httparse::Status::Complete(len) => len,
            httparse::Status::Partial => return Ok(None),
        };
        let headers = request.headers.iter().map(|header| {
            let value = str::from_utf8(header.value).map_err(invalid)?;
            Ok((header.name.to_owned(), value.to_owned()))
        });
        let headers = headers.collect::<io::Result<_>>()?;
        let method = request.method.unwrap_or_default().to_owned();
        let path = request.path.unwrap_or_default().to_owned();
        Ok(Some(Head { method, path, headers, wire_bytes }))
    }

    /// The first header of that name; names are compared without regard to case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    pub(crate) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |header| header.0.eq_ignore_ascii_case(name)).map(|header| header.1.as_str())
    }

    pub(crate) fn all_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn has_token(&self, name: &str, token: &str) -> bool {
        self.headers(name).flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    }
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Read and not yet used.
    buffer: Vec<u8>,
}

impl Connection {
    /// More than any service takes.
    const BODY_LIMIT: usize = 64 << 20;
    const HEAD_LIMIT: usize = 64 << 10;

    pub(crate) fn new(stream: TcpStream) -> Connection {
        Connection { stream, buffer: Vec::with_capacity(16 << 10) }
    }

    /// Whether the client has closed it.
    pub(crate) fn is_gone(&self) -> bool {
        let peeked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        let blocking = self.stream.set_nonblocking(false);
        let is_open = match peeked {
            Ok(len) => len > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        !is_open || blocking.is_err()
    }

    /// The next request's head; none when the client is done. [`ErrorKind::InvalidData`] is the
    /// client's fault.
    pub(crate) fn read_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if !self.buffer.is_empty()
                && let Some(head) = Head::parse(&self.buffer)?
            {
                self.buffer.drain(..head.wire_bytes);
                return Ok(Some(head));
            }
            if self.buffer.len() >= Self::HEAD_LIMIT {
                return Err(invalid("a head of more than 64 KiB"));
            }
            if self.fill()? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads the body into `body`, in place of what is there. Returns its length on the wire.
    pub(crate) fn read_body(&mut self, head: &Head, body: &mut Vec<u8>) -> io::Result<usize> {
        body.clear();
        if head.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if head.has_token("transfer-encoding", "chunked") {
            return self.read_chunks(body);
        }
        let len = match head.header("content-length") {
            Some(value) => value.parse().map_err(|_| invalid("content-length is not a number"))?,
            None => 0,
        };
        self.read_exactly(len, body)?;
        Ok(len)
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> io::Result<usize> {
        let mut wire_bytes = 0;
        loop {
            let (line, len) = loop {
                match httparse::parse_chunk_size(&self.buffer).map_err(|_| invalid("a chunk without a size"))? {
                    httparse::Status::Complete((line, len)) => break (line, len),
                    httparse::Status::Partial if self.buffer.len() > Self::HEAD_LIMIT => {
                        return Err(invalid("a chunk without a size"));
                    }
                    httparse::Status::Partial => self.fill_more()?,
                }
            };
            self.buffer.drain(..line);
            wire_bytes += line;
            if len == 0 {
                return Ok(wire_bytes + self.skip_trailers()?);
            }
            let len = usize::try_from(len).map_err(invalid)?;
            self.read_exactly(len, body)?;
            let mut end = Vec::with_capacity(2);
            self.read_exactly(2, &mut end)?;
            if end != b"\r\n" {
                return Err(invalid("a chunk longer than its size"));
            }
            wire_bytes += len + 2;
        }
    }

    /// The lines after the last chunk, to the empty one.
    fn skip_trailers(&mut self) -> io::Result<usize> {
        let mut skipped = 0;
        loop {
            match self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                Some(end) => {
                    self.buffer.drain(..end + 2);
                    skipped += end + 2;
                    if end == 0 {
                        return Ok(skipped);
                    }
                }
                None if self.buffer.len() > Self::HEAD_LIMIT => return Err(invalid("trailers of more than 64 KiB")),
                None => self.fill_more()?,
            }
        }
    }

    /// Appends so many bytes to `to`.
    fn read_exactly(&mut self, len: usize, to: &mut Vec<u8>) -> io::Result<()> {
        if to.len() + len > Self::BODY_LIMIT {
            return Err(invalid("a body of more than 64 MiB"));
        }
        let buffered = len.min(self.buffer.len());
        to.extend(self.buffer.drain(..buffered));
        let rest = len - buffered;
        to.reserve(rest);
        // Into spare capacity: no byte is written twice.
        let read = (&self.stream).take(rest as u64).read_to_end(to)?;
        if read < rest { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn fill_more(&mut self) -> io::Result<()> {
        if self.fill()? == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 << 10];
        let read = self.stream.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    /// Writes a reply, or the first half of its body.
    pub(crate) fn write(&mut self, reply: &Reply, envelope: &Envelope, whole: bool) -> io::Result<()> {
        let mut bytes = envelope.head(reply).into_bytes();
        let len = match reply.head_only {
            true => 0,
            false if whole => reply.body.len(),
            false => reply.body.len() / 2,
        };
        bytes.extend_from_slice(&reply.body[..len]);
        self.stream.write_all(&bytes)
    }

    /// Ends the connection so that the client's next read or write fails.
    pub(crate) fn reset(self) {
        reset(&self.stream);
    }

    /// Waits until the client, or the server as a whole, gives the connection up.
    pub(crate) fn wait_for_the_end(mut self) {
        let mut sink = [0; 4096];
        while self.stream.read(&mut sink).is_ok_and(|read| read > 0) {}
    }
}

/// Makes the end of a connection a reset, and ends it for whoever reads from it.
pub(crate) fn reset(stream: &TcpStream) {
    // An error means that the connection has ended by itself.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Read);
}

/// What a reply has beside its content.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) request_id: String,
    pub(crate) date: Timestamp,
    pub(crate) keep_alive: bool,
}

impl Envelope {
    fn head(&self, reply: &Reply) -> String {
        let Envelope { request_id, date, keep_alive } = self;
        let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT");
        let (status, content_type, len) = (reply.status, reply.content_type, reply.body.len());
        let mut head = format!(
            "HTTP/1.1 {status} {}\r\nx-amzn-RequestId: {request_id}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {len}\r\nDate: {date}\r\n",
            reason(status)
        );
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(code) = reply.error.as_deref().filter(|_| content_type.ends_with("json-1.1")) {
            head.push_str(&format!("x-amzn-ErrorType: {code}\r\n"));
        }
        head.push_str(if *keep_alive { "\r\n" } else { "Connection: close\r\n\r\n" });
        head
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Unknown",
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
