//! The file mirror: `ConfigMap`s and Secrets as files, for as long as the pod runs.
//!
//! `observe` hears what the API server tells, `plan` decides what belongs where, `folder` does it and keeps a `record` of what is ours, or publishes all files together
//! as a `set`, and
//! `notify` tells the app. `mirror` goes from one to the next. `applied` says which contents the app was told of, and `auth_file` guards a
//! `PgBouncer`'s list of users.

mod advice;
mod applied;
mod auth_file;
mod disk;
mod folder;
mod late;
mod links;
mod lock;
mod metrics;
mod mirror;
mod notify;
mod object;
mod observe;
pub mod plan;
mod readers;
mod record;
mod set;
pub mod settings;
mod streams;
mod unpublished;
mod web;

use axum::Router;
use futures::future::join_all;
use kube::Client;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

pub use folder::FolderError;
pub use mirror::MirrorError;
pub use notify::ScriptError;

use crate::runtime::{orphans::Orphans, pulse::Pulses, readiness::Readiness};
use folder::Folder;
use metrics::Metrics;
use mirror::Mirror;
use notify::{Changes, Notifier};
use observe::{Scope, Stream, scopes, silence_limit};
use settings::{Method, Settings};

/// News that wait for the mirror. Each may hold a whole object, so few wait.
const NEWS_WAITING: usize = 1;

/// Why the sidecar ends before it is told to.
#[derive(Debug, thiserror::Error)]
pub enum FileSyncError {
    /// The files can't be kept.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The script can't be run.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// The one look came to nothing.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
}

/// A sidecar that is ready to run.
pub struct FileSync {
    method: Method,
    mirror: Mirror,
    notifier: Notifier,
    streams: Vec<Stream>,
    client: Client,
    events: mpsc::Receiver<observe::Event>,
    routes: Router,
}

impl FileSync {
    /// Opens the folders and gets ready. `namespace` is the pod's own; `orphans` is told of the scripts that run.
    ///
    /// # Errors
    /// A folder or the script can't be used.
    pub fn new(
        settings: &Settings,
        client: Client,
        namespace: &str,
        orphans: &Orphans,
        readiness: &Readiness,
        pulses: &Pulses,
        registry: &mut Registry,
    ) -> Result<Self, FileSyncError> {
        notify::check(&settings.notify)?;
        let metrics = Metrics::new(registry);
        let folder = Folder::open(settings.rules.clone(), settings.files.clone())?;
        let first_root = settings.rules.roots.first().map(String::as_str).unwrap_or_default();
        let changes = Changes::new(first_root, settings.notify.is_anybody_told(), metrics.clone());
        let scopes = scopes(&settings.selection, namespace);
        let (sender, events) = mpsc::channel(NEWS_WAITING);
        let stream = |(number, scope): (usize, &Scope)| Stream {
            number,
            scope: scope.clone(),
            method: settings.method,
            pace: settings.pace.clone(),
            events: sender.clone(),
            pulse: pulses.pulse(scope.to_string(), silence_limit(&settings.pace, settings.method)),
            metrics: metrics.clone(),
        };
        let streams = scopes.iter().enumerate().map(stream).collect();
        let notifier = Notifier::new(settings.notify.clone(), &settings.web, changes.clone(), orphans, metrics.clone());
        let routes = settings.applied.as_ref().map_or_else(Router::new, |which| applied::router(which, changes.clone()));
        let mirror = Mirror::new(settings, client.clone(), scopes, folder, changes, metrics, readiness);
        Ok(Self { method: settings.method, mirror, notifier, streams, client, events, routes })
    }

    /// What it answers on the health port beside what all sidecars do.
    pub fn routes(&self) -> Router {
        self.routes.clone()
    }

    /// Mirrors until this is dropped; in mode once, until that is done.
    ///
    /// # Errors
    /// In mode once, files are missing.
    pub async fn run(self) -> Result<(), FileSyncError> {
        let Self { method, mirror, notifier, streams, client, events, routes: _ } = self;
        let streams = join_all(streams.into_iter().map(|stream| stream.run(client.clone())));
        let mirror = mirror.run(events);
        if method == Method::Once {
            let (mirrored, _) = tokio::join!(mirror, streams);
            // Those files that changed did change, even if others are missing. Before the first sync nothing is told.
            if matches!(mirrored, Ok(()) | Err(MirrorError::Incomplete(_))) {
                notifier.finish().await;
            }
            return Ok(mirrored?);
        }
        tokio::select! {
            mirrored = mirror => mirrored?,
            _ = streams => return Err(MirrorError::Deaf.into()),
            () = notifier.run() => {}
        }
        Ok(())
    }
}
