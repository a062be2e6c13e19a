//! What stands in each column of a line.

use pixel_engine::log::field::Field;

use crate::hit::{Address, Hit, Referer};
use crate::random::Draw;
use crate::tables::TEXTS;
use crate::text::{push_decimal, push_hex, push_padded, push_seconds, push_short_hex};

/// CloudFront cuts `cs-headers`, `cs-header-names` and `cs-cookie` at this many bytes, inside an
/// escape or not.
const MAX_HEADER_BYTES: usize = 800;

/// The texts of real-time and standard logs that differ under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `cs-host` is the viewer's host, `cs-uri-stem` has the query, the user agent is encoded once.
    RealTime,
    /// The hosts are the other way round, no query in the stem, the user agent is encoded twice.
    Standard,
    /// As [`Dialect::Standard`], with the user agent encoded once.
    StandardV2,
}

/// A line about to be written.
pub(crate) struct LineParts<'a> {
    pub(crate) hit: &'a Hit<'a>,
    /// As logged; empty for a request without one.
    pub(crate) query: &'a [u8],
    pub(crate) request_id: &'a [u8],
    /// What was measured of the answer, where its sums are to be known; else it is drawn when its
    /// column is written.
    pub(crate) answer: Option<Answer>,
}

/// What CloudFront measures of an answer.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    pub(crate) bytes: u64,
    pub(crate) taken_millis: u64,
}

impl Answer {
    pub(crate) fn draw(hit: &Hit<'_>, draw: &mut Draw) -> Answer {
        Answer { bytes: draw_bytes(hit, draw), taken_millis: draw_taken_millis(hit, draw) }
    }
}

fn draw_bytes(hit: &Hit<'_>, draw: &mut Draw) -> u64 {
    let headers = if hit.outcome.status == b"000" { 0 } else { 310 + draw.below(90) };
    headers + if hit.outcome.has_body { hit.endpoint.content_length } else { 0 }
}

fn draw_taken_millis(hit: &Hit<'_>, draw: &mut Draw) -> u64 {
    hit.outcome.took_millis + draw.skewed(0, 1)
}

