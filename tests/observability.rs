//! What those who run it see: traces at a real collector's interface, and a log line for each review that was refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use std::{collections::HashMap, net::SocketAddr};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use common::{
    https::{pod, request, review},
    process::Server,
    webhook::wait_for,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value},
    trace::v1::Span,
};
use outrigger_bed::ControlPlane;
use prost::Message;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

/// A collector of traces that hands on each request: the service's attributes, and its spans.
async fn collector() -> (SocketAddr, mpsc::UnboundedReceiver<(HashMap<String, String>, Vec<Span>)>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let collect = async |State(sender): State<mpsc::UnboundedSender<_>>, headers: HeaderMap, body: Bytes| {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        for resource in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans).collect();
            sender.send((words(&resource.resource.unwrap().attributes), spans)).unwrap();
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/traces", post(collect)).with_state(sender);
    // It ends with the test's runtime.
    tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            let stream = hyper_util::rt::TokioIo::new(stream);
            connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(stream, service));
        }
    });
    (address, receiver)
}

fn words(attributes: &[KeyValue]) -> HashMap<String, String> {
    let word = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some((attribute.key.clone(), text.clone())),
        _ => None,
    };
    attributes.iter().filter_map(word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_is_a_span_of_its_senders_trace() {
    let (address, mut spans) = collector().await;
    let endpoint = format!("http://{address}");
    let kubeconfig = ControlPlane::shared().await.kubeconfig_path();
    let mut server = Server::start_with(kubeconfig, &["--drain-delay=0s"], &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]);
    server.until_status("/readyz", 200).await;

    let body = review("traced", &pod()).to_string();
    let head = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n",
        body.len()
    );
    let answer = server.client().send(&request("POST /mutate/pods HTTP/1.1", &head, &body)).await.unwrap();
    assert_eq!(answer.status, 200);

    // What is still in the queue is sent before the end.
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
    let (service, sent) = spans.recv().await.unwrap();
    assert_eq!((service["service.name"].as_str(), service["service.version"].as_str()), ("outrigger", env!("CARGO_PKG_VERSION")));
    let span = &sent[0];
    assert_eq!(span.name, "/mutate/pods");
    assert_eq!(hex(&span.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&span.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(words(&span.attributes)["outrigger.outcome"], "injected");
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_no_review_and_one_line() {
    let dead = format!("http://127.0.0.1:{}", outrigger_bed::free_port().unwrap());
    let kubeconfig = ControlPlane::shared().await.kubeconfig_path();
    let mut server = Server::start_with(kubeconfig, &["--drain-delay=0s"], &[("OTEL_EXPORTER_OTLP_ENDPOINT", dead.as_str())]);
    server.until_status("/readyz", 200).await;
    for _ in 0..3 {
        server.assert_serving("a collector that is away").await;
        wait_for("it is missed", async || server.log().contains("traces can't be sent").then_some(())).await;
    }
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
    assert_eq!(server.log().matches("traces can't be sent").count(), 1, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_answer_does_not_hold_back_the_end() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let kubeconfig = ControlPlane::shared().await.kubeconfig_path();
    let mut server = Server::start_with(kubeconfig, &["--drain-delay=0s"], &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]);
    server.until_status("/readyz", 200).await;
    server.assert_serving("a collector that does not answer").await;
    let _waiting = common::https::within("a batch is being sent", silent.accept()).await.unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.exit().await.code(), Some(0), "{}", server.log());
    assert!(server.log().contains("the last traces could not be sent"), "{}", server.log());
    assert!(!server.log().contains("traces can't be sent"), "it was not waited for until its own deadline: {}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refused_review_is_one_line_that_says_why() {
    let server = Server::ready(ControlPlane::shared().await.kubeconfig_path(), &["--log-format=json"]).await;
    let mut bad = review("refused", &pod());
    bad["request"]["userInfo"] = json!({"username": "ada"});
    bad["request"]["kind"] = json!({"group": "", "version": "v1", "kind": "Pod"});
    bad["request"]["object"]["metadata"]["generateName"] = json!("web-");
    bad["request"]["object"]["metadata"]["annotations"] = json!({"outrigger.dev/inject": "vnc", "vnc.outrigger.dev/geometry": "huge"});
    assert_eq!(server.client().review(&bad).await.unwrap().response()["allowed"], false);
    let lines = lines(&server, "denied");
    assert_eq!(lines.len(), 1, "{}", server.log());
    assert_eq!((&lines[0]["kind"], &lines[0]["name"], &lines[0]["user"]), (&json!("Pod"), &json!("web-…"), &json!("ada")));
    assert!(lines[0]["reason"].as_str().unwrap().contains("huge"), "{}", lines[0]);

    let head = "Content-Type: application/json\r\nContent-Length: 2\r\n";
    let answer = server.client().send(&request("POST /mutate/pods HTTP/1.1", head, "{}")).await.unwrap();
    assert_eq!(answer.status, 400);
    let lines = self::lines(&server, "a review was not answered");
    assert_eq!(lines.len(), 1, "{}", server.log());
    assert!(lines[0]["error"].as_str().unwrap().contains("no AdmissionReview"), "{}", lines[0]);
}

/// The fields of the log's lines with this message.
fn lines(server: &Server, message: &str) -> Vec<Value> {
    let log = server.log();
    let fields = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).map(|mut line| line["fields"].take());
    fields.filter(|fields| fields["message"] == message).collect()
}
