//! `Session`: one person's desktop. What needs other objects is in [`usage`].
#![allow(clippy::doc_markdown, reason = "these comments are what kubectl explain prints: plain text")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    container::{Resources, Variable},
    rule::{Rule, items, text},
    schema,
};

pub mod usage;

/// One person's desktop.
#[allow(clippy::duplicated_attributes, reason = "columns share types and priorities")]
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[kube(
    group = "outrigger.dev",
    version = "v1alpha1",
    kind = "Session",
    plural = "sessions",
    shortname = "sess",
    category = "outrigger",
    namespaced,
    status = "SessionStatus",
    derive = "PartialEq",
    doc = "One person's desktop: a pod made from a SessionTemplate, reached through the gateway.",
    validation = NAME_FITS_A_LABEL,
    selectable = ".spec.template",
    selectable = ".spec.user",
    printcolumn(name = "Template", type_ = "string", json_path = ".spec.template"),
    printcolumn(name = "User", type_ = "string", json_path = ".spec.user"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Expires", type_ = "date", json_path = ".status.expiresAt", priority = 1),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = SPEC))]
pub struct SessionSpec {
    /// The SessionTemplate in this namespace. It never changes.
    #[schemars(schema_with = "schema::object_name")]
    pub template: String,
    /// Whose session it is: the name by which the gateway knows them. It never changes.
    #[schemars(schema_with = "schema::user")]
    pub user: String,
    /// Running, Suspended (the pod goes, the home stays) or Stopped (both go). A session can be started again from both.
    #[serde(default)]
    pub desired_state: DesiredState,
    /// Width and height in pixels at the start. Left out: as the template says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::geometry")]
    pub geometry: Option<String>,
    /// Environment variables for the application, beside the template's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<Variable>,
    /// What the application needs and may use, instead of what the template says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// After how long without use the session is ended; 0s means never. Left out: as the template says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub idle_timeout: Option<String>,
    /// After how long the session is ended in any case. Left out: as the template says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub max_lifetime: Option<String>,
    /// How many seconds the session is kept to be looked at once it is finished. Left out: as the template says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// With whom the session is shared. Taking an entry away cuts their connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["user"]))]
    pub sharing: Vec<Share>,
}

/// What a session is to be.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DesiredState {
    /// With a pod.
    #[default]
    Running,
    /// Without a pod, with its home.
    Suspended,
    /// Without either.
    Stopped,
}

/// Somebody with whom a session is shared.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// Who.
    #[schemars(schema_with = "schema::user")]
    pub user: String,
    /// View: to look. Control: to use keys and the pointer as well.
    #[serde(default)]
    pub role: ShareRole,
    /// Until when. Left out: as long as the session lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub expires_at: Option<Time>,
}

/// What somebody may do in another one's session.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ShareRole {
    /// Look.
    #[default]
    View,
    /// Use keys and the pointer.
    Control,
}

/// What is known about the session.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// The metadata.generation this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready: the desktop can be opened. PodScheduled, ClientConnected, Idle, Finished: as they say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// Where the session is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Phase")]
    pub phase: Option<Phase>,
    /// The session's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pod: Option<String>,
    /// Where the desktop is, below the gateway's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// Its place among the sessions that wait for the quota, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<i32>,
    /// When the desktop was ready for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub started_at: Option<Time>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub last_activity: Option<Time>,
    /// When it ends in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub expires_at: Option<Time>,
    /// When it came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time")]
    pub finished_at: Option<Time>,
}

/// Where a session is in its life.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for the quota or its template.
    Pending,
    /// The pod is on its way.
    Starting,
    /// The desktop can be opened.
    Running,
    /// Nobody has used it for a while.
    Idle,
    /// The pod is going.
    Suspending,
    /// Only the home is left.
    Suspended,
    /// The pod is on its way again.
    Resuming,
    /// Ended as its owner asked.
    Stopped,
    /// Ended by a time-out.
    Expired,
    /// Ended by an error.
    Failed,
}

impl Phase {
    /// Whether a session in this phase counts towards a quota.
    #[must_use]
    pub fn is_counted(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Idle | Self::Suspending | Self::Resuming)
    }
}

/// All rules of this kind's objects.
pub(crate) const RULES: &[&[Rule]] = &[&[NAME_FITS_A_LABEL], &SPEC];

/// The session's pod and volumes bear its name as a label.
const NAME_FITS_A_LABEL: Rule = Rule::new(
    "size(self.metadata.name) <= 63",
    "a session's name becomes a label, which has at most 63 characters; shorten metadata.name",
    |session| session.pointer("/metadata/name").and_then(serde_json::Value::as_str).is_none_or(|name| name.len() <= 63),
);

const SPEC: [Rule; 4] = [
    Rule::on_update("self.template == oldSelf.template", "a session keeps its template; open another session").at(".template"),
    Rule::on_update("self.user == oldSelf.user", "a session keeps its owner; share it, or open another one").at(".user"),
    Rule::new(
        "!has(self.idleTimeout) || !has(self.maxLifetime) || duration(self.idleTimeout) <= duration(self.maxLifetime)",
        "idleTimeout is longer than maxLifetime and could never come; shorten it, or raise maxLifetime",
        |spec| schema::is_at_most(spec, "idleTimeout", "maxLifetime"),
    )
    .at(".idleTimeout"),
    Rule::new(
        "!has(self.sharing) || self.sharing.all(share, share.user != self.user)",
        "the owner needs no share of their own session; take the entry away",
        |spec| text(spec, "user").is_none_or(|user| items(spec, "sharing").all(|share| text(share, "user") != Some(user))),
    )
    .at(".sharing"),
];
