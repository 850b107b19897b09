//! The plan against a model of the database, which does what `apply` has the real one do.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::sidecars::guacamole::{
    marks::{self, Attributes},
    model::{ConnectionColumns, GranteeKind},
};
use proptest::prelude::*;

mod ownership;

fn policy() -> Policy {
    Policy {
        owner: "lab".to_owned(),
        prune: true,
        prune_limit: 50,
        removals: Removals::default(),
        adopt: false,
        create_users: true,
        case: CaseSensitivity { users: true, user_groups: true },
    }
}

fn ssh(name: &str, more: &str) -> String {
    format!("name: {name}\nprotocol: ssh\nparameters: {{hostname: host}}\n{more}\n")
}

/// A database in memory.
#[derive(Default)]
struct Model {
    observed: Observed,
    next: i32,
}

impl Model {
    fn number(&mut self) -> i32 {
        self.next += 1;
        self.next
    }

    /// Plans what the files want and does it. Returns the plan in words.
    fn pass(&mut self, desired: &Desired, policy: &Policy) -> String {
        for id in stale(desired, &self.observed, policy) {
            let stale = self.observed.connections.iter_mut().find(|connection| connection.id == id).unwrap();
            assert!(stale.parameters.is_some(), "the model always knows them");
        }
        let before = self.observed.clone_all();
        let plan = plan(desired, &before, policy);
        self.apply(&plan, &policy.owner);
        plan.to_string()
    }

    fn apply(&mut self, plan: &Plan<'_>, owner: &str) {
        let mut reserve = |count: usize| (0..count).map(|_| self.number()).collect::<Vec<_>>();
        let (entities, groups) = (reserve(plan.new.entities), reserve(plan.new.groups));
        let (connections, profiles) = (reserve(plan.new.connections), reserve(plan.new.profiles));
        let of = |id: Id, new: &[i32]| match id {
            Id::Known(number) => number,
            Id::New(index) => new[index],
        };
        for change in &plan.changes {
            match change {
                Change::Entity(change) => {
                    let id = of(change.id, &entities);
                    match self.observed.entities.iter_mut().find(|entity| entity.id == id) {
                        Some(entity) => entity.has_account = true,
                        None => self.observed.entities.push(observed::Entity {
                            id,
                            kind: change.grantee.kind,
                            name: change.grantee.name.to_string(),
                            has_account: true,
                            password: None,
                        }),
                    }
                }
                Change::Group(change) => {
                    let id = of(change.id, &groups);
                    let parent = change.parent.map(|parent| of(parent, &groups));
                    let known = self.observed.groups.iter().position(|group| group.id == id).unwrap_or_else(|| {
                        let name = change.path.name().unwrap().to_owned();
                        let (columns, attributes, grants) = (GroupColumns::default(), Attributes::new(), BTreeSet::new());
                        self.observed.groups.push(observed::Group { id, parent, name, columns, attributes, grants });
                        self.observed.groups.len() - 1
                    });
                    let group = &mut self.observed.groups[known];
                    if let Some(columns) = &change.columns {
                        group.columns = columns.clone();
                    }
                    write(&change.details, &mut group.attributes, &mut group.grants, |id| of(id, &entities), owner);
                }
                Change::RemoveConnection(removed) => self.observed.connections.retain(|connection| connection.id != removed.id),
                Change::RemoveGroup(removed) => {
                    let is_empty = !self.observed.connections.iter().any(|connection| connection.parent == Some(removed.id))
                        && !self.observed.groups.iter().any(|group| group.parent == Some(removed.id));
                    assert!(is_empty, "{} is not empty", removed.name);
                    self.observed.groups.retain(|group| group.id != removed.id);
                }
                Change::Connection(change) => {
                    let id = of(change.id, &connections);
                    let known = self.observed.connections.iter().position(|connection| connection.id == id).unwrap_or_else(|| {
                        self.observed.connections.push(observed_connection(id, "", None));
                        self.observed.connections.len() - 1
                    });
                    let connection = &mut self.observed.connections[known];
                    if change.writes_row {
                        connection.name.clone_from(&change.desired.name);
                        connection.parent = change.parent.map(|parent| of(parent, &groups));
                        connection.protocol.clone_from(&change.desired.protocol);
                        connection.columns = change.desired.columns.clone();
                    }
                    let parameters = with_change(connection.parameters.as_ref(), change.details.parameters);
                    connection.digest = parameters.digest();
                    connection.parameters = Some(parameters);
                    write(&change.details, &mut connection.attributes, &mut connection.grants, |id| of(id, &entities), owner);
                    if change.writes_mark {
                        connection.attributes.retain(|(name, _)| **name != *marks::OWNER);
                        let mark = marks::connection_mark(owner, id, &change.desired.origin);
                        connection.attributes.push((marks::OWNER.into(), mark));
                    }
                    let gone: Vec<_> = change.removed_profiles.iter().map(|profile| profile.id).collect();
                    self.observed.profiles.retain(|profile| !gone.contains(&profile.id));
                    for change in &change.profiles {
                        let profile_id = of(change.id, &profiles);
                        let mut profile = observed::Profile {
                            id: profile_id,
                            connection: id,
                            name: change.name.to_owned(),
                            parameters: with_change(None, change.details.parameters),
                            attributes: Attributes::new(),
                            grants: BTreeSet::new(),
                        };
                        write(&change.details, &mut profile.attributes, &mut profile.grants, |id| of(id, &entities), owner);
                        self.observed.profiles.retain(|known| known.id != profile_id);
                        self.observed.profiles.push(profile);
                    }
                }
            }
        }
    }

