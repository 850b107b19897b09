//! From what the API server tells to the files: each event is decided and done at once.
//!
//! Contents are held only while an event is handled. A file whose contents are not at hand, such as one that surfaces because another
//! object went, is late: its object is read once more. Until all lists are whole nothing is removed, and nothing that is there already is
//! written over: the object that has the first claim to it may yet come.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    time::Duration,
};

use futures::future::OptionFuture;
use kube::{Api, Client};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout},
};

use super::{
    applied::Tracked,
    auth_file::AuthFile,
    folder::{Folder, FolderError},
    late::Late,
    links::{Fetched, Links},
    metrics::Metrics,
    notify::Changes,
    object::{Contents, Payload},
    observe::{Event, News, Scope},
    plan::{Claims, Digest, Kind, Object, ObjectId, Source, Step, Target, digest, step},
    readers::warn_of_unreadable_files,
    settings::{Method, Settings},
    streams::Streams,
    unpublished::Unpublished,
    web::Answer,
};
use crate::runtime::{
    complaint::{Complaint, with_causes},
    readiness::{Gate, Readiness},
};

/// For one object.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// Between attempts to keep a record that can't be kept, or to publish files that can't be published.
const RETRY_PAUSE: Duration = Duration::from_secs(60);
/// How long the record may wait for the disk. Journals of file systems are written every few seconds, and must not be ahead of it.
const SYNC_DELAY: Duration = Duration::from_millis(100);

/// Why the sidecar ends before it is told to.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// Nothing may be read, and nobody waits for a change of that.
    #[error("{0}")]
    Forbidden(String),
    /// The one look is over, and files are missing.
    #[error("{0} files could not be written: see the log")]
    Incomplete(usize),
    /// The one look is over, and readers see nothing of it.
    #[error("the files could not be published: see the log")]
    Unpublished,
    /// Nothing is heard any more, or never was.
    #[error("no stream of objects is left to mirror from: does the selection name any?")]
    Deaf,
}

/// The mirror at work.
pub(super) struct Mirror {
    client: Client,
    method: Method,
    initial_is_told: bool,
    repair: bool,
    interval: Duration,
    readers: Vec<(u32, u32)>,
    streams: Streams,
    claims: Claims,
    folder: Folder,
    links: Links,
    auth_file: AuthFile,
    tracked: Option<Tracked>,
    changes: Changes,
    metrics: Metrics,
    files: Gate,
    /// Places whose contents are not at hand.
    late: Late,
    /// What was said of a place and still holds.
    complaints: BTreeMap<Target, String>,
    /// Places that several objects want, of which that was said.
    contested: BTreeSet<Target>,
    phase: Phase,
    /// What was said of the files that stay as they are because nothing may be read.
    frozen_complaint: Complaint,
    /// What was written and readers don't see yet, where files are published together.
    unpublished: Unpublished,
    /// What was said of the files since they could be published.
    publish_complaint: Complaint,
    /// When the record is to be on the disk.
    sync_at: Option<Instant>,
    /// What was said of the record since it could be kept.
    record_complaint: Complaint,
    /// Whether files may be there that nobody wants.
    prune_is_due: bool,
}

/// How far the first sync is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Lists are not whole yet.
    Listing,
    /// All lists were whole once, or are forbidden.
    Synced,
    /// That, and all files were tried.
    Complete,
}

impl Mirror {
    /// A mirror into this folder.
    #[must_use]
    pub(super) fn new(
        settings: &Settings,
        client: Client,
        scopes: Vec<Scope>,
        folder: Folder,
        changes: Changes,
        metrics: Metrics,
        readiness: &Readiness,
    ) -> Self {
        Self {
            client,
            method: settings.method,
            // Where files of ours are left, an app may be running that knows them: this is no first sync to it.
            initial_is_told: settings.notify.initial || folder.count() > 0,
            repair: settings.files.repair,
            interval: settings.pace.interval,
            readers: settings.files.readers.clone(),
            files: readiness.gate("files"),
            streams: Streams::new(scopes, readiness),
            claims: Claims::new(settings.rules.clone()),
            links: Links::new(settings.web.clone()),
            auth_file: AuthFile(settings.files.auth_file.clone()),
            tracked: settings.applied.clone().map(Tracked::new),
            folder,
            changes,
            metrics,
            late: Late::default(),
            complaints: BTreeMap::new(),
            contested: BTreeSet::new(),
            phase: Phase::Listing,
            frozen_complaint: Complaint::default(),
            unpublished: Unpublished::new(settings.notify.quiet, settings.notify.latest),
            publish_complaint: Complaint::default(),
            sync_at: None,
            record_complaint: Complaint::default(),
            prune_is_due: true,
        }
    }

