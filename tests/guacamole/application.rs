//! Guacamole's web application reads what we wrote: its queries, as its behaviour is documented, in SQL of our own.

use std::fs;

use crate::world::{SCHEMAS, World, ssh};

/// Who somebody is for permissions: oneself, and all groups one is in, also through groups, but for disabled ones.
const EFFECTIVE: &str = "
    WITH RECURSIVE effective (entity_id) AS (
        SELECT entity_id FROM guacamole_entity WHERE type = 'USER' AND name = '@USER@'
        UNION
        SELECT g.entity_id FROM effective JOIN guacamole_user_group_member m ON m.member_entity_id = effective.entity_id
        JOIN guacamole_user_group g USING (user_group_id) WHERE NOT g.disabled
    )";

/// A signed-in user is a row in both tables.
fn signs_in(world: &World, user: &str) -> bool {
    let sql = format!(
        "SELECT count(*) FROM guacamole_user JOIN guacamole_entity e USING (entity_id) WHERE e.type = 'USER' AND e.name = '{user}' AND NOT disabled"
    );
    world.sql(&sql) == "1"
}

/// The connections a user's home page lists: those they may read, in groups of which they may read each.
fn listed_for(world: &World, user: &str) -> Vec<String> {
    let sql = EFFECTIVE.replace("@USER@", user)
        + ", readable_groups AS (
            SELECT DISTINCT connection_group_id FROM guacamole_connection_group_permission JOIN effective USING (entity_id) WHERE permission = 'READ'
        ), tree (connection_group_id, path) AS (
            SELECT connection_group_id, connection_group_name::text FROM guacamole_connection_group JOIN readable_groups USING (connection_group_id)
            WHERE parent_id IS NULL
            UNION ALL
            SELECT g.connection_group_id, path || '/' || connection_group_name FROM tree
            JOIN guacamole_connection_group g ON g.parent_id = tree.connection_group_id
            JOIN readable_groups r ON r.connection_group_id = g.connection_group_id
        )
        SELECT DISTINCT coalesce(path || '/', '') || connection_name FROM guacamole_connection c
        LEFT JOIN tree ON tree.connection_group_id = c.parent_id
        WHERE (c.parent_id IS NULL OR path IS NOT NULL) AND EXISTS (
            SELECT FROM guacamole_connection_permission p JOIN effective USING (entity_id)
            WHERE p.connection_id = c.connection_id AND permission = 'READ'
        ) ORDER BY 1";
    world.sql(&sql).lines().map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn users_sign_in_and_see_what_files_grant_them_in_each_version() {
    for version in SCHEMAS {
        let world = World::with_schema(version).await;
        world.file("a/connection.yaml", &ssh("Nested", "group: Lab/Linux/Old\nusers: [alice]\ngroups: [staff]"));
        world.file("b/connection.yaml", &ssh("Top", "users: [alice, bob]"));
        world.pass();
        world.sql(
            "INSERT INTO guacamole_user_group_member SELECT user_group_id, e.entity_id FROM guacamole_user_group g
             JOIN guacamole_entity s ON s.entity_id = g.entity_id AND s.name = 'staff', guacamole_entity e WHERE e.name = 'bob'",
        );
        assert!(signs_in(&world, "alice") && signs_in(&world, "bob"), "{version}");
        assert_eq!(listed_for(&world, "alice"), ["Lab/Linux/Old/Nested", "Top"], "{version}");
        assert_eq!(listed_for(&world, "bob"), ["Lab/Linux/Old/Nested", "Top"], "{version}: through the group");
        assert_eq!(
            world.sql("SELECT string_agg(parameter_name || '=' || parameter_value, ' ' ORDER BY parameter_name) FROM guacamole_connection_parameter JOIN guacamole_connection USING (connection_id) WHERE connection_name = 'Nested'"),
            "hostname=host port=22",
            "{version}: what guacd is given when somebody connects"
        );
    }
}

