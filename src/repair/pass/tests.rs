//! Passes over an API server in memory, with a clock of their own.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
};

use axum::http::Uri;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::annotations::STATUS,
    cluster::snapshot::{Writer, snapshot},
    injection::{Context, Outcome, inject},
    runtime::fake_api::{FakeApi, Fate},
};

const MINUTE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_mins(5);

/// A cluster, and what looks after its pods. All requests are done unless a fate is set for the end of their path, or of their query.
struct World {
    api: FakeApi,
    fates: Arc<Mutex<HashMap<String, Fate>>>,
    asked: Arc<Mutex<Vec<String>>>,
    repair: Repair,
    registry: Registry,
    namespaces: Writer<Namespaces>,
    notes: Notes,
    claim: Claim,
}

impl World {
    /// Evicts, at first with no pods to look at.
    fn new(namespaces: &[&str]) -> Self {
        let (api, fates, asked) =
            (FakeApi::default(), Arc::<Mutex<HashMap<String, Fate>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (set, heard) = (fates.clone(), asked.clone());
        let client = api.client(move |uri: &Uri| {
            heard.lock().unwrap().push(uri.to_string());
            let fates = set.lock().unwrap();
            let ends = |text: &str, end: &String| text.ends_with(end.as_str());
            let fate = fates.iter().find(|(end, _)| ends(uri.path(), end) || uri.query().is_some_and(|query| ends(query, end)));
            fate.map_or(Fate::DONE, |(_, fate)| fate.clone())
        });
        let known = namespaces.iter().map(|name| ((*name).to_owned(), None)).collect();
        let (writer, known) = snapshot(Namespaces::new(known));
        let mut registry = Registry::default();
        let events = recorder::Metrics::new(&mut registry);
        let (notes, recorder) = Recorder::new(client.clone(), events.clone(), IS_STILL_SO);
        let repair = Repair {
            evictions: client.clone(),
            client,
            namespaces: known,
            settings: Arc::default(),
            policy: Policy { evict: true, evict_outdated: false, minimum_age: MINUTE, excluded: Vec::new() },
            interval: INTERVAL,
            pace: Duration::from_secs(10),
            scope: namespaces.iter().map(|name| (*name).to_owned()).collect(),
            events,
            metrics: Metrics::new(&mut registry),
        };
        tokio::spawn(recorder.run(Shutdown::default()));
        Self { api, fates, asked, repair, registry, namespaces: writer, notes, claim: Claim::lasting(Duration::from_hours(1000)) }
    }

    fn reign(&self) -> Reign<'_> {
        Reign::begin(&self.repair, &self.claim, &self.notes)
    }

    fn fate(&self, end: &str, fate: Fate) {
        self.fates.lock().unwrap().insert(end.to_owned(), fate);
    }

