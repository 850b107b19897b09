//! SHA-256, by which contents are told apart without being kept.

use std::fmt::Write;

use aws_lc_rs::digest::{Context, SHA256};

/// SHA-256.
pub type Digest = [u8; 32];

/// The digest of some bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.add(bytes);
    hasher.finish()
}

/// A digest of what comes piece by piece.
#[derive(Clone)]
pub struct Hasher(Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Hasher {
    /// Takes a piece.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces.
    #[must_use]
    pub fn finish(self) -> Digest {
        // It is as long as SHA-256 is.
        self.0.finish().as_ref().try_into().unwrap_or_default()
    }
}

/// A digest in hexadecimal digits.
#[must_use]
pub fn hexadecimal(digest: &Digest) -> String {
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
