//! `SessionTemplate`: an application that people can open a desktop session of.
#![allow(clippy::doc_markdown, reason = "these comments are what kubectl explain prints: plain text")]

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    container::{Amount, Amounts, Resources, Variable},
    schema,
};

mod rules;

pub(crate) use rules::RULES;

/// An application that people can open a desktop session of.
///
/// Whoever writes templates decides what runs in the namespace, as with a Deployment; whoever opens sessions only chooses
/// among templates and what they leave open.
#[allow(clippy::duplicated_attributes, reason = "columns share types and priorities")]
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "outrigger.dev",
    version = "v1alpha1",
    kind = "SessionTemplate",
    plural = "sessiontemplates",
    shortname = "sesst",
    category = "outrigger",
    namespaced,
    derive = "PartialEq",
    doc = "An application that people can open a desktop session of, with the limits its sessions have.",
    printcolumn(name = "Title", type_ = "string", json_path = ".spec.displayName"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.app.image"),
    printcolumn(name = "Idle", type_ = "string", json_path = ".spec.idleTimeout"),
    printcolumn(name = "Category", type_ = "string", json_path = ".spec.category", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::SPEC))]
pub struct SessionTemplateSpec {
    /// The name people see. Left out: the object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub display_name: Option<String>,
    /// A sentence or two for people who choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// The address of a picture, shown beside the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), extend("x-kubernetes-validations" = rules::ICON))]
    pub icon: Option<String>,
    /// The heading under which the application is listed, such as Browsers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub category: Option<String>,
    /// The application, if one container is all it takes. It satisfies the Pod Security Standard "restricted".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<App>,
    /// The whole pod, instead of app, for whatever that can't say. The desktop is added as to any pod; the annotations in
    /// podMetadata choose how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rules::pod_spec")]
    pub pod_spec: Option<Map<String, Value>>,
    /// Labels and annotations for the pods.
    #[serde(default)]
    pub pod_metadata: PodMetadata,
    /// A home directory that outlives the pod: a suspended session finds its files again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Home>,
    /// The desktop.
    #[serde(default)]
    pub desktop: Desktop,
    /// After how long without use a session is ended, such as 2h; 0s means never.
    #[serde(default = "default_idle_timeout")]
    #[schemars(schema_with = "schema::duration")]
    pub idle_timeout: String,
    /// What counts as use. Input: keys and the pointer. Connection: a browser that is connected.
    #[serde(default)]
    pub idle_signal: IdleSignal,
    /// What is done with a session that isn't used. Stop, or Suspend: the pod goes, the home stays, and the session can go on.
    #[serde(default)]
    pub idle_action: IdleAction,
    /// After how long a session is ended in any case, such as 12h. Left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub max_lifetime: Option<String>,
    /// How long the desktop may take to appear before the session has failed.
    #[serde(default = "default_start_deadline")]
    #[schemars(schema_with = "schema::duration")]
    pub start_deadline: String,
    /// How many seconds a finished session is kept to be looked at. Left out: until somebody deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// What is done when the application ends. Stop: so does the session. Restart: it is started again.
    #[serde(default)]
    pub on_app_exit: ExitAction,
    /// What the pods may reach. Whatever is written here, only the gateway reaches them.
    #[serde(default)]
    pub network: Network,
    /// How many sessions there may be.
    #[serde(default)]
    pub quota: Quota,
    /// The most that a session's owner may share with others: None, View or Control.
    #[serde(default)]
    pub sharing: SharingLimit,
    /// Which of these a session may decide itself: Geometry, Env, Resources, IdleTimeout, MaxLifetime.
    #[serde(default = "default_overrides")]
    #[schemars(length(max = 5), extend("x-kubernetes-list-type" = "set"))]
    pub overrides: Vec<Override>,
    /// The most of each resource that a session may ask for, if overrides has Resources.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::quantities")]
    pub max_resources: Amounts,
}

fn default_idle_timeout() -> String {
    "2h".to_owned()
}

fn default_start_deadline() -> String {
    "5m".to_owned()
}

/// What a template leaves open unless it says otherwise.
pub(crate) fn default_overrides() -> Vec<Override> {
    vec![Override::Geometry]
}

/// An application in one container.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// The container's image. Its program must use DISPLAY and run as user 1000.
    #[schemars(length(min = 1, max = 512), extend("x-kubernetes-validations" = rules::IMAGE))]
    pub image: String,
    /// Always, IfNotPresent or Never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PullPolicy")]
    pub image_pull_policy: Option<PullPolicy>,
    /// Secrets in this namespace with the registry's credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub image_pull_secrets: Vec<String>,
    /// The program. Left out: the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// The program's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<Variable>,
    /// What the container needs and what it may use.
    #[serde(default = "default_resources")]
    pub resources: Resources,
}

