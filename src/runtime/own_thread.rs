//! A thread that tasks share with nobody else.

use std::{io, panic::resume_unwind};

use tokio::runtime::Builder;

/// Runs some work, and all tasks that it spawns, on one thread of their own: nothing that blocks elsewhere holds them back, and none
/// of them ever moves to another CPU. Whoever gives up waiting leaves the thread to the runtime, which waits for it when it ends.
///
/// # Errors
/// The system gives no thread, or nothing to wait for events with.
///
/// # Panics
/// If the work does.
pub async fn run<W: Future>(work: impl FnOnce() -> W + Send + 'static) -> io::Result<W::Output>
where
    W::Output: Send + 'static,
{
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(work()))
    });
    thread.await.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(cancelled) => Err(io::Error::other(cancelled)),
    })
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn the_work_and_what_it_spawns_share_a_thread() {
        let work = || async { (thread::current().id(), tokio::spawn(async { thread::current().id() }).await.unwrap()) };
        let (of_work, of_spawned) = run(work).await.unwrap();
        assert_eq!(of_work, of_spawned);
        assert_ne!(of_work, thread::current().id());
    }

    #[tokio::test]
    async fn a_panic_is_passed_on() {
        let running = tokio::spawn(run(|| async { assert!(!std::hint::black_box(true), "a defect") }));
        assert!(running.await.unwrap_err().is_panic());
    }
}
