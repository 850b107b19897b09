//! What a `Session` takes from its template, and whether it may.

use kube::ResourceExt;
use serde::{Deserialize, de::IgnoredAny};

use super::{DesiredState, Phase, Session, Share, ShareRole};
use crate::api::{
    container::{Amounts, Resources},
    finding::{Finding, Verdict},
    inventory::Inventory,
    metadata::Metadata,
    session_template::{Override, Quota, SessionTemplate, SessionTemplateSpec, SharingLimit, default_overrides},
};

/// What one `Session` takes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.template`.
    pub template: String,
    /// `spec.user`.
    pub user: String,
    /// `spec.desiredState`.
    pub desired_state: DesiredState,
    /// The fields of the spec that are written, among those a template may leave open.
    pub overrides: Vec<Override>,
    /// `spec.resources`.
    pub resources: Resources,
    /// `spec.sharing`.
    pub sharing: Vec<Share>,
    /// Whether it counts towards the quota.
    pub counted: bool,
    /// Whether the object only waits for its finalizers.
    pub deleting: bool,
}

impl Usage {
    /// Reads what is needed from an object, and tolerates fields that aren't known here.
    pub fn from_json(object: &[u8]) -> Result<Self, Finding> {
        let stored: Stored = serde_json::from_slice(object).map_err(|e| Finding::at("", format!("is no Session: {e}")))?;
        Ok(stored.into())
    }
}

#[derive(Deserialize)]
struct Stored {
    metadata: Metadata,
    spec: StoredSpec,
    #[serde(default)]
    status: StoredStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredSpec {
    template: String,
    user: String,
    #[serde(default)]
    desired_state: DesiredState,
    resources: Option<Resources>,
    #[serde(default)]
    sharing: Vec<Share>,
    // Of these it only matters whether they are written.
    geometry: Option<IgnoredAny>,
    #[serde(default)]
    env: Vec<IgnoredAny>,
    idle_timeout: Option<IgnoredAny>,
    max_lifetime: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct StoredStatus {
    #[serde(default)]
    phase: Option<Phase>,
}

impl From<Stored> for Usage {
    fn from(Stored { metadata, spec, status }: Stored) -> Self {
        let overrides = written([
            (Override::Geometry, spec.geometry.is_some()),
            (Override::Env, !spec.env.is_empty()),
            (Override::Resources, spec.resources.is_some()),
            (Override::IdleTimeout, spec.idle_timeout.is_some()),
            (Override::MaxLifetime, spec.max_lifetime.is_some()),
        ]);
        Self {
            deleting: metadata.is_deleting(),
            namespace: metadata.namespace,
            name: metadata.name,
            template: spec.template,
            user: spec.user,
            desired_state: spec.desired_state,
            overrides,
            resources: spec.resources.unwrap_or_default(),
            sharing: spec.sharing,
            counted: status.phase.is_some_and(Phase::is_counted),
        }
    }
}

fn written(fields: [(Override, bool); 5]) -> Vec<Override> {
    fields.into_iter().filter_map(|(field, is_written)| is_written.then_some(field)).collect()
}

impl From<&Session> for Usage {
    fn from(object: &Session) -> Self {
        let spec = &object.spec;
        let overrides = written([
            (Override::Geometry, spec.geometry.is_some()),
            (Override::Env, !spec.env.is_empty()),
            (Override::Resources, spec.resources.is_some()),
            (Override::IdleTimeout, spec.idle_timeout.is_some()),
            (Override::MaxLifetime, spec.max_lifetime.is_some()),
        ]);
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            template: spec.template.clone(),
            user: spec.user.clone(),
            desired_state: spec.desired_state,
            overrides,
            resources: spec.resources.clone().unwrap_or_default(),
            sharing: spec.sharing.clone(),
            counted: object.status.as_ref().and_then(|status| status.phase).is_some_and(Phase::is_counted),
            deleting: object.metadata.deletion_timestamp.is_some(),
        }
    }
}

/// What sessions must know of their template.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Template {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.overrides`.
    pub overrides: Vec<Override>,
    /// `spec.maxResources`.
    pub max_resources: Amounts,
    /// `spec.quota`.
    pub quota: Quota,
    /// `spec.sharing`.
    pub sharing: SharingLimit,
}

impl Template {
    /// Reads what is needed from an object, and tolerates fields that aren't known here.
    pub fn from_json(object: &[u8]) -> Result<Self, Finding> {
        let stored: StoredTemplate = serde_json::from_slice(object).map_err(|e| Finding::at("", format!("is no SessionTemplate: {e}")))?;
        let StoredTemplate { metadata, spec } = stored;
        Ok(Self {
            namespace: metadata.namespace,
            name: metadata.name,
            overrides: spec.overrides.unwrap_or_else(default_overrides),
            max_resources: spec.max_resources,
            quota: spec.quota,
            sharing: spec.sharing,
        })
    }
}

