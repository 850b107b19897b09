//! Strangers at the webhook's port: whatever they send, they get a clear answer or are cut, and the others are served.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use common::{
    https::{Client, Stream, pod, post, read_answer, request, review, until_closed, within},
    process::Server,
    restored,
    webhook::wait_for,
};
use outrigger_bed::ControlPlane;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

const HUNDRED_MEGABYTES: usize = 100_000_000;
/// What a client may take for a request, where a test waits for it to be over.
const SHORT: &str = "--request-deadline=500ms";
/// How long a test waits for a cut that is due after that, on a busy machine.
const SOON: Duration = Duration::from_secs(4);
const CLIENTS: usize = 200;

async fn server(arguments: &[&str]) -> Server {
    Server::ready(ControlPlane::shared().await.kubeconfig_path(), arguments).await
}

/// A body under headers of a well-meaning client, with one changed.
fn with_header(header: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST /mutate/pods HTTP/1.1", &format!("Content-Type: application/json\r\n{header}\r\n"), body)
}

/// The text of a good review with one part of it replaced.
fn spoilt(part: &str, by: &str) -> Vec<u8> {
    let text = review("u", &pod()).to_string();
    assert!(text.contains(part), "{part} in {text}");
    post(text.replacen(part, by, 1))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_review_is_refused_with_status_and_reason() {
    let server = server(&[]).await;
    let client = server.client();
    let good = review("u", &pod()).to_string();
    let annotations = r#""outrigger.dev/inject":"vnc""#;
    let rows: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("an empty body", post(""), 400, "the body is empty"),
        ("truncated JSON", post(&good[..good.len() / 2]), 400, "EOF while parsing"),
        ("v1beta1", spoilt("admission.k8s.io/v1", "admission.k8s.io/v1beta1"), 400, "not AdmissionReview of admission.k8s.io/v1beta1"),
        ("another kind", spoilt("AdmissionReview", "ConversionReview"), 400, "not ConversionReview of admission.k8s.io/v1"),
        ("no review at all", post(pod().to_string()), 400, "not Pod of v1"),
        ("a list", post("[]"), 400, "it is no object with a kind"),
        ("an object of no kind", post("{}"), 400, "it is no object with a kind"),
        ("no UTF-8", post(b"{\"kind\":\"\xff\xfe\"}"), 400, "the body is not UTF-8"),
        ("100,000 levels", post(format!("{{\"x\":{}", "[".repeat(100_000))), 400, "nested more than 512 levels"),
        (
            "a key twice in the review",
            spoilt(r#""kind":"AdmissionReview""#, r#""kind":"x","kind":"AdmissionReview""#),
            400,
            "duplicate field",
        ),
        ("a key twice in the pod", spoilt(r#""spec":{"#, r#""spec":{},"spec":{"#), 400, "duplicate field"),
        ("an annotation twice", spoilt(annotations, &format!(r#""outrigger.dev/inject":"none",{annotations}"#)), 400, "duplicate key"),
        (
            "another content type",
            request("POST /mutate/pods HTTP/1.1", "Content-Type: text/plain\r\nContent-Length: 2\r\n", "{}"),
            415,
            "application/json",
        ),
        ("no content type", request("POST /mutate/pods HTTP/1.1", "Content-Length: 2\r\n", "{}"), 415, "application/json"),
        ("no length", with_header("Transfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"), 411, "must say its Content-Length"),
        ("100 MB", with_header("Content-Length: 100000000", ""), 413, "larger than 8388608 bytes"),
        ("a length beyond numbers", with_header("Content-Length: 99999999999999999999999", ""), 400, ""),
        ("a negative length", with_header("Content-Length: -1", ""), 400, ""),
        ("two lengths", with_header("Content-Length: 2\r\nContent-Length: 3", "{} "), 400, ""),
        ("an unknown path", request("POST /mutate/nodes HTTP/1.1", "Content-Length: 0\r\n", ""), 404, "no webhook at /mutate/nodes"),
        ("another method", request("GET /mutate/pods HTTP/1.1", "", ""), 405, "sent with POST, not GET"),
        ("a head of 64 KB", request("POST /mutate/pods HTTP/1.1", &format!("X: {}\r\n", "x".repeat(64_000)), ""), 431, ""),
        ("no HTTP", b"\x16\x03\x01 what is this\r\n\r\n".to_vec(), 400, ""),
    ];
    for (name, bytes, status, message) in rows {
        let answer = client.send(&bytes).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert!(answer.body.contains(message), "{name}: {answer:?}");
        assert!(answer.body.len() < 1000, "{name}: {answer:?}");
        server.assert_serving(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_lies_is_answered_or_cut() {
    let server = server(&[SHORT]).await;
    let client = server.client();
    let good = review("u", &pod()).to_string();

    let mut too_long = client.connect().await.unwrap();
    too_long.write_all(&with_header(&format!("Content-Length: {}", good.len() + 100), &good)).await.unwrap();
    let start = Instant::now();
    let answer = within("an answer", read_answer(&mut too_long)).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (400, "the body ended early"));
    assert_eq!(until_closed(&mut too_long).await, 0);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());

    let mut left_early = client.connect().await.unwrap();
    left_early.write_all(&with_header(&format!("Content-Length: {}", good.len() + 100), &good)).await.unwrap();
    left_early.shutdown().await.unwrap();
    until_closed(&mut left_early).await;

    let mut too_short = client.connect().await.unwrap();
    too_short.write_all(&with_header("Content-Length: 10", &good)).await.unwrap();
    let answer = within("an answer", read_answer(&mut too_short)).await.unwrap();
    assert_eq!((answer.status, answer.body.contains("EOF while parsing")), (400, true), "{answer:?}");
    // What follows is taken for the next request, which it is not.
    assert_eq!(within("an answer", read_answer(&mut too_short)).await.unwrap().status, 400);
    assert_eq!(until_closed(&mut too_short).await, 0);
    server.assert_serving("lies").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_annotation_is_carried_and_a_huge_bad_value_is_not_repeated() {
    let server = server(&[]).await;
    let mut large = pod();
    large["metadata"]["annotations"]["example.com/large"] = json!("x".repeat(1_000_000));
    let answer = server.client().review(&review("u", &large)).await.unwrap();
    assert_eq!(answer.response()["patchType"], "JSONPatch");
    assert!(answer.body.len() < 20_000, "{} bytes", answer.body.len());

    large["metadata"]["annotations"]["vnc.outrigger.dev/geometry"] = json!("9".repeat(1_000_000));
    let answer = server.client().review(&review("u", &large)).await.unwrap();
    let response = answer.response();
    assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(422)));
    assert!(response["status"]["message"].as_str().unwrap().starts_with("vnc.outrigger.dev/geometry is \"999"));
    assert!(answer.body.len() < 20_000, "{} bytes", answer.body.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_and_half_a_handshake_are_cut() {
    let server = server(&[]).await;
    let mut plain = TcpStream::connect(server.https).await.unwrap();
    plain.write_all(&post("{}")).await.unwrap();
    assert!(until_closed(&mut plain).await < 100, "no more than an alert");

    let mut silent = TcpStream::connect(server.https).await.unwrap();
    let mut half = TcpStream::connect(server.https).await.unwrap();
    // The head of a TLS record that promises 512 bytes, and the first of them.
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
    server.assert_serving("half a handshake").await;
    assert_eq!(until_closed(&mut half).await, 0);
    assert_eq!(until_closed(&mut silent).await, 0);
}

/// Sends these bytes one by one until the server closes, and tells how many it took.
async fn drip(client: &Client, bytes: &[u8]) -> usize {
    let mut stream = client.connect().await.unwrap();
    for (sent, byte) in bytes.iter().enumerate() {
        tokio::select! {
            // Nothing is answered before a request is whole, so this is the end of the connection.
            _ = stream.read_u8() => return sent,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        if stream.write_u8(*byte).await.is_err() || stream.flush().await.is_err() {
            return sent;
        }
    }
    bytes.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_or_body_that_drips_is_cut() {
    let server = server(&[SHORT]).await;
    let client = server.client();
    let head = post("x".repeat(1000));
    let start = Instant::now();
    let sent = within("a dripping head to be cut", drip(&client, &head)).await;
    assert!(sent < 80 && start.elapsed() < SOON, "{sent} bytes in {:?}", start.elapsed());

    let mut stream = client.connect().await.unwrap();
    stream.write_all(&with_header("Content-Length: 1000", "")).await.unwrap();
    let start = Instant::now();
    let cut = async {
        while stream.write_u8(b' ').await.is_ok() && stream.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("a dripping body to be cut", cut).await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    server.assert_serving("drips").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_never_reads_is_cut() {
    let server = server(&[SHORT]).await;
    let mut stream = server.client().connect().await.unwrap();
    let reviews = post(review("u", &pod()).to_string()).repeat(100);
    // Answers fill the socket's buffers until the server can neither write nor read on.
    let asking = async { while stream.write_all(&reviews).await.is_ok() {} };
    within("the server to give up", asking).await;
    server.assert_serving("one who never reads").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_and_kept_alive_requests_are_answered_in_order() {
    let server = server(&[]).await;
    let mut stream = server.client().connect().await.unwrap();
    let reviews: Vec<u8> = (0..20).flat_map(|number| post(review(&format!("uid-{number}"), &pod()).to_string())).collect();
    stream.write_all(&reviews).await.unwrap();
    for number in 0..20 {
        let answer = within("an answer", read_answer(&mut stream)).await.unwrap();
        assert_eq!(answer.response()["uid"], format!("uid-{number}"));
    }
    // A refused body does not end a connection on which it was read to its end.
    for (body, status) in [("{".to_owned(), 400), (review("again", &pod()).to_string(), 200)] {
        stream.write_all(&post(body)).await.unwrap();
        assert_eq!(within("an answer", read_answer(&mut stream)).await.unwrap().status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_is_answered_and_closed() {
    let server = server(&[]).await;
    let body = review("old", &pod()).to_string();
    let headers = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let mut stream = server.client().connect().await.unwrap();
    stream.write_all(&request("POST /mutate/pods HTTP/1.0", &headers, body)).await.unwrap();
    let answer = within("an answer", read_answer(&mut stream)).await.unwrap();
    assert_eq!(answer.response()["uid"], "old");
    assert_eq!(until_closed(&mut stream).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_comes_with_its_type_and_uid_and_its_uninjection_gives_the_pod_back() {
    let server = server(&[]).await;
    let response = server.client().review(&review("7ad1…ü\"", &pod())).await.unwrap().response();
    assert_eq!((&response["uid"], &response["allowed"], &response["patchType"]), (&json!("7ad1…ü\""), &json!(true), &json!("JSONPatch")));
    let patch = decode(response["patch"].as_str().unwrap());
    let injected = common::apply(&pod(), &patch);
    assert_eq!(common::names(&injected, "initContainers"), ["outrigger-vnc"]);
    assert_eq!(restored(&injected), pod());

    let again = server.client().review(&review("u", &injected)).await.unwrap().response();
    assert_eq!(again, json!({"uid": "u", "allowed": true}), "nothing to add, so neither patch nor type");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_operations_and_subresources_are_admitted_unchanged() {
    let server = server(&[]).await;
    let changed = |name: &str, value: Value| {
        let mut review = review("u", &pod());
        review["request"][name] = value;
        review
    };
    let mut deletion = changed("operation", json!("DELETE"));
    deletion["request"]["object"] = Value::Null;
    deletion["request"]["oldObject"] = pod();
    for (name, review) in [
        ("an update", changed("operation", json!("UPDATE"))),
        ("a connection", changed("operation", json!("CONNECT"))),
        ("ephemeral containers", changed("subResource", json!("ephemeralcontainers"))),
        ("a deletion", deletion),
    ] {
        let response = server.client().review(&review).await.unwrap().response();
        assert_eq!(response, json!({"uid": "u", "allowed": true}), "{name}");
    }
}

/// Memory beyond `before` at its highest, in KiB, until all clients are done.
async fn growth(server: &Server, before: u64, mut clients: JoinSet<()>) -> u64 {
    let mut highest = before;
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    loop {
        tokio::select! {
            done = clients.join_next() => match done {
                Some(client) => client.unwrap(),
                None => break,
            },
            _ = ticks.tick() => highest = highest.max(server.memory()),
        }
    }
    highest - before
}

/// A connection, also where two hundred handshakes at once take longer than one may.
async fn connected(client: &Client) -> Stream {
    let connecting = async {
        loop {
            if let Ok(stream) = client.connect().await {
                return stream;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), connecting).await.unwrap()
}

/// Sends a body of 100 MB, or as much of it as the server takes.
async fn flood(client: Client, head: Vec<u8>, piece: Vec<u8>) {
    let mut stream = connected(&client).await;
    let sending = async {
        let mut sent = 0;
        let mut alive = stream.write_all(&head).await.is_ok();
        while alive && sent < HUNDRED_MEGABYTES {
            alive = stream.write_all(&piece).await.is_ok();
            sent += piece.len();
        }
        sent
    };
    let sent = within("a flood to be cut", sending).await;
    assert!(sent < HUNDRED_MEGABYTES, "all of it was taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_bodies_of_100_mb_cost_at_most_16_mib() {
    let server = server(&[]).await;
    let client = server.client();
    server.assert_serving("start").await;
    let before = server.memory();
    let piece = vec![b'x'; 64 * 1024];
    let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (header, piece) = if number % 2 == 0 { ("Content-Length: 100000000", &piece) } else { ("Transfer-Encoding: chunked", &chunk) };
        clients.spawn(flood(client.clone(), with_header(header, ""), piece.clone()));
    }
    let growth = growth(&server, before, clients).await;
    assert!(growth <= 16 * 1024, "{growth} KiB");
    server.assert_serving("200 bodies of 100 MB").await;
}

/// What all bodies may hold together, and for each connection the buffers of TLS and HTTP (a few records of 16 KiB, and
/// what the allocator keeps of them); in KiB.
const BODIES_AND_BUFFERS: u64 = 40 * 1024 + 224 * CLIENTS as u64;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_slow_liars_hold_bounded_memory_and_keep_nobody_waiting() {
    // Who has shaken hands is to wait for the others.
    let server = server(&["--request-deadline=10s"]).await;
    let client = server.client();
    server.assert_serving("start").await;
    let before = server.memory();
    // One after the other: two hundred handshakes at once take longer on a busy machine than one may.
    let mut streams = Vec::new();
    for _ in 0..CLIENTS {
        streams.push(connected(&client).await);
    }
    let mut clients = JoinSet::new();
    for mut stream in streams {
        clients.spawn(async move {
            stream.write_all(&with_header("Content-Length: 8388608", "")).await.unwrap();
            let drip = async {
                while stream.write_all(&[b' '; 1024]).await.is_ok() && stream.flush().await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            within("a liar to be cut", drip).await;
        });
    }
    wait_for("all liars are being heard", async || in_flight(&server).await.filter(|count| *count >= CLIENTS as u64)).await;
    server.assert_serving("200 liars, among them").await;
    let growth = growth(&server, before, clients).await;
    assert!(growth <= BODIES_AND_BUFFERS, "{growth} KiB");
    server.assert_serving("200 liars").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_whole_bodies_of_8_mib_hold_bounded_memory() {
    let server = server(&[]).await;
    let client = server.client();
    server.assert_serving("start").await;
    let before = server.memory();
    let mut clients = JoinSet::new();
    let given_room = Arc::new(AtomicUsize::new(0));
    for _ in 0..CLIENTS {
        let (client, given_room, piece) = (client.clone(), given_room.clone(), vec![b' '; 64 * 1024]);
        clients.spawn(async move {
            let mut stream = connected(&client).await;
            let sending = async {
                stream.write_all(&with_header("Content-Length: 8388608", "")).await?;
                for _ in 0..128 {
                    stream.write_all(&piece).await?;
                }
                read_answer(&mut stream).await
            };
            // Those for whom there was no room are told so, or cut while they send. Two hundred at once may take longer
            // than one body may.
            if let Ok(answer) = within("an answer", sending).await {
                assert!(matches!(answer.status, 400 | 408 | 503), "{answer:?}");
                given_room.fetch_add(usize::from(answer.status != 503), Ordering::Relaxed);
            }
        });
    }
    let growth = growth(&server, before, clients).await;
    assert!(growth <= BODIES_AND_BUFFERS, "{growth} KiB");
    assert!(given_room.load(Ordering::Relaxed) > 0, "some were given room");
    server.assert_serving("200 large bodies").await;
}

async fn in_flight(server: &Server) -> Option<u64> {
    let (_, metrics) = server.status("/metrics").await.ok()?;
    let line = metrics.lines().find(|line| line.starts_with("outrigger_admission_in_flight "))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn decode(patch: &str) -> Value {
    use base64::{Engine, engine::general_purpose::STANDARD};
    serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap()
}
