//! What files say is what the database holds.

use crate::world::{World, ssh};

#[tokio::test]
async fn the_original_format_is_written_and_then_left_alone() {
    let world = World::new().await;
    world.file(
        "desktop/connection.yaml",
        "name: my-connection\nprotocol: rdp\nparameters:\n  hostname: 192.168.1.100\n  port: 3389\n  ignore-cert: true\nusers: [user1, user2]\npermissions: [READ]\n",
    );
    world.pass();
    assert_eq!(world.listed(), ["my-connection rdp hostname=192.168.1.100 ignore-cert=true port=3389"]);
    assert_eq!(world.granted(), ["user1 my-connection READ", "user2 my-connection READ"]);
    let plan = world.plan(&[]);
    assert_eq!((plan.code, plan.printed.as_str()), (Some(0), ""), "{}", plan.said);
}

#[tokio::test]
async fn provisioner_s1_g4_a_removed_files_connection_is_removed() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    world.file("b.yaml", &ssh("b", ""));
    world.pass();
    world.remove("a.yaml");
    world.pass();
    assert_eq!(world.listed(), ["b ssh hostname=host port=22"]);
}

#[tokio::test]
async fn provisioner_s2_g2_permissions_change_without_any_parameter_changing() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", "users: [alice]"));
    world.pass();
    world.file("a.yaml", &ssh("a", "users: [alice, bob]\npermissions: [READ, UPDATE]"));
    world.pass();
    assert_eq!(world.granted(), ["alice a READ", "alice a UPDATE", "bob a READ", "bob a UPDATE"]);
}

#[tokio::test]
async fn provisioner_s3_g1_a_changed_protocol_is_written() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    world.pass();
    world.file("a.yaml", &ssh("a", "").replace("ssh", "telnet"));
    world.pass();
    assert_eq!(world.listed(), ["a telnet hostname=host port=22"]);
}

#[tokio::test]
async fn provisioner_s4_g3_removed_users_and_permissions_are_revoked() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", "users: [alice, bob]\npermissions: [READ, UPDATE]"));
    world.pass();
    world.file("a.yaml", &ssh("a", "users: [alice]"));
    world.pass();
    assert_eq!(world.granted(), ["alice a READ"]);
}

#[tokio::test]
async fn provisioner_s5_g8_scalars_are_written_as_guacd_reads_them() {
    let world = World::new().await;
    world.file(
        "a.yaml",
        "name: a\nprotocol: rdp\nparameters: {hostname: h, port: 3389, ignore-cert: True, enable-drive: FALSE, password: 0123, domain: ~, username: no, client-name: 1e3}\n",
    );
    world.pass();
    assert_eq!(
        world.listed(),
        ["a rdp client-name=1e3 enable-drive=false hostname=h ignore-cert=true password=0123 port=3389 username=no"]
    );
}

#[tokio::test]
async fn provisioner_s6_g8_numbers_are_not_taken_for_changes() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    world.pass();
    let rows = "SELECT xmin, ctid, * FROM guacamole_connection_parameter ORDER BY parameter_name";
    let before = world.sql(rows);
    world.pass();
    assert_eq!(world.sql(rows), before);
}

#[tokio::test]
async fn provisioner_s7_g14_users_and_groups_have_their_rows() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", "users: [alice]\ngroups: [staff]"));
    // What the original left: an entity with which nobody can sign in, and which keeps Guacamole from making the user.
    world.sql("INSERT INTO guacamole_entity (name, type) VALUES ('alice', 'USER')");
    world.pass();
    let rows = "SELECT e.name, u.user_id IS NOT NULL, g.user_group_id IS NOT NULL FROM guacamole_entity e
        LEFT JOIN guacamole_user u USING (entity_id) LEFT JOIN guacamole_user_group g USING (entity_id) ORDER BY 1";
    assert_eq!(world.sql(rows), "alice|t|f\nstaff|f|t");
}

