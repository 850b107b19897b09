//! What somebody else has made, copied or granted stays as it is, and so does what a file that isn't understood has made.

use super::*;

fn group(id: i32, name: &str, columns: GroupColumns) -> observed::Group {
    observed::Group { id, parent: None, name: name.to_owned(), columns, attributes: Attributes::new(), grants: BTreeSet::new() }
}

fn user(id: i32, name: &str) -> observed::Entity {
    observed::Entity { id, kind: GranteeKind::User, name: name.to_owned(), has_account: true, password: None }
}

fn pool() -> GroupColumns {
    GroupColumns { is_balancing: true, max_connections: Some(10), max_connections_per_user: None, session_affinity: true }
}

#[test]
fn a_group_that_somebody_else_made_keeps_its_columns_until_it_may_be_taken_over() {
    let mut model = Model::default();
    model.observed.groups.push(group(900, "Pool", pool()));
    let only_grants = Desired::of_files(&[("f", "connectionGroups: [{group: Pool, groups: [developers]}]")]);
    model.pass(&only_grants, &policy());
    assert_eq!((&model.observed.groups[0].columns, model.observed.groups[0].grants.len()), (&pool(), 1));

    let limited = Desired::of_files(&[("f", "connectionGroups: [{group: Pool, groups: [developers], attributes: {max-connections: 3}}]")]);
    let observed = model.observed.clone_all();
    let refused = plan(&limited, &observed, &policy());
    assert!(refused.is_empty() && refused.findings[0].message.contains("ADOPT=true"), "{refused} {:?}", refused.findings);
    let adopting = Policy { adopt: true, ..policy() };
    let shown = model.pass(&limited, &adopting);
    assert!(shown.contains("max-connections: 10 -> 3"), "{shown}");
    assert_eq!(model.observed.groups[0].columns, GroupColumns { max_connections: Some(3), ..pool() });
    assert_eq!(model.pass(&limited, &adopting), "");
}

#[test]
fn a_group_of_ours_is_as_its_entry_says_and_the_plan_shows_each_column() {
    let mut model = Model::default();
    let text = "connectionGroups: [{group: Pool, type: BALANCING, attributes: {max-connections: 10, enable-session-affinity: true}}]";
    model.pass(&Desired::of_files(&[("f", text)]), &policy());
    assert_eq!(model.observed.groups[0].columns, pool());
    let shown = model.pass(&Desired::of_files(&[("f", "connectionGroups: [{group: Pool}]")]), &policy());
    assert_eq!(
        shown,
        "~ connection group ROOT/Pool\n    type: BALANCING -> ORGANIZATIONAL\n    max-connections: 10 -> default\n    \
         enable-session-affinity: true -> false\n"
    );
    assert_eq!(model.observed.groups[0].columns, GroupColumns::default());
}

#[test]
fn a_copy_that_bears_our_mark_is_somebody_elses_and_stays_when_the_file_goes() {
    let mut model = Model::default();
    let files = Desired::of_files(&[("f", &ssh("n", "")), ("g", &ssh("other", ""))]);
    model.pass(&files, &policy());
    let mut copy = observed_connection(900, "n copy", None);
    copy.attributes.clone_from(&model.connection("n").attributes);
    model.observed.connections.push(copy);
    assert_eq!(model.pass(&files, &policy()), "");
    model.pass(&Desired::of_files(&[("g", &ssh("other", ""))]), &policy());
    assert_eq!(model.places(), ["n copy", "other"]);
    let refusal = plan(&Desired::default(), &model.observed, &policy()).refusal.unwrap();
    assert_eq!(refusal.ours, 1, "a copy doesn't count as ours");

    let at_its_place = Desired::of_files(&[("g", &ssh("other", "")), ("h", &ssh("n copy", ""))]);
    let observed = model.observed.clone_all();
    let blocked = plan(&at_its_place, &observed, &policy());
    assert!(blocked.is_empty() && blocked.findings[0].message.contains("ADOPT=true"), "{blocked}");
    model.pass(&at_its_place, &Policy { adopt: true, ..policy() });
    assert_eq!((model.connection("n copy").id, model.observed.connections.len()), (900, 2));
}

#[test]
fn grants_that_somebody_else_gave_before_a_file_wanted_them_stay_when_it_no_longer_does() {
    let mut model = Model::default();
    model.observed.entities.push(user(800, "alice"));
    model.observed.groups.push(group(900, "Lab", GroupColumns::default()));
    model.observed.groups[0].grants.insert((800, Permission::Read));
    model.pass(&Desired::of_files(&[("f", &ssh("n", "group: Lab\nusers: [alice, bob]"))]), &policy());
    assert_eq!(model.observed.groups[0].grants.len(), 2, "bob sees it, too");
    let without = Desired::of_files(&[("f", &ssh("n", "group: Lab"))]);
    model.pass(&without, &policy());
    assert_eq!(model.observed.groups[0].grants, BTreeSet::from([(800, Permission::Read)]));
    assert!(model.connection("n").grants.is_empty());
    assert_eq!(model.pass(&without, &policy()), "");
}

