//! What the accounts of an installation may do, as the API server itself answers: a `SelfSubjectRulesReview` of each, complete.

use std::{collections::BTreeSet, fmt::Write};

use outrigger_bed::ControlPlane;
use serde_json::Value;

use crate::{
    cluster::installed,
    committed,
    helm::{Helm, RELEASE},
};

const ACCOUNTS: [&str; 3] = ["outrigger-admission", "outrigger-controllers", "outrigger-uninstall"];

const INTRODUCTION: &str = "\
# What the accounts may do

<!-- Generated from a real API server's answers: `UPDATE_GENERATED=1 cargo test --test chart`. -->

This is all that each ServiceAccount of an installation with the defaults may do beyond what every account may.

* With another `certificates.mode` than `self`, neither may read the Secret, nor the controllers the webhook configurations.
* With `repair.mode: evict` the controllers may create `pods/eviction`, too; with `off` they know nothing of pods, namespaces and Events.
* With `userLists.namespaces` the controllers may `get`, `list`, `watch`, `create` and `patch` Secrets in those namespaces, `list` pods there,
  and `get`, `list` and `patch` deployments, statefulsets and daemonsets; with `userLists.everywhere`, in all.
* With `repair.namespaces` the controllers have their rights about pods, Events and owners in those namespaces alone.
* With `databases.enabled` the controllers may list and patch `pgdatabases`, list `pgservers`, patch the status of both, read the namespace
  `kube-system`, read all Secrets of their own namespace, and read, create and patch Secrets in `databases.namespaces`, or in all if none is named.
* `outrigger-uninstall` is there while `helm uninstall` runs.
";

#[tokio::test(flavor = "multi_thread")]
async fn each_account_may_do_what_is_written_and_no_more() {
    let Some(cluster) = installed().await else { return };
    let Some(helm) = Helm::obtain("each_account_may_do_what_is_written_and_no_more") else { return };
    uninstalling(cluster, &helm.at(cluster)).await;
    let mut page = INTRODUCTION.to_owned();
    for account in ACCOUNTS {
        writeln!(page, "\n## {account}\n\n| where | what | which | verbs |\n|---|---|---|---|").unwrap();
        for row in rights(cluster, account).await {
            writeln!(page, "{row}").unwrap();
        }
    }
    committed::check("docs/rights.md", &page, "chart");
}

/// Gives the account of the hook its rights, as an uninstallation does.
async fn uninstalling(cluster: &ControlPlane, helm: &Helm) {
    let hooks = helm.output(&["get", "hooks", RELEASE, "--namespace", RELEASE]);
    let is_right = |hook: &&str| hook.contains("\nkind: Role") || hook.contains("\nkind: ClusterRole");
    let rights: Vec<&str> = hooks.split("---\n").filter(is_right).collect();
    assert_eq!(rights.len(), 4, "{hooks}");
    let _ = cluster.kubectl_with_input(&["apply", "-f", "-"], &rights.join("---\n")).await.success();
}

/// The rules of an account beyond those of one that has none of its own, as rows of a table.
async fn rights(cluster: &ControlPlane, account: &str) -> Vec<String> {
    let everybodys = rules(cluster, "default", RELEASE).await;
    let everywhere = rules(cluster, account, "kube-public").await;
    let here = rules(cluster, account, RELEASE).await;
    let mut rows: Vec<String> = everywhere.difference(&everybodys).map(|rule| format!("| the cluster {rule}")).collect();
    rows.extend(here.difference(&everywhere).filter(|rule| !everybodys.contains(*rule)).map(|rule| format!("| its namespace {rule}")));
    rows
}

/// The rules that hold for an account of the release's namespace in a namespace.
pub(crate) async fn rules(cluster: &ControlPlane, account: &str, namespace: &str) -> BTreeSet<String> {
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
