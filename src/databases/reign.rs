//! The time for which this process holds the lease: what it knows of objects, and what it may write about them.

use std::time::SystemTime;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, Client, ResourceExt, api::Patch};
use serde_json::{Value, json};

use crate::{
    api::{condition, pg_database::PgDatabase, pg_server::PgServer},
    events::{
        note::{Note, Reason, Reference},
        recorder::Notes,
    },
    postgres::{
        failure::Failure,
        session::{ConnectError, Target},
    },
    runtime::{
        lease::{Claim, WRITE_DEADLINE},
        request::{self, RequestError},
    },
};

use super::{
    connect,
    controller::Databases,
    job::JobError,
    metrics::Metrics,
    plan::Holder,
    status::{self, Report},
    worker::READ_DEADLINE,
};

/// Kept by objects whose database is to be dropped.
pub(super) const FINALIZER: &str = "outrigger.dev/database";
/// On an object that is going: its database stays as it is, wherever its server may be.
pub(super) const GIVE_UP: &str = "outrigger.dev/abandon-database";

/// How often a status is written that others write into at the same time.
const STATUS_TRIES: usize = 3;

/// The time for which this process holds the lease.
pub(super) struct Reign<'a> {
    pub(super) databases: &'a Databases,
    pub(super) client: Client,
    pub(super) claim: &'a Claim,
    pub(super) notes: &'a Notes,
    pub(super) metrics: &'a Metrics,
    /// The uid of the namespace kube-system.
    pub(super) cluster: String,
}

