//! Good and bad objects: a table that both the API server and the offline validator are asked about.
#![allow(clippy::needless_pass_by_value, reason = "a table reads better without a & before each object")]

use serde_json::{Value, json};

/// One object and what is to become of it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) object: Value,
    /// The blamed field and, where the words are ours, a part of the message; none if the object is good.
    pub(crate) fault: Option<(&'static str, &'static str)>,
}

fn good(name: &'static str, object: Value) -> Case {
    Case { name, object, fault: None }
}

/// A fault that a rule of ours names.
fn bad(name: &'static str, object: Value, field: &'static str, message: &'static str) -> Case {
    Case { name, object, fault: Some((field, message)) }
}

/// A fault of structure, which the API server says in its own words.
fn malformed(name: &'static str, object: Value, field: &'static str) -> Case {
    bad(name, object, field, "")
}

/// An object of a kind; what is null in `changes` is taken away.
fn object(kind: &str, spec: Value, changes: Value) -> Value {
    let mut object = json!({ "apiVersion": "outrigger.dev/v1alpha1", "kind": kind, "metadata": { "name": "example" }, "spec": spec });
    json_patch::merge(&mut object["spec"], &changes);
    object
}

pub(crate) fn server(changes: Value) -> Value {
    let credentials = json!({ "name": "admin" });
    object("PgServer", json!({ "host": "db.example.com", "credentials": credentials }), changes)
}

pub(crate) fn database(changes: Value) -> Value {
    object("PgDatabase", json!({ "server": "main", "name": "shop" }), changes)
}

/// One whose database has the name of the object.
fn named(name: &str, changes: Value) -> Value {
    let mut object = object("PgDatabase", json!({ "server": "main" }), changes);
    object["metadata"]["name"] = name.into();
    object
}

pub(crate) fn user_list(changes: Value) -> Value {
    let selector = json!({ "matchLabels": { "app.kubernetes.io/name": "postgres" } });
    object("UserList", json!({ "selector": selector, "output": { "name": "pgbouncer-userlist" } }), changes)
}

pub(crate) fn template(changes: Value) -> Value {
    object("SessionTemplate", json!({ "app": { "image": "registry.example.com/firefox:1" } }), changes)
}

pub(crate) fn session(changes: Value) -> Value {
    object("Session", json!({ "template": "firefox", "user": "ada@example.com" }), changes)
}

/// The whole table.
pub(crate) fn all() -> Vec<Case> {
    [servers(), databases(), connection_secrets(), creations(), user_lists(), templates(), containers(), sessions(), structure()]
        .into_iter()
        .flatten()
        .collect()
}

fn servers() -> Vec<Case> {
    let ca = json!({ "name": "ca" });
    vec![
        good("server: the least", server(json!({}))),
        good(
            "server: everything",
            server(json!({
                "port": 5433, "database": "admin", "tls": { "mode": "VerifyCA", "ca": ca },
                "allow": [{ "namespaces": ["team-*"], "databases": ["team_*"], "owners": ["team_*"], "extensions": ["postgis"],
                            "parameters": ["log_*"], "adoption": "Force" }],
                "defaults": { "reclaimPolicy": "Delete", "adoptionPolicy": "IfUnclaimed", "driftPolicy": "Correct" },
            })),
        ),
        good("server: IPv4", server(json!({ "host": "192.168.0.34" }))),
        good("server: IPv6", server(json!({ "host": "fd00::1" }))),
        bad("server: the port in the host", server(json!({ "host": "db:5432" })), "spec.host", "the port has a field of its own"),
        bad("server: a URL for a host", server(json!({ "host": "postgres://db/x" })), "spec.host", "neither a host name nor an IP address"),
        malformed("server: port 0", server(json!({ "port": 0 })), "spec.port"),
        malformed("server: port 65536", server(json!({ "port": 65536 })), "spec.port"),
        bad("server: an authority that isn't asked", server(json!({ "tls": { "mode": "Require", "ca": ca } })), "spec.tls.ca", "set mode"),
        malformed("server: sslmode of libpq", server(json!({ "tls": { "mode": "verify-full" } })), "spec.tls.mode"),
        malformed("server: no credentials", server(json!({ "credentials": null })), "spec.credentials"),
        malformed("server: consent for no namespace", server(json!({ "allow": [{ "namespaces": [] }] })), "spec.allow[0].namespaces"),
        malformed("server: consent twice", server(json!({ "allow": [{ "namespaces": ["a", "a"] }] })), "spec.allow[0].namespaces[1]"),
    ]
}

