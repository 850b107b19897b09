//! The plan against a model of a server: whatever is asked for and whatever is there, applying plans comes to an end, and nothing that
//! is not ours is changed.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::pg_database::{Privilege, RolePrivileges};

mod consent;

/// The OID of the owner.
const OWNER: u32 = 50;

fn holder(uid: &str) -> Holder {
    Holder { cluster: "here".into(), uid: uid.into(), namespace: "team".into(), name: uid.into() }
}

#[allow(clippy::needless_pass_by_value, reason = "a test reads better without a & before each spec")]
fn wish(spec: serde_json::Value) -> Wish {
    let mut whole = json!({"server": "main"});
    json_patch::merge(&mut whole, &spec);
    let spec: PgDatabaseSpec = serde_json::from_value(whole).unwrap();
    Wish {
        us: holder("us"),
        database: "shop".into(),
        reclaim: spec.reclaim_policy.unwrap_or_default(),
        adoption: spec.adoption_policy.unwrap_or_default(),
        drift: spec.drift_policy.unwrap_or_default(),
        applied_to: None,
        parameters_before: Vec::new(),
        is_inside_done: true,
        consent: Vec::new(),
        digest: spec.connection_secret.as_ref().map(|_| "digest".to_owned()),
        new_oid: 7,
        spec,
    }
}

/// A server that takes everything.
fn server() -> Seen {
    let server =
        Server { version_number: 150_018, can_create_databases: true, can_create_roles: true, user: "admin".into(), ..Server::default() };
    let contexts = [("work_mem", "user"), ("search_path", "user"), ("log_statement", "superuser")];
    Seen { server, contexts: contexts.map(|(name, context)| (name.to_owned(), context.to_owned())).into(), ..Seen::default() }
}

fn database(oid: u32) -> Database {
    Database {
        oid,
        owner: "postgres".into(),
        encoding: "UTF8".into(),
        provider: "c".into(),
        collate: "C".into(),
        ctype: "C".into(),
        tablespace: "pg_default".into(),
        connection_limit: -1,
        allow_connections: true,
        ..Database::default()
    }
}

fn record(uid: &str, oid: u32, stage: Stage) -> Record {
    Record { oid, database: "shop".into(), holder: holder(uid), stage, found_as: None, is_closed: false, is_old: false }
}

/// What the steps do to a server.
fn apply(wish: &Wish, seen: &mut Seen, action: &Action) {
    let owner = wish.spec.owner.as_ref().map(|owner| owner.name.clone()).unwrap_or_default();
    match action {
        Action::CreateOwner => {
            seen.roles.insert(owner, Role { oid: OWNER, ..Role::default() });
            seen.owner_record = Some(RoleRecord { holder: wish.us.clone(), oid: Some(OWNER), digest: wish.digest.clone(), salt: None });
        }
        Action::AdoptOwner => {
            let made = seen.owner_record.as_mut().unwrap();
            (made.holder, made.digest) = (wish.us.clone(), None);
        }
        Action::SetPassword => seen.owner_record.as_mut().unwrap().digest.clone_from(&wish.digest),
        Action::JoinOwner => seen.roles.get_mut(&owner).unwrap().is_ours_to_set = true,
        Action::Intend(oid) => seen.record = Some(record("us", *oid, Stage::Intended)),
        Action::Create(oid) => {
            assert_eq!(seen.record.as_ref().map(|record| (record.oid, record.stage)), Some((*oid, Stage::Intended)), "written down first");
            let limit = wish.spec.connection_limit.unwrap_or(-1);
            let owner = if owner.is_empty() { "admin".to_owned() } else { owner };
            seen.database = Some(Database { owner, connection_limit: limit, ..database(*oid) });
        }
        Action::Hold(oid) => {
            assert_eq!(seen.database.as_ref().map(|database| database.oid), Some(*oid), "created first");
            seen.record.as_mut().unwrap().stage = Stage::Held;
        }
        Action::Adopt(oid) => {
            let before = seen.record.replace(record("us", *oid, Stage::Held));
            if let (Some(made), Some(before)) = (&mut seen.owner_record, before)
                && made.holder.is(&before.holder)
            {
                (made.holder, made.digest) = (wish.us.clone(), None);
            }
        }
        Action::Reopen => {
            seen.database.as_mut().unwrap().allow_connections = true;
            seen.record.as_mut().unwrap().is_closed = false;
        }
        Action::Forget(_) => seen.record = None,
        Action::Change(change) => apply_change(seen.database.as_mut().unwrap(), change),
    }
}

