//! The names of settings.

use std::fmt::{self, Display, Formatter};

macro_rules! keys {
    ($($key:ident $name:literal,)*) => {
        /// The name of a setting: a key in a file, a flag of the program, a variable of its
        /// environment.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Key {
            $(#[doc = concat!("`", $name, "`, which is documented in [`Settings`](super::Settings).")] $key,)*
        }

        impl Key {
            /// Every key, in the order of [`Settings`](super::Settings).
            pub const ALL: &'static [Key] = &[$(Key::$key,)*];

            /// The key as it stands in a file: `record_size`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Key::$key => $name,)*
                }
            }
        }
    };
}

keys! {
    Format "format",
    Fields "fields",
    QueryEncoding "query_encoding",
    Match "match",
    DedupWindow "dedup_window",
    MaskIp "mask_ip",
    Hash "hash",
    HashWith "hash_with",
    HashKey "hash_key",
    HashKeyFile "hash_key_file",
    Drop "drop",
    Replace "replace",
    OnBadLine "on_bad_line",
    Quarantine "quarantine",
    Encode "encode",
    Select "select",
    Column "column",
    SortBy "sort_by",
    To "to",
    Container "container",
    PartitionBy "partition_by",
    RecordSize "record_size",
    Align "align",
    Reorder "reorder",
    Compress "compress",
    Linger "linger",
    Threads "threads",
    Resume "resume",
    BufferingInterval "buffering_interval",
    Sse "sse",
    SseKmsKeyId "sse_kms_key_id",
    Concurrency "concurrency",
    RequestSize "request_size",
    CountRequestSize "count_request_size",
    RateLimit "rate_limit",
    GiveUpAfter "give_up_after",
    Grace "grace",
    Spool "spool",
    SpoolSize "spool_size",
    SpoolFull "spool_full",
    Region "region",
    Profile "profile",
    EndpointUrl "endpoint_url",
    RoleArn "role_arn",
    RequestTimeout "request_timeout",
}

impl Key {
    /// Whether its value must not be shown.
    pub fn is_secret(self) -> bool {
        self == Key::HashKey
    }
}

impl Display for Key {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