fn databases() -> Vec<Case> {
    let owner = json!({ "name": "shop", "create": true });
    let long = "x".repeat(64);
    let umlauts = "ü".repeat(32);
    vec![
        good("database: the least", database(json!({}))),
        good(
            "database: everything",
            database(json!({
                "owner": owner, "tablespace": "fast", "connectionLimit": 50, "allowConnections": true, "isTemplate": false,
                "parameters": { "work_mem": "64MB", "auto_explain.log_min_duration": "1s" },
                "schemas": [{ "name": "app", "owner": "shop" }, { "name": "old", "ensure": "Absent" }],
                "extensions": [{ "name": "pg_trgm", "schema": "app" }, { "name": "uuid-ossp", "version": "1.1", "ensure": "Absent" }],
                "publicPrivileges": [], "privileges": [{ "role": "reader", "privileges": ["Connect"] }],
                "reclaimPolicy": "Delete", "drop": { "force": true, "gracePeriod": "72h" },
                "adoptionPolicy": "IfUnclaimed", "driftPolicy": "Correct",
                "connectionSecret": { "name": "shop-db", "host": "pooler", "port": 6432, "labels": { "team": "shop" } },
            })),
        ),
        good("database: 63 bytes", database(json!({ "name": "x".repeat(63) }))),
        good("database: 63 bytes that aren't ASCII", database(json!({ "name": format!("x{}", "ü".repeat(31)) }))),
        good("database: a server and a name, as for a first try", database(json!({ "server": "pgsql", "name": "first" }))),
        good("kopf_k2: upper case is kept", database(json!({ "name": "MyDb" }))),
        good("kopf_k3: a reserved word of SQL", database(json!({ "name": "select" }))),
        good("zalando_663: a dash", database(json!({ "name": "my-db" }))),
        good("database: pg_ is for roles only", database(json!({ "name": "pg_shop" }))),
        malformed("kopf_k4: 64 bytes", database(json!({ "name": long })), "spec.name"),
        bad("cnpg: 64 bytes in 32 letters", database(json!({ "name": umlauts })), "spec.name", "longer than 63 bytes"),
        bad("kopf_k1: a trailing newline", database(json!({ "name": "a\n" })), "spec.name", "has a control character"),
        bad("database: NUL", database(json!({ "name": "a\u{0}b" })), "spec.name", "has a control character"),
        good("database: the object's own name", named("shop-orders.v2", json!({}))),
        good("database: the object's own name, of 63 bytes", named(&"x".repeat(63), json!({}))),
        bad("database: the object's own name, of 64 bytes", named(&"x".repeat(64), json!({})), "spec.name", "would cut it"),
        good("database: an object's long name, and a shorter one", named(&"x".repeat(64), json!({ "name": "x" }))),
        bad("database: the object's own name is template1", named("template1", json!({})), "spec.name", "belongs to the server"),
        bad("database: the object's own name is outrigger", named("outrigger", json!({})), "spec.name", "write another name"),
        good("database: an object called postgres", named("postgres", json!({ "name": "shop" }))),
        bad(
            "database: a copy of itself by the object's own name",
            named("golden", json!({ "creation": { "template": "golden" } })),
            "spec.creation.template",
            "copied from itself",
        ),
        malformed("kopf_k8: no server", database(json!({ "server": null })), "spec.server"),
        bad("database: a server that can't exist", database(json!({ "server": "Main" })), "spec.server", "is not a name"),
        bad("database: postgres", database(json!({ "name": "postgres" })), "spec.name", "choose another name"),
        bad("database: template0", database(json!({ "name": "template0" })), "spec.name", "choose another name"),
        bad("database: template1", database(json!({ "name": "template1" })), "spec.name", "choose another name"),
        bad("owner: pg_monitor", database(json!({ "owner": { "name": "pg_monitor" } })), "spec.owner.name", "choose another role"),
        bad("owner: public", database(json!({ "owner": { "name": "public" } })), "spec.owner.name", "choose another role"),
        bad("owner: none", database(json!({ "owner": { "name": "none" } })), "spec.owner.name", "choose another role"),
        bad("owner: 64 bytes", database(json!({ "owner": { "name": umlauts } })), "spec.owner.name", "longer than 63 bytes"),
        malformed("database: connection limit -2", database(json!({ "connectionLimit": -2 })), "spec.connectionLimit"),
        malformed("database: too large a limit", database(json!({ "connectionLimit": 3_000_000_000_u64 })), "spec.connectionLimit"),
        bad("parameters: a blank in the name", database(json!({ "parameters": { "work mem": "1" } })), "spec.parameters", "one word"),
        bad("parameters: SQL in the name", database(json!({ "parameters": { "a = 1; DROP": "1" } })), "spec.parameters", "one word"),
        malformed("parameters: a number", database(json!({ "parameters": { "work_mem": 64 } })), "spec.parameters.work_mem"),
        bad("schemas: a tab", database(json!({ "schemas": [{ "name": "a\tb" }] })), "spec.schemas[0].name", "has a control character"),
        bad("schemas: pg_", database(json!({ "schemas": [{ "name": "pg_x" }] })), "spec.schemas[0].name", "belong to the server"),
        malformed("cnpg: a schema twice", database(json!({ "schemas": [{ "name": "a" }, { "name": "a" }] })), "spec.schemas[1]"),
        malformed("cnpg: an extension twice", database(json!({ "extensions": [{ "name": "a" }, { "name": "a" }] })), "spec.extensions[1]"),
        bad(
            "hoppscale_5: plpgsql isn't dropped",
            database(json!({ "extensions": [{ "name": "plpgsql", "ensure": "Absent" }] })),
            "spec.extensions[0].ensure",
            "belongs to every database",
        ),
        bad(
            "extensions: in a schema that goes",
            database(json!({ "schemas": [{ "name": "a", "ensure": "Absent" }], "extensions": [{ "name": "x", "schema": "a" }] })),
            "spec.schemas",
            "an extension needs",
        ),
        malformed("privileges: a word of SQL", database(json!({ "publicPrivileges": ["CONNECT"] })), "spec.publicPrivileges[0]"),
        malformed("privileges: twice", database(json!({ "publicPrivileges": ["Connect", "Connect"] })), "spec.publicPrivileges[1]"),
        bad(
            "privileges: PUBLIC as a role",
            database(json!({ "privileges": [{ "role": "public", "privileges": [] }] })),
            "spec.privileges[0].role",
            "choose another role",
        ),
        malformed("database: lower-case policy", database(json!({ "reclaimPolicy": "retain" })), "spec.reclaimPolicy"),
        bad("drop: a day", database(json!({ "drop": { "gracePeriod": "1d" } })), "spec.drop.gracePeriod", "units h, m and s"),
        bad("drop: milliseconds", database(json!({ "drop": { "gracePeriod": "5ms" } })), "spec.drop.gracePeriod", "units h, m and s"),
        bad("drop: negative", database(json!({ "drop": { "gracePeriod": "-1h" } })), "spec.drop.gracePeriod", "units h, m and s"),
        bad("drop: eleven years", database(json!({ "drop": { "gracePeriod": "96360h" } })), "spec.drop.gracePeriod", "ten years"),
        bad("drop: two dots", database(json!({ "drop": { "gracePeriod": "1.2.3s" } })), "spec.drop.gracePeriod", "is not a duration"),
        bad("drop: no unit", database(json!({ "drop": { "gracePeriod": "0" } })), "spec.drop.gracePeriod", "is not a duration"),
    ]
}

