//! A server of bare TCP connections, for protocols that are none of HTTP.

use std::{io, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{server::Trouble, shutdown::Shutdown};

/// A peer that has said nothing for so long is asked whether it is there, by TCP itself, so often, and so long after each other.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(20)).with_interval(Duration::from_secs(5)).with_retries(2);
/// A peer that has not confirmed what it was sent for so long is gone.
const UNCONFIRMED_LIMIT: Duration = Duration::from_secs(30);

/// Serves each connection by `serve`, at most `most` at once, until shutdown; others wait in the kernel's queue. `serve` must end soon
/// after shutdown closes: what has not after `drain` is cut.
pub async fn serve<F>(listener: TcpListener, most: usize, serve: impl Fn(TcpStream, SocketAddr) -> F, drain: Duration, shutdown: Shutdown)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (places, connections, cut, mut trouble) =
        (Arc::new(Semaphore::new(most)), TaskTracker::new(), CancellationToken::new(), Trouble::default());
    loop {
        let accepting = async {
            // The semaphore is never closed, so this only waits.
            let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
            let (stream, peer) = listener.accept().await?;
            prepare(&stream, UNCONFIRMED_LIMIT)?;
            Ok((place, stream, peer))
        };
        let accepted: io::Result<_> = tokio::select! {
            () = shutdown.closing() => break,
            accepted = accepting => accepted,
        };
        match accepted {
            Ok((place, stream, peer)) => {
                trouble.settle();
                let (connection, cut) = (serve(stream, peer), cut.clone());
                connections.spawn(async move {
                    let _place = place;
                    let ended = tokio::select! {
                        ended = AssertUnwindSafe(connection).catch_unwind() => ended,
                        () = cut.cancelled() => Ok(()),
                    };
                    if ended.is_err() {
                        tracing::error!("serving a connection panicked; it is closed");
                    }
                });
            }
            Err(error) => trouble.wait(&error).await,
        }
    }
    drop(listener);
    connections.close();
    if timeout(drain, connections.wait()).await.is_err() {
        tracing::warn!("connections were still busy after {drain:?}, and are cut");
        cut.cancel();
        connections.wait().await;
    }
}

/// What is small is sent at once, and a peer that is gone is noticed: also one that has not confirmed for so long what it was sent.
pub(super) fn prepare(stream: &TcpStream, unconfirmed: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.set_tcp_user_timeout(Some(unconfirmed))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// Says what it hears, until the end.
    async fn echo(mut stream: TcpStream, _peer: SocketAddr) {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    }

    async fn says(client: &mut TcpStream) {
        client.write_all(b"x").await.unwrap();
        assert_eq!(timeout(LONG, client.read_u8()).await.unwrap().unwrap(), b'x');
    }

    #[tokio::test]
    async fn one_more_than_there_is_room_for_waits_until_one_leaves_and_a_panic_costs_its_own_connection_alone() {
        let (listener, address) = listener().await;
        let shutdown = Shutdown::default();
        let panics = std::sync::atomic::AtomicBool::new(true);
        let serving = serve(
            listener,
            1,
            move |stream, peer| {
                let panics = panics.swap(false, std::sync::atomic::Ordering::Relaxed);
                async move {
                    assert!(!panics, "a defect");
                    echo(stream, peer).await;
                }
            },
            LONG,
            shutdown.clone(),
        );
        let serving = tokio::spawn(serving);
        let mut unlucky = TcpStream::connect(address).await.unwrap();
        assert!(matches!(timeout(LONG, unlucky.read(&mut [0])).await.unwrap(), Ok(0) | Err(_)));
        let mut first = TcpStream::connect(address).await.unwrap();
        says(&mut first).await;
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"x").await.unwrap();
        says(&mut first).await;
        assert_eq!(second.try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(first);
        assert_eq!(timeout(LONG, second.read_u8()).await.unwrap().unwrap(), b'x');
        drop(second);
        shutdown.close();
        timeout(LONG, serving).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_peer_that_falls_silent_is_asked_whether_it_is_there() {
        let (listener, address) = listener().await;
        let _client = TcpStream::connect(address).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        prepare(&stream, UNCONFIRMED_LIMIT).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
        assert_eq!(
            (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap(), socket.tcp_keepalive_retries().unwrap()),
            (Duration::from_secs(20), Duration::from_secs(5), 2)
        );
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_end_is_cut() {
        let (listener, address) = listener().await;
        let shutdown = Shutdown::default();
        let serving = tokio::spawn(serve(listener, 1, echo, LONG, shutdown.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        says(&mut client).await;
        shutdown.close();
        serving.await.unwrap();
        assert!(matches!(client.read(&mut [0]).await, Ok(0) | Err(_)));
    }
}
