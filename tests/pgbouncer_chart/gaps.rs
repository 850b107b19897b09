//! The gaps of qs-pgbouncer, the chart from which this one learnt: those that its README lists itself, and those found in it (P1 to P16). Each
//! test shows what ours does instead. What the list of users itself must hold is the operator's part, and tested there.

use serde_json::{Value, json};

use crate::{
    container, example,
    helm::{Helm, find, is_hook, set, title},
    ini, least, pod, template,
};

/// Helm, for a test that is named after itself.
macro_rules! helm_or_return {
    ($test:expr) => {
        match Helm::obtain($test) {
            Some(helm) => helm,
            None => return,
        }
    };
}

/// The value of a container's variable.
fn variable(container: &Value, name: &str) -> String {
    let variables = container["env"].as_array().unwrap();
    variables.iter().find(|variable| variable["name"] == name).unwrap()["value"].as_str().unwrap().to_owned()
}

fn agent(objects: &[Value], instance: &str) -> Value {
    container(&pod(objects, instance), "agent")
}

#[test]
fn readme_probes_look_at_the_poolers_own_listener() {
    let helm = helm_or_return!("readme_probes_look_at_the_poolers_own_listener");
    let pooler = container(&pod(&least(&helm, &[]), "pooler-one"), "pgbouncer");
    for probe in ["readinessProbe", "livenessProbe"] {
        assert_eq!(pooler[probe]["tcpSocket"]["port"], "pgbouncer", "a server that is away must not take all poolers with it");
    }
    let slower = container(&pod(&least(&helm, &["defaults.livenessProbe.periodSeconds=60"]), "pooler-one"), "pgbouncer");
    assert_eq!(slower["livenessProbe"]["periodSeconds"], 60);
}

#[test]
fn readme_security_contexts_are_restricted_and_can_be_set() {
    let helm = helm_or_return!("readme_security_contexts_are_restricted_and_can_be_set");
    let objects = least(&helm, &["defaults.exporter.enabled=true", "defaults.podSecurityContext.runAsUser=1001"]);
    let mut pods = vec![pod(&objects, "pooler-one")];
    pods.extend(objects.iter().filter(|object| object["kind"] == "Pod").cloned());
    assert_eq!(pods.len(), 2, "the pooler's and the test's");
    for pod in pods {
        let context = &pod["spec"]["securityContext"];
        assert_eq!((&context["runAsNonRoot"], &context["runAsUser"]), (&json!(true), &json!(1001)));
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
        for container in ["initContainers", "containers"].iter().filter_map(|list| pod["spec"][list].as_array()).flatten() {
            let context = &container["securityContext"];
            let expected = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
            assert_eq!(context, &expected, "{}", container["name"]);
        }
    }
}