fn connection_secrets() -> Vec<Case> {
    let owner = json!({ "name": "shop", "create": true });
    vec![
        bad(
            "secret: a role whose password nobody knows",
            database(json!({ "owner": { "name": "shop" }, "connectionSecret": { "name": "s" } })),
            "spec.connectionSecret",
            "owner.create: true",
        ),
        bad("secret: no owner", database(json!({ "connectionSecret": { "name": "s" } })), "spec.connectionSecret", "owner.create: true"),
        bad(
            "secret: of a database that goes",
            database(json!({ "ensure": "Absent", "owner": owner, "connectionSecret": { "name": "s" } })),
            "spec.connectionSecret",
            "Absent",
        ),
        bad(
            "secret: the port in the host",
            database(json!({ "owner": owner, "connectionSecret": { "name": "s", "host": "pooler:6432" } })),
            "spec.connectionSecret.host",
            "the port has a field of its own",
        ),
        bad(
            "secret: our label",
            database(json!({ "owner": owner, "connectionSecret": { "name": "s", "labels": { "outrigger.dev/owner": "me" } } })),
            "spec.connectionSecret.labels",
            "only we write them",
        ),
    ]
}

fn creations() -> Vec<Case> {
    let creation = |creation| database(json!({ "creation": creation }));
    vec![
        good(
            "creation: libc",
            creation(json!({ "template": "template0", "encoding": "UTF8", "locale": "C.UTF-8", "localeProvider": "libc" })),
        ),
        good("creation: ICU", creation(json!({ "localeProvider": "icu", "icuLocale": "de-u-co-phonebk", "icuRules": "&a < g" }))),
        good("creation: builtin", creation(json!({ "localeProvider": "builtin", "builtinLocale": "C.UTF-8", "strategy": "FILE_COPY" }))),
        good("creation: parts", creation(json!({ "localeCollate": "C", "localeCType": "de_DE.utf8", "collationVersion": "2.36" }))),
        malformed("creation: strategy", creation(json!({ "strategy": "wal_log" })), "spec.creation.strategy"),
        bad("creation: encoding", creation(json!({ "encoding": "UTF8'; --" })), "spec.creation.encoding", "such as UTF8"),
        bad("creation: locale", creation(json!({ "locale": "German (Germany)" })), "spec.creation.locale", "such as C.UTF-8"),
        malformed("creation: an unknown provider", creation(json!({ "localeProvider": "ICU" })), "spec.creation.localeProvider"),
        bad("creation: ICU locale without ICU", creation(json!({ "icuLocale": "de" })), "spec.creation.icuLocale", "localeProvider: icu"),
        bad(
            "creation: ICU rules with libc",
            creation(json!({ "icuRules": "&a < g", "localeProvider": "libc" })),
            "spec.creation.icuRules",
            "localeProvider: icu",
        ),
        bad(
            "creation: builtin locale without builtin",
            creation(json!({ "builtinLocale": "C" })),
            "spec.creation.builtinLocale",
            "localeProvider: builtin",
        ),
        bad(
            "creation: no builtin locale",
            creation(json!({ "builtinLocale": "de_DE", "localeProvider": "builtin" })),
            "spec.creation.builtinLocale",
            "C.UTF-8",
        ),
        bad("creation: a copy of itself", creation(json!({ "template": "shop" })), "spec.creation.template", "copied from itself"),
    ]
}