#[tokio::test]
async fn what_is_revoked_is_hidden_and_groups_stay_while_something_in_them_is_seen() {
    let world = World::new().await;
    world.file("a/connection.yaml", &ssh("A", "group: Lab/Linux\nusers: [alice]"));
    world.file("b/connection.yaml", &ssh("B", "group: Lab\nusers: [alice]"));
    world.pass();
    world.file("a/connection.yaml", &ssh("A", "group: Lab/Linux"));
    world.pass();
    assert_eq!(listed_for(&world, "alice"), ["Lab/B"]);
    assert_eq!(world.sql("SELECT count(*) FROM guacamole_connection_group_permission"), "1", "Lab, and no longer Linux");
    assert_eq!(world.granted(), ["alice B READ"], "the connection's own READ is gone: groups only hide");
}

/// Makes somebody a member of a user group; both are made if they are missing.
const JOIN: &str = "
    INSERT INTO guacamole_entity (name, type) VALUES ('@GROUP@', 'USER_GROUP') ON CONFLICT DO NOTHING;
    INSERT INTO guacamole_user_group (entity_id) SELECT entity_id FROM guacamole_entity WHERE name = '@GROUP@' ON CONFLICT DO NOTHING;
    INSERT INTO guacamole_user_group_member SELECT user_group_id, m.entity_id FROM guacamole_user_group
    JOIN guacamole_entity g USING (entity_id), guacamole_entity m WHERE g.name = '@GROUP@' AND m.name = '@MEMBER@'";

fn join(world: &World, member: &str, group: &str) {
    world.sql(&JOIN.replace("@MEMBER@", member).replace("@GROUP@", group));
}

/// A connection that somebody makes by hand in the group Lab, and lets an entity read, but not the group.
fn share_by_hand(world: &World, reader: &str) {
    world.sql(&format!(
        "WITH c AS (INSERT INTO guacamole_connection (connection_name, parent_id, protocol)
                    SELECT 'By hand', connection_group_id, 'vnc' FROM guacamole_connection_group WHERE connection_group_name = 'Lab'
                    RETURNING connection_id)
         INSERT INTO guacamole_connection_permission SELECT entity_id, connection_id, 'READ' FROM guacamole_entity, c WHERE name = '{reader}'"
    ));
}

#[tokio::test]
async fn who_sees_something_through_groups_of_users_goes_on_seeing_the_group_it_lies_in() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("A", "group: Lab\nusers: [alice]"));
    world.file("b.yaml", &ssh("B", "group: Lab"));
    world.pass();
    join(&world, "alice", "staff");
    join(&world, "staff", "everybody");
    share_by_hand(&world, "everybody");
    assert_eq!(listed_for(&world, "alice"), ["Lab/A", "Lab/By hand"]);
    world.file("a.yaml", &ssh("A", "group: Lab"));
    world.pass();
    assert_eq!(listed_for(&world, "alice"), ["Lab/By hand"], "by the grant on the group that was hers for the connection");
    let readers =
        "SELECT string_agg(name, ' ' ORDER BY name) FROM guacamole_connection_group_permission JOIN guacamole_entity USING (entity_id)";
    assert_eq!(world.sql(readers), "alice");

    world.sql("INSERT INTO guacamole_connection_group_permission SELECT entity_id, connection_group_id, 'READ' FROM guacamole_entity, guacamole_connection_group WHERE name = 'staff'");
    world.pass();
    assert_eq!(
        (listed_for(&world, "alice"), world.sql(readers)),
        (vec!["Lab/By hand".to_owned()], "staff".to_owned()),
        "she needs none of her own now"
    );
}

#[tokio::test]
async fn a_group_of_users_goes_on_seeing_what_one_of_its_members_needs() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("A", "group: Lab\ngroups: [staff]"));
    world.file("b.yaml", &ssh("B", "group: Lab\nusers: [bob]"));
    world.file("c.yaml", &ssh("C", "users: [carol]"));
    world.pass();
    join(&world, "carol", "staff");
    share_by_hand(&world, "carol");
    assert_eq!(listed_for(&world, "carol"), ["C", "Lab/A", "Lab/By hand"]);
    world.file("a.yaml", &ssh("A", "group: Lab"));
    world.pass();
    assert_eq!(listed_for(&world, "carol"), ["C", "Lab/By hand"]);
    world.sql("UPDATE guacamole_user_group SET disabled = true");
    world.pass();
    assert_eq!(
        world.sql("SELECT count(*) FROM guacamole_connection_group_permission"),
        "1",
        "a disabled group gives nobody anything, so only bob's is left"
    );
}