fn apply_change(database: &mut Database, change: &Change) {
    match change {
        Change::Owner(owner) => {
            database.privileges.remove(owner);
            database.owner.clone_from(owner);
        }
        Change::Tablespace(tablespace) => database.tablespace.clone_from(tablespace),
        Change::ConnectionLimit(limit) => database.connection_limit = *limit,
        Change::AllowConnections(allow) => database.allow_connections = *allow,
        Change::IsTemplate(is_template) => database.is_template = *is_template,
        Change::SetParameter(name, value) => drop(database.parameters.insert(name.clone(), value.clone())),
        Change::ResetParameter(name) => drop(database.parameters.remove(name)),
        Change::Grant(role, privilege) => {
            database.privileges.entry(role.clone().unwrap_or_default()).or_default().insert(change::word(*privilege).to_owned());
        }
        Change::Revoke(role, privilege) => {
            database.privileges.entry(role.clone().unwrap_or_default()).or_default().remove(change::word(*privilege));
        }
        other => panic!("{other:?} is inside"),
    }
}

/// Applies plans until nothing is left to do.
fn settle(wish: &Wish, seen: &mut Seen) -> Plan {
    for _ in 0..20 {
        let plan = plan(wish, seen);
        if plan.steps.is_empty() {
            return plan;
        }
        plan.steps.iter().for_each(|step| apply(wish, seen, &step.action));
    }
    panic!("no end: {:?}", plan(wish, seen));
}

fn actions(plan: &Plan) -> Vec<&Action> {
    plan.steps.iter().map(|step| &step.action).collect()
}

#[test]
fn a_new_database_is_intended_created_and_held() {
    let (wish, all) = (wish(json!({})), [Action::Intend(7), Action::Create(7), Action::Hold(7)]);
    // Whoever is cut off between two of them goes on where it was.
    let mut seen = server();
    for done in 0..all.len() {
        assert_eq!(actions(&plan(&wish, &seen)), all[done..].iter().collect::<Vec<_>>());
        apply(&wish, &mut seen, &all[done]);
    }
    let plan = plan(&wish, &seen);
    assert_eq!((plan.steps.len(), plan.claimed), (0, Claimed::Ours));
}

#[test]
fn a_number_that_another_database_has_is_given_back() {
    let taken = Record { found_as: Some("other".into()), ..record("us", 7, Stage::Intended) };
    let seen = Seen { record: Some(taken), ..server() };
    assert_eq!(actions(&plan(&wish(json!({})), &seen)), [&Action::Forget(7)]);
}

#[test]
fn the_owner_comes_first_and_we_become_its_member() {
    let (wish, mut seen) = (wish(json!({"owner": {"name": "o", "create": true}, "connectionSecret": {"name": "s"}})), server());
    let expected = [vec![Action::CreateOwner], vec![Action::JoinOwner], vec![Action::Intend(7), Action::Create(7), Action::Hold(7)]];
    for expected in expected {
        assert_eq!(actions(&plan(&wish, &seen)), expected.iter().collect::<Vec<_>>());
        for action in &expected {
            apply(&wish, &mut seen, action);
        }
    }
    seen.owner_record.as_mut().unwrap().digest = Some("an older one".into());
    assert_eq!(actions(&plan(&wish, &seen)), [&Action::SetPassword]);
}

