#![allow(clippy::needless_pass_by_value, reason = "a table reads better without a & before each object")]

use serde_json::{Value, json};

use super::*;

fn claim(namespace: &str, name: &str) -> Claim {
    Claim { namespace: namespace.into(), name: name.into(), server: "main".into(), database: "shop".into(), ..Claim::default() }
}

/// A server that allows everything to everybody, but not to take over what exists.
fn server(allow: Value) -> Server {
    let object = json!({ "metadata": { "name": "main" }, "spec": { "host": "db", "allow": allow, "fromTheFuture": {} } });
    Server::from_json(object.to_string().as_bytes()).unwrap()
}

fn known(allow: Value, claims: impl IntoIterator<Item = Claim>) -> Inventory {
    let mut known = Inventory::default();
    known.add_server(server(allow));
    claims.into_iter().for_each(|claim| known.add_claim(claim));
    known
}

fn all() -> Value {
    json!([{ "namespaces": ["*"] }])
}

fn fields(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.field.as_str()).collect()
}

#[test]
fn cnpg_10866_an_established_claim_in_any_namespace_wins() {
    let holder = Claim { established: true, ..claim("b", "shop") };
    let verdict = validate(&claim("a", "shop"), &known(all(), [claim("a", "shop"), holder]));
    assert_eq!(fields(&verdict.denials), ["spec.name"]);
    assert!(verdict.denials[0].message.contains("PgDatabase shop in namespace b"), "{}", verdict.denials[0]);
}

#[test]
fn what_belongs_to_somebody_is_taken_over_by_force_where_that_is_allowed() {
    let holder = Claim { established: true, ..claim("b", "shop") };
    let asked = |adoption| Claim { adoption: Some(adoption), ..claim("a", "shop") };
    let allow = || json!([{ "namespaces": ["*"], "adoption": "Force" }]);
    let verdict = validate(&asked(AdoptionPolicy::Force), &known(allow(), [holder.clone()]));
    assert!(verdict.is_allowed(), "{verdict:?}");
    assert!(verdict.warnings[0].message.contains("is taken from it"), "{verdict:?}");
    let verdict = validate(&asked(AdoptionPolicy::IfUnclaimed), &known(allow(), [holder.clone()]));
    assert_eq!(fields(&verdict.denials), ["spec.name"]);
    let verdict = validate(&asked(AdoptionPolicy::Force), &known(all(), [holder]));
    assert_eq!(fields(&verdict.denials), ["spec.adoptionPolicy"], "nobody allows it");
}

#[test]
fn who_is_without_a_database_does_not_keep_its_name() {
    let absent = Claim { ensure: Ensure::Absent, ..claim("b", "shop") };
    assert_eq!(validate(&claim("a", "shop"), &known(all(), [absent.clone()])), Verdict::default());
    let not_yet = Claim { established: true, ..absent };
    assert_eq!(fields(&validate(&claim("a", "shop"), &known(all(), [not_yet])).denials), ["spec.name"], "it isn't gone yet");
}

#[test]
fn an_object_is_not_its_own_rival() {
    let own = Claim { established: true, ..claim("a", "shop") };
    assert_eq!(validate(&own, &known(all(), [own.clone()])), Verdict::default());
}

#[test]
fn a_claim_that_is_going_or_not_established_does_not_refuse_others() {
    let going = Claim { established: true, deleting: true, ..claim("b", "shop") };
    assert_eq!(validate(&claim("a", "shop"), &known(all(), [going])), Verdict::default());
    let verdict = validate(&claim("a", "shop"), &known(all(), [claim("b", "shop")]));
    assert!(verdict.is_allowed());
    assert_eq!(fields(&verdict.warnings), ["spec.name"]);
}

#[test]
fn the_holder_is_not_warned_of_those_that_come_later() {
    let holder = Claim { established: true, ..claim("a", "shop") };
    assert_eq!(validate(&holder, &known(all(), [holder.clone(), claim("b", "shop")])), Verdict::default());
}

#[test]
fn another_database_or_another_server_is_no_rival() {
    let other_database = Claim { database: "Shop".into(), established: true, ..claim("b", "x") };
    let other_server = Claim { server: "other".into(), established: true, ..claim("b", "y") };
    assert_eq!(validate(&claim("a", "shop"), &known(all(), [other_database, other_server])), Verdict::default());
}

#[test]
fn an_object_that_is_going_can_always_lose_its_finalizers() {
    let going = Claim { deleting: true, ..claim("a", "shop") };
    let holder = Claim { established: true, ..claim("b", "shop") };
    assert_eq!(validate(&going, &known(json!([]), [holder])), Verdict::default());
}

#[test]
fn an_absent_server_is_a_warning() {
    let verdict = validate(&claim("a", "shop"), &Inventory::default());
    assert!(verdict.is_allowed());
    assert_eq!(fields(&verdict.warnings), ["spec.server"]);
}

