//! A network that breaks connections.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use fastrand::Rng;

/// A way to a service on which connections break: some before a request has come through, some when
/// it has and nobody says so.
pub(crate) struct ShakyWay {
    address: SocketAddr,
    pub(crate) is_broken: Arc<AtomicBool>,
    /// How many connections broke.
    pub(crate) broken: Arc<AtomicU64>,
}

impl ShakyWay {
    pub(crate) fn to(port: u16, seed: u64) -> ShakyWay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (is_broken, broken) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (flag, count) = (Arc::clone(&is_broken), Arc::clone(&broken));
        thread::spawn(move || {
            let mut rng = Rng::with_seed(seed);
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
                // One connection carries many requests.
                let limit = flag.load(Ordering::Relaxed).then(|| rng.usize(1_000..1_500_000));
                if limit.is_some() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                let (back, forth) = (server.try_clone(), client.try_clone());
                if let (Ok(back), Ok(forth)) = (back, forth) {
                    let replies = limit.filter(|limit| limit % 2 == 0).map(|limit| limit % 500);
                    let requests = limit.filter(|limit| limit % 2 == 1);
                    thread::spawn(move || copy(client, server, requests));
                    thread::spawn(move || copy(back, forth, replies));
                }
            }
        });
        ShakyWay { address, is_broken, broken }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Copies until the end, or until so many bytes have come, and closes both.
fn copy(mut from: TcpStream, mut to: TcpStream, limit: Option<usize>) {
    let (mut left, mut buffer) = (limit.unwrap_or(usize::MAX), vec![0; 1 << 16]);
    while left > 0 {
        let most = buffer.len().min(left);
        match from.read(&mut buffer[..most]) {
            Ok(count @ 1..) if to.write_all(&buffer[..count]).is_ok() => left -= count,
            _ => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
