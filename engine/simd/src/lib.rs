//! Which instruction set the SIMD kernels use: chosen once, at run time.
//!
//! The environment variable `PIXEL_ENGINE_SIMD` (`avx512`, `avx2`, `neon` or `memchr`) forces a
//! slower path than the best one, for comparisons and to rule a kernel out when something looks
//! wrong. A path that the machine does not have is refused with a warning, never tried.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// An instruction set that kernels exist for, slowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// No kernel of ours: the `memchr` crate, and plain Rust.
    Memchr,
    /// 128-bit vectors of aarch64.
    Neon,
    /// 256-bit vectors of x86-64.
    Avx2,
    /// 512-bit vectors of x86-64, with the F, BW and VBMI2 sets (Ice Lake and Zen 4 have them).
    Avx512,
}

/// The environment variable that forces a path.
pub const VARIABLE: &str = "PIXEL_ENGINE_SIMD";

impl Isa {
    /// Every path, slowest first.
    pub const ALL: [Isa; 4] = [Isa::Memchr, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// The path in use: the one that [`VARIABLE`] names, else the best that the machine has.
    pub fn chosen() -> Isa {
        static CHOSEN: OnceLock<Isa> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let best = Isa::available().last().unwrap_or(Isa::Memchr);
            let Ok(wanted) = std::env::var(VARIABLE) else { return best };
            match wanted.parse::<Isa>() {
                Ok(isa) if isa.is_available() => isa,
                Ok(_) => {
                    tracing::warn!("{VARIABLE}={wanted}: this machine does not have it, using {best}");
                    best
                }
                Err(reason) => {
                    tracing::warn!("{VARIABLE}: {reason}, using {best}");
                    best
                }
            }
        })
    }

    /// The paths that this machine has, slowest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Memchr => true,
            Isa::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("popcnt")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vbmi2")
                    && Isa::Avx2.is_available()
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
        }
    }

    /// The name that [`VARIABLE`] takes.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Memchr => "memchr",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of avx512, avx2, neon, memchr")]
pub struct UnknownIsa(String);

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Isa, UnknownIsa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| UnknownIsa(name.to_owned()))
    }
}