#[test]
fn readme_network_policy_restricts_clients_metrics_and_the_agent() {
    let helm = helm_or_return!("readme_network_policy_restricts_clients_metrics_and_the_agent");
    let clients = "defaults.networkPolicy.clients[0].namespaceSelector.matchLabels.team=shop";
    let objects = least(&helm, &["defaults.networkPolicy.enabled=true", "defaults.exporter.enabled=true", clients]);
    let policy = &find(&objects, "NetworkPolicy/pooler-one")["spec"];
    let ports: Vec<&Value> = policy["ingress"].as_array().unwrap().iter().map(|rule| &rule["ports"][0]["port"]).collect();
    assert_eq!(ports, [&json!("pgbouncer"), &json!("metrics"), &json!(15801)]);
    let tests = &policy["ingress"][0]["from"][1]["podSelector"]["matchLabels"];
    let pod = objects.iter().find(|object| title(object) == "Pod/pooler-one-test-logins").unwrap();
    let pod = &pod["metadata"]["labels"];
    assert!(
        tests.as_object().unwrap().iter().all(|(key, value)| pod[key] == *value) && tests["app.kubernetes.io/component"] == "test",
        "{tests}"
    );
    assert_eq!(
        policy["ingress"][0]["from"],
        json!([{"namespaceSelector": {"matchLabels": {"team": "shop"}}}, {"podSelector": {"matchLabels": tests}}])
    );
    let operator = &policy["ingress"][2]["from"][0]["podSelector"]["matchLabels"];
    assert_eq!(operator["app.kubernetes.io/name"], "outrigger");
    assert_eq!(policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"], "one");
}

#[test]
fn readme_tls_towards_clients_and_the_server() {
    let helm = helm_or_return!("readme_tls_towards_clients_and_the_server");
    let client = ["defaults.tls.client.mode=verify-full", "defaults.tls.client.secretName=front", "defaults.tls.client.hasAuthority=true"];
    let server = ["defaults.tls.server.mode=verify-full", "defaults.tls.server.secretName=back"];
    let objects = least(&helm, &[&client[..], &server].concat());
    let ini = ini(&objects, "pooler-one");
    for line in [
        "client_tls_sslmode = verify-full",
        "client_tls_cert_file = /run/userlist/namespace_db.secret_front.tls.crt",
        "client_tls_key_file = /run/userlist/namespace_db.secret_front.tls.key",
        "client_tls_ca_file = /run/userlist/namespace_db.secret_front.ca.crt",
        "server_tls_sslmode = verify-full",
        "server_tls_ca_file = /run/userlist/namespace_db.secret_back.ca.crt",
    ] {
        assert!(ini.iter().any(|present| present == line), "{line} in {ini:#?}");
    }
    // So a renewed certificate is loaded by the same RELOAD as a changed list.
    assert_eq!(variable(&agent(&objects, "pooler-one"), "RESOURCE_NAME"), "users,front,back");
    let rules = &find(&objects, "Role/pooler-one")["rules"];
    assert_eq!(
        rules,
        &json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["users", "front", "back"], "verbs": ["get", "list", "watch"]}])
    );
}

#[test]
fn readme_monitors_are_made_where_the_cluster_knows_them() {
    let helm = helm_or_return!("readme_monitors_are_made_where_the_cluster_knows_them");
    let choice = ["podMonitor", "serviceMonitor", "alerts", "dashboard"].map(|what| format!("metrics.{what}.enabled=true"));
    let choice: Vec<&str> = choice.iter().map(String::as_str).collect();
    let objects = least(&helm, &choice);
    for expected in
        ["PodMonitor/pooler", "ServiceMonitor/pooler", "PrometheusRule/pooler", "ConfigMap/pooler-dashboard", "Service/pooler-metrics"]
    {
        find(&objects, expected);
    }
    let unknowing = template(&helm, &set(&[&crate::LEAST[..], &choice].concat()));
    assert!(unknowing.success && !unknowing.stdout.contains("kind: PodMonitor") && unknowing.stdout.contains("kind: ConfigMap"));
}

#[test]
fn readme_autoscaling_by_cpu_or_waiting_clients_shares_the_servers_connections() {
    let helm = helm_or_return!("readme_autoscaling_by_cpu_or_waiting_clients_shares_the_servers_connections");
    let scaled = ["defaults.autoscaling.enabled=true", "defaults.autoscaling.maxReplicas=8", "defaults.serverConnections=100"];
    let objects = least(&helm, &scaled);
    let metric = &find(&objects, "HorizontalPodAutoscaler/pooler-one")["spec"]["metrics"][0];
    assert_eq!((&metric["type"], &metric["containerResource"]["container"]), (&json!("ContainerResource"), &json!("pgbouncer")));
    assert!(ini(&objects, "pooler-one").contains(&"max_db_connections = 12".to_owned()), "a hundred by eight");
    let deployment = &find(&objects, "Deployment/pooler-one")["spec"];
    assert_eq!(deployment["replicas"], Value::Null, "an upgrade leaves the number alone");
    assert_eq!(deployment["strategy"]["rollingUpdate"]["maxSurge"], 0, "no ninth pod");

    let waiting = ["defaults.autoscaling.metric=waiting-clients", "defaults.autoscaling.target=3", "defaults.exporter.enabled=true"];
    let objects = least(&helm, &[&scaled[..], &waiting].concat());
    let metric = &find(&objects, "HorizontalPodAutoscaler/pooler-one")["spec"]["metrics"][0]["pods"];
    assert_eq!(metric["metric"]["name"], "pgbouncer_pools_client_waiting_connections");
    assert_eq!(metric["target"]["averageValue"], "3");
}

