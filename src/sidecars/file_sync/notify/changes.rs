//! The changes that were not told yet. A file beside the mirrored ones says that there are some, so that a crash does not swallow them.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::Batch;
use crate::{runtime::complaint::with_causes, sidecars::file_sync::metrics::Metrics};

/// The file's name in the folder.
const NAME: &str = ".outrigger-unnotified";
/// Files that are named; the others are counted.
const MOST_NAMES: usize = 100;
/// Their names are this long at most, all together in bytes: Linux takes 128 KiB in one variable (execve(2)).
const LONGEST_NAMES: usize = 64 * 1024;

/// What changed and is to be told. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Changes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    news: Notify,
    metrics: Metrics,
    /// Where the file is; none where nobody is to be told.
    path: Option<PathBuf>,
    folder: String,
}

#[derive(Debug)]
struct State {
    files: BTreeSet<String>,
    /// Changes of files that are not named.
    unnamed: usize,
    /// How long the names are.
    length: usize,
    /// Counts the changes; what was told is told up to one of them.
    generation: u64,
    is_marked: bool,
    /// Nothing is told before the first sync is whole.
    is_released: bool,
    /// Whether there is something to tell that is no change of a file: an earlier run left it, or an object says something else of itself.
    is_left: bool,
    telling: Telling,
}

/// What the object that matters says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Its annotation, if it has it.
    pub(crate) digest: Option<String>,
    /// Users of `PgBouncer` whose sessions are to end.
    pub(crate) removed_users: BTreeSet<String>,
}

/// What everybody was told of last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The object's annotation, if it had it.
    pub(crate) digest: Option<String>,
    /// How many sessions of removed users `PgBouncer` could not end.
    pub(crate) remaining: usize,
}

/// How far the telling is.
#[derive(Debug, Default)]
struct Telling {
    /// As readers see its files now. None before all of them are there.
    present: Option<Said>,
    /// As they were when the telling began.
    being_told: Option<Said>,
    /// As they were when everybody had last been told.
    told: Option<Said>,
    /// How many sessions of removed users go on.
    remaining: usize,
    /// Why the last telling failed.
    failure: Option<String>,
}

impl State {
    /// Names a file, or counts it where there is no room for its name.
    fn name(&mut self, file: String) {
        if self.files.contains(&file) {
            return;
        }
        let length = self.length + file.len() + 1;
        if self.files.len() < MOST_NAMES && length <= LONGEST_NAMES {
            self.length = length;
            self.files.insert(file);
        } else {
            self.unnamed += 1;
        }
    }

    fn is_waiting(&self) -> bool {
        self.is_left || !self.files.is_empty()
    }
}

impl Changes {
    /// Changes below `folder`. If nobody `is_told`, they are forgotten at once.
    #[must_use]
    pub(crate) fn new(folder: &str, is_told: bool, metrics: Metrics) -> Self {
        let path = is_told.then(|| Path::new(folder).join(NAME));
        // Whatever is there says that something is left to tell; a link that somebody put there is not followed.
        let is_left = path.as_ref().is_some_and(|path| fs::symlink_metadata(path).is_ok());
        let state = State {
            files: BTreeSet::new(),
            unnamed: 0,
            length: 0,
            generation: 0,
            is_marked: is_left,
            is_released: false,
            is_left,
            telling: Telling::default(),
        };
        metrics.pending(is_left);
        Self { shared: Arc::new(Shared { state: Mutex::new(state), news: Notify::new(), metrics, path, folder: folder.to_owned() }) }
    }

    /// Files are about to change. Whatever happens from now on, they will be told of.
    pub(crate) fn expect(&self) {
        let mut state = self.lock();
        if let Some(path) = self.shared.path.as_ref().filter(|_| !state.is_marked) {
            match fs::File::create_new(path) {
                Ok(_) => state.is_marked = true,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => state.is_marked = true,
                Err(error) => {
                    tracing::warn!(error = with_causes(&error), "a crash before the next notification would swallow it");
                }
            }
        }
    }

    /// A file has changed.
    pub(crate) fn add(&self, file: String) {
        if self.shared.path.is_none() {
            return;
        }
        let mut state = self.lock();
        state.name(file);
        state.generation += 1;
        self.shared.metrics.pending(true);
        if state.is_released {
            self.shared.news.notify_one();
        }
    }

