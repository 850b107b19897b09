//! The controllers with the rights and the arguments that the chart gives them, at a real API server.

use outrigger_bed::ControlPlane;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    common::{process::Server, webhook::wait_for},
    helm::{CHART, Helm, RELEASE, find, set},
    rights::rules,
};

/// The account of the controllers.
pub(crate) const ACCOUNT: &str = "outrigger-controllers";
const EVICTED: &str = r#"outrigger_repair_evictions_total{outcome="evicted"}"#;

/// Everywhere, or in the namespaces that are named and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn the_chart_s_account_may_do_what_repair_does_and_no_more() {
    let Some(helm) = Helm::obtain("the_chart_s_account_may_do_what_repair_does_and_no_more") else { return };
    // Of its own: an installation is one a cluster.
    let cluster = ControlPlane::start().await;
    let helm = helm.at(&cluster);
    let (desks, elsewhere) = (cluster.namespace("desks").await, cluster.namespace("elsewhere").await);
    for namespace in [desks.name(), elsewhere.name()] {
        drop(cluster.kubectl_with_input(&["--namespace", namespace, "create", "-f", "-"], &deployment().to_string()).await.success());
    }
    let often = ["repair.interval=1s", "repair.minimumAge=1s", "repair.evictionsPerMinute=6000"];
    helm.output(&[&["install", RELEASE, CHART, "--namespace", RELEASE, "--create-namespace"], &set(&often)[..]].concat());
    // The API server learns of rights by watches of its own.
    let reporting = wait_for("the account may see pods", async || {
        let rules = rules(&cluster, ACCOUNT, desks.name()).await;
        rules.iter().any(|rule| rule.contains("`pods`")).then_some(rules)
    })
    .await;

    let here = format!("repair.namespaces={{{}}}", desks.name());
    for (choice, is_everywhere) in [(&["repair.mode=evict"][..], true), (&["repair.mode=evict", &here], false)] {
        let values = set(&[&often[..], choice].concat());
        helm.output(&[&["upgrade", RELEASE, CHART, "--namespace", RELEASE, "--reset-values"], &values[..]].concat());
        wait_for("the account may evict, and nothing else that it might not before", async || {
            let rules = rules(&cluster, ACCOUNT, desks.name()).await;
            let additional: Vec<&String> = rules.difference(&reporting).collect();
            (additional == ["| `pods/eviction` of core | all | `create` |"] && rules.is_superset(&reporting)).then_some(())
        })
        .await;
        wait_for("elsewhere it may do the same, or nothing about pods", async || {
            let rules = rules(&cluster, ACCOUNT, elsewhere.name()).await;
            let about_pods = ["`pods`", "`pods/eviction`", "`events`"];
            about_pods.iter().all(|what| rules.iter().any(|rule| rule.contains(what)) == is_everywhere).then_some(())
        })
        .await;

        let mut server = controllers(&cluster, &helm.objects(&values)).await;
        wait_for("a pod is evicted", async || server.metric(EVICTED).await.filter(|count| *count > 0)).await;
        let reason = "--field-selector=reason=SidecarsRepaired,involvedObject.kind=Deployment";
        for namespace in [desks.name(), elsewhere.name()].into_iter().take(if is_everywhere { 2 } else { 1 }) {
            wait_for("its owner is told", async || {
                let events = cluster.kubectl(&["--namespace", namespace, "get", "events", reason, "-o", "name"]).await.success();
                (!events.is_empty()).then_some(())
            })
            .await;
            drop(cluster.kubectl(&["--namespace", namespace, "delete", "events", "--all"]).await.success());
        }
        // So that the next need not wait until the lease has run out.
        server.signal(Signal::TERM);
        assert!(server.exit().await.success());
        let log = server.log();
        assert!(!log.contains("can't") && !log.contains("orbidden"), "it lacks no right: {log}");
    }
}

/// The controllers as the chart's Deployment starts them, as its account.
pub(crate) async fn controllers(cluster: &ControlPlane, rendered: &[Value]) -> Server {
    let container = &find(rendered, &format!("Deployment/{ACCOUNT}"))["spec"]["template"]["spec"]["containers"][0];
    let settings = cluster.path("values.yaml");
    std::fs::write(&settings, find(rendered, "ConfigMap/outrigger-settings")["data"]["values.yaml"].as_str().unwrap()).unwrap();
    let arguments = container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
    // `Server` says the first and the last by itself.
    let arguments: Vec<String> = arguments
        .filter(|argument| *argument != "serve" && !argument.starts_with("--status-address"))
        .map(|argument| argument.replace("/etc/outrigger/values.yaml", &settings.display().to_string()))
        .collect();
    let kubeconfig = cluster.kubeconfig_of(&format!("system:serviceaccount:{RELEASE}:{ACCOUNT}"));
    Server::ready(&kubeconfig, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
}

/// Whose pods ask for a desktop.
fn deployment() -> Value {
    let labels = json!({"app": "web"});
    let template = json!({
        "metadata": {"labels": labels, "annotations": {"outrigger.dev/inject": "vnc"}},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    })
}
