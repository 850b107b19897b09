//! TLS to PostgreSQL, with the modes that libpq and the JDBC driver know (PostgreSQL manual, "SSL Support").

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    server::VerifierBuilderError,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

/// How much of TLS is asked of the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// None.
    Disable,
    /// TLS if the server offers it; whose server it is, is not checked.
    #[default]
    Prefer,
    /// TLS; whose server it is, is not checked.
    Require,
    /// TLS with a certificate that our authority has signed for anybody.
    VerifyCa,
    /// TLS with a certificate that our authority has signed for this host.
    VerifyFull,
}

impl TlsMode {
    /// The mode of this name; `allow` is `prefer`.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        match name {
            "disable" => Some(Self::Disable),
            "allow" | "prefer" => Some(Self::Prefer),
            "require" => Some(Self::Require),
            "verify-ca" => Some(Self::VerifyCa),
            "verify-full" => Some(Self::VerifyFull),
            _ => None,
        }
    }

    /// The names of all modes, for messages.
    pub const NAMES: &'static str = "disable, allow, prefer, require, verify-ca, verify-full";
}

/// How a connection is secured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// What is asked of the server.
    pub mode: TlsMode,
    /// The authorities that may have signed its certificate, in PEM.
    pub root_certificates: Option<PathBuf>,
    /// Our own certificate, in PEM, and its key, in PEM or PKCS #8 DER, if the server asks for them.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Nobody says who may have signed the server's certificate.
    #[error(
        "the TLS mode asks for the server's certificate to be verified: name the file with the authorities (postgresql-ssl-root-cert-file)"
    )]
    NoRoots,
    /// A file can't be read, or holds something else.
    #[error("{path} can't be used")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Certificates and keys can't be used together.
    #[error("the certificates can't be used")]
    Unusable(#[source] Error),
    /// No authority can be used.
    #[error("the authorities can't be used")]
    Roots(#[source] VerifierBuilderError),
}

impl Tls {
    /// What a client needs; none where no TLS is to be spoken.
    pub fn client(&self) -> Result<Option<ClientConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.mode {
            TlsMode::Disable => return Ok(None),
            TlsMode::Prefer | TlsMode::Require => Arc::new(Lenient { chain: None, provider: provider.clone() }),
            TlsMode::VerifyCa => Arc::new(Lenient { chain: Some(self.verifier(&provider)?), provider: provider.clone() }),
            TlsMode::VerifyFull => self.verifier(&provider)?,
        };
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(TlsError::Unusable)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        Ok(Some(match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                builder.with_client_auth_cert(certificates(certificate)?, private_key(key)?).map_err(TlsError::Unusable)?
            }
        }))
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
        let path = self.root_certificates.as_ref().ok_or(TlsError::NoRoots)?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(TlsError::Unusable)?;
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().map_err(TlsError::Roots)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read.map_err(io::Error::other).map_err(failed)? {
        none if none.is_empty() => Err(failed(io::Error::other("there is no certificate in it"))),
        certificates => Ok(certificates),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    if let Ok(key) = PrivateKeyDer::from_pem_file(path) {
        return Ok(key);
    }
    // The JDBC driver wants keys in DER.
    let bytes = std::fs::read(path).map_err(failed)?;
    PrivateKeyDer::try_from(bytes).map_err(|reason| failed(io::Error::other(reason)))
}

/// Checks less than rustls would: nothing, or the chain of signatures but not the host's name.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(certificate, intermediates, name, ocsp_response, now) {
            // The name is looked at when the chain was found good.
            Err(Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