impl LineParts<'_> {
    /// Appends the text of `field`, `-` when this request has none.
    pub(crate) fn push_field(&self, out: &mut Vec<u8>, dialect: Dialect, field: Field, draw: &mut Draw) {
        let hit = self.hit;
        let outcome = &hit.outcome;
        let is_real_time = dialect == Dialect::RealTime;
        match field {
            Field::Timestamp => push_seconds(out, hit.millis),
            Field::TimestampMs => push_decimal(out, hit.millis),
            Field::Date => push_date(out, hit.millis),
            Field::Time => push_time(out, hit.millis),
            Field::CIp => push_address(out, hit.visitor.address),
            Field::SIp => {
                out.extend_from_slice(b"203.0.113.");
                push_decimal(out, hit.visitor.edge % 60);
            }
            Field::TimeToFirstByte => push_seconds(out, outcome.took_millis),
            Field::TimeTaken => {
                let taken = self.answer.map_or_else(|| draw_taken_millis(hit, draw), |answer| answer.taken_millis);
                push_seconds(out, taken);
            }
            Field::ScStatus => out.extend_from_slice(outcome.status),
            Field::ScBytes => {
                push_decimal(out, self.answer.map_or_else(|| draw_bytes(hit, draw), |answer| answer.bytes));
            }
            Field::CsMethod => {
                let method: &[u8] = if hit.endpoint.path == b"/collect" { b"POST" } else { b"GET" };
                out.extend_from_slice(method);
            }
            Field::CsProtocol => out.extend_from_slice(if hit.is_https { b"https" } else { b"http" }),
            Field::CsHost if is_real_time => out.extend_from_slice(hit.tracker.host),
            Field::CsHost => out.extend_from_slice(&hit.tracker.distribution),
            Field::XHostHeader if is_real_time => out.extend_from_slice(&hit.tracker.distribution),
            Field::XHostHeader => out.extend_from_slice(hit.tracker.host),
            Field::CsUriStem => {
                out.extend_from_slice(hit.endpoint.path);
                if is_real_time && !self.query.is_empty() {
                    out.push(b'?');
                    out.extend_from_slice(self.query);
                }
            }
            Field::CsUriQuery => push_or_absent(out, self.query),
            Field::CsBytes => push_decimal(out, 60 + self.query.len() as u64 + draw.below(40)),
            Field::XEdgeLocation => {
                out.extend_from_slice(&hit.network.edges[hit.visitor.edge_index(hit.network)]);
            }
            Field::XEdgeRequestId => out.extend_from_slice(self.request_id),
            Field::CsProtocolVersion => out.extend_from_slice(hit.protocol_version),
            Field::CIpVersion => {
                let is_v4 = matches!(hit.visitor.address, Address::V4(_));
                out.extend_from_slice(if is_v4 { b"IPv4" } else { b"IPv6" });
            }
            Field::CsUserAgent if dialect == Dialect::Standard => out.extend_from_slice(&hit.agent.twice),
            Field::CsUserAgent => out.extend_from_slice(&hit.agent.once),
            Field::CsReferer => hit.push_referer(out),
            Field::CsCookie => push_cookie(out, hit, draw),
            Field::XEdgeResultType | Field::XEdgeResponseResultType => out.extend_from_slice(outcome.result),
            Field::XEdgeDetailedResultType => out.extend_from_slice(outcome.detail),
            Field::XForwardedFor if draw.per_mille(20) => {
                push_address(out, hit.visitor.address);
                out.extend_from_slice(b",%2010.0.");
                push_decimal(out, draw.below(8));
                out.extend_from_slice(b".7");
            }
            Field::SslProtocol if hit.is_https => {
                let is_http3 = hit.protocol_version == b"HTTP/3.0";
                out.extend_from_slice(if is_http3 || hit.visitor.id % 16 > 1 { b"TLSv1.3" } else { b"TLSv1.2" });
            }
            Field::SslCipher if hit.is_https => {
                let is_http3 = hit.protocol_version == b"HTTP/3.0";
                let is_new = is_http3 || hit.visitor.id % 16 > 1;
                let cipher: &[u8] = if is_new { b"TLS_AES_128_GCM_SHA256" } else { b"ECDHE-RSA-AES128-GCM-SHA256" };
                out.extend_from_slice(cipher);
            }
            Field::ScContentType if outcome.has_body => out.extend_from_slice(hit.endpoint.content_type),
            Field::ScContentLen if outcome.has_body => push_decimal(out, hit.endpoint.content_length),
            Field::CPort => push_decimal(out, draw.between(1024, 65_536)),
            Field::CCountry => out.extend_from_slice(hit.network.country.as_bytes()),
            Field::CsAcceptEncoding => out.extend_from_slice(hit.agent.accept_encoding),
            Field::CsAccept => out.extend_from_slice(hit.agent.accept),
            Field::CacheBehaviorPathPattern => out.extend_from_slice(hit.endpoint.pattern),
            Field::CsHeaders if hit.has_headers => push_headers(out, hit),
            Field::CsHeaderNames if hit.has_headers => push_header_names(out, hit),
            Field::CsHeadersCount if hit.has_headers => push_decimal(out, header_count(hit)),
            Field::OriginFbl if outcome.asked_origin => push_seconds(out, outcome.took_millis - 4),
            Field::OriginLbl if outcome.asked_origin => push_seconds(out, outcome.took_millis - draw.below(4)),
            Field::Asn => push_decimal(out, hit.network.asn),
            Field::RHost if outcome.asked_origin => out.extend_from_slice(b"pixel-origin.example.com"),
            Field::SrReason if outcome.status == b"502" => out.extend_from_slice(b"Failover:502"),
            Field::DistributionTenantId if hit.tracker.host.ends_with(b".com") => {
                out.extend_from_slice(b"dt_3ZkExamplePixelTenant01");
            }
            Field::DistributionId => out.extend_from_slice(b"E2EXAMPLEPIXEL"),
            Field::ConnectionId if draw.per_mille(30) => {
                push_hex::<16>(out, draw.word());
                push_hex::<16>(out, draw.word());
            }
            Field::ViewerRequestLogData if draw.per_mille(300) => out.extend_from_slice(draw.pick(&TEXTS)),
            Field::ViewerResponseLogData if draw.per_mille(50) => out.extend_from_slice(draw.pick(&TEXTS)),
            _ if is_cmcd(field) && has_cmcd(hit) => push_cmcd(out, field, draw),
            _ => out.push(b'-'),
        }
    }
}

