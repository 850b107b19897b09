//! What is removed, and what is not.

use std::{fs, os::unix::fs::symlink};

use crate::world::{World, ssh, write};

/// Three connections of ours, and one that somebody made by hand.
async fn world() -> World {
    let world = World::new().await;
    for name in ["a", "b", "c"] {
        world.file(&format!("{name}/connection.yaml"), &ssh(name, ""));
    }
    world.pass();
    world.sql("INSERT INTO guacamole_connection (connection_name, protocol) VALUES ('by hand', 'vnc')");
    world
}

fn names(world: &World) -> Vec<String> {
    world.sql("SELECT connection_name FROM guacamole_connection ORDER BY 1").lines().map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn a_removed_files_connection_goes_and_its_history_keeps_the_name() {
    let world = world().await;
    world.sql("INSERT INTO guacamole_connection_history (username, connection_id, connection_name, start_date) SELECT 'u', connection_id, connection_name, now() FROM guacamole_connection WHERE connection_name = 'a'");
    world.remove_folder("a");
    world.pass();
    assert_eq!(names(&world), ["b", "by hand", "c"]);
    assert_eq!(world.sql("SELECT connection_name, connection_id IS NULL FROM guacamole_connection_history"), "a|t");
}

#[tokio::test]
async fn an_empty_folder_removes_nothing_until_that_is_allowed() {
    let world = world().await;
    for name in ["a", "b", "c"] {
        world.remove_folder(name);
    }
    let refused = world.once(&[]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.said.contains("no file wants 3 of our 3 connections any more, and at most 50 % may be removed at once"),
        "{}",
        refused.said
    );
    assert_eq!(names(&world).len(), 4);
    assert_eq!(world.once(&["--prune-limit", "100"]).code, Some(0));
    assert_eq!(names(&world), ["by hand"]);
}

#[tokio::test]
async fn groups_stay_while_there_is_no_file_at_all() {
    let world = World::new().await;
    world.file("groups.yaml", "connectionGroups: [{group: Lab, users: [alice]}]");
    world.pass();
    let groups = || {
        world.sql("SELECT count(*) FROM guacamole_connection_group JOIN guacamole_connection_group_permission USING (connection_group_id)")
    };
    world.remove("groups.yaml");
    let run = world.once(&["--prune-limit", "100"]);
    assert_eq!((run.code, &*groups()), (Some(1), "1"), "{}", run.said);
    assert!(run.said.contains("put a file with [] in it"), "{}", run.said);
    world.file("none.yaml", "[]");
    world.pass();
    assert_eq!(groups(), "0");
}

#[tokio::test]
async fn a_folder_that_is_not_there_removes_nothing_at_all() {
    let world = world().await;
    fs::rename(world.connections(), world.connections().with_extension("gone")).unwrap();
    let run = world.once(&["--prune-limit", "100"]);
    assert_eq!((run.code, names(&world).len()), (Some(1), 4), "{}", run.said);
}

#[tokio::test]
async fn removal_can_be_switched_off() {
    let world = world().await;
    world.remove("a/connection.yaml");
    assert_eq!(world.once(&["--prune", "off"]).code, Some(0));
    assert_eq!(names(&world).len(), 4);
}

#[tokio::test]
async fn two_owners_share_a_database_without_touching_what_is_the_others() {
    let world = world().await;
    let run = world.once(&["--owner", "other"]);
    assert_eq!(run.code, Some(1), "the places are taken");
    assert!(run.said.contains("ADOPT=true"), "{}", run.said);
    for name in ["a", "b", "c"] {
        world.remove(&format!("{name}/connection.yaml"));
    }
    world.file("d/connection.yaml", &ssh("d", ""));
    assert_eq!(world.once(&["--owner", "other", "--prune-limit", "100"]).code, Some(0));
    assert_eq!(names(&world), ["a", "b", "by hand", "c", "d"]);
}

#[tokio::test]
async fn a_group_of_ours_goes_when_it_is_empty_and_stays_while_somebody_uses_it() {
    let world = World::new().await;
    for (name, group) in [("a", "Lab/One"), ("b", "Lab/Two"), ("c", ""), ("d", "")] {
        world.file(&format!("{name}.yaml"), &ssh(name, &format!("group: '{group}'")));
    }
    world.pass();
    world.sql("INSERT INTO guacamole_connection (connection_name, parent_id, protocol) SELECT 'by hand', connection_group_id, 'vnc' FROM guacamole_connection_group WHERE connection_group_name = 'Two'");
    world.remove("a.yaml");
    world.remove("b.yaml");
    world.pass();
    assert_eq!(world.sql("SELECT connection_group_name FROM guacamole_connection_group ORDER BY 1"), "Lab\nTwo");
    assert_eq!(names(&world), ["by hand", "c", "d"]);
}

#[tokio::test]
async fn a_folder_whose_share_is_away_removes_nothing() {
    let world = World::new().await;
    let share = tempfile::tempdir().unwrap();
    let office = share.path().join("office");
    write(&office.join("a.yaml"), &ssh("a", ""));
    symlink(&office, world.connections().join("office")).unwrap();
    for name in ["b", "c"] {
        world.file(&format!("{name}.yaml"), &ssh(name, ""));
    }
    world.pass();
    fs::rename(&office, share.path().join("away")).unwrap();
    let run = world.once(&["--prune-limit", "100"]);
    assert_eq!((run.code, names(&world)), (Some(1), vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]), "{}", run.said);
    assert!(run.said.contains("/office: it can't be looked at"), "{}", run.said);
}

