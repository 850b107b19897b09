//! Prometheus' own code and Grafana's own types, which say what is wrong with rules and dashboards.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use outrigger_bed::obtain;
use serde_json::Value;

/// What Prometheus' own code says: its complaints, and its answers to what was asked.
pub(crate) fn prometheus(input: &Value) -> (String, Value) {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/prometheus-check");
    let piped = Stdio::piped;
    let mut check = Command::new(obtain::go_program(&module).unwrap()).stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), complaints.is_empty(), "{complaints}");
    (complaints, serde_json::from_slice(&output.stdout).unwrap())
}

/// What the compiler says of a dashboard as a value of Grafana's own type.
pub(crate) fn complaints_of_grafana(dashboard: &str) -> String {
    let packages = obtain::grafana_types().unwrap();
    let folder = tempfile::tempdir().unwrap();
    symlink(packages.join("node_modules"), folder.path().join("node_modules")).unwrap();
    let program = format!("import type {{ Dashboard }} from '@grafana/schema';\nexport const dashboard: Dashboard = {dashboard};\n");
    fs::write(folder.path().join("dashboard.ts"), program).unwrap();
    let output = Command::new("node")
        .arg("node_modules/typescript/bin/tsc")
        .args(["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", "dashboard.ts"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
