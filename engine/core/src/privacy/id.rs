//! Which treatment it was.

use std::fmt::{self, Display, Formatter};
use std::num::ParseIntError;
use std::str::FromStr;

use blake3::Hasher;

use super::{Action, Treatment};

/// Says of two treatments whether they are the same. It is written beside lines that were treated,
/// as 16 hexadecimal digits, and tells nothing of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TreatmentId(u64);

impl Display for TreatmentId {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl FromStr for TreatmentId {
    type Err = ParseIntError;

    fn from_str(digits: &str) -> Result<TreatmentId, ParseIntError> {
        u64::from_str_radix(digits, 16).map(TreatmentId)
    }
}

/// What two keys or functions hash differently.
const PROBE: &[u8] = b"which key is it";

impl Treatment {
    /// The same in every run that treats lines alike.
    pub(crate) fn id(&self) -> TreatmentId {
        let mut id = Hasher::new();
        let mut add = |part: &[u8]| {
            id.update(&(part.len() as u64).to_le_bytes());
            id.update(part);
        };
        add(&[self.mask_ip.into()]);
        for (selector, action) in &self.actions {
            add(selector.to_string().as_bytes());
            match action {
                Action::Drop => add(b"drop"),
                Action::Replace(value) => {
                    add(b"replace");
                    add(value);
                }
                Action::Hash(hash) => {
                    let mut probe = Vec::new();
                    hash.append(PROBE, &mut probe);
                    add(b"hash");
                    add(&probe);
                }
            }
        }
        let hash = *id.finalize().as_bytes();
        TreatmentId(u64::from_le_bytes(*hash.first_chunk().expect("a hash has 32 bytes")))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{HashFunction, Secret, Settings};

    use super::*;

    fn id(settings: Settings) -> TreatmentId {
        let hash_key = settings.hash.is_some().then(|| Secret::new("0123456789abcdef"));
        let settings = Settings { hash_key: settings.hash_key.clone().or(hash_key), ..settings };
        settings.validate().unwrap().treatment().unwrap().id()
    }

    #[test]
    fn other_treatments_have_other_ids() {
        let none = Settings::default;
        let with = |text: &str| Some(text.to_owned());
        let ids = [
            id(Settings { mask_ip: Some(true), ..none() }),
            id(Settings { drop: with("c-ip"), ..none() }),
            id(Settings { mask_ip: Some(true), drop: with("c-ip"), ..none() }),
            id(Settings { replace: vec!["c-ip=".to_owned()], ..none() }),
            id(Settings { replace: vec!["c-ip=drop".to_owned()], ..none() }),
            id(Settings { hash: with("c-ip"), ..none() }),
            id(Settings { hash: with("query.u"), ..none() }),
            id(Settings { hash: with("c-ip"), hash_key: Some(Secret::new("0123456789abcdeF")), ..none() }),
            id(Settings { hash: with("c-ip"), hash_with: Some(HashFunction::HmacSha256), ..none() }),
        ];
        for (place, one) in ids.iter().enumerate() {
            assert!(!ids[place + 1..].contains(one), "{place}");
            assert_eq!(one.to_string().parse(), Ok(*one));
        }
        assert_eq!(ids[0], id(Settings { mask_ip: Some(true), ..none() }));
    }
}
