//! Lines over TCP or a unix socket.
//!
//! Nothing is answered. What was read from a connection is safe before more is read, so a journal
//! that is full, or a slow disk, holds up who sends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pixel_engine_core::journal::{Body, JournalError, last_fields_header};
use pixel_engine_core::source::Format;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Semaphore;

use super::{Bound, Door, accept_all};

/// Bytes that are read at a time.
const READ_SIZE: usize = 256 << 10;
/// A line that is longer ends its connection.
const MAX_LINE_LEN: usize = 16 << 20;
/// Before a journal that takes nothing is asked again.
const RETRY: Duration = Duration::from_millis(200);

pub(super) async fn serve(door: Door, socket: Bound, connections: Arc<Semaphore>, name: String) {
    let socket = &socket;
    let read = |(stream, peer): (Stream, String)| {
        let (door, name) = (door.clone(), if peer.is_empty() { name.clone() } else { format!("{name} from {peer}") });
        async move { read(&door, stream, &name).await }
    };
    accept_all(|| door.stopped(), connections, &name, || accept(socket), read).await;
}

type Stream = Box<dyn AsyncRead + Send + Unpin>;

async fn accept(socket: &Bound) -> io::Result<(Stream, String)> {
    Ok(match socket {
        Bound::Tcp(listener) => {
            let (stream, peer) = listener.accept().await?;
            (Box::new(stream), peer.to_string())
        }
        Bound::Unix(listener) => (Box::new(listener.accept().await?.0), String::new()),
    })
}

async fn read(door: &Door, mut stream: Stream, name: &str) {
    let mut connection = Connection { text: Vec::new(), header: None, format: door.format };
    let mut buffer = Vec::with_capacity(READ_SIZE);
    loop {
        buffer.clear();
        let read = tokio::select! {
            () = door.stopped() => break,
            read = stream.read_buf(&mut buffer) => read,
        };
        let lines = match read {
            // A last line without a newline is one: whoever closes a connection has sent all of it.
            Ok(0) => connection.rest(),
            Ok(_) => connection.add(&buffer),
            Err(error) => {
                let left = connection.text.len();
                tracing::warn!(
                    "{name}: the connection broke off: {error}; the {left} bytes of its last line are not taken"
                );
                return;
            }
        };
        if let Some(body) = lines
            && !store(door, &body, name).await
        {
            return;
        }
        if matches!(read, Ok(0)) {
            return;
        }
        if connection.text.len() > MAX_LINE_LEN {
            tracing::error!(
                "{name}: a line is longer than {MAX_LINE_LEN} bytes: it is not taken, and the connection is closed"
            );
            return;
        }
    }
    let left = connection.text.len();
    if left > 0 {
        tracing::warn!("{name}: closed in the middle of a line: its {left} bytes are not taken");
    }
}

/// Waits until the lines are safe; `false` when they never will be.
async fn store(door: &Door, body: &Body, name: &str) -> bool {
    let mut is_told = false;
    loop {
        let error = match door.append(body.kind, &body.lines) {
            Ok(pending) => match pending.wait().await {
                Ok(()) => return true,
                Err(error) => error,
            },
            Err(error) => error,
        };
        if matches!(error, JournalError::Closed) || *door.stop.borrow() {
            tracing::error!("{name}: {} bytes of lines are not taken: {error}", body.lines.len());
            return false;
        }
        if !is_told {
            tracing::warn!("{name}: {error}; the sender waits");
            is_told = true;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// What is known of the lines of a connection.
struct Connection {
    /// What stands behind the last newline.
    text: Vec<u8>,
    /// The last `#Fields:` header, under which the lines that follow are read.
    header: Option<Vec<u8>>,
    /// What the lines are, once there is one.
    format: Format,
}

impl Connection {
    /// The whole lines that there are now.
    fn add(&mut self, bytes: &[u8]) -> Option<Body> {
        let searched = self.text.len();
        self.text.extend_from_slice(bytes);
        let end = searched + memchr::memrchr(b'\n', &self.text[searched..])? + 1;
        let rest = self.text.split_off(end);
        let lines = std::mem::replace(&mut self.text, rest);
        Some(self.body(lines))
    }

    /// What is left at the end.
    fn rest(&mut self) -> Option<Body> {
        let lines = std::mem::take(&mut self.text);
        (!lines.is_empty()).then(|| self.body(lines))
    }

    fn body(&mut self, lines: Vec<u8>) -> Body {
        if self.format == Format::Auto {
            self.format = Format::of(&lines).unwrap_or_default();
        }
        if self.format != Format::Standard {
            return Body::of(lines, self.format);
        }
        // In the journal, lines of others stand before these.
        let header = self.header.clone().unwrap_or_default();
        if let Some(own) = last_fields_header(&lines) {
            self.header = Some(own.to_vec());
        }
        Body::of([header, lines].concat(), Format::Standard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_stands_under_its_own_header() {
        let mut connection = Connection { text: Vec::new(), header: None, format: Format::Auto };
        let mut add = |text: &str| connection.add(text.as_bytes()).map(|body| String::from_utf8(body.lines).unwrap());
        assert_eq!(add("#Version: 1.0\n#Fiel"), Some("#Version: 1.0\n".to_owned()));
        assert_eq!(add("ds: date time\n1\t2\n3"), Some("#Fields: date time\n1\t2\n".to_owned()));
        assert_eq!(add("\t4"), None);
        assert_eq!(add("\n"), Some("#Fields: date time\n3\t4\n".to_owned()));
        assert_eq!(connection.rest(), None);
    }

    #[test]
    fn a_last_line_needs_no_newline() {
        let mut connection = Connection { text: Vec::new(), header: None, format: Format::Auto };
        assert_eq!(connection.add(b"1\t2\n3").map(|body| body.lines), Some(b"1\t2\n".to_vec()));
        assert_eq!(connection.rest().map(|body| body.lines), Some(b"3\n".to_vec()));
    }
}
