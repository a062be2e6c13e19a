//! What listens on the network, and the journal that its lines are safe in.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderName;
use ipnet::IpNet;
use pixel_engine_core::config::read::{duration, secret, size};
use pixel_engine_core::config::{Config, Secret};
use pixel_engine_log::schema::{LogKind, Schema};
use serde::{Deserialize, Deserializer, de};

use crate::listen::{Proxies, Tls};

/// Where a service listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A service on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// Where.
    pub address: Address,
    /// What it does.
    pub service: Service,
    /// Connections at a time; the next ones wait.
    pub max_connections: usize,
}

/// What a service does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// Takes lines as they come.
    Lines,
    /// Answers HTTP requests.
    Http(Box<HttpConfig>),
}

/// How HTTP requests are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// What who posts lines has to know.
    pub access_key: Option<Secret>,
    /// The path of the pixel.
    pub pixel_path: String,
    /// What a request for it gets.
    pub pixel_reply: PixelReply,
    /// The columns of the line that it becomes.
    pub pixel_fields: Arc<Schema>,
    /// Which proxies name the viewer.
    pub proxies: Proxies,
    /// Certificate and key.
    pub tls: Option<Tls>,
    /// Bytes of a body, before and after decompression.
    pub max_body: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
}

/// What a request for the pixel gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PixelReply {
    /// A transparent GIF of one pixel.
    #[default]
    Gif,
    /// Nothing, with the status 204.
    Empty,
}

/// Lines from the network that are safe before a pipeline reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Its folder.
    pub folder: PathBuf,
    /// Bytes that it holds at most.
    pub size: u64,
    /// How long lines are gathered before they are synced.
    pub gather: Duration,
}

/// A key of a source, a journal or a report, as the documentation lists it.
#[derive(Clone, Copy, Debug)]
pub struct SourceKey {
    /// Its name.
    pub name: &'static str,
    /// What holds without it, in words.
    pub default: &'static str,
    /// What it is, and why its default is what it is.
    pub about: &'static str,
}

pub(super) const fn key(name: &'static str, default: &'static str, about: &'static str) -> SourceKey {
    SourceKey { name, default, about }
}

const LISTEN: SourceKey = key("listen", "required", "the address and port, such as `127.0.0.1:8080` or `[::]:8080`");
const MAX_CONNECTIONS: SourceKey = key(
    "max_connections",
    "4096",
    "connections at a time; the next ones wait in the kernel. Each costs some 10 KiB, so this many stay below 50 MB",
);

/// The keys of a source of type `follow`.
pub const FOLLOW_KEYS: &[SourceKey] = &[
    key("files", "required", "a glob, or a list of them"),
    key(
        "start",
        "beginning",
        "`beginning` or `end`, for files that are there at the first start: without a word, no line is left out",
    ),
];

/// The keys of a pipeline that are about its journal.
pub const JOURNAL_KEYS: &[SourceKey] = &[
    key("journal", "none", "the folder of the journal; required by `http`, `tcp` and `unix`"),
    key(
        "journal_size",
        "1GiB",
        "bytes that may wait there; after that, senders are held up. The last body that is taken may go beyond. At 500 bytes a line, two million lines",
    ),
    key(
        "journal_gather",
        "0s",
        "how long lines are gathered before they are synced. Without it, those that arrive during a sync share the \
         next one, which is already one sync for many senders; set a few milliseconds to spare a disk that wears out",
    ),
];

/// The keys of a source of type `http`.
pub const HTTP_KEYS: &[SourceKey] = &[
    LISTEN,
    key(
        "access_key",
        "none",
        "what who posts lines must send, as `Authorization: Bearer KEY` or `X-Amz-Firehose-Access-Key: KEY`; the pixel \
         needs none, as every browser would show it",
    ),
    key("access_key_file", "none", "a file that holds the access key, so that it is not in the configuration"),
    key("pixel_path", "/pixel.gif", "the path of the pixel"),
    key("pixel_reply", "gif", "`gif`, or `empty`: 204 without a body, which is smaller but no image"),
    key(
        "pixel_fields",
        "`fields` if that names one list, else realtime-40",
        "the columns of the lines that the pixel writes: a preset or field names",
    ),
    key(
        "trusted_proxies",
        "none",
        "networks such as `10.0.0.0/8` whose word on the viewer's address is believed; anybody else could make it up",
    ),
    key("client_address_header", "x-forwarded-for", "the header in which these proxies name the viewer"),
    key("tls_certificate", "none", "the certificate chain in PEM; without it, plain HTTP, for use behind a proxy"),
    key("tls_key", "none", "the certificate's private key in PEM"),
    key(
        "max_body",
        "65MiB",
        "bytes of a body, before and after decompression. Firehose sends up to 64 MiB before compression",
    ),
    key("body_timeout", "60s", "how long a body may take to arrive. Firehose waits 180 s for the reply"),
    MAX_CONNECTIONS,
];

