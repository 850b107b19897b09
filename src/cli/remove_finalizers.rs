//! `outrigger remove-finalizers`: nobody is left who would take them off. `helm uninstall` runs it.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, Resource,
    api::{ListParams, Patch},
    core::{DynamicObject, PartialObjectMeta},
    discovery::ApiResource,
};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    api::{
        duration, finalizer, pg_database::PgDatabase, pg_server::PgServer, session::Session, session_template::SessionTemplate,
        user_list::UserList,
    },
    runtime::{
        backoff::Backoff,
        lease::{Campaign, Claim, WRITE_DEADLINE},
        pages::Pages,
        request::{self, RequestError},
        shutdown::Shutdown,
        telemetry::{self, LogFormat},
    },
};

use super::{NOTHING_FOUND, connection, console};

const EXAMPLES: &str = "\
Examples:
  # Before the controllers are deleted for good
  outrigger remove-finalizers --namespace outrigger

Objects stay as they are, and so does what they stand for, such as databases. One that was deleted already goes at once.
While the controllers run, one of them holds the lease and nothing is done: end them first.";

/// Objects in a page. Only their metadata is asked for.
const PAGE_SIZE: u32 = 200;
/// What an API server answers about what is not there.
const NOT_FOUND: u16 = 404;
/// Between attempts, where the API server refuses one or somebody else was quicker.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Take our finalizers off all objects of our kinds, so that they can be deleted without us
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RemoveFinalizers {
    /// Namespace of the installation.
    #[arg(long, default_value = "outrigger", env = "OUTRIGGER_NAMESPACE")]
    namespace: String,

    /// The Lease of the controllers: none of them may put a finalizer on again meanwhile.
    #[arg(long, value_name = "NAME", default_value = "outrigger-controllers", env = "OUTRIGGER_LEASE")]
    lease: String,

    /// How to reach the cluster; without it, as a pod does, or as kubectl does.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// How long to try.
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = duration::parse)]
    deadline: Duration,
}

/// What has been done, for whoever asked.
enum Progress {
    /// A finalizer of ours was taken off this object.
    Freed(String),
    /// This stands in the way; it is tried again.
    Hindered(anyhow::Error),
    /// Nothing of ours is left.
    Done,
}

impl RemoveFinalizers {
    /// Prints each object that was freed.
    pub(super) fn run(self) -> Result<ExitCode> {
        telemetry::start_logging("warn", LogFormat::Text)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime can't start")?;
        runtime.block_on(self.remove())?;
        Ok(NOTHING_FOUND)
    }

    async fn remove(self) -> Result<()> {
        let client = connection::connect(connection::config(self.kubeconfig.as_deref()).await?)?;
        let leases: Api<Lease> = Api::namespaced(client.clone(), &self.namespace);
        let campaign = Campaign::new(leases, self.lease.clone(), connection::identity()?, &mut Registry::default());
        let (progress, mut told) = mpsc::channel(1);
        let work = move |claim| free_all(client.clone(), claim, progress.clone());
        let mut hindrance = None;
        let done = async {
            let mut freed = 0_u64;
            while let Some(progress) = told.recv().await {
                match progress {
                    Progress::Freed(title) => {
                        console::print(&format!("{title} is free\n"))?;
                        freed += 1;
                    }
                    Progress::Hindered(error) => hindrance = Some(error),
                    Progress::Done => break,
                }
            }
            console::print(&format!("no finalizer of ours is left; objects that had one: {freed}\n"))?;
            Ok(())
        };
        // The lease is not given back: whichever controller is still about is to end before it runs out.
        let outcome = timeout(self.deadline, async {
            tokio::select! {
                done = done => done,
                () = campaign.run(work, Shutdown::default()) => Err(anyhow!("the lease was given back")),
            }
        });
        Box::pin(outcome).await.unwrap_or_else(|_| {
            let why = hindrance.unwrap_or_else(|| anyhow!("somebody else holds the lease {}: end the controllers first", self.lease));
            Err(why.context(format!("not done within {:?}", self.deadline)))
        })
    }
}

/// Frees all objects, again and again until there is none that isn't. Then it waits, so that the lease is kept.
async fn free_all(client: Client, claim: Claim, progress: mpsc::Sender<Progress>) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        match free_once(&client, &claim, &progress).await {
            Ok(()) => break,
            Err(error) => _ = progress.send(Progress::Hindered(error)).await,
        }
        tokio::time::sleep(backoff.pause()).await;
    }
    _ = progress.send(Progress::Done).await;
    std::future::pending::<()>().await;
}

/// Goes through all objects once. One that can't be freed does not keep the others; the first such is the error.
async fn free_once(client: &Client, claim: &Claim, progress: &mpsc::Sender<Progress>) -> Result<()> {
    let mut first_error = Ok(());
    for kind in kinds() {
        let objects: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
        let mut pages = Pages::of(&objects, ListParams::default().limit(PAGE_SIZE));
        while let Some(page) = present(pages.next().await).with_context(|| format!("{} can't be listed", kind.plural))?.flatten() {
            for object in page {
                match free(client, &kind, &object, claim).await {
                    Ok(None) => {}
                    Ok(Some(title)) => _ = progress.send(Progress::Freed(title)).await,
                    Err(error) => first_error = first_error.and(Err(error)),
                }
            }
        }
    }
    first_error
}

/// All kinds of ours.
fn kinds() -> [ApiResource; 5] {
    [
        ApiResource::erase::<Session>(&()),
        ApiResource::erase::<SessionTemplate>(&()),
        ApiResource::erase::<UserList>(&()),
        ApiResource::erase::<PgDatabase>(&()),
        ApiResource::erase::<PgServer>(&()),
    ]
}

/// Takes our finalizers off one object. Tells which, if it had any.
async fn free(client: &Client, kind: &ApiResource, object: &PartialObjectMeta<DynamicObject>, claim: &Claim) -> Result<Option<String>> {
    let metadata = object.meta();
    let Some(others) = finalizer::without_ours(metadata) else { return Ok(None) };
    let name = metadata.name.as_deref().unwrap_or_default();
    let (title, objects) = match &metadata.namespace {
        Some(namespace) => (format!("{}/{name} in {namespace}", kind.plural), Api::namespaced_with(client.clone(), namespace, kind)),
        None => (format!("{}/{name}", kind.plural), Api::<DynamicObject>::all_with(client.clone(), kind)),
    };
    // With its version, so that nothing is lost that somebody has added since.
    let patch = Patch::Merge(json!({"metadata": {"resourceVersion": metadata.resource_version, "finalizers": others}}));
    if !claim.is_current() {
        return Err(anyhow!("the lease is lost"));
    }
    let patched = request::within(WRITE_DEADLINE, objects.patch_metadata(name, &request::patching(), &patch)).await;
    let freed = present(patched).with_context(|| format!("{title} can't be freed"))?;
    Ok(freed.map(|_| title))
}

/// What is not there needs nothing: an object that has gone, or a kind that is not defined, of which the API server gives no reason.
fn present<T>(answer: Result<T, RequestError>) -> Result<Option<T>, RequestError> {
    match answer {
        Err(RequestError::Refused(kube::Error::Api(status))) if status.code == NOT_FOUND => Ok(None),
        answer => answer.map(Some),
    }
}