    /// `group/name` of each connection, sorted.
    fn places(&self) -> Vec<String> {
        let mut places: Vec<_> =
            self.observed.connections.iter().map(|connection| format!("{}{}", self.path(connection.parent), connection.name)).collect();
        places.sort();
        places
    }

    fn path(&self, group: Option<i32>) -> String {
        match self.observed.groups.iter().find(|known| Some(known.id) == group) {
            None => String::new(),
            Some(group) => format!("{}{}/", self.path(group.parent), group.name),
        }
    }

    fn connection(&self, name: &str) -> &observed::Connection {
        self.observed.connections.iter().find(|connection| connection.name == name).unwrap_or_else(|| panic!("{name}"))
    }

    /// Who may read what, as `user: groups and connections`, with those that are seen in Guacamole's tree.
    fn seen_by(&self, user: &str) -> Vec<String> {
        let Some(entity) = self.observed.entities.iter().find(|entity| entity.name == user) else { return Vec::new() };
        let read = &(entity.id, Permission::Read);
        let may_see_group = |group: Option<i32>| {
            let mut above = group;
            while let Some(id) = above {
                let group = self.observed.groups.iter().find(|group| group.id == id).unwrap();
                if !group.grants.contains(read) {
                    return false;
                }
                above = group.parent;
            }
            true
        };
        let seen =
            self.observed.connections.iter().filter(|connection| connection.grants.contains(read) && may_see_group(connection.parent));
        seen.map(|connection| connection.name.clone()).collect()
    }
}

fn with_change(now: Option<&Parameters>, change: Option<ParameterChange<'_>>) -> Parameters {
    let mut values: BTreeMap<&str, &str> = now.into_iter().flat_map(Parameters::iter).collect();
    if let Some(change) = change {
        values.retain(|name, _| !change.removed().any(|removed| removed == *name));
        values.extend(change.set());
    }
    Parameters::pack(values.into_iter().map(|(name, value)| (name.to_owned(), SecretString::from(value))).collect())
}

fn write(
    details: &Details<'_>,
    attributes: &mut Attributes,
    grants: &mut BTreeSet<(i32, Permission)>,
    entity: impl Fn(Id) -> i32,
    owner: &str,
) {
    let mut set: Attributes = details.attributes.iter().map(|(name, value)| ((&**name).into(), value.to_string())).collect();
    let mut removed: Vec<String> = details.removed_attributes.iter().map(|name| (*name).to_owned()).collect();
    grants.retain(|grant| !details.revoked.contains(grant));
    grants.extend(details.granted.iter().map(|(id, permission)| (entity(*id), *permission)));
    if let Some(record) = &details.record {
        removed.extend(record.names.iter().map(|name| (*name).to_owned()));
        set.extend(marks::record(owner, &record.grants.iter().map(|(id, permission)| (entity(*id), *permission)).collect()));
    }
    attributes.retain(|(name, _)| !removed.iter().any(|removed| **removed == **name) && !set.iter().any(|(written, _)| written == name));
    attributes.extend(set);
}