    /// All files are as the object wants them that says this of itself.
    pub(crate) fn carry(&self, said: Said) {
        let mut state = self.lock();
        if state.telling.present.as_ref() == Some(&said) {
            return;
        }
        state.telling.present = Some(said);
        state.is_left = true;
        state.generation += 1;
        self.shared.metrics.pending(true);
        if state.is_released {
            self.shared.news.notify_one();
        }
    }

    /// What the object said of itself whose files everybody was last told of.
    ///
    /// # Errors
    /// Nobody was told yet, for this reason.
    pub(crate) fn applied(&self) -> Result<Applied, String> {
        let Telling { present, told, remaining, failure, .. } = &self.lock().telling;
        let told = told.as_ref().map(|said| Applied { digest: said.digest.clone(), remaining: *remaining });
        told.ok_or_else(|| match (failure, present) {
            (Some(failure), _) => failure.clone(),
            (None, Some(_)) => "the files are there, and are being told of".to_owned(),
            (None, None) => "the files are not there yet: /readyz says why".to_owned(),
        })
    }

    /// What is being told could not be.
    pub(crate) fn failed(&self, why: String) {
        self.lock().telling.failure = Some(why);
    }

    /// So many sessions of removed users can't be ended.
    pub(crate) fn remain(&self, sessions: usize) {
        self.lock().telling.remaining = sessions;
    }

    /// The users of whom sessions remained.
    #[must_use]
    pub(crate) fn remaining_users(&self) -> Option<BTreeSet<String>> {
        let Telling { told, remaining, .. } = &self.lock().telling;
        told.as_ref().filter(|_| *remaining > 0).map(|said| said.removed_users.clone())
    }

    /// Everybody was told what [`Self::batch`] returned last.
    pub(crate) fn heard(&self) {
        let telling = &mut self.lock().telling;
        telling.failure = None;
        if let Some(said) = telling.being_told.take() {
            telling.told = Some(said);
        }
    }

    /// What was expected did not happen.
    pub(crate) fn settle(&self) {
        let mut state = self.lock();
        if !state.is_waiting() {
            self.unmark(&mut state);
        }
    }

    /// The first sync is whole: from now on changes are told, those of the first sync if it `is_told`.
    pub(crate) fn release(&self, is_told: bool) {
        let mut state = self.lock();
        state.is_released = true;
        if !is_told && !state.is_left {
            self.forget(&mut state);
        }
        if state.is_waiting() {
            self.shared.news.notify_one();
        }
    }

    /// Whether there is something to tell.
    #[must_use]
    pub(crate) fn are_waiting(&self) -> bool {
        self.lock().is_waiting()
    }

    /// Waits until there is something to tell.
    pub(crate) async fn wait(&self) {
        loop {
            {
                let state = self.lock();
                if state.is_released && state.is_waiting() {
                    return;
                }
            }
            self.shared.news.notified().await;
        }
    }

    /// Waits for one more change.
    pub(crate) async fn next(&self) {
        self.shared.news.notified().await;
    }

    /// All that is to be told, and up to which change that is.
    #[must_use]
    pub(crate) fn batch(&self) -> (Batch, u64) {
        let mut state = self.lock();
        let present = state.telling.present.clone();
        let removed_users = present.as_ref().map(|said| said.removed_users.clone()).unwrap_or_default();
        state.telling.being_told = present;
        let files = state.files.iter().cloned().collect();
        (Batch { files, count: state.files.len() + state.unnamed, folder: self.shared.folder.clone(), removed_users }, state.generation)
    }

    /// All was told up to this change.
    pub(crate) fn delivered(&self, generation: u64) {
        let mut state = self.lock();
        // What came meanwhile is told in the next batch, with what was told already.
        if state.generation == generation {
            state.is_left = false;
            self.forget(&mut state);
        }
    }

    fn forget(&self, state: &mut State) {
        state.files.clear();
        (state.unnamed, state.length) = (0, 0);
        self.shared.metrics.pending(false);
        self.unmark(state);
    }

