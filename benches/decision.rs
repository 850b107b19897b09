//! How long a review of a pod takes, from bytes to bytes; beside it, what the usual way costs: decode the whole review
//! into types, change the pod, diff both, encode.

#![allow(clippy::unwrap_used, reason = "a bench that fails must say where")]

mod reviews;

use std::{collections::HashMap, hint::black_box, sync::Arc};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::executor::block_on;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, Volume, VolumeMount};
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview};
use outrigger::{
    admission::{Admission, Metrics, Objects, Pods},
    api::inventory::Inventory,
    cluster::{namespaces::Namespaces, snapshot::snapshot},
    events::recorder::Notes,
    injection::Settings,
    runtime::traces::Traces,
};
use prometheus_client::registry::Registry;
use reviews::{all_three, minimal, review};
use serde_json::json;

/// A namespace that gives defaults, and has none: a pod that asks for nothing is only sent from such a one.
fn admission() -> Arc<Admission> {
    let (writer, namespaces) = snapshot(Namespaces::new(HashMap::from([(reviews::NAMESPACE.to_owned(), Some(Arc::default()))])));
    drop(writer);
    let (_, inventory) = snapshot(Inventory::default());
    Admission::new(
        Pods { settings: Settings::default(), namespaces, notes: Notes::nowhere() },
        Objects { inventory },
        Metrics::new(&mut Registry::default()),
        Traces::default(),
    )
}

/// The usual way, adding one sidecar of the same shape.
fn typed_and_diffed(body: &[u8]) -> Vec<u8> {
    let review: AdmissionReview<Pod> = serde_json::from_slice(body).unwrap();
    let request: AdmissionRequest<Pod> = review.try_into().unwrap();
    let mut pod = request.object.clone().unwrap();
    let before = serde_json::to_value(&pod).unwrap();
    let spec = pod.spec.as_mut().unwrap();
    for container in &mut spec.containers {
        container.env.get_or_insert_default().push(EnvVar {
            name: "DISPLAY".to_owned(),
            value: Some(":99".to_owned()),
            ..EnvVar::default()
        });
        let mount = VolumeMount { name: "x11".to_owned(), mount_path: "/tmp/.X11-unix".to_owned(), ..VolumeMount::default() };
        container.volume_mounts.get_or_insert_default().push(mount);
    }
    spec.volumes.get_or_insert_default().push(Volume { name: "x11".to_owned(), ..Volume::default() });
    spec.init_containers.get_or_insert_default().push(Container {
        name: "vnc".to_owned(),
        image: Some("vnc".to_owned()),
        ..Container::default()
    });
    let patch = json_patch::diff(&before, &serde_json::to_value(&pod).unwrap());
    let response = AdmissionResponse::from(&request).with_patch(patch).unwrap();
    serde_json::to_vec(&response.into_review()).unwrap()
}

fn benches(criterion: &mut Criterion) {
    let admission = admission();
    let cases = [
        ("1 KB, vnc", minimal(&json!({"outrigger.dev/inject": "vnc"}), 0)),
        ("11 KB, three sidecars", review(&all_three(), 25, 3)),
        ("11 KB, vnc", review(&json!({"outrigger.dev/inject": "vnc"}), 25, 3)),
        ("11 KB, asks for nothing", review(&json!({"prometheus.io/scrape": "true"}), 25, 3)),
        ("2,000 variables in one container", review(&all_three(), 2000, 1)),
        ("100 containers of 20 variables", review(&all_three(), 20, 100)),
    ];
    let mut group = criterion.benchmark_group("bytes to bytes");
    for (name, body) in &cases {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("outrigger", name), body, |bencher, body| {
            bencher.iter(|| block_on(admission.answer_pod(black_box(body))).unwrap());
        });
        group.bench_with_input(BenchmarkId::new("typed and diffed, one sidecar", name), body, |bencher, body| {
            bencher.iter(|| typed_and_diffed(black_box(body)));
        });
    }
    group.finish();
}

criterion_group!(decision, benches);
criterion_main!(decision);