fn observed_connection(id: i32, name: &str, parent: Option<i32>) -> observed::Connection {
    observed::Connection {
        id,
        parent,
        name: name.to_owned(),
        protocol: "ssh".into(),
        columns: ConnectionColumns::default(),
        digest: Parameters::default().digest(),
        parameters: Some(Parameters::default()),
        attributes: Attributes::new(),
        grants: BTreeSet::new(),
    }
}

impl Observed {
    fn clone_all(&self) -> Self {
        let entity = |entity: &observed::Entity| observed::Entity {
            id: entity.id,
            kind: entity.kind,
            name: entity.name.clone(),
            has_account: entity.has_account,
            password: entity.password.clone(),
        };
        let group = |group: &observed::Group| observed::Group {
            id: group.id,
            parent: group.parent,
            name: group.name.clone(),
            columns: group.columns.clone(),
            attributes: group.attributes.clone(),
            grants: group.grants.clone(),
        };
        let connection = |connection: &observed::Connection| observed::Connection {
            id: connection.id,
            parent: connection.parent,
            name: connection.name.clone(),
            protocol: connection.protocol.clone(),
            columns: connection.columns.clone(),
            digest: connection.digest,
            parameters: connection.parameters.clone(),
            attributes: connection.attributes.clone(),
            grants: connection.grants.clone(),
        };
        let profile = |profile: &observed::Profile| observed::Profile {
            id: profile.id,
            connection: profile.connection,
            name: profile.name.clone(),
            parameters: profile.parameters.clone(),
            attributes: profile.attributes.clone(),
            grants: profile.grants.clone(),
        };
        Self {
            entities: self.entities.iter().map(entity).collect(),
            memberships: self.memberships.clone(),
            folded: self.folded.clone(),
            groups: self.groups.iter().map(group).collect(),
            connections: self.connections.iter().map(connection).collect(),
            profiles: self.profiles.iter().map(profile).collect(),
        }
    }
}

#[test]
fn an_applied_plan_leaves_nothing_to_do() {
    let mut model = Model::default();
    let files = Desired::of_files(&[(
        "f",
        &ssh("n", "group: A/B\nusers: [u]\ngroups: [g]\nattributes: {weight: 2, guac-x: y}\nsharingProfiles: [{name: s, users: [v]}]"),
    )]);
    assert!(model.pass(&files, &policy()).starts_with("+ user \"u\"\n+ user group \"g\"\n"));
    assert_eq!(model.places(), ["A/B/n"]);
    assert_eq!(model.pass(&files, &policy()), "");
}

#[test]
fn a_rename_or_a_move_keeps_the_row() {
    let mut model = Model::default();
    model.pass(&Desired::of_files(&[("f", &ssh("old", ""))]), &policy());
    let id = model.connection("old").id;
    let plan = model.pass(&Desired::of_files(&[("f", &ssh("new", "group: A"))]), &policy());
    assert!(plan.contains("name: \"old\" -> \"new\"") && plan.contains("moved to another group"), "{plan}");
    assert_eq!((model.connection("new").id, model.places()), (id, vec!["A/new".to_owned()]));
}

#[test]
fn a_renamed_file_takes_its_connection_along() {
    let mut model = Model::default();
    model.pass(&Desired::of_files(&[("one", &ssh("n", ""))]), &policy());
    let id = model.connection("n").id;
    let plan = model.pass(&Desired::of_files(&[("other", &ssh("n", ""))]), &policy());
    assert!(!plan.contains("- connection") && model.connection("n").id == id, "{plan}");
    assert_eq!(model.pass(&Desired::of_files(&[("other", &ssh("n", ""))]), &policy()), "");
}

#[test]
fn two_connections_may_swap_their_names() {
    let mut model = Model::default();
    model.pass(&Desired::of_files(&[("a", &ssh("one", "group: G")), ("b", &ssh("two", "group: G"))]), &policy());
    let id = model.connection("one").id;
    model.pass(&Desired::of_files(&[("a", &ssh("two", "group: G")), ("b", &ssh("one", "group: G"))]), &policy());
    assert_eq!((model.connection("two").id, model.places()), (id, vec!["G/one".to_owned(), "G/two".to_owned()]));
}