/// The keys of a source of type `tcp`.
pub const TCP_KEYS: &[SourceKey] = &[LISTEN, MAX_CONNECTIONS];

/// The keys of a source of type `unix`.
pub const UNIX_KEYS: &[SourceKey] =
    &[key("path", "required", "the socket in the file system; one that is left over is replaced"), MAX_CONNECTIONS];

/// The keys of a source of type `journal`.
pub const READ_JOURNAL_KEYS: &[SourceKey] = &[key(
    "folder",
    "required",
    "the journal of another pipeline of this file: what arrives there is delivered by this one too",
)];

const MAX_BODY: usize = 65 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
const JOURNAL_SIZE: u64 = 1 << 30;
/// Less would be full after a few requests.
const MIN_JOURNAL_SIZE: u64 = 1 << 20;
const DEFAULT_CONNECTIONS: usize = 4_096;

pub(super) fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|error| de::Error::custom(format!("{text:?}: {error}")))
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let network = |text: String| {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>()
            .or_else(|_| address())
            .map_err(|_| de::Error::custom(format!("{text:?} is no network, such as 10.0.0.0/8, and no address")))
    };
    Vec::<String>::deserialize(deserializer)?.into_iter().map(network).collect()
}

/// A pipeline's journal as it was given.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct JournalSettings {
    journal: Option<PathBuf>,
    #[serde(deserialize_with = "size")]
    journal_size: Option<u64>,
    #[serde(deserialize_with = "duration")]
    journal_gather: Option<Duration>,
}

impl JournalSettings {
    pub(super) fn validate(self) -> Result<Option<JournalConfig>, String> {
        let Some(folder) = self.journal else {
            let is_alone = self.journal_size.is_some() || self.journal_gather.is_some();
            return if is_alone { Err("there is no journal: add journal = \"FOLDER\"".to_owned()) } else { Ok(None) };
        };
        let size = self.journal_size.unwrap_or(JOURNAL_SIZE);
        if size < MIN_JOURNAL_SIZE {
            return Err(format!("journal_size: {size} bytes are too few: 1MiB or more"));
        }
        let gather = self.journal_gather.unwrap_or_default();
        if gather > Duration::from_secs(1) {
            return Err("journal_gather: senders would wait for more than a second: 1s or less".to_owned());
        }
        Ok(Some(JournalConfig { folder, size, gather }))
    }
}

/// A source of type `http` as it was given.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HttpSettings {
    #[serde(deserialize_with = "parsed")]
    listen: Option<SocketAddr>,
    #[serde(deserialize_with = "secret")]
    pub(super) access_key: Option<Secret>,
    access_key_file: Option<PathBuf>,
    pixel_path: Option<String>,
    pixel_reply: PixelReply,
    pixel_fields: Option<String>,
    #[serde(deserialize_with = "networks")]
    trusted_proxies: Vec<IpNet>,
    #[serde(deserialize_with = "parsed")]
    client_address_header: Option<HeaderName>,
    tls_certificate: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    #[serde(deserialize_with = "size")]
    max_body: Option<u64>,
    #[serde(deserialize_with = "duration")]
    body_timeout: Option<Duration>,
    max_connections: Option<usize>,
}