    /// A pod of a controller, created so long ago.
    fn pod(&self, namespace: &str, controller: &str, name: &str, age: Duration, annotations: &Value) {
        let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": controller, "uid": controller, "controller": true});
        let created = Timestamp::now() - jiff::SignedDuration::try_from(age).unwrap();
        let metadata = json!({
            "name": name, "namespace": namespace, "uid": format!("{namespace}-{name}"), "creationTimestamp": created.to_string(),
            "ownerReferences": [owner], "annotations": annotations,
        });
        let spec = json!({"containers": [{"name": "app", "image": "app"}]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        self.api.put(&format!("/api/v1/namespaces/{namespace}/pods/{name}"), pod);
    }

    /// An old pod that slipped by.
    fn bare(&self, namespace: &str, controller: &str, name: &str) {
        self.pod(namespace, controller, name, Duration::from_hours(1), &json!({"outrigger.dev/inject": "vnc"}));
    }

    /// A pod with sidecars of other settings.
    fn outdated(&self, namespace: &str, controller: &str, name: &str, age: Duration) {
        let record = json!({"version": "0", "settings": "others", "injected": ["vnc"]}).to_string();
        self.pod(namespace, controller, name, age, &json!({"outrigger.dev/inject": "vnc", STATUS: record}));
    }

    /// A pod with the sidecars of today.
    fn injected(&self, namespace: &str, controller: &str, name: &str, age: Duration) {
        let context = Context { defaults: None, settings: &self.repair.settings, offline: false };
        let manifest = json!({"metadata": {"annotations": {"outrigger.dev/inject": "vnc"}}, "spec": {"containers": [{"name": "app"}]}});
        let Outcome::Injected { patch, .. } = inject(&manifest.to_string(), context).unwrap().outcome else { panic!("injected") };
        let mut admitted = manifest;
        json_patch::patch(&mut admitted, &serde_json::from_str::<json_patch::Patch>(patch.as_json()).unwrap()).unwrap();
        self.pod(namespace, controller, name, age, &admitted["metadata"]["annotations"]);
    }

    /// The pods that were evicted, by name.
    fn evicted(&self) -> Vec<String> {
        let writes = self.api.writes().into_iter();
        let evictions = writes.filter_map(|(path, _)| Some(path.strip_suffix("/eviction")?.rsplit('/').next()?.to_owned()));
        evictions.collect()
    }

    /// How often an eviction was asked for.
    fn tries(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|uri| uri.contains("/eviction")).count()
    }

    /// What owners were told: whom, the reason and the message, as they are by now.
    async fn told(&self) -> BTreeSet<(String, String, String)> {
        // All that waits in the queue is written by then.
        tokio::time::sleep(Duration::from_hours(1)).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let events = self.api.writes().into_iter().filter(|(_, written)| written["kind"] == "Event");
        let now = events.filter_map(|(path, _)| self.api.object(&path));
        now.map(|event| (text(&event["involvedObject"]["name"]), text(&event["reason"]), text(&event["message"]))).collect()
    }

    fn metric(&self, name: &str) -> i64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.map_or(0, |value| value.parse().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_can_t_be_listed_costs_only_itself() {
    let world = World::new(&["billing", "gone", "shop"]);
    world.fate("/namespaces/gone/pods", Fate::refused(403));
    world.bare("billing", "ledger", "ledger-0");
    world.bare("gone", "left", "left-0");
    world.bare("shop", "web", "web-0");
    let mut reign = world.reign();
    reign.pass().await;
    assert_eq!(world.evicted(), ["ledger-0", "web-0"]);
    assert_eq!(world.metric("pods_missing_sidecars"), 2);
    assert_eq!((world.metric("repair_failed_lists_total"), world.metric("repair_passes_total")), (1, 0));

    world.fates.lock().unwrap().clear();
    reign.pass().await;
    assert_eq!(world.metric("repair_passes_total"), 1);
    assert_eq!(world.evicted().last().unwrap(), "left-0");
    assert_eq!(world.metric("pods_missing_sidecars"), 1);

    world.fate("/namespaces/gone/pods", Fate::refused(500));
    reign.pass().await;
    assert_eq!(world.metric("pods_missing_sidecars"), 1, "what was found last stands");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_took_too_long_goes_on_where_it_was() {
    let world = World::new(&["shop"]);
    for n in 0..250 {
        world.bare("shop", &format!("c-{n:03}"), &format!("p-{n:03}"));
    }
    // After the first page, a token that is no longer good, and one that is.
    let expired = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old",
        "metadata": {"continue": "p-100"},
    });
    world.fate("continue=p-099", Fate::Answered(410, expired));
    let mut reign = world.reign();
    assert_eq!(reign.look().await.controllers.len(), 249, "all but the one between the tokens");
    assert_eq!(world.metric("repair_failed_lists_total"), 0);
}

/// What an API server answers when two budgets are about one pod.
fn two_budgets() -> Fate {
    let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    Fate::Answered(500, json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "message": message, "metadata": {}}))
}

