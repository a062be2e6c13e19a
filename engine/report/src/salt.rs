//! The secret that visitors and ids are hashed with.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// The key of every hash of a visitor or an id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt(pub(crate) [u8; 16]);

/// A salt is a secret.
impl fmt::Debug for Salt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Salt(..)")
    }
}

impl Salt {
    /// A hasher for something of that kind: the same text has another hash in another kind.
    #[inline]
    pub(crate) fn hasher(self, kind: &[u8]) -> SipHasher13 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(kind);
        hasher
    }

    /// The hash of a text of that kind.
    #[inline]
    pub(crate) fn hash(self, kind: &[u8], text: &[u8]) -> u64 {
        let mut hasher = self.hasher(kind);
        hasher.write(text);
        hasher.finish()
    }

    /// The hash of a request id, which is the same in every log.
    #[inline]
    pub(crate) fn hash_request_id(self, id: &[u8]) -> u64 {
        self.hash(b"r", id)
    }
}
