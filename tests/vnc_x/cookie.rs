//! Who is let in.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::sidecar::{Site, printed};

#[tokio::test]
async fn a7_clients_are_let_in_by_a_cookie_that_is_good_under_any_host_name() {
    let site = Site::new();
    let _sidecar = site.ready(&[]).await;
    let file = fs::read(site.cookie()).unwrap();
    assert_eq!(&file[..2], &[0xff, 0xff], "the family of any host");
    assert_eq!(fs::metadata(site.cookie()).unwrap().permissions().mode() & 0o777, 0o440);

    let elsewhere = ["--user", "--map-root-user", "--uts", "sh", "-c", "hostname elsewhere && hostname && xdpyinfo"];
    let output = site.client("unshare", &elsewhere).await;
    assert!(output.status.success() && printed(&output).starts_with("elsewhere\n"), "{}", printed(&output));

    let stranger = site.client_with("xdpyinfo", &[], Path::new("/dev/null")).await;
    assert!(!stranger.status.success() && printed(&stranger).contains("Authorization required"), "{}", printed(&stranger));
}

#[tokio::test]
async fn a7_everybody_reads_the_cookie_where_users_differ_and_it_stays_over_restarts() {
    let site = Site::new();
    let mut first = site.ready(&[]).await;
    let cookie = fs::read(site.cookie()).unwrap();
    first.signal(rustix::process::Signal::TERM);
    first.exit().await;
    let second = site.ready(&[("VNC_COOKIE_MODE", "0444")]).await;
    assert_eq!(fs::read(site.cookie()).unwrap(), cookie, "an app may have read it long ago");
    assert_eq!(fs::metadata(site.cookie()).unwrap().permissions().mode() & 0o777, 0o444);
    assert!(!second.log().contains("a new cookie"), "{}", second.log());
}

#[tokio::test]
async fn a9_memory_is_not_offered_to_clients_of_another_user() {
    for (shares, is_offered) in [("true", true), ("false", false)] {
        let site = Site::new();
        let _sidecar = site.ready(&[("VNC_MIT_SHM", shares)]).await;
        let output = site.client("xdpyinfo", &[]).await;
        assert!(output.status.success());
        assert_eq!(printed(&output).contains("MIT-SHM"), is_offered, "VNC_MIT_SHM={shares}");
    }
}

#[tokio::test]
async fn sortie_s9_nobody_is_let_in_without_the_cookie_and_the_app_waits_for_the_server() {
    let site = Site::new();
    let sidecar = site.start(&[]);
    sidecar.until_status("/startupz", 200).await;
    // From the moment that the app may start, each client is let in.
    assert!(site.client("xdpyinfo", &[]).await.status.success());
    assert!(!site.client_with("xdpyinfo", &[], Path::new("/dev/null")).await.status.success());
    let server = site.process("Xtigervnc").await;
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", server.as_raw_nonzero())).unwrap();
    assert!(!arguments.split('\0').any(|argument| argument == "-ac"));
}
