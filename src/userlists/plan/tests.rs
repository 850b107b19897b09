use jiff::Timestamp;
use secrecy::ExposeSecret;

use super::{
    contents::{DigestKey, KEY_LENGTH, contents},
    *,
};
use crate::{
    postgres::scram::{Salt, Verifier},
    userlists::{grammar::Password, origins, verifiers::Verifiers},
};

const HERE: &str = "pooler";

fn name(text: &str) -> UserName {
    UserName::new(text).unwrap()
}

fn users(entries: &[(&str, &str)]) -> Users {
    entries.iter().map(|(user, password)| (name(user), Password::new(password).unwrap())).collect()
}

fn credentials(user: &str, password: &str) -> Credentials {
    Credentials { name: name(user), password: Password::new(password).unwrap(), verifier: RoleVerifier::Unknown }
}

/// A Secret of this namespace, made at this second, with a user and their password.
fn secret(secret: &str, second: i64, user: &str, password: &str) -> SourceSecret {
    SourceSecret {
        namespace: HERE.to_owned(),
        name: secret.to_owned(),
        created: Some(Timestamp::from_second(second).unwrap()),
        shared_with: Vec::new(),
        users: vec![Ok(credentials(user, password))],
    }
}

fn elsewhere(mut secret: SourceSecret, shared_with: &[&str]) -> SourceSecret {
    secret.namespace = "team".to_owned();
    secret.shared_with = shared_with.iter().map(|namespace| (*namespace).to_owned()).collect();
    secret
}

/// A Secret that says nothing useful, perhaps but its user's name.
fn bad(mut secret: SourceSecret, user: Option<&str>) -> SourceSecret {
    secret.users = vec![Err(Unusable { user: user.map(name), reason: "its password is empty".to_owned() })];
    secret
}

fn found(secrets: Vec<SourceSecret>) -> Found {
    Found { namespace: HERE.to_owned(), extra: None, secrets: secrets.into_iter().map(Arc::new).collect(), is_complete: true }
}

fn planned(found: &Found, before: &[(&str, &str)]) -> Plan {
    planned_after(found, &Past { users: users(before), ..Past::default() })
}

fn planned_after(found: &Found, past: &Past) -> Plan {
    plan(found, Reserved::default(), &Forms::default(), past)
}

fn next(found: &Found, before: &Plan) -> Plan {
    let Plan { users, removed, origins, .. } = before;
    planned_after(found, &Past { users: users.clone(), removed: removed.clone(), origins: origins.clone() })
}

fn list(plan: &Plan) -> Vec<String> {
    plan.users.iter().map(|(user, password)| format!("{user}={}", password.expose_secret())).collect()
}

fn removed(plan: &Plan) -> Vec<&str> {
    plan.removed.iter().map(UserName::as_str).collect()
}

#[test]
fn qs_pgbouncer_p3_of_several_secrets_for_a_user_the_oldest_counts_and_the_others_are_named() {
    let secrets = vec![secret("young", 9, "a", "2"), secret("old", 1, "a", "1"), secret("same", 5, "a", "1")];
    let plan = planned(&found(secrets), &[]);
    assert_eq!(list(&plan), ["a=1"]);
    assert_eq!(plan.skipped.len(), 1, "two that agree don't matter: {:?}", plan.skipped);
    assert!(plan.skipped[0].name == "young" && plan.skipped[0].reason.contains("pooler/old"), "{:?}", plan.skipped);
}

#[test]
fn nobody_takes_over_a_user_from_another_namespace() {
    let secrets = vec![elsewhere(secret("theirs", 1, "a", "2"), &[HERE]), secret("ours", 9, "a", "1")];
    assert_eq!(list(&planned(&found(secrets), &[])), ["a=1"]);
}

#[test]
fn extra_users_count_before_all_others() {
    let mut found = found(vec![secret("labelled", 1, "a", "1"), secret("other", 1, "b", "1")]);
    found.extra = Some(Arc::new(secret("extra", 9, "a", "2")));
    assert_eq!(list(&planned(&found, &[])), ["a=2", "b=1"]);
}

#[test]
fn secrets_elsewhere_are_used_only_where_they_say_so_and_are_not_spoken_of_otherwise() {
    let secrets = vec![
        elsewhere(secret("silent", 1, "a", "1"), &[]),
        elsewhere(secret("for-others", 1, "b", "1"), &["another"]),
        elsewhere(secret("shared", 1, "c", "1"), &["another", HERE]),
    ];
    let plan = planned(&found(secrets), &[]);
    assert_eq!(list(&plan), ["c=1"]);
    assert!(plan.skipped.is_empty(), "whoever chooses labels learns nothing of Secrets elsewhere: {:?}", plan.skipped);
}

