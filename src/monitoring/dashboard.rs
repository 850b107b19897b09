//! The dashboard, in the JSON that Grafana imports.

use serde_json::{Value, json};

/// A chart of the dashboard.
struct Panel {
    title: &'static str,
    /// What the numbers mean, for the hint in its corner.
    description: &'static str,
    unit: Unit,
    /// Expressions in `PromQL`, each with the name of its lines.
    lines: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy)]
enum Unit {
    PerSecond,
    Seconds,
    Bytes,
    Count,
    Ratio,
}

impl Unit {
    /// The name Grafana has for it.
    const fn id(self) -> &'static str {
        match self {
            Self::PerSecond => "reqps",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::Count => "short",
            Self::Ratio => "percentunit",
        }
    }
}

/// Panels under a heading.
struct Row {
    title: &'static str,
    panels: &'static [Panel],
}

const ROWS: &[Row] = &[
    Row {
        title: "Reviews",
        panels: &[
            Panel {
                title: "Reviews by outcome",
                description: "Reviews answered, by webhook and outcome.",
                unit: Unit::PerSecond,
                lines: &[(
                    "sum by (webhook, outcome) (rate(outrigger_admission_reviews_total{namespace=~\"$namespace\"}[$__rate_interval]))",
                    "{{webhook}} {{outcome}}",
                )],
            },
            Panel {
                title: "Reviews that were refused or failed",
                description: "By reason. Each is one line of the log.",
                unit: Unit::PerSecond,
                lines: &[(
                    "sum by (webhook, outcome, reason) (rate(outrigger_admission_reviews_total{namespace=~\"$namespace\", \
                     outcome=~\"denied|error|failed\"}[$__rate_interval]))",
                    "{{webhook}} {{outcome}}: {{reason}}",
                )],
            },
            Panel {
                title: "Duration of reviews",
                description: "From a review's last byte to its answer.",
                unit: Unit::Seconds,
                lines: &[
                    (
                        "histogram_quantile(0.99, sum by (le, webhook) \
                         (rate(outrigger_admission_duration_seconds_bucket{namespace=~\"$namespace\"}[$__rate_interval])))",
                        "{{webhook}} p99",
                    ),
                    (
                        "histogram_quantile(0.5, sum by (le, webhook) \
                         (rate(outrigger_admission_duration_seconds_bucket{namespace=~\"$namespace\"}[$__rate_interval])))",
                        "{{webhook}} p50",
                    ),
                ],
            },
            Panel {
                title: "Reviews in flight",
                description: "Being read or decided.",
                unit: Unit::Count,
                lines: &[("sum by (pod) (outrigger_admission_in_flight{namespace=~\"$namespace\"})", "{{pod}}")],
            },
        ],
    },
    Row {
        title: "Repair",
        panels: &[
            Panel {
                title: "Pods in need",
                description: "Without the sidecars they ask for, or with those of another version or of other settings, at the last look.",
                unit: Unit::Count,
                lines: &[
                    ("sum(outrigger_pods_missing_sidecars{namespace=~\"$namespace\"})", "missing"),
                    ("sum(outrigger_pods_outdated{namespace=~\"$namespace\"})", "outdated"),
                ],
            },
            Panel {
                title: "Looks at all pods",
                description: "That came to their end.",
                unit: Unit::Count,
                lines: &[(
                    "sum by (pod) (increase(outrigger_repair_passes_total{namespace=~\"$namespace\"}[$__rate_interval]))",
                    "{{pod}}",
                )],
            },
            Panel {
                title: "Evictions",
                description: "By outcome. Over budget: a disruption budget forbids it for now.",
                unit: Unit::Count,
                lines: &[(
                    "sum by (outcome) (increase(outrigger_repair_evictions_total{namespace=~\"$namespace\"}[$__rate_interval]))",
                    "{{outcome}}",
                )],
            },
            Panel {
                title: "Events",
                description: "News for the owners of pods. What could not be written is tried again; what comes faster than ten a second for long is dropped.",
                unit: Unit::Count,
                lines: &[
                    ("sum(increase(outrigger_events_written_total{namespace=~\"$namespace\"}[$__rate_interval]))", "written"),
                    ("sum(increase(outrigger_events_failed_total{namespace=~\"$namespace\"}[$__rate_interval]))", "failed"),
                    ("sum(increase(outrigger_events_dropped_total{namespace=~\"$namespace\"}[$__rate_interval]))", "dropped"),
                ],
            },
        ],
    },
    Row {
        title: "Databases and user lists",
        panels: &[
            Panel {
                title: "PgDatabases",
                description: "By the reason of their condition Ready.",
                unit: Unit::Count,
                lines: &[("max by (reason) (outrigger_databases_objects{namespace=~\"$namespace\"})", "{{reason}}")],
            },
            Panel {
                title: "Servers not looked at",
                description: "How long the next look at a server's catalogue is overdue; below zero it isn't.",
                unit: Unit::Seconds,
                lines: &[("time() - max by (server) (outrigger_databases_look_due_seconds{namespace=~\"$namespace\"})", "{{server}}")],
            },
            Panel {
                title: "Work on databases",
                description: "Statements that change a server, statuses that are written, and looks at catalogues. When nothing changes, only looks are left.",
                unit: Unit::PerSecond,
                lines: &[
                    ("sum(rate(outrigger_databases_statements_total{namespace=~\"$namespace\"}[$__rate_interval]))", "statements"),
                    ("sum(rate(outrigger_databases_status_writes_total{namespace=~\"$namespace\"}[$__rate_interval]))", "statuses"),
                    ("sum(rate(outrigger_databases_looks_total{namespace=~\"$namespace\"}[$__rate_interval]))", "looks"),
                ],
            },
            Panel {
                title: "Duration of CREATE DATABASE",
                description: "As the server takes it.",
                unit: Unit::Seconds,
                lines: &[
                    (
                        "histogram_quantile(0.99, sum by (le) \
                         (rate(outrigger_databases_creation_seconds_bucket{namespace=~\"$namespace\"}[$__rate_interval])))",
                        "p99",
                    ),
                    (
                        "histogram_quantile(0.5, sum by (le) \
                         (rate(outrigger_databases_creation_seconds_bucket{namespace=~\"$namespace\"}[$__rate_interval])))",
                        "p50",
                    ),
                ],
            },
            Panel {
                title: "UserLists",
                description: "By the reason of their condition Ready.",
                unit: Unit::Count,
                lines: &[("max by (reason) (outrigger_userlists_lists{namespace=~\"$namespace\"})", "{{reason}}")],
            },
            Panel {
                title: "Poolers behind, Secrets left out",
                description: "Pods of PgBouncer that don't use their newest list, and Secrets that can't be part of one.",
                unit: Unit::Count,
                lines: &[
                    ("max(outrigger_userlists_pooler_pods_behind{namespace=~\"$namespace\"})", "pods behind"),
                    ("max(outrigger_userlists_secrets_skipped{namespace=~\"$namespace\"})", "Secrets left out"),
                ],
            },
            Panel {
                title: "Lists written, poolers restarted",
                description: "Secrets that were written for lists, and workloads that were restarted because they could not be told otherwise.",
                unit: Unit::Count,
                lines: &[
                    ("sum(increase(outrigger_userlists_secret_writes_total{namespace=~\"$namespace\"}[$__rate_interval]))", "Secrets"),
                    ("sum(increase(outrigger_userlists_pooler_restarts_total{namespace=~\"$namespace\"}[$__rate_interval]))", "restarts"),
                ],
            },
        ],
    },
    Row {
        title: "Certificates and leadership",
        panels: &[
            Panel {
                title: "Certificates expire in",
                description: "What each replica serves. In mode self a certificate is renewed after two thirds of its life.",
                unit: Unit::Seconds,
                lines: &[("outrigger_certificate_expiry_seconds{namespace=~\"$namespace\"} - time()", "{{pod}}")],
            },
            Panel {
                title: "Certificates loaded",
                description: "By result. A failed one leaves the old certificate in place.",
                unit: Unit::Count,
                lines: &[(
                    "sum by (result) (increase(outrigger_certificate_reloads_total{namespace=~\"$namespace\"}[$__rate_interval]))",
                    "{{result}}",
                )],
            },
            Panel {
                title: "Leader",
                description: "Which of the controllers holds the lease.",
                unit: Unit::Count,
                lines: &[("outrigger_leading{namespace=~\"$namespace\"}", "{{pod}}")],
            },
            Panel {
                title: "Parts that lack something",
                description: "/readyz of the pod says in words what is missing.",
                unit: Unit::Count,
                lines: &[("outrigger_part_ok{namespace=~\"$namespace\"} == 0", "{{pod}} {{part}}")],
            },
        ],
    },
    Row {
        title: "Processes",
        panels: &[
            Panel {
                title: "CPU",
                description: "CPUs used by each container.",
                unit: Unit::Count,
                lines: &[(
                    "sum by (pod) (rate(container_cpu_usage_seconds_total{namespace=~\"$namespace\", container!=\"\"}[$__rate_interval]))",
                    "{{pod}}",
                )],
            },
            Panel {
                title: "CPU withheld",
                description: "Share of the periods in which a CPU limit stopped the container.",
                unit: Unit::Ratio,
                lines: &[(
                    "sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{namespace=~\"$namespace\"}[$__rate_interval])) \
                     / sum by (pod) (rate(container_cpu_cfs_periods_total{namespace=~\"$namespace\"}[$__rate_interval]))",
                    "{{pod}}",
                )],
            },
            Panel {
                title: "Memory",
                description: "Working set of each container.",
                unit: Unit::Bytes,
                lines: &[("sum by (pod) (container_memory_working_set_bytes{namespace=~\"$namespace\", container!=\"\"})", "{{pod}}")],
            },
            Panel {
                title: "Versions",
                description: "How many processes run which version.",
                unit: Unit::Count,
                lines: &[("count by (version) (outrigger_build_info{namespace=~\"$namespace\"})", "{{version}}")],
            },
        ],
    },
];

