//! A certificate from files.

use std::path::{Path, PathBuf};

/// A certificate for this machine, signed by itself, as files `tls.crt` and `tls.key` in a folder.
pub(crate) struct OwnCertificate {
    pub(crate) pem: String,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl OwnCertificate {
    pub(crate) fn write(folder: &Path) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let written = Self { pem: certificate.pem(), certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        std::fs::write(&written.certificate, &written.pem).unwrap();
        std::fs::write(&written.key, key.serialize_pem()).unwrap();
        written
    }
}
