//! What the accounts of an installation may do, as the API server itself answers: a `SelfSubjectRulesReview` of each, complete.

use std::{collections::BTreeSet, fmt::Write};

use outrigger_bed::ControlPlane;
use serde_json::{Value, json};

use crate::{
    committed,
    common::webhook::wait_for,
    helm::{CHART, Helm, RELEASE, set},
};

const ACCOUNTS: [&str; 3] = ["outrigger-admission", "outrigger-controllers", "outrigger-uninstall"];

/// A namespace that is named in the values, for one that holds something.
const NAMED: &str = "desks";

const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// The group of what nobody has, given to see when rights are known.
const MARK: &str = "mark.test";

const INTRODUCTION: &str = "\
# What the accounts may do

<!-- Generated from a real API server's answers: `UPDATE_GENERATED=1 cargo test --test chart`. -->

This is all that each ServiceAccount of an installation may do beyond what every account may, for four ways to install. `outrigger-uninstall`
is there while `helm uninstall` runs.
";

/// Ways to install, each with its values.
const INSTALLATIONS: [(&str, &[&str]); 4] = [
    ("With the defaults", &[]),
    (
        "With all that the controllers do, in the namespace `desks`",
        &[
            "databases.enabled=true",
            "databases.namespaces={desks}",
            "userLists.namespaces={desks}",
            "repair.mode=evict",
            "repair.namespaces={desks}",
        ],
    ),
    (
        "With all that the controllers do, everywhere",
        &["databases.enabled=true", "databases.everywhere=true", "userLists.everywhere=true", "repair.mode=evict"],
    ),
    (
        "With as little as can be",
        &[
            "certificates.mode=files",
            "certificates.secretName=tls",
            "certificates.caBundle=-----BEGIN CERTIFICATE-----",
            "userLists.enabled=false",
            "repair.mode=off",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_account_may_do_what_is_written_and_no_more() {
    let Some(helm) = Helm::obtain("each_account_may_do_what_is_written_and_no_more") else { return };
    // Of its own: an installation is one a cluster.
    let cluster = ControlPlane::start().await;
    let helm = helm.at(&cluster);
    create(&cluster, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMED}})).await;
    let mut page = INTRODUCTION.to_owned();
    for (number, (title, values)) in INSTALLATIONS.into_iter().enumerate() {
        let install = ["upgrade", "--install", RELEASE, CHART, "--namespace", RELEASE, "--create-namespace", "--reset-values"];
        helm.output(&[&install[..], &set(values)].concat());
        uninstalling(&cluster, &helm).await;
        until_known(&cluster, number).await;
        writeln!(page, "\n## {title}").unwrap();
        if let [_, ..] = values {
            writeln!(page, "\n`{}`", values.join("`, `")).unwrap();
        }
        for account in ACCOUNTS {
            write_rights(&mut page, account, &rights(&cluster, account).await);
        }
    }
    committed::check("docs/rights.md", &page, "chart");
}

fn write_rights(page: &mut String, account: &str, rows: &[String]) {
    if rows.is_empty() {
        return writeln!(page, "\n### {account}\n\nNothing.").unwrap();
    }
    writeln!(page, "\n### {account}\n\n| where | what | which | verbs |\n|---|---|---|---|").unwrap();
    for row in rows {
        writeln!(page, "{row}").unwrap();
    }
}

async fn create(cluster: &ControlPlane, object: &Value) {
    drop(cluster.kubectl_with_input(&["create", "-f", "-"], &object.to_string()).await.success());
}

/// Gives the account of the hook its rights, as an uninstallation does.
async fn uninstalling(cluster: &ControlPlane, helm: &Helm) {
    let hooks = helm.output(&["get", "hooks", RELEASE, "--namespace", RELEASE]);
    let is_right = |hook: &&str| hook.contains("\nkind: Role") || hook.contains("\nkind: ClusterRole");
    let rights: Vec<&str> = hooks.split("---\n").filter(is_right).collect();
    assert_eq!(rights.len(), 4, "{hooks}");
    let _ = cluster.kubectl_with_input(&["apply", "-f", "-"], &rights.join("---\n")).await.success();
}

