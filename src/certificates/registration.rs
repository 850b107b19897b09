//! The webhook configurations as far as trust goes: each webhook's bundle.

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::{ResourceExt, core::DynamicObject, discovery::ApiResource};
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::{
    snapshot::Writer,
    watch::{Entries, Projection},
};

/// What is known of one webhook configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registrations {
    /// Nothing yet, or it can't be watched.
    Unknown,
    /// There is none of its name.
    Absent,
    /// It is there.
    Present(Registration),
}

/// A webhook configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The version that was seen.
    pub version: String,
    /// Its webhooks, in its order.
    pub webhooks: Vec<Webhook>,
}

/// One webhook of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name, unique in the configuration.
    pub name: String,
    /// The CAs it trusts, in PEM.
    pub bundle: Vec<u8>,
}

/// Follows the webhook configuration of one name: the mutating one, or the validating one.
#[derive(Debug)]
pub struct RegistrationProjection<const MUTATING: bool>(pub Writer<Registrations>);

impl<const MUTATING: bool> RegistrationProjection<MUTATING> {
    /// The kind it follows.
    #[must_use]
    pub fn resource() -> ApiResource {
        if MUTATING {
            ApiResource::erase::<MutatingWebhookConfiguration>(&())
        } else {
            ApiResource::erase::<ValidatingWebhookConfiguration>(&())
        }
    }
}

impl<const MUTATING: bool> Projection for RegistrationProjection<MUTATING> {
    type Object = DynamicObject;
    type Entry = Registration;

    const NAME: &'static str = if MUTATING { "mutatingwebhookconfigurations" } else { "validatingwebhookconfigurations" };

    fn project(&self, object: &DynamicObject) -> Option<Registration> {
        let webhooks = object.data.get("webhooks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let webhooks = webhooks.iter().map(Webhook::read).collect::<Option<_>>()?;
        Some(Registration { version: object.resource_version()?, webhooks })
    }

    fn publish(&self, known: Option<&Entries<Registration>>) {
        let registrations = known.map_or(Registrations::Unknown, |known| {
            // The watch is of one name.
            known.values().next().map_or(Registrations::Absent, |registration| Registrations::Present(registration.clone()))
        });
        self.0.store(registrations);
    }
}

impl Webhook {
    fn read(webhook: &Value) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Entry {
            name: String,
            client_config: ClientConfig,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ClientConfig {
            #[serde(default)]
            ca_bundle: String,
        }
        let entry = Entry::deserialize(webhook).ok()?;
        Some(Self { name: entry.name, bundle: STANDARD.decode(entry.client_config.ca_bundle).ok()? })
    }
}
