//! The controllers make a database with the rights that the chart gives them, and no others.

use outrigger_bed::{ControlPlane, Postgres};
use serde_json::json;

use crate::{
    common::webhook::wait_for,
    helm::{CHART, Helm, RELEASE, set},
    repair::controllers,
    rights::rules,
};

const ACCOUNT: &str = "outrigger-controllers";

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_s_account_may_make_databases_and_read_secrets_where_it_must_alone() {
    let Some(helm) = Helm::obtain("the_chart_s_account_may_make_databases_and_read_secrets_where_it_must_alone") else { return };
    // Of its own: an installation is one a cluster.
    let cluster = ControlPlane::start().await;
    let helm = helm.at(&cluster);
    let postgres = Postgres::shared().await;
    let (team, elsewhere) = (cluster.namespace("team").await, cluster.namespace("elsewhere").await);
    let here = format!("databases.namespaces={{{}}}", team.name());
    let values = set(&["databases.enabled=true", "databases.interval=1s", "repair.mode=off", &here]);
    helm.output(&[&["install", RELEASE, CHART, "--namespace", RELEASE, "--create-namespace"], &values[..]].concat());
    wait_for("the account may read Secrets in the namespace that is named, and nowhere else", async || {
        let secrets = "| `secrets` of core | all | `get`, `create`, `patch` |";
        let may = async |namespace: &str| rules(&cluster, ACCOUNT, namespace).await.iter().any(|rule| rule.contains(secrets));
        (may(team.name()).await && !may(elsewhere.name()).await).then_some(())
    })
    .await;

    postgres.query_as_owner("postgres", "CREATE ROLE chart_admin LOGIN CREATEDB CREATEROLE PASSWORD 'password'");
    let objects = [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "admin", "namespace": RELEASE},
            "stringData": {"username": "chart_admin", "password": "password"}}),
        json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "PgServer", "metadata": {"name": "main"},
            "spec": {"host": "127.0.0.1", "port": postgres.port(), "credentials": {"name": "admin"}, "tls": {"mode": "Require"},
                "allow": [{"namespaces": ["*"]}]}}),
        json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "PgDatabase", "metadata": {"name": "shop", "namespace": team.name()},
            "spec": {"server": "main", "name": "shop", "owner": {"name": "shop", "create": true}, "reclaimPolicy": "Delete",
                "connectionSecret": {"name": "login"}}}),
    ];
    for object in &objects {
        drop(cluster.kubectl_with_input(&["apply", "-f", "-"], &object.to_string()).await.success());
    }
    let server = controllers(&cluster, &helm.objects(&values)).await;
    let ready = ["wait", "--for=condition=Ready", "pgdatabase/shop", "--timeout=60s", "--namespace", team.name()];
    let waited = cluster.kubectl(&ready).await;
    assert!(waited.status.success(), "{}{}", waited.stderr, server.log());
    drop(cluster.kubectl(&["--namespace", team.name(), "delete", "pgdatabase", "shop", "--timeout=60s"]).await.success());
    assert_eq!(postgres.query_as_owner("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'shop'"), "0");
    let log = server.log();
    assert!(!log.contains("can't") && !log.contains("orbidden"), "it lacks no right: {log}");
}
