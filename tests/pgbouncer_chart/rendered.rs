//! What the chart renders, without a cluster.

use outrigger::api::user_list::{AuthType, ReloadPolicy, StoredForm, UserListSpec, WorkloadKind};
use serde_json::{Value, json};

use crate::{
    CHART, EXAMPLE, container, example,
    helm::{Helm, find, is_hook, set, title},
    ini, least, objects, pod,
};

#[test]
fn helm_finds_nothing_to_complain_of() {
    let Some(helm) = Helm::obtain("helm_finds_nothing_to_complain_of") else { return };
    helm.output(&["lint", "--strict", "--quiet", CHART]);
    for choice in [&[][..], &["defaults.networkPolicy.enabled=true", "defaults.autoscaling.enabled=true", "metrics.alerts.enabled=true"]] {
        helm.output(&[&["lint", "--strict", "--quiet", CHART, "--values", EXAMPLE][..], &set(choice)].concat());
    }
}

#[test]
fn the_example_is_two_poolers_and_no_instance_is_nothing() {
    let Some(helm) = Helm::obtain("the_example_is_two_poolers_and_no_instance_is_nothing") else { return };
    let kinds = ["ConfigMap", "Deployment", "PodDisruptionBudget", "Role", "RoleBinding", "Service", "ServiceAccount", "UserList"];
    let mut expected: Vec<String> =
        kinds.iter().flat_map(|kind| ["pharia", "temporal"].map(|name| format!("{kind}/pgbouncer-{name}"))).collect();
    expected.push("PodMonitor/pgbouncer".to_owned());
    expected.sort();
    let mut titles: Vec<String> = example(&helm, &[]).iter().filter(|object| !is_hook(object)).map(title).collect();
    titles.sort();
    assert_eq!(titles, expected);
    assert_eq!(objects(&helm, &[]), Vec::<Value>::new());
}

#[test]
fn an_instance_says_only_what_it_has_of_its_own() {
    let Some(helm) = Helm::obtain("an_instance_says_only_what_it_has_of_its_own") else { return };
    let objects = example(&helm, &[]);
    let expected = "[databases]
* = host='cluster-pharia-rw' port='5432'
dex = host='cluster-pharia-rw' pool_mode='session' pool_size='20' port='5432'
pharia-os = host='cluster-pharia-rw' pool_mode='session' pool_size='20' port='5432'

[users]
outrigger-probe-pgbouncer-pharia = max_user_client_connections='3'

[pgbouncer]
listen_addr = *
listen_port = 6432
unix_socket_dir = /run/pgbouncer
auth_type = scram-sha-256
auth_file = /run/userlist/namespace_db.secret_pgbouncer-pharia-userlist.userlist.txt
admin_users = pgbouncer
stats_users = outrigger-probe-pgbouncer-pharia
client_tls_sslmode = disable
server_tls_sslmode = require
default_pool_size = 20
ignore_startup_parameters = extra_float_digits, jit
log_disconnections = 0
max_client_conn = 300
pool_mode = transaction";
    assert_eq!(ini(&objects, "pgbouncer-pharia").join("\n").trim_end(), expected);
    let temporal = ini(&objects, "pgbouncer-temporal");
    for line in ["pool_mode = session", "max_client_conn = 200", "ignore_startup_parameters = extra_float_digits"] {
        assert!(temporal.iter().any(|present| present == line), "{line} in {temporal:#?}");
    }
}

#[test]
fn numbers_and_switches_are_written_as_pgbouncer_reads_them() {
    let Some(helm) = Helm::obtain("numbers_and_switches_are_written_as_pgbouncer_reads_them") else { return };
    let values = [
        "defaults.config.pkt_buf=10000000",
        "defaults.config.tcp_keepalive=true",
        "defaults.config.log_stats=false",
        "defaults.config.query_wait_timeout=0.5",
    ];
    let ini = ini(&least(&helm, &values), "pooler-one");
    for line in ["pkt_buf = 10000000", "tcp_keepalive = 1", "log_stats = 0", "query_wait_timeout = 0.5"] {
        assert!(ini.iter().any(|present| present == line), "{line} in {ini:#?}");
    }
}

