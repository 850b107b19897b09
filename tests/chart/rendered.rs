//! What the chart renders, without a cluster.

use outrigger::{
    admission::registration::{Endpoint, manifests},
    api::annotations::SidecarKind,
    injection::Settings,
    monitoring,
};
use serde_json::{Value, json};

use crate::helm::{CHART, Helm, RELEASE, find, is_hook, set, title};

/// What looks like a certificate to the chart.
const BUNDLE: &str = "certificates.caBundle=-----BEGIN CERTIFICATE-----";
const FILES: [&str; 3] = ["certificates.mode=files", "certificates.secretName=own", BUNDLE];

/// Choices that change much; each is linted and counted.
const CHOICES: [&[&str]; 10] = [
    &[],
    &["webhooks.failurePolicy=Fail", "guard.enabled=true", "networkPolicy.enabled=true", "metrics.serviceMonitor.enabled=true"],
    &FILES,
    &["certificates.mode=cert-manager", "image.pullSecrets={mirror}", "admission.hostNetwork=true", "admission.httpsPort=10260"],
    &["repair.mode=evict", "repair.namespaces={desks,shop}", "repair.outdated=true"],
    &["databases.enabled=true", "databases.namespaces={shop}"],
    &["userLists.namespaces={shop,team}", "repair.mode=off"],
    &["userLists.everywhere=true", "repair.namespaces={desks}"],
    &["certificates.mode=cert-manager", "repair.mode=off", "userLists.enabled=false", "enabled=true", "image.registry=[::1]:5000/rigs"],
    &["admission.podAnnotations.a=b", "admission.priorityClassName=high", "admission.nodeSelector.disk=fast", "controllers.replicas=1"],
];

#[test]
fn helm_finds_nothing_to_complain_of() {
    let Some(helm) = Helm::obtain("helm_finds_nothing_to_complain_of") else { return };
    for choice in CHOICES {
        helm.output(&[&["lint", "--strict", "--quiet", CHART][..], &set(choice)].concat());
    }
}

#[test]
fn what_is_rendered_by_default_is_known_by_name() {
    let Some(helm) = Helm::obtain("what_is_rendered_by_default_is_known_by_name") else { return };
    let role = ["ClusterRole", "ClusterRoleBinding", "Deployment", "PodDisruptionBudget", "Role", "RoleBinding", "ServiceAccount"];
    let mut expected: Vec<String> =
        ["admission", "controllers"].iter().flat_map(|name| role.map(|kind| format!("{kind}/outrigger-{name}"))).collect();
    expected.extend(
        [
            "ClusterRole/outrigger-file-sync",
            "ClusterRole/outrigger-file-sync-secrets",
            "ConfigMap/outrigger-settings",
            "MutatingWebhookConfiguration/outrigger",
            "Secret/outrigger-ca",
            "Service/outrigger-admission",
            "ValidatingWebhookConfiguration/outrigger",
        ]
        .map(str::to_owned),
    );
    expected.sort();
    assert_eq!(titles(&helm.objects(&[]), false), expected);
    assert_eq!(titles(&helm.objects(&[]), true), ["Job/outrigger-test"]);
}

