//! What the installation decides for all pods: images, resources, pull secrets. They stand under `injection` in the chart's values.

use serde::Deserialize;

use crate::api::{
    annotations::{SidecarKind, ValueKind},
    quantity::Quantity,
};

/// The installation's settings. Every member has a default, so an empty document is a working installation.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// Pull policy of all sidecars.
    pub image_pull_policy: String,
    /// Secrets that are added to a pod's own to pull the sidecars' images.
    pub image_pull_secrets: Vec<String>,
    /// The VNC sidecar.
    pub vnc: SidecarSettings,
    /// The file-sync sidecar.
    pub file_sync: SidecarSettings,
    /// The Guacamole sidecar.
    pub guacamole: SidecarSettings,
}

/// The chart's values, as far as injection goes.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ChartValues {
    injection: Settings,
}

/// What the installation decides for one sidecar.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SidecarSettings {
    /// Its image; the one that `make image` makes unless set.
    pub image: Option<String>,
    /// Its resources, where they differ from the built-in ones.
    pub resources: Resources,
}

/// Resources as annotations and values name them: Kubernetes quantities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Resources {
    /// CPU reserved.
    pub cpu_request: Option<String>,
    /// CPU allowed.
    pub cpu_limit: Option<String>,
    /// Memory reserved.
    pub memory_request: Option<String>,
    /// Memory allowed.
    pub memory_limit: Option<String>,
}

/// A value of the installation that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The document is not what the chart's values describe.
    #[error("the settings can't be read")]
    Malformed(#[source] Box<serde_saphyr::Error>),
    /// A pull policy that Kubernetes does not know.
    #[error("imagePullPolicy is {0:?}: it must be Always, IfNotPresent or Never")]
    PullPolicy(String),
    /// An image that is none.
    #[error("{sidecar}.image is {value:?}, which is not an image reference")]
    Image {
        /// Whose image.
        sidecar: &'static str,
        /// What stands there.
        value: String,
    },
    /// Less than nothing.
    #[error("{path} is {value:?}: it must not be negative")]
    Negative {
        /// Where it stands.
        path: String,
        /// What stands there.
        value: String,
    },
    /// A request above its own limit.
    #[error("{sidecar}.resources request {request} and allow only {limit}: raise the limit or lower the request")]
    AboveLimit {
        /// Whose resources.
        sidecar: &'static str,
        /// What is reserved.
        request: String,
        /// What is allowed.
        limit: String,
    },
    /// A quantity that Kubernetes would not take.
    #[error("{path} is {value:?}, which is not a quantity")]
    Quantity {
        /// Where it stands.
        path: String,
        /// What stands there.
        value: String,
        /// Why it is none.
        #[source]
        source: crate::api::quantity::QuantityError,
    },
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image_pull_policy: "IfNotPresent".to_owned(),
            image_pull_secrets: Vec::new(),
            vnc: SidecarSettings::default(),
            file_sync: SidecarSettings::default(),
            guacamole: SidecarSettings::default(),
        }
    }
}

impl Settings {
    /// Reads the settings that stand under `injection` in the chart's values, YAML or JSON; the rest is the chart's own.
    pub fn from_values(text: &str) -> Result<Self, SettingsError> {
        let values: Option<ChartValues> = serde_saphyr::from_str(text).map_err(|error| SettingsError::Malformed(Box::new(error)))?;
        values.unwrap_or_default().injection.validated()
    }

    /// The settings of one sidecar.
    #[must_use]
    pub const fn sidecar(&self, kind: SidecarKind) -> &SidecarSettings {
        match kind {
            SidecarKind::Vnc => &self.vnc,
            SidecarKind::FileSync => &self.file_sync,
            SidecarKind::Guacamole => &self.guacamole,
        }
    }

    fn validated(self) -> Result<Self, SettingsError> {
        if !["Always", "IfNotPresent", "Never"].contains(&self.image_pull_policy.as_str()) {
            return Err(SettingsError::PullPolicy(self.image_pull_policy));
        }
        for kind in SidecarKind::ALL {
            let image = self.sidecar(kind).image.as_deref();
            if let Some(image) = image.filter(|image| ValueKind::Image.check(image).is_err()) {
                return Err(SettingsError::Image { sidecar: kind.as_str(), value: image.to_owned() });
            }
            let resources = &self.sidecar(kind).resources;
            let named = [
                ("cpuRequest", &resources.cpu_request),
                ("cpuLimit", &resources.cpu_limit),
                ("memoryRequest", &resources.memory_request),
                ("memoryLimit", &resources.memory_limit),
            ];
            for (name, value) in named {
                let Some(value) = value else { continue };
                let path = || format!("{}.resources.{name}", kind.as_str());
                let quantity =
                    value.parse::<Quantity>().map_err(|source| SettingsError::Quantity { path: path(), value: value.clone(), source })?;
                if quantity.is_negative() {
                    return Err(SettingsError::Negative { path: path(), value: value.clone() });
                }
            }
            for (request, limit) in [(&resources.cpu_request, &resources.cpu_limit), (&resources.memory_request, &resources.memory_limit)] {
                if let (Some(request), Some(limit)) = (request, limit)
                    && request.parse::<Quantity>().ok() > limit.parse::<Quantity>().ok()
                {
                    return Err(SettingsError::AboveLimit { sidecar: kind.as_str(), request: request.clone(), limit: limit.clone() });
                }
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_without_injection_are_the_defaults() {
        for text in ["", "replicas: 3\n", "{}", "injection: {}\n"] {
            assert_eq!(Settings::from_values(text).unwrap().image_pull_policy, "IfNotPresent", "{text:?}");
        }
    }

    #[test]
    fn values_are_read_from_under_injection() {
        let settings = Settings::from_values(
            "injection:\n  imagePullSecrets: [mirror]\n  fileSync: {image: registry.example.com/o:1, resources: {memoryLimit: 64Mi}}\n",
        )
        .unwrap();
        assert_eq!(settings.image_pull_secrets, ["mirror"]);
        let file_sync = settings.sidecar(SidecarKind::FileSync);
        assert_eq!(file_sync.image.as_deref(), Some("registry.example.com/o:1"));
        assert_eq!(file_sync.resources.memory_limit.as_deref(), Some("64Mi"));
    }

    #[test]
    fn a_misspelt_key_or_bad_quantity_is_an_error_that_names_it() {
        let error = Settings::from_values("injection: {vcn: {}}").unwrap_err();
        assert!(format!("{:?}", anyhow::Error::from(error)).contains("vcn"));
        let error = Settings::from_values("injection: {vnc: {resources: {cpuLimit: lots}}}").unwrap_err();
        assert_eq!(error.to_string(), "vnc.resources.cpuLimit is \"lots\", which is not a quantity");
    }

    #[test]
    fn what_would_make_every_pod_invalid_is_refused() {
        for (values, expected) in [
            ("imagePullPolicy: always", "must be Always, IfNotPresent or Never"),
            ("vnc: {image: ''}", "vnc.image is \"\""),
            ("fileSync: {resources: {cpuLimit: '-1'}}", "must not be negative"),
            ("fileSync: {resources: {cpuRequest: 500m, cpuLimit: 200m}}", "raise the limit"),
        ] {
            let error = Settings::from_values(&format!("injection: {{{values}}}")).unwrap_err();
            assert!(error.to_string().contains(expected), "{values}: {error}");
        }
    }
}