/// Grafana's grid is so wide.
const GRID_WIDTH: usize = 24;
const PANELS_A_ROW: usize = 4;
const PANEL_HEIGHT: usize = 7;

/// The dashboard.
#[must_use]
pub fn dashboard() -> Value {
    let mut panels = Vec::new();
    let mut top = 0;
    for row in ROWS {
        panels.push(json!({
            "type": "row", "id": panels.len() + 1, "title": row.title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": GRID_WIDTH, "h": 1},
        }));
        for (place, panel) in row.panels.iter().enumerate() {
            let width = GRID_WIDTH / PANELS_A_ROW;
            let (column, line) = (place % PANELS_A_ROW, place / PANELS_A_ROW);
            let position = json!({"x": column * width, "y": top + 1 + line * PANEL_HEIGHT, "w": width, "h": PANEL_HEIGHT});
            panels.push(panel.json(panels.len() + 1, &position));
        }
        top += 1 + row.panels.len().div_ceil(PANELS_A_ROW) * PANEL_HEIGHT;
    }
    json!({
        "uid": "outrigger", "title": "Outrigger", "tags": ["outrigger"], "schemaVersion": 42, "editable": true,
        "time": {"from": "now-6h", "to": "now"}, "refresh": "1m", "timezone": "browser", "graphTooltip": 1,
        "templating": {"list": [
            {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"},
            {
                "type": "query", "name": "namespace", "label": "Namespace", "datasource": datasource(),
                "query": {"query": "label_values(outrigger_build_info, namespace)", "refId": "namespace"},
                "refresh": 2, "includeAll": true, "multi": true, "current": {"text": "All", "value": "$__all"},
            },
        ]},
        "annotations": {"list": []},
        "panels": panels,
    })
}

/// The expressions of all panels.
pub fn expressions() -> impl Iterator<Item = &'static str> {
    ROWS.iter().flat_map(|row| row.panels).flat_map(|panel| panel.lines).map(|(expression, _)| *expression)
}

impl Panel {
    fn json(&self, id: usize, position: &Value) -> Value {
        let targets: Vec<Value> = ('A'..)
            .zip(self.lines)
            .map(|(letter, (expression, legend))| {
                json!({"refId": letter.to_string(), "datasource": datasource(), "expr": expression, "legendFormat": legend})
            })
            .collect();
        json!({
            "type": "timeseries", "id": id, "title": self.title, "description": self.description, "gridPos": position,
            "datasource": datasource(), "targets": targets,
            "fieldConfig": {"defaults": {"unit": self.unit.id(), "custom": {"fillOpacity": 8}}, "overrides": []},
            "options": {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"},
            },
        })
    }
}

/// The data source chosen at the dashboard's top.
fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}
