//! Credentials as they are now.

use std::fs;

use secrecy::SecretString;

use super::NotifyError;
use crate::sidecars::file_sync::settings::Credential;

/// What a credential is. One in a file is read each time: it may have changed.
///
/// # Errors
/// The file can't be read.
pub(super) fn read(credential: Option<&Credential>) -> Result<Option<SecretString>, NotifyError> {
    match credential {
        None => Ok(None),
        Some(Credential::Value(value)) => Ok(Some(value.clone())),
        Some(Credential::File(path)) => {
            let text = fs::read_to_string(path).map_err(|source| NotifyError::Credential { path: path.clone(), source })?;
            Ok(Some(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned())))
        }
    }
}
