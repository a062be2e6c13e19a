//! Sizes on the command line: `5120`, `300MB`, `4GiB`.

use bytesize::ByteSize;

/// Bytes of a size.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    text.replace('_', "")
        .parse::<ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| "not a size; write bytes (5120) or a unit of 1,000 (300MB) or 1,024 (4GiB)".to_owned())
}
