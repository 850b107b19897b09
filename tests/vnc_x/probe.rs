//! What the kubelet's startup probe learns, and shows in an Event.

use outrigger_bed::{XServer, free_port};
use rustix::process::{Signal, kill_process};
use tokio::{process::Command, time::timeout};

use crate::{
    sidecar::{DEADLINE, Sidecar, Site, printed},
    until::until,
};

/// Runs `outrigger vnc probe` as in the sidecar's container: whether it succeeds, and what it prints.
async fn probe(site: &Site, port: u16, variables: &[(&str, &str)]) -> (bool, String) {
    let mut command: Command = site.command(variables);
    command.arg("probe").env("HEALTH_PORT", port.to_string()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let output = timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    (output.status.success(), printed(&output))
}

async fn fails_with(site: &Site, port: u16, reason: &str) {
    let (is_good, said) = probe(site, port, &[]).await;
    assert!(!is_good && said.contains(reason), "{said}");
    assert!(!said.contains(": ok"), "what fails is not called well: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "one line: {said}");
}

#[tokio::test]
async fn a3_the_probe_wants_a_real_answer_before_while_and_after_the_server_lives() {
    let site = Site::new();
    fails_with(&site, free_port().unwrap(), "can't be read: No such file").await;
    let mut sidecar: Sidecar = site.ready(&[("VNC_X_RESTARTS", "0")]).await;
    assert_eq!(probe(&site, sidecar.port, &[]).await, (true, "desktop: ok\n".to_owned()));

    // The server is there, and so is its socket.
    let server = site.process("Xtigervnc").await;
    kill_process(server, Signal::STOP).unwrap();
    fails_with(&site, sidecar.port, "does not answer within 3 s").await;
    sidecar.until_status("/readyz", 503).await;
    let (is_good, said) = probe(&site, sidecar.port, &[]).await;
    assert!(!is_good && said.contains("desktop: down since") && !said.contains(": ok"), "what the supervisor knows by now: {said}");
    kill_process(server, Signal::CONT).unwrap();

    kill_process(server, Signal::KILL).unwrap();
    sidecar.exit().await;
    assert!(site.display.socket().exists(), "a dead server leaves its socket");
    fails_with(&site, sidecar.port, "no X server listens at").await;
}

#[tokio::test]
async fn the_app_waits_for_the_window_manager_and_its_pod_says_so_but_not_for_ever() {
    let site = Site::new();
    let path = site.with_openbox("exec sleep 600");
    let sidecar = site.start(&[("PATH", &path)]);
    let mut reasons = String::new();
    until("the app may start", async || {
        let (is_good, said) = probe(&site, sidecar.port, &[]).await;
        reasons += &said;
        if is_good { Ok(()) } else { Err(said) }
    })
    .await;
    assert!(reasons.contains("desktop: waiting for the window manager\n"), "{reasons}");
    assert!(sidecar.log().contains("the window manager does not answer within 5 s"), "{}", sidecar.log());
    assert!(sidecar.get("/readyz").unwrap().1.contains("window-manager: waiting"));
}

#[tokio::test]
async fn a_probe_does_not_disturb_viewers_or_the_app() {
    let site = Site::new();
    let sidecar = site.ready(&[]).await;
    for _ in 0..12 {
        assert!(probe(&site, sidecar.port, &[]).await.0);
    }
    assert!(!sidecar.log().contains("Connections:"), "no viewer came: {}", sidecar.log());
    assert_eq!(site.banner().unwrap(), "RFB 003.008\n");
}

#[tokio::test]
async fn in_mode_attach_the_app_need_not_wait_for_the_server_that_it_brings() {
    let (site, server) = (Site::new(), XServer::start().await);
    server.kill();
    let (display, authority) = (server.display().name(), server.authority().display().to_string());
    let variables = [("VNC_MODE", "attach"), ("DISPLAY", &*display), ("XAUTHORITY", &*authority)];
    assert!(!probe(&site, free_port().unwrap(), &variables).await.0, "no sidecar runs");
    let sidecar = site.start(&variables);
    sidecar.until_status("/startupz", 200).await;
    assert!(probe(&site, sidecar.port, &variables).await.0);
    let report = sidecar.until_status("/readyz", 503).await;
    assert!(report.contains("no X server listens at"), "{report}");
}

#[tokio::test]
async fn who_waits_for_the_sidecar_is_told_when_it_is_ready() {
    let site = Site::new();
    let sidecar = site.start(&[]);
    sidecar.until_status("/livez", 200).await;
    let mut command = site.command(&[]);
    command.arg("wait").env("HEALTH_PORT", sidecar.port.to_string());
    assert!(timeout(DEADLINE, command.status()).await.unwrap().unwrap().success());
    assert!(site.client("xdpyinfo", &[]).await.status.success());
}

#[tokio::test]
async fn the_sidecar_is_asked_at_the_address_where_it_listens() {
    let server = XServer::start().await;
    let (display, authority) = (server.display().name(), server.authority().display().to_string());
    for host in ["127.0.0.2", "::1", "::", "0.0.0.0"] {
        let site = Site::new();
        let variables = [("VNC_MODE", "attach"), ("DISPLAY", &*display), ("XAUTHORITY", &*authority), ("HEALTH_HOST", host)];
        let sidecar = site.start(&variables);
        let port = sidecar.port.to_string();
        let waited = site.command(&variables).arg("wait").env("HEALTH_PORT", &port).output();
        let waited = timeout(DEADLINE, waited).await.unwrap().unwrap();
        assert!(waited.status.success(), "{host}: {}", printed(&waited));
        let (is_good, said) = probe(&site, sidecar.port, &variables).await;
        assert!(is_good, "{host}: {said}");
    }
    let variables = [("VNC_MODE", "attach"), ("HEALTH_HOST", "127.0.0.2")];
    let port = free_port().unwrap();
    let (is_good, said) = probe(&Site::new(), port, &variables).await;
    assert!(!is_good && said.contains(&format!("the sidecar does not answer at 127.0.0.2:{port}")), "{said}");
}
