//! The figures of `docs/performance.md`: our program beside the same logic written the usual way, in one run.
//!
//! `cargo bench --bench figures` (or `make figures`) measures for some minutes and writes the page with its plots.
//! `cargo test` runs this too, without measuring: that all servers add the same and keep answering.
//!
//! `make functions` has it tell which functions the program executes, with `functions PROGRAM FILE`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that fails must say where")]

mod additions;
mod crowd;
mod functions;
mod hardship;
mod load;
#[path = "../../tests/common/own_certificate.rs"]
mod own_certificate;
mod process;
mod quota;
mod report;
#[path = "../reviews/mod.rs"]
mod reviews;
mod servers;
mod transport;
mod typed;
#[path = "../words/mod.rs"]
mod words;

use std::{path::Path, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use outrigger::api::annotations::STATUS;
use outrigger_bed::ControlPlane;
use serde_json::json;

use load::{Load, Outcome, Pace, Target};
use report::{Figures, Measured};
use servers::{Server, Yard, request};
use words::median;

/// The first argument of this program when it is to be the typed server.
const TYPED: &str = "typed-server";
/// The same for the one that decides nothing.
const TRANSPORT: &str = "transport-server";
/// The same when it is to tell what another executes.
const FUNCTIONS: &str = "functions";
/// As many as an API server keeps to a webhook at these rates.
const CONNECTIONS: u32 = 16;
/// How long an API server may wait for a webhook.
const PATIENCE: Duration = Duration::from_secs(10);
/// Starts of the program, of which the median is told.
const STARTS: usize = 21;

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [TYPED, folder, address] => typed::serve(address.parse().unwrap(), Path::new(folder)),
        [TRANSPORT, folder, address] => transport::serve(address.parse().unwrap(), Path::new(folder)),
        [FUNCTIONS, program, destination] => list_functions(Path::new(program), Path::new(destination)),
        [.., "--bench"] => measure(),
        _ => check(),
    }
}

/// A kind of review that is sent, with the rates of its open loops.
struct Case {
    name: &'static str,
    review: Vec<u8>,
    rates: &'static [u32],
}

fn cases() -> [Case; 3] {
    let small = reviews::minimal(&json!({"outrigger.dev/inject": "vnc"}), 16);
    let (large, huge) = (reviews::review(&reviews::all_three(), 25, 3), reviews::review(&reviews::all_three(), 2000, 1));
    [
        Case { name: "small", review: small, rates: &[500, 2_000, 5_000] },
        Case { name: "large", review: large, rates: &[500, 2_000, 5_000] },
        Case { name: "huge", review: huge, rates: &[200] },
    ]
}

/// The control plane outlives all servers that watch it. It has the namespace of the pods: a review waits for one that is not known.
fn control_plane(runtime: &tokio::runtime::Runtime) -> &'static ControlPlane {
    runtime.block_on(async {
        let cluster = ControlPlane::shared().await;
        let created = cluster.kubectl(&["create", "namespace", reviews::NAMESPACE]).await;
        assert!(created.status.success(), "{}", created.stderr);
        cluster
    })
}

/// All that is told, measured on this machine, now.
fn measure() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = control_plane(&runtime);
    let (yard, cases) = (Yard::new(cluster.kubeconfig_path()), cases());
    let started = median((0..STARTS).map(|_| yard.outrigger().started_in).collect());
    let ours = yard.outrigger();
    let idle = ours.process.memory();
    let servers = start_all(&yard, ours, &cases);

    let mut measured = Vec::new();
    for case in &cases {
        for (server, running) in &servers {
            eprintln!("{server}, {} review", case.name);
            let load = load(running.target.clone(), case, Pace::Closed, Duration::from_secs(6));
            measured.push(Measured::new(server, case.name, Pace::Closed, &load.run(&running.process)));
            for &per_second in case.rates {
                let load = Load { pace: Pace::Open { per_second }, ..load.clone() };
                measured.push(Measured::new(server, case.name, load.pace, &load.run(&running.process)));
            }
        }
    }
    let [(_, ours), ..] = &servers;
    let after_load = ours.process.memory();
    let large = cases.iter().find(|case| case.name == "large").unwrap();
    let hardships = hardship::all(&yard, large);
    drop(servers);
    let crowd = runtime.block_on(crowd::memory(cluster, &yard));
    let sizes = cases.each_ref().map(|case| (case.name, case.review.len()));
    report::write(&Figures { sizes, measured, started, idle, after_load, hardships, crowd });
}

/// All servers. That the others add what ours adds is asserted.
fn start_all(yard: &Yard, ours: Server, cases: &[Case]) -> [(&'static str, Server); 4] {
    let reviews: Vec<&[u8]> = cases.iter().map(|case| &*case.review).collect();
    yard.learn(&ours, &reviews);
    let others =
        [("transport alone", yard.transport()), ("typed and diffed", yard.typed()), ("controller-runtime", yard.controller_runtime())];
    for review in reviews {
        let expected = without_record(ours.pod_after(review));
        for (name, server) in &others {
            assert_eq!(expected, without_record(server.pod_after(review)), "{name} adds something else");
        }
    }
    let [transport, typed, controller_runtime] = others;
    [("Outrigger", ours), transport, typed, controller_runtime]
}

/// The pod without the record of what was added: ours names the containers of each pod, the others write the same into all.
fn without_record(mut pod: Pod) -> Pod {
    pod.metadata.annotations.as_mut().and_then(|annotations| annotations.remove(STATUS)).unwrap();
    pod
}

fn load(target: Target, case: &Case, pace: Pace, lasts: Duration) -> Load {
    Load { target, request: request(&case.review), connections: CONNECTIONS, pace, lasts, patience: PATIENCE }
}

/// The functions that a program executes, for the linker.
fn list_functions(program: &Path, destination: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = control_plane(&runtime);
    functions::write(&Yard::new(cluster.kubeconfig_path()), &cases(), program, destination);
}

/// That each server answers all it is sent, in both loops.
fn check() {
    functions::check();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = control_plane(&runtime);
    let (yard, cases) = (Yard::new(cluster.kubeconfig_path()), cases());
    let ours = yard.outrigger();
    for (name, server) in start_all(&yard, ours, &cases) {
        for pace in [Pace::Closed, Pace::Open { per_second: 20 }] {
            let outcome = load(server.target.clone(), &cases[0], pace, Duration::from_millis(500)).run(&server.process);
            assert_answered(name, pace, &outcome);
        }
    }
}

fn assert_answered(name: &str, pace: Pace, outcome: &Outcome) {
    assert!(!outcome.latencies.is_empty(), "{name} answered nothing, {pace:?}");
    assert_eq!((outcome.refused, outcome.failed), (0, 0), "{name}, {pace:?}");
}