#[test]
fn the_console_s_user_comes_from_this_namespace_alone_and_the_probe_s_from_none() {
    let secrets = vec![elsewhere(secret("theirs", 1, "admin", "1"), &[HERE]), secret("probe", 1, "probe", "1")];
    let reserved = Reserved { admin: Some("admin"), probe: Some("probe"), own: &[] };
    let plan = plan(&found(secrets), reserved, &Forms::default(), &Past::default());
    assert!(plan.users.is_empty());
    let reasons: Vec<&str> = plan.skipped.iter().map(|skipped| skipped.reason.as_str()).collect();
    assert!(reasons[0].contains("probeUser") && reasons[1].contains("user of the console"), "{reasons:?}");
}

#[test]
fn a_reserved_user_comes_from_this_namespace_alone() {
    let own = ["statistics".to_owned()];
    let reserved = Reserved { own: &own, ..Reserved::default() };
    let theirs = elsewhere(secret("theirs", 1, "statistics", "1"), &[HERE]);
    let plan_of = |secrets| plan(&found(secrets), reserved, &Forms::default(), &Past::default());
    let refused = plan_of(vec![theirs.clone()]);
    assert!(refused.users.is_empty() && refused.skipped[0].reason.contains("reservedUsers"), "{:?}", refused.skipped);
    assert_eq!(list(&plan_of(vec![theirs, secret("ours", 9, "statistics", "2")])), ["statistics=2"]);
}

#[test]
fn a_user_who_is_reserved_later_keeps_no_password_of_another_namespace() {
    let theirs = elsewhere(secret("theirs", 1, "ops", "theirs"), &[HERE]);
    let first = planned(&found(vec![theirs.clone()]), &[]);
    assert_eq!(list(&first), ["ops=theirs"]);
    let past = Past { users: first.users, origins: first.origins, ..Past::default() };
    let own = ["ops".to_owned()];
    let bad_own = bad(secret("ours", 9, "ops", "x"), Some("ops"));
    for reserved in [Reserved { admin: Some("ops"), ..Reserved::default() }, Reserved { own: &own, ..Reserved::default() }] {
        for (what, secrets, is_complete) in [
            ("its Secret is good", vec![theirs.clone()], true),
            ("its Secret can't be used", vec![bad(theirs.clone(), Some("ops"))], true),
            ("its Secret says nothing", vec![bad(theirs.clone(), None)], true),
            ("ours can't be used", vec![theirs.clone(), bad_own.clone()], true),
            ("its Secret may only be unseen", vec![], false),
        ] {
            let found = Found { is_complete, ..found(secrets) };
            let plan = plan(&found, reserved, &Forms::default(), &past);
            assert_eq!((list(&plan), removed(&plan)), (vec![], vec!["ops"]), "{what}");
        }
    }
    let ours = Past {
        users: users(&[("ops", "ours")]),
        origins: planned(&found(vec![secret("ours", 9, "ops", "ours")]), &[]).origins,
        ..Past::default()
    };
    let reserved = Reserved { admin: Some("ops"), ..Reserved::default() };
    assert_eq!(
        list(&plan(&found(vec![bad_own]), reserved, &Forms::default(), &ours)),
        ["ops=ours"],
        "our own bad Secret costs nobody anything"
    );
}

#[test]
fn qs_pgbouncer_p8_who_may_only_be_unseen_keeps_what_they_have() {
    let mut found = found(vec![secret("a", 1, "a", "new")]);
    found.is_complete = false;
    let plan = planned(&found, &[("a", "old"), ("b", "1")]);
    assert_eq!(list(&plan), ["a=new", "b=1"]);
    assert!(plan.removed.is_empty());
}

#[test]
fn a_bad_secret_costs_nobody_their_login() {
    let secrets = vec![bad(secret("bad", 1, "x", "x"), Some("a")), bad(secret("nameless", 1, "x", "x"), None), secret("b", 1, "b", "1")];
    let plan = planned(&found(secrets), &[("a", "before")]);
    assert_eq!(list(&plan), ["a=before", "b=1"], "its user has the password from before, and everybody else theirs");
    assert_eq!(plan.skipped.len(), 2);
    assert!(plan.removed.is_empty());
}

#[test]
fn who_is_gone_is_removed_until_they_are_back() {
    let gone = planned(&found(vec![secret("b", 1, "b", "1")]), &[("a", "1"), ("b", "1")]);
    assert_eq!((list(&gone), removed(&gone)), (vec!["b=1".to_owned()], vec!["a"]));
    let later = next(&found(vec![secret("b", 1, "b", "1")]), &gone);
    assert_eq!(removed(&later), ["a"], "as long as some pooler may remember them");
    let back = next(&found(vec![secret("a", 2, "a", "2")]), &later);
    assert_eq!((list(&back), removed(&back)), (vec!["a=2".to_owned()], vec!["b"]));
}