fn default_resources() -> Resources {
    let amounts = |cpu: &str, memory: &str| {
        Amounts::from([("cpu", cpu), ("memory", memory)].map(|(name, amount)| (name.to_owned(), Amount::Text(amount.to_owned()))))
    };
    Resources { requests: amounts("500m", "512Mi"), limits: amounts("2", "2Gi") }
}

/// When the kubelet pulls an image.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// If the node lacks it.
    IfNotPresent,
    /// At no time.
    Never,
}

/// Labels and annotations for the pods.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodMetadata {
    /// Labels. Those under outrigger.dev/ are ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations, such as those of outrigger.dev that choose and set the sidecars.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    pub annotations: BTreeMap<String, String>,
}

/// A home directory that outlives the pod.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Home {
    /// Its size, such as 5Gi.
    #[schemars(schema_with = "schema::quantity")]
    pub size: Amount,
    /// The storage class. Left out: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub storage_class_name: Option<String>,
    /// Where the application finds it.
    #[serde(default = "default_mount_path")]
    #[schemars(length(min = 1, max = 512), extend("x-kubernetes-validations" = rules::MOUNT_PATH))]
    pub mount_path: String,
}

fn default_mount_path() -> String {
    "/home/user".to_owned()
}

/// The desktop.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Desktop {
    /// Width and height in pixels at the start.
    #[serde(default = "default_geometry")]
    #[schemars(schema_with = "schema::geometry")]
    pub geometry: String,
    /// Whether the desktop follows the size of the browser's window.
    #[serde(default = "yes")]
    pub resize: bool,
    /// Whether everybody, the owner too, can only look.
    #[serde(default)]
    pub view_only: bool,
    /// Which way text may be copied: Both, In (to the desktop), Out (from it) or Off.
    #[serde(default)]
    pub clipboard: Clipboard,
    /// The size of /dev/shm, such as 512Mi. Browsers need more than the 64Mi that there are without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub shared_memory: Option<Amount>,
}

impl Default for Desktop {
    fn default() -> Self {
        Self { geometry: default_geometry(), resize: yes(), view_only: false, clipboard: Clipboard::default(), shared_memory: None }
    }
}

fn default_geometry() -> String {
    "1280x800".to_owned()
}

fn yes() -> bool {
    true
}

/// Which way text may be copied.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clipboard {
    /// Both ways.
    #[default]
    Both,
    /// From the browser to the desktop.
    In,
    /// From the desktop to the browser.
    Out,
    /// Neither.
    Off,
}

/// What counts as use.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IdleSignal {
    /// Keys and the pointer.
    #[default]
    Input,
    /// A browser that is connected.
    Connection,
}

/// What is done with a session that isn't used.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IdleAction {
    /// It ends.
    #[default]
    Stop,
    /// Its pod goes and its home stays.
    Suspend,
}

/// What is done when the application ends.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExitAction {
    /// The session ends.
    #[default]
    Stop,
    /// The application is started again.
    Restart,
}

/// What the pods may reach.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules::NETWORK))]
pub struct Network {
    /// Open: everything. Listed: DNS and what allow says. Closed: nothing, not even DNS.
    #[serde(default)]
    pub egress: Egress,
    /// What may be reached, if egress is Listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub allow: Vec<Destination>,
}

/// How much the pods may reach.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Egress {
    /// Everything.
    #[default]
    Open,
    /// DNS and what is listed.
    Listed,
    /// Nothing.
    Closed,
}

/// Something that may be reached.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Addresses, such as 10.0.0.0/8.
    #[schemars(schema_with = "rules::cidr")]
    pub cidr: String,
    /// Addresses among them that may not be reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "rules::cidrs")]
    pub except: Vec<String>,
    /// The ports. Left out: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub ports: Vec<Port>,
}

/// A port that may be reached.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Its number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// TCP or UDP.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// RFC 9293.
    #[default]
    Tcp,
    /// RFC 768.
    Udp,
}

/// How many sessions there may be. A suspended one doesn't count.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Of this template, for each user. Left out: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub per_user: Option<u32>,
    /// Of this template, for all users together. Left out: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub total: Option<u32>,
}

/// The most that a session's owner may share.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SharingLimit {
    /// Nothing.
    #[default]
    None,
    /// Others may look.
    View,
    /// Others may use keys and the pointer.
    Control,
}

/// Something a session may decide itself.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Override {
    /// `spec.geometry`.
    Geometry,
    /// `spec.env`.
    Env,
    /// `spec.resources`.
    Resources,
    /// `spec.idleTimeout`.
    IdleTimeout,
    /// `spec.maxLifetime`.
    MaxLifetime,
}
