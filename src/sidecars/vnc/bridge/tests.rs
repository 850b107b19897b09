//! Conversations by a clock of their own: what waits for minutes takes none.

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::*;
use crate::sidecars::vnc::{
    metrics::Metrics,
    rfb::policy::Policy,
    viewers::{Guest, Limits, Role, Viewers},
};

/// Longer than any conversation here, by the test's own clock.
const LONG: Duration = Duration::from_hours(24);
const PING: [u8; 2] = [0x89, 0];
/// Masked with zeros, which change nothing.
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

/// A viewer's and a desktop's ends of a conversation, whose sockets hold so many bytes.
fn conversation(viewer_holds: usize, desktop_holds: usize) -> (DuplexStream, DuplexStream, JoinHandle<Ended>) {
    conversation_until(viewer_holds, desktop_holds, std::future::pending())
}

/// The same, until it is ended by order.
fn conversation_until(
    viewer_holds: usize,
    desktop_holds: usize,
    order: impl Future<Output = Close> + Send + 'static,
) -> (DuplexStream, DuplexStream, JoinHandle<Ended>) {
    let (viewer_end, stream) = duplex(viewer_holds);
    let (desktop_end, desktop) = duplex(desktop_holds);
    let viewers = Viewers::new(Limits::default(), Policy::control(), Metrics::default());
    let seat = viewers.seat(Guest { user: None, address: [127, 0, 0, 1].into(), role: Role::Control }).unwrap();
    let running = tokio::spawn(async move {
        let ends = Ends {
            viewer: &seat.viewer,
            taken: Taken { stream: Box::new(stream), read_ahead: Bytes::new() },
            desktop: Box::new(desktop),
            buffers: Buffers::default(),
            filter: None,
            framing: Framing::WebSocket { limit: 1024 * 1024 },
            pace: Pace::default(),
        };
        run(ends, order).await
    });
    (viewer_end, desktop_end, running)
}

/// A masked frame of up to 125 bytes.
fn frame(payload: &[u8]) -> Vec<u8> {
    [&[0x82, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0], payload].concat()
}

#[tokio::test(start_paused = true)]
async fn b5_a_ping_comes_every_twenty_seconds_and_whoever_does_not_answer_is_sent_away() {
    let (mut viewer, _desktop, running) = conversation(1024, 1024);
    let start = Instant::now();
    for ping in 1..=3 {
        let mut frame = [0; 2];
        viewer.read_exact(&mut frame).await.unwrap();
        assert_eq!((frame, start.elapsed().as_secs()), (PING, 20 * ping));
        viewer.write_all(&PONG).await.unwrap();
    }
    let mut rest = Vec::new();
    viewer.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest[..2], PING);
    assert_eq!((rest[2], &rest[4..6]), (0x88, &1001u16.to_be_bytes()[..]));
    assert_eq!((running.await.unwrap().code, start.elapsed().as_secs()), (1001, 90));
}

#[tokio::test(start_paused = true)]
async fn b5_whoever_says_something_is_alive_without_pongs() {
    let (mut viewer, mut desktop, running) = conversation(1024, 1024);
    for _ in 0..60 {
        viewer.write_all(&frame(b"key")).await.unwrap();
        let mut key = [0; 3];
        desktop.read_exact(&mut key).await.unwrap();
        sleep(Duration::from_secs(5)).await;
    }
    assert!(!running.is_finished());
}

#[tokio::test(start_paused = true)]
async fn b5_a_viewer_who_reads_slowly_but_steadily_stays() {
    // Two megabytes on their way, of which it reads ten kilobytes a second: a pong takes more than three minutes.
    let (mut viewer, mut desktop, running) = conversation(2_000_000, 64 * 1024);
    let sending = tokio::spawn(async move { while desktop.write_all(&[7; 16 * 1024]).await.is_ok() {} });
    let (mut bytes, mut last) = (vec![0; 10_000], 0);
    for second in 0..1200 {
        timeout(LONG, viewer.read_exact(&mut bytes)).await.unwrap().unwrap();
        assert!(!running.is_finished(), "{second}");
        // The pings that it has come to are answered.
        for byte in &bytes {
            if [last, *byte] == PING {
                viewer.write_all(&PONG).await.unwrap();
            }
            last = *byte;
        }
        sleep(Duration::from_secs(1)).await;
    }
    drop(viewer);
    assert_eq!(running.await.unwrap().code, 1006);
    sending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn b5_a_viewer_whose_socket_takes_nothing_any_more_is_gone_after_two_minutes() {
    let (_viewer, mut desktop, running) = conversation(100_000, 64 * 1024);
    let start = Instant::now();
    let sending = tokio::spawn(async move { while desktop.write_all(&[7; 16 * 1024]).await.is_ok() {} });
    assert_eq!(running.await.unwrap().code, 1001);
    assert!((120..=150).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    sending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn b16_a_desktop_that_takes_nothing_any_more_ends_the_conversation_and_a_slow_one_does_not() {
    let (mut viewer, mut desktop, running) = conversation(1024, 64);
    let start = Instant::now();
    // It takes a byte every ten seconds.
    for _ in 0..30 {
        viewer.write_all(&frame(&[1; 10])).await.unwrap();
        desktop.read_u8().await.unwrap();
        sleep(Duration::from_secs(10)).await;
        assert!(!running.is_finished(), "{:?}", start.elapsed());
    }
    // And then nothing, however much it is told; nor does the viewer answer any more.
    let mut told = Vec::new();
    viewer.read_to_end(&mut told).await.unwrap();
    let close = told.windows(2).position(|bytes| bytes == 1011u16.to_be_bytes()).unwrap();
    assert!(told[close + 2..].starts_with(b"the desktop took nothing of what the viewer said for 30s"), "{}", told.escape_ascii());
    assert_eq!(running.await.unwrap().code, 1011);
    assert!(start.elapsed() < Duration::from_secs(360), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn b16_viewers_hear_why_a_desktop_has_ended_if_somebody_says_so_soon() {
    for (said_after, code) in [(400, 1000), (600, 1011)] {
        let order = async move {
            sleep(Duration::from_millis(said_after)).await;
            Close::new(CloseCode::Normal, "the app has ended")
        };
        let (mut viewer, desktop, running) = conversation_until(1024, 1024, order);
        drop(desktop);
        // Whoever types on does not put it off.
        for _ in 0..3 {
            viewer.write_all(&frame(b"key")).await.unwrap();
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(running.await.unwrap().code, code, "{said_after}");
    }
}
