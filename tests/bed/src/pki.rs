//! A cluster's certificates: one authority, and a leaf for each component, as kubeadm lays them out.

use std::path::PathBuf;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

use crate::supervise::Run;

/// The authority's files in a run's directory.
pub(crate) const CA_CERTIFICATE: &str = "pki/ca.crt";
pub(crate) const CA_KEY: &str = "pki/ca.key";
/// The files of the keys that sign and check service-account tokens.
pub(crate) const SERVICE_ACCOUNT_KEY: &str = "pki/service-account.key";
pub(crate) const SERVICE_ACCOUNT_PUBLIC_KEY: &str = "pki/service-account.pub";

/// The cluster's certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// The files of a certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

impl Authority {
    pub(crate) fn create() -> Result<Self> {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        parameters.distinguished_name.push(DnType::CommonName, "outrigger-bed");
        Ok(Self { issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)? })
    }

    pub(crate) fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn certificate_der(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    pub(crate) fn write(&self, run: &Run) -> Result<()> {
        run.write(CA_CERTIFICATE, self.issuer.pem())?;
        run.write(CA_KEY, self.issuer.key().serialize_pem())?;
        Ok(())
    }

    /// Issues a certificate for a component: Kubernetes takes the common name for the user and the organisation for the group.
    pub(crate) fn issue(&self, run: &Run, file: &str, user: &str, group: Option<&str>, names: Vec<String>) -> Result<Identity> {
        let mut parameters = CertificateParams::new(names)?;
        parameters.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            parameters.distinguished_name.push(DnType::OrganizationName, group);
        }
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate_file: run.write(&format!("pki/{file}.crt"), certificate.pem())?,
            key_file: run.write(&format!("pki/{file}.key"), key.serialize_pem())?,
        })
    }
}

/// Writes the pair of keys that signs service-account tokens.
pub(crate) fn write_service_account_keys(run: &Run) -> Result<()> {
    let key = KeyPair::generate()?;
    run.write(SERVICE_ACCOUNT_KEY, key.serialize_pem())?;
    run.write(SERVICE_ACCOUNT_PUBLIC_KEY, key.public_key_pem())?;
    Ok(())
}