fn user_lists() -> Vec<Case> {
    let admin = json!({ "user": "pgbouncer", "secret": { "name": "pgbouncer-admin" } });
    vec![
        good("list: the least", user_list(json!({}))),
        good(
            "list: everything",
            user_list(json!({
                "selector": { "matchExpressions": [{ "key": "cluster", "operator": "In", "values": ["a"] }] },
                "namespaces": ["postgres"], "keys": { "username": ["user"], "password": ["password"], "verifier": [] },
                "output": { "name": "users", "key": "users.txt" }, "storedForm": "Verifier", "authType": "scram-sha-256", "forcedUsers": ["reports"], "admin": admin,
                "minimumUsers": 3, "reloadPolicy": "Reload",
                "poolers": [{ "name": "pgbouncer" }, { "kind": "StatefulSet", "selector": { "matchLabels": { "app": "pgbouncer" } } }],
            })),
        ),
        good(
            "list: one of two clusters, with names under either key and a Secret for the exporter",
            user_list(json!({
                "selector": { "matchLabels": { "postgres.example.com/cluster": "orders" } },
                "keys": { "username": ["username", "user"], "password": ["password"] },
                "output": { "name": "pgbouncer-orders-userlist", "key": "userlist.txt" },
                "admin": { "user": "pgbouncer", "port": 5432, "secret": { "name": "pgbouncer-orders-admin" } },
                "poolers": [{ "name": "pgbouncer-orders" }], "reloadPolicy": "Restart",
                "extraUsers": { "name": "pgbouncer-orders-extra", "key": "users" }, "probeUser": "outrigger-probe",
            })),
        ),
        bad("list: a path for a key", user_list(json!({ "output": { "key": "a/b" } })), "spec.output.key", "key of a Secret's data"),
        bad("list: a key of ours", user_list(json!({ "output": { "key": "outrigger.digest-key" } })), "spec.output.key", "our own"),
        bad(
            "list: one user for the console and the probe",
            user_list(json!({ "admin": {}, "probeUser": "pgbouncer" })),
            "spec.probeUser",
            "choose another name",
        ),
        bad("list: every Secret", user_list(json!({ "selector": { "matchLabels": null } })), "spec.selector", "would choose every"),
        bad(
            "list: In without values",
            user_list(json!({ "selector": { "matchExpressions": [{ "key": "a", "operator": "In" }] } })),
            "spec.selector.matchExpressions[0].values",
            "need values",
        ),
        bad(
            "list: Exists with values",
            user_list(json!({ "selector": { "matchExpressions": [{ "key": "a", "operator": "Exists", "values": ["b"] }] } })),
            "spec.selector.matchExpressions[0].values",
            "need values",
        ),
        bad("list: RELOAD by nobody", user_list(json!({ "reloadPolicy": "Reload" })), "spec.reloadPolicy", "console"),
        bad(
            "list: one Secret for both",
            user_list(json!({ "admin": { "secret": { "name": "pgbouncer-userlist" } } })),
            "spec.admin.secret.name",
            "a Secret each",
        ),
        bad("list: a pooler by nothing", user_list(json!({ "poolers": [{ "kind": "DaemonSet" }] })), "spec.poolers[0]", "one of them"),
        bad(
            "list: a pooler by both",
            user_list(json!({ "poolers": [{ "name": "a", "selector": { "matchLabels": { "a": "b" } } }] })),
            "spec.poolers[0]",
            "one of them",
        ),
        malformed("list: an auth_type of nobody", user_list(json!({ "authType": "scram" })), "spec.authType"),
        malformed(
            "list: a pooler of another kind",
            user_list(json!({ "poolers": [{ "kind": "Job", "name": "a" }] })),
            "spec.poolers[0].kind",
        ),
    ]
}