#[test]
fn consent_names_the_first_part_that_no_entry_allows() {
    let allow = json!([
        { "namespaces": ["team-a"], "databases": ["a_*"], "owners": ["a_*"] },
        { "namespaces": ["team-*"], "databases": ["shared"], "adoption": "IfUnclaimed" },
    ]);
    let owner = |name: &str| Some(Owner { name: name.into(), create: true });
    let asks = |namespace: &str, database: &str| Claim { database: database.into(), ..claim(namespace, "x") };
    for (asked, refused) in [
        (asks("team-a", "a_shop"), None),
        (Claim { owner: owner("a_app"), ..asks("team-a", "a_shop") }, None),
        (Claim { owner: owner("anybody"), ..asks("team-b", "shared") }, None),
        (Claim { adoption: Some(AdoptionPolicy::IfUnclaimed), ..asks("team-b", "shared") }, None),
        (asks("other", "a_shop"), Some("spec.server")),
        (asks("team-b", "a_shop"), Some("spec.name")),
        (Claim { owner: owner("b_app"), ..asks("team-a", "a_shop") }, Some("spec.owner.name")),
        (Claim { adoption: Some(AdoptionPolicy::Force), ..asks("team-b", "shared") }, Some("spec.adoptionPolicy")),
        (Claim { adoption: Some(AdoptionPolicy::IfUnclaimed), ..asks("team-a", "a_shop") }, Some("spec.adoptionPolicy")),
    ] {
        let verdict = validate(&asked, &known(allow.clone(), []));
        assert_eq!(fields(&verdict.denials).first().copied(), refused, "{asked:?}: {:?}", verdict.denials);
    }
}

#[test]
fn a_server_without_consent_allows_nobody() {
    assert_eq!(fields(&validate(&claim("a", "shop"), &known(json!([]), [])).denials), ["spec.server"]);
}

#[test]
fn an_owner_that_is_not_known_is_a_warning_where_roles_are_known() {
    let mut server = server(all());
    let asked = Claim { owner: Some(Owner { name: "app".into(), create: false }), ..claim("a", "shop") };
    let judge = |server: &Server, claim: &Claim| {
        let mut known = Inventory::default();
        known.add_server(server.clone());
        validate(claim, &known)
    };
    assert_eq!(judge(&server, &asked), Verdict::default(), "the roles aren't known");
    server.roles = Some(vec!["other".into()]);
    assert_eq!(fields(&judge(&server, &asked).warnings), ["spec.owner.name"]);
    let creates = Claim { owner: Some(Owner { name: "app".into(), create: true }), ..asked.clone() };
    assert_eq!(judge(&server, &creates), Verdict::default());
    server.roles = Some(vec!["app".into()]);
    assert_eq!(judge(&server, &asked), Verdict::default());
}

#[test]
fn what_an_older_server_lacks_is_a_warning() {
    let object = json!({ "metadata": { "name": "main" }, "spec": { "allow": all() }, "status": { "version": "15.18 (Debian)" } });
    let mut known = Inventory::default();
    known.add_server(Server::from_json(object.to_string().as_bytes()).unwrap());
    let creation: Creation = serde_json::from_value(json!({ "localeProvider": "builtin", "icuRules": "x" })).unwrap();
    let verdict = validate(&Claim { creation: Some(creation), ..claim("a", "shop") }, &known);
    assert!(verdict.is_allowed());
    assert_eq!(fields(&verdict.warnings), ["spec.creation.localeProvider", "spec.creation.icuRules"]);
}

#[test]
fn an_unknown_template_is_a_warning() {
    let from = |template: &str| Claim {
        creation: Some(Creation { template: Some(template.into()), ..Creation::default() }),
        ..claim("a", "shop")
    };
    let golden = Claim { database: "golden".into(), ..claim("b", "golden") };
    let known = known(json!([{ "namespaces": ["*"], "templates": ["go*"] }]), [golden]);
    assert_eq!(validate(&from("template0"), &known), Verdict::default());
    assert_eq!(validate(&from("golden"), &known), Verdict::default());
    assert_eq!(fields(&validate(&from("gone"), &known).warnings), ["spec.creation.template"]);
}

