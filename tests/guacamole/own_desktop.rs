//! A desktop beside the provisioner: the file it writes becomes a connection that leads to it.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use outrigger_bed::{Display, free_port, obtain};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{rfb_login::logs_in, world::World};

/// A running `outrigger vnc`. It is ended, with all that it runs, when this is dropped.
struct Desktop {
    child: Child,
    rfb: SocketAddr,
    _display: Display,
    _folder: TempDir,
}

impl Desktop {
    /// One that registers itself in a world's folder of connections, and has done so.
    fn start(world: &World, name: &str) -> Self {
        obtain::desktop().unwrap();
        let (display, folder, port) = (Display::free(), tempfile::tempdir().unwrap(), free_port().unwrap());
        let registered = world.connections().join("own_desktop");
        fs::create_dir_all(&registered).unwrap();
        let _ = fs::remove_file(registered.join("desktop.json"));
        let child = Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .arg("vnc")
            .env("DISPLAY", display.name())
            .env("XAUTHORITY", folder.path().join("cookie"))
            .env("VNC_FOLDER", folder.path().join("desk"))
            .env("VNC_WINDOW_MANAGER", "none")
            .env("VNC_PORT", free_port().unwrap().to_string())
            .env("HEALTH_HOST", "127.0.0.1")
            .env("HEALTH_PORT", free_port().unwrap().to_string())
            .env("VNC_RFB_PORT", port.to_string())
            .env("VNC_GUACAMOLE_FOLDER", &registered)
            .env("VNC_GUACAMOLE_NAME", name)
            .env("VNC_GUACAMOLE_USERS", "alice, bob")
            .env("POD_IP", "127.0.0.1")
            .env("POD_NAME", "desk-0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let desktop = Self { child, rfb: ([127, 0, 0, 1], port).into(), _display: display, _folder: folder };
        world.until("the desktop has registered itself", || registered.join("desktop.json").exists());
        desktop
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        if let Some(process) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(process, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

fn parameter(world: &World, name: &str) -> String {
    world.sql(&format!("SELECT parameter_value FROM guacamole_connection_parameter WHERE parameter_name = '{name}'"))
}

#[tokio::test]
async fn the_password_in_the_database_logs_in_at_the_desktop() {
    let world = World::new().await;
    let desktop = Desktop::start(&world, "Desk of {pod}");
    world.pass();
    assert_eq!(world.sql("SELECT connection_name, protocol FROM guacamole_connection"), "Desk of desk-0|vnc");
    assert_eq!((parameter(&world, "hostname"), parameter(&world, "port")), ("127.0.0.1".to_owned(), desktop.rfb.port().to_string()));
    assert_eq!(world.granted(), ["alice Desk of desk-0 READ", "bob Desk of desk-0 READ"]);
    // It registers itself before its X server is there.
    world.until("the password lets somebody in", || logs_in(desktop.rfb, &parameter(&world, "password")));
    assert!(!logs_in(desktop.rfb, "12345678"));
}

#[tokio::test]
async fn the_connection_of_a_pod_that_has_gone_stays_and_its_successor_takes_it_over() {
    let world = World::new().await;
    drop(Desktop::start(&world, "Desk"));
    world.pass();
    let (number, password) = (world.sql("SELECT connection_id FROM guacamole_connection"), parameter(&world, "password"));

    // Another pod has a volume of its own.
    world.remove_folder("own_desktop");
    let successor = Desktop::start(&world, "Desk");
    assert_eq!(parameter(&world, "password"), password);
    world.pass();
    assert_eq!(world.sql("SELECT connection_id FROM guacamole_connection"), number);
    assert_ne!(parameter(&world, "password"), password);
    assert_eq!(parameter(&world, "port"), successor.rfb.port().to_string());
    world.until("the password lets somebody in", || logs_in(successor.rfb, &parameter(&world, "password")));
}
