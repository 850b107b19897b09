//! What is inside a database, and what goes further than an owner's rights.

use super::*;

#[test]
fn hoppscale_5_cnpg_9953_extensions_that_are_not_named_stay() {
    let inner = Inner { installed: [("plpgsql".to_owned(), Installed::default())].into(), ..Inner::default() };
    let plan = plan_inner(&wish(json!({})), &server(), &database(7), &inner);
    assert_eq!((plan.steps.len(), plan.differences.len()), (0, 0));
}

fn allowing(extensions: &[&str], parameters: &[&str], grantees: &[&str]) -> Allowance {
    let [extensions, parameters, grantees] =
        [extensions, parameters, grantees].map(|patterns| patterns.iter().map(ToString::to_string).collect());
    Allowance { extensions, grantees, parameters, ..Allowance::default() }
}

/// The reason why it is refused, or how many steps there are.
fn inside(wish: &Wish, inner: &Inner) -> Result<usize, &'static str> {
    let root = Seen { server: Server { is_superuser: true, user: "root".into(), ..server().server }, ..server() };
    let plan = plan_inner(wish, &root, &database(7), inner);
    plan.refusal.map_or(Ok(plan.steps.len()), |refusal| Err(refusal.reason))
}

#[test]
fn an_extension_that_an_owner_could_not_install_needs_consent() {
    let mut wish = wish(json!({"extensions": [{"name": "dblink"}]}));
    let inner = Inner { available: [("dblink".to_owned(), Available::default())].into(), ..Inner::default() };
    assert_eq!(inside(&wish, &inner), Err("NotAllowed"));
    wish.consent = vec![allowing(&["db*"], &[], &[])];
    assert_eq!(inside(&wish, &inner), Ok(1));
    assert_eq!(inside(&wish, &Inner::default()), Err("ExtensionUnavailable"));
}

#[test]
fn what_somebody_with_more_rights_has_installed_is_neither_dropped_nor_moved_without_consent() {
    let installed = Installed { schema: "public".into(), is_relocatable: true, ..Installed::default() };
    for fields in [json!({"name": "pgaudit", "ensure": "Absent"}), json!({"name": "pgaudit", "schema": "app"})] {
        let mut wish = wish(json!({"extensions": [fields]}));
        let mut inner = Inner {
            installed: [("pgaudit".to_owned(), installed.clone())].into(),
            available: [("pgaudit".to_owned(), Available::default())].into(),
            ..Inner::default()
        };
        assert_eq!(inside(&wish, &inner), Err("NotAllowed"), "{fields}");
        wish.consent = vec![allowing(&["pgaudit"], &[], &[])];
        assert_eq!(inside(&wish, &inner), Ok(1), "{fields}");
        wish.consent.clear();
        inner.available.insert("pgaudit".to_owned(), Available { is_harmless: true, schema: None });
        assert_eq!(inside(&wish, &inner), Ok(1), "an owner could do it: {fields}");
    }
}

#[test]
fn a_schema_of_somebody_else_is_left_alone() {
    for fields in [
        json!({"name": "audit", "owner": "tenant"}),
        json!({"name": "audit", "ensure": "Absent"}),
        json!({"name": "audit", "owner": "dba", "privileges": [{"role": "tenant", "privileges": ["Usage"]}]}),
    ] {
        let mut wish = wish(json!({"schemas": [fields.clone()]}));
        let of = |owner: &str| Inner {
            schemas: [("audit".to_owned(), Schema { owner: owner.into(), ..Schema::default() })].into(),
            ..Inner::default()
        };
        let is_wanted = fields["owner"] == "dba";
        assert_eq!(inside(&wish, &of("root")), Err("NotAllowed"), "{fields}");
        assert_eq!(inside(&wish, &of("dba")).is_ok(), is_wanted, "{fields}");
        let of_superuser = Inner { superusers: ["dba".to_owned()].into(), ..of("dba") };
        assert_eq!(inside(&wish, &of_superuser), Err("NotAllowed"), "whoever writes a superuser's name has no rights by it: {fields}");
        assert!(inside(&wish, &of("postgres")).is_ok() && inside(&wish, &of("pg_database_owner")).is_ok(), "the database's owner's");
        wish.consent = vec![allowing(&[], &[], &["*"])];
        assert_eq!(inside(&wish, &of("root")), Err("NotAllowed"), "{fields}");
        wish.consent = vec![allowing(&[], &[], &["ro*"])];
        assert!(inside(&wish, &of("root")).is_ok(), "{fields}");
        // Changes by hand are told, not refused.
        wish.applied_to = Some(7);
        wish.consent.clear();
        assert_eq!(inside(&wish, &of("root")), Ok(0));
    }
}

