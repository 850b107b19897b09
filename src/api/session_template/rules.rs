//! Single-object rules of `SessionTemplate`.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::api::{
    address,
    annotations::ValueKind,
    rule::{Rule, has, items, text},
    schema,
};

/// All rules of this kind's objects.
pub(crate) const RULES: &[&[Rule]] = &[&SPEC, &ICON, &IMAGE, &MOUNT_PATH, &NETWORK, &POD_SPEC, &CIDR];

pub(super) const SPEC: [Rule; 5] = [
    Rule::new("has(self.app) != has(self.podSpec)", "a template runs either one app or a whole pod; write app or podSpec", |spec| {
        has(spec, "app") != has(spec, "podSpec")
    }),
    Rule::new(
        "!has(self.maxLifetime) || duration(self.idleTimeout) <= duration(self.maxLifetime)",
        "idleTimeout is longer than maxLifetime and could never come; shorten it, or raise maxLifetime",
        |spec| schema::is_at_most(spec, "idleTimeout", "maxLifetime"),
    )
    .at(".idleTimeout"),
    Rule::new("duration(self.startDeadline) >= duration('10s')", "no desktop appears in less than 10s; allow more", |spec| {
        schema::is_at_least_seconds(spec, "startDeadline", 10)
    })
    .at(".startDeadline"),
    Rule::new(
        "!has(self.maxResources) || 'Resources' in self.overrides",
        "maxResources bounds what sessions ask for, but they may not ask; add Resources to overrides, or take maxResources away",
        |spec| !has(spec, "maxResources") || items(spec, "overrides").any(|it| it == "Resources"),
    )
    .at(".maxResources"),
    Rule::new(
        "self.idleAction != 'Suspend' || has(self.home) || has(self.podSpec)",
        "a suspended session keeps nothing without a home; write home, or set idleAction: Stop",
        |spec| text(spec, "idleAction") != Some("Suspend") || has(spec, "home") || has(spec, "podSpec"),
    )
    .at(".idleAction"),
];

pub(super) const ICON: [Rule; 1] =
    [Rule::new("self.startsWith('https://')", "is not the address of a picture; write one that begins with https://", |icon| {
        icon.as_str().is_none_or(|icon| icon.starts_with("https://"))
    })];

pub(super) const IMAGE: [Rule; 1] = [Rule::new(
    "self.matches('^[!-~]+$')",
    "is not an image; write one such as registry.example.com/firefox:1.0, without blanks",
    |image| image.as_str().is_none_or(|image| ValueKind::Image.check(image).is_ok()),
)];

/// The kubelet takes a colon for the end of the path.
pub(super) const MOUNT_PATH: [Rule; 1] =
    [Rule::new("self.startsWith('/') && !self.contains(':')", "must be an absolute path without a colon, such as /home/user", |path| {
        path.as_str().is_none_or(|path| path.starts_with('/') && !path.contains(':'))
    })];

pub(super) const NETWORK: [Rule; 1] = [Rule::new(
    "self.egress == 'Listed' || !has(self.allow) || size(self.allow) == 0",
    "only a Listed egress looks at this; set egress: Listed, or take allow away",
    |network| text(network, "egress") == Some("Listed") || items(network, "allow").next().is_none(),
)
.at(".allow")];

const POD_SPEC: [Rule; 2] = [
    Rule::new("!has(self.hostNetwork) || !self.hostNetwork", "the desktop would be open to the whole node; take hostNetwork away", |pod| {
        pod.get("hostNetwork") != Some(&Value::Bool(true))
    })
    .at(".hostNetwork"),
    Rule::new(
        "(!has(self.hostPID) || !self.hostPID) && (!has(self.hostIPC) || !self.hostIPC)",
        "a session must not see the node's processes; take hostPID and hostIPC away",
        |pod| pod.get("hostPID") != Some(&Value::Bool(true)) && pod.get("hostIPC") != Some(&Value::Bool(true)),
    ),
];

/// A pod's spec, of which only what matters here is described: the API server checks the rest when the pod is made, and fields
/// newer than this program are kept.
pub(super) fn pod_spec(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true, "x-kubernetes-validations": POD_SPEC,
        "required": ["containers"],
        "properties": {
            "hostNetwork": { "type": "boolean" },
            "hostPID": { "type": "boolean" },
            "hostIPC": { "type": "boolean" },
            "containers": {
                "type": "array", "minItems": 1, "maxItems": 32,
                "items": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true, "required": ["name"],
                    "properties": { "name": { "type": "string", "minLength": 1, "maxLength": 63 } },
                },
            },
        },
    })
}

const CIDR: [Rule; 1] = [Rule::new("isCIDR(self)", "is not a block of addresses; write one such as 10.0.0.0/8 or fd00::/8", |cidr| {
    cidr.as_str().is_none_or(address::is_block)
})];

/// A block of addresses.
pub(super) fn cidr(_: &mut SchemaGenerator) -> Schema {
    cidr_schema()
}

/// Blocks of addresses.
pub(super) fn cidrs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": 32, "items": cidr_schema() })
}

fn cidr_schema() -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 43, "x-kubernetes-validations": CIDR })
}
