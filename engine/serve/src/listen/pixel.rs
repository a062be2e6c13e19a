//! `GET /pixel.gif?...`: the request becomes a line of a real-time log, as CloudFront would write
//! it.
//!
//! What only CloudFront knows (an edge location, a distribution, the viewer's country) is `-`.
//! Values are encoded by the table of CloudFront's standard logs, which its real-time logs follow:
//! codes up to 32, from 127 on, and what RFC 1738 calls unsafe become `%XX`. Sources:
//! <https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/real-time-logs.html> and
//! <https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logs-reference.html>.

use std::cell::RefCell;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64_simd::URL_SAFE;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, COOKIE, HOST, HeaderName, REFERER, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Version};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use pixel_engine_log::field::Field;
use pixel_engine_log::schema::{Column, Schema};

/// A transparent GIF of one pixel: 43 bytes, as small as one that every browser shows.
pub(super) const GIF: &[u8; 43] =
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\
\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

/// What CloudFront writes as `%XX`, beside what is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'\'')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'~');

/// CloudFront cuts cookies and headers there.
const MAX_CUT_LEN: usize = 800;
/// Bytes of `x-edge-request-id` before base64, so that it is 56 characters, as CloudFront's.
const REQUEST_ID_LEN: usize = 40;

/// A request for the pixel, and how it was answered.
pub(super) struct Hit<'a> {
    pub(super) request: &'a Parts,
    pub(super) viewer: IpAddr,
    pub(super) port: Option<u16>,
    /// The protocol and the cipher suite, by rustls' names.
    pub(super) tls: Option<(&'static str, &'a str)>,
    pub(super) status: u16,
    /// Bytes of the reply's body.
    pub(super) body_len: usize,
    /// Bytes of the reply, with its headers.
    pub(super) reply_len: usize,
    pub(super) time: SystemTime,
    pub(super) took: Duration,
}

