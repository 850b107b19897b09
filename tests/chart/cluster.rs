//! The chart installed at a real API server. There is no node, so no pod of ours ever runs: the webhook is down.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::PostParams};
use outrigger_bed::ControlPlane;
use serde_json::{Value, json};
use tokio::{
    sync::OnceCell,
    time::{Duration, Instant},
};

use crate::helm::{CHART, Helm, RELEASE, set};

static INSTALLED: OnceCell<Option<&ControlPlane>> = OnceCell::const_new();

/// A control plane with the chart and its guard. `None`: Helm can't be had here.
pub(crate) async fn installed() -> Option<&'static ControlPlane> {
    *INSTALLED
        .get_or_init(|| async {
            let helm = Helm::obtain("the chart at an API server")?;
            let cluster = ControlPlane::shared().await;
            let namespace = json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": RELEASE, "labels": {"pod-security.kubernetes.io/warn": "restricted"}},
            });
            assert!(cluster.kubectl_with_input(&["create", "-f", "-"], &namespace.to_string()).await.status.success());
            let install = ["install", RELEASE, CHART, "--namespace", RELEASE];
            helm.at(cluster).output(&[&install[..], &set(&["guard.enabled=true"])].concat());
            Some(cluster)
        })
        .await
}

/// Each pod, whether its namespace gives defaults, and whether it may start.
fn pods() -> Vec<(&'static str, Value, bool, bool)> {
    let asks = json!({"outrigger.dev/inject": "vnc"});
    let with_spec = |annotations: &Value, spec: Value| json!({"metadata": {"annotations": annotations}, "spec": spec});
    let plain = |annotations: Value| with_spec(&annotations, json!({}));
    let mirror = with_spec(&json!({"outrigger.dev/inject": "vnc", "kubernetes.io/config.mirror": "x"}), json!({"nodeName": "a"}));
    vec![
        ("asks for nothing", json!({}), false, true),
        ("asks", plain(asks.clone()), false, false),
        ("asks for none", plain(json!({"outrigger.dev/inject": "none"})), false, true),
        ("asks for none with blanks", plain(json!({"outrigger.dev/inject": " none "})), false, true),
        ("was injected", plain(json!({"outrigger.dev/inject": "vnc", "outrigger.dev/status": "{}"})), false, true),
        ("has other annotations", plain(json!({"example.com/team": "a"})), false, true),
        ("says nothing where defaults are given", json!({}), true, false),
        ("opts out of defaults", plain(json!({"outrigger.dev/inject": "none"})), true, true),
        ("uses its node's network", with_spec(&asks, json!({"hostNetwork": true})), false, true),
        ("runs on Windows", with_spec(&asks, json!({"os": {"name": "windows"}})), false, true),
        ("is scheduled to Windows", with_spec(&asks, json!({"nodeSelector": {"kubernetes.io/os": "windows"}})), false, true),
        ("is scheduled to Linux", with_spec(&asks, json!({"nodeSelector": {"kubernetes.io/os": "linux"}})), false, false),
        ("mirrors a static pod", mirror, false, true),
    ]
}

/// What fails open for the webhook is closed by the guard, for those pods alone that the webhook would have given something.
#[tokio::test(flavor = "multi_thread")]
async fn the_guard_refuses_whoever_asked_and_got_nothing() {
    let Some(cluster) = installed().await else { return };
    let (plain, defaults) = (cluster.namespace("guarded").await, cluster.namespace("defaults").await);
    defaults.label("outrigger.dev/defaults", "enabled").await;
    let annotation = ["annotate", "namespace", defaults.name(), "outrigger.dev/inject=vnc"];
    assert!(cluster.kubectl(&annotation).await.status.success());
    let api = |is_labelled: bool| Api::<Pod>::default_namespaced(if is_labelled { defaults.client() } else { plain.client() });
    until_guarded(&api(true)).await;

    // All at once: the API server waits for the webhook that isn't there.
    let verdicts = pods().into_iter().map(async |(who, pod, is_labelled, is_allowed)| {
        let verdict = create(&api(is_labelled), pod).await;
        match verdict {
            Ok(()) => assert!(is_allowed, "a pod that {who} is allowed"),
            Err(message) => {
                assert!(!is_allowed, "a pod that {who} is refused: {message}");
                let sentence = "the pod asks for sidecars (outrigger.dev/inject: vnc) and Outrigger could not add them: try again when the pods \
                                of outrigger-admission in namespace outrigger are ready";
                assert!(message.contains(sentence), "{message}");
            }
        }
    });
    join_all(verdicts).await;
}

/// The policy is compiled a moment after it is stored.
async fn until_guarded(api: &Api<Pod>) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while create(api, json!({})).await.is_ok() {
        assert!(Instant::now() < deadline, "the guard never refused anything");
    }
}

