//! What ends, and what comes back.

use std::{io::Write, net::TcpStream};

use outrigger_bed::free_port;
use rustix::process::{Signal, kill_process};

use crate::{
    sidecar::{Sidecar, Site, printed},
    until::until,
};

#[tokio::test]
async fn a_killed_x_server_comes_back_on_the_same_display_with_the_same_cookie() {
    let site = Site::new();
    let sidecar = site.ready(&[]).await;
    let cookie = std::fs::read(site.cookie()).unwrap();
    let killed = site.process("Xtigervnc").await;
    kill_process(killed, Signal::KILL).unwrap();
    until("it is another server", async || {
        let now = site.process("Xtigervnc").await;
        if now == killed { Err("it is the same".to_owned()) } else { Ok(()) }
    })
    .await;
    sidecar.until_status("/readyz", 200).await;
    assert!(site.client("xdpyinfo", &[]).await.status.success());
    assert_eq!(site.banner().unwrap(), "RFB 003.008\n");
    assert_eq!(std::fs::read(site.cookie()).unwrap(), cookie);
    assert!((sidecar.metric("outrigger_vnc_program_failures_total{program=\"Xtigervnc\"}") - 1.0).abs() < f64::EPSILON);
    assert!(sidecar.log().contains("Xtigervnc ended with signal: 9 (SIGKILL); it is started again"), "{}", sidecar.log());
}

#[tokio::test]
async fn by_policy_the_first_death_of_the_x_server_ends_the_sidecar() {
    let site = Site::new();
    let mut sidecar = site.ready(&[("VNC_X_RESTARTS", "0")]).await;
    kill_process(site.process("Xtigervnc").await, Signal::KILL).unwrap();
    assert_eq!(sidecar.exit().await.code(), Some(2));
    assert!(sidecar.log().contains("allow more with VNC_X_RESTARTS"), "{}", sidecar.log());
}

#[tokio::test]
async fn a21_a_dead_window_manager_comes_back_and_the_windows_stay() {
    let site = Site::new();
    let sidecar = site.ready(&[]).await;
    let server = site.process("Xtigervnc").await;
    let killed = site.process("openbox").await;
    kill_process(killed, Signal::KILL).unwrap();
    until("another one manages the windows", async || {
        let (now, root) = (site.process("openbox").await, site.client("xprop", &["-root", "_NET_SUPPORTING_WM_CHECK"]).await);
        if now != killed && printed(&root).contains("window id") { Ok(()) } else { Err(printed(&root)) }
    })
    .await;
    sidecar.until_status("/readyz", 200).await;
    assert_eq!(site.process("Xtigervnc").await, server);
    assert!((sidecar.metric("outrigger_vnc_program_failures_total{program=\"openbox\"}") - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a26_a_server_that_hangs_is_told_and_left_alone() {
    let site = Site::new();
    let sidecar = site.ready(&[]).await;
    let server = site.process("Xtigervnc").await;
    kill_process(server, Signal::STOP).unwrap();
    let report = sidecar.until_status("/readyz", 503).await;
    assert!(report.contains("desktop: down since 2") && report.contains("does not answer within 3 s"), "{report}");
    assert_eq!(sidecar.get("/livez").unwrap().0, 200, "to start the sidecar again would end the app's windows");
    kill_process(server, Signal::CONT).unwrap();
    sidecar.until_status("/readyz", 200).await;
    assert_eq!(site.process("Xtigervnc").await, server);
    assert!(sidecar.metric("outrigger_vnc_x_handshake_seconds_count") >= 1.0);
}

#[tokio::test]
async fn a_signal_ends_everything_in_order_and_leaves_the_cookie_alone() {
    let site = Site::new();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut sidecar = site.ready(&[]).await;
        sidecar.signal(signal);
        assert!(sidecar.exit().await.success(), "{}", sidecar.log());
        site.until_nothing_is_left().await;
        assert!(site.cookie().exists());
        assert!(!sidecar.log().contains("is killed"), "{}", sidecar.log());
    }
}

#[tokio::test]
async fn a_server_that_had_to_be_killed_leaves_nothing_either() {
    let site = Site::new();
    let mut sidecar = site.ready(&[]).await;
    kill_process(site.process("Xtigervnc").await, Signal::STOP).unwrap();
    sidecar.signal(Signal::TERM);
    assert!(sidecar.exit().await.success(), "{}", sidecar.log());
    assert!(sidecar.log().contains("is killed"), "{}", sidecar.log());
    site.until_nothing_is_left().await;
}

/// A sidecar to whose page's port somebody has sent half a request, and the connection of that.
async fn with_half_a_request(site: &Site) -> (Sidecar, TcpStream) {
    let port = free_port().unwrap();
    let sidecar = site.ready(&[("VNC_PORT", &port.to_string())]).await;
    let mut half = TcpStream::connect(("127.0.0.1", port)).unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost").unwrap();
    (sidecar, half)
}

#[tokio::test]
async fn half_a_request_does_not_hold_the_end_back_for_long() {
    let site = Site::new();
    let (mut sidecar, _half) = with_half_a_request(&site).await;
    sidecar.signal(Signal::TERM);
    assert!(sidecar.exit().await.success(), "{}", sidecar.log());
    assert!(sidecar.log().contains("connections were still busy after 1s, and are cut"), "{}", sidecar.log());
}

#[tokio::test]
async fn a_second_signal_ends_everything_now() {
    let site = Site::new();
    let (mut sidecar, _half) = with_half_a_request(&site).await;
    // Another one, since of two that are alike the second may be lost.
    sidecar.signal(Signal::TERM);
    sidecar.signal(Signal::INT);
    assert_eq!(sidecar.exit().await.code(), Some(130), "{}", sidecar.log());
    until("nothing runs", async || if site.processes().is_empty() { Ok(()) } else { Err(format!("{:?}", site.processes())) }).await;
}

#[tokio::test]
async fn a_signal_at_any_moment_of_the_start_leaves_nothing() {
    let site = Site::new();
    for moment in ["serving a display", "a new cookie was made", "Xvnc TigerVNC", "lets clients in"] {
        let _ = std::fs::remove_file(site.cookie());
        let mut sidecar = site.start(&[]);
        until(moment, async || if sidecar.log().contains(moment) { Ok(()) } else { Err(sidecar.log()) }).await;
        sidecar.signal(Signal::TERM);
        sidecar.exit().await;
        site.until_nothing_is_left().await;
    }
}
