//! Alerts and dashboard, as Prometheus and Grafana read them.

use serde_json::{Value, json};

use crate::judges::{complaints_of_grafana, prometheus};

const ALERTS: &str = include_str!("../../charts/pgbouncer/files/alerts.yaml");
const DASHBOARD: &str = include_str!("../../charts/pgbouncer/files/dashboard.json");

fn rules() -> Vec<Value> {
    let groups: Value = serde_saphyr::from_str(ALERTS).unwrap();
    groups["groups"][0]["rules"].as_array().unwrap().clone()
}

/// What an alert looks at.
pub(crate) fn expression(alert: &str) -> Value {
    rules().iter().find(|rule| rule["alert"] == alert).unwrap()["expr"].clone()
}

#[test]
fn prometheus_reads_the_rules_and_the_panels() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let filled_in = |text: &str| text.replace("$__rate_interval", "5m").replace("$namespace", "db").replace("$pod", "one");
    let expressions: Vec<String> = targets.map(|target| filled_in(target["expr"].as_str().unwrap())).collect();
    assert!(expressions.len() > 9);
    assert_eq!(prometheus(&json!({"rules": ALERTS, "expressions": expressions})).0, "");
}

#[test]
fn grafana_s_own_types_take_the_dashboard() {
    assert_eq!(complaints_of_grafana(DASHBOARD), "");
}

/// An alert, some series of the exporter and of the agent, one value a minute, and the pods it is raised for at the fifth minute.
#[test]
fn pgbouncer_t40_alerts_are_raised_when_they_should_be_and_only_then() {
    let cases: [(&str, &str, &[&str]); 7] = [
        ("PgBouncerDown", "pgbouncer_up{pod='a'} 0x9\npgbouncer_up{pod='b'} 1x9", &["a"]),
        (
            "PgBouncerClientsWait",
            "pgbouncer_pools_client_maxwait_seconds{pod='a', database='x', user='u'} 9x9\n\
             pgbouncer_pools_client_maxwait_seconds{pod='b', database='x', user='u'} 1x9",
            &["a"],
        ),
        (
            // Of b another user has a connection, of c the server is back, and nobody waits for long at d.
            "PgBouncerServerAway",
            "pgbouncer_pools_client_maxwait_seconds{pod='a', database='x', user='u'} 9x1 0x9\n\
             pgbouncer_pools_server_active_connections{pod='a', database='x', user='u'} 0x9\n\
             pgbouncer_pools_server_idle_connections{pod='a', database='x', user='u'} 0x9\n\
             pgbouncer_pools_server_used_connections{pod='a', database='x', user='u'} 0x9\n\
             pgbouncer_pools_server_testing_connections{pod='a', database='x', user='u'} 0x9\n\
             pgbouncer_pools_client_maxwait_seconds{pod='b', database='x', user='u'} 9x9\n\
             pgbouncer_pools_server_active_connections{pod='b', database='x', user='u'} 0x9\n\
             pgbouncer_pools_server_idle_connections{pod='b', database='x', user='u'} 0x9\n\
             pgbouncer_pools_server_used_connections{pod='b', database='x', user='u'} 0x9\n\
             pgbouncer_pools_server_testing_connections{pod='b', database='x', user='u'} 0x9\n\
             pgbouncer_pools_client_maxwait_seconds{pod='b', database='x', user='another'} 0x9\n\
             pgbouncer_pools_server_active_connections{pod='b', database='x', user='another'} 1x9\n\
             pgbouncer_pools_server_idle_connections{pod='b', database='x', user='another'} 0x9\n\
             pgbouncer_pools_server_used_connections{pod='b', database='x', user='another'} 0x9\n\
             pgbouncer_pools_server_testing_connections{pod='b', database='x', user='another'} 0x9\n\
             pgbouncer_pools_client_maxwait_seconds{pod='c', database='x', user='u'} 9x1 0x9\n\
             pgbouncer_pools_server_active_connections{pod='c', database='x', user='u'} 0x3 1x9\n\
             pgbouncer_pools_server_idle_connections{pod='c', database='x', user='u'} 0x9\n\
             pgbouncer_pools_server_used_connections{pod='c', database='x', user='u'} 0x9\n\
             pgbouncer_pools_server_testing_connections{pod='c', database='x', user='u'} 0x9\n\
             pgbouncer_pools_client_maxwait_seconds{pod='d', database='x', user='u'} 1x9\n\
             pgbouncer_pools_server_active_connections{pod='d', database='x', user='u'} 0x9\n\
             pgbouncer_pools_server_idle_connections{pod='d', database='x', user='u'} 0x9\n\
             pgbouncer_pools_server_used_connections{pod='d', database='x', user='u'} 0x9\n\
             pgbouncer_pools_server_testing_connections{pod='d', database='x', user='u'} 0x9",
            &["a"],
        ),
        (
            "PgBouncerPoolSaturated",
            "pgbouncer_databases_current_connections{pod='a', name='x'} 19x9\npgbouncer_databases_max_connections{pod='a', name='x'} 20x9\n\
             pgbouncer_databases_current_connections{pod='b', name='x'} 19x9\npgbouncer_databases_max_connections{pod='b', name='x'} 0x9",
            &["a"],
        ),
        (
            "PgBouncerClientLimitNear",
            "pgbouncer_used_clients{pod='a'} 99x9\npgbouncer_config_max_client_connections{pod='a'} 100x9\n\
             pgbouncer_used_clients{pod='b'} 50x9\npgbouncer_config_max_client_connections{pod='b'} 100x9",
            &["a"],
        ),
        ("PgBouncerDatabasePaused", "pgbouncer_databases_paused{pod='a'} 1x9\npgbouncer_databases_paused{pod='b'} 0x9", &["a"]),
        (
            "PgBouncerUserListNotApplied",
            "outrigger_file_sync_pending_notifications{pod='a', container='agent'} 1x9\n\
             outrigger_file_sync_pending_notifications{pod='b', container='agent'} 0x9\n\
             outrigger_file_sync_unwritten_files{pod='c', container='agent'} 1x9\n\
             outrigger_file_sync_pending_notifications{pod='d', container='of-somebody-else'} 1x9",
            &["a", "c"],
        ),
    ];
    let rules = rules();
    assert_eq!(rules.len(), cases.len(), "each alert has a case");
    let questions: Vec<Value> = cases
        .iter()
        .map(|(name, series, _)| {
            let rule = rules.iter().find(|rule| rule["alert"] == *name).unwrap();
            json!({"series": format!("load 1m\n{}", series.replace('\'', "\"")), "expression": rule["expr"], "minute": 5})
        })
        .collect();
    let (complaints, answers) = prometheus(&json!({"rules": ALERTS, "questions": questions}));
    assert_eq!(complaints, "");
    for ((name, _, expected), answer) in cases.iter().zip(answers.as_array().unwrap()) {
        let mut raised: Vec<&str> = answer.as_array().unwrap().iter().map(|element| element["metric"]["pod"].as_str().unwrap()).collect();
        raised.sort_unstable();
        assert_eq!(&raised, expected, "{name}");
    }
}
