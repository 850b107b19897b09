//! A display that another server has, or had.

use std::{
    ffi::OsStr,
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            fs::{PermissionsExt, symlink},
            net::{SocketAddr, UnixListener},
        },
    },
    process::Stdio,
};

use outrigger_bed::XServer;
use rustix::process::{Signal, kill_process};
use tokio::{net::UnixStream, time::timeout};

use crate::sidecar::{DEADLINE, Site, printed};

#[tokio::test]
async fn a13_a_lock_that_names_a_living_process_does_not_keep_a_dead_servers_display() {
    let site = Site::new();
    // As in a new container, where the same number is somebody else's.
    fs::write(site.display.lock_file(), format!("{:>10}\n", std::process::id())).unwrap();
    let sidecar = site.ready(&[]).await;
    assert!(site.client("xdpyinfo", &[]).await.status.success());
    assert!(sidecar.log().contains("removed what a dead X server had left"), "{}", sidecar.log());
}

#[tokio::test]
async fn the_server_of_a_killed_sidecar_makes_room_for_the_next() {
    let site = Site::new();
    let mut first = site.ready(&[]).await;
    let left = site.process("Xtigervnc").await;
    let cookie = fs::read(site.cookie()).unwrap();
    first.signal(Signal::KILL);
    first.exit().await;
    let second = site.ready(&[]).await;
    assert_ne!(site.process("Xtigervnc").await, left);
    assert!(second.log().contains("ending the X server that an earlier process of ours has left"), "{}", second.log());
    assert_eq!(fs::read(site.cookie()).unwrap(), cookie);
}

#[tokio::test]
async fn the_display_of_a_living_server_is_left_alone_and_the_error_names_the_way_out() {
    let (site, server) = (Site::new(), XServer::start().await);
    for authority in [site.cookie(), server.authority()] {
        let authority = authority.display().to_string();
        let (status, log) = site.failing(&[("DISPLAY", &server.display().name()), ("XAUTHORITY", &authority)]).await;
        // The second one's cookie is good there, as the app's is good here.
        let expected = format!("another X server has the display {}: set VNC_MODE to attach", server.display().name());
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(&expected), "{log}");
        server.output("xdpyinfo", &[]);
    }
}

#[tokio::test]
async fn a_listener_that_lets_nobody_in_is_no_reason_to_hang() {
    let site = Site::new();
    let name = format!("/tmp/.X11-unix/X{}", site.display.number());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    // As many as fit wait in its queue.
    let mut waiting = Vec::new();
    while let Ok(client) = UnixStream::connect(format!("\0{name}")).await {
        waiting.push(client);
    }
    assert!(!waiting.is_empty(), "{listener:?}");
    let (status, log) = site.failing(&[]).await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("another X server has the display"), "{log}");
}

#[tokio::test]
async fn the_cookies_of_other_servers_are_left_alone() {
    let (site, server) = (Site::new(), XServer::start().await);
    let entry = fs::read(server.authority()).unwrap();
    let both = [&entry[..], &entry].concat();
    fs::write(site.cookie(), &both).unwrap();
    let (status, log) = site.failing(&[]).await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("cookie holds the cookies of other servers, and is left as it is"), "{log}");
    assert_eq!(fs::read(site.cookie()).unwrap(), both);
}

#[tokio::test]
async fn two_in_one_folder_leave_each_other_alone() {
    let site = Site::new();
    let first = site.ready(&[]).await;
    let server = site.process("Xtigervnc").await;
    let (status, log) = site.failing(&[]).await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("another outrigger vnc has VNC_FOLDER"), "{log}");
    assert_eq!(site.process("Xtigervnc").await, server);
    assert_eq!(first.get("/readyz").unwrap().0, 200);
}

#[tokio::test]
async fn a_folder_whose_sockets_nobody_could_reach_is_named() {
    let site = Site::new();
    let folder = site.path(&"x".repeat(100)).display().to_string();
    let (status, log) = site.failing(&[("VNC_FOLDER", &folder)]).await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert!(log.contains("VNC_FOLDER ") && log.contains("choose a shorter one"), "{log}");
}

#[tokio::test]
async fn what_is_missing_is_named_with_its_package() {
    let site = Site::new();
    let programs = tempfile::tempdir().unwrap();
    let path = programs.path().display().to_string();
    let (status, log) = site.failing(&[("PATH", &path)]).await;
    assert_eq!(status.code(), Some(2));
    assert!(log.contains("Xtigervnc is not here: install it (in Debian, apt-get install tigervnc-standalone-server)"), "{log}");

    symlink("/usr/bin/Xtigervnc", programs.path().join("Xtigervnc")).unwrap();
    let (status, log) = site.failing(&[("PATH", &path)]).await;
    assert_eq!(status.code(), Some(2));
    assert!(
        log.contains("openbox is not here: install it (in Debian, apt-get install openbox)") && log.contains("set VNC_WINDOW_MANAGER=none"),
        "{log}"
    );
    site.until_nothing_is_left().await;

    let sidecar = site.ready(&[("PATH", &path), ("VNC_WINDOW_MANAGER", "none")]).await;
    assert!(!sidecar.get("/readyz").unwrap().1.contains("window-manager"));
}