/// What each choice adds to the default, and takes away.
#[test]
fn each_choice_brings_its_own_objects() {
    let Some(helm) = Helm::obtain("each_choice_brings_its_own_objects") else { return };
    let default = titles(&helm.objects(&[]), false);
    let changes = |arguments: &[&str]| {
        let chosen = titles(&helm.objects(arguments), false);
        let added: Vec<String> = chosen.iter().filter(|title| !default.contains(title)).cloned().collect();
        let gone: Vec<String> = default.iter().filter(|title| !chosen.contains(title)).cloned().collect();
        (added, gone)
    };

    let (added, gone) = changes(&set(&["guard.enabled=true"]));
    assert_eq!(added, ["ValidatingAdmissionPolicy/outrigger-guard", "ValidatingAdmissionPolicyBinding/outrigger-guard"]);
    assert!(gone.is_empty());
    let (added, _) = changes(&set(&["networkPolicy.enabled=true"]));
    assert_eq!(added, ["NetworkPolicy/outrigger-admission", "NetworkPolicy/outrigger-controllers"]);

    let monitor = set(&["metrics.serviceMonitor.enabled=true"]);
    assert_eq!(changes(&monitor).0, Vec::<String>::new(), "the cluster doesn't know the kind");
    let known = [&monitor[..], &["--api-versions", "monitoring.coreos.com/v1/ServiceMonitor"]].concat();
    assert_eq!(changes(&known).0, ["Service/outrigger-metrics", "ServiceMonitor/outrigger"]);

    let alerts = set(&["metrics.alerts.enabled=true"]);
    assert_eq!(changes(&alerts).0, Vec::<String>::new(), "the cluster doesn't know the kind");
    let known = [&alerts[..], &["--api-versions", "monitoring.coreos.com/v1/PrometheusRule"]].concat();
    assert_eq!(changes(&known).0, ["PrometheusRule/outrigger"]);
    assert_eq!(changes(&set(&["metrics.dashboard.enabled=true"])).0, ["ConfigMap/outrigger-dashboard"]);

    let authority = ["Role/outrigger-admission", "RoleBinding/outrigger-admission", "Secret/outrigger-ca"];
    let (added, gone) = changes(&set(&FILES));
    assert!(added.is_empty());
    assert_eq!(gone, authority);
    assert!(changes(&set(&["repair.mode=off"])).1.is_empty(), "the controllers keep the CA");
    let (_, gone) = changes(&set(&[&FILES[..], &["repair.mode=off"]].concat()));
    assert_eq!(gone, authority, "the controllers look after user lists");
    let (_, gone) = changes(&set(&[&FILES[..], &["repair.mode=off", "userLists.enabled=false"]].concat()));
    let (controllers, others): (Vec<String>, Vec<String>) = gone.into_iter().partition(|title| title.ends_with("/outrigger-controllers"));
    assert_eq!(others, authority);
    assert!(default.iter().filter(|title| title.ends_with("/outrigger-controllers")).eq(&controllers), "they have nothing to do");
    let (added, _) = changes(&set(&["repair.namespaces={desks,shop}"]));
    assert_eq!(added, ["Role/outrigger-repair", "Role/outrigger-repair", "RoleBinding/outrigger-repair", "RoleBinding/outrigger-repair"]);
    assert!(changes(&set(&["databases.enabled=true"])).0.is_empty(), "the controllers are there anyway");
    let (added, _) = changes(&set(&["databases.enabled=true", "databases.namespaces={shop}"]));
    assert_eq!(added, ["Role/outrigger-databases", "RoleBinding/outrigger-databases"]);
    assert!(changes(&set(&["databases.enabled=true", "databases.namespaces={shop}", "databases.everywhere=true"])).0.is_empty());
    let (added, _) = changes(&set(&["userLists.namespaces={shop}"]));
    assert_eq!(added, ["Role/outrigger-userlists", "RoleBinding/outrigger-userlists"]);
    assert!(changes(&set(&["userLists.namespaces={shop}", "userLists.everywhere=true"])).0.is_empty());
    let (added, _) = changes(&set(&["certificates.mode=cert-manager"]));
    assert_eq!(
        added,
        ["Certificate/outrigger-admission", "Certificate/outrigger-root", "Issuer/outrigger", "Issuer/outrigger-self-signed"]
    );
    let (added, _) = changes(&set(&["certificates.mode=cert-manager", "certificates.issuerRef.name=company"]));
    assert_eq!(added, ["Certificate/outrigger-admission"]);
}

/// The program says which reviews it answers; the chart may not say anything else.
#[test]
fn the_webhooks_are_those_that_the_program_exports() {
    let Some(helm) = Helm::obtain("the_webhooks_are_those_that_the_program_exports") else { return };
    let endpoint = Endpoint::Service { namespace: RELEASE.to_owned(), name: "outrigger-admission".to_owned(), port: 443 };
    for (values, bundle) in [(&[][..], None), (&["certificates.mode=cert-manager"], None), (&FILES, Some("-----BEGIN CERTIFICATE-----"))] {
        let rendered = helm.objects(&set(values));
        for exported in manifests(&endpoint, bundle) {
            let object = find(&rendered, &title(&exported));
            assert_eq!(object["webhooks"], exported["webhooks"], "{values:?}");
            assert_eq!(object["apiVersion"], exported["apiVersion"]);
        }
    }
}