#[tokio::test(start_paused = true)]
async fn who_can_t_be_evicted_is_told_why_and_holds_up_nobody() {
    let world = World::new(&["shop"]);
    for (name, fate) in [("a", two_budgets()), ("b", Fate::refused(403)), ("c", two_budgets())] {
        world.bare("shop", name, &format!("{name}-0"));
        world.fate(&format!("/{name}-0/eviction"), fate);
    }
    for n in 0..40 {
        world.bare("shop", &format!("web-{n:02}"), &format!("web-{n:02}-0"));
        // Each replacement is as it should be.
        world.fate(&format!("/web-{n:02}-0/eviction"), Fate::refused(404));
    }
    world.bare("shop", "zoo", "zoo-0");
    let mut reign = world.reign();
    reign.pass().await;
    assert_eq!(world.metric("repair_evictions_total{outcome=\"refused\"}"), 3);
    assert_eq!(world.evicted(), ["zoo-0"], "three that are refused take nobody's place");
    let told = world.told().await;
    for (name, why) in [("a", "more than one PodDisruptionBudget"), ("b", "Refused")] {
        let told: Vec<_> = told.iter().filter(|(owner, ..)| owner == name).collect();
        assert!(matches!(told[..], [(_, reason, message)] if reason == "SidecarsMissing" && message.contains(why)), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_has_no_turn_in_a_look_is_told_and_has_it_in_another() {
    let world = World::new(&["shop"]);
    let names: BTreeSet<String> = (0..70).map(|n| format!("web-{n:02}")).collect();
    for name in &names {
        world.bare("shop", name, &format!("{name}-0"));
        world.fate(&format!("/{name}-0/eviction"), Fate::refused(403));
    }
    let mut reign = world.reign();
    reign.pass().await;
    let first = world.tries();
    assert!((30..=32).contains(&first), "one each ten seconds for as long as an interval: {first}");
    let told: BTreeSet<String> = world.told().await.into_iter().map(|(owner, ..)| owner).collect();
    assert_eq!(told, names);
    reign.pass().await;
    reign.pass().await;
    let asked = world.asked.lock().unwrap();
    let tried: BTreeSet<&str> = asked.iter().filter_map(|uri| uri.split_once("/eviction")?.0.rsplit('/').next()).collect();
    assert_eq!(tried.len(), names.len());
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_told_from_an_api_server_that_has_too_much_to_do() {
    let answer = |causes: Value| {
        let details = json!({"causes": causes});
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 429, "message": "later", "details": details, "metadata": {}})
    };
    let budget = answer(json!([{"reason": "DisruptionBudget", "message": "needs 1"}]));
    for (status, label, tries, is_budget) in
        [(budget, "over_budget", 40, true), (answer(json!([])), "throttled", 1, false), (json!("Too many requests"), "throttled", 1, false)]
    {
        let world = World::new(&["shop"]);
        for n in 0..40 {
            world.bare("shop", &format!("web-{n:02}"), &format!("web-{n:02}-0"));
        }
        world.fate("/eviction", Fate::Answered(429, status));
        let begun = Instant::now();
        world.reign().pass().await;
        assert_eq!(world.tries(), tries, "{label}");
        assert_eq!(world.metric(&format!("repair_evictions_total{{outcome=\"{label}\"}}")), i64::try_from(tries).unwrap());
        assert!(begun.elapsed() < MINUTE, "no turn is lost: {:?}", begun.elapsed());
        let told = world.told().await;
        let budgets = told.iter().filter(|(_, _, message)| message.contains("PodDisruptionBudget")).count();
        assert_eq!(budgets, if is_budget { 40 } else { 0 });
        assert_eq!(told.len(), if is_budget { 40 } else { 39 }, "all but the one of whom it is not known are told");
    }
}

#[tokio::test(start_paused = true)]
async fn a_workload_whose_pods_are_not_replaced_loses_one() {
    let world = World::new(&["shop"]);
    for n in 0..10 {
        world.bare("shop", "web", &format!("web-{n}"));
    }
    let mut reign = world.reign();
    for _ in 0..300 {
        reign.pass().await;
        tokio::time::sleep(INTERVAL).await;
    }
    assert_eq!(world.evicted().len(), 1);
    let told = world.told().await;
    let is_told = told.iter().any(|(_, reason, message)| reason == "SidecarsRepairPaused" && message.contains("no replacement has come"));
    assert!(is_told, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_younger_pod_that_was_there_before_is_no_replacement() {
    let world = World::new(&["shop"]);
    for n in 0..3 {
        world.bare("shop", "web", &format!("web-{n}"));
    }
    // It came after the others, when the webhook was there again.
    world.injected("shop", "web", "web-new", Duration::from_mins(30));
    let mut reign = world.reign();
    for _ in 0..50 {
        reign.pass().await;
        tokio::time::sleep(INTERVAL).await;
    }
    assert_eq!(world.evicted().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_holder_of_the_lease_sees_by_the_pods_that_evictions_did_no_good() {
    let world = World::new(&["shop"]);
    for n in 0..3 {
        world.bare("shop", "web", &format!("web-{n}"));
        world.bare("shop", "db", &format!("db-{n}"));
    }
    world.pod("shop", "web", "web-again", Duration::from_mins(9), &json!({"outrigger.dev/inject": "vnc"}));
    for _ in 0..5 {
        world.reign().pass().await;
    }
    let evicted = world.evicted();
    assert!(evicted.iter().all(|name| name.starts_with("db-")), "the youngest of web came bare a moment ago: {evicted:?}");
    assert!(!evicted.is_empty());
}

#[tokio::test(start_paused = true)]
async fn outdated_sidecars_are_left_alone_while_an_upgrade_may_go_on() {
    let mut world = World::new(&["shop"]);
    world.repair.policy.evict_outdated = true;
    world.outdated("shop", "web", "web-0", Duration::from_hours(1));
    let mut reign = world.reign();
    reign.pass().await;
    assert!(world.evicted().is_empty());
    tokio::time::sleep(Duration::from_mins(10)).await;
    reign.pass().await;
    assert_eq!(world.evicted(), ["web-0"]);
    world.outdated("shop", "web", "web-again", Duration::ZERO);
    reign.pass().await;
    let told = world.told().await;
    let is_told = told.iter().any(|(_, reason, message)| reason == "SidecarsRepairPaused" && message.contains("inject it anew"));
    assert!(!is_told, "too young to say anything: {told:?}");
    world.api.remove("/api/v1/namespaces/shop/pods/web-again");
    world.outdated("shop", "web", "web-again", Duration::from_mins(2));
    reign.pass().await;
    let told = world.told().await;
    assert!(told.iter().any(|(_, reason, message)| reason == "SidecarsRepairPaused" && message.contains("inject it anew")), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_evicted_after_the_lease_is_lost() {
    let mut world = World::new(&["shop"]);
    world.claim = Claim::lasting(Duration::from_secs(5));
    for name in ["a", "b", "c"] {
        world.bare("shop", name, &format!("{name}-0"));
    }
    world.reign().pass().await;
    assert_eq!(world.evicted(), ["a-0"], "the next would have been ten seconds later");
}

#[tokio::test(start_paused = true)]
async fn whoever_is_not_known_to_have_been_evicted_counts_as_evicted() {
    let world = World::new(&["shop"]);
    world.bare("shop", "a", "a-0");
    world.bare("shop", "b", "b-0");
    world.fate("/a-0/eviction", Fate::Heard { after: Duration::from_hours(1), answered_after: Duration::ZERO });
    let mut reign = world.reign();
    reign.pass().await;
    assert_eq!(world.metric("repair_evictions_total{outcome=\"failed\"}"), 1);
    assert_eq!(world.tries(), 1, "no more until the next look");
    reign.pass().await;
    assert_eq!(world.evicted(), ["b-0"]);
    assert_eq!(world.tries(), 2, "a is waited for");
}

#[tokio::test(start_paused = true)]
async fn after_an_upgrade_all_owners_are_told_once_and_an_unchanged_world_is_not_written_about() {
    let mut world = World::new(&["shop"]);
    world.repair.policy.evict = false;
    for n in 0..2400 {
        world.outdated("shop", &format!("c-{:04}", n / 2), &format!("p-{n:04}"), Duration::from_hours(1));
    }
    let mut reign = world.reign();
    reign.pass().await;
    assert_eq!(world.metric("pods_outdated"), 2400);
    tokio::time::sleep(INTERVAL).await;
    assert_eq!((world.metric("events_written_total"), world.metric("events_dropped_total")), (1200, 0));
    for _ in 0..6 {
        reign.pass().await;
        tokio::time::sleep(INTERVAL).await;
    }
    assert_eq!(world.metric("events_written_total"), 1200);
    assert!(world.told().await.iter().all(|(_, reason, _)| reason == "SidecarsOutdated"));
    let counts = world.api.writes().into_iter().filter_map(|(path, _)| world.api.object(&path)?["count"].as_i64());
    assert!(counts.into_iter().all(|count| count <= 7), "it counts looks, not pods");
}

#[tokio::test(start_paused = true)]
async fn while_namespaces_can_t_be_watched_nothing_is_outdated() {
    let mut world = World::new(&["shop"]);
    world.repair.policy.evict_outdated = true;
    world.namespaces.store(Namespaces::default());
    world.outdated("shop", "db", "db-0", Duration::from_hours(1));
    world.bare("shop", "web", "web-0");
    let mut reign = world.reign();
    tokio::time::sleep(Duration::from_mins(10)).await;
    reign.pass().await;
    assert_eq!((world.metric("pods_outdated"), world.metric("pods_missing_sidecars")), (0, 1));
    assert_eq!(world.evicted(), ["web-0"]);
}

#[tokio::test(start_paused = true)]
async fn pods_that_the_webhook_is_not_asked_about_are_not_counted() {
    let mut world = World::new(&["kube-system", "shop"]);
    world.repair.policy.excluded = vec!["kube-system".to_owned()];
    world.bare("kube-system", "agent", "agent-0");
    world.bare("shop", "web", "web-0");
    world.reign().pass().await;
    assert_eq!(world.metric("pods_missing_sidecars"), 1);
    assert_eq!(world.evicted(), ["web-0"]);
    assert!(world.told().await.iter().all(|(owner, ..)| owner == "web"));
}

#[tokio::test(start_paused = true)]
async fn a_look_is_counted_before_its_evictions_and_says_when_the_next_is_due() {
    let world = World::new(&["shop"]);
    for n in 0..10 {
        world.bare("shop", &format!("c-{n}"), &format!("p-{n}"));
        world.fate(&format!("/p-{n}/eviction"), Fate::refused(403));
    }
    let mut reign = world.reign();
    let first = tokio::time::timeout(MINUTE, reign.pass()).await;
    assert!(first.is_err(), "evictions go on");
    assert_eq!(world.metric("repair_passes_total"), 1);
    let due = world.metric("repair_pass_due_seconds") - Timestamp::now().as_second();
    assert!((1790..=1800).contains(&due), "three intervals and a quarter of an hour: {due}");
}