#[tokio::test]
async fn a_folder_in_which_there_is_nothing_any_more_removes_nothing_until_it_goes_too() {
    let world = World::new().await;
    for name in ["lab/a", "b", "c"] {
        world.file(&format!("{name}.yaml"), &ssh(&name.replace("lab/", ""), ""));
    }
    world.pass();
    world.remove("lab/a.yaml");
    let run = world.once(&["--prune-limit", "100"]);
    assert_eq!((run.code, names(&world).len()), (Some(1), 3));
    assert!(run.said.contains("lab/: there is nothing in this folder, and 1 of our connections come from it"), "{}", run.said);
    fs::remove_dir(world.connections().join("lab")).unwrap();
    world.pass();
    assert_eq!(names(&world), ["b", "c"]);
}

#[tokio::test]
async fn what_moves_out_of_a_folder_is_taken_along_although_nothing_is_left_there() {
    let world = World::new().await;
    world.file("lab/a.yaml", &ssh("a", ""));
    world.pass();
    let number = || world.sql("SELECT connection_id FROM guacamole_connection");
    let before = number();
    world.remove("lab/a.yaml");
    world.file("office/a.yaml", &ssh("a", ""));
    world.pass();
    assert_eq!(number(), before);
}

#[tokio::test]
async fn a_mounted_secret_from_which_a_file_is_taken_is_no_empty_folder() {
    let world = World::new().await;
    for name in ["a", "b"] {
        world.file(&format!("{name}/..data/connection.yaml"), &ssh(name, ""));
        symlink("..data/connection.yaml", world.connections().join(name).join("connection.yaml")).unwrap();
    }
    world.pass();
    world.remove("a/connection.yaml");
    world.remove("a/..data/connection.yaml");
    world.pass();
    assert_eq!(names(&world), ["b"]);
}

#[tokio::test]
async fn a_group_in_which_somebody_puts_something_at_that_moment_stays() {
    let world = World::new().await;
    world.file("a.yaml", &ssh("a", "group: Lab"));
    world.file("b.yaml", &ssh("b", ""));
    world.pass();
    world.remove("a.yaml");
    let somebody = world
        .somebody_who_did(
            "INSERT INTO guacamole_connection (connection_name, parent_id, protocol)
             SELECT 'by hand', connection_group_id, 'vnc' FROM guacamole_connection_group",
        )
        .await;
    let mut running = world.command(&["--once"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    world.until("the pass waits for them", || {
        world.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == "1"
    });
    somebody.commit().await;
    assert!(running.wait().unwrap().success());
    assert_eq!(names(&world), ["b", "by hand"]);
}
