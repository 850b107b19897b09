//! Whatever is posted to a webhook: it is answered or refused, and an answer is an `AdmissionReview` of the same uid.

#![no_main]

use std::sync::LazyLock;

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use outrigger::{
    admission::{Admission, Metrics, Objects, Pods},
    api::inventory::Inventory,
    cluster::{namespaces::Namespaces, snapshot::snapshot},
    events::recorder::Notes,
    injection::Settings,
    runtime::traces::Traces,
};
use prometheus_client::registry::Registry;

static ADMISSION: LazyLock<std::sync::Arc<Admission>> = LazyLock::new(|| {
    // Nothing is awaited that will not come: namespaces count as unwatched.
    let (_, namespaces) = snapshot(Namespaces::default());
    let (_, inventory) = snapshot(Inventory::default());
    Admission::new(
        Pods { settings: Settings::default(), namespaces, notes: Notes::nowhere() },
        Objects { inventory },
        Metrics::new(&mut Registry::default()),
        Traces::default(),
    )
});

fuzz_target!(|body: &[u8]| {
    if let Ok(answer) = block_on(ADMISSION.answer_pod(body)) {
        let answer: serde_json::Value = serde_json::from_slice(&answer).expect("an answer is JSON");
        let asked: serde_json::Value = serde_json::from_slice(body).expect("what was answered is JSON");
        assert_eq!(answer["response"]["uid"], asked["request"]["uid"]);
        assert_eq!(answer["response"]["patch"].is_string(), answer["response"]["patchType"].is_string());
    }
});
