//! `PgDatabase`: one database on a [`PgServer`](super::pg_server::PgServer). What needs other objects is in [`claim`].
#![allow(clippy::doc_markdown, reason = "these comments are what kubectl explain prints: plain text")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

pub mod claim;
mod rules;

pub(crate) use rules::RULES;

/// One database on a PgServer.
#[allow(clippy::duplicated_attributes, reason = "columns share types and priorities")]
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "outrigger.dev",
    version = "v1alpha1",
    kind = "PgDatabase",
    plural = "pgdatabases",
    shortname = "pgdb",
    category = "outrigger",
    namespaced,
    status = "PgDatabaseStatus",
    derive = "PartialEq",
    doc = "One database on a PgServer, with its owner, its extensions and schemas, and the Secret its users connect with.",
    validation = rules::NAME_IS_KEPT,
    validation = rules::NAME_FITS,
    validation = rules::NAME_IS_NOT_RESERVED,
    validation = rules::TEMPLATE_IS_ANOTHER,
    selectable = ".spec.server",
    selectable = ".spec.name",
    printcolumn(name = "Server", type_ = "string", json_path = ".spec.server"),
    printcolumn(name = "Database", type_ = "string", json_path = ".status.database"),
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner.name", priority = 1),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Drifted", type_ = "string", json_path = ".status.conditions[?(@.type=='Drifted')].status", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::SPEC))]
pub struct PgDatabaseSpec {
    /// The name of the PgServer. It never changes.
    #[schemars(schema_with = "schema::object_name")]
    pub server: String,
    /// The database's name in PostgreSQL, exactly as written: upper case, dashes and spaces are kept. At most 63 bytes. Left out:
    /// metadata.name. It never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::database_name")]
    pub name: Option<String>,
    /// Present: the database is made and kept as written here. Absent: it is dropped, if it is ours.
    #[serde(default)]
    pub ensure: Ensure,
    /// The role that owns the database. Without it, the role that made the database is left as the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// What CREATE DATABASE alone can decide. None of it ever changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation: Option<Creation>,
    /// The default tablespace. A change moves all files, and waits until nobody is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::postgres_name")]
    pub tablespace: Option<String>,
    /// How many connections there may be at a time; -1 means any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1, max = 2_147_483_647))]
    pub connection_limit: Option<i32>,
    /// Whether anybody can connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_connections: Option<bool>,
    /// Whether every role with CREATEDB may copy the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_template: Option<bool>,
    /// Parameters that every new connection to the database starts with (ALTER DATABASE SET), such as `work_mem: 64MB`. One
    /// that was set here and is taken away is reset. Those that users can't set themselves need the server's consent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "rules::parameters")]
    pub parameters: BTreeMap<String, String>,
    /// Schemas of the database. Others are left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub schemas: Vec<PgSchema>,
    /// Extensions of the database. Others are left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub extensions: Vec<Extension>,
    /// What everybody (PUBLIC) may do with the database. Left out: as it is. An empty list: nothing, so that only roles with
    /// a privilege of their own can connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub public_privileges: Option<Vec<Privilege>>,
    /// What single roles may do with the database: exactly what is written, for the roles that are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["role"]))]
    pub privileges: Vec<RolePrivileges>,
    /// Retain: deleting this object leaves the database as it is. Delete: it is dropped, if it is ours. Left out: as the
    /// PgServer says, which is Retain if it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ReclaimPolicy")]
    pub reclaim_policy: Option<ReclaimPolicy>,
    /// How the database is dropped, when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<DropOptions>,
    /// Whether a database that exists already is taken over: Never, IfUnclaimed (if no other object has marked it) or Force.
    /// Left out: as the PgServer says, which is Never if it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "AdoptionPolicy")]
    pub adoption_policy: Option<AdoptionPolicy>,
    /// Observe: changes made by hand are reported in the condition Drifted. Correct: they are undone. Left out: as the PgServer
    /// says, which is Observe if it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DriftPolicy")]
    pub drift_policy: Option<DriftPolicy>,
    /// A Secret in this namespace that is written with all it takes to connect as the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_secret: Option<ConnectionSecret>,
}

impl PgDatabase {
    /// The database's name in PostgreSQL: `spec.name`, or else `metadata.name`.
    #[must_use]
    pub fn database(&self) -> &str {
        database_name(self.spec.name.as_deref(), self.metadata.name.as_deref().unwrap_or_default())
    }
}

/// The name of the database of an object whose spec and metadata have these names.
fn database_name<'a>(in_spec: Option<&'a str>, in_metadata: &'a str) -> &'a str {
    in_spec.unwrap_or(in_metadata)
}

/// Whether something is to be there.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ensure {
    /// Made and kept.
    #[default]
    Present,
    /// Dropped.
    Absent,
}

/// The role that owns the database.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The role's name in PostgreSQL, exactly as written.
    #[schemars(schema_with = "schema::role_name")]
    pub name: String,
    /// Whether the role is created if it is missing, with LOGIN and a generated password. Without it, the role must exist.
    #[serde(default)]
    pub create: bool,
}