#[test]
fn a_role_that_somebody_has_made_in_place_of_ours_is_not_ours() {
    let wish = wish(json!({"owner": {"name": "o", "create": true}, "connectionSecret": {"name": "s"}}));
    let role = |oid| HashMap::from([("o".to_owned(), Role { oid, is_ours_to_set: true, ..Role::default() })]);
    let made = RoleRecord { holder: holder("us"), oid: Some(OWNER), digest: None, salt: None };
    let held = Seen { database: Some(database(7)), record: Some(record("us", 7, Stage::Held)), owner_record: Some(made), ..server() };
    let ours = Seen { roles: role(OWNER), ..held.clone() };
    assert_eq!(actions(&plan(&wish, &ours)), [&Action::SetPassword]);
    let theirs = Seen { roles: role(OWNER + 1), ..held };
    assert_eq!(plan(&wish, &theirs).refusal.unwrap().reason, "OwnerNotOurs");
}

#[test]
fn a_password_that_the_server_will_not_get_is_not_made() {
    let fields = json!({"owner": {"name": "o", "create": true}, "connectionSecret": {"name": "s"}});
    let role = |is_superuser, is_ours_to_set| HashMap::from([("o".to_owned(), Role { oid: OWNER, is_superuser, is_ours_to_set })]);
    let made = RoleRecord { holder: holder("us"), oid: Some(OWNER), digest: Some("old".into()), salt: None };
    let ours = Seen {
        database: Some(database(7)),
        record: Some(record("us", 7, Stage::Held)),
        roles: role(false, true),
        owner_record: Some(made),
        ..server()
    };
    assert!(may_have_password(&wish(fields.clone()), &ours) && may_have_password(&wish(fields.clone()), &server()));
    let server = |change: fn(&mut Server)| {
        let mut seen = ours.clone();
        change(&mut seen.server);
        seen
    };
    assert!(!may_have_password(&wish(fields.clone()), &server(|server| server.in_recovery = true)));
    assert!(!may_have_password(&wish(fields.clone()), &server(|server| server.is_read_only = true)));
    for stage in [Stage::Held, Stage::Intended] {
        let became_superuser = Seen { roles: role(true, true), record: Some(record("us", 7, stage)), ..ours.clone() };
        assert!(!may_have_password(&wish(fields.clone()), &became_superuser), "{stage:?}");
    }
    let not_a_member = Seen { roles: role(false, false), ..ours.clone() };
    assert!(!may_have_password(&wish(fields.clone()), &not_a_member), "becoming one comes first, and may fail");
    let mut refused = wish(fields);
    refused.spec.parameters = [("log_statement".to_owned(), "none".to_owned())].into();
    assert!(!may_have_password(&refused, &ours));
}

#[test]
fn the_owner_of_an_object_that_is_gone_is_taken_over_with_its_database_or_after_it() {
    let wish = |policy: &str| {
        let fields = json!({"owner": {"name": "o", "create": true}, "connectionSecret": {"name": "s"}, "adoptionPolicy": policy});
        wish(fields)
    };
    let made = RoleRecord { holder: holder("them"), oid: Some(OWNER), digest: Some("digest".into()), salt: None };
    let roles = HashMap::from([("o".to_owned(), Role { oid: OWNER, is_ours_to_set: true, ..Role::default() })]);
    let theirs = Seen { roles, owner_record: Some(made), is_owner_holder_gone: true, database: Some(database(7)), ..server() };
    let mut claimed = Seen { record: Some(record("them", 7, Stage::Held)), is_holder_gone: true, ..theirs.clone() };
    let steps = |wish: &Wish, seen: &mut Seen| {
        let plan = plan(wish, seen);
        plan.steps.iter().for_each(|step| apply(wish, seen, &step.action));
        plan.steps.into_iter().map(|step| step.action).collect::<Vec<_>>()
    };
    assert_eq!(steps(&wish("IfUnclaimed"), &mut claimed), [Action::Adopt(7)]);
    assert_eq!(steps(&wish("IfUnclaimed"), &mut claimed), [Action::SetPassword]);
    let ours = Seen { record: Some(record("us", 7, Stage::Held)), ..theirs };
    assert_eq!(steps(&wish("IfUnclaimed"), &mut ours.clone()), [Action::AdoptOwner]);
    let refusal = plan(&wish("Never"), &ours).refusal.unwrap();
    assert!(refusal.reason == "OwnerNotOurs" && refusal.message.contains("IfUnclaimed takes it over"), "{refusal:?}");
    let lives = Seen { is_owner_holder_gone: false, ..ours };
    assert_eq!(plan(&wish("Force"), &lives).refusal.unwrap().reason, "OwnerNotOurs");
}

