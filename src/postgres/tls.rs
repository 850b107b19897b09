//! TLS to PostgreSQL, with the modes that libpq and the JDBC driver know (PostgreSQL manual, "SSL Support").

use std::{borrow::Cow, fmt, io, path::PathBuf, sync::Arc};

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

/// A certificate or a key.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    /// In a file.
    File(PathBuf),
    /// In memory.
    Held {
        /// Where it came from, for messages.
        from: String,
        /// PEM.
        pem: Vec<u8>,
    },
}

impl Material {
    fn read(&self) -> Result<Cow<'_, [u8]>, TlsError> {
        match self {
            Self::File(path) => Ok(std::fs::read(path).map_err(|source| self.failed(source))?.into()),
            Self::Held { pem, .. } => Ok(pem.into()),
        }
    }

    fn failed(&self, source: io::Error) -> TlsError {
        TlsError::Material { from: self.to_string(), source }
    }
}

impl fmt::Display for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Held { from, .. } => from.fmt(f),
        }
    }
}

// Not derived: a key is a secret.
impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Material({self})")
    }
}

impl From<PathBuf> for Material {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

/// How a connection is secured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// What is asked of the server.
    pub mode: TlsMode,
    /// The authorities that may have signed its certificate, in PEM.
    pub root_certificates: Option<Material>,
    /// Our own certificate, in PEM, and its key, in PEM or PKCS #8 DER, if the server asks for them.
    pub identity: Option<(Material, Material)>,
}

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Nobody says who may have signed the server's certificate.
    #[error(
        "the TLS mode asks for the server's certificate to be verified: name the file with the authorities (postgresql-ssl-root-cert-file)"
    )]
    NoRoots,
    /// A certificate or a key can't be read, or is something else.
    #[error("{from} can't be used")]
    Material {
        /// Which.
        from: String,
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
        let material = self.root_certificates.as_ref().ok_or(TlsError::NoRoots)?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(material)? {
            roots.add(certificate).map_err(TlsError::Unusable)?;
        }
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().map_err(TlsError::Roots)
    }
}

fn certificates(material: &Material) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_slice_iter(&material.read()?).collect::<Result<Vec<_>, _>>();
    match read.map_err(|error| material.failed(io::Error::other(error)))? {
        none if none.is_empty() => Err(material.failed(io::Error::other("there is no certificate in it"))),
        certificates => Ok(certificates),
    }
}

fn private_key(material: &Material) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = material.read()?;
    if let Ok(key) = PrivateKeyDer::from_pem_slice(&bytes) {
        return Ok(key);
    }
    // The JDBC driver wants keys in DER.
    PrivateKeyDer::try_from(bytes.into_owned()).map_err(|reason| material.failed(io::Error::other(reason)))
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
