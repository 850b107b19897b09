//! A certificate authority of our own: its key, its certificate, and the certificates it signs.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::CertifiedKey,
};
use secrecy::{ExposeSecret, SecretString};

use super::{CertificateError, Validity, provider};

/// The name in each CA certificate made here. What bears it and has expired may be taken out of a bundle.
pub const COMMON_NAME: &str = "Outrigger CA";

/// Validity begins this much before it is made, for clocks that run behind ours; less if the whole life is short.
const BACKDATING: Duration = Duration::from_hours(1);

/// A CA with its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_pem: SecretString,
    issuer: Issuer<'static, KeyPair>,
    validity: Validity,
}

impl Authority {
    /// Makes one that is good for `lifetime` from `now`.
    ///
    /// # Errors
    /// A key can't be made.
    pub fn make(now: SystemTime, lifetime: Duration) -> Result<Self, CertificateError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, COMMON_NAME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now, now + lifetime);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Self::from_pem(&certificate.pem(), SecretString::from(key.serialize_pem()))
    }

    /// Reads one from PEM.
    ///
    /// # Errors
    /// Either text is not what it should be, or they don't belong together.
    pub fn from_pem(certificate_pem: &str, key_pem: SecretString) -> Result<Self, CertificateError> {
        let malformed = |what: &str, error: &dyn fmt::Display| CertificateError::Malformed(format!("{what}: {error}"));
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|error| malformed("the CA", &error))?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.expose_secret().as_bytes()).map_err(|error| malformed("the CA's key", &error))?;
        // Says so if the key is another certificate's.
        CertifiedKey::from_der(vec![certificate.clone()], key, &*provider()?)?;
        let validity = Validity::of(&certificate)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, KeyPair::from_pem(key_pem.expose_secret())?)?;
        Ok(Self { certificate, certificate_pem: certificate_pem.to_owned(), key_pem, issuer, validity })
    }

    /// Signs a new key for these names and addresses, good for `lifetime` from `now` or until the CA's own end.
    ///
    /// # Errors
    /// A name is no name, or a key can't be made.
    pub fn sign(&self, names: &[String], now: SystemTime, lifetime: Duration) -> Result<CertifiedKey, CertificateError> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "outrigger");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_validity(&mut params, now, (now + lifetime).min(self.validity.end));
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| CertificateError::Malformed(error.to_owned()))?;
        Ok(CertifiedKey::from_der(vec![certificate.der().clone()], key, &*provider()?)?)
    }

    /// Its certificate.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate in PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its key in PEM.
    #[must_use]
    pub const fn key_pem(&self) -> &SecretString {
        &self.key_pem
    }

    /// From when to when it is good.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("validity", &self.validity).finish_non_exhaustive()
    }
}

/// Whether a certificate can be for this name or address.
///
/// # Errors
/// It can't.
pub fn check_name(name: &str) -> Result<(), CertificateError> {
    let is_name = ServerName::try_from(name).is_ok() && CertificateParams::new([name.to_owned()]).is_ok();
    if is_name { Ok(()) } else { Err(CertificateError::Name { name: name.to_owned() }) }
}

fn set_validity(params: &mut CertificateParams, now: SystemTime, end: SystemTime) {
    let lifetime = end.duration_since(now).unwrap_or_default();
    params.not_before = (now - BACKDATING.min(lifetime / 10)).into();
    params.not_after = end.into();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{client::danger::ServerCertVerifier, pki_types::UnixTime};

    use super::*;
    use crate::runtime::certificate::tests::with_provider;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn what_it_signs_is_trusted_for_its_names_also_after_a_round_trip_through_pem() {
        with_provider();
        let now = SystemTime::now();
        let made = Authority::make(now, DAY).unwrap();
        let read = Authority::from_pem(made.certificate_pem(), made.key_pem().clone()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.certificate().clone()).unwrap();
        let verifier = rustls::client::WebPkiServerVerifier::builder(Arc::new(roots)).build().unwrap();
        let names = ["outrigger-admission.outrigger.svc".to_owned(), "127.0.0.1".to_owned()];
        let leaf = read.sign(&names, now, DAY).unwrap();
        for name in &names {
            let name = ServerName::try_from(name.clone()).unwrap();
            verifier.verify_server_cert(&leaf.cert[0], &[], &name, &[], UnixTime::now()).unwrap();
        }
        let other = ServerName::try_from("localhost").unwrap();
        assert!(verifier.verify_server_cert(&leaf.cert[0], &[], &other, &[], UnixTime::now()).is_err());
    }

    #[test]
    fn a_name_that_is_none_is_named() {
        for name in ["outrigger-admission.outrigger.svc", "localhost", "127.0.0.1", "::1"] {
            check_name(name).unwrap();
        }
        for name in ["", "näme", "two names", "https://outrigger"] {
            assert_eq!(check_name(name).unwrap_err().to_string(), format!("{name:?} is neither a DNS name nor an address"));
        }
    }

    #[test]
    fn a_leaf_does_not_outlive_its_ca() {
        with_provider();
        let now = SystemTime::now();
        let authority = Authority::make(now, DAY).unwrap();
        let leaf = authority.sign(&["localhost".to_owned()], now, 7 * DAY).unwrap();
        assert_eq!(Validity::of(&leaf.cert[0]).unwrap().end, authority.validity().end);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_and_no_key_is_shown() {
        with_provider();
        let (one, other) = (Authority::make(SystemTime::now(), DAY).unwrap(), Authority::make(SystemTime::now(), DAY).unwrap());
        let error = Authority::from_pem(one.certificate_pem(), other.key_pem().clone()).unwrap_err();
        assert!(matches!(error, CertificateError::Unusable(rustls::Error::InconsistentKeys(_))), "{error:?}");
        let error = Authority::from_pem("garbage", other.key_pem().clone()).unwrap_err();
        assert!(error.to_string().contains("the CA"), "{error}");
        assert!(!format!("{one:?}").contains("PRIVATE"), "{one:?}");
    }
}
