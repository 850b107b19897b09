//! The injection of one profile as policies that the API server evaluates itself: no webhook is called.
//!
//! A profile is a set of annotations. The plan is made for a stand-in pod that has them, so whatever changes in it changes
//! here, too; what depends on the pod itself becomes CEL, and tests hold that against the plan. [`export`] reads like the
//! story: what do pods of the profile get (`profile`); which pods can have it (`conditions`); how it is added to each
//! (`mutation`) and recorded (`status`); and which objects say so (`manifests`). `cel` is how expressions are written,
//! `variables` what they share.

mod cel;
mod conditions;
mod manifests;
mod mutation;
mod profile;
mod status;
mod variables;

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Denial, InjectionError, Settings};

use cel::Cel;
use manifests::Content;

/// The most characters of an expression (`expressionSizeCodePointLimit` of CEL's parser, which the API server leaves as it is).
const MOST_CHARACTERS: usize = 100_000;

/// The versions in which Kubernetes has served mutating policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiVersion {
    /// Since Kubernetes 1.36, for everybody.
    V1,
    /// In Kubernetes 1.34 and newer, if the cluster's owner turned it on.
    V1Beta1,
    /// In Kubernetes 1.32 and newer, if the cluster's owner turned it on.
    V1Alpha1,
}

impl ApiVersion {
    /// As objects write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1Beta1 => "v1beta1",
            Self::V1Alpha1 => "v1alpha1",
        }
    }
}

/// Why a profile can't be a policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It asks for no sidecar.
    #[error("the profile asks for nothing: give it the annotation {}, such as \"vnc\"", crate::api::annotations::INJECT.name)]
    NotAsked,
    /// It serves a container that a mesh adds.
    #[error(
        "{key} names {name:?}, a mesh's container: a policy can't place sidecars in a pod that has it already; use the webhook, or \
         `outrigger inject`"
    )]
    NamesMesh {
        /// The annotation that names it.
        key: &'static str,
        /// Its name.
        name: String,
    },
    /// No pod could have it.
    #[error("{}", .0.iter().map(|denial| denial.message.as_str()).collect::<Vec<_>>().join("; "))]
    Denied(Vec<Denial>),
    /// It would be refused by the API server.
    #[error(
        "the annotations are too long for a policy: {what} has {length} characters, and the API server takes {MOST_CHARACTERS}; \
         shorten them, or use the webhook"
    )]
    TooLong {
        /// The part of the policy.
        what: String,
        /// Its length.
        length: usize,
    },
    /// The plan could not be made.
    #[error(transparent)]
    Injection(#[from] InjectionError),
    /// An addition could not be written as JSON.
    #[error("the policy can't be written")]
    Unwritable(#[from] serde_json::Error),
}

/// What the objects are called, and where they hold.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The name of all of them.
    pub name: &'a str,
    /// The version of the mutating policy.
    pub version: ApiVersion,
    /// The labels that a namespace must have, if not all namespaces are meant.
    pub namespace_labels: &'a BTreeMap<String, String>,
}

/// A profile as policies.
#[derive(Debug)]
pub struct Policies {
    /// The objects, in the order in which they should be applied.
    pub objects: Vec<Value>,
    /// What the profile's author should know, each a short sentence.
    pub warnings: Vec<String>,
}

/// The objects that give pods with exactly these annotations what [`inject`](super::inject) would give them: a mutating policy,
/// a validating policy that refuses those who can't have it, and a binding for each. Annotations of others are passed over.
pub fn export(annotations: &BTreeMap<String, String>, settings: &Settings, target: &Target<'_>) -> Result<Policies, PolicyError> {
    profile::with_profile(annotations, settings, |profile| {
        let content = Content {
            scope: conditions::scope(profile),
            requirements: conditions::requirements(profile),
            common: variables::common(),
            variables: mutation::variables(profile)?,
            patch: mutation::patch(profile)?,
        };
        content.named_expressions().try_for_each(|(what, expression)| short_enough(what, expression))?;
        Ok(Policies { objects: content.manifests(target), warnings: profile.warnings.clone() })
    })
}

fn short_enough(what: &str, expression: &Cel) -> Result<(), PolicyError> {
    let length = expression.length();
    if length > MOST_CHARACTERS { Err(PolicyError::TooLong { what: what.to_owned(), length }) } else { Ok(()) }
}
