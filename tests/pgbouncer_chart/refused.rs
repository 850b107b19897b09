//! Values that can't be meant are refused, with a sentence that names them.

use crate::{
    EXAMPLE, LEAST,
    helm::{Helm, set},
    template,
};

#[test]
fn bad_values_are_refused_by_name() {
    let Some(helm) = Helm::obtain("bad_values_are_refused_by_name") else { return };
    for (values, complaint) in [
        (&["instances.one.replica=1"][..], "at '/instances/one': additional properties 'replica' not allowed"),
        (&["instances.One.replicas=1"], "invalid propertyName 'One'"),
        (&["instances.one.replicas=0"], "at '/instances/one/replicas': minimum: got 0, want 1"),
        (&["instances.one.port=80"], "at '/instances/one/port': minimum: got 80, want 1,024"),
        (&["instances.one.version=1.17"], "at '/instances/one/version'"),
        (&["instances.one.authType=trust"], "at '/instances/one/authType': value must be one of 'scram-sha-256', 'md5', 'plain'"),
        (&["instances.one.spread=yes"], "at '/instances/one/spread'"),
        (&["instances.one.port=9127"], "instances.one: exporter.port and port are both 9127: choose two"),
        (
            &["instances.one.podLabels.app\\.kubernetes\\.io/name=a"],
            "instances.one.podLabels has app.kubernetes.io/name, which is the chart's own",
        ),
        (
            &["instances.one.adminUser=outrigger-probe-pooler-one"],
            "instances.one.adminUser is outrigger-probe-pooler-one, which is the user of its tests",
        ),
        (&["instances.one.existingAdminSecret=users"], "instances.one.existingAdminSecret is the Secret of the list, too"),
        (&["instances.one.serverConnections=1"], "instances.one.serverConnections is 1, and there can be 2 pods: each needs one or more"),
        (
            &["instances.one.serverConnections=9", "instances.one.config.max_db_connections=5"],
            "instances.one.config.max_db_connections is the share of one pod, which serverConnections sets",
        ),
        (&["instances.one.tls.client.mode=require"], "instances.one.tls.client.mode is require, which needs tls.client.secretName"),
        (
            &["instances.one.tls.client.mode=verify-ca", "instances.one.tls.client.secretName=a"],
            "instances.one.tls.client.mode is verify-ca, which needs a ca.crt in that Secret",
        ),
        (&["instances.one.tls.server.mode=verify-full"], "instances.one.tls.server.mode is verify-full, which needs tls.server.secretName"),
        (
            &["instances.one.version=1.18", "instances.one.termination.stopSignal=SIGTERM"],
            "instances.one.termination: PgBouncer 1.18 drops all transactions at SIGTERM",
        ),
        (
            &["instances.one.autoscaling.enabled=true", "instances.one.autoscaling.minReplicas=9"],
            "instances.one.autoscaling: minReplicas is 9 and maxReplicas is 6",
        ),
        (
            &["instances.one.autoscaling.enabled=true", "instances.one.autoscaling.metric=waiting-clients"],
            "instances.one.autoscaling.metric is waiting-clients, which the exporter counts: set exporter.enabled",
        ),
        (
            &["fullnameOverride=a-name-of-forty-letters-and-digits-or-s", "instances.one-of-many-more.enabled=true"],
            "longer than 52 characters",
        ),
    ] {
        let refused = template(&helm, &set(&[&LEAST[..], values].concat()));
        assert!(!refused.success && refused.stderr.contains(complaint), "{values:?}: {}", refused.stderr);
    }
    let nothing = template(&helm, &set(&["instances.one.existingUserlistSecret=users"]));
    assert!(nothing.stderr.contains("instances.one.databases is empty"), "{}", nothing.stderr);
}

/// A file of the form of pgbouncer.ini has lines, and quotes in some of them; nothing that users write may add to these.
#[test]
fn what_would_become_structure_is_refused_by_name() {
    let Some(helm) = Helm::obtain("what_would_become_structure_is_refused_by_name") else { return };
    for (value, complaint) in [
        (
            "instances.one.databases.app.host=a' user='b",
            "instances.one.databases.app.host holds a quote, a backslash or a control character",
        ),
        (
            "instances.one.databases.app.host=a\nb = host=c",
            "instances.one.databases.app.host holds a quote, a backslash or a control character",
        ),
        (
            "instances.one.databases.app.dbname=a\\\\",
            "instances.one.databases.app.dbname holds a quote, a backslash or a control character",
        ),
        ("instances.one.users.app.max_user_connections=1'", "instances.one.users.app.max_user_connections holds a quote"),
        (
            "instances.one.config.application_name_add_host=1\nauth_type = any",
            "instances.one.config.application_name_add_host holds a line break",
        ),
        ("instances.one.databases.a b.host=c", "invalid propertyName 'a b'"),
        ("instances.one.databases.#.host=c", "invalid propertyName '#'"),
        ("instances.one.databases.pgbouncer.host=c", "instances.one.databases.pgbouncer: that is the name of PgBouncer's own console"),
        ("instances.one.databases.app.password=c", "invalid propertyName 'password'"),
        ("instances.one.users.a=b.pool_mode=session", "at '/instances/one/users/a': got string, want object"),
        ("instances.one.config.%include=c", "invalid propertyName '%include'"),
        ("instances.one.config.auth_file=c", "instances.one.config.auth_file is written by the chart: the agent keeps it"),
        (
            "instances.one.config.server_tls_sslmode=disable",
            "instances.one.config.server_tls_sslmode is written by the chart: set tls.server",
        ),
        ("instances.one.adminUser=a\\,b", "at '/instances/one/adminUser'"),
    ] {
        let refused = template(&helm, &set(&[&LEAST[..], &[value]].concat()));
        assert!(!refused.success && refused.stderr.contains(complaint), "{value:?}: {}", refused.stderr);
    }
}

#[test]
fn clusters_that_are_not_supported_are_refused() {
    let Some(helm) = Helm::obtain("clusters_that_are_not_supported_are_refused") else { return };
    for (version, allowed) in [("1.32.9", false), ("1.33.0", true), ("1.36.3-gke.100", true), ("1.37.0", false)] {
        let outcome = helm.run(&["template", crate::CHART, "--values", EXAMPLE, "--kube-version", version]);
        assert_eq!(outcome.success, allowed, "{version}: {}", outcome.stderr);
    }
}
