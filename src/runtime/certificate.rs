//! The server's certificate: loaded or made, served from memory, replaced without a pause.
//!
//! Files are compared by content on a timer. Watching them would miss the kubelet's way of replacing a Secret's files:
//! it swaps a symlink above them, which no watch on the file sees twice.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicI64},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::shutdown::Shutdown;

/// How long a certificate made at start is good for. Such a process has no other way to renew it than to start again.
const SELF_MADE_LIFETIME: Duration = Duration::from_hours(365 * 24);

/// Why a certificate can't be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read.
    #[error("{path} can't be read", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file holds no PEM of the right kind.
    #[error("{path} holds no {what} in PEM", path = path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What was expected.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Key and certificate don't belong together, or the key is of no known kind.
    #[error("the certificate and key can't be used together: {certificate} and {key}", certificate = files.certificate.display(), key = files.key.display())]
    Pair {
        /// Both files.
        files: CertificateFiles,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// A certificate that was made can't be used.
    #[error("the certificate that was made can't be used")]
    Unusable(#[from] rustls::Error),
    /// The certificate is no X.509 certificate.
    #[error("the certificate can't be read: {0}")]
    Malformed(String),
    /// A certificate could not be made.
    #[error("a certificate can't be made")]
    Make(#[from] rcgen::Error),
    /// The process was started without its TLS provider.
    #[error("no TLS provider is installed")]
    NoProvider,
}

/// The files of a certificate: the whole chain, and its key.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A certificate made by this process, with the CA that clients must trust.
#[derive(Debug)]
pub struct SelfMade {
    /// The CA's certificate in PEM: what goes into `caBundle`.
    pub ca_pem: String,
    served: CertifiedKey,
}

/// The certificate being served. Handshakes read it without a lock.
#[derive(Debug)]
pub struct Served {
    current: ArcSwap<CertifiedKey>,
    metrics: Metrics,
}

#[derive(Debug, Clone, Default)]
struct Metrics {
    expiry: Gauge<i64, AtomicI64>,
    reloads: Family<ReloadLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

impl Served {
    /// Serves the certificate in these files.
    pub fn from_files(files: &CertificateFiles, registry: &mut Registry) -> Result<Arc<Self>, CertificateError> {
        Self::new(load(files)?, registry)
    }

    /// Serves a certificate made by this process.
    pub fn self_made(made: SelfMade, registry: &mut Registry) -> Result<Arc<Self>, CertificateError> {
        Self::new(made.served, registry)
    }

    fn new(certificate: CertifiedKey, registry: &mut Registry) -> Result<Arc<Self>, CertificateError> {
        let metrics = Metrics::default();
        registry.register_with_unit(
            "certificate_expiry",
            "When the served certificate expires, in seconds since 1970",
            Unit::Seconds,
            metrics.expiry.clone(),
        );
        registry.register("certificate_reloads", "Reloads of the served certificate, by result", metrics.reloads.clone());
        metrics.expiry.set(expiry(&certificate)?);
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(certificate), metrics }))
    }

    /// Compares the files with what is served at this interval until shutdown, and serves what is new. What can't be used
    /// is logged, and the old certificate stays.
    pub async fn follow(self: Arc<Self>, files: CertificateFiles, interval: Duration, shutdown: Shutdown) {
        let mut failing = false;
        loop {
            tokio::select! {
                () = shutdown.closing() => return,
                () = tokio::time::sleep(interval) => {}
            }
            match self.reload(&files) {
                Ok(changed) => {
                    failing = false;
                    if changed {
                        tracing::info!(certificate = %files.certificate.display(), "serving a new certificate");
                    }
                }
                // Said once, not every time.
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(error = &error as &dyn std::error::Error, "the new certificate can't be used; serving the old one");
                }
                Err(_) => {}
            }
        }
    }

    /// Serves what is in the files now. Tells whether that is something new.
    pub fn reload(&self, files: &CertificateFiles) -> Result<bool, CertificateError> {
        let count = |result| self.metrics.reloads.get_or_create_owned(&ReloadLabels { result }).inc();
        let loaded = load(files).and_then(|certificate| Ok((expiry(&certificate)?, certificate)));
        match loaded {
            Ok((_, certificate)) if certificate.cert == self.current.load().cert => Ok(false),
            Ok((expiry, certificate)) => {
                self.metrics.expiry.set(expiry);
                self.current.store(Arc::new(certificate));
                count("updated");
                Ok(true)
            }
            Err(error) => {
                count("failed");
                Err(error)
            }
        }
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// Makes a CA that lives in this process alone, and a certificate for these names and addresses.
pub fn make(names: Vec<String>) -> Result<SelfMade, CertificateError> {
    let now = SystemTime::now();
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "Outrigger CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.not_before = (now - Duration::from_mins(5)).into();
    ca.not_after = (now + SELF_MADE_LIFETIME).into();
    let ca_key = KeyPair::generate()?;
    let ca_certificate = ca.self_signed(&ca_key)?;

    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "outrigger");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.not_before = ca.not_before;
    leaf.not_after = ca.not_after;
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key))?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| CertificateError::Malformed(error.to_owned()))?;
    let served = CertifiedKey::from_der(vec![certificate.der().clone()], key, &*provider()?)?;
    Ok(SelfMade { ca_pem: ca_certificate.pem(), served })
}