impl Hit<'_> {
    /// The line with these columns, and its newline.
    pub(super) fn line(&self, schema: &Schema) -> Vec<u8> {
        let mut line = String::with_capacity(512);
        for column in schema.columns() {
            let start = line.len();
            if let Column::Known(field) = column {
                self.push(*field, &mut line);
            }
            if line.len() == start {
                line.push('-');
            }
            line.push('\t');
        }
        line.pop();
        line.push('\n');
        line.into_bytes()
    }

    /// Writes the value, or nothing for one that is absent.
    fn push(&self, field: Field, line: &mut String) {
        let headers = &self.request.headers;
        let (path, query) = (self.request.uri.path(), self.request.uri.query().unwrap_or_default());
        let mut write = |arguments: std::fmt::Arguments<'_>| {
            line.write_fmt(arguments).expect("text takes text");
        };
        match field {
            Field::Timestamp => {
                let since = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
                write(format_args!("{}.{:03}", since.as_secs(), since.subsec_millis()));
            }
            Field::CIp => write(format_args!("{}", self.viewer)),
            Field::CPort => self.port.into_iter().for_each(|port| write(format_args!("{port}"))),
            Field::CIpVersion => write(format_args!("{}", if self.viewer.is_ipv4() { "IPv4" } else { "IPv6" })),
            Field::TimeToFirstByte | Field::TimeTaken => {
                write(format_args!("{}.{:03}", self.took.as_secs(), self.took.subsec_millis()));
            }
            Field::ScStatus => write(format_args!("{}", self.status)),
            Field::ScBytes => write(format_args!("{}", self.reply_len)),
            Field::ScContentLen if self.body_len > 0 => write(format_args!("{}", self.body_len)),
            Field::ScContentType if self.body_len > 0 => line.push_str("image/gif"),
            Field::CsMethod => line.push_str(self.request.method.as_str()),
            Field::CsProtocol => line.push_str(if self.tls.is_some() { "https" } else { "http" }),
            Field::CsProtocolVersion => line.push_str(match self.request.version {
                Version::HTTP_2 => "HTTP/2.0",
                Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            }),
            Field::CsHost | Field::XHostHeader => push_encoded(line, self.host()),
            Field::CsUriStem => {
                push_encoded(line, path.as_bytes());
                if !query.is_empty() {
                    line.push('?');
                    push_encoded(line, query.as_bytes());
                }
            }
            Field::CsUriQuery => push_encoded(line, query.as_bytes()),
            Field::CsBytes => write(format_args!("{}", self.request_len())),
            Field::XEdgeRequestId => {
                line.push_str(&URL_SAFE.encode_to_string(random_id()));
            }
            Field::XEdgeResultType | Field::XEdgeResponseResultType | Field::XEdgeDetailedResultType => {
                line.push_str("Hit");
            }
            Field::CsUserAgent => push_header(line, headers, &USER_AGENT),
            Field::CsReferer => push_header(line, headers, &REFERER),
            Field::CsAccept => push_header(line, headers, &ACCEPT),
            Field::CsAcceptEncoding => push_header(line, headers, &ACCEPT_ENCODING),
            Field::XForwardedFor => push_header(line, headers, &HeaderName::from_static("x-forwarded-for")),
            Field::CsCookie => push_cut(line, |whole| push_header(whole, headers, &COOKIE)),
            Field::CsHeaders => push_cut(line, |whole| {
                for (name, value) in headers.iter().filter(|(name, _)| *name != COOKIE) {
                    push_encoded(whole, name.as_str().as_bytes());
                    whole.push(':');
                    push_encoded(whole, value.as_bytes());
                    whole.push_str("%0A");
                }
            }),
            Field::CsHeaderNames => push_cut(line, |whole| {
                for name in headers.keys() {
                    push_encoded(whole, name.as_str().as_bytes());
                    whole.push_str("%0A");
                }
            }),
            Field::CsHeadersCount => write(format_args!("{}", headers.len())),
            Field::SslProtocol => self.tls.into_iter().for_each(|(protocol, _)| line.push_str(protocol)),
            Field::SslCipher => self.tls.into_iter().for_each(|(_, suite)| line.push_str(&openssl_name(suite))),
            _ => {}
        }
    }

    /// HTTP/2 has it in the URI.
    fn host(&self) -> &[u8] {
        let host = self.request.headers.get(HOST).map(|host| host.as_bytes());
        host.or_else(|| self.request.uri.authority().map(|it| it.as_str().as_bytes())).unwrap_or_default()
    }

    /// What the request took as HTTP/1.1.
    fn request_len(&self) -> usize {
        let Parts { method, uri, headers, .. } = self.request;
        let target = uri.path_and_query().map_or(1, |target| target.as_str().len());
        let line = method.as_str().len() + target + " HTTP/1.1\r\n".len() + 1;
        line + headers_len(headers)
    }
}

/// Bytes of headers as HTTP/1.1 has them, and of the empty line behind.
pub(super) fn headers_len(headers: &HeaderMap) -> usize {
    let header = |(name, value): (&HeaderName, &hyper::header::HeaderValue)| name.as_str().len() + value.len() + 4;
    headers.iter().map(header).sum::<usize>() + 2
}

fn push_encoded(line: &mut String, value: &[u8]) {
    line.extend(percent_encode(value, ENCODED));
}

/// All values of the header, as one.
fn push_header(line: &mut String, headers: &HeaderMap, name: &HeaderName) {
    for (place, value) in headers.get_all(name).iter().enumerate() {
        line.push_str(if place > 0 { ",%20" } else { "" });
        push_encoded(line, value.as_bytes());
    }
}

fn push_cut(line: &mut String, push: impl FnOnce(&mut String)) {
    let start = line.len();
    push(line);
    line.truncate(line.len().min(start + MAX_CUT_LEN));
}

