//! `PgServer`: a PostgreSQL server, how to reach it, and who may have databases there.
#![allow(clippy::doc_markdown, reason = "these comments are what kubectl explain prints: plain text")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    finding::Finding,
    metadata::Metadata,
    pattern,
    pg_database::{AdoptionPolicy, DriftPolicy, ReclaimPolicy},
    rule::{Rule, has, text},
    schema,
};

/// A PostgreSQL server, how to reach it, and who may have databases there.
///
/// It is cluster-scoped: credentials are only ever sent to the address written here, so only those who administer the cluster
/// decide where they go.
#[allow(clippy::duplicated_attributes, reason = "columns share types and priorities")]
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "outrigger.dev",
    version = "v1alpha1",
    kind = "PgServer",
    plural = "pgservers",
    shortname = "pgs",
    category = "outrigger",
    status = "PgServerStatus",
    derive = "PartialEq",
    doc = "A PostgreSQL server, how to reach it, and which namespaces may have databases there.",
    printcolumn(name = "Host", type_ = "string", json_path = ".spec.host"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Reachable", type_ = "string", json_path = ".status.conditions[?(@.type=='Reachable')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Reachable')].reason", priority = 1),
    printcolumn(name = "Databases", type_ = "integer", json_path = ".status.databases"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct PgServerSpec {
    /// The server's DNS name or IP address, without a port. PgBouncer must not stand in between: managing databases needs
    /// sessions of its own.
    #[schemars(schema_with = "schema::host")]
    pub host: String,
    /// The TCP port.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The database to connect to for work on the server itself.
    #[serde(default = "default_database")]
    #[schemars(schema_with = "schema::postgres_name")]
    pub database: String,
    /// The Secret with the name of the role that does the work, and its password or a client certificate (tls.crt and tls.key).
    /// The role needs CREATEDB, and CREATEROLE where databases ask for their owner to be created; it need not be a superuser.
    pub credentials: CredentialsReference,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: Tls,
    /// Who may have databases here. Without an entry nobody may. A PgDatabase is accepted if one entry fits all it asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub allow: Vec<Allowance>,
    /// What holds for a PgDatabase that doesn't say it itself.
    #[serde(default)]
    pub defaults: PolicyDefaults,
}

fn default_port() -> u16 {
    5432
}

fn default_database() -> String {
    "postgres".to_owned()
}

/// Where a name and a password are.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsReference {
    /// The Secret's name. It is in the namespace that Outrigger is installed in, where no tenant writes.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// The key that holds the role's name.
    #[serde(default = "default_username_key")]
    #[schemars(schema_with = "schema::data_key")]
    pub username_key: String,
    /// The key that holds the password.
    #[serde(default = "default_password_key")]
    #[schemars(schema_with = "schema::data_key")]
    pub password_key: String,
}

fn default_username_key() -> String {
    "username".to_owned()
}

fn default_password_key() -> String {
    "password".to_owned()
}

/// How the connection is protected.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = TLS_RULES))]
pub struct Tls {
    /// VerifyFull: encrypted, and the certificate must be valid and bear the host's name. VerifyCA: the name doesn't matter.
    /// Require: encrypted, but anybody could answer, and ask for the password in clear. Disable: so could anybody on the way.
    #[serde(default)]
    pub mode: TlsMode,
    /// The Secret with the authority that signed the server's certificate. Without it, the authorities of the image are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaReference>,
}

/// `sslmode` of libpq, in the words of this API.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Not encrypted.
    Disable,
    /// Encrypted; the certificate isn't looked at.
    Require,
    /// Encrypted; the certificate must be signed by a trusted authority.
    #[serde(rename = "VerifyCA")]
    VerifyCa,
    /// Encrypted; the certificate must be signed by a trusted authority for this host.
    #[default]
    VerifyFull,
}

/// Where the certificate of an authority is.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CaReference {
    /// The Secret's name, in the namespace that Outrigger is installed in.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// The key that holds the PEM certificates.
    #[serde(default = "default_ca_key")]
    #[schemars(schema_with = "schema::data_key")]
    pub key: String,
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}

/// An entry of consent. In every pattern `*` stands for any text.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Allowance {
    /// Patterns of the namespaces whose PgDatabases are accepted, such as `team-*`.
    #[schemars(schema_with = "schema::name_patterns", extend("minItems" = 1))]
    pub namespaces: Vec<String>,
    /// Patterns of the names their databases may have.
    #[serde(default = "anything")]
    #[schemars(schema_with = "schema::name_patterns")]
    pub databases: Vec<String>,
    /// Patterns of the roles that may own them. Be narrow where roles have rights of their own.
    #[serde(default = "anything")]
    #[schemars(schema_with = "schema::name_patterns")]
    pub owners: Vec<String>,
    /// Patterns of the extensions that are installed with the rights of the credentials. Those that PostgreSQL calls trusted
    /// are always allowed: an owner could install them too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::name_patterns")]
    pub extensions: Vec<String>,
    /// Patterns of the databases that may be copied, beside template0 and template1: a copy holds all that the template does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::name_patterns")]
    pub templates: Vec<String>,
    /// Patterns of the tablespaces that may be named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::name_patterns")]
    pub tablespaces: Vec<String>,
    /// Patterns of the roles that may be given privileges on the database and its schemas, or own a schema.
    #[serde(default = "anything")]
    #[schemars(schema_with = "schema::name_patterns")]
    pub grantees: Vec<String>,
    /// How far a PgDatabase may go when it is deleted: Retain (it may not drop the database) or Delete.
    #[serde(default = "may_delete")]
    pub reclaim: ReclaimPolicy,
    /// Patterns of the parameters that may be set beyond those every user may set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::name_patterns")]
    pub parameters: Vec<String>,
    /// How far a PgDatabase may go to take over a database that exists: Never, IfUnclaimed (no other object has marked it) or
    /// Force.
    #[serde(default)]
    pub adoption: AdoptionPolicy,
}

