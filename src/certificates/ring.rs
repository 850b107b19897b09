//! The CAs of an installation as its Secret holds them: the one that signs, the one that will, and those that did.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::runtime::certificate::{Authority, CertificateError, Validity};

/// The type of the Secret. One of another type under its name is somebody else's and is left alone.
pub const SECRET_TYPE: &str = "outrigger.dev/ca";

const SIGNING: (&str, &str) = ("tls.crt", "tls.key");
const NEXT: (&str, &str) = ("next.crt", "next.key");
const RETIRED: &str = "retired.crt";
/// All that is to be trusted, for people and their tools; this program works it out from the others.
const TRUSTED: &str = "ca.crt";

/// All CAs of an installation.
#[derive(Debug, Clone)]
pub struct Ring {
    /// Signs the replicas' certificates.
    pub signing: Arc<Authority>,
    /// Will sign them once everybody trusts it.
    pub next: Option<Arc<Authority>>,
    /// Signed them before. What they signed may still be served for a moment.
    pub retired: Vec<CertificateDer<'static>>,
}

/// Why a Secret holds no ring.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// It is of another type.
    #[error("its type is {found:?} and not {SECRET_TYPE:?}: give --ca-secret another name, or delete it if nobody uses it")]
    Foreign {
        /// Its type.
        found: String,
    },
    /// It holds nothing yet.
    #[error("it is empty")]
    Empty,
    /// A key of it is not text.
    #[error("{key} is no text")]
    Text {
        /// Which key.
        key: &'static str,
    },
    /// One half of a CA is missing.
    #[error("{key} is missing")]
    Missing {
        /// Which key.
        key: &'static str,
    },
    /// A CA can't be used.
    #[error("{key} can't be used")]
    Unusable {
        /// Where its certificate stands.
        key: &'static str,
        /// Why not.
        #[source]
        source: Box<CertificateError>,
    },
}

impl RingError {
    /// A ring whose certificates under `key` can't be used.
    fn unusable(key: &'static str, source: CertificateError) -> Self {
        Self::Unusable { key, source: Box::new(source) }
    }
}

impl Ring {
    /// A ring of one.
    #[must_use]
    pub fn new(signing: Authority) -> Self {
        Self { signing: Arc::new(signing), next: None, retired: Vec::new() }
    }

    /// Reads the ring in a Secret.
    ///
    /// # Errors
    /// The Secret is somebody else's, empty, or can't be used.
    pub fn read(secret: &Secret) -> Result<Self, RingError> {
        let found = secret.type_.as_deref().unwrap_or("Opaque");
        if found != SECRET_TYPE {
            return Err(RingError::Foreign { found: found.to_owned() });
        }
        let data = secret.data.as_ref().filter(|data| !data.is_empty()).ok_or(RingError::Empty)?;
        let signing = authority(data, SIGNING)?.ok_or(RingError::Missing { key: SIGNING.0 })?;
        let retired = text(data, RETIRED)?.unwrap_or_default();
        let retired: Result<_, _> = CertificateDer::pem_slice_iter(retired.as_bytes()).collect();
        let retired = retired.map_err(|error| RingError::unusable(RETIRED, CertificateError::Malformed(error.to_string())))?;
        Ok(Self { signing, next: authority(data, NEXT)?, retired })
    }

    /// This ring with a CA that is to be trusted before it signs.
    #[must_use]
    pub fn announcing(&self, next: Authority) -> Self {
        Self { next: Some(Arc::new(next)), ..self.clone() }
    }

    /// This ring with its next CA signing; unchanged if there is none.
    #[must_use]
    pub fn promoted(&self) -> Self {
        let Some(next) = &self.next else { return self.clone() };
        let retired = self.retired.iter().chain([self.signing.certificate()]).cloned().collect();
        Self { signing: next.clone(), next: None, retired }
    }