#[test]
fn an_adopted_connections_grants_are_its_files_from_then_on() {
    let adopting = Policy { adopt: true, ..policy() };
    let mut model = Model::default();
    model.observed.entities.push(user(800, "alice"));
    let mut by_hand = observed_connection(900, "n", None);
    by_hand.grants.insert((800, Permission::Read));
    model.observed.connections.push(by_hand);
    model.pass(&Desired::of_files(&[("f", &ssh("n", "users: [alice]"))]), &adopting);
    model.pass(&Desired::of_files(&[("f", &ssh("n", ""))]), &adopting);
    assert!(model.connection("n").grants.is_empty());
}

#[test]
fn a_broken_files_connection_is_not_taken_over_by_another_file() {
    let mut model = Model::default();
    let to = |host: &str| format!("name: n\nprotocol: ssh\nparameters: {{hostname: {host}}}\n");
    let host = |model: &Model| model.connection("n").parameters.as_ref().unwrap().get("hostname").unwrap().to_owned();
    model.pass(&Desired::of_files(&[("a.yaml", &to("right")), ("b.yaml", &to("other"))]), &policy());
    let id = model.connection("n").id;
    let mut incomplete = Desired::of_files(&[("b.yaml", &to("other"))]);
    incomplete.is_incomplete = true;
    for files in [Desired::of_files(&[("a.yaml", "name: ["), ("b.yaml", &to("other"))]), incomplete] {
        let observed = model.observed.clone_all();
        let findings = plan(&files, &observed, &policy()).findings;
        assert!(findings.iter().any(|finding| finding.subject.starts_with("b.yaml")), "{findings:?}");
        model.pass(&files, &policy());
        assert_eq!((host(&model), model.connection("n").id), ("right".to_owned(), id));
    }
    model.pass(&Desired::of_files(&[("b.yaml", &to("other"))]), &policy());
    assert_eq!((host(&model), model.connection("n").id), ("other".to_owned(), id), "once it is gone, it may be");
    model.pass(&Desired::of_files(&[("a.yaml", &to("right")), ("b.yaml", &to("other"))]), &policy());
    assert_eq!((host(&model), model.connection("n").id), ("right".to_owned(), id), "of two that want one place, the first counts");
}

#[test]
fn while_files_are_missing_or_not_understood_no_group_goes_and_none_loses_a_grant() {
    let groups = "connectionGroups: [{group: Lab, users: [alice]}, {group: Empty, groups: [staff], permissions: [READ, UPDATE]}]";
    let (connection, other) = (ssh("n", "group: Lab\nusers: [bob]"), ssh("m", ""));
    let mut model = Model::default();
    model.pass(&Desired::of_files(&[("groups/all", groups), ("n", &connection), ("m", &other)]), &policy());
    let state = |model: &Model| {
        let groups = model.observed.groups.iter().map(|group| (group.name.clone(), group.grants.clone(), group.attributes.clone()));
        groups.collect::<Vec<_>>()
    };
    let before = state(&model);
    assert_eq!(before.iter().map(|(_, grants, _)| grants.len()).collect::<Vec<_>>(), [2, 2]);

    let without = Desired::of_files(&[("n", &connection), ("m", &other)]);
    let misspelt = Desired::of_files(&[("groups/all", &groups.replace("users", "usres")), ("n", &connection), ("m", &other)]);
    let of_another_file = Desired::of_files(&[("n", &connection), ("m", "name: [")]);
    let not_mounted =
        Desired { empty_folders: BTreeSet::from(["groups".to_owned()]), ..Desired::of_files(&[("n", &connection), ("m", &other)]) };
    let away = Desired { is_incomplete: true, ..Desired::of_files(&[("n", &connection), ("m", &other)]) };
    for files in [misspelt, of_another_file, not_mounted, away, Desired::default()] {
        let observed = model.observed.clone_all();
        let plan = plan(&files, &observed, &policy());
        let names_folder = plan.findings.iter().any(|finding| finding.subject == "groups/");
        assert_eq!((plan.is_empty(), names_folder), (true, !files.empty_folders.is_empty()), "{plan} {:?}", plan.findings);
        model.apply(&plan, "lab");
        assert_eq!(state(&model), before);
    }
    // Meanwhile others may be granted more.
    let more =
        Desired::of_files(&[("groups/all", "connectionGroups: ["), ("n", &ssh("n", "group: Lab\nusers: [bob, carol]")), ("m", &other)]);
    model.pass(&more, &policy());
    assert_eq!(state(&model)[0].1.len(), 3);

    model.pass(&without, &policy());
    let names: Vec<_> = state(&model).into_iter().map(|(name, grants, _)| (name, grants.len())).collect();
    assert_eq!(names, [("Lab".to_owned(), 1)], "it is gone");
}