/// Appends what stands in a column that the engine does not know.
pub(crate) fn push_unknown(out: &mut Vec<u8>, draw: &mut Draw) {
    if draw.per_mille(600) {
        out.extend_from_slice(draw.pick(&TEXTS));
    } else {
        out.push(b'-');
    }
}

fn push_or_absent(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(if text.is_empty() { b"-" } else { text });
}

fn push_address(out: &mut Vec<u8>, address: Address) {
    match address {
        Address::V4(bytes) => {
            for (index, byte) in bytes.into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                push_decimal(out, byte.into());
            }
        }
        Address::V6 { groups, is_padded: true } => {
            out.extend_from_slice(b"2001:0db8");
            for group in groups {
                out.push(b':');
                push_hex::<4>(out, group.into());
            }
        }
        Address::V6 { groups, is_padded: false } => {
            out.extend_from_slice(b"2001:db8");
            for group in groups {
                out.push(b':');
                push_short_hex(out, group);
            }
        }
    }
}

fn push_cookie(out: &mut Vec<u8>, hit: &Hit<'_>, draw: &mut Draw) {
    if !hit.has_cookie {
        out.push(b'-');
        return;
    }
    let start = out.len();
    out.extend_from_slice(b"_px=");
    push_hex::<16>(out, hit.visitor.id);
    // A few viewers bring so many cookies that the column is cut.
    for index in 0..draw.skewed(0, 6) {
        out.extend_from_slice(b";%20c");
        push_decimal(out, index);
        out.push(b'=');
        push_hex::<8>(out, draw.word());
    }
    out.truncate(start + MAX_HEADER_BYTES);
}

/// Headers that CloudFront adds for the origin stand in the column too, for the trackers that ask
/// for them.
fn has_viewer_headers(hit: &Hit<'_>) -> bool {
    hit.tracker.host.starts_with(b"px.")
}

/// The names in order: `host`, the agent's own, `accept-language`, `referer`, CloudFront's,
/// `cookie`.
fn push_headers(out: &mut Vec<u8>, hit: &Hit<'_>) {
    let start = out.len();
    let is_lower = hit.protocol_version != b"HTTP/1.1";
    out.extend_from_slice(if is_lower { b"host:" } else { b"Host:" });
    out.extend_from_slice(hit.tracker.host);
    out.extend_from_slice(b"%0A");
    out.extend_from_slice(if is_lower { &hit.agent.lower_headers } else { &hit.agent.title_headers });
    out.extend_from_slice(if is_lower { b"accept-language:" } else { b"Accept-Language:" });
    out.extend_from_slice(&hit.network.accept_language);
    out.extend_from_slice(b"%0A");
    if hit.referer != Referer::None {
        out.extend_from_slice(if is_lower { b"referer:" } else { b"Referer:" });
        hit.push_referer(out);
        out.extend_from_slice(b"%0A");
    }
    if has_viewer_headers(hit) {
        out.extend_from_slice(b"CloudFront-Viewer-Country:");
        out.extend_from_slice(hit.network.country.as_bytes());
        out.extend_from_slice(b"%0ACloudFront-Is-Mobile-Viewer:");
        out.extend_from_slice(if hit.agent.is_mobile { b"true" } else { b"false" });
        out.extend_from_slice(b"%0ACloudFront-Viewer-Time-Zone:");
        out.extend_from_slice(hit.network.time_zone.as_bytes());
        out.extend_from_slice(b"%0ACloudFront-Forwarded-Proto:");
        out.extend_from_slice(if hit.is_https { b"https" } else { b"http" });
        out.extend_from_slice(b"%0ACloudFront-Viewer-Address:");
        push_address(out, hit.visitor.address);
        out.extend_from_slice(b":443%0A");
    }
    out.truncate(start + MAX_HEADER_BYTES);
}

