//! Where the server's certificate comes from: files, a CA shared by all replicas, or a CA of this process alone.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::{
    api::duration,
    certificates::{
        replica::Signer,
        ring::Ring,
        secret::{CaSecret, Observed, SecretProjection},
    },
    cluster::{
        snapshot::{Snapshot, snapshot},
        watch::Scope,
    },
    runtime::certificate::{self, Authority, CertificateError, CertificateFiles, Served},
};

use super::Process;

/// Replicas ask the clock every few seconds; what lives shorter can't be renewed in time.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(10);
/// To read files more often is only work.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

#[derive(Debug, Args)]
pub(super) struct CertificateArgs {
    /// Certificate chain in PEM; it is loaded again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "OUTRIGGER_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// Its key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "OUTRIGGER_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// How often those files are looked at.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::at_least(SHORTEST_INTERVAL), env = "OUTRIGGER_TLS_INTERVAL")]
    tls_interval: Duration,

    /// Secret with the CA of all replicas, in the namespace of the installation; it is filled if it is empty.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tls_cert", "ca_out"], env = "OUTRIGGER_CA_SECRET")]
    ca_secret: Option<String>,

    /// Names and addresses of the certificate that is made when none is given.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "localhost,127.0.0.1",
        conflicts_with = "tls_cert",
        value_parser = tls_name,
        env = "OUTRIGGER_TLS_NAME"
    )]
    tls_name: Vec<String>,

    /// How long a CA that is made is good; it is renewed after two thirds of that.
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration::parse, env = "OUTRIGGER_CA_LIFETIME")]
    ca_lifetime: Duration,

    /// How long a certificate that is made is good; it is renewed after two thirds of that.
    #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = duration::parse, env = "OUTRIGGER_LEAF_LIFETIME")]
    leaf_lifetime: Duration,

    /// Where the CA is written that this process makes for itself, for the webhooks' caBundle.
    #[arg(long, value_name = "FILE", conflicts_with = "tls_cert")]
    ca_out: Option<PathBuf>,
}

/// The CA of all replicas, as far as this process sees it.
#[derive(Debug, Clone)]
pub(super) struct SharedAuthority {
    pub(super) secret: CaSecret,
    pub(super) observed: Snapshot<Observed>,
    pub(super) lifetime: Duration,
}

impl CertificateArgs {
    /// Follows the Secret of the shared CA and keeps it filled, if there is to be one.
    pub(super) fn shared_authority(&self, process: &mut Process, namespace: &str) -> Result<Option<SharedAuthority>> {
        for (flag, lifetime) in [("--ca-lifetime", self.ca_lifetime), ("--leaf-lifetime", self.leaf_lifetime)] {
            if lifetime < SHORTEST_LIFETIME {
                bail!("{flag} is {lifetime:?}, which is too short to be renewed in time: give it at least {SHORTEST_LIFETIME:?}");
            }
        }
        let Some(name) = self.ca_secret.clone() else { return Ok(None) };
        let api: Api<Secret> = Api::namespaced(process.client.clone(), namespace);
        let (writer, observed) = snapshot(Observed::Unknown);
        process.watch(SecretProjection(writer), api.clone(), Scope::Named(name.clone()));
        let secret = CaSecret { api, name };
        let filling = secret.clone().keep_filled(observed.clone(), self.ca_lifetime, process.shutdown.clone());
        process.tasks.spawn("ca-secret-filling", filling);
        Ok(Some(SharedAuthority { secret, observed, lifetime: self.ca_lifetime }))
    }

    /// Starts to serve the certificate, and to renew it.
    pub(super) fn serve(&self, process: &mut Process, authority: Option<&SharedAuthority>) -> Result<Arc<Served>> {
        let served = Served::new(process.readiness.gate("certificate"), &mut process.registry);
        let shutdown = process.shutdown.clone();
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
            files.reload(&served)?;
            process.tasks.spawn("certificate", files.follow(served.clone(), self.tls_interval, shutdown));
            return Ok(served);
        }
        let observed = match authority {
            Some(authority) => authority.observed.clone(),
            None => self.own_authority()?,
        };
        let signer = Signer { names: self.tls_name.clone(), lifetime: self.leaf_lifetime, served: served.clone() };
        process.tasks.spawn("certificate", signer.run(observed, shutdown));
        Ok(served)
    }

    /// A CA that lives in this process alone.
    fn own_authority(&self) -> Result<Snapshot<Observed>> {
        let authority = Authority::make(SystemTime::now(), self.ca_lifetime)?;
        if let Some(path) = &self.ca_out {
            std::fs::write(path, authority.certificate_pem()).with_context(|| format!("{} can't be written", path.display()))?;
        }
        let ring = Ok(Arc::new(Ring::new(authority)));
        let (_, observed) = snapshot(Observed::Present { version: String::new(), ring });
        Ok(observed)
    }
}

/// A name that a certificate can be for.
fn tls_name(text: &str) -> Result<String, CertificateError> {
    certificate::check_name(text)?;
    Ok(text.to_owned())
}