#[test]
fn the_plan_of_an_applied_plan_changes_nothing() {
    let found = found(vec![secret("a", 1, "a", "1"), bad(secret("b", 1, "b", "1"), Some("b"))]);
    let first = planned(&found, &[("b", "old"), ("gone", "1")]);
    let second = next(&found, &first);
    assert_eq!((list(&second), removed(&second)), (list(&first), removed(&first)));
}

#[test]
fn the_probe_is_no_user_who_could_be_removed_or_kept() {
    let reserved = Reserved { admin: None, probe: Some("probe"), own: &[] };
    let mut found = found(vec![secret("a", 1, "a", "1")]);
    for is_complete in [true, false] {
        found.is_complete = is_complete;
        let past = Past { users: users(&[("a", "1"), ("probe", "x")]), ..Past::default() };
        let plan = plan(&found, reserved, &Forms::default(), &past);
        assert_eq!((list(&plan), removed(&plan)), (vec!["a=1".to_owned()], vec![]), "{is_complete}");
    }
}

#[test]
fn a_hash_that_can_sign_in_nowhere_leaves_its_user_the_password_from_before() {
    let spec = serde_json::json!({"selector": {"matchLabels": {"a": "b"}}, "output": {"name": "list"}, "authType": "scram-sha-256"});
    let spec = serde_json::from_value(spec).unwrap();
    let found = found(vec![secret("a", 1, "a", &format!("md5{}", "0".repeat(32))), secret("b", 1, "b", "1")]);
    let past = Past { users: users(&[("a", "before")]), ..Past::default() };
    let plan = plan(&found, Reserved::default(), &Forms::new(&spec), &past);
    assert_eq!(list(&plan), ["a=before", "b=1"]);
    assert!(plan.skipped[0].reason.contains("authType: md5"), "{:?}", plan.skipped);
}

#[test]
fn a_user_of_one_foreign_namespace_is_never_another_s_whatever_becomes_of_their_secret() {
    let team = |password| elsewhere(secret("app", 5, "app", password), &[HERE]);
    let mut rival = elsewhere(secret("older", 1, "other", "x"), &[HERE]);
    rival.namespace = "rival".to_owned();
    let first = planned(&found(vec![team("1"), rival.clone()]), &[]);
    rival.users = vec![Ok(credentials("app", "theirs"))];
    for (what, secrets, expected, gone) in [
        ("both give it, and the rival's Secret is older", vec![team("1"), rival.clone()], vec!["app=1"], vec!["other"]),
        ("its Secret can't be used", vec![bad(team("1"), Some("app")), rival.clone()], vec!["app=1"], vec!["other"]),
        ("its Secret says nothing", vec![bad(team("1"), None), rival.clone()], vec!["app=1"], vec!["other"]),
        ("its Secret is deleted", vec![rival.clone()], vec![], vec!["app", "other"]),
    ] {
        let next = next(&found(secrets), &first);
        assert_eq!((list(&next), removed(&next)), (expected.iter().map(ToString::to_string).collect(), gone), "{what}");
        let refused = next.skipped.iter().find(|skipped| skipped.namespace == "rival").unwrap();
        assert!(refused.reason.contains("is of namespace team"), "{what}: {refused:?}");
    }
    let without = next(&found(vec![rival.clone()]), &first);
    let still = next(&found(vec![rival.clone()]), &without);
    assert_eq!((list(&still), removed(&still)), (vec![], vec!["app", "other"]), "nor later");
    let mine = next(&found(vec![rival, secret("mine", 9, "app", "ours")]), &still);
    assert_eq!(list(&mine), ["app=ours"], "the list's own namespace decides");
}

#[test]
fn who_gave_a_user_stays_before_older_secrets_of_their_namespace() {
    let first = planned(&found(vec![secret("young", 9, "a", "1")]), &[]);
    let restored = next(&found(vec![secret("old", 1, "a", "2"), secret("young", 9, "a", "1")]), &first);
    assert_eq!(list(&restored), ["a=1"]);
    assert!(restored.skipped[0].name == "old", "{:?}", restored.skipped);
}