fn templates() -> Vec<Case> {
    let pod = |spec| template(json!({ "app": null, "podSpec": spec }));
    let network = |network| template(json!({ "network": network }));
    vec![
        good("template: the least", template(json!({}))),
        good(
            "template: everything",
            template(json!({
                "displayName": "Firefox", "description": "A browser", "icon": "https://example.com/firefox.png", "category": "Browsers",
                "app": {
                    "imagePullPolicy": "IfNotPresent", "imagePullSecrets": ["registry"], "command": ["firefox"], "args": ["--kiosk"],
                    "env": [{ "name": "LANG", "value": "C.UTF-8" }],
                    "resources": { "requests": { "cpu": 1, "memory": "1Gi" }, "limits": { "cpu": "2", "memory": "4Gi" } },
                },
                "podMetadata": { "labels": { "team": "a" }, "annotations": { "outrigger.dev/inject": "vnc, file-sync" } },
                "home": { "size": "5Gi", "storageClassName": "fast", "mountPath": "/home/app" },
                "desktop": { "geometry": "1920x1080", "resize": false, "viewOnly": true, "clipboard": "In", "sharedMemory": "512Mi" },
                "idleTimeout": "30m", "idleSignal": "Connection", "idleAction": "Suspend", "maxLifetime": "12h", "startDeadline": "2m",
                "ttlSecondsAfterFinished": 600, "onAppExit": "Restart",
                "network": { "egress": "Listed", "allow": [{ "cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"],
                             "ports": [{ "port": 443 }, { "port": 53, "protocol": "UDP" }] }, { "cidr": "fd00::/8" }] },
                "quota": { "perUser": 2, "total": 50 }, "sharing": "Control", "overrides": ["Geometry", "Resources"],
                "maxResources": { "cpu": "4", "memory": "8Gi" },
            })),
        ),
        good(
            "template: a whole pod",
            pod(json!({ "containers": [{ "name": "app", "image": "a", "new": { "field": 1 } }], "newer": true })),
        ),
        bad("template: neither", template(json!({ "app": null })), "spec", "write app or podSpec"),
        bad("template: both", template(json!({ "podSpec": { "containers": [{ "name": "app" }] } })), "spec", "write app or podSpec"),
        malformed("pod: no containers", pod(json!({ "hostNetwork": false })), "spec.podSpec.containers"),
        bad(
            "pod: on the node's network",
            pod(json!({ "containers": [{ "name": "app" }], "hostNetwork": true })),
            "spec.podSpec.hostNetwork",
            "open to the whole node",
        ),
        bad("pod: the node's processes", pod(json!({ "containers": [{ "name": "app" }], "hostPID": true })), "spec.podSpec", "hostPID"),
        bad("template: an unsafe icon", template(json!({ "icon": "javascript:alert(1)" })), "spec.icon", "begins with https://"),
        malformed("template: no image", template(json!({ "app": { "image": "" } })), "spec.app.image"),
        bad("template: a blank in the image", template(json!({ "app": { "image": "a b" } })), "spec.app.image", "is not an image"),
        bad(
            "template: a home at no path",
            template(json!({ "home": { "size": "1Gi", "mountPath": "home" } })),
            "spec.home.mountPath",
            "an absolute path without a colon",
        ),
        bad(
            "desktop: geometry",
            template(json!({ "desktop": { "geometry": "1920*1080" } })),
            "spec.desktop.geometry",
            "must be WIDTHxHEIGHT in pixels, each from 64 to 16384, such as 1280x800",
        ),
        bad("desktop: shared memory", template(json!({ "desktop": { "sharedMemory": "lots" } })), "spec.desktop.sharedMemory", "an amount"),
        bad("template: never idle", template(json!({ "maxLifetime": "1h" })), "spec.idleTimeout", "could never come"),
        bad("template: no time to start", template(json!({ "startDeadline": "1s" })), "spec.startDeadline", "allow more"),
        bad("template: suspended without a home", template(json!({ "idleAction": "Suspend" })), "spec.idleAction", "write home"),
        bad("template: a bound for nothing", template(json!({ "maxResources": { "cpu": 4 } })), "spec.maxResources", "to overrides"),
        bad("network: a list for nothing", network(json!({ "allow": [{ "cidr": "10.0.0.0/8" }] })), "spec.network.allow", "egress: Listed"),
        bad(
            "network: an address",
            network(json!({ "egress": "Listed", "allow": [{ "cidr": "10.0.0.1" }] })),
            "spec.network.allow[0].cidr",
            "block of addresses",
        ),
        bad(
            "network: 33 bits",
            network(json!({ "egress": "Listed", "allow": [{ "cidr": "10.0.0.0/33" }] })),
            "spec.network.allow[0].cidr",
            "block of addresses",
        ),
        bad(
            "labels: ours",
            template(json!({ "podMetadata": { "labels": { "outrigger.dev/session": "x" } } })),
            "spec.podMetadata.labels",
            "only we write them",
        ),
        bad(
            "labels: no value",
            template(json!({ "podMetadata": { "labels": { "a": "b c" } } })),
            "spec.podMetadata.labels.a",
            "is not a label's value",
        ),
    ]
}