impl Reign<'_> {
    pub(super) fn holder(&self, object: &PgDatabase) -> Holder {
        let (namespace, name) = status::key(object);
        Holder { cluster: self.cluster.clone(), uid: object.uid().unwrap_or_default(), namespace, name }
    }

    /// Whether the holder of a claim is an object of this cluster that doesn't exist any more.
    pub(super) fn is_gone(&self, holder: &Holder) -> bool {
        let known = self.databases.objects.load();
        let Some(known) = &*known else { return false };
        let object = known.get(&(holder.namespace.clone(), holder.name.clone()));
        holder.cluster == self.cluster && object.is_none_or(|object| object.uid().as_deref() != Some(&holder.uid))
    }

    /// Whether the API server says so, too: a watch may be behind.
    pub(super) async fn is_surely_gone(&self, holder: &Holder) -> Result<bool, JobError> {
        let api: Api<PgDatabase> = Api::namespaced(self.client.clone(), &holder.namespace);
        let found = request::within(READ_DEADLINE, api.get_metadata_opt(&holder.name)).await?;
        Ok(found.is_none_or(|found| found.metadata.uid.as_deref() != Some(&holder.uid)))
    }

    /// Whether the Secrets say something else by now than when this target was made, which might be why there is no connection.
    pub(super) async fn is_outdated(&self, server: &PgServer, target: &Target, error: &ConnectError) -> bool {
        // Who was let in and finds no room, no database or no right to it has the right credentials.
        if matches!(error, ConnectError::Failed { source: Failure::Refused { code, .. }, .. } if !code.starts_with("28")) {
            return false;
        }
        let now = connect::target(&self.client, &self.databases.namespace, server).await;
        now.is_ok_and(|now| !now.has_credentials_of(target))
    }

    /// Passes only who holds the lease. Comes before each write, of whatever and to wherever.
    pub(super) fn may_write(&self) -> Result<(), JobError> {
        if self.claim.is_current() { Ok(()) } else { Err(JobError::LeaseLost) }
    }

    /// Whether an object has been going for longer than anybody should wait.
    pub(super) fn is_overdue(&self, object: &PgDatabase, now: SystemTime) -> bool {
        let Some(Time(since)) = &object.metadata.deletion_timestamp else { return false };
        now.duration_since(SystemTime::from(*since)).is_ok_and(|waited| waited >= self.databases.patience)
    }

    /// Lets objects go that wait for a server that nobody can reach, if they were told to, or have waited too long.
    pub(super) async fn let_go(&self, object: &PgDatabase, why: &str) -> bool {
        let is_given_up = object.annotations().contains_key(GIVE_UP);
        let has_finalizer = object.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
        if object.metadata.deletion_timestamp.is_none()
            || !has_finalizer
            || !(is_given_up || self.is_overdue(object, SystemTime::now()))
            || self.may_write().is_err()
        {
            return false;
        }
        let released = set_finalizer(&self.client, object, false).await.is_ok();
        if released {
            self.tell(object, Reason::DatabaseReleased, &format!("{why}; the database stays as it is"));
        }
        released
    }

    /// Writes the status of an object if it says anything new, and an Event if the reason does.
    pub(super) async fn write_status(&self, object: &PgDatabase, report: &Report) -> Result<(), JobError> {
        let wanted = status::status(object, report, &Time(Timestamp::now()));
        let Some(patch) = status::patch(object.status.as_ref(), &wanted) else { return Ok(()) };
        if !self.patch_status(object, patch).await? {
            return Ok(());
        }
        self.metrics.wrote_status();
        let before = status::reason(object, condition::READY);
        match &report.ready {
            Ok(reason) if before != Some(reason) => self.tell(object, Reason::DatabaseReady, "the database is as asked for"),
            Err(refusal) if before != Some(refusal.reason) => self.tell(object, Reason::DatabaseNotReady, &refusal.message),
            _ => {}
        }
        Ok(())
    }

    /// Patches the status of this object, and not of another of its name that was made meanwhile. Tells whether it is still there.
    async fn patch_status(&self, object: &PgDatabase, mut patch: Value) -> Result<bool, JobError> {
        let (namespace, name) = status::key(object);
        let api: Api<PgDatabase> = Api::namespaced(self.client.clone(), &namespace);
        let mut version = object.resource_version();
        for _ in 0..STATUS_TRIES {
            self.may_write()?;
            if let Some(fields) = patch.as_object_mut() {
                fields.insert("metadata".to_owned(), json!({ "resourceVersion": version }));
            }
            match request::within(WRITE_DEADLINE, api.patch_status(&name, &request::patching(), &Patch::Merge(&patch))).await {
                Err(RequestError::Refused(kube::Error::Api(refusal))) if refusal.code == 404 => return Ok(false),
                Err(error) if error.is_conflict() => {}
                patched => return Ok(patched.map(|_| true)?),
            }
            // It has changed since it was seen, by our finalizer for one; what we know of its database is still true.
            match request::within(READ_DEADLINE, api.get_metadata_opt(&name)).await? {
                Some(found) if found.metadata.uid == object.metadata.uid => version = found.resource_version(),
                _ => return Ok(false),
            }
        }
        Err(JobError::StatusChanged)
    }

    /// Tells it by an Event.
    pub(super) fn tell(&self, object: &PgDatabase, reason: Reason, message: &str) {
        let about = Reference {
            api_version: "outrigger.dev/v1alpha1".to_owned(),
            kind: "PgDatabase".to_owned(),
            name: object.name_any(),
            uid: object.uid().unwrap_or_default(),
        };
        self.notes.tell(Note { namespace: object.namespace().unwrap_or_default(), about, reason, message: message.to_owned() });
    }
}