impl From<&SessionTemplate> for Template {
    fn from(object: &SessionTemplate) -> Self {
        let SessionTemplateSpec { overrides, max_resources, quota, sharing, .. } = object.spec.clone();
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any(), overrides, max_resources, quota, sharing }
    }
}

#[derive(Deserialize)]
struct StoredTemplate {
    metadata: Metadata,
    spec: StoredTemplateSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredTemplateSpec {
    overrides: Option<Vec<Override>>,
    #[serde(default)]
    max_resources: Amounts,
    #[serde(default)]
    quota: Quota,
    #[serde(default)]
    sharing: SharingLimit,
}

/// Judges an object as it is written, from its JSON: [`validate`], less what its stored version would be refused for as well.
#[must_use]
pub fn review(object: &[u8], stored: Option<&[u8]>, known: &Inventory) -> Verdict {
    Verdict::of_change(object, stored, Usage::from_json, |session| validate(session, known))
}

/// Judges a session by what is known of its template and of other sessions. The webhook asks when an object is written
/// ([`review`]), the controller before it starts a pod.
#[must_use]
pub fn validate(session: &Usage, known: &Inventory) -> Verdict {
    let mut verdict = Verdict::default();
    // An object that is going must be able to lose its finalizers, whatever it asked for.
    if session.deleting {
        return verdict;
    }
    let Some(template) = known.template(&session.namespace, &session.template) else {
        verdict.warn(Finding::of(
            "spec.template",
            &session.template,
            format!("no SessionTemplate of this name is known in namespace {}; the session waits until there is one", session.namespace),
        ));
        return verdict;
    };
    check_overrides(session, template, &mut verdict);
    check_resources(session, template, &mut verdict);
    check_sharing(session, template, &mut verdict);
    check_quota(session, template, known, &mut verdict);
    verdict
}

fn check_overrides(session: &Usage, template: &Template, verdict: &mut Verdict) {
    for field in session.overrides.iter().filter(|field| !template.overrides.contains(field)) {
        let message = format!("template {} doesn't leave this open; take it away, or have {field:?} added to its overrides", template.name);
        verdict.deny(Finding::at(path_of(*field), message));
    }
}

fn path_of(field: Override) -> &'static str {
    match field {
        Override::Geometry => "spec.geometry",
        Override::Env => "spec.env",
        Override::Resources => "spec.resources",
        Override::IdleTimeout => "spec.idleTimeout",
        Override::MaxLifetime => "spec.maxLifetime",
    }
}

/// A resource that the template doesn't mention is not bounded. What isn't an amount is refused by the schema.
fn check_resources(session: &Usage, template: &Template, verdict: &mut Verdict) {
    for (field, amounts) in [("requests", &session.resources.requests), ("limits", &session.resources.limits)] {
        for (name, asked) in amounts {
            let Some(most) = template.max_resources.get(name) else { continue };
            let (Ok(asked), Ok(most)) = (asked.quantity(), most.quantity()) else { continue };
            if asked > most {
                let message = format!("template {} allows at most {most}; ask for less", template.name);
                verdict.deny(Finding::of(format!("spec.resources.{field}[{name}]"), asked.as_str(), message));
            }
        }
    }
}

fn check_sharing(session: &Usage, template: &Template, verdict: &mut Verdict) {
    for (index, share) in session.sharing.iter().enumerate() {
        let needed = match share.role {
            ShareRole::View => SharingLimit::View,
            ShareRole::Control => SharingLimit::Control,
        };
        if needed > template.sharing {
            let message = format!("template {} allows sharing as far as {:?}; share less, or not at all", template.name, template.sharing);
            verdict.deny(Finding::of(format!("spec.sharing[{index}].role"), format!("{:?}", share.role), message));
        }
    }
}

/// Advice only: several replicas of the webhook can't count together, the controller can.
fn check_quota(session: &Usage, template: &Template, known: &Inventory, verdict: &mut Verdict) {
    if session.desired_state != DesiredState::Running || session.counted {
        return;
    }
    let Some(counts) = known.counts(&session.namespace, &session.template) else { return };
    let is_reached = |limit: Option<u32>, count: usize| limit.filter(|limit| count >= *limit as usize);
    if let Some(limit) = is_reached(template.quota.per_user, counts.of_user(&session.user)) {
        let message = format!("already has {limit} sessions of template {}, all it allows; this one waits for one to end", template.name);
        verdict.warn(Finding::of("spec.user", &session.user, message));
    }
    if let Some(limit) = is_reached(template.quota.total, counts.total()) {
        let message = format!("all {limit} sessions that this template allows are in use; this one waits for one to end");
        verdict.warn(Finding::of("spec.template", &session.template, message));
    }
}

#[cfg(test)]
mod tests;
