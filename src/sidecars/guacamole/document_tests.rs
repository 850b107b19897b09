use super::*;
use crate::sidecars::guacamole::model::Severity;

const SEED: &str = r#"
name: "my-connection"
protocol: "rdp"
parameters:
  hostname: "192.168.1.100"
  port: 3389
  password: "secret"
  security: "any"
  ignore-cert: True
  domain: ~
users:
  - "user1"
  - "user2"
permissions:
  - "READ"
"#;

fn read(file: &str, text: &str) -> Document {
    Reading::whole().file(file, text)
}

fn errors(document: &Document) -> Vec<String> {
    document.findings.iter().filter(|finding| finding.severity == Severity::Error).map(|finding| finding.message.clone()).collect()
}

/// What is wrong with a connection that also has these lines.
fn error(lines: &str) -> String {
    let document = read("f.yaml", &format!("protocol: ssh\nparameters: {{hostname: h}}\n{lines}"));
    assert!(document.connections.is_empty(), "{lines}");
    errors(&document).concat()
}

fn values(connection: &Connection) -> Vec<(&str, &str)> {
    connection.parameters.as_ref().unwrap().iter().collect()
}

#[test]
fn one_mapping_is_a_connection_whose_file_is_its_identity() {
    let document = read("office/connection.yaml", SEED);
    assert_eq!(document.findings, []);
    let [connection] = document.connections.as_slice() else { panic!("one connection") };
    assert_eq!((connection.name.as_str(), &*connection.protocol), ("my-connection", "rdp"));
    let expected = [("hostname", "192.168.1.100"), ("ignore-cert", "true"), ("password", "secret"), ("port", "3389"), ("security", "any")];
    assert_eq!(values(connection), expected, "sorted, canonical, and without null");
    assert_eq!(connection.origin.to_string(), "office/connection.yaml");
    assert_eq!(connection.grants.iter().map(|(grantee, _)| grantee.to_string()).collect::<Vec<_>>(), ["user \"user1\"", "user \"user2\""]);
    assert!(!format!("{document:?}").contains("secret"), "nothing that prints it shows a value");
}

#[test]
fn the_import_format_is_read_with_its_groups_and_attributes() {
    let document = read(
        "batch.json",
        r#"[
          {"name": "A", "protocol": "ssh", "parameters": {"hostname": "a", "port": 22}, "group": "ROOT/Lab//Linux/",
           "users": ["u"], "groups": ["g"], "attributes": {"max-connections": "2", "guacd-encryption": "ssl", "guac-restrict-hosts-allowed": "h"}},
          {"name": "B", "protocol": "ssh", "parameters": {"hostname": "b"}, "parentIdentifier": "ROOT", "id": "bee"},
          {"name": "C", "protocol": "ssh", "parameters": {"hostname": "c"}, "parentIdentifier": "7"}
        ]"#,
    );
    assert_eq!(document.findings, []);
    let origins: Vec<_> = document.connections.iter().map(|connection| connection.origin.to_string()).collect();
    assert_eq!(origins, ["batch.json#ROOT/Lab/Linux/A", "batch.json#bee", "batch.json#7/C"]);
    let first = &document.connections[0];
    assert_eq!(first.columns.max_connections, Some(2));
    assert_eq!(first.columns.proxy_encryption.as_deref(), Some("SSL"));
    assert_eq!(first.attributes.keys().collect::<Vec<_>>(), ["guac-restrict-hosts-allowed"]);
    assert_eq!(first.grants.len(), 2);
    assert_eq!(document.connections[2].parent, Parent::Identifier(7));
}

#[test]
fn a_set_has_connections_groups_and_users() {
    let document = read(
        "set.yaml",
        "connections:\n- {name: a, protocol: ssh, parameters: {hostname: a}, sharingProfiles: [{name: watch, parameters: {read-only: true}}]}\n\
         connectionGroups:\n- {group: Lab, type: balancing, attributes: {enable-session-affinity: true}, groups: [staff]}\n\
         users:\n- {name: alice, password: pw}\n- {name: bob, passwordFile: bob}\n- {name: carol}\n- {name: dave, generatePassword: True}\n",
    );
    assert_eq!(document.findings, []);
    assert_eq!(document.connections[0].profiles[0].name, "watch");
    assert_eq!((document.groups[0].settings.is_balancing, document.groups[0].settings.session_affinity), (Some(true), Some(true)));
    assert_eq!(document.users.len(), 4);
    assert!(matches!(document.users[3].password, Password::Generated));
    let both = read("f", "users: [{name: a, password: p, generatePassword: true}]");
    assert_eq!(errors(&both), ["generatePassword excludes password and passwordFile: keep one"]);
}

