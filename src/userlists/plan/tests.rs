use jiff::Timestamp;
use secrecy::ExposeSecret;

use super::*;
use crate::userlists::grammar::Password;

const HERE: &str = "pooler";

fn name(text: &str) -> UserName {
    UserName::new(text).unwrap()
}

fn users(entries: &[(&str, &str)]) -> Users {
    entries.iter().map(|(user, password)| (name(user), Password::new(password).unwrap())).collect()
}

/// A Secret of this namespace, made at this second, with a user and their password.
fn secret(secret: &str, second: i64, user: &str, password: &str) -> SourceSecret {
    SourceSecret {
        namespace: HERE.to_owned(),
        name: secret.to_owned(),
        created: Some(Timestamp::from_second(second).unwrap()),
        shared_with: Vec::new(),
        users: vec![Ok(Credentials { name: name(user), password: Password::new(password).unwrap(), verifier: RoleVerifier::Unknown })],
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
    plan(found, Reserved::default(), &Forms::default(), &users(before), &BTreeSet::new())
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
    let reserved = Reserved { admin: Some("admin"), probe: Some("probe") };
    let plan = plan(&found(secrets), reserved, &Forms::default(), &Users::new(), &BTreeSet::new());
    assert!(plan.users.is_empty());
    let reasons: Vec<&str> = plan.skipped.iter().map(|skipped| skipped.reason.as_str()).collect();
    assert!(reasons[0].contains("probeUser") && reasons[1].contains("user of the console"), "{reasons:?}");
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
    let later = plan(&found(vec![secret("b", 1, "b", "1")]), Reserved::default(), &Forms::default(), &gone.users, &gone.removed);
    assert_eq!(removed(&later), ["a"], "as long as some pooler may remember them");
    let back = plan(&found(vec![secret("a", 2, "a", "2")]), Reserved::default(), &Forms::default(), &later.users, &later.removed);
    assert_eq!((list(&back), removed(&back)), (vec!["a=2".to_owned()], vec!["b"]));
}

#[test]
fn the_plan_of_an_applied_plan_changes_nothing() {
    let found = found(vec![secret("a", 1, "a", "1"), bad(secret("b", 1, "b", "1"), Some("b"))]);
    let first = planned(&found, &[("b", "old"), ("gone", "1")]);
    let second = plan(&found, Reserved::default(), &Forms::default(), &first.users, &first.removed);
    assert_eq!((list(&second), removed(&second)), (list(&first), removed(&first)));
}

#[test]
fn the_probe_is_no_user_who_could_be_removed_or_kept() {
    let reserved = Reserved { admin: None, probe: Some("probe") };
    let mut found = found(vec![secret("a", 1, "a", "1")]);
    for is_complete in [true, false] {
        found.is_complete = is_complete;
        let plan = plan(&found, reserved, &Forms::default(), &users(&[("a", "1"), ("probe", "x")]), &BTreeSet::new());
        assert_eq!((list(&plan), removed(&plan)), (vec!["a=1".to_owned()], vec![]), "{is_complete}");
    }
}

#[test]
fn a_hash_that_can_sign_in_nowhere_leaves_its_user_the_password_from_before() {
    let spec = serde_json::json!({"selector": {"matchLabels": {"a": "b"}}, "output": {"name": "list"}, "authType": "scram-sha-256"});
    let spec = serde_json::from_value(spec).unwrap();
    let found = found(vec![secret("a", 1, "a", &format!("md5{}", "0".repeat(32))), secret("b", 1, "b", "1")]);
    let plan = plan(&found, Reserved::default(), &Forms::new(&spec), &users(&[("a", "before")]), &BTreeSet::new());
    assert_eq!(list(&plan), ["a=before", "b=1"]);
    assert!(plan.skipped[0].reason.contains("authType: md5"), "{:?}", plan.skipped);
}
