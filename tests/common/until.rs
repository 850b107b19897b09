//! Waiting for something, with a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Long enough for a kubelet, which looks at a pod's Secrets about once a minute, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);

/// Tries until it succeeds; says at the deadline what was wrong last.
pub(crate) async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < end, "waited {DEADLINE:?} until {what}, but {error}"),
        }
        sleep(POLL).await;
    }
}