#[test]
fn what_cant_be_stored_is_refused_by_name_and_never_cut() {
    let long = "x".repeat(LONGEST_VALUE + 1);
    for (lines, expected) in [
        (String::new(), "name is missing".to_owned()),
        ("name: ' '".to_owned(), "name is missing".to_owned()),
        (format!("name: {}", "n".repeat(129)), "name has 129 characters, and Guacamole stores at most 128".to_owned()),
        ("name: n\npermissions: [WRITE]".to_owned(), "\"WRITE\" is no permission: there are READ, UPDATE, DELETE, ADMINISTER".to_owned()),
        ("name: n\nparamters: {}".to_owned(), "unknown field \"paramters\": did you mean parameters?".to_owned()),
        ("name: n\ngroup: A\nparentIdentifier: ROOT".to_owned(), "group and parentIdentifier exclude each other: keep one".to_owned()),
        (
            format!("name: n\nattributes: {{guac-x: {long}}}"),
            "the attribute guac-x has 4097 characters, and Guacamole stores at most 4096".to_owned(),
        ),
        ("name: n\nattributes: {weight: heavy}".to_owned(), "the attribute weight must be a whole number".to_owned()),
        (
            "name: n\nattributes: {outrigger-owner: me}".to_owned(),
            "the attribute outrigger-owner is for our own marks: choose a name that begins otherwise".to_owned(),
        ),
        ("name: \"n\\0\"".to_owned(), "name holds a NUL character, which no database stores".to_owned()),
        ("name: n\nusers: {a: b}".to_owned(), "users is a mapping: write a list of names".to_owned()),
    ] {
        assert_eq!(error(&lines), expected);
    }
    let document = read("f", &format!("name: n\nprotocol: ssh\nparameters: {{private-key: {long}}}"));
    assert_eq!(errors(&document), ["the parameter private-key has 4097 characters, and Guacamole stores at most 4096"]);
    let document = read("f", "name: n\nprotocol: ssh\nparameters: {hostname: [a]}");
    assert_eq!(errors(&document), ["the parameter hostname is a list: write a text, a number or a boolean"]);
}

#[test]
fn one_bad_entry_leaves_the_others() {
    let document = read("f", "- {name: a, protocol: ssh}\n- {name: b}\n- scalar\n- {name: c, protocol: ssh}\n");
    assert_eq!(document.connections.iter().map(|connection| connection.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(errors(&document).len(), 2);
}

#[test]
fn empty_lists_grant_nothing_and_null_lists_are_none() {
    let grants = |lines: &str| read("f", &format!("name: n\nprotocol: ssh\n{lines}")).connections[0].grants.len();
    assert_eq!(grants("users:\npermissions:"), 0);
    assert_eq!(grants("users: [a, ~, '']\npermissions:"), 1, "READ is the default");
    assert_eq!(grants("users: [a]\npermissions: []"), 0);
    assert_eq!(grants("users: a\npermissions: [read, Update]"), 2);
}

#[test]
fn what_guacamole_would_ignore_is_a_warning_and_written_all_the_same() {
    let document =
        read("f", "name: n\nprotocol: rdp\nparameters: {hostname: h, enable-clipboard: true}\nattributes: {max-connection: 1}\n");
    assert_eq!(values(&document.connections[0]).len(), 2);
    let warnings: Vec<_> = document.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        warnings,
        [
            "guacd ignores the parameter enable-clipboard, which rdp doesn't have",
            "the attribute max-connection is unknown to Guacamole: did you mean max-connections?"
        ]
    );
}

#[test]
fn parameters_are_kept_where_they_are_asked_for_and_what_is_common_is_kept_once() {
    let item = |name: &str| format!("- {{name: {name}, group: A/B, protocol: ssh, parameters: {{hostname: h}}, users: [u, v]}}\n");
    let is_kept = |origin: &Origin, parameters: &Parameters| &*origin.key == "ROOT/A/B/b" && parameters.get("hostname") == Some("h");
    let document = Reading::new(&is_kept).file("f", &(item("a") + &item("b")));
    let [a, b] = document.connections.as_slice() else { panic!("two connections") };
    assert!(a.parameters.is_none() && b.parameters.is_some());
    assert!(Arc::ptr_eq(&a.grants, &b.grants) && Arc::ptr_eq(&a.protocol, &b.protocol));
}

#[test]
fn a_file_is_one_connection_only_if_there_is_nothing_else_in_it() {
    let key = |text: &str| read("f", text).connections.iter().map(|connection| connection.origin.key.to_string()).collect::<Vec<_>>();
    let one = "{name: a, protocol: ssh}\n";
    assert_eq!(key(one), [""]);
    assert_eq!(key(&format!("{one}---\n{{name: b, protocol: ssh}}\n---\n- {{name: c, protocol: ssh}}\n")), ["ROOT/a", "ROOT/b", "ROOT/c"]);
    assert_eq!(key(&format!("connections:\n- {one}---\n{{name: b, protocol: ssh}}\n")), ["ROOT/a", "ROOT/b"]);
}

#[test]
fn what_is_no_connection_at_all_is_said() {
    for (text, expected) in [
        ("just a text", "a text is no connection: write a mapping with name and protocol, or a list of them"),
        ("connectons: []", "unknown field \"connectons\": did you mean connections?"),
        ("connections: {}", "connections is a mapping: write a list"),
    ] {
        assert_eq!(errors(&read("f", text)), [expected]);
    }
    assert!(read("f", "# nothing\n").findings.is_empty());
}