#[tokio::test]
async fn provisioner_s10_g13_a_connection_of_that_name_in_another_group_is_another_one() {
    let world = World::new().await;
    world.sql("INSERT INTO guacamole_connection_group (connection_group_name) VALUES ('By hand')");
    world.sql("INSERT INTO guacamole_connection (connection_name, parent_id, protocol) SELECT 'a', connection_group_id, 'vnc' FROM guacamole_connection_group");
    world.file("a.yaml", &ssh("a", ""));
    world.pass();
    assert_eq!(world.listed(), ["By hand/a vnc", "a ssh hostname=host port=22"]);
}

#[tokio::test]
async fn provisioner_s12_what_guacd_would_ignore_is_said() {
    let world = World::new().await;
    world.file("a.yaml", "name: a\nprotocol: rdp\nparameters: {hostname: h, enable-clipboard: true, colour-depth: 16}\n");
    let run = world.once(&[]);
    assert_eq!(run.code, Some(0), "a warning is no error");
    assert!(run.said.contains("guacd ignores the parameter enable-clipboard, which rdp doesn't have"), "{}", run.said);
    assert!(run.said.contains("colour-depth, which rdp doesn't have: did you mean color-depth?"), "{}", run.said);
}

#[tokio::test]
async fn provisioner_g5_a_rename_and_a_move_keep_number_and_history() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("old", ""));
    world.pass();
    world.sql("INSERT INTO guacamole_connection_history (username, connection_id, connection_name, start_date) SELECT 'u', connection_id, connection_name, now() FROM guacamole_connection");
    world.file("a.yaml", &ssh("new", "group: Lab"));
    world.pass();
    assert_eq!(world.listed(), ["Lab/new ssh hostname=host port=22"]);
    assert_eq!(world.sql("SELECT count(*) FROM guacamole_connection JOIN guacamole_connection_history USING (connection_id)"), "1");
}

#[tokio::test]
async fn two_connections_of_one_file_swap_their_names() {
    let world = World::new().await;
    let text = |one: &str, two: &str| {
        let item =
            |id: &str, name: &str| format!("- {{id: {id}, name: {name}, protocol: ssh, parameters: {{hostname: {id}}}, group: G}}\n");
        item("one", one) + &item("two", two)
    };
    world.file("all.yaml", &text("a", "b"));
    world.pass();
    let rows = "SELECT connection_id, connection_name FROM guacamole_connection ORDER BY 1";
    let before = world.sql(rows);
    world.file("all.yaml", &text("b", "a"));
    world.pass();
    let swapped = before.replace("|a", "|x").replace("|b", "|a").replace("|x", "|b");
    assert_eq!(world.sql(rows), swapped);
}

#[tokio::test]
async fn parameters_that_another_connection_has_already_are_written_all_the_same() {
    let world = World::new().await;
    let host = |name: &str, host: &str| ssh(name, "").replace("hostname: host", &format!("hostname: {host}"));
    world.file("a.yaml", &host("a", "one"));
    world.file("b.yaml", &host("b", "two"));
    world.pass();
    world.file("a.yaml", &host("a", "two"));
    world.file("b.yaml", &host("b", "one"));
    world.file("c.yaml", &host("c", "one"));
    world.pass();
    assert_eq!(world.listed(), ["a ssh hostname=two port=22", "b ssh hostname=one port=22", "c ssh hostname=one port=22"]);
}

#[tokio::test]
async fn names_and_values_of_all_scripts_are_found_again() {
    let world = World::new().await;
    world.file("a.yaml", "name: Büro\nprotocol: ssh\nparameters: {hostname: hôte, 'ключ': '値🔑', a: '1:b2:c', port: 22}\n");
    world.pass();
    let rows = "SELECT xmin, ctid, * FROM guacamole_connection_parameter ORDER BY parameter_name";
    let before = world.sql(rows);
    let plan = world.plan(&[]);
    assert_eq!((plan.code, plan.printed.as_str()), (Some(0), ""), "{}", plan.said);
    world.pass();
    assert_eq!(world.sql(rows), before);
}

