//! A certificate that somebody else keeps in files.
//!
//! Files are compared by content on a timer. Watching them would miss the kubelet's way of replacing a Secret's files:
//! it swaps a symlink above them, which no watch on the file sees twice.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::{CertificateError, Served, provider};
use crate::runtime::{
    complaint::{Complaint, with_causes},
    shutdown::Shutdown,
};

/// The files of a certificate: the whole chain, and its key.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Serves what is in the files now. Tells whether that is something new.
    pub fn reload(&self, served: &Served) -> Result<bool, CertificateError> {
        match self.load() {
            Ok(certificate) => served.replace(certificate),
            Err(error) => {
                served.count_failure();
                Err(error)
            }
        }
    }

    /// Compares the files with what is served, now and at this interval until shutdown, and serves what is new. What can't be used
    /// is logged, and the old certificate stays.
    pub async fn follow(self, served: Arc<Served>, interval: Duration, shutdown: Shutdown) {
        let mut complaint = Complaint::default();
        loop {
            let mut lack = None;
            match self.reload(&served) {
                Ok(changed) => {
                    complaint.settle();
                    if changed {
                        tracing::info!(certificate = %self.certificate.display(), "serving a new certificate");
                    }
                }
                Err(error) => {
                    let is_there = served.current().is_some();
                    if complaint.is_new(&error) {
                        let then =
                            if is_there { "the new certificate can't be used; serving the old one" } else { "there is no certificate" };
                        tracing::error!(error = with_causes(&error), "{then}");
                    }
                    lack = (!is_there).then(|| with_causes(&error));
                }
            }
            served.judge(lack);
            tokio::select! {
                () = shutdown.closing() => return,
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    fn load(&self) -> Result<CertifiedKey, CertificateError> {
        let pem = |path: &Path, what, source| CertificateError::Pem { path: path.to_owned(), what, source };
        let text = read(&self.certificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let chain = chain.and_then(|chain| if chain.is_empty() { Err(rustls::pki_types::pem::Error::NoItemsFound) } else { Ok(chain) });
        let chain = chain.map_err(|source| pem(&self.certificate, "certificate", source))?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?).map_err(|source| pem(&self.key, "private key", source))?;
        // Refuses a key that belongs to another certificate, as there is one while two files are replaced one after the other.
        CertifiedKey::from_der(chain, key, &*provider()?).map_err(|source| CertificateError::Pair { files: self.clone(), source })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{certificate::tests::with_provider, readiness::Readiness};
    use prometheus_client::registry::Registry;
    use rcgen::{CertificateParams, KeyPair};

    /// Certificate and key in files, as a bring-your-own certificate comes.
    fn write(folder: &Path, name: &str) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        let files = CertificateFiles { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    #[test]
    fn serves_a_new_certificate_and_keeps_the_old_one_over_a_broken_one() {
        with_provider();
        let folder = tempfile::tempdir().unwrap();
        let files = write(folder.path(), "one.example.com");
        let served = Served::new(Readiness::default().gate("certificate"), &mut Registry::default());
        assert!(files.reload(&served).unwrap());
        assert!(!files.reload(&served).unwrap(), "nothing new");
        let first = served.current().unwrap();

        write(folder.path(), "two.example.com");
        assert!(files.reload(&served).unwrap());
        let second = served.current().unwrap();
        assert_ne!(first.cert, second.cert);

        let other_key = KeyPair::generate().unwrap();
        std::fs::write(&files.key, other_key.serialize_pem()).unwrap();
        let error = files.reload(&served).unwrap_err();
        assert!(matches!(error, CertificateError::Pair { .. }), "{error}");
        std::fs::write(&files.certificate, "garbage").unwrap();
        let error = files.reload(&served).unwrap_err();
        assert!(error.to_string().ends_with("tls.crt holds no certificate in PEM"), "{error}");
        std::fs::remove_file(&files.certificate).unwrap();
        assert!(matches!(files.reload(&served).unwrap_err(), CertificateError::Read { .. }));
        assert_eq!(served.current().unwrap().cert, second.cert);
    }
}