/// The test's own user needs a limit that older versions don't have.
#[test]
fn an_older_pgbouncer_gets_no_setting_that_it_does_not_know() {
    let Some(helm) = Helm::obtain("an_older_pgbouncer_gets_no_setting_that_it_does_not_know") else { return };
    let objects = least(&helm, &["defaults.version=1.18"]);
    assert!(!ini(&objects, "pooler-one").join("\n").contains("max_user_client_connections"));
    assert_eq!(container(&pod(&objects, "pooler-one"), "pgbouncer")["image"], "localhost/pgbouncer:1.18");
    let test = objects.iter().find(|object| title(object) == "Pod/pooler-one-test-logins").unwrap();
    assert!(test.to_string().contains(r#"{"name":"LIMITED","value":"false"}"#), "{test}");
}

#[test]
fn the_operator_is_asked_in_its_own_words() {
    let Some(helm) = Helm::obtain("the_operator_is_asked_in_its_own_words") else { return };
    let objects = example(&helm, &["instances.pharia.userList.namespaces={data}", "instances.pharia.userlistKey=list"]);
    let spec: UserListSpec = serde_json::from_value(find(&objects, "UserList/pgbouncer-pharia")["spec"].clone()).unwrap();
    assert_eq!((spec.output.name.as_str(), spec.output.key.as_str()), ("pgbouncer-pharia-userlist", "list"));
    assert_eq!((spec.namespaces, spec.minimum_users, spec.reload_policy), (vec!["data".to_owned()], 1, ReloadPolicy::Auto));
    let admin = spec.admin.unwrap();
    assert_eq!((admin.user.as_str(), admin.port), ("pgbouncer", 6432));
    assert_eq!((spec.poolers[0].kind, spec.poolers[0].name.as_deref()), (WorkloadKind::Deployment, Some("pgbouncer-pharia")));
    assert_eq!(pod(&objects, "pgbouncer-pharia")["metadata"]["annotations"]["outrigger.dev/userlist-agent"], "15801");

    let by_hand = least(&helm, &["instances.one.existingAdminSecret=admin"]);
    assert!(!by_hand.iter().any(|object| object["kind"] == "UserList"));
    assert_eq!(find(&by_hand, "Role/pooler-one")["rules"][0]["resourceNames"], json!(["users"]));
}

/// The operator ends the sessions of removed users at the console, wherever it runs.
#[test]
fn a_network_policy_lets_the_operator_reach_agent_and_console() {
    let Some(helm) = Helm::obtain("a_network_policy_lets_the_operator_reach_agent_and_console") else { return };
    let objects = example(&helm, &["defaults.networkPolicy.enabled=true"]);
    let rules = find(&objects, "NetworkPolicy/pgbouncer-pharia")["spec"]["ingress"].clone();
    let of_operator = rules.as_array().unwrap().iter().filter(|rule| rule["from"].to_string().contains("\"controllers\""));
    let ports: Vec<&Value> = of_operator.map(|rule| &rule["ports"][0]["port"]).collect();
    assert_eq!(ports, [&json!(15801), &json!("pgbouncer")]);
}

/// The same files at the same places, and nothing that only the agent needs.
#[test]
fn without_the_agent_the_secrets_are_mounted_where_it_would_write_them() {
    let Some(helm) = Helm::obtain("without_the_agent_the_secrets_are_mounted") else { return };
    let more = [
        "defaults.tls.client.mode=require",
        "defaults.tls.client.secretName=front",
        "defaults.tls.server.mode=verify-full",
        "defaults.tls.server.secretName=back",
        "defaults.networkPolicy.enabled=true",
    ];
    let with = least(&helm, &more);
    let without = least(&helm, &[&more[..], &["agent.enabled=false"]].concat());
    assert_eq!(ini(&with, "pooler-one"), ini(&without, "pooler-one"));
    let pod = pod(&without, "pooler-one");
    assert_eq!(
        (&pod["spec"]["initContainers"], &pod["metadata"]["annotations"]["outrigger.dev/userlist-agent"]),
        (&Value::Null, &Value::Null)
    );
    let volume = pod["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "userlist").unwrap();
    let paths: Vec<&str> = volume["projected"]["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| source["secret"]["items"][0]["path"].as_str().unwrap())
        .collect();
    let expected =
        ["users.userlist.txt", "front.tls.crt", "front.tls.key", "back.ca.crt"].map(|file| format!("namespace_db.secret_{file}"));
    assert_eq!(paths, expected);
    for path in paths {
        assert!(ini(&without, "pooler-one").iter().any(|line| line.ends_with(&format!("/run/userlist/{path}"))), "{path}");
    }
    assert!(!without.iter().any(|object| object["kind"] == "Role"), "nobody reads Secrets by the API server");
    assert_eq!(find(&without, "NetworkPolicy/pooler-one")["spec"]["ingress"].as_array().unwrap().len(), 1);
}

#[test]
fn the_operator_is_told_by_what_passwords_are_proved_and_as_whom_the_pooler_signs_in_by_itself() {
    let Some(helm) = Helm::obtain("the_operator_is_told_by_what_passwords_are_proved") else { return };
    let spec = |more: &[&str]| -> UserListSpec {
        serde_json::from_value(find(&example(&helm, more), "UserList/pgbouncer-pharia")["spec"].clone()).unwrap()
    };
    let usual = spec(&[]);
    assert_eq!((usual.auth_type, usual.stored_form, usual.forced_users.len()), (Some(AuthType::ScramSha256), StoredForm::AsGiven, 0));
    let changed = spec(&[
        "defaults.authType=md5",
        "defaults.userList.storedForm=Verifier",
        "instances.pharia.databases.reports.user=reader",
        "instances.pharia.databases.again.user=reader",
        "instances.pharia.databases.asked.auth_user=asks",
        "instances.pharia.config.auth_user=looks",
    ]);
    assert_eq!((changed.auth_type, changed.stored_form), (Some(AuthType::Md5), StoredForm::Verifier));
    assert_eq!(changed.forced_users, ["asks", "looks", "reader"]);
}

/// A single file that is mounted stays as it is when its source changes, and so does a variable.
#[test]
fn what_may_change_is_mounted_as_a_folder() {
    let Some(helm) = Helm::obtain("what_may_change_is_mounted_as_a_folder") else { return };
    for object in example(&helm, &[]) {
        let text = object.to_string();
        assert!(!text.contains("subPath") && !text.contains("secretKeyRef") && !text.contains("configMapKeyRef"), "{text}");
    }
}

/// The token is for the agent alone, and the passwords for those who need them.
#[test]
fn each_container_sees_what_it_needs() {
    let Some(helm) = Helm::obtain("each_container_sees_what_it_needs") else { return };
    let pod = pod(&example(&helm, &[]), "pgbouncer-pharia");
    let mounts = |name: &str| -> Vec<String> {
        let container = container(&pod, name);
        container["volumeMounts"].as_array().unwrap().iter().map(|mount| mount["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(mounts("agent"), ["userlist", "socket", "token"]);
    assert_eq!(mounts("pgbouncer"), ["config", "userlist", "socket"]);
    assert_eq!(mounts("exporter"), ["socket"]);
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    let medium = |name: &str| {
        pod["spec"]["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == name).unwrap()["emptyDir"]["medium"].clone()
    };
    assert_eq!(medium("userlist"), "Memory", "passwords reach no disk");
}

#[test]
fn pods_are_spread_as_asked() {
    let Some(helm) = Helm::obtain("pods_are_spread_as_asked") else { return };
    let spec = |more: &[&str]| pod(&least(&helm, more), "pooler-one")["spec"].clone();
    assert_eq!(spec(&[])["topologySpreadConstraints"].as_array().unwrap().len(), 2);
    let required = spec(&["defaults.spread=required", "defaults.affinity.nodeAffinity.a=b"]);
    let term = &required["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
    assert_eq!(
        (&term["topologyKey"], &term["labelSelector"]["matchLabels"]["app.kubernetes.io/component"]),
        (&json!("kubernetes.io/hostname"), &json!("one"))
    );
    assert_eq!(required["affinity"]["nodeAffinity"]["a"], "b");
    assert_eq!(spec(&["defaults.spread=none"])["topologySpreadConstraints"], Value::Null);
}
