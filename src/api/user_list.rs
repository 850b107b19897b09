//! `UserList`: the users of `PgBouncer` instances, gathered from Secrets.
#![allow(clippy::doc_markdown, reason = "these comments are what kubectl explain prints: plain text")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    rule::{Rule, has, text},
    schema,
    selector::LabelSelector,
};

/// Annotation of a source Secret: the other namespaces whose `UserList`s may read it, separated by commas.
pub const NAMESPACES_ANNOTATION: &str = "outrigger.dev/userlist-namespaces";
/// Annotation of a written Secret, and of the pod templates that are restarted for it: the keyed digest of its list.
pub const DIGEST_ANNOTATION: &str = "outrigger.dev/userlist-digest";
/// Annotation of the pod templates that are restarted for a list: the uid of its `UserList`.
pub const LIST_ANNOTATION: &str = "outrigger.dev/userlist-uid";
/// Annotation of the pod templates that are restarted for a list: when that was, by the controllers' clock (RFC 3339).
pub const RESTARTED_ANNOTATION: &str = "outrigger.dev/userlist-restarted-at";
/// Key of a written Secret: the removed users whose sessions are to end, one on each line.
pub const REMOVED_USERS_KEY: &str = "outrigger.removed-users";
/// Annotation of a pooler's pod: the port at which its agent says which list is live.
pub const AGENT_ANNOTATION: &str = "outrigger.dev/userlist-agent";
/// What keys of our own in the written Secret begin with.
pub const RESERVED_KEYS: &str = "outrigger.";

/// The users of PgBouncer instances, gathered from Secrets.
#[allow(clippy::duplicated_attributes, reason = "columns share types and priorities")]
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "outrigger.dev",
    version = "v1alpha1",
    kind = "UserList",
    plural = "userlists",
    shortname = "ul",
    category = "outrigger",
    namespaced,
    status = "UserListStatus",
    derive = "PartialEq",
    doc = "The users of PgBouncer instances: gathered from labelled Secrets, written as a userlist.txt, and made known to the poolers.",
    printcolumn(name = "Users", type_ = "integer", json_path = ".status.users"),
    printcolumn(name = "Skipped", type_ = "integer", json_path = ".status.skippedSecrets"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.output.name"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Applied", type_ = "string", json_path = ".status.conditions[?(@.type=='Applied')].status", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = SPEC))]
pub struct UserListSpec {
    /// The Secrets that hold a user each, by their labels.
    pub selector: LabelSelector,
    /// The namespaces to look for Secrets in. Left out: this one. A Secret elsewhere is only taken if its annotation
    /// `outrigger.dev/userlist-namespaces` names this namespace: its owner decides who may read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub namespaces: Vec<String>,
    /// The keys under which a Secret holds the name and the password. The first one that is there counts.
    #[serde(default)]
    pub keys: SecretKeys,
    /// Users beside the selected ones, from one Secret of this namespace. For a name that both have, this one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_users: Option<ExtraUsers>,
    /// The Secret that is written.
    pub output: OutputSecret,
    /// How passwords are stored. AsGiven: as the Secrets have them. Verifier: as SCRAM verifiers, each the same as that of the server's
    /// role, where one is known and does for signing in; whose is not stays in plain text, and the status says why.
    #[serde(default)]
    pub stored_form: StoredForm,
    /// The poolers' auth_type, in PgBouncer's words, by which it is told what a hash in a Secret can do. Left out: hashes are taken as
    /// they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_type: Option<AuthType>,
    /// Users as whom PgBouncer signs in to servers by itself: `user` and `auth_user` of its databases. They need their password in plain text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub forced_users: Vec<String>,
    /// The user of PgBouncer's console, and a Secret that is written for those who need its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// A list with fewer users isn't written: what is missing is more likely a mistake than a wish.
    #[serde(default = "default_minimum_users")]
    #[schemars(range(min = 0, max = 20000))]
    pub minimum_users: u32,
    /// The poolers in this namespace that use the list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub poolers: Vec<Pooler>,
    /// How poolers learn of a change. Auto: RELOAD through the console where admin is given, and a rolling restart where that
    /// isn't enough. Reload: RELOAD only. Restart: a rolling restart, if the list has changed. None: nothing.
    #[serde(default)]
    pub reload_policy: ReloadPolicy,
    /// A user of ours that is added to the list, with a password that changes with it. After a RELOAD we sign in with it to a
    /// database of its name, and PgBouncer takes the password only where the newest list is live. Left out: a pooler without an agent counts as up to date
    /// when it was told to RELOAD after the kubelet had two minutes to renew its files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::role_name")]
    pub probe_user: Option<String>,
    /// Users whom only Secrets of this namespace may give, as is so for the console's user: those who may read PgBouncer's statistics,
    /// for instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 127)), extend("x-kubernetes-list-type" = "set"))]
    pub reserved_users: Vec<String>,
}