#[test]
fn what_somebody_else_made_is_in_the_way_until_it_may_be_taken_over() {
    let mut model = Model::default();
    model.observed.connections.push(observed_connection(900, "n", None));
    let files = Desired::of_files(&[("f", &ssh("n", ""))]);
    let observed = model.observed.clone_all();
    let refused = plan(&files, &observed, &policy());
    assert!(refused.is_empty() && refused.findings[0].message.contains("ADOPT=true"), "{:?}", refused.findings);
    let adopting = Policy { adopt: true, ..policy() };
    model.pass(&files, &adopting);
    assert_eq!((model.observed.connections.len(), model.connection("n").id), (1, 900));
    let elsewhere = Desired::of_files(&[("f", &ssh("n", "group: G"))]);
    let mut model = Model::default();
    model.observed.connections.push(observed_connection(900, "n", None));
    model.pass(&elsewhere, &adopting);
    assert_eq!(model.places(), ["G/n", "n"], "a connection of that name elsewhere is another one");
}

#[test]
fn readers_of_a_connection_see_its_groups_for_as_long_as_they_need_them() {
    let mut model = Model::default();
    let both = [("a", ssh("a", "group: X/Y\nusers: [u]")), ("b", ssh("b", "group: X\nusers: [u, v]"))];
    let files = |files: &[(&str, String)]| Desired::of_files(&files.iter().map(|(file, text)| (*file, text.as_str())).collect::<Vec<_>>());
    model.pass(&files(&both), &policy());
    assert_eq!(model.seen_by("u"), ["a", "b"]);
    model.pass(&files(&[both[0].clone(), ("b", ssh("b", "group: X"))]), &policy());
    assert_eq!((model.seen_by("u"), model.seen_by("v")), (vec!["a".to_owned()], vec![]));
    let x = model.observed.groups.iter().find(|group| group.name == "X").unwrap();
    assert_eq!(x.grants.len(), 1, "v no longer needs it, u does");
}

#[test]
fn a_group_stays_readable_for_those_who_see_something_of_others_in_it() {
    let mut model = Model::default();
    model.pass(&Desired::of_files(&[("a", &ssh("a", "group: X\nusers: [u]")), ("b", &ssh("b", ""))]), &policy());
    let (group, user) = (model.observed.groups[0].id, model.observed.entities[0].id);
    let mut foreign = observed_connection(900, "foreign", Some(group));
    foreign.grants.insert((user, Permission::Read));
    model.observed.connections.push(foreign);
    let files = Desired::of_files(&[("a", &ssh("a", "group: X")), ("b", &ssh("b", ""))]);
    model.pass(&files, &policy());
    assert_eq!(model.seen_by("u"), ["foreign"]);
    assert_eq!(model.pass(&files, &policy()), "");
    model.observed.connections.retain(|connection| connection.id != 900);
    model.pass(&files, &policy());
    assert!(model.observed.groups[0].grants.is_empty(), "now nobody needs it");
}

#[test]
fn another_owners_readers_keep_a_shared_group() {
    let mut model = Model::default();
    let other = Policy { owner: "other".to_owned(), ..policy() };
    model.pass(&Desired::of_files(&[("a", &ssh("a", "group: X\nusers: [u]"))]), &policy());
    model.pass(&Desired::of_files(&[("b", &ssh("b", "group: X\nusers: [u]"))]), &other);
    model.pass(&Desired::of_files(&[("a", &ssh("a", "group: X"))]), &policy());
    assert_eq!(model.seen_by("u"), ["b"]);
}

#[test]
fn grants_that_no_file_ever_asked_for_stay() {
    let mut model = Model::default();
    model.pass(&Desired::of_files(&[("f", &ssh("n", "users: [u]"))]), &policy());
    let by_hand = observed::Entity { id: 900, kind: GranteeKind::User, name: "by hand".to_owned(), has_account: true, password: None };
    model.observed.entities.push(by_hand);
    model.observed.connections[0].grants.insert((900, Permission::Read));
    let plan = model.pass(&Desired::of_files(&[("f", &ssh("n", ""))]), &policy());
    assert!(plan.contains("READ revoked from user \"u\"") && plan.contains("sessions that are open stay open"), "{plan}");
    assert_eq!(model.connection("n").grants, BTreeSet::from([(900, Permission::Read)]));
}