impl HttpSettings {
    /// A service whose lines the pipeline of that configuration reads.
    pub(super) fn validate(self, pipeline: &Config) -> Result<ListenConfig, String> {
        let address = self.listen.ok_or("the source listens nowhere: add listen = \"127.0.0.1:8080\"")?;
        let access_key = match (self.access_key, self.access_key_file) {
            (Some(_), Some(_)) => return Err("access_key and access_key_file: give one of them".to_owned()),
            (key, None) => key,
            (None, Some(path)) => {
                let key = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                Some(Secret::new(key.trim()))
            }
        };
        if access_key.as_ref().is_some_and(|key| key.as_bytes().is_empty()) {
            return Err("the access key is empty".to_owned());
        }
        let pixel_path = self.pixel_path.unwrap_or_else(|| "/pixel.gif".to_owned());
        if !pixel_path.starts_with('/') {
            return Err(format!("pixel_path: {pixel_path:?} does not begin with `/`"));
        }
        let tls = match (self.tls_certificate, self.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls { certificate, key }),
            (None, None) => None,
            _ => return Err("tls_certificate and tls_key: give both".to_owned()),
        };
        let max_body = self.max_body.map_or(Some(MAX_BODY), |len| usize::try_from(len).ok());
        let max_body = max_body.filter(|len| (1..=1 << 30).contains(len)).ok_or("max_body: 1GiB or less")?;
        let header = self.client_address_header.unwrap_or(HeaderName::from_static("x-forwarded-for"));
        let http = HttpConfig {
            access_key,
            pixel_path,
            pixel_reply: self.pixel_reply,
            pixel_fields: pixel_fields(self.pixel_fields.as_deref(), pipeline)?,
            proxies: Proxies { trusted: self.trusted_proxies, header },
            tls,
            max_body,
            body_timeout: self.body_timeout.unwrap_or(BODY_TIMEOUT),
        };
        Ok(ListenConfig {
            address: Address::Tcp(address),
            service: Service::Http(Box::new(http)),
            max_connections: connections(self.max_connections)?,
        })
    }
}

/// The columns of the pixel's lines, which the pipeline must know.
fn pixel_fields(given: Option<&str>, pipeline: &Config) -> Result<Arc<Schema>, String> {
    let known = pipeline.schemas();
    let schema = match given {
        Some(list) => match Schema::preset(list) {
            Some(schema) => schema,
            None => Schema::parse(LogKind::RealTime, list).map_err(|error| format!("pixel_fields: {error}"))?,
        },
        None => {
            let mut all = known.iter();
            if let (Some(only), None) = (all.next(), all.next()) {
                return Ok(Arc::clone(only));
            }
            Schema::preset("realtime-40").expect("it is one of the presets")
        }
    };
    let count = schema.columns().len();
    if known.with_columns(count).is_none_or(|known| **known != schema) {
        return Err(format!("pixel_fields: the pipeline does not take these {count} columns: add them to `fields`"));
    }
    Ok(Arc::new(schema))
}

fn connections(given: Option<usize>) -> Result<usize, String> {
    match given {
        Some(0) => Err("max_connections: 1 or more".to_owned()),
        given => Ok(given.unwrap_or(DEFAULT_CONNECTIONS)),
    }
}

/// A source of type `tcp` as it was given.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TcpSettings {
    #[serde(deserialize_with = "parsed")]
    listen: Option<SocketAddr>,
    max_connections: Option<usize>,
}

impl TcpSettings {
    pub(super) fn validate(self) -> Result<ListenConfig, String> {
        let address = self.listen.ok_or("the source listens nowhere: add listen = \"127.0.0.1:5140\"")?;
        let max_connections = connections(self.max_connections)?;
        Ok(ListenConfig { address: Address::Tcp(address), service: Service::Lines, max_connections })
    }
}

/// A source of type `unix` as it was given.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UnixSettings {
    path: Option<PathBuf>,
    max_connections: Option<usize>,
}

impl UnixSettings {
    pub(super) fn validate(self) -> Result<ListenConfig, String> {
        let path = self.path.ok_or("the source listens nowhere: add path = \"/run/pixel-engine.sock\"")?;
        let max_connections = connections(self.max_connections)?;
        Ok(ListenConfig { address: Address::Unix(path), service: Service::Lines, max_connections })
    }
}

/// A source of type `journal` as it was given.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReadJournalSettings {
    pub(super) folder: Option<PathBuf>,
}
