//! The plain port by which the kubelet, and whoever looks after a pod, sees how a sidecar is; and its other end, for programs of ours
//! that wait in the same pod.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::registry::Registry;

use crate::runtime::{
    pulse::Pulses,
    readiness::Readiness,
    status::{self, Status},
};

/// How long an answer may take that costs the sidecar nothing.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
/// More than any report is long.
const LONGEST_ANSWER: u64 = 64 * 1024;
/// Between two looks of one who waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How a sidecar is.
#[derive(Debug)]
pub struct Health {
    /// What the app waits for: the kubelet starts it when all gates are open. None are there where it waits for the process alone.
    pub started: Readiness,
    /// Whether all is as it should be.
    pub readiness: Readiness,
    /// The parts without which the sidecar is to be started again.
    pub pulses: Pulses,
    /// All metrics.
    pub registry: Registry,
}

/// `/startupz`, `/livez`, `/readyz` and `/metrics`, and `/healthz` for those who know only that one.
pub fn router(health: Health) -> Router {
    let Health { started, readiness, pulses, registry } = health;
    let whole = Arc::new((readiness.clone(), pulses.clone()));
    Router::new()
        .route("/startupz", get(is_started).with_state(started))
        .route("/healthz", get(is_well).with_state(whole))
        .merge(status::router(Status { readiness, pulses, registry }))
}

async fn is_started(State(started): State<Readiness>) -> Response {
    let code = if started.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, started.report()).into_response()
}

async fn is_well(State(whole): State<Arc<(Readiness, Pulses)>>) -> (StatusCode, &'static str) {
    let (readiness, pulses) = &*whole;
    let is_well = readiness.is_ready() && pulses.silent().is_empty();
    if is_well { (StatusCode::OK, "OK") } else { (StatusCode::SERVICE_UNAVAILABLE, "NOT READY") }
}

/// What a sidecar says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether all that was asked for is there.
    pub is_good: bool,
    /// In words: what is missing, and what can be done about it.
    pub report: String,
}

/// Nothing that is known to be a sidecar answers.
#[derive(Debug, thiserror::Error)]
#[error("the sidecar does not answer at {address}")]
pub struct Unanswered {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// Asks the sidecar of this pod whether the app may start. `health` is the address at which its health port listens.
///
/// # Errors
/// It can't be reached, or what answers is no sidecar.
pub fn ask_whether_started(health: SocketAddr) -> Result<Answer, Unanswered> {
    ask(health, "/startupz")
}

/// Asks the sidecar of this pod whether all is as it should be.
///
/// # Errors
/// It can't be reached, or what answers is no sidecar.
pub fn ask_whether_ready(health: SocketAddr) -> Result<Answer, Unanswered> {
    ask(health, "/readyz")
}

/// Waits until the app may start, but not longer than `limit`. Tells whether it may, and what was said last.
///
/// # Errors
/// At the end it can't be reached, or what answers is no sidecar.
pub fn wait_until_started(health: SocketAddr, limit: Duration) -> Result<Answer, Unanswered> {
    let end = Instant::now() + limit;
    loop {
        let answer = ask_whether_started(health);
        if answer.as_ref().is_ok_and(|answer| answer.is_good) || Instant::now() >= end {
            return answer;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn ask(health: SocketAddr, path: &str) -> Result<Answer, Unanswered> {
    let address = reachable(health);
    let answer = match exchange(address, path) {
        // Where there is no IPv6, what listens everywhere listens on IPv4 alone.
        Err(_) if health.ip() == Ipv6Addr::UNSPECIFIED => exchange((Ipv4Addr::LOCALHOST, health.port()).into(), path),
        answer => answer,
    };
    answer.map_err(|source| Unanswered { address, source })
}

/// Where one of this pod finds what listens at an address, which may be all there are.
fn reachable(health: SocketAddr) -> SocketAddr {
    let host = match health.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, health.port())
}

fn exchange(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut connection = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    connection.set_read_timeout(Some(ANSWER_LIMIT))?;
    connection.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    connection.take(LONGEST_ANSWER).read_to_string(&mut text)?;
    let (head, report) = text.split_once("\r\n\r\n").ok_or(ErrorKind::InvalidData)?;
    let code = head.split(' ').nth(1).ok_or(ErrorKind::InvalidData)?;
    Ok(Answer { is_good: code == "200", report: report.to_owned() })
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, task::spawn_blocking};

    use super::*;
    use crate::runtime::{server::serve_plain, shutdown::Shutdown, telemetry};

    #[tokio::test]
    async fn the_app_waits_for_what_it_waits_for_and_is_told_what_is_missing() {
        let (started, readiness, pulses) = (Readiness::default(), Readiness::default(), Pulses::default());
        let (files, _database) = (started.gate("files"), readiness.gate("database"));
        files.close_with("forbidden: bind a role");
        let health = Health { started, readiness, pulses, registry: telemetry::registry() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::default());
        let server = tokio::spawn(serve_plain(listener, router(health), shutdown.clone()));

        let answer = spawn_blocking(move || ask_whether_started(address)).await.unwrap().unwrap();
        assert_eq!(answer, Answer { is_good: false, report: "files: forbidden: bind a role\n".to_owned() });
        let waiting = spawn_blocking(move || wait_until_started(address, Duration::from_secs(60)));
        files.open();
        assert!(waiting.await.unwrap().unwrap().is_good, "readiness is no matter of the app's");
        let answer = spawn_blocking(move || ask_whether_ready(address)).await.unwrap().unwrap();
        assert_eq!(answer, Answer { is_good: false, report: "database: waiting\n".to_owned() });
        let late = spawn_blocking(|| wait_until_started("127.0.0.1:1".parse().unwrap(), Duration::ZERO)).await.unwrap();
        assert_eq!(late.unwrap_err().to_string(), "the sidecar does not answer at 127.0.0.1:1");
        shutdown.close();
        server.await.unwrap();
    }

    #[test]
    fn what_listens_everywhere_is_asked_at_home_and_what_listens_somewhere_is_asked_there() {
        for (listens, asked) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("127.0.0.2:1", "127.0.0.2:1"), ("[fd00::2]:1", "[fd00::2]:1")]
        {
            assert_eq!(reachable(listens.parse().unwrap()), asked.parse().unwrap(), "{listens}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_part_and_a_closed_gate_both_show() {
        let (readiness, pulses) = (Readiness::default(), Pulses::default());
        let (gate, watch) = (readiness.gate("files"), pulses.pulse("watch", Duration::from_secs(1)));
        let whole = Arc::new((readiness, pulses));
        let code = async || is_well(State(whole.clone())).await.0;
        assert_eq!(code().await, StatusCode::SERVICE_UNAVAILABLE, "not ready");
        gate.open();
        assert_eq!(code().await, StatusCode::OK);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(code().await, StatusCode::SERVICE_UNAVAILABLE, "ready, but dead");
        watch.beat();
        assert_eq!(code().await, StatusCode::OK);
    }
}