#[test]
fn who_has_a_database_keeps_it() {
    let wish = |policy: &str| wish(json!({"adoptionPolicy": policy}));
    let theirs = Seen { database: Some(database(7)), record: Some(record("them", 7, Stage::Held)), ..server() };
    for policy in ["Never", "IfUnclaimed"] {
        let plan = plan(&wish(policy), &theirs);
        assert!(matches!(&plan.claimed, Claimed::Refused(refusal) if refusal.reason == "ClaimedByAnother"), "{plan:?}");
        assert!(plan.steps.is_empty());
    }
    assert_eq!(actions(&plan(&wish("Force"), &theirs)), [&Action::Adopt(7)]);
    let gone = Seen { is_holder_gone: true, ..theirs };
    assert_eq!(actions(&plan(&wish("IfUnclaimed"), &gone)), [&Action::Adopt(7)]);
    let promised = Seen { record: Some(record("them", 7, Stage::Intended)), ..server() };
    let plan = plan(&wish("Force"), &promised);
    assert!(matches!(plan.claimed, Claimed::Refused(_)), "a name that another is about to use: {plan:?}");
    let forgotten = Seen { record: Some(Record { is_old: true, ..record("them", 7, Stage::Intended) }), ..server() };
    assert_eq!(actions(&self::plan(&wish("Force"), &forgotten)), [&Action::Forget(7)], "a name that nobody is about to use any more");
    assert!(self::plan(&wish("IfUnclaimed"), &forgotten).steps.is_empty());
    let left = Seen { record: Some(record("them", 7, Stage::Held)), ..server() };
    assert_eq!(actions(&self::plan(&wish("Force"), &left)), [&Action::Forget(7)], "the database is gone");
    assert!(self::plan(&wish("IfUnclaimed"), &left).steps.is_empty());
}

#[test]
fn a_database_with_another_oid_is_another_database() {
    for stage in [Stage::Intended, Stage::Held] {
        let seen = Seen { database: Some(database(8)), record: Some(record("us", 7, stage)), ..server() };
        let plan = plan(&wish(json!({})), &seen);
        assert!(matches!(&plan.claimed, Claimed::Refused(refusal) if refusal.reason == "AlreadyExists"), "{plan:?}");
    }
}

#[test]
fn the_end_leaves_what_is_not_ours() {
    let found = |uid: &str, stage| Record { found_as: Some("shop".into()), ..record(uid, 7, stage) };
    let removal = |record: Record| plan_removal(&holder("us"), Some(&record), Some(&database(7)), &[], Manner::default());
    assert_eq!(removal(found("them", Stage::Held)), Removal::Done);
    assert_eq!(removal(found("us", Stage::Retired)), Removal::Done);
    assert_eq!(removal(found("us", Stage::Held)), Removal::Steps(vec![RemovalStep::Drop]));
    assert_eq!(plan_removal(&holder("us"), None, Some(&database(7)), &[], Manner::default()), Removal::Done);
}

#[test]
fn a_database_of_another_name_with_the_number_of_ours_is_not_dropped() {
    for stage in [Stage::Intended, Stage::Held] {
        let removal = |found_as: &str, with_grace| {
            let record = Record { found_as: Some(found_as.into()), ..record("us", 16_400, stage) };
            let closed = Database { allow_connections: false, ..database(16_400) };
            plan_removal(&holder("us"), Some(&record), Some(&closed), &[], Manner { force: true, with_grace })
        };
        for with_grace in [false, true] {
            assert_eq!(removal("payroll", with_grace), Removal::Steps(vec![RemovalStep::Forget]));
        }
        assert_eq!(removal("shop", false), Removal::Steps(vec![RemovalStep::Drop]));
        assert!(matches!(removal("shop~dropped-16400", true), Removal::Steps(steps) if matches!(steps[..], [RemovalStep::Retire(_)])));
    }
}