fn push_header_names(out: &mut Vec<u8>, hit: &Hit<'_>) {
    let start = out.len();
    let is_lower = hit.protocol_version != b"HTTP/1.1";
    out.extend_from_slice(if is_lower { b"host%0A" } else { b"Host%0A" });
    out.extend_from_slice(if is_lower { &hit.agent.lower_names } else { &hit.agent.title_names });
    out.extend_from_slice(if is_lower { b"accept-language%0A" } else { b"Accept-Language%0A" });
    if hit.referer != Referer::None {
        out.extend_from_slice(if is_lower { b"referer%0A" } else { b"Referer%0A" });
    }
    if has_viewer_headers(hit) {
        out.extend_from_slice(
            b"CloudFront-Viewer-Country%0ACloudFront-Is-Mobile-Viewer%0ACloudFront-Viewer-Time-Zone%0A\
              CloudFront-Forwarded-Proto%0ACloudFront-Viewer-Address%0A",
        );
    }
    if has_cookie_header(hit) {
        out.extend_from_slice(if is_lower { b"cookie%0A" } else { b"Cookie%0A" });
    }
    out.truncate(start + MAX_HEADER_BYTES);
}

/// `cs-header-names` and the count have `cookie`, whose value `cs-headers` never shows; `cs-cookie`
/// may lack it too.
fn has_cookie_header(hit: &Hit<'_>) -> bool {
    hit.has_cookie || hit.visitor.id.is_multiple_of(16)
}

fn header_count(hit: &Hit<'_>) -> u64 {
    let referer = u64::from(hit.referer != Referer::None);
    let viewer = if has_viewer_headers(hit) { 5 } else { 0 };
    2 + hit.agent.header_count + referer + viewer + u64::from(has_cookie_header(hit))
}

fn is_cmcd(field: Field) -> bool {
    (Field::CmcdEncodedBitrate..=Field::CmcdVersion).contains(&field)
}

/// A few visitors watch a film in a player that reports Common Media Client Data.
fn has_cmcd(hit: &Hit<'_>) -> bool {
    hit.visitor.id % 64 == 5
}

fn push_cmcd(out: &mut Vec<u8>, field: Field, draw: &mut Draw) {
    match field {
        Field::CmcdEncodedBitrate | Field::CmcdTopBitrate => push_decimal(out, 300 * draw.between(1, 20)),
        Field::CmcdBufferLength | Field::CmcdDeadline => push_decimal(out, 100 * draw.below(300)),
        Field::CmcdContentId => out.extend_from_slice(b"film-0042"),
        Field::CmcdObjectDuration => out.extend_from_slice(b"4000"),
        Field::CmcdMeasuredThroughput => push_decimal(out, 100 * draw.between(10, 900)),
        Field::CmcdNextObjectRequest => {
            out.extend_from_slice(b"..%252Fsegment-");
            push_decimal(out, draw.below(900));
            out.extend_from_slice(b".m4s");
        }
        Field::CmcdObjectType | Field::CmcdStreamType => out.push(b'v'),
        Field::CmcdStreamingFormat => out.push(b'd'),
        Field::CmcdSessionId => push_hex::<16>(out, draw.word()),
        Field::CmcdVersion => out.push(b'1'),
        _ => out.push(b'-'),
    }
}

fn push_date(out: &mut Vec<u8>, millis: u64) {
    // Days of the Gregorian calendar counted from 0000-03-01, so that the leap day ends a year;
    // Howard Hinnant's days algorithm for dates after 1970.
    let days = millis / 86_400_000 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    push_padded::<4>(out, year);
    out.push(b'-');
    push_padded::<2>(out, month);
    out.push(b'-');
    push_padded::<2>(out, day);
}

fn push_time(out: &mut Vec<u8>, millis: u64) {
    let seconds = millis / 1000;
    push_padded::<2>(out, seconds / 3600 % 24);
    out.push(b':');
    push_padded::<2>(out, seconds / 60 % 60);
    out.push(b':');
    push_padded::<2>(out, seconds % 60);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times() {
        let written = |millis| {
            let mut out = Vec::new();
            push_date(&mut out, millis);
            out.push(b' ');
            push_time(&mut out, millis);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(0), "1970-01-01 00:00:00");
        assert_eq!(written(951_782_399_999), "2000-02-28 23:59:59");
        assert_eq!(written(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(written(1_767_225_599_999), "2025-12-31 23:59:59");
        assert_eq!(written(1_767_600_000_000), "2026-01-05 08:00:00");
    }
}
