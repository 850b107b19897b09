//! The desktop as a connection of Guacamole.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
};

use outrigger_bed::free_port;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{rfb_login::logs_in, sidecar::Site};

#[tokio::test]
async fn the_connection_file_has_a_password_that_logs_in_and_outlives_the_sidecar() {
    let (site, port) = (Site::new(), free_port().unwrap());
    let folder = site.path("guacamole");
    fs::create_dir(&folder).unwrap();
    let text = port.to_string();
    let variables = [
        ("VNC_RFB_PORT", text.as_str()),
        ("VNC_GUACAMOLE_FOLDER", folder.to_str().unwrap()),
        ("POD_NAME", "desk-0"),
        ("POD_IP", "127.0.0.1"),
    ];
    let mut passwords = Vec::new();
    for _ in 0..2 {
        let mut sidecar = site.ready(&variables).await;
        let file = folder.join("desktop.json");
        let connection: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let password = connection["parameters"]["password"].as_str().unwrap().to_owned();
        let parameters = json!({"hostname": "127.0.0.1", "port": text, "password": password});
        assert_eq!(connection, json!({"name": "desk-0", "protocol": "vnc", "parameters": parameters, "users": []}));
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("desktop.json"), mode("password")), (0o444, 0o400));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert!(logs_in(address, &password) && !logs_in(address, "12345678"));
        sidecar.signal(Signal::TERM);
        assert!(sidecar.exit().await.success());
        assert!(!sidecar.log().contains(&password), "no log has it");
        passwords.push(password);
    }
    assert_eq!(passwords[0], passwords[1], "Guacamole need not be told anew");
}

#[tokio::test]
async fn a_folder_that_can_not_be_written_to_is_named() {
    let (site, port) = (Site::new(), free_port().unwrap().to_string());
    let folder = site.path("none");
    let variables = [("VNC_RFB_PORT", port.as_str()), ("VNC_GUACAMOLE_FOLDER", folder.to_str().unwrap()), ("POD_IP", "127.0.0.1")];
    let (status, log) = site.failing(&[&variables[..], &[("VNC_GUACAMOLE_NAME", "Desk")]].concat()).await;
    assert!(!status.success() && log.contains("none/password can't be written: VNC_GUACAMOLE_FOLDER must be a folder"), "{log}");
    let (status, log) = site.failing(&variables).await;
    assert!(!status.success() && log.contains("VNC_GUACAMOLE_NAME is \"{pod}\", and POD_NAME is not set"), "{log}");
}