/// Whether a pod would be created, or why not.
async fn create(api: &Api<Pod>, mut pod: Value) -> Result<(), String> {
    pod["metadata"]["name"] = json!("guarded");
    pod["spec"]["containers"] = json!([{"name": "app", "image": "app"}]);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&dry, &serde_json::from_value(pod).unwrap()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(refusal)) => Err(refusal.message),
        Err(error) => panic!("{error}"),
    }
}

/// The pod's own account may read what is bound to it, where it is bound.
#[tokio::test(flavor = "multi_thread")]
async fn the_roles_of_file_sync_give_nothing_until_they_are_bound() {
    let Some(cluster) = installed().await else { return };
    let namespace = cluster.namespace("dashboards").await;
    let here = namespace.name();
    let account = format!("{here}:default");
    let may_list = async |what: &str, place: &str| {
        let user = format!("--as=system:serviceaccount:{account}");
        cluster.kubectl(&["auth", "can-i", "list", what, "--namespace", place, &user]).await.stdout.trim() == "yes"
    };
    for (kind, role, name) in [("configmaps", "outrigger-file-sync", "files"), ("secrets", "outrigger-file-sync-secrets", "secrets")] {
        assert!(!may_list(kind, here).await, "{kind} before");
        let bind = ["create", "rolebinding", name, "--namespace", here, "--clusterrole", role, "--serviceaccount", &account];
        assert!(cluster.kubectl(&bind).await.status.success());
        let deadline = Instant::now() + Duration::from_secs(30);
        while !may_list(kind, here).await {
            assert!(Instant::now() < deadline, "{role} does not let anybody list {kind}");
        }
        assert!(!may_list(kind, "default").await, "{kind} elsewhere");
    }
}

/// Strictly read, and within the strictest Pod Security Standard.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_all_that_is_rendered_without_a_warning() {
    let Some(cluster) = installed().await else { return };
    let Some(helm) = Helm::obtain("the_api_server_takes_all_that_is_rendered_without_a_warning") else { return };
    // That namespace warns of pods below the standard, so the test's pod is made there, too.
    let choice = ["webhooks.failurePolicy=Fail", "guard.enabled=true", "networkPolicy.enabled=true", "test.namespace=outrigger"];
    let rendered = helm.template(&set(&choice));
    let arguments = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-"];
    let applied = cluster.kubectl_with_input(&arguments, &rendered.stdout).await;
    assert!(applied.status.success() && applied.stderr.is_empty(), "{}", applied.stderr);
    assert!(applied.stdout.contains("deployment.apps/outrigger-admission serverside-applied"), "{}", applied.stdout);
}

/// Helm deletes last what can refuse pods, unless it is a hook: then its harmless twin takes its place first. Finalizers are taken off when
/// no controller is left that could put them on again.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_refuse_pods_goes_first_at_uninstall() {
    let Some(cluster) = installed().await else { return };
    let Some(helm) = Helm::obtain("what_can_refuse_pods_goes_first_at_uninstall") else { return };
    let upgrade = ["upgrade", RELEASE, CHART, "--namespace", RELEASE, "--dry-run=server", "-o", "json"];
    let values = ["webhooks.failurePolicy=Fail", "guard.enabled=true"];
    let planned: Value = serde_json::from_str(&helm.at(cluster).output(&[&upgrade[..], &set(&values)].concat())).unwrap();
    let hooks = planned["hooks"].as_array().unwrap().iter().filter(|hook| hook["events"] == json!(["pre-delete"]));
    let by_weight = |weight: i64| -> Vec<Value> {
        let those = hooks.clone().filter(|hook| hook["weight"].as_i64().unwrap_or_default() == weight);
        those.map(|hook| serde_saphyr::from_str(hook["manifest"].as_str().unwrap()).unwrap()).collect()
    };
    for hook in hooks.clone() {
        assert_eq!(hook["delete_policies"], json!(["before-hook-creation", "hook-succeeded"]), "it replaces, and goes");
    }
    let first = by_weight(-1);
    assert_eq!(first.iter().map(|twin| &twin["kind"]).collect::<Vec<_>>(), ["ValidatingAdmissionPolicyBinding"]);
    assert_eq!(first[0]["spec"]["validationActions"], json!(["Audit"]));
    let twins = by_weight(0);
    let twin = |kind: &str| twins.iter().find(|twin| twin["kind"] == kind).unwrap();
    assert_eq!(twin("MutatingWebhookConfiguration")["webhooks"], json!([]));
    let controllers = twin("Deployment");
    assert_eq!((&controllers["metadata"]["name"], &controllers["spec"]["replicas"]), (&json!("outrigger-controllers"), &json!(0)));
    let last = by_weight(1);
    assert_eq!(last.iter().map(|job| &job["kind"]).collect::<Vec<_>>(), ["Job"]);
    assert_eq!(last[0]["spec"]["template"]["spec"]["containers"][0]["args"], json!(["remove-finalizers", "--namespace=outrigger"]));
}
