//! How the API server is asked to change something: under the product's name, and within a bound.

use std::time::Duration;

use kube::api::{PatchParams, PostParams};
use tokio::time::error::Elapsed;

/// Who `kubectl get --show-managed-fields` says has written a field.
const FIELD_MANAGER: &str = "outrigger";

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The API server refuses it, or can't be reached.
    #[error("the API server refuses it")]
    Refused(#[from] kube::Error),
    /// It may have been done all the same.
    #[error("the API server does not answer")]
    Silent(#[from] Elapsed),
}

impl RequestError {
    /// Whether the API server refused a write because somebody else was quicker.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists())
    }

    /// Whether the API server will refuse it until somebody changes something: a right, a quota, what is asked for. What is gone, has
    /// changed or is too much at the moment is another matter.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Refused(kube::Error::Api(status))
            if (400..500).contains(&status.code) && ![404, 408, 409, 429].contains(&status.code))
    }
}

/// The answer to a request, if it comes in time.
///
/// # Errors
/// The API server refuses the request, or does not answer within `deadline`.
pub async fn within<T>(deadline: Duration, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, RequestError> {
    Ok(tokio::time::timeout(deadline, request).await??)
}

/// For all that is patched.
#[must_use]
pub fn patching() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// For all that is created.
#[must_use]
pub fn creating() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
