//! Our finalizers are taken off, all of them and no others, where nobody is left who would do it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests fail by panicking")]

#[allow(dead_code, reason = "each test binary uses its own part of the shared helpers")]
mod common;

use std::process::Output;

use common::{process::Server, webhook::wait_for};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, core::DynamicObject, discovery::ApiResource};
use outrigger::api::{crd, session_template::SessionTemplate};
use outrigger_bed::ControlPlane;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

const NAMESPACE: &str = "default";
/// More than fit into a page.
const MANY: usize = 201;

async fn remove(cluster: &ControlPlane, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(["remove-finalizers", "--namespace", NAMESPACE, "--kubeconfig"]).arg(cluster.kubeconfig_path()).args(arguments);
    command.kill_on_drop(true).output().await.unwrap()
}

async fn removed(cluster: &ControlPlane) -> String {
    let output = remove(cluster, &[]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

async fn define(cluster: &ControlPlane) {
    let _ = cluster.kubectl_with_input(&["apply", "--server-side", "-f", "-"], &crd::crds_yaml().unwrap()).await.success();
    let _ = cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"]).await.success();
}

fn template(name: &str, finalizers: &[&str]) -> Value {
    json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "SessionTemplate",
        "metadata": {"name": name, "namespace": NAMESPACE, "finalizers": finalizers},
        "spec": {"app": {"image": "app"}},
    })
}

async fn apply(cluster: &ControlPlane, objects: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let _ = cluster.kubectl_with_input(&["create", "-f", "-"], &list.to_string()).await.success();
}

fn templates(cluster: &ControlPlane) -> Api<DynamicObject> {
    Api::namespaced_with(cluster.client(), NAMESPACE, &ApiResource::erase::<SessionTemplate>(&()))
}

async fn finalizers(cluster: &ControlPlane, name: &str) -> Option<Vec<String>> {
    templates(cluster).get_opt(name).await.unwrap().map(|object| object.metadata.finalizers.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_are_taken_off_everywhere_and_those_of_others_stay() {
    let cluster = ControlPlane::start().await;
    let nothing = "no finalizer of ours is left; objects that had one: 0\n";
    assert_eq!(removed(&cluster).await, nothing, "the kinds are not even defined");

    define(&cluster).await;
    let many = (0..MANY).map(|number| template(&format!("many-{number}"), &["outrigger.dev/session"]));
    let shared = template("shared", &["example.com/audit", "outrigger.dev/session", "example.com/outrigger.dev"]);
    let server = json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "PgServer",
        "metadata": {"name": "main", "finalizers": ["outrigger.dev/databases"]},
        "spec": {"host": "postgres.example.com", "credentials": {"name": "admin"}},
    });
    apply(&cluster, &many.chain([shared, server, template("others", &["example.com/audit"])]).collect::<Vec<_>>()).await;
    let _ = cluster.kubectl(&["delete", "sessiontemplates", "many-0", "shared", "--wait=false"]).await.success();

    let said = removed(&cluster).await;
    assert!(said.contains("sessiontemplates/shared in default is free\n") && said.contains("pgservers/main is free\n"), "{said}");
    assert!(said.ends_with(&format!("no finalizer of ours is left; objects that had one: {}\n", MANY + 2)), "{said}");
    assert_eq!(finalizers(&cluster, "many-0").await, None, "it only waited for us");
    assert_eq!(finalizers(&cluster, "many-200").await.unwrap(), [""; 0]);
    assert_eq!(finalizers(&cluster, "shared").await.unwrap(), ["example.com/audit", "example.com/outrigger.dev"]);
    assert_eq!(finalizers(&cluster, "others").await.unwrap(), ["example.com/audit"]);
    assert_eq!(removed(&cluster).await, nothing);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_while_a_controller_could_put_them_on_again() {
    let cluster = ControlPlane::start().await;
    define(&cluster).await;
    apply(&cluster, &[template("kept", &["outrigger.dev/session"])]).await;
    let mut holder = Server::start(cluster.kubeconfig_path(), &["--roles=controllers", "--drain-delay=0s", "--namespace", NAMESPACE]);
    let leases: Api<Lease> = Api::namespaced(cluster.client(), NAMESPACE);
    let lease_holder =
        async || leases.get_opt("outrigger-controllers").await.unwrap()?.spec?.holder_identity.filter(|held| !held.is_empty());
    let first = wait_for("a controller holds the lease", lease_holder).await;

    let refused = remove(&cluster, &["--deadline=2s"]).await;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{words}");
    let expected = "not done within 2s: somebody else holds the lease outrigger-controllers: end the controllers first";
    assert!(words.contains(expected), "{words}");
    assert_eq!(finalizers(&cluster, "kept").await.unwrap(), ["outrigger.dev/session"]);

    holder.signal(Signal::TERM);
    assert_eq!(holder.exit().await.code(), Some(0), "{}", holder.log());
    assert!(removed(&cluster).await.contains("sessiontemplates/kept in default is free\n"));
    let last = lease_holder().await.unwrap();
    assert_ne!(last, first, "it is not given back, so that no controller that is still about begins again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_freed_is_named_with_the_reason() {
    let cluster = ControlPlane::start().await;
    define(&cluster).await;
    apply(&cluster, &[template("kept", &["outrigger.dev/session"])]).await;
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "frozen"},
        "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": ["outrigger.dev"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["sessiontemplates"]},
            ]},
            "validations": [{"expression": "object.metadata.name != 'kept'", "message": "nobody may change it"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "frozen"},
        "spec": {"policyName": "frozen", "validationActions": ["Deny"]},
    });
    apply(&cluster, &[policy, binding]).await;
    wait_for("the policy is in force", async || {
        let tried = cluster.kubectl(&["label", "sessiontemplates", "kept", "a=b", "--overwrite", "--dry-run=server"]).await;
        (!tried.status.success()).then_some(())
    })
    .await;
    apply(&cluster, &[template("other", &["outrigger.dev/session"])]).await;

    let refused = remove(&cluster, &["--deadline=20s"]).await;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{words}");
    assert!(words.contains("sessiontemplates/kept in default can't be freed") && words.contains("nobody may change it"), "{words}");
    assert_eq!(finalizers(&cluster, "other").await.unwrap(), [""; 0], "one that can't be freed does not keep the others");
}
