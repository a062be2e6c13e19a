//! What listens on the network, and puts lines into the journal of its pipeline.
//!
//! `http` answers requests: `logs` is `POST /v1/logs`, `firehose` the delivery of a Firehose stream
//! to an HTTP endpoint, `pixel` the pixel itself; `address` finds out whose request it is, `tls`
//! reads certificates, `body` what is posted. `lines` takes lines as they are, over TCP or a unix
//! socket.
//!
//! Nobody is told that lines were taken before they are safe: on disk, and synced. A client that
//! gets another answer, or none, has to send again.

mod address;
mod body;
mod firehose;
mod http;
mod lines;
mod logs;
mod pixel;
mod tls;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use pixel_engine_core::config::Config;
use pixel_engine_core::journal::{Journal, JournalError, Kind, Pending};
use pixel_engine_core::privacy::Privacy;
use pixel_engine_core::source::Format;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub use address::Proxies;
pub use tls::{Tls, TlsError};

use crate::config::{Address, ListenConfig, Service};

/// How long what was begun before a stop may take to end.
const MAX_CLOSING: Duration = Duration::from_secs(5);
/// Before a connection is accepted again, when the system has refused one.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A socket that is bound.
pub enum Socket {
    /// An address and a port.
    Tcp(TcpListener),
    /// A path.
    Unix(UnixListener),
}

impl Socket {
    /// Binds the address. A socket in the file system that nobody listens to any more is removed.
    ///
    /// # Errors
    /// It is in use, or the system refuses.
    pub fn bind(address: &Address) -> io::Result<Socket> {
        let socket = match address {
            Address::Tcp(address) => Socket::Tcp(TcpListener::bind(address)?),
            Address::Unix(path) => {
                if std::os::unix::net::UnixStream::connect(path)
                    .is_err_and(|it| it.kind() == io::ErrorKind::ConnectionRefused)
                {
                    std::fs::remove_file(path)?;
                }
                Socket::Unix(UnixListener::bind(path)?)
            }
        };
        match &socket {
            Socket::Tcp(listener) => listener.set_nonblocking(true)?,
            Socket::Unix(listener) => listener.set_nonblocking(true)?,
        }
        Ok(socket)
    }

    /// Where it is on the network, with the port that the system chose where none was given.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// The same socket once more, so that it stays open while nobody serves it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn try_clone(&self) -> io::Result<Socket> {
        Ok(match self {
            Socket::Tcp(listener) => Socket::Tcp(listener.try_clone()?),
            Socket::Unix(listener) => Socket::Unix(listener.try_clone()?),
        })
    }
}

/// Services that are open.
pub struct Listening {
    runtime: Runtime,
    services: JoinSet<()>,
    /// Those of Firehose that were taken, at whichever address.
    requests: Option<Arc<firehose::Requests>>,
    stop: watch::Sender<bool>,
}

impl Listening {
    /// A place for services, without any yet.
    ///
    /// # Errors
    /// Threads cannot be started.
    pub fn new() -> io::Result<Listening> {
        let runtime = Builder::new_multi_thread().thread_name("listen").enable_all().build()?;
        Ok(Listening { runtime, services: JoinSet::new(), requests: None, stop: watch::channel(false).0 })
    }

    /// Serves what `config` says at a socket. Lines go into the journal, and are what the pipeline's
    /// configuration says.
    ///
    /// # Errors
    /// The certificate or its key cannot be used, or the system refuses.
    pub fn serve(
        &mut self,
        config: &ListenConfig,
        socket: Socket,
        journal: Arc<Journal>,
        pipeline: &Config,
    ) -> Result<(), TlsError> {
        let _runtime = self.runtime.enter();
        let privacy = Privacy::of(pipeline).map(Arc::new);
        let door = Door { journal, privacy, format: pipeline.format(), stop: self.stop.subscribe() };
        let connections = Arc::new(Semaphore::new(config.max_connections));
        let name = config.address.to_string();
        let handle = self.runtime.handle();
        match &config.service {
            Service::Http(http) => {
                let acceptor = http.tls.as_ref().map(Tls::acceptor).transpose()?;
                let requests = || Arc::new(firehose::Requests::of(&door.journal));
                let requests = Arc::clone(self.requests.get_or_insert_with(requests));
                let server = Arc::new(http::Server::new(http, door, requests));
                self.services.spawn_on(http::serve(server, bound(socket)?, acceptor, connections, name), handle);
            }
            Service::Lines => {
                self.services.spawn_on(lines::serve(door, bound(socket)?, connections, name), handle);
            }
        }
        Ok(())
    }

    /// Takes no more connections and requests, and waits for those that were begun.
    pub fn close(mut self) {
        self.stop.send_replace(true);
        self.runtime.block_on(async {
            let ended = async { while self.services.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(MAX_CLOSING, ended).await;
        });
        self.runtime.shutdown_background();
    }
}

/// Where the lines of a service go.
#[derive(Clone)]
struct Door {
    journal: Arc<Journal>,
    /// What becomes of personal data before it is on disk.
    privacy: Option<Arc<Privacy>>,
    format: Format,
    stop: watch::Receiver<bool>,
}

impl Door {
    /// Takes whole lines, each with its newline.
    fn append(&self, kind: Kind, lines: &[u8]) -> Result<Pending, JournalError> {
        let Some(privacy) = &self.privacy else { return self.journal.append(kind, None, lines) };
        let mut treated = Vec::with_capacity(lines.len());
        privacy.treat(kind.format(), lines, &mut treated);
        self.journal.append(kind, Some(privacy.id()), &treated)
    }

    /// Waits until the service is to close.
    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // Without a sender, it is over as well.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

/// Accepts connections until `stopped` is over, has each of them served, and waits for those that
/// were begun.
pub(crate) async fn accept_all<Stopped, Accepted, Accepting, Serving>(
    stopped: impl Fn() -> Stopped,
    connections: Arc<Semaphore>,
    name: &str,
    accept: impl Fn() -> Accepting,
    serve: impl Fn(Accepted) -> Serving,
) where
    Stopped: Future<Output = ()>,
    Accepting: Future<Output = io::Result<Accepted>>,
    Serving: Future<Output = ()> + Send + 'static,
{
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let (permit, accepted) = tokio::select! {
            () = stopped() => break,
            next = async {
                let permit = Arc::clone(&connections).acquire_owned().await.expect("it is never closed");
                (permit, accept().await)
            } => next,
        };
        match accepted {
            Ok(accepted) => {
                let serving = serve(accepted);
                open.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!("{name}: a connection cannot be accepted: {error}");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    while open.join_next().await.is_some() {}
}

/// A socket on the runtime that is entered.
enum Bound {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

fn bound(socket: Socket) -> io::Result<Bound> {
    Ok(match socket {
        Socket::Tcp(listener) => Bound::Tcp(tokio::net::TcpListener::from_std(listener)?),
        Socket::Unix(listener) => Bound::Unix(tokio::net::UnixListener::from_std(listener)?),
    })
}
