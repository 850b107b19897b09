//! Notices changes of files at once. The kubelet swaps the `..data` link of a mounted Secret, which is a rename in the mounted folder.

use std::{io, mem::MaybeUninit, path::PathBuf, time::Duration};

use rustix::{
    fd::OwnedFd,
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::Errno,
};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, timeout_at},
};

/// Changes come in groups: so long must nothing have happened until one is taken for over.
const QUIET: Duration = Duration::from_millis(100);
/// It is taken for over then in any case.
const LONGEST_GROUP: Duration = Duration::from_secs(2);

/// Looks at folders.
pub(crate) struct Watch {
    inotify: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Begins to look.
    #[expect(deprecated, reason = "an OwnedFd stays open for as long as it is registered, and there is no other way without unsafe code")]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { inotify: AsyncFd::new(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?)? })
    }

    /// Looks at these folders, too. One that isn't there is seen when it appears in one that is looked at.
    pub(crate) fn follow(&self, folders: &[PathBuf]) -> io::Result<()> {
        let flags = WatchFlags::ONLYDIR
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB;
        for folder in folders {
            match inotify::add_watch(self.inotify.get_ref(), folder, flags) {
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until something changed, and nothing more does for a moment.
    pub(crate) async fn changed(&self) -> io::Result<()> {
        self.next().await?;
        let end = Instant::now() + LONGEST_GROUP;
        while let Ok(next) = timeout_at(end.min(Instant::now() + QUIET), self.next()).await {
            next?;
        }
        Ok(())
    }

    /// Waits for the next changes, and takes note of all there are.
    async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let mut buffer = [MaybeUninit::uninit(); 4096];
            match rustix::io::read(self.inotify.get_ref(), &mut buffer) {
                Ok(_) => return Ok(()),
                Err(Errno::WOULDBLOCK) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_swap_as_the_kubelet_makes_it_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("..one")).unwrap();
        symlink("..one", path("..data")).unwrap();
        let watch = Watch::new().unwrap();
        watch.follow(&[folder.path().to_owned(), path("not there")]).unwrap();
        fs::create_dir(path("..two")).unwrap();
        symlink("..two", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        tokio::time::timeout(LONG, watch.changed()).await.unwrap().unwrap();
    }
}