#[test]
fn a_superuser_gets_no_schema() {
    let mut wish = wish(json!({"schemas": [{"name": "audit", "owner": "dba"}]}));
    wish.consent = vec![allowing(&[], &[], &["dba", "tenant"])];
    let superusers = BTreeSet::from(["dba".to_owned()]);
    assert_eq!(inside(&wish, &Inner { superusers: superusers.clone(), ..Inner::default() }), Err("OwnerRefused"), "a new one");
    for owner in ["tenant", "postgres"] {
        let schemas = [("audit".to_owned(), Schema { owner: owner.into(), ..Schema::default() })].into();
        assert_eq!(inside(&wish, &Inner { schemas, superusers: superusers.clone(), ..Inner::default() }), Err("OwnerRefused"), "{owner}'s");
    }
    assert_eq!(inside(&wish, &Inner::default()), Ok(1), "who is none");
}

#[test]
fn a_parameter_that_an_owner_could_not_set_is_not_reset_without_consent() {
    let mut wish = wish(json!({}));
    let set = |name: &str| {
        let parameters = [(name.to_owned(), "ddl".to_owned())].into();
        Seen { database: Some(Database { parameters, ..database(7) }), record: Some(record("us", 7, Stage::Held)), ..server() }
    };
    let resets = |wish: &Wish, name: &str| {
        let plan = plan(wish, &set(name));
        assert_eq!(plan.differences.len() + plan.steps.len(), 1, "told or done: {plan:?}");
        !plan.steps.is_empty()
    };
    // What was asked for before need not have been set.
    wish.parameters_before = ["log_statement", "work_mem", "role", "my.own"].map(ToOwned::to_owned).into();
    assert!(resets(&wish, "work_mem"), "everybody may set it");
    assert!(!resets(&wish, "log_statement") && !resets(&wish, "my.own"));
    wish.consent = vec![allowing(&[], &["log_*"], &[])];
    assert!(resets(&wish, "log_statement") && !resets(&wish, "my.own"));
    wish.consent = vec![allowing(&[], &["*"], &[])];
    assert!(resets(&wish, "my.own") && !resets(&wish, "role"), "whoever allows all didn't mean that");
}

#[test]
fn one_entry_must_fit_all_that_is_asked_for() {
    let mut wish = wish(json!({"parameters": {"log_statement": "none", "log_lock_waits": "on"}, "extensions": [{"name": "dblink"}]}));
    wish.consent = vec![allowing(&[], &["log_statement"], &[]), allowing(&["dblink"], &["log_lock_waits"], &[])];
    assert_eq!(plan(&wish, &server()).refusal.unwrap().reason, "NotAllowed");
    wish.consent = vec![allowing(&[], &["log_*"], &[]), allowing(&["dblink"], &[], &[])];
    assert!(plan(&wish, &server()).refusal.is_none());
    let inner = Inner { available: [("dblink".to_owned(), Available::default())].into(), ..Inner::default() };
    assert_eq!(inside(&wish, &inner), Err("NotAllowed"));
    wish.consent = vec![allowing(&["dblink"], &["log_*"], &[])];
    assert_eq!(inside(&wish, &inner), Ok(1));
    // Neither may they be asked for one after the other.
    wish.spec.parameters.clear();
    wish.spec.extensions = ["dblink", "file_fdw"].map(|name| serde_json::from_value(json!({"name": name})).unwrap()).into();
    wish.consent = vec![allowing(&["dblink"], &[], &[]), allowing(&["file_fdw"], &[], &[])];
    let second = Inner {
        available: ["dblink", "file_fdw"].map(|name| (name.to_owned(), Available::default())).into(),
        installed: [("dblink".to_owned(), Installed::default())].into(),
        ..Inner::default()
    };
    assert_eq!(inside(&wish, &second), Err("NotAllowed"));
}

#[test]
fn parameters_that_not_everybody_may_set_need_consent() {
    let mut wish = wish(json!({"parameters": {"log_statement": "none"}}));
    assert_eq!(plan(&wish, &server()).refusal.unwrap().reason, "NotAllowed");
    wish.consent = vec![Allowance { parameters: vec!["log_*".into()], ..Allowance::default() }];
    assert_eq!(actions(&plan(&wish, &server())).first(), Some(&&Action::Intend(7)));
    wish.spec.parameters = [("ROLE".to_owned(), "x".to_owned())].into();
    wish.consent = vec![Allowance { parameters: vec!["*".into()], ..Allowance::default() }];
    assert_eq!(plan(&wish, &server()).refusal.unwrap().reason, "NotAllowed", "whoever allows all didn't mean that");
}