#[test]
fn force_ends_sessions_and_nothing_else() {
    let record = Record { found_as: Some("shop".into()), ..record("us", 7, Stage::Held) };
    let (session, firm) = (Blocker::Session("session 1".into()), Blocker::Firm("replication slot a".into()));
    let removal = |blockers: &[Blocker], force| {
        plan_removal(&holder("us"), Some(&record), Some(&database(7)), blockers, Manner { force, with_grace: false })
    };
    assert_eq!(removal(std::slice::from_ref(&session), false), Removal::Blocked(vec![session.clone()]));
    assert_eq!(removal(std::slice::from_ref(&session), true), Removal::Steps(vec![RemovalStep::Drop]));
    assert_eq!(removal(std::slice::from_ref(&firm), true), Removal::Blocked(vec![firm]));
}

#[test]
fn a_database_in_use_is_not_closed_to_wait_for_its_end() {
    let removal = |allow_connections, is_closed, sessions: &[Blocker], force| {
        let record = Record { found_as: Some("shop".into()), is_closed, ..record("us", 7, Stage::Held) };
        let database = Database { allow_connections, ..database(7) };
        plan_removal(&holder("us"), Some(&record), Some(&database), sessions, Manner { force, with_grace: true })
    };
    let session = [Blocker::Session("session 1".into())];
    let steps = |step| Removal::Steps(vec![step]);
    assert_eq!(removal(true, false, &[], false), steps(RemovalStep::Close));
    assert_eq!(removal(true, false, &session, false), Removal::Blocked(session.to_vec()));
    assert_eq!(removal(true, false, &session, true), steps(RemovalStep::Close));
    assert_eq!(removal(false, true, &session, false), steps(RemovalStep::Reopen), "somebody came in between");
    assert_eq!(removal(false, false, &session, false), Removal::Blocked(session.to_vec()), "somebody else has closed it");
    assert_eq!(removal(false, true, &session, true), steps(RemovalStep::EndSessions));
    // What nobody can end who isn't let in, and what would hold up the drop in the end.
    let firm = [Blocker::Firm("prepared transaction a".into())];
    for force in [false, true] {
        assert_eq!(removal(true, false, &firm, force), Removal::Blocked(firm.to_vec()));
        assert_eq!(removal(false, true, &firm, force), steps(RemovalStep::Reopen), "it came before the database was closed");
    }
}

#[test]
fn what_was_closed_to_be_dropped_and_stays_is_opened_again() {
    let closed = |is_closed| {
        let database = Database { allow_connections: false, ..database(7) };
        Seen { database: Some(database), record: Some(Record { is_closed, ..record("us", 7, Stage::Held) }), ..server() }
    };
    assert_eq!(actions(&plan(&wish(json!({})), &closed(true))), [&Action::Reopen]);
    assert!(plan(&wish(json!({})), &closed(false)).steps.is_empty(), "somebody else has closed it");
    assert!(plan(&wish(json!({"allowConnections": false})), &closed(true)).steps.is_empty());
}

#[test]
fn a_database_is_closed_after_its_inside_is_done() {
    let mut wish = wish(json!({"allowConnections": false, "connectionLimit": 5}));
    let held = Seen { database: Some(database(7)), record: Some(record("us", 7, Stage::Held)), ..server() };
    let (limit, close) = (Action::Change(Change::ConnectionLimit(5)), Action::Change(Change::AllowConnections(false)));
    assert_eq!(actions(&plan(&wish, &held)), [&limit, &close]);
    wish.is_inside_done = false;
    assert_eq!(actions(&plan(&wish, &held)), [&limit]);
}