fn load(files: &CertificateFiles) -> Result<CertifiedKey, CertificateError> {
    let pem = |path: &Path, what, source| CertificateError::Pem { path: path.to_owned(), what, source };
    let text = read(&files.certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.and_then(|chain| if chain.is_empty() { Err(rustls::pki_types::pem::Error::NoItemsFound) } else { Ok(chain) });
    let chain = chain.map_err(|source| pem(&files.certificate, "certificate", source))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|source| pem(&files.key, "private key", source))?;
    // Refuses a key that belongs to another certificate, as there is one while two files are replaced one after the other.
    CertifiedKey::from_der(chain, key, &*provider()?).map_err(|source| CertificateError::Pair { files: files.clone(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Read { path: path.to_owned(), source })
}

fn provider() -> Result<Arc<CryptoProvider>, CertificateError> {
    CryptoProvider::get_default().cloned().ok_or(CertificateError::NoProvider)
}

/// When the server's own certificate expires, in seconds since 1970.
fn expiry(certificate: &CertifiedKey) -> Result<i64, CertificateError> {
    let der = certificate.cert.first().map(AsRef::as_ref).unwrap_or_default();
    let (_, parsed) = x509_parser::parse_x509_certificate(der).map_err(|error| CertificateError::Malformed(error.to_string()))?;
    Ok(parsed.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::client::danger::ServerCertVerifier;

    /// Certificate and key in files, as a bring-your-own certificate comes.
    fn write(folder: &Path, name: &str) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let files = CertificateFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn with_provider() {
        // Another test of this process may have installed it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }

    #[test]
    fn serves_a_new_certificate_and_keeps_the_old_one_over_a_broken_one() {
        with_provider();
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path(), "one.example.com");
        let served = Served::from_files(&files, &mut Registry::default()).unwrap();
        assert!(!served.reload(&files).unwrap(), "nothing new");
        let first = served.current.load_full();

        write(folder.path(), "two.example.com");
        assert!(served.reload(&files).unwrap());
        let second = served.current.load_full();
        assert_ne!(first.cert, second.cert);

        let other_key = KeyPair::generate().unwrap();
        std::fs::write(&files.key, other_key.serialize_pem()).unwrap();
        let error = served.reload(&files).unwrap_err();
        assert!(matches!(error, CertificateError::Pair { .. }), "{error}");
        std::fs::write(&files.certificate, "garbage").unwrap();
        let error = served.reload(&files).unwrap_err();
        assert!(error.to_string().ends_with("tls.crt holds no certificate in PEM"), "{error}");
        std::fs::remove_file(&files.certificate).unwrap();
        assert!(matches!(served.reload(&files).unwrap_err(), CertificateError::Read { .. }));
        assert_eq!(served.current.load_full().cert, second.cert);
    }

    #[test]
    fn makes_a_certificate_that_its_ca_signed() {
        with_provider();
        let made = make(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(made.ca_pem.as_bytes()).unwrap()).unwrap();
        let verifier = rustls::client::WebPkiServerVerifier::builder(Arc::new(roots)).build().unwrap();
        let now = rustls::pki_types::UnixTime::now();
        for name in ["localhost", "127.0.0.1"] {
            let name = rustls::pki_types::ServerName::try_from(name).unwrap();
            verifier.verify_server_cert(&made.served.cert[0], &[], &name, &[], now).unwrap();
        }
    }
}