#[tokio::test]
async fn a_user_may_read_themselves_as_those_that_guacamole_makes() {
    let world = World::new().await;
    world.file("c.yaml", &ssh("c", "users: [alice]"));
    world.pass();
    let own = "SELECT count(*) FROM guacamole_user_permission p JOIN guacamole_user u ON u.user_id = p.affected_user_id AND u.entity_id = p.entity_id WHERE permission = 'READ'";
    assert_eq!(world.sql(own), "1");
}

#[tokio::test]
async fn users_who_sign_in_otherwise_have_a_password_that_nothing_fits() {
    let world = World::new().await;
    world.file("c.yaml", &ssh("c", "users: [alice, bob]"));
    world.pass();
    assert_eq!(
        world.sql("SELECT DISTINCT octet_length(password_hash), octet_length(password_salt), count(*) OVER () FROM guacamole_user"),
        "32|32|2"
    );
    assert_eq!(world.sql("SELECT count(DISTINCT password_salt) FROM guacamole_user"), "2");
}

#[tokio::test]
async fn a_given_password_signs_in_and_is_not_hashed_again() {
    let world = World::new().await;
    world.file("users.yaml", "users:\n- {name: alice, password: geheim}\n");
    world.pass();
    let fits = |password: &str| {
        let expected = format!("sha256(convert_to('{password}' || upper(encode(password_salt, 'hex')), 'UTF8'))");
        world.sql(&format!(
            "SELECT password_hash = {expected} FROM guacamole_user JOIN guacamole_entity USING (entity_id) WHERE name = 'alice'"
        ))
    };
    assert_eq!(fits("geheim"), "t");
    let stored = "SELECT user_id, password_hash, password_date FROM guacamole_user";
    let before = world.sql(stored);
    world.pass();
    assert_eq!(world.sql(stored), before);
    // What an authenticator app is bound to lives as long as the row does.
    world.sql("INSERT INTO guacamole_user_attribute SELECT user_id, 'guac-totp-key-secret', 'x' FROM guacamole_user");
    world.file("users.yaml", "users:\n- {name: alice, password: anders}\n");
    world.pass();
    assert_eq!(fits("anders"), "t");
    assert_eq!(world.sql("SELECT count(*) FROM guacamole_user_attribute WHERE attribute_name = 'guac-totp-key-secret'"), "1");
}

/// Whether a password signs a user in.
fn fits(world: &World, user: &str, password: &str) -> bool {
    let expected = format!("sha256(convert_to('{password}' || upper(encode(password_salt, 'hex')), 'UTF8'))");
    world.sql(&format!(
        "SELECT password_hash = {expected} FROM guacamole_user JOIN guacamole_entity USING (entity_id) WHERE name = '{user}'"
    )) == "t"
}

#[tokio::test]
async fn a_generated_password_signs_in_stands_in_its_file_alone_and_is_the_users_own_from_then_on() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let passwords = ["--passwords-dir", folder.path().to_str().unwrap()];
    world.sql("INSERT INTO guacamole_entity (name, type) VALUES ('bob', 'USER')");
    world.file("users.yaml", "users: [{name: alice, generatePassword: true}, {name: bob, generatePassword: true}]");
    world.file("c.yaml", &ssh("c", "users: [alice]"));
    let plan = world.plan(&passwords);
    assert!(plan.printed.contains("+ user \"alice\"") && fs::read_dir(folder.path()).unwrap().next().is_none(), "{}", plan.printed);
    let run = world.once(&passwords);
    assert_eq!(run.code, Some(0), "{}", run.said);
    for user in ["alice", "bob"] {
        let password = fs::read_to_string(folder.path().join(user)).unwrap();
        assert!(fits(&world, user, &password) && !format!("{}{}", run.said, run.printed).contains(&password), "{user}");
    }
    assert_eq!(world.granted(), ["alice c READ"]);

    // The user chooses another one, and the file is lost: neither is a reason to write.
    world.sql("UPDATE guacamole_user SET password_hash = 'x'");
    fs::remove_file(folder.path().join("alice")).unwrap();
    assert_eq!(world.once(&passwords).code, Some(0));
    assert_eq!(world.sql("SELECT DISTINCT password_hash FROM guacamole_user"), "\\x78");
    assert!(!folder.path().join("alice").exists());
}