/// Closed, the entries for pods leave out those that the cluster and we ourselves need; those for our kinds stay open.
#[test]
fn failing_closed_spares_the_cluster_and_ourselves() {
    let Some(helm) = Helm::obtain("failing_closed_spares_the_cluster_and_ourselves") else { return };
    let (open, closed) = (helm.objects(&[]), helm.objects(&set(&["webhooks.failurePolicy=Fail"])));
    let mutating = "MutatingWebhookConfiguration/outrigger";
    let mut expected = find(&open, mutating)["webhooks"].clone();
    for entry in expected.as_array_mut().unwrap() {
        entry["failurePolicy"] = json!("Fail");
        let spared = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", RELEASE]});
        entry["namespaceSelector"]["matchExpressions"].as_array_mut().unwrap().push(spared);
    }
    assert_eq!(find(&closed, mutating)["webhooks"], expected);
    let validating = "ValidatingWebhookConfiguration/outrigger";
    assert_eq!(find(&closed, validating), find(&open, validating));
}

/// Those for uninstalling take the place of real objects; nobody may apply them by accident.
#[test]
fn without_a_cluster_there_is_no_hook_but_the_test() {
    let Some(helm) = Helm::obtain("without_a_cluster_there_is_no_hook_but_the_test") else { return };
    let objects = helm.objects(&set(&["webhooks.failurePolicy=Fail", "guard.enabled=true"]));
    assert_eq!(titles(&objects, true), ["Job/outrigger-test"]);
}

/// cert-manager writes the Secret that is mounted, for the name the API server calls, and the bundle by an annotation that names it.
#[test]
fn cert_manager_is_told_what_the_program_reads() {
    let Some(helm) = Helm::obtain("cert_manager_is_told_what_the_program_reads") else { return };
    let objects = helm.objects(&set(&["certificates.mode=cert-manager", "certificates.leafLifetime=48h"]));
    let certificate = &find(&objects, "Certificate/outrigger-admission")["spec"];
    assert_eq!(certificate["dnsNames"], json!(["outrigger-admission.outrigger.svc"]));
    assert_eq!((&certificate["duration"], &certificate["issuerRef"]["name"]), (&json!("48h"), &json!("outrigger")));
    assert_eq!(certificate["usages"], json!(["digital signature", "server auth"]));
    let root = &find(&objects, "Certificate/outrigger-root")["spec"];
    assert_eq!(root["isCA"], true);
    assert_eq!(find(&objects, "Issuer/outrigger")["spec"]["ca"]["secretName"], root["secretName"]);
    let pod = &find(&objects, "Deployment/outrigger-admission")["spec"]["template"]["spec"];
    let mounted = pod["volumes"].as_array().unwrap().iter().find_map(|volume| volume["secret"]["secretName"].as_str());
    assert_eq!(mounted, certificate["secretName"].as_str());
    // What runs is what runs with files, so what is shown of those at a cluster holds for this.
    let secret = format!("certificates.secretName={}", certificate["secretName"].as_str().unwrap());
    let files = helm.objects(&set(&["certificates.mode=files", &secret, BUNDLE]));
    for deployment in ["Deployment/outrigger-admission", "Deployment/outrigger-controllers"] {
        assert_eq!(find(&objects, deployment)["spec"], find(&files, deployment)["spec"]);
    }
    for kind in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
        let annotations = &find(&objects, &format!("{kind}/outrigger"))["metadata"]["annotations"];
        assert_eq!(annotations["cert-manager.io/inject-ca-from"], "outrigger/outrigger-admission");
    }
}

#[test]
fn the_settings_are_those_that_the_program_reads() {
    let Some(helm) = Helm::obtain("the_settings_are_those_that_the_program_reads") else { return };
    let values = ["image.registry=mirror.example.com/rigs", "injection.guacamole.image=own:1", "injection.vnc.resources.cpuLimit=2"];
    let rendered = helm.objects(&set(&values));
    let settings = Settings::from_values(find(&rendered, "ConfigMap/outrigger-settings")["data"]["values.yaml"].as_str().unwrap()).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    for (kind, image) in [
        (SidecarKind::Vnc, format!("mirror.example.com/rigs/outrigger-desktop:{version}")),
        (SidecarKind::FileSync, format!("mirror.example.com/rigs/outrigger:{version}")),
        (SidecarKind::Guacamole, "own:1".to_owned()),
    ] {
        assert_eq!(settings.sidecar(kind).image.as_ref(), Some(&image));
    }
    assert_eq!(settings.sidecar(SidecarKind::Vnc).resources.cpu_limit.as_deref(), Some("2"));
}

