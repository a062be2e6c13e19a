//! Emulators of AWS that others wrote, each a process on a free port of 127.0.0.1 that ends with
//! its test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{aws_calls, node_modules, python, run, text, virtual_environment};

/// A running emulator.
pub(crate) struct Emulator {
    child: Child,
    port: u16,
    /// Of kinesis-local.
    pub(crate) tls_url: Option<String>,
}

/// How long one may take to start, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// moto: Firehose that delivers to S3, Kinesis, and the S3 to look into.
pub(crate) fn moto() -> Emulator {
    started("moto", || {
        let port = free_port();
        let mut command = Command::new(virtual_environment().join("bin/moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        (command, port, None)
    })
}

/// kinesis-local, which is kinesis-mock as a program of node; `None` without node. Its certificate
/// for TLS is its own unless one of [`self_signed`] is given.
pub(crate) fn kinesis_local(certificate: Option<&Path>) -> Option<Emulator> {
    let package = node_modules()?.join("kinesis-local");
    let certificate = certificate.map_or_else(|| package.join("server.json"), Path::to_owned);
    Some(started("kinesis-local", || {
        let (port, tls_port) = (free_port(), free_port());
        let mut command = Command::new("node");
        command.arg(package.join("main.js")).env("LOG_LEVEL", "ERROR").env("AWS_REGION", "us-east-1");
        command.env("KINESIS_MOCK_CERT_PATH", &certificate);
        command.env("KINESIS_MOCK_PLAIN_PORT", port.to_string());
        command.env("KINESIS_MOCK_TLS_PORT", tls_port.to_string());
        (command, port, Some(format!("https://127.0.0.1:{tls_port}")))
    }))
}

/// A key and a certificate for 127.0.0.1 in the form of kinesis-local, and the certificate by
/// itself.
pub(crate) fn self_signed() -> (String, String) {
    let server = text(run(&mut python("self_signed.py"), b""));
    let value: Value = serde_json::from_str(&server).expect("self_signed.py writes JSON");
    let certificate = value["server"]["cert"].as_str().expect("a certificate").to_owned();
    (server, certificate)
}

/// Starts one and waits until it answers. That it ends at once may mean that someone else took its
/// port: then it gets another.
fn started(name: &str, command: impl Fn() -> (Command, u16, Option<String>)) -> Emulator {
    for _ in 0..3 {
        let (mut command, port, tls_url) = command();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let mut emulator = Emulator { child, port, tls_url };
        let begun = Instant::now();
        while emulator.child.try_wait().expect("its state can be had").is_none() {
            if emulator.answers() {
                return emulator;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} does not answer within {PATIENCE:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
    panic!("{name} ended three times before it answered");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port of 127.0.0.1");
    listener.local_addr().expect("a listener has an address").port()
}

impl Emulator {
    /// The port of its plain HTTP.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where it is reached.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Environment variables that lead AWS's SDKs and tools here, and nowhere else.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let nothing = || "/dev/null".to_owned();
        vec![
            ("AWS_ENDPOINT_URL", self.url()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_CONFIG_FILE", nothing()),
            ("AWS_SHARED_CREDENTIALS_FILE", nothing()),
            ("NO_PROXY", Ipv4Addr::LOCALHOST.to_string()),
        ]
    }

    /// The replies to these calls of a service, each an operation with its parameters; none may
    /// fail.
    #[track_caller]
    pub(crate) fn call(&self, service: &str, calls: &[(&str, Value)]) -> Vec<Value> {
        let call = |(operation, parameters): &(&str, Value)| json!({ "service": service, "operation": operation, "parameters": parameters });
        let answers = aws_calls(&self.environment(), &calls.iter().map(call).collect::<Vec<_>>());
        answers
            .into_iter()
            .zip(calls)
            .map(|(mut answer, (operation, _))| {
                assert_eq!(answer["status"], 200, "{operation}: {answer}");
                answer["reply"].take()
            })
            .collect()
    }

    fn answers(&self) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        let mut start = [0; 5];
        stream.read_exact(&mut start).is_ok() && start == *b"HTTP/"
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