#[test]
fn templates_tablespaces_grantees_and_drops_need_consent() {
    let entry = json!({ "namespaces": ["*"], "templates": ["golden"], "tablespaces": ["fast"], "grantees": ["r*"], "reclaim": "Retain" });
    let known = known(json!([entry]), []);
    let template = |name: &str| Some(Creation { template: Some(name.into()), ..Creation::default() });
    let asked = |change: fn(&mut Claim)| {
        let mut claim = claim("a", "shop");
        change(&mut claim);
        claim
    };
    let golden = Claim { creation: template("golden"), ..claim("a", "shop") };
    assert!(validate(&golden, &known).is_allowed());
    for (claim, field) in [
        (Claim { creation: template("secrets"), ..claim("a", "shop") }, "spec.creation.template"),
        (asked(|claim| claim.tablespace = Some("slow".into())), "spec.tablespace"),
        (asked(|claim| claim.grantees = vec!["reader".into(), "writer".into()]), "spec.privileges"),
        (asked(|claim| claim.reclaim = Some(ReclaimPolicy::Delete)), "spec.reclaimPolicy"),
    ] {
        assert_eq!(fields(&validate(&claim, &known).denials), [field]);
    }
    let all_of_it =
        Claim { tablespace: Some("fast".into()), grantees: vec!["reader".into()], reclaim: Some(ReclaimPolicy::Retain), ..golden };
    assert_eq!(validate(&all_of_it, &known).denials, []);
}

#[test]
fn what_is_left_out_is_measured_as_the_server_has_it_and_absent_as_a_drop() {
    let judge = |defaults: Value, change: fn(&mut Claim)| {
        let allow = json!([{ "namespaces": ["*"], "reclaim": "Retain" }]);
        let object = json!({ "metadata": { "name": "main" }, "spec": { "allow": allow, "defaults": defaults } });
        let mut known = Inventory::default();
        known.add_server(Server::from_json(object.to_string().as_bytes()).unwrap());
        let mut claim = claim("a", "shop");
        change(&mut claim);
        fields(&validate(&claim, &known).denials).first().map(ToString::to_string)
    };
    assert_eq!(judge(json!({}), |_| {}), None);
    assert_eq!(judge(json!({}), |claim| claim.ensure = Ensure::Absent).unwrap(), "spec.ensure");
    assert_eq!(judge(json!({ "reclaimPolicy": "Delete" }), |_| {}).unwrap(), "spec.reclaimPolicy");
    assert_eq!(judge(json!({ "reclaimPolicy": "Delete" }), |claim| claim.reclaim = Some(ReclaimPolicy::Retain)), None);
    assert_eq!(judge(json!({ "adoptionPolicy": "IfUnclaimed" }), |_| {}).unwrap(), "spec.adoptionPolicy");
    assert_eq!(judge(json!({ "adoptionPolicy": "Force" }), |claim| claim.adoption = Some(AdoptionPolicy::Never)), None);
}

fn json(name: &str) -> Vec<u8> {
    let object = json!({ "metadata": { "name": "shop", "namespace": "a" }, "spec": { "server": "main", "name": name } });
    object.to_string().into_bytes()
}

#[test]
fn an_edit_of_what_was_accepted_before_is_not_refused() {
    let known = known(all(), [Claim { established: true, ..claim("b", "shop") }]);
    let created = review(&json("shop"), None, &known);
    assert_eq!(fields(&created.denials), ["spec.name"]);
    let edited = review(&json("shop"), Some(&json("shop")), &known);
    assert!(edited.is_allowed());
    assert_eq!(edited.warnings, created.denials);
    let changed = review(&json("shop"), Some(&json("other")), &known);
    assert_eq!(changed.denials, created.denials);
}

#[test]
fn an_object_that_cannot_be_read_passes_with_a_warning() {
    let verdict =
        review(br#"{"metadata":{},"spec":{"server":"s","name":"n","adoptionPolicy":"FromTheFuture"}}"#, None, &Inventory::default());
    assert!(verdict.is_allowed());
    assert!(verdict.warnings[0].message.contains("FromTheFuture"), "{}", verdict.warnings[0]);
}

#[test]
fn a_claim_is_the_same_from_json_and_from_the_type() {
    let object = json!({
        "apiVersion": "outrigger.dev/v1alpha1", "kind": "PgDatabase",
        "metadata": { "name": "shop", "namespace": "a", "deletionTimestamp": "2030-01-31T12:00:00Z" },
        "spec": { "server": "main", "name": "Shop", "owner": { "name": "app" }, "creation": { "template": "template0" },
                  "adoptionPolicy": "Force", "ensure": "Absent" },
        "status": { "conditions": [{ "type": "Claimed", "status": "True", "reason": "Marked", "message": "",
                                     "lastTransitionTime": "2030-01-31T12:00:00Z" }] },
    });
    let typed: PgDatabase = serde_json::from_value(object.clone()).unwrap();
    let claim = Claim::from_json(object.to_string().as_bytes()).unwrap();
    assert_eq!(claim, Claim::from(&typed));
    assert!(claim.established && claim.deleting);
}

#[test]
fn a_malformed_object_is_a_finding() {
    for json in ["", "[]", "{", r#"{"metadata":{}}"#, r#"{"metadata":{},"spec":{"server":1,"name":"x"}}"#] {
        assert!(Claim::from_json(json.as_bytes()).is_err(), "{json}");
    }
    assert!(Server::from_json(br#"{"metadata":{"name":"x"},"spec":{"allow":3}}"#).is_err());
}
