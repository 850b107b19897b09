//! The webhook configurations as far as trust goes: each webhook's bundle.

use std::marker::PhantomData;

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::{ResourceExt, core::DynamicObject};
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::{
    snapshot::Writer,
    watch::{Entries, Projection},
};

/// What is known of one webhook configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registrations {
    /// Nothing yet, or it can't be watched or read.
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

/// Follows the webhook configuration of one name: the mutating one, or the validating one, as `K` says.
#[derive(Debug)]
pub struct RegistrationProjection<K> {
    registrations: Writer<Registrations>,
    kind: PhantomData<fn() -> K>,
}

impl<K: ConfigurationKind> RegistrationProjection<K> {
    /// Shows here what it sees.
    #[must_use]
    pub const fn new(registrations: Writer<Registrations>) -> Self {
        Self { registrations, kind: PhantomData }
    }
}

/// The two kinds of webhook configurations.
pub trait ConfigurationKind: k8s_openapi::Resource + kube::Resource<DynamicType = ()> + 'static {}

impl ConfigurationKind for MutatingWebhookConfiguration {}
impl ConfigurationKind for ValidatingWebhookConfiguration {}

impl<K: ConfigurationKind> Projection for RegistrationProjection<K> {
    type Object = DynamicObject;
    type Entry = Registrations;

    const NAME: &'static str = K::URL_PATH_SEGMENT;

    fn project(&self, object: &DynamicObject) -> Option<Registrations> {
        Some(Registration::read(object).map_or(Registrations::Unknown, Registrations::Present))
    }

    fn publish(&self, known: Option<&Entries<Registrations>>) {
        self.registrations.store(known.map_or(Registrations::Unknown, one));
    }

    fn lack(&self, known: &Entries<Registrations>) -> Option<&'static str> {
        match one(known) {
            Registrations::Present(_) => None,
            Registrations::Absent => Some("there is none of the name that --webhooks gives, so no caBundle is kept"),
            Registrations::Unknown => Some("it can't be read, so its caBundle is not kept"),
        }
    }
}

/// The watch is of one name.
fn one(known: &Entries<Registrations>) -> Registrations {
    known.values().next().cloned().unwrap_or(Registrations::Absent)
}

impl Registration {
    pub(super) fn read(configuration: &DynamicObject) -> Option<Self> {
        let webhooks = configuration.data.get("webhooks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let webhooks = webhooks.iter().map(Webhook::read).collect::<Option<_>>()?;
        Some(Self { version: configuration.resource_version()?, webhooks })
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::snapshot::snapshot;

    fn seen(objects: &[Value]) -> (Registrations, Option<&'static str>) {
        let (writer, registrations) = snapshot(Registrations::Unknown);
        let projection = RegistrationProjection::<MutatingWebhookConfiguration>::new(writer);
        let read = |object: &Value| projection.project(&serde_json::from_value(object.clone()).unwrap()).unwrap();
        let known = objects.iter().map(|object| ((String::new(), "w".to_owned()), read(object))).collect();
        projection.publish(Some(&known));
        ((*registrations.load()).clone(), projection.lack(&known))
    }

    #[test]
    fn what_is_not_there_is_told_apart_from_what_can_not_be_read() {
        let configuration = |bundle: &str| json!({"metadata": {"name": "w", "resourceVersion": "7"}, "webhooks": [{"name": "a", "clientConfig": {"caBundle": bundle}}]});
        let (present, lack) = seen(&[configuration("UEVN")]);
        let webhook = Webhook { name: "a".to_owned(), bundle: b"PEM".to_vec() };
        assert_eq!(present, Registrations::Present(Registration { version: "7".to_owned(), webhooks: vec![webhook] }));
        assert_eq!(lack, None);
        let (unreadable, lack) = seen(&[configuration("?")]);
        assert_eq!(unreadable, Registrations::Unknown, "it is there, so it must not count as trusting all");
        assert!(lack.unwrap().contains("can't be read"));
        let (absent, lack) = seen(&[]);
        assert_eq!(absent, Registrations::Absent);
        assert!(lack.unwrap().contains("--webhooks"));
    }
}