/// `TLS_AES_128_GCM_SHA256`, `ECDHE-RSA-AES128-GCM-SHA256`: the names that CloudFront uses.
fn openssl_name(suite: &str) -> String {
    match (suite.strip_prefix("TLS13_"), suite.strip_prefix("TLS_")) {
        (Some(name), _) => format!("TLS_{name}"),
        (_, Some(name)) => name.replace("_WITH_", "-").replace("AES_", "AES").replace('_', "-"),
        _ => suite.to_owned(),
    }
}

/// An id that nobody else has.
fn random_id() -> [u8; REQUEST_ID_LEN] {
    thread_local! {
        /// Each is taken once. The system is asked for many at a time, as that takes longer than
        /// anything else here.
        static IDS: RefCell<Vec<[u8; REQUEST_ID_LEN]>> = const { RefCell::new(Vec::new()) };
    }
    IDS.with_borrow_mut(|ids| {
        ids.pop().unwrap_or_else(|| {
            ids.resize(64, [0; REQUEST_ID_LEN]);
            getrandom::fill(ids.as_flattened_mut()).expect("the system has random bytes once it has started");
            ids.pop().expect("they were made above")
        })
    })
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use pixel_engine_log::schema::LogKind;

    use super::*;

    fn line(request: Request<()>, fields: &str) -> String {
        let schema = Schema::parse(LogKind::RealTime, fields).unwrap();
        let (request, ()) = request.into_parts();
        let hit = Hit {
            request: &request,
            viewer: "2001:db8::7".parse().unwrap(),
            port: None,
            tls: Some(("TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")),
            status: 200,
            body_len: 43,
            reply_len: 310,
            time: UNIX_EPOCH + Duration::from_millis(1_700_000_000_042),
            took: Duration::from_micros(1_500),
        };
        String::from_utf8(hit.line(&schema)).unwrap()
    }

    #[test]
    fn a_hit_is_written_as_cloudfront_does() {
        let request = || {
            Request::get("/pixel.gif?url=https%3A%2F%2Fa.example%2F&t='x'")
                .header("host", "pixel.example")
                .header("user-agent", "Mozilla/5.0 (X11; \u{fc})")
                .header("cookie", "a=1; b=2")
                .body(())
                .unwrap()
        };
        let encoded = "url=https%253A%252F%252Fa.example%252F&t=%27x%27";
        for (fields, wanted) in [
            ("timestamp c-ip c-port c-ip-version", "1700000000.042\t2001:db8::7\t-\tIPv6".to_owned()),
            ("cs-uri-query cs-uri-stem", format!("{encoded}\t/pixel.gif?{encoded}")),
            ("cs-user-agent cs-cookie cs-referer", "Mozilla/5.0%20(X11;%20%C3%BC)\ta=1;%20b=2\t-".to_owned()),
            ("cs-method cs-host cs-protocol cs-protocol-version", "GET\tpixel.example\thttps\tHTTP/1.1".to_owned()),
            ("ssl-protocol ssl-cipher", "TLSv1.2\tECDHE-RSA-AES128-GCM-SHA256".to_owned()),
            ("sc-status sc-bytes sc-content-len time-taken", "200\t310\t43\t0.001".to_owned()),
            ("cs-headers-count cs-header-names", "3\thost%0Auser-agent%0Acookie%0A".to_owned()),
            ("cs-headers", "host:pixel.example%0Auser-agent:Mozilla/5.0%20(X11;%20%C3%BC)%0A".to_owned()),
            ("x-edge-location asn +new", "-\t-\t-".to_owned()),
        ] {
            assert_eq!(line(request(), fields), wanted + "\n", "{fields}");
        }
        let (one, other) = (line(request(), "x-edge-request-id"), line(request(), "x-edge-request-id"));
        assert!(one != other && one.len() == 57 && one.ends_with("==\n"), "{one}");
    }

    #[test]
    fn long_headers_are_cut() {
        let request = Request::get("/").header("cookie", "x".repeat(2_000)).body(()).unwrap();
        assert_eq!(line(request, "cs-cookie cs-headers").len(), 800 + "\t-\n".len());
    }
}
