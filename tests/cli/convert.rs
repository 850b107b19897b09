//! `outrigger convert`.

use crate::program::{Files, output, run, run_on};

const CONVERTED: &str = "\
connections:
- id: office
  name: Office PC
  protocol: rdp
  parameters:
    hostname: office
    ignore-cert: \"true\"
    port: \"3389\"
  users:
  - alice
";

#[test]
fn a_folder_of_one_connection_files_becomes_one_file_with_their_identities() {
    let files = Files::new(&[]);
    let folder = files.directory().join("office");
    std::fs::create_dir(&folder).expect("made");
    let text = "name: Office PC\nprotocol: rdp\nparameters: {hostname: office, port: 3389, ignore-cert: True}\nusers: [alice]\npermissions: [READ]\n";
    std::fs::write(folder.join("connection.yaml"), text).expect("written");
    let converted = output(&["convert", &files.directory().display().to_string()], "");
    assert_eq!(converted, CONVERTED);
    assert_eq!(output(&["convert", "-"], &converted), CONVERTED, "our own format is read, too");
}

#[test]
fn files_of_guacamoles_import_are_read_in_each_format() {
    let expected = "connections:\n- name: A\n  group: ROOT/Lab\n  protocol: ssh\n  parameters:\n    hostname: h\n  attributes:\n    max-connections: \"2\"\n  groups:\n  - staff\n";
    let json = r#"[{"name": "A", "protocol": "ssh", "group": "Lab", "parameters": {"hostname": "h"}, "attributes": {"max-connections": 2}, "groups": ["staff"]}]"#;
    let csv = "name,protocol,group,hostname,max-connections,groups\nA,ssh,Lab,h,2,staff\n";
    let files = Files::new(&[("import.json", json), ("import.csv", csv)]);
    for name in ["import.json", "import.csv"] {
        assert_eq!(output(&["convert", &files.path(name)], ""), expected, "{name}");
    }
    assert_eq!(output(&["convert", "--format", "csv", "-"], csv), expected);
}

#[test]
fn what_cant_be_converted_is_said_and_the_rest_is_printed() {
    let done = run_on(&["convert", "-"], "- {name: a, protocol: ssh}\n- {name: b}\n");
    assert_eq!(done.code, Some(1));
    assert!(done.messages.contains("connection \"b\": protocol is missing") && done.output.contains("name: a"), "{done:?}");
    assert_eq!(run(&["convert", "/nonexistent.yaml"]).code, Some(2));
    assert_eq!(run_on(&["convert", "-"], "").code, Some(2));
}

#[test]
fn databases_of_my_local_become_objects_of_ours() {
    let theirs = "\
apiVersion: my.local/v1
kind: PgDatabase
metadata: {name: orders}
spec: {server: pgsql, db: {name: MyOrders}}
---
apiVersion: v1
kind: Service
metadata: {name: pgsql}
---
apiVersion: my.local/v1
kind: PgDatabase
metadata: {name: empty}
spec: {server: pgsql}
---
apiVersion: my.local/v1
kind: PgDatabase
metadata: {name: shop}
spec: {server: db.example.com, db: {name: web-shop}}
";
    let done = run_on(&["convert", "-"], theirs);
    assert_eq!(done.code, Some(1), "{done:?}");
    for expected in [
        "the database that was made of it is \"myorders\"",
        "is no PgDatabase",
        "spec.db.name is missing",
        "pguser-secret",
        "spec.server \"pgsql\" is a host as seen from the old operator's namespace: write pgsql.NAMESPACE.svc",
        "\"web-shop\" is no name without quotes, so no database was ever made of it",
    ] {
        assert!(done.messages.contains(expected), "{expected}: {}", done.messages);
    }
    for unexpected in ["spec.server \"db.example.com\"", "\"MyOrders\" is no name"] {
        assert!(!done.messages.contains(unexpected), "{unexpected}: {}", done.messages);
    }
    let whole = theirs.split("---\n").next().unwrap_or_default();
    let converted = output(&["convert", "-"], whole);
    assert!(converted.contains("kind: PgServer") && converted.contains("name: myorders"), "{converted}");
    let valid = run_on(&["validate", "-f", "-"], &converted);
    assert_eq!(valid.code, Some(0), "{valid:?}\n{converted}");
    // As `kubectl get` prints several.
    let list = "\
apiVersion: v1
kind: List
items:
- {apiVersion: my.local/v1, kind: PgDatabase, metadata: {name: orders}, spec: {server: pgsql, db: {name: MyOrders}}}
- {apiVersion: my.local/v1, kind: PgDatabase, metadata: {name: bills}, spec: {server: pgsql, db: {name: bills}}}
";
    let listed = output(&["convert", "-"], list);
    assert!(listed.starts_with(&converted) && listed.contains("name: bills"), "{listed}");
}