/// What templates and sessions say about containers.
fn containers() -> Vec<Case> {
    let resources = |resources| template(json!({ "app": { "resources": resources } }));
    vec![
        bad(
            "sortie_s10: a limit that is no quantity",
            resources(json!({ "limits": { "memory": "2GB" } })),
            "spec.app.resources.limits[memory]",
            "is not an amount",
        ),
        bad("resources: negative", resources(json!({ "limits": { "cpu": -1 } })), "spec.app.resources.limits[cpu]", "is not an amount"),
        malformed("resources: a fraction without quotes", resources(json!({ "limits": { "cpu": 0.5 } })), "spec.app.resources.limits.cpu"),
        bad(
            "resources: request over limit",
            resources(json!({ "requests": { "cpu": "1500m" }, "limits": { "cpu": 1 } })),
            "spec.app.resources.requests",
            "lower the request",
        ),
        bad(
            "resources: a number over text",
            resources(json!({ "requests": { "cpu": 2 }, "limits": { "cpu": "1500m" } })),
            "spec.app.resources.requests",
            "lower the request",
        ),
        bad(
            "resources: a number over a number",
            resources(json!({ "requests": { "example.com/gpu": 2 }, "limits": { "example.com/gpu": 1 } })),
            "spec.app.resources.requests",
            "lower the request",
        ),
        bad(
            "resources: a request that is no quantity is not compared",
            resources(json!({ "requests": { "memory": "2GB" }, "limits": { "memory": "1Gi" } })),
            "spec.app.resources.requests[memory]",
            "is not an amount",
        ),
        good("resources: equal in other words", resources(json!({ "requests": { "memory": "1Gi" }, "limits": { "memory": "1024Mi" } }))),
        bad(
            "env: the desktop's own",
            template(json!({ "app": { "env": [{ "name": "DISPLAY", "value": ":0" }] } })),
            "spec.app.env[0].name",
            "set for the desktop",
        ),
        bad("env: not a name", template(json!({ "app": { "env": [{ "name": "A-B" }] } })), "spec.app.env[0].name", "variable's name"),
        malformed("env: twice", template(json!({ "app": { "env": [{ "name": "A" }, { "name": "A" }] } })), "spec.app.env[1]"),
    ]
}