#[tokio::test]
async fn a_server_that_can_not_start_is_tried_again_and_then_given_up_with_its_words() {
    let site = Site::new();
    let programs = tempfile::tempdir().unwrap();
    let server = programs.path().join("Xtigervnc");
    fs::write(&server, "#!/bin/sh\n[ \"$1\" = -help ] && exec /usr/bin/Xtigervnc -help\nexec /usr/bin/Xtigervnc \"$@\" -no-such-flag\n")
        .unwrap();
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", programs.path().display());
    let (status, log) = site.failing(&[("PATH", &path), ("VNC_X_RESTARTS", "2")]).await;
    assert_eq!(status.code(), Some(2), "{log}");
    assert_eq!(log.matches("Xtigervnc ended with").count(), 3 + 1, "three attempts, and the end: {log}");
    assert!(log.contains("started 3 times in a row") && log.contains("it said: "), "{log}");
    site.until_nothing_is_left().await;
}

#[tokio::test]
async fn bad_values_are_refused_before_anything_is_started() {
    let site = Site::new();
    for (name, value) in [("VNC_GEOMETRY", "flat"), ("VNC_GEOMETRY", "0x0"), ("VNC_GEOMETRY", "99999x10"), ("DISPLAY", "elsewhere:0")] {
        let (status, log) = site.failing(&[(name, value)]).await;
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(&format!("{name} is {value:?}: use ")), "{log}");
    }
    assert!(!site.cookie().exists());
}

#[tokio::test]
async fn sizes_as_other_images_write_them_are_understood() {
    let site = Site::new();
    let sidecar = site.ready(&[("SCREEN_RESOLUTION", "1024x768x24"), ("VNC_PASSWORD", "secret")]).await;
    assert!(printed(&site.client("xdpyinfo", &[]).await).contains("1024x768 pixels"));
    assert!(sidecar.log().contains("VNC_PASSWORD changes nothing") && !sidecar.log().contains("secret"), "{}", sidecar.log());
    kill_process(sidecar.pid(), Signal::TERM).unwrap();
}

#[tokio::test]
async fn the_variable_that_was_set_is_named() {
    let site = Site::new();
    for (set, said) in [
        (&[("SCREEN_RESOLUTION", "1x1")][..], "SCREEN_RESOLUTION is \"1x1\": use "),
        (&[("VNC_PORT", "15999"), ("HEALTH_PORT", "15999")], "VNC_PORT is \"15999\", and HEALTH_PORT is \"15999\": set one of them"),
    ] {
        let output = timeout(DEADLINE, site.command(&[]).envs(set.iter().copied()).stderr(Stdio::piped()).output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(printed(&output).contains(said), "{}", printed(&output));
    }
}

#[tokio::test]
async fn a_value_that_is_no_text_is_refused() {
    let site = Site::new();
    for (name, value) in [("VNC_NAME", &b"Ann\xff"[..]), ("SCREEN_RESOLUTION", b"\xff")] {
        let mut command = site.command(&[]);
        command.env(name, OsStr::from_bytes(value)).stderr(Stdio::piped());
        let output = timeout(DEADLINE, command.output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = printed(&output);
        assert!(said.contains(&format!("{name} is \"")) && said.contains("\\xff\", which is no text in UTF-8: "), "{said}");
    }
}

#[tokio::test]
async fn where_novnc_is_not_the_log_says_how_to_get_it() {
    let site = Site::new();
    let folder = site.path("nowhere").display().to_string();
    let sidecar = site.ready(&[("VNC_WEB_FOLDER", &folder)]).await;
    let expected = format!("noVNC is not here. It was looked for in {folder}: ");
    assert_eq!(sidecar.log().matches(&expected).count(), 1, "{}", sidecar.log());
    fs::create_dir_all(site.path("somewhere/core")).unwrap();
    fs::write(site.path("somewhere/core/rfb.js"), "").unwrap();
    let site_with = Site::new();
    let sidecar = site_with.ready(&[("VNC_WEB_FOLDER", &site.path("somewhere").display().to_string())]).await;
    assert!(!sidecar.log().contains("noVNC is not here"), "{}", sidecar.log());
}
