//! What may block a thread for long, such as reading from a share that is away.

use std::time::Duration;

use tokio::time::timeout;

/// Does something in a thread of its own and waits for it, but not longer than `limit`: then the thread is left behind, and
/// ends by itself or with the process. `None` says that there is no result: it took too long, or panicked.
pub async fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    timeout(limit, tokio::task::spawn_blocking(work)).await.ok()?.ok()
}