fn default_minimum_users() -> u32 {
    1
}

/// Where a Secret holds a user.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeys {
    /// Keys of the name.
    #[serde(default = "default_username_keys")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 253)))]
    pub username: Vec<String>,
    /// Keys of the password.
    #[serde(default = "default_password_keys")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 253)))]
    pub password: Vec<String>,
    /// Keys of the role's SCRAM verifier on the server, for storedForm Verifier. It is used if it fits the password.
    #[serde(default = "default_verifier_keys")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)))]
    pub verifier: Vec<String>,
}

impl Default for SecretKeys {
    fn default() -> Self {
        Self { username: default_username_keys(), password: default_password_keys(), verifier: default_verifier_keys() }
    }
}

fn default_username_keys() -> Vec<String> {
    vec!["username".to_owned(), "user".to_owned()]
}

fn default_password_keys() -> Vec<String> {
    vec!["password".to_owned()]
}

fn default_verifier_keys() -> Vec<String> {
    vec!["verifier".to_owned()]
}

/// A Secret with any number of users.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExtraUsers {
    /// The Secret's name.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// The key of the users: lines as in userlist.txt, "name" "password". A line that can't be read is left out alone.
    #[serde(default = "default_output_key")]
    #[schemars(schema_with = "schema::data_key")]
    pub key: String,
}

/// The Secret with the list.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = OUTPUT))]
pub struct OutputSecret {
    /// The Secret's name. A Secret that exists and isn't ours is left alone.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// The key of the list.
    #[serde(default = "default_output_key")]
    #[schemars(schema_with = "schema::data_key")]
    pub key: String,
}

fn default_output_key() -> String {
    "userlist.txt".to_owned()
}

/// How passwords are stored in the list.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StoredForm {
    /// As the Secret has them: plain, md5 or SCRAM.
    #[default]
    AsGiven,
    /// As the SCRAM verifier of the server's role.
    Verifier,
}

/// How clients prove to `PgBouncer` who they are (`auth_type` of its manual).
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum AuthType {
    /// They need not be in the list.
    Any,
    /// By a certificate.
    Cert,
    /// As rules say.
    Hba,
    /// By MD5, or by SCRAM where the list has a verifier.
    Md5,
    /// By PAM.
    Pam,
    /// By the password in clear.
    Plain,
    /// By SCRAM.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// Not at all.
    Trust,
}

impl AuthType {
    /// Whether whoever is named in a list is let in without a look at the password that it has, or may be by the rules that decide.
    pub(crate) fn admits_by_name(self) -> bool {
        matches!(self, Self::Cert | Self::Hba | Self::Trust)
    }

    /// Whether only the password that a list has lets its user in.
    pub(crate) fn asks_for_passwords(self) -> bool {
        matches!(self, Self::Md5 | Self::Plain | Self::ScramSha256)
    }
}

/// The user of `PgBouncer`'s console.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Admin {
    /// The user's name; one of the selected Secrets must be theirs.
    #[serde(default = "default_admin_user")]
    #[schemars(schema_with = "schema::role_name")]
    pub user: String,
    /// The console's port: PgBouncer's listen_port.
    #[serde(default = "default_console_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The Secret that is written with the name and the password, for an exporter. Left out: none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<AdminSecret>,
}

fn default_admin_user() -> String {
    "pgbouncer".to_owned()
}

fn default_console_port() -> u16 {
    6432
}