/// Each value of repair is a flag of the controllers, which read the same settings as the webhook.
#[test]
fn the_controllers_are_told_how_to_repair() {
    let Some(helm) = Helm::obtain("the_controllers_are_told_how_to_repair") else { return };
    let arguments = |values: &[&str]| {
        let rendered = helm.objects(&set(values));
        let container = &find(&rendered, "Deployment/outrigger-controllers")["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap().to_owned());
        arguments.filter(|argument| argument.contains("repair") || argument.contains("values")).collect::<Vec<_>>()
    };
    let default = ["--repair=report", "--repair-interval=5m", "--repair-minimum-age=1m", "--repair-evictions-per-minute=6"];
    let settings = ["--values=/etc/outrigger/values.yaml"];
    assert_eq!(arguments(&[]), [&default[..], &settings].concat());
    let chosen = [
        "repair.mode=evict",
        "repair.interval=1h30m",
        "repair.minimumAge=0s",
        "repair.evictionsPerMinute=6000",
        "repair.namespaces={desks,shop}",
        "repair.outdated=true",
    ];
    let flags = [
        "--repair=evict",
        "--repair-interval=1h30m",
        "--repair-minimum-age=0s",
        "--repair-evictions-per-minute=6000",
        "--repair-namespaces=desks,shop",
        "--repair-outdated",
    ];
    assert_eq!(arguments(&chosen), [&flags[..], &settings].concat());
    let closed = arguments(&["webhooks.failurePolicy=Fail"]);
    assert!(
        closed.contains(&"--repair-excluded-namespaces=kube-system,outrigger".to_owned()),
        "the webhook is not asked there: {closed:?}"
    );
    for off in ["repair.mode=off", "repair.mode=false"] {
        assert_eq!(arguments(&[off]), ["--repair=off"], "YAML takes a bare off for false");
    }
}

/// What people set on the pods of any chart, for each role by itself.
#[test]
fn each_role_takes_what_its_pods_need() {
    let Some(helm) = Helm::obtain("each_role_takes_what_its_pods_need") else { return };
    let toleration = json!({"key": "dedicated", "operator": "Exists"});
    let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}});
    let variable = json!({"name": "RUST_BACKTRACE", "value": "1"});
    let values = json!({
        "replicas": 3,
        "resources": {"limits": {"memory": "1Gi"}},
        "priorityClassName": "high",
        "nodeSelector": {"disk": "fast"},
        "tolerations": [toleration],
        "affinity": affinity,
        "podAnnotations": {"example.com/note": "a"},
        "podLabels": {"example.com/team": "b"},
        "env": [variable],
        "serviceAccountAnnotations": {"example.com/role": "c"},
    });
    for role in ["admission", "controllers"] {
        let rendered = helm.objects(&["--set-json", &format!("{role}={values}"), "--set", "image.pullSecrets={mirror}"]);
        let deployment = find(&rendered, &format!("Deployment/outrigger-{role}"));
        assert_eq!(deployment["spec"]["replicas"], 3);
        let pod = &deployment["spec"]["template"];
        for (place, expected) in [
            ("/spec/containers/0/resources/limits/memory", json!("1Gi")),
            ("/spec/priorityClassName", json!("high")),
            ("/spec/nodeSelector", json!({"disk": "fast", "kubernetes.io/os": "linux"})),
            ("/spec/tolerations", json!([toleration])),
            ("/spec/affinity", affinity.clone()),
            ("/metadata/annotations/example.com~1note", json!("a")),
            ("/metadata/labels/example.com~1team", json!("b")),
            ("/metadata/labels/app.kubernetes.io~1component", json!(role)),
            ("/spec/containers/0/env/1", variable.clone()),
            ("/spec/imagePullSecrets", json!([{"name": "mirror"}])),
        ] {
            assert_eq!(pod.pointer(place), Some(&expected), "{role}{place}");
        }
        // The test's pod needs the same image, so it goes where admission goes.
        let test = rendered.iter().find(|object| title(object) == "Job/outrigger-test").unwrap();
        let tolerated = &test["spec"]["template"]["spec"]["tolerations"];
        assert_eq!(*tolerated == json!([toleration]), role == "admission", "{tolerated}");
        let account = find(&rendered, &format!("ServiceAccount/outrigger-{role}"));
        assert_eq!(account["metadata"]["annotations"]["example.com/role"], "c");
        let other = if role == "admission" { "controllers" } else { "admission" };
        let untouched = &find(&rendered, &format!("Deployment/outrigger-{other}"))["spec"]["template"];
        assert_eq!(untouched["spec"]["containers"][0]["env"].as_array().map(Vec::len), Some(1), "{other} is set by itself");
    }
}