/// Adds our finalizer to the object as it was seen, or takes it away.
pub(super) async fn set_finalizer(client: &Client, object: &PgDatabase, is_needed: bool) -> Result<(), RequestError> {
    let (namespace, name) = status::key(object);
    let mut finalizers: Vec<&str> = object.finalizers().iter().map(String::as_str).filter(|finalizer| *finalizer != FINALIZER).collect();
    if is_needed {
        finalizers.push(FINALIZER);
    }
    let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "uid": object.uid(), "finalizers": finalizers}});
    let api: Api<PgDatabase> = Api::namespaced(client.clone(), &namespace);
    match request::within(WRITE_DEADLINE, api.patch_metadata(&name, &request::patching(), &Patch::Merge(patch))).await {
        // It is gone, and its finalizers with it.
        Err(RequestError::Refused(kube::Error::Api(refusal))) if refusal.code == 404 && !is_needed => Ok(()),
        patched => patched.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::{
        cluster::snapshot::snapshot,
        databases::plan::Refusal,
        runtime::fake_api::{FakeApi, Fate},
    };

    const PATH: &str = "/apis/outrigger.dev/v1alpha1/namespaces/team/pgdatabases/shop";

    fn object(change: &serde_json::Value) -> PgDatabase {
        let mut object = json!({
            "apiVersion": "outrigger.dev/v1alpha1", "kind": "PgDatabase", "metadata": {"name": "shop", "namespace": "team", "uid": "u"},
            "spec": {"server": "main"},
        });
        json_patch::merge(&mut object, change);
        serde_json::from_value(object).unwrap()
    }

    fn databases(client: &Client) -> Databases {
        // A watch that knows of nothing, as one that is behind.
        let ((_, objects), (_, servers)) = (snapshot(Some(std::collections::HashMap::new())), snapshot(None));
        let metrics = Metrics::new(&mut Registry::default(), objects.clone());
        let (interval, patience) = (Duration::from_secs(60), Duration::ZERO);
        let (client, namespace, only) = (client.clone(), "outrigger".to_owned(), Vec::new());
        Databases {
            client,
            namespace,
            objects,
            servers,
            only,
            interval,
            patience,
            events: crate::events::recorder::Metrics::default(),
            metrics,
        }
    }

    async fn reigning<T>(api: &FakeApi, fate: Fate, age: Duration, work: impl AsyncFnOnce(&Reign<'_>) -> T) -> T {
        let client = api.client(move |_| fate.clone());
        let (databases, claim, notes) = (databases(&client), Claim::for_test(age), Notes::nowhere());
        let metrics = &databases.metrics;
        work(&Reign { databases: &databases, client, claim: &claim, notes: &notes, metrics, cluster: "here".to_owned() }).await
    }

    fn holder(uid: &str) -> Holder {
        Holder { cluster: "here".to_owned(), uid: uid.to_owned(), namespace: "team".to_owned(), name: "shop".to_owned() }
    }

    #[tokio::test]
    async fn who_has_lost_the_lease_writes_nothing() {
        let api = FakeApi::default();
        api.put(PATH, json!({"metadata": {"name": "shop"}}));
        let report = |object: &PgDatabase| Report::refused(Refusal { reason: "InUse", message: String::new() }, object);
        let version = &api.object(PATH).unwrap()["metadata"]["resourceVersion"];
        let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FINALIZER], "resourceVersion": version});
        let going = object(&json!({"metadata": going}));
        reigning(&api, Fate::DONE, Duration::from_secs(60), async |reign: &Reign<'_>| {
            assert!(matches!(reign.may_write(), Err(JobError::LeaseLost)));
            assert!(matches!(reign.write_status(&going, &report(&going)).await, Err(JobError::LeaseLost)));
            assert!(!reign.let_go(&going, "why").await);
        })
        .await;
        assert!(api.writes().is_empty(), "{:?}", api.writes());
        reigning(&api, Fate::DONE, Duration::ZERO, async |reign: &Reign<'_>| {
            assert!(reign.may_write().is_ok());
            assert!(reign.let_go(&going, "why").await);
        })
        .await;
        assert_eq!(api.writes().len(), 1);
    }

    #[tokio::test]
    async fn a_holder_that_the_watch_does_not_know_is_asked_for() {
        let api = FakeApi::default();
        let ask = async |fate: Fate, uid: &str| {
            reigning(&api, fate, Duration::ZERO, async |reign: &Reign<'_>| {
                assert!(reign.is_gone(&holder(uid)), "as far as the watch knows");
                reign.is_surely_gone(&holder(uid)).await
            })
            .await
        };
        assert!(ask(Fate::DONE, "u").await.unwrap(), "there is no such object");
        api.put(PATH, serde_json::to_value(object(&json!({}))).unwrap());
        assert!(!ask(Fate::DONE, "u").await.unwrap(), "it is there");
        assert!(ask(Fate::DONE, "another").await.unwrap(), "this one only has its name");
        assert!(ask(Fate::refused(500), "u").await.is_err(), "nobody knows");
    }

    #[tokio::test]
    async fn objects_of_other_clusters_are_never_known_to_be_gone() {
        // Only their own cluster knows.
        let theirs = Holder { cluster: "there".to_owned(), ..holder("u") };
        let is_gone = reigning(&FakeApi::default(), Fate::DONE, Duration::ZERO, async |reign: &Reign<'_>| reign.is_gone(&theirs)).await;
        assert!(!is_gone);
    }
}