#[test]
fn provider_sql_7_cnpg_5698_what_only_creation_can_decide_is_told_and_nothing_is_done() {
    let spec =
        json!({"driftPolicy": "Correct", "creation": {"encoding": "LATIN1", "locale": "C", "localeProvider": "icu", "icuLocale": "de"}});
    let seen = Seen { database: Some(database(7)), record: Some(record("us", 7, Stage::Held)), ..server() };
    let plan = plan(&wish(spec), &seen);
    let fields: Vec<&str> = plan.differences.iter().map(|difference| difference.field.as_str()).collect();
    assert_eq!((plan.steps.len(), fields), (0, vec!["creation.encoding", "creation.localeProvider"]));
}

#[test]
fn what_the_server_takes_without_effect_is_told_after_the_second_time() {
    let wish = wish(json!({"publicPrivileges": []}));
    let granted = Database { privileges: [(String::new(), ["CONNECT".to_owned()].into())].into(), ..database(7) };
    let held = Seen { database: Some(granted), record: Some(record("us", 7, Stage::Held)), ..server() };
    let first = plan(&wish, &held).unless_in_vain(&[]);
    assert_eq!(first.steps.len(), 1);
    let second = plan(&wish, &held).unless_in_vain(&first.steps);
    let refusal = second.refusal.unwrap();
    assert!(second.steps.is_empty() && refusal.reason == "PermissionDenied" && refusal.message.contains("publicPrivileges"), "{refusal:?}");
}

#[test]
fn a_replica_is_left_alone() {
    let mut seen = server();
    seen.server.in_recovery = true;
    let plan = plan(&wish(json!({})), &seen);
    assert_eq!((plan.refusal.unwrap().reason, plan.steps.len()), ("ServerInRecovery", 0));
}

fn privileges() -> impl Strategy<Value = Vec<Privilege>> {
    proptest::sample::subsequence(vec![Privilege::Connect, Privilege::Create, Privilege::Temporary], 0..=3)
}

prop_compose! {
    fn any_wish()(
        owner in any::<Option<bool>>(), limit in proptest::option::of(-1..9_i32), allow in any::<Option<bool>>(),
        template in any::<Option<bool>>(), work_mem in proptest::option::of("[0-9]{1,3}MB"), path in proptest::option::of("[a-c\", ]{0,8}"),
        public in proptest::option::of(privileges()), role in proptest::option::of(privileges()),
        adoption in proptest::sample::select(vec!["Never", "IfUnclaimed", "Force"]), drift in proptest::sample::select(vec!["Observe", "Correct"]),
        encoding in proptest::option::of(proptest::sample::select(vec!["UTF8", "LATIN1"])), applied_to in proptest::option::of(7..9_u32),
        before in proptest::sample::subsequence(vec!["work_mem".to_owned(), "search_path".to_owned()], 0..=2), secret in any::<bool>(),
    ) -> Wish {
        let mut wish = wish(json!({"adoptionPolicy": adoption, "driftPolicy": drift}));
        wish.spec.owner = owner.map(|create| serde_json::from_value(json!({"name": "o", "create": create})).unwrap());
        wish.spec.connection_limit = limit;
        wish.spec.allow_connections = allow;
        wish.spec.is_template = template;
        let parameters = [("work_mem", work_mem), ("search_path", path)];
        wish.spec.parameters = parameters.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        wish.spec.public_privileges = public;
        wish.spec.privileges = role.map(|privileges| RolePrivileges { role: "r".into(), privileges }).into_iter().collect();
        wish.spec.creation = encoding.map(|encoding| serde_json::from_value(json!({"encoding": encoding})).unwrap());
        wish.applied_to = applied_to;
        wish.parameters_before = before;
        wish.digest = secret.then(|| "digest".to_owned());
        wish
    }
}

