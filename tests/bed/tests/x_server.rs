//! The bed's X server, with real X clients.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Read;
use std::os::unix::net::UnixStream;

use outrigger_bed::{XServer, obtain};

#[tokio::test]
async fn an_x_server_has_clients_speaks_rfb_and_comes_back_after_a_crash() {
    let server = XServer::start().await;
    assert!(server.output("xdpyinfo", &[]).contains("1280x800 pixels"));
    server.start_client("xterm", &["-T", "shown"]);
    server.output("xdotool", &["search", "--sync", "--onlyvisible", "--name", "shown"]);

    let mut banner = [0; 12];
    UnixStream::connect(server.rfb_socket()).unwrap().read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"RFB 003.008\n");

    server.kill();
    assert!(!server.client("xdpyinfo").output().unwrap().status.success());
    server.restart();
    server.output("xdpyinfo", &[]);
}

#[tokio::test]
async fn each_has_a_display_and_arguments_of_its_own() {
    let (first, second) = (XServer::start().await, XServer::start_with(&["-geometry", "640x480"]).await);
    assert_ne!(first.display().number(), second.display().number());
    assert!(second.output("xdpyinfo", &[]).contains("640x480 pixels"));
    let stranger = first.client("xdpyinfo").env("XAUTHORITY", second.authority()).output().unwrap();
    assert!(!stranger.status.success(), "the other's cookie is of no use here");
}

#[test]
fn chromium_is_there() {
    assert!(obtain::chromium().unwrap().is_file());
}