    fn unmark(&self, state: &mut State) {
        if let Some(path) = self.shared.path.as_ref().filter(|_| state.is_marked) {
            match fs::remove_file(path) {
                Ok(()) => state.is_marked = false,
                Err(error) if error.kind() == ErrorKind::NotFound => state.is_marked = false,
                Err(error) => tracing::warn!(error = with_causes(&error), "the next start will notify once more"),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What it holds is whole after any panic.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(folder: &Path) -> Changes {
        Changes::new(&folder.display().to_string(), true, Metrics::default())
    }

    #[test]
    fn what_was_not_told_is_told_by_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let first = changes(folder.path());
        first.expect();
        assert!(changes(folder.path()).are_waiting(), "it ended before it could say what changed");
        first.release(true);
        first.add("a".to_owned());
        let (batch, generation) = first.batch();
        assert_eq!((batch.files, batch.count), (vec!["a".to_owned()], 1));
        first.add("b".to_owned());
        first.delivered(generation);
        assert!(first.are_waiting() && changes(folder.path()).are_waiting(), "b was not told");
        let (batch, generation) = first.batch();
        assert_eq!(batch.count, 2);
        first.delivered(generation);
        assert!(!first.are_waiting() && !changes(folder.path()).are_waiting());
    }

    #[test]
    fn the_first_sync_is_told_by_choice_but_never_hides_what_is_left_of_before() {
        let folder = tempfile::tempdir().unwrap();
        let first = changes(folder.path());
        first.expect();
        first.add("a".to_owned());
        first.release(false);
        assert!(!first.are_waiting() && !changes(folder.path()).are_waiting());

        first.expect();
        let second = changes(folder.path());
        second.add("b".to_owned());
        second.release(false);
        assert!(second.are_waiting(), "the run before had something to tell");
    }

    #[test]
    fn a_change_that_did_not_happen_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let changes = changes(folder.path());
        changes.expect();
        changes.settle();
        assert!(!self::changes(folder.path()).are_waiting());
        changes.add("a".to_owned());
        changes.expect();
        changes.settle();
        assert!(self::changes(folder.path()).are_waiting(), "another one did");
    }

    #[test]
    fn as_many_files_are_named_as_a_variable_can_hold_and_the_others_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let many = changes(folder.path());
        (0..150).for_each(|number| many.add(format!("file-{number:03}")));
        many.add("file-000".to_owned());
        let (batch, generation) = many.batch();
        assert_eq!((batch.files.len(), batch.count), (100, 150));
        many.delivered(generation);
        let deep = "d/".repeat(2000);
        (0..40).for_each(|number| many.add(format!("{deep}{number}")));
        let (batch, _) = many.batch();
        assert_eq!((batch.files.len(), batch.count), (16, 40));
        assert!(batch.files.join("\n").len() <= LONGEST_NAMES);
    }

    #[test]
    fn what_an_object_says_of_itself_counts_once_everybody_was_told_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let changes = changes(folder.path());
        let said = |digest: &str| Said { digest: Some(digest.to_owned()), removed_users: BTreeSet::from([format!("not-in-{digest}")]) };
        let applied = |digest: &str, remaining| Ok(Applied { digest: Some(digest.to_owned()), remaining });
        assert!(changes.applied().unwrap_err().contains("not there yet"));
        changes.release(true);
        changes.carry(said("one"));
        assert!(changes.are_waiting(), "also if no file has changed: an earlier run may have told nobody");
        let (_, generation) = changes.batch();
        changes.failed("the door is closed".to_owned());
        assert_eq!(changes.applied(), Err("the door is closed".to_owned()));
        changes.carry(said("two"));
        changes.heard();
        changes.delivered(generation);
        assert_eq!(changes.applied(), applied("one", 0), "what was told is what was there when it began");
        assert!(changes.are_waiting(), "two was not told");

        let (batch, generation) = changes.batch();
        assert_eq!(batch.removed_users, said("two").removed_users);
        changes.remain(1);
        assert_eq!(changes.remaining_users(), Some(said("one").removed_users), "those of the list that is in use");
        changes.heard();
        changes.delivered(generation);
        assert_eq!((changes.applied(), changes.remaining_users()), (applied("two", 1), Some(said("two").removed_users)));
        changes.remain(0);
        assert_eq!((changes.applied(), changes.remaining_users()), (applied("two", 0), None));
        changes.carry(said("two"));
        assert!(!changes.are_waiting(), "nothing is new");
        changes.carry(Said::default());
        let (_, _) = changes.batch();
        changes.failed("the door is closed".to_owned());
        assert_eq!(changes.applied(), applied("two", 0), "what was told last");
    }

    #[test]
    fn where_nobody_is_told_nothing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let changes = Changes::new(&folder.path().display().to_string(), false, Metrics::default());
        changes.expect();
        changes.add("a".to_owned());
        assert!(!changes.are_waiting());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