#[tokio::test]
async fn provisioner_g9_parameters_that_no_file_has_any_more_go() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", ""));
    world.pass();
    world.file("a.yaml", "name: a\nprotocol: ssh\nparameters: {}\n");
    world.pass();
    assert_eq!(world.listed(), ["a ssh"]);
}

#[tokio::test]
async fn provisioner_g10_g11_empty_lists_and_missing_fields_harm_nobody_else() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", "users:\npermissions:"));
    world.file("b.yaml", "protocol: ssh\n");
    world.file("c.yaml", "name: c\n");
    let run = world.once(&[]);
    assert_eq!(run.code, Some(1));
    assert!(run.said.contains("name is missing") && run.said.contains("protocol is missing"), "{}", run.said);
    assert_eq!(world.listed(), ["a ssh hostname=host port=22"]);
}

#[tokio::test]
async fn provisioner_g12_two_files_with_one_name_are_told_apart_the_same_way_each_time() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("n", ""));
    world.file("b.yaml", &ssh("n", "").replace("hostname: host", "hostname: other"));
    for _ in 0..2 {
        let run = world.once(&[]);
        assert!(run.said.contains("b.yaml: connection \"n\": a.yaml has a connection of this name in the same group"), "{}", run.said);
        assert_eq!(world.listed(), ["n ssh hostname=host port=22"]);
    }
}

#[tokio::test]
async fn provisioner_g15_g16_groups_limits_and_profiles_are_written() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", "group: Lab\ngroups: [staff]\nattributes: {max-connections: 3}\nsharingProfiles: [{name: watch}]"));
    world.pass();
    assert_eq!(world.granted(), ["staff a READ"]);
    assert_eq!(world.sql("SELECT max_connections, sharing_profile_name FROM guacamole_connection JOIN guacamole_sharing_profile ON primary_connection_id = connection_id"), "3|watch");
}