    /// Keeps the files as the events say. Ends only in mode once.
    ///
    /// # Errors
    /// In mode once, when nothing may be read or files could not be written.
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>) -> Result<(), MirrorError> {
        let mut look = interval_at(Instant::now() + self.interval, self.interval);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let retry = OptionFuture::from(self.late.next_due().filter(|_| self.is_synced()).map(sleep_until));
            let sync = OptionFuture::from(self.sync_at.map(sleep_until));
            let publish = OptionFuture::from(self.unpublished.due().filter(|_| self.is_synced()).map(sleep_until));
            tokio::select! {
                event = events.recv() => match event {
                    Some((number, news)) => self.hear(number, news),
                    None => return Err(MirrorError::Deaf),
                },
                fetched = self.links.next() => self.fetched(fetched),
                Some(()) = retry => self.read_late().await,
                Some(()) = sync => self.sync_record(),
                // The first sync is published with its end.
                Some(()) = publish => self.publish_due(),
                _ = look.tick(), if self.repair && self.is_synced() => self.look_at_files(),
            }
            self.advance();
            if self.method == Method::Once
                && let Some(ended) = self.ended()
            {
                self.sync_record();
                return ended;
            }
        }
    }

    /// Whether the one look is over, and how.
    fn ended(&self) -> Option<Result<(), MirrorError>> {
        let unwritten = self.unwritten() + usize::from(self.auth_file.missing(&self.folder).is_some());
        match self.streams.forbidden_everywhere() {
            Some(advice) => Some(Err(MirrorError::Forbidden(advice))),
            None if self.phase == Phase::Synced && self.publish_complaint.is_open() => Some(Err(MirrorError::Unpublished)),
            None if self.phase < Phase::Complete => None,
            None if unwritten > 0 => Some(Err(MirrorError::Incomplete(unwritten))),
            None => Some(Ok(())),
        }
    }

    fn hear(&mut self, number: usize, news: News) {
        let is_all_forbidden = self.streams.forbidden_everywhere().is_some();
        let Some(stream) = self.streams.get_mut(number) else { return };
        match news {
            News::Listing => stream.listing(),
            News::Object(payload) => {
                let kind = stream.scope().kind;
                stream.shows(&payload.id(kind));
                let (object, contents) = self.take(*payload, kind);
                let (touched, refused) = self.claims.put(&object);
                for refusal in refused {
                    tracing::warn!(object = %object.id, key = refusal.key, error = with_causes(&refusal.reason), "a key can't be mirrored");
                }
                self.settle(touched, Some((&object.id, &contents)));
            }
            News::Listed => {
                for id in stream.listed() {
                    self.gone(&id);
                }
            }
            News::Gone(id) => {
                stream.misses(&id);
                self.gone(&id);
            }
            News::Forbidden(refusal) => {
                stream.forbidden(&refusal);
                self.streams.show_forbidden();
            }
            // Rights that are all gone are more likely to be given anew in a moment than taken away on purpose.
            News::Lost if is_all_forbidden => {
                if self.frozen_complaint.is_first() {
                    tracing::warn!("nothing at all may be read: the files stay as they are");
                }
            }
            News::Lost => {
                for id in stream.lost() {
                    self.gone(&id);
                }
            }
            News::Failing => stream.failing(),
            News::Answering => {
                self.frozen_complaint.settle();
                stream.answering();
                self.streams.show_forbidden();
            }
        }
    }

    fn take(&mut self, payload: Payload, kind: Kind) -> (Object, Contents) {
        if let Some(tracked) = &mut self.tracked {
            tracked.see(&payload, kind);
        }
        payload.read(kind, self.claims.rules())
    }

    fn gone(&mut self, id: &ObjectId) {
        let touched = self.claims.remove(id);
        self.settle(touched, None);
    }

    /// Brings places to what is wanted there. The contents of one object may be at hand.
    fn settle(&mut self, touched: BTreeSet<Target>, at_hand: Option<(&ObjectId, &Contents)>) {
        let mut unwanted = Vec::new();
        for target in touched {
            self.tell_conflict(&target);
            let wanted = self.claims.winner(&target);
            let next = step(wanted.map(|(_, wanted)| wanted), self.folder.present(&target));
            let contents = wanted.and_then(|(claim, _)| at_hand.filter(|(id, _)| **id == claim.id)?.1.get(&claim.key));
            self.links.forget_others(&target, wanted.and_then(|(_, wanted)| wanted.source.link()));
            match (next, wanted, contents) {
                (Step::Keep, ..) => self.done(&target),
                (Step::Remove, ..) => unwanted.push(target),
                (Step::SetMode, Some((_, wanted)), _) => {
                    let done = self.folder.set_mode(&target, wanted.mode);
                    self.tried(&target, done);
                }
                (Step::Write, Some((_, wanted)), Some(bytes)) if self.is_synced() || self.folder.present(&target).is_none() => {
                    self.write(&target, bytes, wanted.mode, None);
                }
                (Step::Fetch, Some((_, wanted)), Some(bytes)) => {
                    if let Source::Link(link) = wanted.source {
                        self.late.remove(&target);
                        self.links.want(&target, link, String::from_utf8_lossy(bytes).into_owned());
                    }
                }
                _ => self.late.add(target, Instant::now()),
            }
        }
        // New names are there before old ones go.
        for target in unwanted {
            self.remove(&target);
        }
    }

    /// Returns whether the file holds them.
    fn write(&mut self, target: &Target, bytes: &[u8], mode: u32, link: Option<Digest>) -> bool {
        if let Err(why) = self.auth_file.check(target, bytes) {
            self.not_written(target, why);
            return false;
        }
        self.changes.expect();
        let done = self.folder.write(target, bytes, mode, link);
        let is_written = done.is_ok();
        if is_written {
            tracing::debug!(file = self.name(target), bytes = bytes.len(), "written");
            self.metrics.written();
            self.changed(target);
        } else {
            self.unchanged();
        }
        self.tried(target, done);
        is_written
    }

    fn remove(&mut self, target: &Target) {
        self.late.remove(target);
        // Who wants it may be in a list that is not whole yet.
        if !self.is_synced() || self.folder.present(target).is_none() {
            return;
        }
        if self.auth_file.is(target) {
            return self.complain(target, "no object has this list of users any more; the last one stays".to_owned());
        }
        self.changes.expect();
        let done = self.folder.remove(target);
        if done.is_ok() {
            tracing::debug!(file = self.name(target), "removed");
            self.metrics.removed();
            self.changed(target);
        } else {
            self.unchanged();
            self.prune_is_due = true;
        }
        self.tried(target, done);
    }

    /// A file has changed, which is told once readers see it.
    fn changed(&mut self, target: &Target) {
        let name = self.name(target);
        if self.folder.has_unpublished() {
            self.unpublished.add(name, Instant::now());
        } else {
            self.changes.add(name);
        }
    }

    /// A file was to change, and didn't.
    fn unchanged(&self) {
        if self.unpublished.is_empty() {
            self.changes.settle();
        }
    }

    /// Lets readers see what was written since the last time. Returns whether they do.
    fn publish(&mut self) -> bool {
        match self.folder.publish() {
            Ok(()) => {
                self.publish_complaint.settle();
                for name in self.unpublished.take() {
                    self.changes.add(name);
                }
                true
            }
            Err(error) => {
                if self.publish_complaint.is_new(&error) {
                    tracing::error!(error = with_causes(&error), "what changed is not published yet; trying again");
                }
                self.unpublished.put_off(Instant::now() + RETRY_PAUSE);
                false
            }
        }
    }

    fn publish_due(&mut self) {
        if self.phase == Phase::Complete {
            self.publish();
        } else {
            self.unpublished.put_off(Instant::now() + RETRY_PAUSE);
        }
    }

    fn tried(&mut self, target: &Target, done: Result<(), FolderError>) {
        let Err(error) = done else { return self.done(target) };
        self.not_written(target, with_causes(&error));
    }

    fn not_written(&mut self, target: &Target, complaint: String) {
        self.late.not_written(target, Instant::now());
        self.complain(target, complaint);
    }

    fn done(&mut self, target: &Target) {
        self.late.remove(target);
        self.complaints.remove(target);
    }

    fn complain(&mut self, target: &Target, complaint: String) {
        if self.complaints.get(target) != Some(&complaint) {
            tracing::error!(file = self.name(target), "{complaint}");
            self.complaints.insert(target.clone(), complaint);
        }
    }

    fn tell_conflict(&mut self, target: &Target) {
        let losers: Vec<String> = self.claims.losers(target).map(|claim| claim.id.to_string()).collect();
        if losers.is_empty() {
            self.contested.remove(target);
            return;
        }
        let is_new = self.contested.insert(target.clone());
        if let Some((winner, _)) = self.claims.winner(target).filter(|_| is_new) {
            tracing::warn!(
                file = self.name(target), shown = %winner.id, hidden = losers.join(", "),
                "objects want the same file: the first by namespace, kind and name is shown; UNIQUE_FILENAMES=true shows all"
            );
        }
    }

    fn fetched(&mut self, Fetched { target, link, answer }: Fetched) {
        let wanted = self.claims.winner(&target).map(|(_, wanted)| wanted);
        let Some(wanted) = wanted.filter(|wanted| wanted.source == Source::Link(link)) else { return };
        match answer {
            Ok(Answer::Unchanged) if self.folder.present(&target).is_some_and(|present| present.link == Some(link)) => self.done(&target),
            // Somebody changed the file, which is about to be fetched anew.
            Ok(Answer::Unchanged) => {}
            Ok(Answer::Contents(bytes, version)) => {
                let is_there = self.folder.present(&target).is_some_and(|present| present.digest == digest(&bytes));
                let is_there = is_there || self.write(&target, &bytes, wanted.mode, Some(link));
                // What could not be written is fetched again.
                self.folder.note_link(&target, Some(link).filter(|_| is_there));
                self.links.refresh(&target, version.filter(|_| is_there));
                self.settle(BTreeSet::from([target]), None);
            }
            Err(error) => {
                self.metrics.failed_download();
                self.complain(
                    &target,
                    format!("the address in its .url key can't be fetched, what was there stays: {}", with_causes(&error)),
                );
            }
        }
    }

    /// Finds out whether somebody changed our files.
    fn look_at_files(&mut self) {
        let changed = self.folder.changed_by_others();
        if !changed.is_empty() {
            tracing::warn!(files = changed.len(), "files were changed by others, and are written again");
            self.metrics.repaired(changed.len());
            self.settle(changed.into_iter().collect(), None);
        }
    }

    /// Does what is due once events were heard: the end of the first sync, what nobody wants any more, metrics.
    fn advance(&mut self) {
        if !self.is_synced() && self.streams.are_settled() {
            self.phase = Phase::Synced;
        }
        if self.is_synced() {
            self.prune();
            self.complete();
        }
        self.metrics.holds(self.folder.count(), self.claims.object_count(), self.claims.conflict_count(), self.unwritten());
        self.metrics.forbidden(self.streams.forbidden_count());
        let is_all_there = self.phase == Phase::Complete && self.unwritten() == 0 && !self.folder.has_unpublished();
        if let Some(tracked) = self.tracked.as_ref().filter(|tracked| is_all_there && self.auth_file.is_from(tracked, &self.claims)) {
            self.changes.carry(tracked.said());
        }
        // A new mode is nothing to tell, and has no name.
        if self.unpublished.due().is_none() && self.folder.has_unpublished() {
            self.unpublished.touch(Instant::now());
        }
        if self.sync_at.is_none() && self.folder.has_unsynced_record() {
            self.sync_at = Some(Instant::now() + SYNC_DELAY);
        }
    }

    fn sync_record(&mut self) {
        self.sync_at = None;
        match self.folder.sync_record() {
            Ok(()) => self.record_complaint.settle(),
            Err(error) => {
                if self.record_complaint.is_new(&error) {
                    tracing::error!(error = with_causes(&error), "the record of our files can't be kept; trying again");
                }
                self.sync_at = Some(Instant::now() + RETRY_PAUSE);
            }
        }
    }

    /// Removes what nobody wants any more, unless those who want it may be silent for a moment only.
    fn prune(&mut self) {
        if !self.prune_is_due || self.streams.may_return() {
            return;
        }
        self.prune_is_due = false;
        let unwanted: Vec<Target> = self.folder.targets().into_iter().filter(|target| self.claims.winner(target).is_none()).collect();
        if self.phase < Phase::Complete && !unwanted.is_empty() {
            tracing::info!(files = unwanted.len(), "files of an earlier run are removed: nothing that is mirrored now wants them");
        }
        for target in unwanted {
            self.remove(&target);
        }
    }

    /// Reads one object whose files are late once more, and writes these. News may come before the next one.
    async fn read_late(&mut self) {
        let Some((id, targets)) = self.next_late() else { return };
        match self.read(&id).await {
            Ok(Some(payload)) => {
                let (object, contents) = self.take(payload, id.kind);
                let (mut touched, _) = self.claims.put(&object);
                touched.extend(targets.iter().cloned());
                self.settle(touched, Some((&id, &contents)));
                // Those that are late still, such as one whose key went to another object, wait for their next turn.
                for target in &targets {
                    self.late.not_read(target, Instant::now());
                }
            }
            // That it is gone is about to be told.
            Ok(None) => {
                for target in &targets {
                    self.late.remove(target);
                }
            }
            Err(error) => {
                for target in &targets {
                    self.late.not_read(target, Instant::now());
                    self.complain(target, format!("{id} can't be read again: {}", with_causes(&*error)));
                }
            }
        }
    }

    /// The first object that is due, with all of its files that are.
    fn next_late(&mut self) -> Option<(ObjectId, BTreeSet<Target>)> {
        let mut next: Option<(ObjectId, BTreeSet<Target>)> = None;
        for target in self.late.due(Instant::now()) {
            let Some((claim, _)) = self.claims.winner(&target) else {
                self.late.remove(&target);
                continue;
            };
            let id = claim.id.clone();
            if self.folder.is_blocked(&target) {
                // Its contents would help nobody.
                let foreign = FolderError::Foreign(self.name(&target));
                self.tried(&target, Err(foreign));
            } else if next.as_ref().is_none_or(|(first, _)| *first == id) {
                next.get_or_insert_with(|| (id, BTreeSet::new())).1.insert(target);
            }
        }
        next
    }

    async fn read(&self, id: &ObjectId) -> Result<Option<Payload>, Box<dyn Error + Send + Sync>> {
        let objects: Api<Payload> = Api::namespaced_with(self.client.clone(), &id.namespace, &id.kind);
        Ok(timeout(READ_LIMIT, objects.get_opt(&id.name)).await??)
    }

    /// Says that the first sync is complete, once it is.
    fn complete(&mut self) {
        let were_all_tried = match self.method {
            Method::Once => self.late.were_all_asked(),
            // The app would start with the contents of yesterday.
            Method::Watch | Method::Poll => self.late.were_all_read() && self.auth_file.missing(&self.folder).is_none(),
        };
        if self.phase == Phase::Synced && self.links.were_all_tried() && were_all_tried && self.publish() {
            self.phase = Phase::Complete;
            self.changes.release(self.initial_is_told);
            warn_of_unreadable_files(&self.folder, self.claims.rules(), &self.readers);
            tracing::info!(files = self.folder.count(), "the first sync is complete");
        }
        let missing = self.unwritten();
        let complaint = self.complaints.values().next().map_or("they are being read", String::as_str);
        let said = format!("{missing} files are missing: {complaint}");
        match self.phase {
            Phase::Complete if missing == 0 => self.files.open(),
            Phase::Complete => self.files.open_with(said),
            Phase::Synced if missing > 0 => self.files.close_with(said),
            Phase::Synced if self.auth_file.missing(&self.folder).is_some() => self.files.close_with("no object has the list of users yet"),
            Phase::Synced if self.folder.has_unpublished() => self.files.close_with("they can't be published: see the log"),
            Phase::Synced | Phase::Listing => {}
        }
    }

    /// How many files are not as they should be yet.
    fn unwritten(&self) -> usize {
        self.late.count() + self.links.count()
    }

    fn is_synced(&self) -> bool {
        self.phase >= Phase::Synced
    }

    fn name(&self, target: &Target) -> String {
        self.claims.rules().record(target)
    }
}
