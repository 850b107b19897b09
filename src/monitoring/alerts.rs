//! The alerts: for each its expression, and the runbook for whoever it wakes.

use std::fmt::Write;

use serde_json::{Value, json};

/// The page that [`runbooks`] writes.
const RUNBOOKS: &str = "docs/runbooks.md";

/// Something that people should be told.
#[derive(Debug, Clone, Copy)]
pub struct Alert {
    /// Its name, in camel case.
    pub name: &'static str,
    /// When it is so, in `PromQL`.
    pub expression: &'static str,
    /// For how long it must be so, in Prometheus' words.
    pub lasts: &'static str,
    /// How urgent it is.
    pub severity: Severity,
    /// One sentence; may use labels of the expression.
    pub summary: &'static str,
    /// What it means for users.
    pub meaning: &'static str,
    /// What to do, step by step.
    pub steps: &'static [&'static str],
}

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Somebody should act now.
    Critical,
    /// Somebody should act today.
    Warning,
}

impl Severity {
    /// The value of the label `severity`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// All alerts, the most urgent first.
pub const ALERTS: &[Alert] = &[
    Alert {
        name: "OutriggerAdmissionAbsent",
        expression: "absent(outrigger_admission_in_flight) \
                     or sum by (namespace) (outrigger_ready and on (namespace, pod) outrigger_admission_in_flight) == 0",
        lasts: "5m",
        severity: Severity::Critical,
        summary: "No replica of the admission role is ready, or none is being scraped.",
        meaning: "Either nobody answers admission reviews, or Prometheus does not reach who does. Without answers, pods start without \
                  the sidecars they ask for, or are refused if the failure policy is `Fail` or the guard is on.",
        steps: &[
            "`kubectl -n outrigger get pods -l app.kubernetes.io/component=admission` shows whether replicas run and are ready.",
            "If none is ready, `kubectl -n outrigger logs` of one says what it waits for; so does `/readyz` on its port 8080.",
            "If they are ready, look at the ServiceMonitor and the network policies between Prometheus and port 8080.",
            "With the defaults, pods start meanwhile, without sidecars. With `webhooks.failurePolicy: Fail`, `kubectl delete \
             mutatingwebhookconfiguration outrigger` lets them start; with `guard.enabled`, it is `kubectl delete \
             validatingadmissionpolicybinding outrigger-guard`. `helm upgrade` brings both back.",
        ],
    },
    Alert {
        name: "OutriggerReviewsFail",
        expression: "sum by (webhook, reason) (rate(outrigger_admission_reviews_total{outcome=~\"error|failed\"}[5m])) \
                     / on (webhook) group_left () sum by (webhook) (rate(outrigger_admission_reviews_total[5m])) > 0.01",
        lasts: "10m",
        severity: Severity::Critical,
        summary: "{{ $value | humanizePercentage }} of the reviews of {{ $labels.webhook }} are not answered: {{ $labels.reason }}.",
        meaning: "Outcome `error`: the API server gets an error instead of an answer, and lets the object through or refuses it as the \
                  failure policy says. Outcome `failed`: nothing could be decided about the object, and it was let through as it is.",
        steps: &[
            "Each failed review is one line of the log of the admission role, with the reason.",
            "`overloaded` and `deadline`: give the role more CPU, or more replicas (`admission.replicas`).",
            "`slow`: a body was not there in time, which API servers send at once. Look at the network between them and the pods.",
            "`malformed`, `refused` and `truncated`: something other than an API server sends requests, or a proxy between changes them.",
        ],
    },
    Alert {
        name: "OutriggerCertificateExpires",
        expression: "outrigger_certificate_expiry_seconds - time() \
                     < clamp_max((outrigger_certificate_expiry_seconds - outrigger_certificate_renewal_seconds) / 2, 86400)",
        lasts: "10m",
        severity: Severity::Critical,
        summary: "The certificate that {{ $labels.pod }} serves expires in {{ $value | humanizeDuration }}.",
        meaning: "API servers will refuse the connection once it has expired. It was to be renewed after two thirds of its life, and has a \
                  day left by now, or a sixth of its life if that is less: something keeps it from being renewed.",
        steps: &[
            "Mode `self`: the log of the role says why the CA of the Secret can't be used or renewed; `part_ok` and `/readyz` name it too. \
             The account needs the rights of the chart's Role on that Secret.",
            "Modes `files` and `cert-manager`: look at who writes the Secret (`kubectl describe certificate`). The new pair is loaded \
             within seconds; a pair that can't be loaded is an OutriggerCertificateRejected.",
        ],
    },
    Alert {
        name: "OutriggerSeveralLeaders",
        expression: "sum by (namespace) (outrigger_leading) > 1",
        lasts: "2m",
        severity: Severity::Critical,
        summary: "{{ $value }} controllers of {{ $labels.namespace }} believe that they hold the lease.",
        meaning: "Work that must be done once may be done twice. A holder stops by itself when it can't renew, so two that hold different \
                  Leases are likelier than two that hold one.",
        steps: &[
            "`kubectl -n outrigger get lease` names the holder. All replicas must run with the same `--lease` and `--namespace`.",
            "Delete the pod of the controllers that is not named there.",
        ],
    },
    Alert {
        name: "OutriggerReviewsSlow",
        expression: "histogram_quantile(0.99, sum by (le, webhook) (rate(outrigger_admission_duration_seconds_bucket[5m]))) > 0.1",
        lasts: "10m",
        severity: Severity::Warning,
        summary: "One in a hundred reviews of {{ $labels.webhook }} takes longer than {{ $value | humanizeDuration }}.",
        meaning: "A review takes well under a millisecond of CPU; replicas that are slower lack CPU, or wait for what they don't know yet.",
        steps: &[
            "`container_cpu_cfs_throttled_periods_total` of the pods tells whether a CPU limit holds them back: raise or remove it.",
            "A pod that is only sent because of its namespace's label waits up to a second while that namespace is not known: look at \
             OutriggerPartUnwell.",
        ],
    },
    Alert {
        name: "OutriggerCertificateRejected",
        expression: "increase(outrigger_certificate_reloads_total{result=\"failed\"}[15m]) > 0",
        lasts: "0m",
        severity: Severity::Warning,
        summary: "{{ $labels.pod }} could not use a new certificate and serves the old one.",
        meaning: "The files or the Secret hold something that is no certificate with its key. What was served stays until it expires.",
        steps: &["The log says what is wrong with it. `openssl x509 -noout -text` and `openssl pkey -check` read the same files."],
    },
    Alert {
        name: "OutriggerPartUnwell",
        expression: "outrigger_part_ok == 0",
        lasts: "10m",
        severity: Severity::Warning,
        summary: "{{ $labels.part }} of {{ $labels.pod }} lacks something.",
        meaning: "A part of the process waits, or goes on without what it needs: a watch that is forbidden, a kind that is not installed, \
                  a certificate that is not there. Other parts work.",
        steps: &[
            "`/readyz` on port 8080 of the pod, and its log, say in words what is missing.",
            "Forbidden: compare the account's rights with the chart's (`kubectl auth can-i --list --as`).",
            "Not installed: `outrigger crds | kubectl apply --server-side -f -`.",
        ],
    },
    Alert {
        name: "OutriggerNoLeader",
        expression: "sum by (namespace) (outrigger_leading) < 1 \
                     or (count by (namespace) (max_over_time(outrigger_leading[3d])) unless on (namespace) outrigger_leading \
                     and on (namespace) outrigger_admission_in_flight)",
        lasts: "5m",
        severity: Severity::Warning,
        summary: "No controller of {{ $labels.namespace }} holds the lease.",
        meaning: "Admission goes on. Nobody renews the CA, publishes it in the webhook configurations, or looks for pods without their \
                  sidecars.",
        steps: &[
            "`kubectl -n outrigger get pods -l app.kubernetes.io/component=controllers` shows whether one runs.",
            "Its log says why it does not get the lease; its account may need the chart's Role for Leases.",
            "If they were taken away on purpose, the alert ends three days later; silence it until then.",
        ],
    },
    Alert {
        name: "OutriggerPodsMissingSidecars",
        expression: "sum(outrigger_pods_missing_sidecars) > 0",
        lasts: "30m",
        severity: Severity::Warning,
        summary: "{{ $value }} pods run without the sidecars they ask for.",
        meaning: "They were made while no replica of the webhook could be reached, or it is not asked about them at all. With \
                  `repair.mode: evict`, most of them should have been replaced by now.",
        steps: &[
            "`kubectl get events --all-namespaces --field-selector reason=SidecarsMissing` names their owners, and says why.",
            "If new pods come without sidecars too, the webhook is not called: `kubectl get mutatingwebhookconfiguration outrigger`, \
             and OutriggerAdmissionAbsent.",
            "`kubectl rollout restart` of the owners gives new pods their sidecars; a bare pod must be created again.",
            "With `repair.mode: evict`, reasons SidecarsRepairPaused and `over_budget` in `outrigger_repair_evictions_total` say what \
             keeps pods from being evicted.",
        ],
    },
    Alert {
        name: "OutriggerRepairStalled",
        expression: "time() > outrigger_repair_pass_due_seconds and on (namespace, pod) outrigger_leading == 1",
        lasts: "1m",
        severity: Severity::Warning,
        summary: "{{ $labels.pod }} holds the lease and has not looked at all pods for three intervals and a quarter of an hour.",
        meaning: "Nobody notices pods without their sidecars, at least in one namespace, and the gauges say what the last look found there.",
        steps: &[
            "The log of the pod names the namespaces whose pods can't be listed, and says why, once until it works again.",
            "A namespace that was deleted: take it out of `repair.namespaces`.",
            "Forbidden: its account needs the chart's rights about pods, in each of `repair.namespaces` if these are named.",
            "Too slow: name the namespaces that matter with `repair.namespaces`.",
        ],
    },
    Alert {
        name: "OutriggerDatabaseServerNotLookedAt",
        expression: "time() > max by (namespace, server) (outrigger_databases_look_due_seconds)",
        lasts: "1m",
        severity: Severity::Warning,
        summary: "Nobody has looked at PgServer {{ $labels.server }} for three intervals and five minutes.",
        meaning: "The server is away, refuses the credentials, or takes too long to answer. What it has goes on as it is; PgDatabases there \
                  are neither made nor changed, passwords not rotated, and those that are deleted wait.",
        steps: &[
            "`kubectl describe pgserver` of that name says in the conditions Reachable and Ready what is in the way.",
            "`NoCredentials`, `LoginRefused`: look at the Secret of `spec.credentials` in the namespace of the installation.",
            "`Unreachable`: look at the server itself, its Service and the network policies in between.",
            "A server that is gone for good: `kubectl annotate pgdatabase NAME outrigger.dev/abandon-database=true` lets deleted objects go.",
        ],
    },
    Alert {
        name: "OutriggerDatabasesNotReady",
        expression: "max by (namespace, reason) (outrigger_databases_objects{reason!~\"AsAsked|Absent\"}) > 0",
        lasts: "30m",
        severity: Severity::Warning,
        summary: "{{ $value }} PgDatabases are not as asked for: {{ $labels.reason }}.",
        meaning: "Databases were not made, not changed or not dropped as their authors want. A database that was ready before can be used as it was.",
        steps: &[
            "`kubectl get pgdatabases --all-namespaces` shows which, and `kubectl describe` of one says what to do.",
            "The table of reasons is at the end of `docs/databases.md`.",
        ],
    },
    Alert {
        name: "OutriggerUserListsNotWritten",
        expression: "max by (namespace, reason) (outrigger_userlists_lists{reason!=\"Written\"}) > 0",
        lasts: "15m",
        severity: Severity::Warning,
        summary: "{{ $value }} UserLists are not written: {{ $labels.reason }}.",
        meaning: "PgBouncer goes on with the users it has. New users can't log in, changed passwords are not taken, and removed users still are.",
        steps: &[
            "`kubectl get userlists --all-namespaces` shows which, and `kubectl describe` of one says what is in the way.",
            "The reasons are explained in `docs/userlists.md`.",
        ],
    },
    Alert {
        name: "OutriggerPoolersBehind",
        expression: "max by (namespace) (outrigger_userlists_pooler_pods_behind) > 0",
        lasts: "15m",
        severity: Severity::Warning,
        summary: "{{ $value }} pods of PgBouncer don't use their newest list of users.",
        meaning: "There, a new password or a new user is refused, and a removed user may still be let in.",
        steps: &[
            "`kubectl get userlists --all-namespaces -o yaml` has in `status.poolers` which pods, and why.",
            "Look at these pods: one that isn't ready, or whose agent can't be reached, can't take a list. A new pod begins with the newest one.",
        ],
    },
    Alert {
        name: "OutriggerEventsDropped",
        expression: "rate(outrigger_events_dropped_total[5m]) + rate(outrigger_events_failed_total[5m]) > 0",
        lasts: "15m",
        severity: Severity::Warning,
        summary: "{{ $labels.pod }} can't tell the owners of pods all news.",
        meaning: "Some owners are not told why their pods have no sidecars. Either Events can't be written, which is tried again for an hour; or \
                  more happens for long than the ten a second that are written. Reviews and evictions are not affected.",
        steps: &[
            "`kubectl get events --all-namespaces --field-selector source=outrigger` shows what is told most: put that right first.",
            "If `outrigger_events_failed_total` grows, the log says why Events can't be written: give its account the chart's rights, or the \
             API server more room.",
        ],
    },
    Alert {
        name: "OutriggerSpansDropped",
        expression: "rate(outrigger_dropped_spans_total[5m]) > 0",
        lasts: "15m",
        severity: Severity::Warning,
        summary: "{{ $labels.pod }} drops traces.",
        meaning: "The collector takes spans more slowly than they are made. Reviews are not affected.",
        steps: &["Give the collector more room, or sample less: `OTEL_TRACES_SAMPLER=parentbased_traceidratio`."],
    },
];

/// The alerts as a file of rules for Prometheus, which is also the `spec` of a `PrometheusRule`.
#[must_use]
pub fn rules() -> Value {
    let rules: Vec<Value> = ALERTS
        .iter()
        .map(|alert| {
            json!({
                "alert": alert.name,
                "expr": alert.expression,
                "for": alert.lasts,
                "labels": {"severity": alert.severity.label()},
                "annotations": {
                    "summary": alert.summary,
                    "description": alert.meaning,
                    "runbook": format!("{RUNBOOKS}#{}", alert.name.to_lowercase()),
                },
            })
        })
        .collect();
    json!({"groups": [{"name": "outrigger", "rules": rules}]})
}

/// The runbooks as a page in Markdown.
#[must_use]
pub fn runbooks() -> String {
    let mut page = String::from(
        "<!-- Written from src/monitoring/alerts.rs. -->\n\n# Runbooks\n\nWhat each alert means and what to do. The alerts are part of the chart \
         (`metrics.alerts.enabled`); `outrigger export alerts` prints them for a Prometheus of your own.\n",
    );
    for alert in ALERTS {
        let Alert { name, expression, lasts, severity, meaning, steps, .. } = alert;
        let severity = severity.label();
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {name}\n\n{severity}, after {lasts}:\n\n```promql\n{expression}\n```\n\n{meaning}\n\n");
        for (number, step) in (1..).zip(*steps) {
            let _ = writeln!(page, "{number}. {step}");
        }
    }
    page
}