fn sessions() -> Vec<Case> {
    let mut long_name = session(json!({}));
    long_name["metadata"]["name"] = "x".repeat(64).into();
    vec![
        good("session: the least", session(json!({}))),
        good(
            "session: everything",
            session(json!({
                "desiredState": "Suspended", "geometry": "800x600", "env": [{ "name": "LANG", "value": "de" }],
                "resources": { "limits": { "cpu": "500m" } }, "idleTimeout": "1h30m", "maxLifetime": "8h", "ttlSecondsAfterFinished": 0,
                "sharing": [{ "user": "bob", "role": "Control", "expiresAt": "2030-01-31T12:00:00Z" }],
            })),
        ),
        bad("session: too long for a label", long_name, "", "metadata.name"),
        malformed("session: nobody's", session(json!({ "user": "" })), "spec.user"),
        malformed("session: desired state", session(json!({ "desiredState": "running" })), "spec.desiredState"),
        bad("session: geometry", session(json!({ "geometry": "1280" })), "spec.geometry", "must be WIDTHxHEIGHT"),
        bad("session: no pixels", session(json!({ "geometry": "0x0" })), "spec.geometry", "each from 64 to 16384"),
        bad("session: a line break in the name", session(json!({ "user": "ada\n" })), "spec.user", "has a control character"),
        bad("session: never idle", session(json!({ "idleTimeout": "9h", "maxLifetime": "8h" })), "spec.idleTimeout", "could never come"),
        bad(
            "session: request over limit",
            session(json!({ "resources": { "requests": { "memory": "2Gi" }, "limits": { "memory": "1Gi" } } })),
            "spec.resources.requests",
            "raise the limit",
        ),
        bad("session: shared with its owner", session(json!({ "sharing": [{ "user": "ada@example.com" }] })), "spec.sharing", "no share"),
        malformed("session: shared twice", session(json!({ "sharing": [{ "user": "a" }, { "user": "a" }] })), "spec.sharing[1]"),
        malformed(
            "session: until when",
            session(json!({ "sharing": [{ "user": "a", "expiresAt": "tomorrow" }] })),
            "spec.sharing[0].expiresAt",
        ),
        malformed("session: negative time to live", session(json!({ "ttlSecondsAfterFinished": -1 })), "spec.ttlSecondsAfterFinished"),
    ]
}

fn structure() -> Vec<Case> {
    let mut misspelt = database(json!({}));
    misspelt["specs"] = json!({});
    vec![
        malformed("structure: a misspelt field", database(json!({ "sever": "x" })), "spec.sever"),
        malformed("structure: a misspelt field below", database(json!({ "owner": { "name": "a", "craete": true } })), "spec.owner.craete"),
        malformed("structure: a misspelt field above", misspelt, "specs"),
        malformed("structure: text for a list", database(json!({ "extensions": "pg_trgm" })), "spec.extensions"),
        malformed("structure: a list for a mapping", database(json!({ "owner": ["shop"] })), "spec.owner"),
        malformed("structure: text for a flag", database(json!({ "isTemplate": "yes" })), "spec.isTemplate"),
        malformed("structure: text for a number", server(json!({ "port": "5432" })), "spec.port"),
        malformed("structure: a name for a list item", database(json!({ "schemas": ["app"] })), "spec.schemas[0]"),
        malformed("structure: an item without its key", database(json!({ "schemas": [{ "owner": "a" }] })), "spec.schemas[0].name"),
    ]
}
