//! The sidecar as Pod Security `restricted` has it: another user, no capabilities, no new privileges, and a root that can't be written.

use std::{fs, path::Path};

use anyhow::anyhow;
use outrigger_bed::{free_port, gaps};
use rustix::process::Pid;
use tokio::{process::Command, time::timeout};

use crate::{
    sidecar::{DEADLINE, Sidecar, Site, printed},
    until::until,
};

/// As the kubelet arranges it: scratch volumes at `/tmp` and at `/tmp/.X11-unix`, which anybody may write to and has no sticky bit, and
/// below `/run`; then the program is the first process.
const CONTAINER: &str = r#"set -e
mount -t tmpfs tmpfs /run
mkdir -p -m 0777 /run/outrigger/xauth /run/outrigger/desk /run/program
chmod 0777 /run/outrigger/xauth /run/outrigger/desk
cp "$PROGRAM" /run/program/outrigger
mount -t tmpfs tmpfs /tmp
chmod 0777 /tmp
mkdir /tmp/.X11-unix
mount -t tmpfs -o mode=0777 tmpfs /tmp/.X11-unix
mount -o remount,bind,ro /
cd /
exec setpriv --reuid=1000 --regid=1000 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs /run/program/outrigger vnc"#;

/// Starts it, if this machine lets us.
fn start(site: &Site) -> Option<Sidecar> {
    if !rustix::process::geteuid().is_root() {
        gaps::skip("a restricted container", &anyhow!("only root can make one")).unwrap();
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", CONTAINER]);
    command.env("PROGRAM", env!("CARGO_BIN_EXE_outrigger")).env("DISPLAY", site.display.name()).env("HEALTH_HOST", "127.0.0.1");
    command.env("VNC_PORT", free_port().unwrap().to_string());
    // So that what is left is known by it.
    command.env("SITE", site.path("")).env("LOG_LEVEL", "debug").env_remove("XAUTHORITY").kill_on_drop(true);
    Some(site.start_command(command))
}

/// The first process of the container, seen from outside.
async fn first_process(site: &Site) -> Pid {
    site.process("outrigger").await
}

async fn inside(first: Pid, user: bool, script: &str) -> (bool, String) {
    let mut command = Command::new("nsenter");
    command.args(["--mount", "--pid", "--target", &first.as_raw_nonzero().to_string()]);
    if user {
        command.args(["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]);
    }
    let output = timeout(DEADLINE, command.args(["sh", "-c", script]).kill_on_drop(true).output()).await.unwrap().unwrap();
    (output.status.success(), printed(&output))
}

#[tokio::test]
async fn a5_a11_a_restricted_container_with_scratch_volumes_is_enough() {
    let site = Site::new();
    let Some(sidecar) = start(&site) else { return };
    sidecar.until_status("/readyz", 200).await;
    let first = first_process(&site).await;
    let status = fs::read_to_string(format!("/proc/{}/status", first.as_raw_nonzero())).unwrap();
    for line in ["Uid:\t1000\t1000\t1000\t1000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line} in {status}");
    }
    let (is_written, said) = inside(first, true, "touch /root-file /usr/root-file /var/tmp/root-file").await;
    assert!(!is_written && said.contains("Read-only file system"), "{said}");

    let client = format!("DISPLAY={} XAUTHORITY=/run/outrigger/xauth/cookie xdpyinfo", site.display.name());
    let (is_let_in, said) = inside(first, true, &client).await;
    assert!(is_let_in, "{said}");
    let (_, listed) =
        inside(first, false, "stat -c '%a %u %n' /tmp/.X11-unix /run/outrigger/xauth/cookie /run/outrigger/desk/rfb.sock").await;
    assert_eq!(listed, "777 0 /tmp/.X11-unix\n440 1000 /run/outrigger/xauth/cookie\n600 1000 /run/outrigger/desk/rfb.sock\n");
    assert!(!Path::new("/run/outrigger/xauth/cookie").exists(), "all of that is the container's own");
}

#[tokio::test]
async fn orphans_are_reaped_while_the_programs_of_the_desktop_run() {
    let site = Site::new();
    let Some(sidecar) = start(&site) else { return };
    sidecar.until_status("/readyz", 200).await;
    let first = first_process(&site).await;
    for _ in 0..5 {
        assert!(inside(first, true, "(true &) ; (sleep 0.1 &)").await.0);
    }
    // The server, the window manager, and nobody who waits for the end to be asked for.
    until("two children are left", async || {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", first.as_raw_nonzero())).unwrap();
        if children.split_whitespace().count() == 2 { Ok(()) } else { Err(children) }
    })
    .await;
    assert!(sidecar.log().contains("an orphan has ended"), "{}", sidecar.log());
}
