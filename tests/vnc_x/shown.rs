//! What the sidecar shows besides its page: pictures, and the port of RFB.

use std::{
    fs,
    io::{Cursor, Read, Write},
    net::TcpStream,
};

use outrigger_bed::free_port;
use rustix::process::{Signal, kill_process};

use crate::{
    sidecar::{DEADLINE, Site, printed},
    until::until,
};

/// What a path of the desktop's port answers: the status, and the body.
fn get(port: &str, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (std::str::from_utf8(&bytes[9..12]).unwrap().parse().unwrap(), bytes[end + 4..].to_vec())
}

#[tokio::test]
async fn a28_a_picture_is_taken_while_the_x_server_answers_and_refused_with_a_reason_while_it_hangs() {
    let (site, port) = (Site::new(), free_port().unwrap().to_string());
    let _sidecar = site.ready(&[("VNC_PORT", &port), ("VNC_WINDOW_MANAGER", "none"), ("VNC_GEOMETRY", "640x480")]).await;
    let painted = site.client("xsetroot", &["-solid", "#3366cc"]).await;
    assert!(painted.status.success(), "{}", printed(&painted));
    let looks_right = || {
        let (status, body) = get(&port, "/screenshot?width=160");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let mut reader = png::Decoder::new(Cursor::new(body)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(((frame.width, frame.height), &pixels[..3]), ((160, 120), &[0x33, 0x66, 0xcc][..]));
    };
    looks_right();

    let x_server = site.process("Xtigervnc").await;
    kill_process(x_server, Signal::STOP).unwrap();
    let (status, body) = get(&port, "/screenshot");
    assert_eq!((status, String::from_utf8_lossy(&body).trim()), (503, "the desktop does not show itself within 5 s"));
    kill_process(x_server, Signal::CONT).unwrap();
    looks_right();
}

#[tokio::test]
async fn the_port_of_rfb_is_there_if_it_is_asked_for_and_ends_with_the_sidecar() {
    let (site, port) = (Site::new(), free_port().unwrap().to_string());
    let passwords = site.path("passwords");
    fs::write(&passwords, "secret").unwrap();
    let mut sidecar = site.ready(&[("VNC_RFB_PORT", &port), ("VNC_RFB_PASSWORD_FILE", passwords.to_str().unwrap())]).await;
    let mut viewer = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    viewer.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut banner = [0; 12];
    viewer.read_exact(&mut banner).unwrap();
    viewer.write_all(b"RFB 003.008\n").unwrap();
    let mut types = [0; 2];
    viewer.read_exact(&mut types).unwrap();
    assert_eq!((&banner, types), (b"RFB 003.008\n", [1, 2]), "a password is asked for, though the X server asks for none");
    assert!(!sidecar.log().contains("secret"));
    sidecar.signal(Signal::TERM);
    assert!(sidecar.exit().await.success());
    assert_eq!(viewer.read(&mut [0]).unwrap_or_default(), 0);
    until("the port is closed", async || match TcpStream::connect(format!("127.0.0.1:{port}")) {
        Err(_) => Ok(()),
        Ok(_) => Err("somebody answers".to_owned()),
    })
    .await;
}

#[tokio::test]
async fn a_port_of_rfb_without_a_usable_password_is_refused_at_once_by_name() {
    let site = Site::new();
    let (status, log) = site.failing(&[("VNC_RFB_PORT", "5900")]).await;
    assert!(
        !status.success() && log.contains("VNC_RFB_PORT is \"5900\", and VNC_RFB_PASSWORD_FILE is not set: a port for everybody"),
        "{log}"
    );
    let passwords = site.path("passwords");
    fs::write(&passwords, "much too long").unwrap();
    let port = free_port().unwrap().to_string();
    let (status, log) = site.failing(&[("VNC_RFB_PORT", &port), ("VNC_RFB_PASSWORD_FILE", passwords.to_str().unwrap())]).await;
    assert!(!status.success() && log.contains("must have a password of 1 to 8 bytes") && !log.contains("too long"), "{log}");
}