#[test]
fn case_counts_only_where_it_is_said_to() {
    let mut model = Model::default();
    let user = |id, name: &str| observed::Entity { id, kind: GranteeKind::User, name: name.to_owned(), has_account: true, password: None };
    model.observed.entities.push(user(900, "Alice"));
    model.observed.folded = ["Alice", "ALICE"].map(|name| (name.to_owned(), "alice".to_owned())).into();
    let files = Desired::of_files(&[("f", &ssh("n", "users: [alice]"))]);
    let observed = model.observed.clone_all();
    assert_eq!(plan(&files, &observed, &policy()).new.entities, 1);
    let insensitive = Policy { case: CaseSensitivity { users: false, user_groups: true }, ..policy() };
    assert_eq!(plan(&files, &observed, &insensitive).new.entities, 0);
    let mut twice = model.observed.clone_all();
    twice.entities.push(user(901, "ALICE"));
    assert!(plan(&files, &twice, &insensitive).findings.iter().any(|finding| finding.message.contains("case of letters")));
}

#[test]
fn users_are_only_made_if_they_may_be() {
    let model = Model::default();
    let strict = Policy { create_users: false, ..policy() };
    let files = Desired::of_files(&[("f", &ssh("n", "users: [u]"))]);
    let refused = plan(&files, &model.observed, &strict);
    assert_eq!((refused.new.entities, refused.new.connections), (0, 1));
    assert!(refused.findings[0].message.contains("user \"u\" does not exist"));
    let with_entry = Desired::of_files(&[("f", &ssh("n", "users: [u]")), ("users", "users: [{name: u, password: p}]")]);
    assert_eq!(plan(&with_entry, &model.observed, &strict).new.entities, 1);
}

#[test]
fn no_more_goes_at_once_than_may() {
    let mut model = Model::default();
    let texts: Vec<(String, String)> = (0..4).map(|number| (format!("f{number}"), ssh(&format!("n{number}"), ""))).collect();
    let files = |range: std::ops::Range<usize>| {
        Desired::of_files(&texts[range].iter().map(|(file, text)| (file.as_str(), text.as_str())).collect::<Vec<_>>())
    };
    model.pass(&files(0..4), &policy());
    let refused = plan(&Desired::default(), &model.observed, &policy()).refusal.unwrap();
    assert_eq!((refused.unwanted, refused.ours), (4, 4));
    let one_left = files(0..1);
    assert!(plan(&one_left, &model.observed, &policy()).refusal.is_some());
    model.pass(&files(0..2), &policy());
    assert_eq!(model.places(), ["n0", "n1"], "a half may go");
    let everything = Policy { prune_limit: 100, ..policy() };
    model.pass(&Desired::default(), &everything);
    assert_eq!(model.places(), Vec::<String>::new());
}

#[test]
fn nothing_goes_that_is_not_proven_ours_or_whose_file_is_not_understood() {
    let mut model = Model::default();
    let other = Policy { owner: "other".to_owned(), ..policy() };
    model.pass(&Desired::of_files(&[("a", &ssh("a", "group: G")), ("b", &ssh("b", ""))]), &policy());
    model.pass(&Desired::of_files(&[("c", &ssh("c", ""))]), &other);
    model.observed.connections.push(observed_connection(900, "by hand", None));
    let off = Policy { prune: false, ..policy() };
    let only_b = Desired::of_files(&[("b", &ssh("b", ""))]);
    assert_eq!(model.pass(&only_b, &off), "");
    let broken = Desired::of_files(&[("a", "name: [broken"), ("b", &ssh("b", ""))]);
    assert_eq!(model.pass(&broken, &policy()), "");
    let mut incomplete = Desired::of_files(&[("b", &ssh("b", ""))]);
    incomplete.is_incomplete = true;
    assert_eq!(model.pass(&incomplete, &policy()), "");
    model.pass(&only_b, &policy());
    assert_eq!(model.places(), ["b", "by hand", "c"]);
    assert!(model.observed.groups.is_empty(), "the group was only made for it");
}