/// What `CREATE DATABASE` alone can decide.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::CREATION))]
pub struct Creation {
    /// The database that is copied. Left out: template0, which is clean and never busy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::postgres_name")]
    pub template: Option<String>,
    /// WAL_LOG: block by block through the log, without a checkpoint. FILE_COPY: file by file, quicker for a large template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Strategy")]
    pub strategy: Option<Strategy>,
    /// The character set, such as UTF8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-validations" = rules::ENCODING))]
    pub encoding: Option<String>,
    /// Who sorts: libc, icu, or builtin (PostgreSQL 17 and newer).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LocaleProvider")]
    pub locale_provider: Option<LocaleProvider>,
    /// The locale for collation and character classification, such as C.UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::locale")]
    pub locale: Option<String>,
    /// LC_COLLATE, where it differs from the locale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::locale")]
    pub locale_collate: Option<String>,
    /// LC_CTYPE, where it differs from the locale.
    #[serde(default, rename = "localeCType", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::locale")]
    pub locale_ctype: Option<String>,
    /// The ICU locale, such as de-u-co-phonebk. Needs localeProvider icu.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::locale")]
    pub icu_locale: Option<String>,
    /// Rules that are added to those of the ICU locale. Needs localeProvider icu and PostgreSQL 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub icu_rules: Option<String>,
    /// The builtin locale: C, C.UTF-8 or PG_UNICODE_FAST (PostgreSQL 18). Needs localeProvider builtin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::locale")]
    pub builtin_locale: Option<String>,
    /// The collation version that is recorded. Only for a database restored from another machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub collation_version: Option<String>,
}

/// How a template is copied, in the words of `CREATE DATABASE`.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Strategy {
    /// Block by block through the write-ahead log.
    WalLog,
    /// File by file, between two checkpoints.
    FileCopy,
}

/// Who sorts, in the words of `CREATE DATABASE`.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LocaleProvider {
    /// The operating system's C library.
    Libc,
    /// The ICU library.
    Icu,
    /// PostgreSQL itself.
    Builtin,
}

/// A schema of the database.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PgSchema {
    /// The schema's name.
    #[schemars(schema_with = "rules::schema_name")]
    pub name: String,
    /// The role that owns it. Left out: the database's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::role_name")]
    pub owner: Option<String>,
    /// Present, or Absent: it is dropped if it is empty.
    #[serde(default)]
    pub ensure: Ensure,
    /// What single roles may do with the schema: exactly what is written, for the roles that are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["role"]))]
    pub privileges: Vec<SchemaPrivileges>,
}

/// A privilege on a schema.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SchemaPrivilege {
    /// Use the objects in it.
    Usage,
    /// Create objects in it.
    Create,
}

/// What a role may do with a schema.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SchemaPrivileges {
    /// The role.
    #[schemars(schema_with = "schema::role_name")]
    pub role: String,
    /// Usage, Create. An empty list takes both away.
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub privileges: Vec<SchemaPrivilege>,
}

/// An extension of the database.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::EXTENSION))]
pub struct Extension {
    /// The extension's name, as in pg_available_extensions.
    #[schemars(schema_with = "schema::postgres_name")]
    pub name: String,
    /// The version. Left out: the newest at the time it is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub version: Option<String>,
    /// The schema its objects live in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::postgres_name")]
    pub schema: Option<String>,
    /// Present, or Absent: it is dropped if nothing depends on it.
    #[serde(default)]
    pub ensure: Ensure,
}

/// A privilege on the database.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// Connect to it.
    Connect,
    /// Create schemas in it.
    Create,
    /// Create temporary tables in it.
    Temporary,
}

/// What a role may do with the database.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RolePrivileges {
    /// The role. For everybody there is publicPrivileges.
    #[schemars(schema_with = "schema::role_name")]
    pub role: String,
    /// Connect, Create, Temporary. An empty list takes all of them away.
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub privileges: Vec<Privilege>,
}

/// What becomes of the database when its object is deleted. A later word includes the earlier one.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReclaimPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It is dropped, if it bears our mark.
    Delete,
}

/// How the database is dropped.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DropOptions {
    /// Whether connections are ended (WITH FORCE). Without it, the drop waits until nobody is connected.
    #[serde(default)]
    pub force: bool,
    /// How long the database is kept, closed to connections, before it is dropped, such as 72h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub grace_period: Option<String>,
}

/// Whether a database that exists is taken over. A later word includes the earlier ones.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdoptionPolicy {
    /// It isn't touched.
    #[default]
    Never,
    /// If no other object has marked it.
    IfUnclaimed,
    /// In any case.
    Force,
}

/// What is done about changes made by hand.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DriftPolicy {
    /// They are reported.
    #[default]
    Observe,
    /// They are undone.
    Correct,
}

/// The Secret its users connect with.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionSecret {
    /// The Secret's name. It gets the keys username, user, password, host, port, dbname, uri, jdbc-uri and pgpass.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// The host to write, such as a pooler's Service. Left out: the PgServer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::host")]
    pub host: Option<String>,
    /// The port to write. Left out: the PgServer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// The password is changed when it is so old, such as 720h. Left out: it stays. To change it now, delete the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub rotate_after: Option<String>,
    /// Labels for the Secret, so that a UserList can select it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub labels: BTreeMap<String, String>,
}

/// What is known about the database.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PgDatabaseStatus {
    /// The metadata.generation this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: as written in the spec. Claimed: the database bears this object's mark. Drifted: it was changed by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The metadata.generation that was last applied as a whole to the database of this OID. What differs from it was changed by
    /// others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_generation: Option<i64>,
    /// Pending, Ready, Failed or Deleting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Phase")]
    pub phase: Option<Phase>,
    /// The database's name in PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub database: Option<String>,
    /// The database's OID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oid: Option<i64>,
    /// Fields of the spec from which the database differs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 512)))]
    pub drift: Vec<String>,
    /// What holds a drop up: sessions, replication slots, prepared transactions, subscriptions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 512)))]
    pub blockers: Vec<String>,
    /// When the database is dropped, once its grace period runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub drop_after: Option<Time>,
    /// Parameters that we have set, so that one that is taken away from the spec is reset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 128)))]
    pub parameters: Vec<String>,
}

/// Where the database is in its life.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not yet as written.
    Pending,
    /// As written.
    Ready,
    /// An error that waiting doesn't solve.
    Failed,
    /// Waiting for its grace period or being dropped.
    Deleting,
}
