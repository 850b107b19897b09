//! `PgBouncer`'s list of users among the mirrored files. A list that locks people out is worse than an old one: what `PgBouncer` can't read
//! as a whole is never written, and the last list stays when its object goes.

use super::{
    applied::Tracked,
    folder::Folder,
    plan::{Claims, Target},
};
use crate::{
    postgres::auth_file::{AuthFileError, count_users},
    runtime::complaint::with_causes,
};

/// Which file is the list, if one is.
#[derive(Debug)]
pub(super) struct AuthFile(pub(super) Option<Target>);

impl AuthFile {
    /// What is wrong with these contents of a file, if it is the list.
    ///
    /// # Errors
    /// They must not be written.
    pub(super) fn check(&self, target: &Target, contents: &[u8]) -> Result<(), String> {
        if !self.is(target) {
            return Ok(());
        }
        count_users(contents).map(drop).map_err(|error: AuthFileError| format!("{}; what was there stays", with_causes(&error)))
    }

    /// Whether a file is the list.
    pub(super) fn is(&self, target: &Target) -> bool {
        self.0.as_ref() == Some(target)
    }

    /// Whether an object holds the list, so that what it says of itself is said of the list. One without the list leaves an older one in use.
    pub(super) fn is_from(&self, tracked: &Tracked, claims: &Claims) -> bool {
        self.0.as_ref().is_none_or(|target| claims.winner(target).is_some_and(|(claim, _)| tracked.is(&claim.id)))
    }

    /// The list, if it is not there yet.
    #[must_use]
    pub(super) fn missing(&self, folder: &Folder) -> Option<&Target> {
        self.0.as_ref().filter(|target| folder.present(target).is_none())
    }
}
