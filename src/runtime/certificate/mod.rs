//! The server's certificate: served from memory, replaced without a pause, and judged by the wall clock.
//!
//! Timers stand still while a machine is suspended and know nothing of a clock that is set; so whether a certificate is
//! good is asked of the clock on the wall, again and again.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::AtomicI64},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use rustls::{
    crypto::CryptoProvider,
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::readiness::Gate;

mod authority;
mod files;

pub use authority::{Authority, COMMON_NAME, check_name};
pub use files::CertificateFiles;

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
    /// A certificate and key from elsewhere than files can't be used.
    #[error("the certificate and its key can't be used")]
    Unusable(#[from] rustls::Error),
    /// The certificate is no X.509 certificate.
    #[error("the certificate can't be read: {0}")]
    Malformed(String),
    /// A certificate could not be made.
    #[error("a certificate can't be made")]
    Make(#[from] rcgen::Error),
    /// No certificate can be for it.
    #[error("{name:?} is neither a DNS name nor an address")]
    Name {
        /// The name.
        name: String,
    },
    /// The process was started without its TLS provider.
    #[error("no TLS provider is installed")]
    NoProvider,
}

/// From when to when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub start: SystemTime,
    /// Until then.
    pub end: SystemTime,
}

impl Validity {
    /// Reads it from a certificate.
    ///
    /// # Errors
    /// The bytes are no X.509 certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|error| CertificateError::Malformed(error.to_string()))?;
        let validity = parsed.validity();
        Ok(Self { start: at(validity.not_before.timestamp()), end: at(validity.not_after.timestamp()) })
    }

    /// Whether it is good at this time.
    #[must_use]
    pub fn contains(&self, now: SystemTime) -> bool {
        self.start <= now && now < self.end
    }

    /// When two thirds of it are over: time to renew, with a third left for whatever goes wrong.
    #[must_use]
    pub fn renewal(&self) -> SystemTime {
        self.start + self.end.duration_since(self.start).unwrap_or_default() * 2 / 3
    }
}

/// A time in seconds since 1970. What lies before counts as then.
fn at(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

/// Since 1970.
fn seconds(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// The certificate being served. Handshakes read it without a lock; before there is one they fail.
#[derive(Debug)]
pub struct Served {
    current: ArcSwapOption<CertifiedKey>,
    gate: Gate,
    metrics: Metrics,
}

#[derive(Debug, Clone, Default)]
struct Metrics {
    expiry: Gauge<i64, AtomicI64>,
    renewal: Gauge<i64, AtomicI64>,
    reloads: Family<ReloadLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: &'static str,
}

impl Served {
    /// Serves nothing yet. The gate is open while there is a certificate that is good.
    pub fn new(gate: Gate, registry: &mut Registry) -> Arc<Self> {
        let metrics = Metrics::default();
        registry.register_with_unit(
            "certificate_expiry",
            "When the served certificate expires, in seconds since 1970",
            Unit::Seconds,
            metrics.expiry.clone(),
        );
        registry.register_with_unit(
            "certificate_renewal",
            "When the served certificate is to be renewed, in seconds since 1970",
            Unit::Seconds,
            metrics.renewal.clone(),
        );
        registry.register("certificate_reloads", "Certificates that replaced the served one, by result", metrics.reloads.clone());
        Arc::new(Self { current: ArcSwapOption::empty(), gate, metrics })
    }

    /// The certificate being served, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }

    /// Serves this certificate from now on. Tells whether it is another than before.
    ///
    /// # Errors
    /// It can't be read, and what was served stays.
    pub fn replace(&self, certificate: CertifiedKey) -> Result<bool, CertificateError> {
        let before = self.current();
        if before.as_ref().is_some_and(|current| current.cert == certificate.cert) {
            return Ok(false);
        }
        let validity = validity(&certificate).inspect_err(|_| self.count_failure())?;
        self.metrics.expiry.set(seconds(validity.end));
        self.metrics.renewal.set(seconds(validity.renewal()));
        self.current.store(Some(Arc::new(certificate)));
        self.judge(None);
        // The first one replaces nothing.
        if before.is_some() {
            self.count("updated");
        }
        Ok(true)
    }

    /// Counts a certificate that could not replace the served one.
    pub fn count_failure(&self) {
        self.count("failed");
    }

    /// Opens or closes the gate, as the certificate is good at this moment or not. `lack` is why there can be no new one for
    /// now: a certificate that is good does without, but who asks is told.
    pub fn judge(&self, lack: Option<String>) {
        let now = SystemTime::now();
        match (self.current().as_deref().map(validity), lack) {
            (Some(Ok(validity)), None) if validity.contains(now) => self.gate.open(),
            (Some(Ok(validity)), Some(lack)) if validity.contains(now) => self.gate.open_with(lack),
            (Some(Ok(validity)), None) if now < validity.start => self.gate.close_with("not valid yet by this machine's clock"),
            (Some(Ok(_)), None) => self.gate.close_with("expired: see the log for why it was not renewed"),
            (Some(Ok(_)), Some(lack)) => self.gate.close_with(format!("not good by this machine's clock, and not renewed: {lack}")),
            (None | Some(Err(_)), Some(lack)) => self.gate.close_with(lack),
            (None | Some(Err(_)), None) => {}
        }
    }

    fn count(&self, result: &'static str) {
        self.metrics.reloads.get_or_create_owned(&ReloadLabels { result }).inc();
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current()
    }
}

/// When the server's own certificate, the first of its chain, is good.
pub(crate) fn validity(certificate: &CertifiedKey) -> Result<Validity, CertificateError> {
    let own = certificate.cert.first().ok_or_else(|| CertificateError::Malformed("there is none".to_owned()))?;
    Validity::of(own)
}

fn provider() -> Result<Arc<CryptoProvider>, CertificateError> {
    CryptoProvider::get_default().cloned().ok_or(CertificateError::NoProvider)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::runtime::readiness::Readiness;

    /// As `main` does at start.
    pub(crate) fn with_provider() {
        // Another test of this process may have installed it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }

    #[test]
    fn the_gate_is_open_while_the_certificate_is_good() {
        with_provider();
        let readiness = Readiness::default();
        let served = Served::new(readiness.gate("certificate"), &mut Registry::default());
        assert!(!readiness.is_ready(), "there is none yet");
        let (day, now) = (Duration::from_secs(24 * 3600), SystemTime::now());
        let long_ago = Authority::make(now - 10 * day, 2 * day).unwrap();
        served.replace(long_ago.sign(&["localhost".to_owned()], now - 10 * day, day).unwrap()).unwrap();
        assert!(!readiness.is_ready() && readiness.report().contains("certificate: expired"), "{}", readiness.report());
        let good = Authority::make(now, 2 * day).unwrap();
        served.replace(good.sign(&["localhost".to_owned()], now, day).unwrap()).unwrap();
        assert!(readiness.is_ready(), "{}", readiness.report());
        let future = Authority::make(now + 10 * day, 2 * day).unwrap();
        served.replace(future.sign(&["localhost".to_owned()], now + 10 * day, day).unwrap()).unwrap();
        assert!(readiness.report().contains("not valid yet"), "{}", readiness.report());
    }

    #[test]
    fn two_thirds_of_a_life_are_enough() {
        let start = SystemTime::UNIX_EPOCH;
        let validity = Validity { start, end: start + Duration::from_secs(300) };
        assert_eq!(validity.renewal(), start + Duration::from_secs(200));
        assert!(validity.contains(start) && !validity.contains(validity.end));
    }
}
