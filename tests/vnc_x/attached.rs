//! The X server of an app.

use outrigger_bed::XServer;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    sidecar::{Sidecar, Site},
    until::until,
};

async fn attach(site: &Site, server: &XServer, variables: &[(&str, &str)]) -> Sidecar {
    let (display, authority) = (server.display().name(), server.authority().display().to_string());
    let own = [("VNC_MODE", "attach"), ("DISPLAY", &*display), ("XAUTHORITY", &*authority)];
    site.ready(&[&own[..], variables].concat()).await
}

#[tokio::test]
async fn sortie_s11_the_apps_server_is_shown_by_its_damage_reports_and_shared_memory() {
    let (site, server) = (Site::new(), XServer::start().await);
    let sidecar = attach(&site, &server, &[]).await;
    assert_eq!(site.banner().unwrap(), "RFB 003.008\n");
    assert!(sidecar.log().contains("X DAMAGE available on display, using it"), "{}", sidecar.log());
    let process = site.process("x11vnc").await;
    let arguments = std::fs::read_to_string(format!("/proc/{}/cmdline", process.as_raw_nonzero())).unwrap();
    assert!(!arguments.contains("-noxdamage") && !arguments.contains("-noshm"), "{arguments}");
}

#[tokio::test]
async fn a9_a_viewer_of_another_users_server_gets_on_without_its_memory() {
    let site = Site::new();
    let server = XServer::start_with(&["-extension", "MIT-SHM"]).await;
    let _sidecar = attach(&site, &server, &[("VNC_MIT_SHM", "false")]).await;
    assert_eq!(site.banner().unwrap(), "RFB 003.008\n");
}

#[tokio::test]
async fn the_apps_server_may_go_and_come_back() {
    let (site, server) = (Site::new(), XServer::start().await);
    let mut sidecar = attach(&site, &server, &[("VNC_X_RESTARTS", "0")]).await;
    server.kill();
    // What is noticed first may be that x11vnc has ended, or hung up.
    until("it is said that the server is gone", async || match sidecar.get("/readyz") {
        Ok((503, report)) if report.contains("no X server listens at") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    server.restart();
    sidecar.until_status("/readyz", 200).await;
    until("viewers are let in", async || site.banner().map_err(|error| error.to_string())).await;

    sidecar.signal(Signal::TERM);
    assert!(sidecar.exit().await.success());
    until("x11vnc is gone", async || if site.processes().is_empty() { Ok(()) } else { Err(format!("{:?}", site.processes())) }).await;
    assert!(!site.rfb_socket().exists());
    server.output("xdpyinfo", &[]);
}

#[tokio::test]
async fn x11vnc_comes_back_by_itself() {
    let (site, server) = (Site::new(), XServer::start().await);
    let sidecar = attach(&site, &server, &[]).await;
    let ended = site.process("x11vnc").await;
    // Not killed, since it would leave its shared memory on this machine.
    kill_process(ended, Signal::TERM).unwrap();
    until("it is another one", async || if site.process("x11vnc").await == ended { Err("it is not".to_owned()) } else { Ok(()) }).await;
    sidecar.until_status("/readyz", 200).await;
    assert_eq!(site.banner().unwrap(), "RFB 003.008\n");
}

#[tokio::test]
async fn a_frozen_x11vnc_is_noticed_and_replaced() {
    let (site, server) = (Site::new(), XServer::start().await);
    let sidecar = attach(&site, &server, &[]).await;
    let frozen = site.process("x11vnc").await;
    kill_process(frozen, Signal::STOP).unwrap();
    until("it is another one", async || match site.processes().into_iter().find(|(_, name)| name == "x11vnc") {
        Some((process, _)) if process != frozen => Ok(()),
        _ => Err(sidecar.log()),
    })
    .await;
    assert!(sidecar.log().contains("x11vnc is frozen") && !sidecar.log().contains("does not answer within"), "{}", sidecar.log());
    sidecar.until_status("/readyz", 200).await;
    assert_eq!(site.banner().unwrap(), "RFB 003.008\n");
}

#[tokio::test]
async fn an_x11vnc_that_nobody_looks_at_is_not_taken_for_frozen() {
    let (site, server) = (Site::new(), XServer::start().await);
    let sidecar = attach(&site, &server, &[]).await;
    let process = site.process("x11vnc").await;
    // Many looks later.
    until("it was looked at", async || match sidecar.metric("outrigger_vnc_x_handshake_seconds_count") {
        looks if looks >= 6.0 => Ok(()),
        looks => Err(format!("{looks} looks")),
    })
    .await;
    assert_eq!(site.process("x11vnc").await, process);
}

#[tokio::test]
async fn an_app_server_that_hangs_is_told_and_left_alone() {
    let (site, server) = (Site::new(), XServer::start().await);
    let sidecar = attach(&site, &server, &[]).await;
    let process = Pid::from_raw(server.process_id().unwrap().cast_signed()).unwrap();
    let shown_by = site.process("x11vnc").await;
    kill_process(process, Signal::STOP).unwrap();
    let report = sidecar.until_status("/readyz", 503).await;
    assert!(report.contains("does not answer within 3 s"), "{report}");
    kill_process(process, Signal::CONT).unwrap();
    sidecar.until_status("/readyz", 200).await;
    assert_eq!(site.process("x11vnc").await, shown_by);
}
