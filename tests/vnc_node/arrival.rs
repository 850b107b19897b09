//! How long it takes from `kubectl apply` to the first frame in a browser. Printed, and never asserted: it depends on the machine.

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::{
    ResourceExt,
    api::{PostParams, WatchEvent, WatchParams},
};
use outrigger_bed::Browser;

use crate::{
    desk::{APP, CONNECTED, Desk, SIDECAR, pod, until_window, window},
    running::pods,
    webhook::Webhook,
};

/// A name, and whether a pod has come so far.
type Phase = (&'static str, fn(&PodStatus) -> bool);

/// What is seen of a pod on its way, in this order.
const PHASES: [Phase; 4] = [
    ("scheduled", |status| status.conditions.iter().flatten().any(|is| is.type_ == "PodScheduled" && is.status == "True")),
    ("sidecar started", |status| init(status, |sidecar| sidecar.state.as_ref().is_some_and(|state| state.running.is_some()))),
    ("X server ready", |status| init(status, |sidecar| sidecar.started == Some(true))),
    ("app started", |status| {
        let mut apps = status.container_statuses.iter().flatten().filter(|container| container.name == APP);
        apps.any(|app| app.state.as_ref().is_some_and(|state| state.running.is_some()))
    }),
];

fn init(status: &PodStatus, holds: impl Fn(&k8s_openapi::api::core::v1::ContainerStatus) -> bool) -> bool {
    status.init_container_statuses.iter().flatten().any(|container| container.name == SIDECAR && holds(container))
}

/// The app's image is unchanged, and one annotation asks for the desktop.
#[tokio::test(flavor = "multi_thread")]
async fn the_window_of_an_image_that_knows_nothing_of_desktops_shows_in_a_browser() {
    let Some(desk) = Desk::place("the_window_of_an_image", "arrival").await else { return };
    let _webhook = Webhook::start_at(desk.node.cluster(), desk.node.machine_address().into()).await;
    let browser = Browser::start().await;
    let api = pods(&desk.namespace);

    let applied = Instant::now();
    let mut seen = Vec::new();
    let written: Pod = serde_json::from_value(pod(desk.pod, &[], &window())).unwrap();
    let stored = api.create(&PostParams::default(), &written).await.unwrap();
    seen.push(("webhook asked, pod stored", applied.elapsed()));
    let watched = WatchParams::default().fields(&format!("metadata.name={}", desk.pod));
    let mut changes = Box::pin(api.watch(&watched, &stored.resource_version().unwrap()).await.unwrap());
    let mut status = PodStatus::default();
    for (name, holds) in PHASES {
        // One change may bring several.
        while !holds(&status) {
            match changes.try_next().await.unwrap() {
                Some(WatchEvent::Modified(pod)) => status = pod.status.unwrap_or_default(),
                Some(_) => {}
                None => panic!("the watch ended before the pod was {name}: {status:?}"),
            }
        }
        seen.push((name, applied.elapsed()));
    }
    let page = browser.open(&desk.address().await);
    page.until("document.querySelector('#status')");
    seen.push(("page loaded", applied.elapsed()));
    page.until(CONNECTED);
    seen.push(("viewer connected", applied.elapsed()));
    until_window(&page);
    seen.push(("first frame with the window", applied.elapsed()));
    print(&seen);
}

fn print(seen: &[(&str, Duration)]) {
    let mut last = Duration::ZERO;
    println!("| phase | after ms | since the last ms |\n|---|--:|--:|");
    for (name, at) in seen {
        println!("| {name} | {} | {} |", at.as_millis(), at.saturating_sub(last).as_millis());
        last = *at;
    }
}