#[tokio::test]
async fn provisioner_g21_a_mounted_secrets_links_are_read_through_and_read_once() {
    let world = World::new().await;
    world.file("office/..2026/connection.yaml", &ssh("a", ""));
    let folder = world.connections().join("office");
    std::os::unix::fs::symlink("..2026", folder.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/connection.yaml", folder.join("connection.yaml")).unwrap();
    world.pass();
    assert_eq!(world.listed(), ["a ssh hostname=host port=22"]);
}

#[tokio::test]
async fn tokens_pass_through() {
    let world = World::new().await;
    world.file("a.yaml", "name: a\nprotocol: rdp\nparameters: {hostname: h, username: '${GUAC_USERNAME:LOWER}', port: '${RDP_PORT}', ignore-cert: '${X:OPTIONAL}'}\n");
    let run = world.once(&[]);
    assert!(!run.said.contains("warning"), "{}", run.said);
    assert_eq!(world.listed(), ["a rdp hostname=h ignore-cert=${X:OPTIONAL} port=${RDP_PORT} username=${GUAC_USERNAME:LOWER}"]);
}

#[tokio::test]
async fn a_value_that_is_too_long_is_refused_by_name_and_what_was_there_stays() {
    let world = World::new().await;
    let text = |key: &str| format!("name: a\nprotocol: ssh\nparameters: {{hostname: h, private-key: {key}}}\n");
    world.file("a.yaml", &text("short"));
    world.pass();
    let long = "k".repeat(4097);
    world.file("a.yaml", &text(&long));
    let run = world.once(&["--prune-limit", "100"]);
    assert_eq!(run.code, Some(1));
    assert!(run.said.contains("the parameter private-key has 4097 characters, and Guacamole stores at most 4096"), "{}", run.said);
    assert!(!run.said.contains(&long));
    assert_eq!(world.listed(), ["a ssh hostname=h private-key=short"]);
}

#[tokio::test]
async fn the_plan_shows_what_would_change_without_secrets_and_changes_nothing() {
    let world = World::new().await;
    let text = |port: u16, secret: &str| {
        format!(
            "name: a\nprotocol: ssh\nparameters: {{hostname: h, port: {port}, password: {secret}, private-key: {secret}}}\nusers: [alice]\n"
        )
    };
    world.file("a.yaml", &text(22, "hunter2"));
    let plan = world.plan(&[]);
    assert_eq!(plan.code, Some(1));
    assert!(
        plan.printed.contains("+ connection \"a\" (ssh), from a.yaml\n    hostname: \"h\"\n    password: (hidden)\n"),
        "{}",
        plan.printed
    );
    assert_eq!(world.listed(), Vec::<String>::new());
    world.pass();
    world.file("a.yaml", &text(2222, "hunter3"));
    let plan = world.plan(&[]);
    assert!(
        plan.printed.contains("port: \"22\" -> \"2222\"") && plan.printed.contains("password: (hidden) -> (hidden)"),
        "{}",
        plan.printed
    );
    assert!(!format!("{}{}", plan.printed, plan.said).contains("hunter"));
}

#[tokio::test]
async fn what_somebody_else_made_is_only_taken_over_when_asked_for() {
    let world = World::new().await;
    world.sql("INSERT INTO guacamole_connection (connection_name, protocol) VALUES ('a', 'vnc')");
    world.file("a.yaml", &ssh("a", ""));
    let run = world.once(&[]);
    assert_eq!((run.code, world.listed()), (Some(1), vec!["a vnc".to_owned()]), "{}", run.said);
    assert_eq!(world.once(&["--adopt"]).code, Some(0));
    assert_eq!(world.listed(), ["a ssh hostname=host port=22"]);
    assert_eq!(world.sql("SELECT count(*) FROM guacamole_connection"), "1");
}

/// Guacamole has its database compare, so what one letter is to another depends on that database.
#[tokio::test]
async fn where_the_case_of_letters_does_not_count_names_are_compared_as_the_server_does() {
    for (locale, there, wanted, is_one) in [
        (None, "ALICE", "alice", true),
        (None, "Ünal", "ünal", false),
        (Some("tr"), "Ünal", "ünal", true),
        (Some("tr"), "INAL", "ınal", true),
        (Some("tr"), "INAL", "inal", false),
    ] {
        let world = World::without_schema().await;
        if let Some(locale) = locale {
            world.create_database_anew(locale);
        }
        world.load_schema("1.6");
        let properties = std::fs::read_to_string(world.configuration().join("guacamole.properties")).unwrap();
        world.configure(&(properties + "case-sensitivity: disabled\n"));
        world.sql(&format!("INSERT INTO guacamole_entity (name, type) VALUES ('{there}', 'USER')"));
        world.file("a.yaml", &ssh("a", &format!("users: [{wanted}]")));
        world.file("users.yaml", &format!("users: [{{name: {wanted}, password: secret}}]"));
        world.pass();
        let who = if is_one { there } else { wanted };
        assert_eq!(world.granted(), [format!("{who} a READ")], "{there} and {wanted} with {locale:?}");
        let plan = world.plan(&[]);
        assert_eq!((plan.code, plan.printed.as_str()), (Some(0), ""), "{}", plan.said);
    }
}

#[tokio::test]
async fn names_of_users_count_with_or_without_their_case_as_guacamole_is_set() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", "users: [alice]"));
    world.sql(
        "WITH e AS (INSERT INTO guacamole_entity (name, type) VALUES ('Alice', 'USER') RETURNING entity_id)
        INSERT INTO guacamole_user (entity_id, password_hash, password_date) SELECT entity_id, '', now() FROM e",
    );
    let properties = std::fs::read_to_string(world.configuration().join("guacamole.properties")).unwrap();
    world.configure(&(properties + "case-sensitivity: disabled\n"));
    world.pass();
    assert_eq!(world.granted(), ["Alice a READ"]);
}