#[test]
fn a_secret_that_says_nothing_any_more_costs_those_whom_it_gave_nothing() {
    let mut found = found(vec![secret("a", 1, "a", "1"), secret("b", 1, "b", "1"), secret("c", 1, "c", "1")]);
    let mut extra = secret("extra", 1, "x", "1");
    extra.users.push(Ok(credentials("y", "1")));
    found.extra = Some(Arc::new(extra.clone()));
    let first = planned(&found, &[]);
    assert_eq!(list(&first), ["a=1", "b=1", "c=1", "x=1", "y=1"]);
    let nameless = || Err(Unusable { user: None, reason: "line 2: it is not...".to_owned() });
    extra.users = vec![Ok(credentials("x", "2")), nameless()];
    found.extra = Some(Arc::new(extra));
    found.secrets = vec![Arc::new(bad(secret("a", 1, "a", "1"), None)), Arc::new(secret("c", 1, "c", "1"))];
    let second = next(&found, &first);
    assert_eq!((list(&second), removed(&second)), (vec!["a=1", "c=1", "x=2", "y=1"].into_iter().map(str::to_owned).collect(), vec!["b"]));
    let third = next(&found, &second);
    assert_eq!((list(&third), third.skipped.len()), (list(&second), 2), "and it stays so");
}

#[test]
fn what_does_not_fit_is_left_out_and_named_and_costs_nobody_else_anything() {
    let long = |letter: &str| letter.repeat(2000);
    let many =
        |password: &str| (0..480).map(|n| elsewhere(secret(&format!("s{n}"), 1, &format!("u{n}"), password), &[HERE])).collect::<Vec<_>>();
    let mut secrets = many(&long("a"));
    secrets.push(secret("own", 9, "own", "1"));
    let first = planned(&found(secrets.clone()), &[]);
    assert_eq!((first.users.len(), first.skipped.len()), (481, 0));
    secrets.extend((480..600).map(|n| elsewhere(secret(&format!("s{n}"), 1, &format!("u{n}"), &long("b")), &[HERE])));
    secrets.retain(|secret| secret.name != "own");
    secrets.push(secret("own", 9, "own", "rotated"));
    let second = next(&found(secrets), &first);
    assert!(list(&second).contains(&"own=rotated".to_owned()));
    assert!(first.users.keys().all(|user| second.users.contains_key(user)));
    assert_eq!(second.users.len() + second.skipped.len(), 601);
    assert!(!second.skipped.is_empty() && second.skipped.iter().all(|skipped| skipped.reason.contains("no room")), "{:?}", second.skipped);
}

/// What a list of these users has with all that is remembered of it.
fn length(plan: &Plan) -> usize {
    let key = DigestKey::new(&[1; KEY_LENGTH]);
    let contents = contents(plan, &plan.removed, None, &key).unwrap();
    let names = plan.users.keys().chain(&plan.removed);
    let origins = origins::render(names.cloned(), &plan.origins, HERE);
    let removed: usize = plan.removed.iter().map(|name| name.as_str().len() + 1).sum();
    contents.list.expose_secret().len() + origins.len() + removed
}

/// A full list, most of whose entries are short.
fn full(role: &RoleVerifier) -> Vec<SourceSecret> {
    let long = (0..440).map(|n| secret(&format!("long{n}"), 1, &format!("long{n}"), &"p".repeat(2000)));
    let short = (0..1300).map(|n| {
        let mut secret = secret(&format!("short{n}"), 2, &format!("u{n}"), "secret");
        secret.users = vec![Ok(Credentials { verifier: role.clone(), ..credentials(&format!("u{n}"), "secret") })];
        secret
    });
    long.chain(short).collect()
}

#[tokio::test]
async fn a_list_of_verifiers_keeps_to_its_room_and_so_does_the_next_one() {
    let spec = serde_json::json!({"selector": {"matchLabels": {"a": "b"}}, "output": {"name": "list"}, "storedForm": "Verifier"});
    let spec = serde_json::from_value(spec).unwrap();
    let forms = Forms::new(&spec);
    let verifier = Verifier::new("secret", Salt::random().unwrap());
    let found = found(full(&RoleVerifier::Given(Password::new(verifier.as_str()).unwrap())));
    let (mut verifiers, mut past) = (Verifiers::default(), Past::default());
    for turn in ["first", "next"] {
        let mut plan = plan(&found, Reserved::default(), &forms, &past);
        verifiers.put_into(&mut plan, &forms, &past.users).await;
        assert_eq!(plan.users.len() + plan.skipped.len(), 1740, "{turn}");
        assert!(!plan.skipped.is_empty() && length(&plan) <= CAPACITY, "{turn}: {} {}", plan.skipped.len(), length(&plan));
        past = Past { users: plan.users, origins: plan.origins, ..Past::default() };
    }
}

#[test]
fn whoever_is_in_a_full_list_can_be_removed_from_it() {
    let mut found = found(full(&RoleVerifier::Unknown));
    let first = planned(&found, &[]);
    assert!(!first.skipped.is_empty());
    found.secrets.retain(|secret| secret.name.starts_with("long"));
    let second = next(&found, &first);
    assert!(second.removed.len() > 700 && second.skipped.is_empty(), "{}", second.removed.len());
    assert!(length(&second) <= CAPACITY, "{}", length(&second));
}