#[test]
fn a_group_with_something_of_others_in_it_stays() {
    let mut model = Model::default();
    model.pass(&Desired::of_files(&[("a", &ssh("a", "group: G/H")), ("b", &ssh("b", ""))]), &policy());
    let inner = model.observed.groups.iter().find(|group| group.name == "H").unwrap().id;
    model.observed.connections.push(observed_connection(900, "by hand", Some(inner)));
    model.pass(&Desired::of_files(&[("b", &ssh("b", ""))]), &policy());
    assert_eq!(model.places(), ["G/H/by hand", "b"]);
}

#[test]
fn the_plan_shows_no_secret() {
    let mut model = Model::default();
    let text = |secret: &str| {
        format!(
            "name: n\nprotocol: ssh\nparameters: {{hostname: host, password: {secret}, private-key: {secret}, pasword: {secret}, port: 2{}}}\n",
            secret.len()
        )
    };
    let first = model.pass(&Desired::of_files(&[("f", &text("hunter2"))]), &policy());
    let second = model.pass(&Desired::of_files(&[("f", &text("hunter23"))]), &policy());
    assert!(first.contains("password: (hidden)") && first.contains("hostname: \"host\""), "{first}");
    assert!(second.contains("password: (hidden) -> (hidden)") && second.contains("port: \"27\" -> \"28\""), "{second}");
    assert!(!format!("{first}{second}").contains("hunter"));
}

/// What a file may say of a connection: its name, its group and its readers.
fn entry() -> impl Strategy<Value = (usize, usize, BTreeSet<usize>)> {
    (0..4_usize, 0..5_usize, proptest::collection::btree_set(0..3_usize, 0..3))
}

fn files() -> impl Strategy<Value = BTreeMap<usize, (usize, usize, BTreeSet<usize>)>> {
    proptest::collection::btree_map(0..5_usize, entry(), 0..6)
}

const GROUPS: [&str; 5] = ["", "A", "B", "A/B", "A/B/C"];

proptest! {
    /// Whatever files say one after the other: what can stand stands, nothing else of ours does, what others made is as it was, each
    /// reader sees what a file grants, and a second pass has nothing to do.
    #[test]
    fn any_sequence_of_files_ends_as_the_last_one_says(steps in proptest::collection::vec(files(), 1..5)) {
        let mut model = Model::default();
        model.observed.connections.push(observed_connection(900_000, "n0", None));
        let all = Policy { prune_limit: 100, ..policy() };
        for step in steps {
            let texts: Vec<(String, String)> = step.iter().map(|(file, (name, group, users))| {
                let users: Vec<String> = users.iter().map(|user| format!("u{user}")).collect();
                (format!("f{file}"), ssh(&format!("n{name}"), &format!("group: '{}'\nusers: [{}]", GROUPS[*group], users.join(", "))))
            }).collect();
            let files = Desired::of_files(&texts.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect::<Vec<_>>());
            // What is blocked now may be free when others have moved.
            for _ in 0..3 {
                model.pass(&files, &all);
            }
            let observed = model.observed.clone_all();
            let again = plan(&files, &observed, &all);
            prop_assert!(again.is_empty(), "{again}");
            let foreign = model.observed.connections.iter().find(|connection| connection.id == 900_000).unwrap();
            prop_assert!(foreign.attributes.is_empty() && foreign.grants.is_empty() && foreign.name == "n0");
            for connection in &files.connections {
                let Some(now) = model.observed.connections.iter().find(|known| {
                    marks::origin(&known.attributes, "lab", known.id).is_some_and(|origin| origin == connection.origin)
                }) else { continue };
                if now.name != connection.name || again.findings.iter().any(|finding| finding.subject == connection.subject()) {
                    continue;
                }
                for (grantee, _) in connection.grants.iter() {
                    prop_assert!(model.seen_by(&grantee.name).contains(&now.name), "{grantee} sees {}", now.name);
                }
                prop_assert_eq!(now.parameters.as_ref().unwrap().get("hostname"), Some("host"));
            }
            let mut places = model.places();
            let count = places.len();
            places.dedup();
            prop_assert_eq!(places.len(), count, "no two stand at one place");
        }
    }
}