#[test]
fn readme_logging_of_pooler_and_exporter_can_be_set() {
    let helm = helm_or_return!("readme_logging_of_pooler_and_exporter_can_be_set");
    let objects = least(&helm, &["defaults.config.verbose=2", "defaults.exporter.enabled=true", "defaults.exporter.logLevel=debug"]);
    assert!(ini(&objects, "pooler-one").contains(&"verbose = 2".to_owned()));
    let arguments = container(&pod(&objects, "pooler-one"), "exporter")["args"].to_string();
    assert!(arguments.contains("--log.level=debug"), "{arguments}");
}

#[test]
fn readme_the_changelog_knows_the_charts_version() {
    let chart: Value = serde_saphyr::from_str(include_str!("../../charts/pgbouncer/Chart.yaml")).unwrap();
    let changelog = include_str!("../../charts/pgbouncer/CHANGELOG.md");
    assert!(changelog.contains(&format!("\n## {}", chart["version"].as_str().unwrap())), "{changelog}");
}

#[test]
fn readme_the_test_sees_limits_rotation_and_latency() {
    let helm = helm_or_return!("readme_the_test_sees_limits_rotation_and_latency");
    let objects = example(&helm, &[]);
    let script = include_str!("../../charts/pgbouncer/files/test.sh");
    for step in ["sign_in", "measure", "count", "saturate", "rotation)"] {
        assert!(script.contains(step), "{step}");
    }
    let pods: Vec<String> = objects.iter().filter(|object| object["kind"] == "Pod").map(title).collect();
    for expected in ["Pod/pgbouncer-pharia-test-logins", "Pod/pgbouncer-pharia-test-rotation", "Pod/pgbouncer-temporal-test-rotation"] {
        assert!(pods.iter().any(|pod| pod == expected), "{expected} in {pods:?}");
    }
    assert!(ini(&objects, "pgbouncer-pharia").contains(&"outrigger-probe-pgbouncer-pharia = max_user_client_connections='3'".to_owned()));
    let own = objects.iter().filter(|object| title(object) == "Secret/pgbouncer-pharia-test-rotation").collect::<Vec<_>>();
    assert_eq!(own.len(), 2, "before and after the change");
    assert_ne!(own[0]["stringData"]["password"], own[1]["stringData"]["password"]);
    assert_eq!(own[0]["metadata"]["labels"]["qs-postgresql-cluster/name"], "cluster-pharia", "the UserList selects it");
    let names = objects
        .iter()
        .filter(|object| title(object).ends_with("-test-rotation"))
        .filter_map(|object| object["stringData"]["username"].as_str());
    let names: std::collections::BTreeSet<&str> = names.collect();
    assert_eq!(names.len(), 2, "instances whose users have the same labels don't get in each other's way: {names:?}");
    for name in names {
        let list = format!("UserList/{}", name.strip_prefix("outrigger-probe-").unwrap());
        assert_eq!(find(&objects, &list)["spec"]["reservedUsers"], json!([name]), "no other namespace can give who may read statistics");
    }
    for hook in objects.iter().filter(|object| is_hook(object)) {
        let name = hook["metadata"]["name"].as_str().unwrap();
        assert!(pods.contains(&format!("Pod/{name}")), "helm test --logs asks for the log of a pod {name}");
    }
    let other = objects_with_image(&helm);
    assert_eq!(other, "registry.example.com/postgres:17");
}