/// YAML takes a bare `7` for a number, and the API server refuses numbers where names belong.
#[test]
fn names_that_look_like_numbers_stay_names() {
    let Some(helm) = Helm::obtain("names_that_look_like_numbers_stay_names") else { return };
    let names = [
        "admission.priorityClassName=7",
        "image.pullSecrets[0]=7",
        "repair.namespaces[0]=7",
        "test.namespace=7",
        "metrics.serviceMonitor.interval=70",
        "log.filter=off",
    ];
    let names: Vec<&str> = names.iter().flat_map(|name| ["--set-string", name]).collect();
    let choices =
        ["webhooks.failurePolicy=Fail", "guard.enabled=true", "networkPolicy.enabled=true", "metrics.serviceMonitor.enabled=true"];
    let version = outrigger_bed::versions::kubernetes().unwrap();
    let template = ["template", "7", CHART, "--namespace", "7", "--kube-version", &version];
    let known = ["--api-versions", "monitoring.coreos.com/v1/ServiceMonitor"];
    for mode in ["certificates.mode=self", "certificates.mode=cert-manager"] {
        let arguments = [&template[..], &names, &known, &set(&choices), &set(&[mode])].concat();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&helm.output(&arguments)).unwrap();
        let text = Value::from(documents).to_string();
        assert!(text.contains(r#""namespace":"7""#) && text.contains(r#""priorityClassName":"7""#), "{text}");
        // Weights, ports and the like are numbers, but none of them is one of these.
        for wrong in [":7,", ":7}", "[7]", ",7]", ":70,", ":70}"] {
            assert!(!text.contains(wrong), "{wrong} in {text}");
        }
    }
}

/// Braces of their own are left to Prometheus and Grafana.
#[test]
fn alerts_and_dashboard_are_those_that_the_program_exports() {
    let Some(helm) = Helm::obtain("alerts_and_dashboard_are_those_that_the_program_exports") else { return };
    let choices = set(&["metrics.alerts.enabled=true", "metrics.dashboard.enabled=true"]);
    let objects = helm.objects(&[&choices[..], &["--api-versions", "monitoring.coreos.com/v1/PrometheusRule"]].concat());
    assert_eq!(find(&objects, "PrometheusRule/outrigger")["spec"], monitoring::rules());
    let dashboard = find(&objects, "ConfigMap/outrigger-dashboard");
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let text = dashboard["data"]["outrigger.json"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), monitoring::dashboard());
}

#[test]
fn reviews_are_traced_where_a_collector_is_named() {
    let Some(helm) = Helm::obtain("reviews_are_traced_where_a_collector_is_named") else { return };
    let variables = |values: &[&str]| {
        find(&helm.objects(&set(values)), "Deployment/outrigger-admission")["spec"]["template"]["spec"]["containers"][0]["env"].clone()
    };
    let collector = json!({"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"});
    assert!(!variables(&[]).to_string().contains("OTEL_"), "nothing is traced by default");
    assert!(variables(&["traces.endpoint=http://collector:4318"]).as_array().unwrap().contains(&collector));
}