prop_compose! {
    fn any_world()(
        oid in proptest::option::of(7..9_u32), limit in -1..9_i32, allow in any::<bool>(), template in any::<bool>(),
        holder in proptest::option::of(proptest::sample::select(vec!["us", "them"])), is_gone in any::<bool>(),
        stage in proptest::sample::select(vec![Stage::Intended, Stage::Held]), role in proptest::option::of(any::<(bool, bool)>()),
        made_for in proptest::option::of(proptest::sample::select(vec!["us", "them"])), set in any::<bool>(), granted in privileges(),
        encoding in proptest::sample::select(vec!["UTF8", "LATIN1"]), is_replaced in any::<bool>(), is_closed in any::<bool>(), is_owners_gone in any::<bool>(),
    ) -> Seen {
        let granted: BTreeSet<String> = granted.into_iter().map(|privilege| change::word(privilege).to_owned()).collect();
        let database = oid.map(|oid| Database {
            connection_limit: limit, allow_connections: allow, is_template: template, encoding: encoding.into(),
            parameters: if set { [("work_mem".to_owned(), "1MB".to_owned())].into() } else { BTreeMap::new() },
            privileges: [(String::new(), granted.clone()), ("r".to_owned(), granted)].into(),
            ..database(oid)
        });
        let mut seen = Seen { database, ..server() };
        seen.record = holder.map(|uid| Record { is_closed, ..record(uid, 7, stage) });
        seen.is_holder_gone = is_gone && holder == Some("them");
        seen.is_owner_holder_gone = is_owners_gone && made_for == Some("them");
        seen.roles = role.map(|(is_superuser, is_ours_to_set)| ("o".to_owned(), Role { oid: OWNER, is_superuser, is_ours_to_set })).into_iter().collect();
        seen.owner_record = made_for.map(|uid| RoleRecord { holder: self::holder(uid), oid: Some(if is_replaced { OWNER + 1 } else { OWNER }), digest: None, salt: None });
        seen
    }
}

proptest! {
    #[test]
    fn the_plan_of_an_applied_plan_is_empty(wish in any_wish(), mut seen in any_world()) {
        let plan = settle(&wish, &mut seen);
        let is_observed = wish.drift == DriftPolicy::Observe && wish.applied_to == seen.database.as_ref().map(|database| database.oid);
        if plan.claimed == Claimed::Ours && plan.refusal.is_none() && !is_observed {
            prop_assert!(plan.differences.iter().all(|difference| difference.change.is_none()), "{plan:?}");
            let database = seen.database.unwrap();
            prop_assert!(wish.spec.connection_limit.is_none_or(|limit| limit == database.connection_limit));
            prop_assert!(wish.spec.owner.is_none_or(|owner| owner.name == database.owner));
        }
    }

    #[test]
    fn what_is_not_ours_is_never_touched(wish in any_wish(), mut seen in any_world()) {
        let before = seen.clone();
        let plan = settle(&wish, &mut seen);
        let is_theirs = before.record.as_ref().is_some_and(|record| !record.holder.is(&wish.us)) && !before.is_holder_gone;
        if is_theirs && wish.adoption < AdoptionPolicy::Force || before.record.is_none() && before.database.is_some() && wish.adoption == AdoptionPolicy::Never {
            prop_assert_eq!(&seen.database, &before.database);
            prop_assert_eq!(&seen.record, &before.record);
            prop_assert!(plan.claimed != Claimed::Ours);
        }
        let is_made_for_us = |made: &RoleRecord| made.holder.is(&wish.us) && made.oid == Some(OWNER);
        if let Some(role) = before.roles.get("o").filter(|_| !seen.owner_record.as_ref().is_some_and(is_made_for_us)) {
            prop_assert_eq!(seen.roles.get("o"), Some(role), "a role that was not made for us is left as it is");
        }
        if before.owner_record.as_ref().is_some_and(|made| !made.holder.is(&wish.us)) && wish.adoption == AdoptionPolicy::Never && before.roles.contains_key("o") {
            prop_assert_eq!(&seen.owner_record, &before.owner_record, "nor is it taken over");
        }
    }
}