fn objects_with_image(helm: &Helm) -> String {
    let objects = example(helm, &["tests.image=registry.example.com/postgres:17"]);
    let pod = objects.iter().find(|object| object["kind"] == "Pod").unwrap();
    pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

#[test]
fn readme_pods_end_gracefully_in_every_version() {
    let helm = helm_or_return!("readme_pods_end_gracefully_in_every_version");
    let ends = |more: &[&str]| {
        let pod = pod(&least(&helm, more), "pooler-one");
        (pod["spec"]["terminationGracePeriodSeconds"].clone(), container(&pod, "pgbouncer")["lifecycle"]["preStop"].clone())
    };
    assert_eq!(ends(&[]), (json!(65), json!({"sleep": {"seconds": 5}})), "the image's signal lets transactions finish");
    let (_, command) =
        ends(&["defaults.version=1.18", "defaults.termination.stopSignal=SIGTERM", "defaults.termination.command={sh,-c,kill -INT 1}"]);
    assert_eq!(command, json!({"exec": {"command": ["sh", "-c", "kill -INT 1"]}}));
    assert_eq!(ends(&["defaults.version=1.23", "defaults.termination.stopSignal=SIGTERM"]).0, 65, "it waits for clients, so long");
    let dockerfile = include_str!("../../images/pgbouncer/Dockerfile");
    assert!(dockerfile.contains("\nSTOPSIGNAL SIGINT\n"));
}

/// P1, P2, P3: a shell script built the list, and what stood in passwords changed it.
#[test]
fn qs_pgbouncer_p1_p2_p3_no_script_of_the_chart_builds_a_list() {
    let helm = helm_or_return!("qs_pgbouncer_p1_p2_p3_no_script_of_the_chart_builds_a_list");
    let objects = example(&helm, &[]);
    assert!(!objects.iter().any(|object| object["kind"] == "Job"));
    find(&objects, "UserList/pgbouncer-pharia");
    // Whoever builds it: one that PgBouncer would read wrongly is not used.
    assert!(variable(&agent(&objects, "pgbouncer-pharia"), "PGBOUNCER_AUTH_FILE").ends_with("pgbouncer-pharia-userlist.userlist.txt"));
}

/// P4, P5: the administrator's password was copied once, or was empty, and the exporter kept the old one.
#[test]
fn qs_pgbouncer_p4_p5_agent_and_exporter_need_no_password() {
    let helm = helm_or_return!("qs_pgbouncer_p4_p5_agent_and_exporter_need_no_password");
    let objects = example(&helm, &[]);
    assert_eq!(
        find(&objects, "UserList/pgbouncer-pharia")["spec"]["admin"]["secret"]["name"],
        "pgbouncer-pharia-admin",
        "the operator rotates it"
    );
    let pod = pod(&objects, "pgbouncer-pharia");
    assert_eq!(variable(&container(&pod, "agent"), "PGBOUNCER_HOST"), "/run/pgbouncer");
    let exporter = container(&pod, "exporter");
    assert!(exporter["args"].to_string().contains("host=/run/pgbouncer") && exporter["env"].is_null(), "{exporter}");
    assert!(!pod.to_string().contains("admin"), "no container knows of the Secret");
}

/// P6, P9: users changed with `helm upgrade` alone, and the restart came before the new objects.
#[test]
fn qs_pgbouncer_p6_p9_nothing_happens_in_hooks_of_upgrades() {
    let helm = helm_or_return!("qs_pgbouncer_p6_p9_nothing_happens_in_hooks_of_upgrades");
    let objects = example(&helm, &[]);
    let hooks = objects.iter().filter(|object| is_hook(object)).map(|object| &object["metadata"]["annotations"]["helm.sh/hook"]);
    assert!(hooks.clone().count() > 4 && hooks.clone().all(|hook| hook == "test"));
}

/// P7: two clusters, with their names in two copies of one job.
#[test]
fn qs_pgbouncer_p7_there_are_as_many_instances_as_are_named() {
    let helm = helm_or_return!("qs_pgbouncer_p7_there_are_as_many_instances_as_are_named");
    let names = |objects: &[Value]| objects.iter().filter(|object| object["kind"] == "Deployment").map(title).collect::<Vec<_>>();
    assert_eq!(names(&example(&helm, &[])), ["Deployment/pgbouncer-pharia", "Deployment/pgbouncer-temporal"]);
    let third = ["instances.third.databases.a.host=b", "instances.third.userList.matchLabels.a=b", "instances.temporal.enabled=false"];
    assert_eq!(names(&example(&helm, &third)), ["Deployment/pgbouncer-pharia", "Deployment/pgbouncer-third"]);
}

/// P8: rights for all Secrets, and refusals that looked like an empty list.
#[test]
fn qs_pgbouncer_p8_a_pod_may_read_its_own_list_alone() {
    let helm = helm_or_return!("qs_pgbouncer_p8_a_pod_may_read_its_own_list_alone");
    let objects = example(&helm, &[]);
    for object in objects.iter().filter(|object| object["kind"] == "Role") {
        for rule in object["rules"].as_array().unwrap() {
            assert_eq!((&rule["resources"], &rule["verbs"]), (&json!(["secrets"]), &json!(["get", "list", "watch"])));
            assert_eq!(rule["resourceNames"].as_array().unwrap().len(), 1, "{rule}");
        }
    }
    assert!(!objects.iter().any(|object| object["kind"].as_str().unwrap().starts_with("Cluster")));
}

/// P10, P11: each change of the list, even of its order, was a rollout.
#[test]
fn qs_pgbouncer_p10_p11_a_changed_list_rolls_no_pod_and_a_changed_setting_does() {
    let helm = helm_or_return!("qs_pgbouncer_p10_p11_a_changed_list_rolls_no_pod_and_a_changed_setting_does");
    let template = |more: &[&str]| pod(&least(&helm, more), "pooler-one");
    let before = template(&[]);
    assert_eq!(before, template(&["defaults.userList.minimumUsers=5"]));
    assert_ne!(before, template(&["defaults.config.max_client_conn=5"]));
    let annotations = before["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["checksum/config", "outrigger.dev/userlist-agent"]);
    assert!(!before["metadata"]["labels"].to_string().contains("0.1.0"), "nor does a new version of the chart");
}

/// P12: what its README lists; each has a test of its own above.
#[test]
fn qs_pgbouncer_p12_a_disruption_budget_is_there_for_two_pods_or_more() {
    let helm = helm_or_return!("qs_pgbouncer_p12_a_disruption_budget_is_there_for_two_pods_or_more");
    let has_budget = |more: &[&str]| least(&helm, more).iter().any(|object| object["kind"] == "PodDisruptionBudget");
    assert!(has_budget(&[]) && has_budget(&["defaults.autoscaling.enabled=true"]));
    assert!(!has_budget(&["defaults.replicas=1"]), "it would block each drain");
    assert!(!has_budget(&["defaults.autoscaling.enabled=true", "defaults.autoscaling.minReplicas=1"]));
}

/// A drain waits for one pod at a time, and for none that is not ready anyway.
#[test]
fn pgbouncer_t41_no_budget_blocks_a_drain() {
    let helm = helm_or_return!("pgbouncer_t41_no_budget_blocks_a_drain");
    let objects = least(&helm, &[]);
    let budget = &find(&objects, "PodDisruptionBudget/pooler-one")["spec"];
    assert_eq!((&budget["maxUnavailable"], &budget["unhealthyPodEvictionPolicy"]), (&json!(1), &json!("AlwaysAllow")));
    assert!(!least(&helm, &["defaults.replicas=1"]).iter().any(|object| object["kind"] == "PodDisruptionBudget"));
}

/// Who cancels a query comes by a connection of its own, which must reach the same pod.
#[test]
fn pgbouncer_t32_each_client_can_be_led_to_one_pod_always() {
    let helm = helm_or_return!("pgbouncer_t32_each_client_can_be_led_to_one_pod_always");
    let affinity = |more: &[&str]| find(&least(&helm, more), "Service/pooler-one")["spec"]["sessionAffinity"].clone();
    assert_eq!(affinity(&["defaults.service.sessionAffinity=ClientIP"]), "ClientIP");
    assert_eq!(affinity(&[]), "None", "a few clients would not be spread by it");
}

/// P13: an image without a version.
#[test]
fn qs_pgbouncer_p13_every_image_has_a_version() {
    let helm = helm_or_return!("qs_pgbouncer_p13_every_image_has_a_version");
    for object in example(&helm, &[]) {
        let spec = if object["kind"] == "Pod" { &object["spec"] } else { &object["spec"]["template"]["spec"] };
        for container in ["initContainers", "containers"].iter().filter_map(|list| spec[list].as_array()).flatten() {
            let (_, version) = container["image"].as_str().unwrap().rsplit_once(':').unwrap();
            assert!(version.contains(|letter: char| letter.is_ascii_digit()), "{container}");
        }
    }
    let agent = agent(&example(&helm, &[]), "pgbouncer-pharia");
    assert_eq!(agent["image"], concat!("localhost/outrigger:", env!("CARGO_PKG_VERSION")), "the agent comes with the chart");
}

/// P14: Secrets that stayed behind.
#[test]
fn qs_pgbouncer_p14_all_that_is_made_belongs_to_the_release() {
    let helm = helm_or_return!("qs_pgbouncer_p14_all_that_is_made_belongs_to_the_release");
    let objects = example(&helm, &[]);
    assert!(!objects.iter().any(|object| object["kind"] == "Secret" && !is_hook(object)), "the operator's go with the UserList");
    for secret in objects.iter().filter(|object| object["kind"] == "Secret") {
        assert!(secret["metadata"]["annotations"]["helm.sh/hook-delete-policy"].as_str().unwrap().contains("hook-succeeded,hook-failed"));
    }
}

/// P15: each pooler was given the passwords of its whole cluster.
#[test]
fn qs_pgbouncer_p15_each_instance_chooses_its_own_users() {
    let helm = helm_or_return!("qs_pgbouncer_p15_each_instance_chooses_its_own_users");
    let objects = example(&helm, &["instances.pharia.userList.matchLabels.app=shop"]);
    let labels = |name: &str| find(&objects, &format!("UserList/pgbouncer-{name}"))["spec"]["selector"]["matchLabels"].clone();
    assert_eq!((&labels("pharia")["app"], &labels("temporal")["app"]), (&json!("shop"), &Value::Null));
    let nobodys = template(&helm, &set(&["instances.one.databases.app.host=postgres"]));
    assert!(nobodys.stderr.contains("instances.one.userList.matchLabels is empty"), "{}", nobodys.stderr);
}

/// P16: an empty list could still be written.
#[test]
fn qs_pgbouncer_p16_an_empty_list_is_neither_asked_for_nor_used() {
    let helm = helm_or_return!("qs_pgbouncer_p16_an_empty_list_is_neither_asked_for_nor_used");
    let refused = template(&helm, &set(&[&crate::LEAST[..], &["defaults.userList.minimumUsers=0"]].concat()));
    assert!(refused.stderr.contains("at '/defaults/userList/minimumUsers': minimum: got 0, want 1"), "{}", refused.stderr);
    let agent = agent(&least(&helm, &[]), "pooler-one");
    assert_eq!(variable(&agent, "PGBOUNCER_AUTH_FILE"), "namespace_db.secret_users.userlist.txt");
    assert_eq!(
        (&agent["restartPolicy"], &agent["startupProbe"]["exec"]["command"]),
        (&json!("Always"), &json!(["outrigger", "file-sync", "probe"])),
        "PgBouncer waits"
    );
}