/// A change of the settings makes new pods; the CA Secret never has a content that an upgrade could write over.
#[test]
fn upgrades_roll_the_pods_and_keep_the_ca() {
    let Some(helm) = Helm::obtain("upgrades_roll_the_pods_and_keep_the_ca") else { return };
    for role in ["admission", "controllers"] {
        let template =
            |values: &[&str]| find(&helm.objects(&set(values)), &format!("Deployment/outrigger-{role}"))["spec"]["template"].clone();
        assert_eq!(template(&[]), template(&["controllers.replicas=3"]));
        assert_ne!(template(&[]), template(&["injection.imagePullPolicy=Always"]));
    }
    let rendered = helm.objects(&[]);
    let secret = find(&rendered, "Secret/outrigger-ca");
    assert_eq!((&secret["type"], secret.get("data"), secret.get("stringData")), (&json!("outrigger.dev/ca"), None, None));
}

/// On a node's own ports a second replica finds no place beside the first, and an update that waited for it would never end.
#[test]
fn an_update_waits_for_the_new_pod_where_there_is_room_for_it() {
    let Some(helm) = Helm::obtain("an_update_waits_for_the_new_pod_where_there_is_room_for_it") else { return };
    for (values, surge, unavailable) in [(&[][..], 1, 0), (&["admission.hostNetwork=true", "admission.httpsPort=10260"], 0, 1)] {
        let rendered = helm.objects(&set(values));
        let update = &find(&rendered, "Deployment/outrigger-admission")["spec"]["strategy"]["rollingUpdate"];
        assert_eq!(update, &json!({"maxSurge": surge, "maxUnavailable": unavailable}), "{values:?}");
    }
}

/// A number in the manifest would undo what an autoscaler chose, at each upgrade.
#[test]
fn the_number_of_replicas_can_be_left_to_an_autoscaler() {
    let Some(helm) = Helm::obtain("the_number_of_replicas_can_be_left_to_an_autoscaler") else { return };
    for role in ["admission", "controllers"] {
        let rendered = helm.objects(&["--set", &format!("{role}.replicas=null")]);
        assert_eq!(find(&rendered, &format!("Deployment/outrigger-{role}"))["spec"].get("replicas"), None);
    }
}

/// OpenShift gives each namespace user ids of its own, and refuses pods that name others.
#[test]
fn no_pod_names_a_user() {
    let Some(helm) = Helm::obtain("no_pod_names_a_user") else { return };
    for choice in [&[][..], &FILES] {
        let objects = helm.objects(&set(choice));
        let pods: Vec<&Value> = objects.iter().map(|object| &object["spec"]["template"]["spec"]).filter(|pod| pod.is_object()).collect();
        assert_eq!(pods.len(), 3);
        for pod in pods {
            let text = pod.to_string();
            assert!(!["runAsUser", "runAsGroup", "fsGroup"].iter().any(|field| text.contains(field)), "{text}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            // So whoever it is must be able to read what is mounted.
            let secrets = pod["volumes"].as_array().into_iter().flatten().filter(|volume| volume["secret"].is_object());
            assert!(secrets.into_iter().all(|volume| volume["secret"]["defaultMode"] == 0o444), "{text}");
        }
    }
}

/// In a namespace where nothing may go out by default, our pods reach the API server all the same.
#[test]
fn network_policies_let_our_pods_out() {
    let Some(helm) = Helm::obtain("network_policies_let_our_pods_out") else { return };
    let objects = helm.objects(&set(&["networkPolicy.enabled=true"]));
    for role in ["admission", "controllers"] {
        let policy = &find(&objects, &format!("NetworkPolicy/outrigger-{role}"))["spec"];
        assert_eq!((&policy["policyTypes"], &policy["egress"]), (&json!(["Ingress", "Egress"]), &json!([{}])));
    }
}

#[test]
fn a_pod_has_time_to_drain_and_to_finish() {
    let Some(helm) = Helm::obtain("a_pod_has_time_to_drain_and_to_finish") else { return };
    let rendered = helm.objects(&set(&["admission.drainSeconds=25"]));
    let pod = &find(&rendered, "Deployment/outrigger-admission")["spec"]["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"], 45);
    assert!(pod["containers"][0]["args"].as_array().unwrap().contains(&json!("--drain-delay=25s")), "{pod}");
}

fn titles(objects: &[Value], hooks: bool) -> Vec<String> {
    let mut titles: Vec<String> = objects.iter().filter(|object| is_hook(object) == hooks).map(title).collect();
    titles.sort();
    titles
}