#[tokio::test]
async fn a_user_whose_generated_password_cant_be_kept_is_made_when_it_can() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    world.file("users.yaml", "users: [{name: alice, generatePassword: true}]");
    world.file("c.yaml", &ssh("c", "users: [alice, bob]"));
    let missing = folder.path().join("missing");
    for (arguments, words) in
        [(vec![], "set PASSWORDS_DIR"), (vec!["--passwords-dir", missing.to_str().unwrap()], "missing/alice can't be written")]
    {
        let run = world.once(&arguments);
        assert_eq!(run.code, Some(1));
        assert!(run.said.contains("users.yaml: user \"alice\": ") && run.said.contains(words), "{}", run.said);
        assert_eq!(world.granted(), ["bob c READ"]);
    }
    fs::create_dir(&missing).unwrap();
    assert_eq!(world.once(&["--passwords-dir", missing.to_str().unwrap()]).code, Some(0));
    assert_eq!(world.granted(), ["alice c READ", "bob c READ"]);
    assert!(fits(&world, "alice", &fs::read_to_string(missing.join("alice")).unwrap()));
}

#[tokio::test]
async fn limits_proxy_attributes_and_sharing_profiles_are_where_guacamole_reads_them() {
    let world = World::new().await;
    let text = |weight: &str, profiles: &str| {
        ssh(
            "c",
            &format!(
                "attributes: {{max-connections: 2, max-connections-per-user: 1, weight: {weight}, failover-only: true, guacd-hostname: guacd, guacd-port: 4822, guacd-encryption: ssl, guac-restrict-hosts-allowed: 10.0.0.0/8}}\n{profiles}"
            ),
        )
    };
    world.file("c.yaml", &text("5", "sharingProfiles: [{name: watch, parameters: {read-only: true}, users: [bob]}]"));
    world.pass();
    let row = "SELECT max_connections, max_connections_per_user, connection_weight, failover_only, proxy_hostname, proxy_port, proxy_encryption_method FROM guacamole_connection";
    assert_eq!(world.sql(row), "2|1|5|t|guacd|4822|SSL");
    assert_eq!(
        world.sql("SELECT attribute_value FROM guacamole_connection_attribute WHERE attribute_name = 'guac-restrict-hosts-allowed'"),
        "10.0.0.0/8"
    );
    let profiles = "SELECT sharing_profile_name, parameter_name, parameter_value, e.name FROM guacamole_sharing_profile
        JOIN guacamole_sharing_profile_parameter USING (sharing_profile_id) JOIN guacamole_sharing_profile_permission USING (sharing_profile_id)
        JOIN guacamole_entity e USING (entity_id)";
    assert_eq!(world.sql(profiles), "watch|read-only|true|bob");
    world.sql("INSERT INTO guacamole_connection_attribute SELECT connection_id, 'of-somebody-else', 'x' FROM guacamole_connection");
    world.file("c.yaml", &ssh("c", ""));
    world.pass();
    assert_eq!(world.sql(row), "|||f|||");
    assert_eq!(world.sql(profiles), "");
    let names = world.sql("SELECT attribute_name FROM guacamole_connection_attribute ORDER BY 1");
    assert_eq!(names, "of-somebody-else\noutrigger-owner", "an attribute that no file gave stays");
}

#[tokio::test]
async fn groups_have_the_type_and_limits_that_a_file_gives_them() {
    let world = World::new().await;
    world.file(
        "set.yaml",
        "connections:\n- {name: a, protocol: ssh, parameters: {hostname: h}, group: Pool}\nconnectionGroups:\n- {group: Pool, type: BALANCING, attributes: {max-connections: 10, enable-session-affinity: true}, groups: [staff]}\n",
    );
    world.pass();
    let row = "SELECT type, max_connections, enable_session_affinity FROM guacamole_connection_group";
    assert_eq!(world.sql(row), "BALANCING|10|t");
    assert_eq!(
        world.sql("SELECT e.name, permission FROM guacamole_connection_group_permission JOIN guacamole_entity e USING (entity_id)"),
        "staff|READ"
    );
    world.sql("UPDATE guacamole_connection_group SET max_connections = 99");
    world.pass();
    assert_eq!(world.sql(row), "BALANCING|10|t", "edits of others are put right");
}
