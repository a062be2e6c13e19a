//! The fields of CloudFront's real-time and standard logs, under CloudFront's own names.
//!
//! Source: the field list of the CloudFront real-time log page, in delivery order, then the fields
//! that only standard logs have. `viewer-request-log-data` and `viewer-response-log-data` exist
//! since 2026; AWS does not state their position, so they come last.

use std::fmt;

/// How a value reads once it is present; CloudFront writes `-` for an absent value of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text, percent-encoded by CloudFront.
    Text,
    /// Decimal digits.
    Integer,
    /// Decimal digits with an optional fraction, such as seconds `0.042`.
    Decimal,
}

macro_rules! fields {
    ($($variant:ident $name:literal $kind:ident,)*) => {
        /// A field of a CloudFront log, in the order in which CloudFront delivers them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum Field {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Field {
            /// Every field, in order.
            pub const ALL: &'static [Field] = &[$(Field::$variant,)*];

            /// CloudFront's name, such as `cs-uri-query`.
            pub const fn name(self) -> &'static str {
                match self { $(Field::$variant => $name,)* }
            }

            /// What a present value reads as.
            pub const fn kind(self) -> Kind {
                match self { $(Field::$variant => Kind::$kind,)* }
            }
        }
    };
}

fields! {
    Timestamp "timestamp" Decimal,
    CIp "c-ip" Text,
    SIp "s-ip" Text,
    TimeToFirstByte "time-to-first-byte" Decimal,
    ScStatus "sc-status" Integer,
    ScBytes "sc-bytes" Integer,
    CsMethod "cs-method" Text,
    CsProtocol "cs-protocol" Text,
    CsHost "cs-host" Text,
    CsUriStem "cs-uri-stem" Text,
    CsBytes "cs-bytes" Integer,
    XEdgeLocation "x-edge-location" Text,
    XEdgeRequestId "x-edge-request-id" Text,
    XHostHeader "x-host-header" Text,
    TimeTaken "time-taken" Decimal,
    CsProtocolVersion "cs-protocol-version" Text,
    CIpVersion "c-ip-version" Text,
    CsUserAgent "cs-user-agent" Text,
    CsReferer "cs-referer" Text,
    CsCookie "cs-cookie" Text,
    CsUriQuery "cs-uri-query" Text,
    XEdgeResponseResultType "x-edge-response-result-type" Text,
    XForwardedFor "x-forwarded-for" Text,
    SslProtocol "ssl-protocol" Text,
    SslCipher "ssl-cipher" Text,
    XEdgeResultType "x-edge-result-type" Text,
    FleEncryptedFields "fle-encrypted-fields" Integer,
    FleStatus "fle-status" Text,
    ScContentType "sc-content-type" Text,
    ScContentLen "sc-content-len" Integer,
    ScRangeStart "sc-range-start" Integer,
    ScRangeEnd "sc-range-end" Integer,
    CPort "c-port" Integer,
    XEdgeDetailedResultType "x-edge-detailed-result-type" Text,
    CCountry "c-country" Text,
    CsAcceptEncoding "cs-accept-encoding" Text,
    CsAccept "cs-accept" Text,
    CacheBehaviorPathPattern "cache-behavior-path-pattern" Text,
    CsHeaders "cs-headers" Text,
    CsHeaderNames "cs-header-names" Text,
    CsHeadersCount "cs-headers-count" Integer,
    PrimaryDistributionId "primary-distribution-id" Text,
    PrimaryDistributionDnsName "primary-distribution-dns-name" Text,
    OriginFbl "origin-fbl" Decimal,
    OriginLbl "origin-lbl" Decimal,
    Asn "asn" Integer,
    CmcdEncodedBitrate "cmcd-encoded-bitrate" Integer,
    CmcdBufferLength "cmcd-buffer-length" Integer,
    CmcdBufferStarvation "cmcd-buffer-starvation" Text,
    CmcdContentId "cmcd-content-id" Text,
    CmcdObjectDuration "cmcd-object-duration" Integer,
    CmcdDeadline "cmcd-deadline" Integer,
    CmcdMeasuredThroughput "cmcd-measured-throughput" Integer,
    CmcdNextObjectRequest "cmcd-next-object-request" Text,
    CmcdNextRangeRequest "cmcd-next-range-request" Text,
    CmcdObjectType "cmcd-object-type" Text,
    CmcdPlaybackRate "cmcd-playback-rate" Decimal,
    CmcdRequestedMaximumThroughput "cmcd-requested-maximum-throughput" Integer,
    CmcdStreamingFormat "cmcd-streaming-format" Text,
    CmcdSessionId "cmcd-session-id" Text,
    CmcdStreamType "cmcd-stream-type" Text,
    CmcdStartup "cmcd-startup" Text,
    CmcdTopBitrate "cmcd-top-bitrate" Integer,
    CmcdVersion "cmcd-version" Integer,
    RHost "r-host" Text,
    SrReason "sr-reason" Text,
    XEdgeMqcs "x-edge-mqcs" Integer,
    DistributionTenantId "distribution-tenant-id" Text,
    ConnectionId "connection-id" Text,
    ViewerRequestLogData "viewer-request-log-data" Text,
    ViewerResponseLogData "viewer-response-log-data" Text,
    Date "date" Text,
    Time "time" Text,
    TimestampMs "timestamp(ms)" Integer,
    DistributionId "distributionid" Text,
}

impl Field {
    /// How many fields there are.
    pub const COUNT: usize = Field::ALL.len();

    /// The field of that name: CloudFront's name, the standard-log form `cs(User-Agent)`, or the
    /// name in JSON lines, `cs_user_agent`; upper and lower case are the same.
    ///
    /// ```
    /// use pixel_engine_log::field::Field;
    /// assert_eq!(Field::from_name("cs-user-agent"), Some(Field::CsUserAgent));
    /// assert_eq!(Field::from_name("cs(User-Agent)"), Some(Field::CsUserAgent));
    /// assert_eq!(Field::from_name("cs_user_agent"), Some(Field::CsUserAgent));
    /// assert_eq!(Field::from_name("cs-user-agnet"), None);
    /// ```
    pub fn from_name(name: &str) -> Option<Field> {
        let wanted = json_name(name);
        Field::ALL.iter().copied().find(|field| json_name(field.name()) == wanted)
    }

    /// The name in JSON lines: `cs_uri_query`, `timestamp_ms`.
    pub fn json_name(self) -> String {
        json_name(self.name())
    }
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A column's name as a JSON key: lower case, `-` and `(` become `_`, `)` goes.
pub fn json_name(name: &str) -> String {
    name.chars()
        .filter(|&c| c != ')')
        .map(|c| match c {
            '-' | '(' | ' ' => '_',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_time_list_stands_in_the_order_of_delivery() {
        let position = |field: Field| field as usize + 1;
        assert_eq!(position(Field::Timestamp), 1);
        assert_eq!(position(Field::SIp), 3);
        assert_eq!(position(Field::CsUriQuery), 21);
        assert_eq!(position(Field::CsHeadersCount), 41);
        assert_eq!(position(Field::Asn), 46);
        assert_eq!(position(Field::CmcdEncodedBitrate), 47);
        assert_eq!(position(Field::CmcdVersion), 64);
        assert_eq!(position(Field::ConnectionId), 69);
    }

    #[test]
    fn every_name_finds_its_own_field() {
        for &field in Field::ALL {
            assert_eq!(Field::from_name(field.name()), Some(field));
            assert_eq!(Field::from_name(&field.json_name()), Some(field));
        }
        assert_eq!(Field::TimestampMs.json_name(), "timestamp_ms");
    }
}
