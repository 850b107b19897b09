//! Files that the app can't read would look to it as if they weren't there.

use super::{
    folder::Folder,
    plan::{Rules, Target},
};
use crate::api::file_access::can_read;

/// Warns of files that one of these users can't read.
pub(super) fn warn_of_unreadable_files(folder: &Folder, rules: &Rules, readers: &[(u32, u32)]) {
    for (user, group) in readers {
        let owned = folder.targets().into_iter().filter_map(|target| Some((folder.owner(&target)?, target)));
        let unreadable: Vec<Target> = owned
            .filter(|((owner, owners, mode), _)| !can_read(*mode, (*owner, *owners), *user, &[*group]))
            .map(|(_, target)| target)
            .collect();
        if let Some(first) = unreadable.first() {
            tracing::warn!(
                user,
                group,
                files = unreadable.len(),
                file = rules.record(first),
                "the app can't read these files: give the pod an fsGroup, run the app as our user, or set DEFAULT_FILE_MODE"
            );
        }
    }
}
