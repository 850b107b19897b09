//! From a `PgServer` to a connection: whose credentials, what is trusted, and what each of our sessions begins with.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use secrecy::SecretString;

use crate::{
    api::pg_server::{PgServer, TlsMode as Mode},
    postgres::{
        session::Target,
        tls::{Material, Tls, TlsMode},
    },
    runtime::request::{self, RequestError},
};

use super::worker::READ_DEADLINE;

/// What each session begins with, whatever a database or a role says: no name means what somebody has put into a schema before the
/// server's own, a backslash means itself, and nobody waits for ever.
const PINNED: &str = "-c search_path=pg_catalog,pg_temp -c standard_conforming_strings=on -c client_min_messages=warning \
    -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s -c idle_session_timeout=0";
/// Within a database, whose own settings might forbid all writes.
const PINNED_WITHIN: &str = " -c default_transaction_read_only=off -c statement_timeout=10min";
/// The name of the authorities that come with the image.
const PLATFORM: &str = "the authorities of the image";

/// Why it isn't known how to connect.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    #[error("there is no Secret {name} in namespace {namespace}; create it (spec.credentials of the PgServer)")]
    Missing { namespace: String, name: String },
    #[error("the Secret {name} has no key {key}, or one that is no text")]
    NoKey { name: String, key: String },
    #[error("the Secret {name} can't be read")]
    Unreadable {
        name: String,
        #[source]
        source: RequestError,
    },
    #[error("{PLATFORM} can't be read: {0}")]
    Platform(String),
}

/// How to connect to a server's maintenance, as its own database says. Secrets are read in the namespace of the installation alone,
/// where no tenant writes.
pub(super) async fn target(client: &Client, namespace: &str, server: &PgServer) -> Result<Target, CredentialsError> {
    let secrets = Secrets { api: Api::namespaced(client.clone(), namespace), namespace };
    let spec = &server.spec;
    let credentials = secrets.read(&spec.credentials.name).await?;
    let text = |key: &str| text(&credentials, &spec.credentials.name, key);
    let identity = match (text("tls.crt"), text("tls.key")) {
        (Ok(certificate), Ok(key)) => {
            let held =
                |key: &str, pem: String| Material::Held { from: format!("{key} of the Secret {}", spec.credentials.name), pem: pem.into() };
            Some((held("tls.crt", certificate), held("tls.key", key)))
        }
        _ => None,
    };
    // With a certificate there need not be a password.
    let password = match (text(&spec.credentials.password_key), &identity) {
        (Err(_), Some(_)) => None,
        (password, _) => Some(SecretString::from(password?)),
    };
    let mode = match spec.tls.mode {
        Mode::Disable => TlsMode::Disable,
        Mode::Require => TlsMode::Require,
        Mode::VerifyCa => TlsMode::VerifyCa,
        Mode::VerifyFull => TlsMode::VerifyFull,
    };
    let root_certificates = match &spec.tls.ca {
        Some(ca) => {
            let pem = self::text(&secrets.read(&ca.name).await?, &ca.name, &ca.key)?.into();
            Some(Material::Held { from: format!("{} of the Secret {}", ca.key, ca.name), pem })
        }
        None if matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyFull) => Some(platform_authorities()?),
        None => None,
    };
    Ok(Target {
        host: spec.host.clone(),
        port: spec.port,
        database: spec.database.clone(),
        user: text(&spec.credentials.username_key)?,
        password,
        tls: Tls { mode, root_certificates, identity },
        options: Some(PINNED.to_owned()),
    })
}

/// The same server, in another database.
pub(super) fn within(target: &Target, database: &str) -> Target {
    Target { database: database.to_owned(), options: Some(format!("{PINNED}{PINNED_WITHIN}")), ..target.clone() }
}

struct Secrets<'a> {
    api: Api<Secret>,
    namespace: &'a str,
}

impl Secrets<'_> {
    async fn read(&self, name: &str) -> Result<Secret, CredentialsError> {
        let read = request::within(READ_DEADLINE, self.api.get_opt(name)).await;
        read.map_err(|source| CredentialsError::Unreadable { name: name.to_owned(), source })?
            .ok_or_else(|| CredentialsError::Missing { namespace: self.namespace.to_owned(), name: name.to_owned() })
    }
}

/// A value, without the line end that a shell leaves behind it.
fn text(secret: &Secret, name: &str, key: &str) -> Result<String, CredentialsError> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.clone());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map(|text| text.trim_end_matches(['\n', '\r']).to_owned());
    text.filter(|text| !text.is_empty()).ok_or_else(|| CredentialsError::NoKey { name: name.to_owned(), key: key.to_owned() })
}

fn platform_authorities() -> Result<Material, CredentialsError> {
    let loaded = rustls_native_certs::load_native_certs();
    if loaded.certs.is_empty() {
        let why = loaded.errors.first().map_or_else(|| "there are none".to_owned(), ToString::to_string);
        return Err(CredentialsError::Platform(why));
    }
    let pem = loaded.certs.iter().map(|certificate| pem::encode(&pem::Pem::new("CERTIFICATE", certificate.as_ref()))).collect::<String>();
    Ok(Material::Held { from: PLATFORM.to_owned(), pem: pem.into_bytes() })
}