#[test]
fn a_user_is_found_by_every_spelling_of_a_name_whose_case_does_not_count() {
    let insensitive = Policy { case: CaseSensitivity { users: false, user_groups: true }, ..policy() };
    let mut model = Model::default();
    model.observed.folded = [("Alice".to_owned(), "alice".to_owned()), ("BOB".to_owned(), "bob".to_owned())].into();
    let grants = ("c", &*ssh("c", "users: [alice, bob]"));
    let mut desired = Desired::of_files(&[("u", "users: [{name: Alice, generatePassword: true}, {name: BOB, password: secret}]"), grants]);
    assert_eq!(users_to_generate_for(&desired, &model.observed, &insensitive), ["Alice".into()]);
    model.pass(&desired, &insensitive);
    let names = |model: &Model| model.observed.entities.iter().map(|entity| entity.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&model), ["BOB"], "nobody is made who waits for a password");
    desired.users.get_mut("Alice").unwrap().password = document::Password::Given("secret".into());
    model.pass(&desired, &insensitive);
    assert_eq!((names(&model), model.connection("c").grants.len()), (vec!["BOB".to_owned(), "Alice".to_owned()], 2));
}

#[test]
fn two_users_whose_names_are_one_where_case_does_not_count_are_reported() {
    let insensitive = Policy { case: CaseSensitivity { users: false, user_groups: true }, ..policy() };
    let observed = Observed { folded: [("Alice".to_owned(), "alice".to_owned())].into(), ..Observed::default() };
    let desired =
        Desired::of_files(&[("a", "users: [{name: Alice, password: x}]"), ("b", "users: [{name: alice, generatePassword: true}]")]);
    assert!(users_to_generate_for(&desired, &observed, &insensitive).is_empty(), "the first counts");
    let plan = plan(&desired, &observed, &insensitive);
    assert_eq!((plan.to_string().as_str(), plan.findings.len()), ("+ user \"Alice\"\n", 1), "{:?}", plan.findings);
    assert!(plan.findings[0].to_string().starts_with("b: user \"alice\": "), "{:?}", plan.findings);
}

#[test]
fn a_file_with_a_number_sign_in_its_name_is_protected_like_any_other() {
    let mut model = Model::default();
    model.pass(&Desired::of_files(&[("a#1.yaml", &ssh("n", "")), ("b.yaml", &ssh("m", ""))]), &policy());
    model.pass(&Desired::of_files(&[("a#1.yaml", "name: ["), ("b.yaml", &ssh("m", ""))]), &policy());
    assert_eq!(model.places(), ["m", "n"]);
}

#[test]
fn connections_that_vanish_one_after_the_other_count_together() {
    let mut model = Model::default();
    let texts: Vec<(String, String)> = (0..8).map(|number| (format!("f{number}"), ssh(&format!("n{number}"), ""))).collect();
    let files =
        |from: usize| Desired::of_files(&texts[from..].iter().map(|(file, text)| (file.as_str(), text.as_str())).collect::<Vec<_>>());
    model.pass(&files(0), &policy());
    for gone in 1..=8 {
        let lately = Policy { removals: Removals { removed_lately: 8 - model.observed.connections.len(), due: None }, ..policy() };
        model.pass(&files(gone), &lately);
    }
    assert_eq!(model.places(), ["n4", "n5", "n6", "n7"], "a half may go, and no more");
    let lately = Policy { removals: Removals { removed_lately: 4, due: None }, ..policy() };
    let refusal = plan(&files(5), &model.observed, &lately).refusal.unwrap();
    assert!(refusal.to_string().contains("1 of our 4 connections any more, 4 were removed in the last hour"), "{refusal}");
}

#[test]
fn what_is_unwanted_goes_when_it_is_due() {
    let mut model = Model::default();
    model.pass(&Desired::of_files(&[("a", &ssh("a", "group: G")), ("b", &ssh("b", ""))]), &policy());
    let only_b = Desired::of_files(&[("b", &ssh("b", ""))]);
    let with_due = |due: &[&str]| {
        let due = due.iter().map(|file| origin_of(file)).collect();
        Policy { removals: Removals { removed_lately: 0, due: Some(due) }, ..policy() }
    };
    let observed = model.observed.clone_all();
    let waiting = plan(&only_b, &observed, &with_due(&["c"]));
    assert!(waiting.is_empty() && waiting.unwanted == [origin_of("a")], "{waiting}");
    model.pass(&only_b, &with_due(&["a"]));
    assert_eq!((model.places(), model.observed.groups.len()), (vec!["b".to_owned()], 0));
}

fn origin_of(file: &str) -> Origin {
    Origin { file: file.into(), key: "".into() }
}
