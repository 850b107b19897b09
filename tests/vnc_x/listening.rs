//! Where the desktop can be reached: at two files, and at the health port.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixStream,
    },
};

use rustix::process::Pid;

use crate::sidecar::{DEADLINE, Site, desktop_name};

/// The numbers of all sockets that a process has.
fn sockets(process: Pid) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", process.as_raw_nonzero())).unwrap();
    let targets = descriptors.filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned()));
    targets.filter_map(|target| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())).collect()
}

/// Whether a process has a socket of TCP, over IPv4 or IPv6.
fn has_tcp(process: Pid) -> bool {
    let own = sockets(process);
    assert!(!own.is_empty());
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    let numbers = tables.iter().flat_map(|table| table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9)));
    numbers.into_iter().any(|number| own.iter().any(|known| known == number))
}

#[tokio::test]
async fn a8_neither_tcp_nor_the_abstract_socket_leads_to_the_x_server() {
    let site = Site::new();
    let _sidecar = site.ready(&[]).await;
    assert!(!has_tcp(site.process("Xtigervnc").await));
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let path = site.display.socket().display().to_string();
    assert!(sockets.lines().any(|line| line.ends_with(&format!(" {path}"))), "it listens at the file");
    assert!(!sockets.contains(&format!("@{path}\n")), "and only there");
}

#[tokio::test]
async fn a14_viewers_come_through_a_socket_that_only_its_owner_may_use() {
    let site = Site::new();
    let _sidecar = site.ready(&[]).await;
    let metadata = fs::metadata(site.rfb_socket()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(site.banner().unwrap(), "RFB 003.008\n");
}

#[tokio::test]
async fn a15_viewers_that_come_and_go_do_not_lock_out_the_next() {
    let site = Site::new();
    let _sidecar = site.ready(&[]).await;
    for _ in 0..30 {
        site.banner().unwrap();
    }
    let mut viewer = UnixStream::connect(site.rfb_socket()).unwrap();
    viewer.set_read_timeout(Some(DEADLINE)).unwrap();
    viewer.read_exact(&mut [0; 12]).unwrap();
    viewer.write_all(b"RFB 003.008\n").unwrap();
    // One way to be let in, and it is None; a server that refuses offers none, and says why (RFC 6143, 7.1.2).
    let mut offered = [0; 2];
    viewer.read_exact(&mut offered).unwrap();
    assert_eq!(offered, [1, 1]);
}

#[tokio::test]
async fn a14_an_attached_desktop_listens_at_its_file_alone_too() {
    let (site, server) = (Site::new(), outrigger_bed::XServer::start().await);
    let authority = server.authority().display().to_string();
    let display = server.display().name();
    let _sidecar = site.ready(&[("VNC_MODE", "attach"), ("DISPLAY", &display), ("XAUTHORITY", &authority)]).await;
    assert!(!has_tcp(site.process("x11vnc").await));
    assert_eq!(site.banner().unwrap(), "RFB 003.008\n");
}

#[tokio::test]
async fn viewers_see_the_pods_name_or_the_one_that_was_given() {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for (variables, expected) in [(&[][..], host.as_str()), (&[("VNC_NAME", "Ann's desk")], "Ann's desk")] {
        let site = Site::new();
        let _sidecar = site.ready(variables).await;
        assert_eq!(desktop_name(&site.rfb_socket()).unwrap(), expected);
    }
}

#[tokio::test]
async fn a_program_of_another_version_than_its_webhook_says_so() {
    for (webhook, is_skewed) in [(env!("CARGO_PKG_VERSION"), false), ("0.0.1", true)] {
        let site = Site::new();
        let sidecar = site.ready(&[("OUTRIGGER_VERSION", webhook)]).await;
        assert_eq!(sidecar.metric("outrigger_version_skew") > 0.5, is_skewed);
        assert_eq!(sidecar.log().contains("is of another version: use images of its version"), is_skewed, "{}", sidecar.log());
    }
}