    /// The certificates that whoever calls us must trust: those of the CAs that sign, whatever this machine's clock says of them,
    /// and those that signed and are not forgotten yet.
    #[must_use]
    pub fn trusted(&self, now: SystemTime) -> Vec<CertificateDer<'static>> {
        let own = [Some(&self.signing), self.next.as_ref()].into_iter().flatten().map(|authority| authority.certificate());
        own.chain(self.retired.iter().filter(|certificate| !is_forgotten(certificate, now))).cloned().collect()
    }

    /// The data of the Secret that holds this ring, for a merge patch: keys that are not needed any more are null.
    #[must_use]
    pub fn data(&self, now: SystemTime) -> Value {
        let encoded = |text: &str| Value::String(STANDARD.encode(text));
        let next = self.next.as_ref();
        let retired: Vec<_> = self.retired.iter().filter(|certificate| !is_forgotten(certificate, now)).cloned().collect();
        json!({
            SIGNING.0: encoded(self.signing.certificate_pem()),
            SIGNING.1: encoded(self.signing.key_pem().expose_secret()),
            NEXT.0: next.map(|next| encoded(next.certificate_pem())),
            NEXT.1: next.map(|next| encoded(next.key_pem().expose_secret())),
            RETIRED: if retired.is_empty() { Value::Null } else { encoded(&pem(&retired)) },
            TRUSTED: encoded(&pem(&self.trusted(now))),
        })
    }
}

/// Whether a CA's end is as long ago as its life was. Until then it is kept: to trust it does no harm, and if it is only this
/// machine's clock that is ahead, others still need it. One that can't be read is of no use to anybody.
pub(super) fn is_forgotten(certificate: &CertificateDer<'_>, now: SystemTime) -> bool {
    Validity::of(certificate).map_or(true, |validity| {
        let life = validity.end.duration_since(validity.start).unwrap_or_default();
        validity.end + life <= now
    })
}

/// Certificates one after the other in PEM.
#[must_use]
pub fn pem(certificates: &[CertificateDer<'_>]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    certificates.iter().map(|certificate| pem::encode_config(&pem::Pem::new("CERTIFICATE", certificate.to_vec()), config)).collect()
}

/// The CA whose certificate and key stand under these names, if there is one.
fn authority(
    data: &BTreeMap<String, ByteString>,
    (certificate, key): (&'static str, &'static str),
) -> Result<Option<Arc<Authority>>, RingError> {
    match (text(data, certificate)?, text(data, key)?) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(RingError::Missing { key: certificate }),
        (Some(_), None) => Err(RingError::Missing { key }),
        (Some(certificate_pem), Some(key_pem)) => {
            let read = Authority::from_pem(certificate_pem, SecretString::from(key_pem));
            read.map(|authority| Some(Arc::new(authority))).map_err(|source| RingError::unusable(certificate, source))
        }
    }
}

fn text<'a>(data: &'a BTreeMap<String, ByteString>, key: &'static str) -> Result<Option<&'a str>, RingError> {
    data.get(key).map(|value| std::str::from_utf8(&value.0)).transpose().map_err(|_| RingError::Text { key })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::certificate::tests::with_provider;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// The Secret as the API server has it after the merge patch.
    fn secret(ring: &Ring, now: SystemTime) -> Secret {
        let mut data = ring.data(now);
        data.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        serde_json::from_value(json!({"type": SECRET_TYPE, "data": data})).unwrap()
    }

    fn error(manifest: Value) -> String {
        Ring::read(&serde_json::from_value(manifest).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn survives_its_secret_in_each_stage() {
        with_provider();
        let now = SystemTime::now();
        let first = Ring::new(Authority::make(now, DAY).unwrap());
        let announced = first.announcing(Authority::make(now, 2 * DAY).unwrap());
        let promoted = announced.promoted();
        for ring in [&first, &announced, &promoted] {
            let read = Ring::read(&secret(ring, now)).unwrap();
            assert_eq!(read.trusted(now), ring.trusted(now));
            assert_eq!(read.signing.certificate(), ring.signing.certificate());
            assert_eq!(read.next.is_some(), ring.next.is_some());
        }
        assert_eq!(Ring::read(&secret(&promoted, now + 2 * DAY)).unwrap().retired.len(), 1, "it may be our clock that is wrong");
        assert_eq!(Ring::read(&secret(&promoted, now + 3 * DAY)).unwrap().retired, [], "what ended long ago is forgotten");
    }

    #[test]
    fn says_why_a_secret_holds_none() {
        with_provider();
        assert!(error(json!({"type": "Opaque", "data": {"password": ""}})).contains(r#"its type is "Opaque""#));
        assert_eq!(error(json!({"type": SECRET_TYPE})), "it is empty");
        assert_eq!(error(json!({"type": SECRET_TYPE, "data": {"tls.crt": "eA=="}})), "tls.key is missing");
        assert_eq!(error(json!({"type": SECRET_TYPE, "data": {"tls.crt": "eA==", "tls.key": "eA=="}})), "tls.crt can't be used");
        assert_eq!(error(json!({"type": SECRET_TYPE, "data": {"tls.crt": "/w==", "tls.key": "eA=="}})), "tls.crt is no text");
    }
}
