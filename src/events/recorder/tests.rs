//! Notes handed in, and what is written at an API server in memory, with a clock of their own.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;
use crate::{
    events::{note::Reason, plan::HAPPENS_AGAIN},
    runtime::fake_api::{FakeApi, Fate},
};

const MINUTE: Duration = Duration::from_secs(60);

struct World {
    api: FakeApi,
    fate: Arc<Mutex<Fate>>,
    metrics: Metrics,
    notes: Notes,
}

impl World {
    /// All that has to do with `kind` has the fate that is set.
    fn new(kind: &'static str, claim: Option<Claim>) -> Self {
        let (api, fate) = (FakeApi::default(), Arc::new(Mutex::new(Fate::DONE)));
        let set = fate.clone();
        let client = api.client(move |uri| if uri.path().contains(kind) { set.lock().unwrap().clone() } else { Fate::DONE });
        let metrics = Metrics::default();
        let (notes, recorder) = Recorder::new(client, metrics.clone(), HAPPENS_AGAIN);
        let recorder = claim.into_iter().fold(recorder, Recorder::of_holder);
        tokio::spawn(recorder.run(Shutdown::default()));
        Self { api, fate, metrics, notes }
    }

    fn set(&self, fate: Fate) {
        *self.fate.lock().unwrap() = fate;
    }

    fn tell(&self, owner: &str) {
        let about =
            Reference { api_version: "apps/v1".to_owned(), kind: "ReplicaSet".to_owned(), name: owner.to_owned(), uid: owner.to_owned() };
        self.notes.tell(Note { namespace: "shop".to_owned(), about, reason: Reason::Denied, message: "too flat".to_owned() });
    }

    /// Whom Events that were created are about.
    fn created(&self) -> Vec<String> {
        let writes = self.api.writes().into_iter().filter(|(_, written)| written["kind"] == "Event");
        writes.map(|(_, event)| format!("{}/{}", text(&event["involvedObject"]["kind"]), text(&event["involvedObject"]["name"]))).collect()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_event_that_can_t_be_written_is_counted_and_tried_again() {
    let world = World::new("/events", None);
    world.set(Fate::refused(429));
    world.tell("web");
    tokio::time::sleep(MINUTE / 2).await;
    assert_eq!((world.metrics.failed.get(), world.metrics.written.get()), (1, 0));
    world.set(Fate::DONE);
    tokio::time::sleep(MINUTE * 2).await;
    assert_eq!(world.created(), ["ReplicaSet/web"]);
    assert_eq!((world.metrics.failed.get(), world.metrics.written.get(), world.metrics.dropped.get()), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_can_never_be_written_is_dropped_and_counted() {
    let world = World::new("/events", None);
    world.set(Fate::refused(403));
    world.tell("web");
    tokio::time::sleep(MINUTE * 90).await;
    assert_eq!((world.metrics.dropped.get(), world.metrics.written.get()), (1, 0));
    let tries = world.metrics.failed.get();
    assert!((20..=60).contains(&tries), "about once a minute for an hour: {tries}");
    tokio::time::sleep(MINUTE * 90).await;
    assert_eq!((world.metrics.dropped.get(), world.metrics.failed.get()), (1, tries));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_could_not_be_looked_up_is_looked_up_again() {
    let world = World::new("/replicasets", None);
    let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true});
    let replica_set = json!({"metadata": {"name": "web-1", "uid": "web-1", "ownerReferences": [owner]}});
    world.api.put("/apis/apps/v1/namespaces/shop/replicasets/web-1", replica_set);
    world.set(Fate::refused(403));
    world.tell("web-1");
    tokio::time::sleep(MINUTE).await;
    world.set(Fate::DONE);
    world.tell("web-1");
    tokio::time::sleep(MINUTE).await;
    world.set(Fate::refused(403));
    world.tell("web-1");
    tokio::time::sleep(HAPPENS_AGAIN).await;
    assert_eq!(world.created(), ["ReplicaSet/web-1", "Deployment/web"], "what is known is remembered");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_after_the_lease_is_lost() {
    let world = World::new("", Some(Claim::lasting(Duration::from_secs(5))));
    for n in 0..100 {
        world.tell(&format!("web-{n}"));
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    let written = world.created().len();
    assert!((20..=26).contains(&written), "ten requests a second: {written}");
    tokio::time::sleep(MINUTE * 20).await;
    assert_eq!(world.created().len(), written);
}

#[test]
fn the_log_names_rights_only_where_they_are_missing() {
    let refused = |code: u16, cause: &str| {
        let causes = json!([{"reason": cause, "message": ""}]);
        let status =
            json!({"code": code, "reason": if code == 403 { "Forbidden" } else { "" }, "message": "", "details": {"causes": causes}});
        RequestError::from(kube::Error::Api(serde_json::from_value(status).unwrap()))
    };
    assert!(hint(&refused(403, "")).is_some());
    assert_eq!(hint(&refused(403, "NamespaceTerminating")), None);
    assert_eq!(hint(&refused(429, "")), None);
}