/// The API server learns of rights by four watches, each in the order of the changes: whoever sees the last of each has seen all.
async fn until_known(cluster: &ControlPlane, number: usize) {
    for (kind, namespace) in [("Role", Some(RELEASE)), ("ClusterRole", None)] {
        let name = format!("{MARK}-{}-{number}", kind.to_lowercase());
        let metadata = json!({"name": name, "namespace": namespace});
        let rules = json!([{"apiGroups": [MARK], "resources": [name], "verbs": ["get"]}]);
        create(cluster, &json!({"apiVersion": RBAC, "kind": kind, "metadata": metadata, "rules": rules})).await;
        for account in ACCOUNTS {
            let binding = json!({
                "apiVersion": RBAC, "kind": format!("{kind}Binding"), "metadata": {"name": format!("{name}-{account}"), "namespace": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": RELEASE}],
            });
            create(cluster, &binding).await;
        }
        wait_for("the API server knows the newest rights", async || {
            for account in ACCOUNTS {
                rules_with_marks(cluster, account, RELEASE).await.iter().find(|rule| rule.contains(&format!("`{name}`")))?;
            }
            Some(())
        })
        .await;
    }
}

/// The rules of an account beyond those of one that has none of its own, as rows of a table.
async fn rights(cluster: &ControlPlane, account: &str) -> Vec<String> {
    let everybodys = rules(cluster, "default", RELEASE).await;
    let everywhere = rules(cluster, account, "kube-public").await;
    let mut rows: Vec<String> = everywhere.difference(&everybodys).map(|rule| format!("| the cluster {rule}")).collect();
    for (place, namespace) in [("its namespace", RELEASE), ("`desks`", NAMED)] {
        let here = rules(cluster, account, namespace).await;
        rows.extend(here.difference(&everywhere).filter(|rule| !everybodys.contains(*rule)).map(|rule| format!("| {place} {rule}")));
    }
    rows
}

/// The rules that hold for an account of the release's namespace in a namespace.
pub(crate) async fn rules(cluster: &ControlPlane, account: &str, namespace: &str) -> BTreeSet<String> {
    let mut rules = rules_with_marks(cluster, account, namespace).await;
    rules.retain(|rule| !rule.contains(MARK));
    rules
}

async fn rules_with_marks(cluster: &ControlPlane, account: &str, namespace: &str) -> BTreeSet<String> {
    let user = format!("--as=system:serviceaccount:{RELEASE}:{account}");
    let groups = ["--as-group=system:authenticated", "--as-group=system:serviceaccounts"];
    let own_group = format!("--as-group=system:serviceaccounts:{RELEASE}");
    let review =
        format!(r#"{{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {{"namespace": "{namespace}"}}}}"#);
    // Validation would look at the definitions of kinds, which these accounts may not.
    let create = ["create", "--validate=false", "-o", "json", "-f", "-", &user, &own_group];
    let arguments = [&create[..], &groups].concat();
    let answer: Value = serde_json::from_str(&cluster.kubectl_with_input(&arguments, &review).await.success()).unwrap();
    let status = &answer["status"];
    assert_eq!(status["incomplete"], false, "{status}");
    let resources = status["resourceRules"].as_array().into_iter().flatten().map(|rule| {
        let groups = list(&rule["apiGroups"]).replace("``", "core");
        let names = if rule["resourceNames"].is_null() { "all".to_owned() } else { list(&rule["resourceNames"]) };
        format!("| {} of {groups} | {names} | {} |", list(&rule["resources"]), list(&rule["verbs"]))
    });
    let paths = status["nonResourceRules"].as_array().into_iter().flatten();
    let paths = paths.map(|rule| format!("| paths | {} | {} |", list(&rule["nonResourceURLs"]), list(&rule["verbs"])));
    resources.chain(paths).collect()
}

fn list(values: &Value) -> String {
    let values: Vec<String> = values.as_array().into_iter().flatten().map(|value| format!("`{}`", value.as_str().unwrap())).collect();
    values.join(", ")
}