/// The Secret with the console's user.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AdminSecret {
    /// The Secret's name.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// The key of the name.
    #[serde(default = "default_admin_user_key")]
    #[schemars(schema_with = "schema::data_key")]
    pub username_key: String,
    /// The key of the password.
    #[serde(default = "default_admin_password_key")]
    #[schemars(schema_with = "schema::data_key")]
    pub password_key: String,
}

fn default_admin_user_key() -> String {
    "adminUser".to_owned()
}

fn default_admin_password_key() -> String {
    "adminPassword".to_owned()
}

/// A workload that runs `PgBouncer`, or several.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = POOLER))]
pub struct Pooler {
    /// Deployment, StatefulSet or DaemonSet.
    #[serde(default)]
    pub kind: WorkloadKind,
    /// The workload's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub name: Option<String>,
    /// All workloads with these labels, instead of a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Workloads that can be restarted by rolling.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    #[default]
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `apps/v1` DaemonSet.
    DaemonSet,
}

/// How poolers learn of a change.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReloadPolicy {
    /// By RELOAD where it is enough and possible, else by a restart.
    #[default]
    Auto,
    /// By RELOAD.
    Reload,
    /// By a rolling restart.
    Restart,
    /// Not by us.
    None,
}

/// What is known about the list.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UserListStatus {
    /// The metadata.generation this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: the list is written. Applied: every pooler uses it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// How many users the list has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<i32>,
    /// How many Secrets were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_secrets: Option<i32>,
    /// The first of the Secrets that were left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub skipped: Vec<SkippedSecret>,
    /// A keyed digest of the list, equal to the one each pooler reports once it uses the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub digest: Option<String>,
    /// How far each pooler is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub poolers: Vec<PoolerStatus>,
}

/// A Secret that was left out.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SkippedSecret {
    /// Its namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Why, without its content.
    #[schemars(length(max = 512))]
    pub reason: String,
}

/// How far a pooler is.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PoolerStatus {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// How many pods it has.
    pub pods: i32,
    /// How many of them use the newest list.
    pub applied_pods: i32,
    /// What holds the others up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
    /// Which list each pod is known to use; the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub digests: Vec<PodDigest>,
}

/// Which list a pod uses.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodDigest {
    /// The pod's name.
    #[schemars(length(max = 253))]
    pub pod: String,
    /// The list's digest. Left out: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub digest: Option<String>,
}

/// All rules of this kind's objects.
pub(crate) const RULES: &[&[Rule]] = &[&SPEC, &OUTPUT, &POOLER];

const SPEC: [Rule; 3] = [
    Rule::new(
        "self.reloadPolicy != 'Reload' || has(self.admin)",
        "RELOAD is a command of the console, which needs its user; write admin, or set reloadPolicy: Restart",
        |spec| text(spec, "reloadPolicy") != Some("Reload") || has(spec, "admin"),
    )
    .at(".reloadPolicy"),
    Rule::new(
        "!has(self.admin) || !has(self.admin.secret) || self.admin.secret.name != self.output.name",
        "the console's password and the list need a Secret each; choose another name",
        |spec| {
            let name = |pointer| spec.pointer(pointer).and_then(serde_json::Value::as_str);
            name("/admin/secret/name").is_none_or(|admin| name("/output/name") != Some(admin))
        },
    )
    .at(".admin.secret.name"),
    Rule::new(
        "!has(self.probeUser) || !has(self.admin) || self.probeUser != self.admin.user",
        "the probe's user gets a password of ours, so the console's user can't be it; choose another name",
        |spec| text(spec, "probeUser").is_none_or(|probe| spec.pointer("/admin/user").and_then(serde_json::Value::as_str) != Some(probe)),
    )
    .at(".probeUser"),
];

const OUTPUT: [Rule; 1] =
    [Rule::new("!self.key.startsWith('outrigger.')", "keys that begin with outrigger. are our own; choose another one", |output| {
        text(output, "key").is_none_or(|key| !key.starts_with(RESERVED_KEYS))
    })
    .at(".key")];

const POOLER: [Rule; 1] =
    [Rule::new("has(self.name) != has(self.selector)", "a pooler is chosen by its name or by a selector; write one of them", |pooler| {
        has(pooler, "name") != has(pooler, "selector")
    })];