fn anything() -> Vec<String> {
    vec!["*".to_owned()]
}

fn may_delete() -> ReclaimPolicy {
    ReclaimPolicy::Delete
}

/// What holds for a `PgDatabase` that doesn't say it itself.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PolicyDefaults {
    /// What becomes of a database whose PgDatabase is deleted: Retain or Delete.
    #[serde(default)]
    pub reclaim_policy: ReclaimPolicy,
    /// Whether a database that exists is taken over: Never, IfUnclaimed or Force.
    #[serde(default)]
    pub adoption_policy: AdoptionPolicy,
    /// What is done about changes made by hand: Observe reports them, Correct undoes them.
    #[serde(default)]
    pub drift_policy: DriftPolicy,
}

/// What is known about the server.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PgServerStatus {
    /// The metadata.generation this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Reachable: the server answers to the credentials. Ready: databases can be managed there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The server's version, such as 17.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// Whether it is a replica, where nothing can be created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_recovery: Option<bool>,
    /// How many PgDatabases have a database here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub databases: Option<i32>,
    /// The roles that can own databases, so that an absent owner is told at once. Left out where there are more than 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), inner(length(max = 63)))]
    pub roles: Option<Vec<String>>,
}

/// All rules of this kind's objects.
pub(crate) const RULES: &[&[Rule]] = &[&TLS_RULES];

const TLS_RULES: [Rule; 1] = [Rule::new(
    "!has(self.ca) || self.mode in ['VerifyCA', 'VerifyFull']",
    "ca is only looked at when the certificate is verified; set mode to VerifyFull or VerifyCA, or take ca away",
    |tls| !has(tls, "ca") || text(tls, "mode").is_none_or(|mode| mode.starts_with("Verify")),
)
.at(".ca")];

/// What the other validators must know of a server. Read it from an object with [`Server::from_json`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// `metadata.name`.
    pub name: String,
    /// `spec.allow`.
    pub allow: Vec<Allowance>,
    /// `spec.defaults`.
    pub defaults: PolicyDefaults,
    /// `status.roles`; none if they aren't known.
    pub roles: Option<Vec<String>>,
    /// The major part of `status.version`; none if it isn't known.
    pub major_version: Option<u32>,
}

impl Server {
    /// Reads what is needed, and tolerates what isn't known here.
    pub fn from_json(object: &[u8]) -> Result<Self, Finding> {
        let stored: Stored = serde_json::from_slice(object).map_err(|e| Finding::at("", format!("is no PgServer: {e}")))?;
        Ok(stored.into())
    }

    /// The entries of consent that are for a namespace.
    pub fn allowances<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Allowance> {
        self.allow.iter().filter(move |allowance| pattern::any_matches(&allowance.namespaces, namespace))
    }
}

impl From<&PgServer> for Server {
    fn from(object: &PgServer) -> Self {
        let status = object.status.clone().unwrap_or_default();
        Self {
            name: object.metadata.name.clone().unwrap_or_default(),
            allow: object.spec.allow.clone(),
            defaults: object.spec.defaults.clone(),
            major_version: status.version.as_deref().and_then(major_version),
            roles: status.roles,
        }
    }
}

#[derive(Deserialize)]
struct Stored {
    metadata: Metadata,
    spec: StoredSpec,
    #[serde(default)]
    status: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredSpec {
    #[serde(default)]
    allow: Vec<Allowance>,
    #[serde(default)]
    defaults: PolicyDefaults,
}

impl From<Stored> for Server {
    fn from(stored: Stored) -> Self {
        // A status that can't be read is as good as none: it only ever adds warnings.
        let status: PgServerStatus = stored.status.and_then(|status| serde_json::from_value(status).ok()).unwrap_or_default();
        Self {
            name: stored.metadata.name,
            allow: stored.spec.allow,
            defaults: stored.spec.defaults,
            major_version: status.version.as_deref().and_then(major_version),
            roles: status.roles,
        }
    }
}

/// `17` of `17.2 (Debian 17.2-1)`.
fn major_version(version: &str) -> Option<u32> {
    version.split(|c: char| !c.is_ascii_digit()).next().and_then(|major| major.parse().ok())
}
