//! User lists with the rights and the arguments that the chart gives the controllers, at a real API server.

use outrigger_bed::ControlPlane;
use serde_json::{Value, json};

use crate::{
    common::webhook::wait_for,
    helm::{CHART, Helm, RELEASE, set},
    repair::{ACCOUNT, controllers},
    rights::rules,
};

/// Where they are named, and nowhere else: a list elsewhere says so.
#[tokio::test(flavor = "multi_thread")]
async fn the_chart_s_account_may_do_what_user_lists_need_and_no_more() {
    let Some(helm) = Helm::obtain("the_chart_s_account_may_do_what_user_lists_need_and_no_more") else { return };
    // Of its own: an installation is one a cluster.
    let cluster = ControlPlane::start().await;
    let helm = helm.at(&cluster);
    let (pooler, elsewhere) = (cluster.namespace("pooler").await, cluster.namespace("elsewhere").await);
    let here = format!("userLists.namespaces={{{}}}", pooler.name());
    let values = set(&["repair.mode=off", &here]);
    helm.output(&[&["install", RELEASE, CHART, "--namespace", RELEASE, "--create-namespace"], &values[..]].concat());
    // The API server learns of rights by watches of its own.
    wait_for("the account may read Secrets there", async || {
        let rules = rules(&cluster, ACCOUNT, pooler.name()).await;
        rules.iter().any(|rule| rule.contains("`secrets`")).then_some(())
    })
    .await;
    assert!(!rules(&cluster, ACCOUNT, elsewhere.name()).await.iter().any(|rule| rule.contains("`secrets`")), "and nowhere else");
    for namespace in [pooler.name(), elsewhere.name()] {
        for object in [deployment(), user(), list()] {
            drop(cluster.kubectl_with_input(&["--namespace", namespace, "create", "-f", "-"], &object.to_string()).await.success());
        }
    }
    let server = controllers(&cluster, &helm.objects(&values)).await;
    for (namespace, status, reason) in [(pooler.name(), "True", "Written"), (elsewhere.name(), "False", "Forbidden")] {
        wait_for("the list says how it is", async || {
            let path = "jsonpath={.status.conditions[?(@.type=='Ready')].status} {.status.conditions[?(@.type=='Ready')].reason}";
            let said = cluster.kubectl(&["--namespace", namespace, "get", "userlist", "users", "-o", path]).await.success();
            (said == format!("{status} {reason}")).then_some(())
        })
        .await;
    }
    let pod = wait_for("the workload has a pod", async || {
        let name =
            cluster.kubectl(&["--namespace", pooler.name(), "get", "pods", "-o", "jsonpath={.items[*].metadata.name}"]).await.success();
        Some(name).filter(|name| !name.is_empty())
    })
    .await;
    // A kubelet would say so.
    let running =
        json!({"status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}}).to_string();
    let become_ready = ["--namespace", pooler.name(), "patch", "pod", &pod, "--subresource=status", "--type=merge", "-p", &running];
    drop(cluster.kubectl(&become_ready).await.success());
    wait_for("the workload is restarted", async || {
        let path = "jsonpath={.spec.template.metadata.annotations}";
        let annotations = cluster.kubectl(&["--namespace", pooler.name(), "get", "deployment", "pooler", "-o", path]).await.success();
        annotations.contains("userlist-digest").then_some(())
    })
    .await;
    let reason = "--field-selector=reason=UserListNotReady";
    let events = cluster.kubectl(&["--namespace", pooler.name(), "get", "events", reason, "-o", "name"]).await.success();
    assert!(events.is_empty(), "nothing is wrong here: {events}");
    let log = server.log().lines().filter(|line| line.contains(pooler.name())).map(ToOwned::to_owned).collect::<Vec<_>>().join("\n");
    assert!(!log.contains("can't") && !log.contains("orbidden"), "it lacks no right: {log}");
}

fn user() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop", "labels": {"pooler": "main"}},
        "stringData": {"username": "shop", "password": "secret"},
    })
}

fn list() -> Value {
    json!({
        "apiVersion": "outrigger.dev/v1alpha1", "kind": "UserList", "metadata": {"name": "users"},
        "spec": {
            "selector": {"matchLabels": {"pooler": "main"}}, "output": {"name": "pooler-users"}, "poolers": [{"name": "pooler"}],
        },
    })
}

fn deployment() -> Value {
    let labels = json!({"app": "pooler"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "pgbouncer", "image": "app"}]}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "pooler"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    })
}
