//! Each row of the table means what it says.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;
use crate::postgres::tls::{Material, TlsMode};

const BASE: [(&str, &str); 2] = [("FOLDER", "/srv/files"), ("LABEL", "app")];

fn read_with(given: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let value = |name: &str| given.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned());
    read(|row| value(row.name).or_else(|| value(row.also?)))
}

/// The base with more.
fn settings(more: &[(&str, &str)]) -> Settings {
    read_with(&[&BASE, more].concat()).unwrap_or_else(|error| panic!("{more:?}: {error}"))
}

fn call(more: &[(&str, &str)]) -> Call {
    settings(&[&[("REQ_URL", "http://app/reload")], more].concat()).notify.call.unwrap()
}

fn pgbouncer(settings: &Settings) -> &PgBouncer {
    settings.notify.pgbouncer.as_ref().unwrap()
}

/// A row, what it is set to beside others, and whether that took effect.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], fn(&Settings) -> bool);

const URL: &[(&str, &str)] = &[("REQ_URL", "http://app/reload")];
const POST: &[(&str, &str)] = &[("REQ_URL", "http://app/reload"), ("REQ_METHOD", "POST")];
const MAIL: &[(&str, &str)] = &[("SMTP_URL", "smtp://mail?tls=required"), ("SMTP_FROM", "a@b.c"), ("SMTP_TO", "d@e.f")];
const POOLER: &[(&str, &str)] = &[("PGBOUNCER_HOST", "pooler")];
const TRACKED: &[(&str, &str)] = &[("PGBOUNCER_HOST", "pooler"), ("RESOURCE_NAME", "users, keys")];
const KIWIGRID: &[(&str, &str)] = &[("COMPAT", "kiwigrid")];

const CASES: &[Case] = &[
    ("COMPAT", "kiwigrid", &[], |s| s.compat == Compat::Kiwigrid && s.rules.absolute_folders),
    ("COMPAT", "GSIDECAR", &[], |s| s.compat == Compat::Gsidecar && !s.rules.absolute_folders),
    ("METHOD", "watch", &[], |s| s.method == Method::Watch),
    ("METHOD", "poll", KIWIGRID, |s| s.method == Method::Poll),
    ("METHOD", "once", &[], |s| s.method == Method::Once && s.notify.retries == Some(0)),
    ("METHOD", "list", &[], |s| s.method == Method::Poll),
    ("METHOD", "SLEEP", &[], |s| s.method == Method::Once),
    ("METHOD", "LIST", KIWIGRID, |s| s.method == Method::Once),
    ("METHOD", "SLEEP", KIWIGRID, |s| s.method == Method::Poll),
    ("METHOD", "WATCH", KIWIGRID, |s| s.method == Method::Watch),
    ("FOLDER", "/data//x/", &[], |s| s.rules.roots == ["/data/x"]),
    ("ALLOWED_FOLDERS", "/a, /b", &[], |s| s.rules.roots == ["/srv/files", "/a", "/b"]),
    ("FOLDER_ANNOTATION", "team.example/folder", &[], |s| s.rules.folder_annotation == "team.example/folder"),
    ("LABEL", "tier", &[], |s| s.selection.labels.as_deref() == Some("tier")),
    ("LABEL_VALUE", "web", &[], |s| s.selection.labels.as_deref() == Some("app=web")),
    ("RESOURCE", "configmap", &[], |s| s.selection.kinds == [Kind::ConfigMap]),
    ("RESOURCE", "secret", &[], |s| s.selection.kinds == [Kind::Secret]),
    ("RESOURCE", "both", &[], |s| s.selection.kinds == [Kind::Secret, Kind::ConfigMap]),
    ("RESOURCE_NAME", "a, secret/b", &[("RESOURCE", "both")], |s| s.selection.names.len() == 2 && s.selection.labels.is_some()),
    ("RESOURCE_NAME", "team/configmap/a", KIWIGRID, |s| {
        let [name] = &s.selection.names[..] else { return false };
        (name.namespace.as_deref(), name.kind, s.selection.labels.is_none()) == (Some("team"), Some(Kind::ConfigMap), true)
    }),
    ("NAMESPACE", "a, b", &[], |s| s.selection.namespaces == Namespaces::Listed(vec!["a".to_owned(), "b".to_owned()])),
    ("NAMESPACE", "ALL", KIWIGRID, |s| s.selection.namespaces == Namespaces::All),
    ("NAMESPACE", "OWN", &[], |s| s.selection.namespaces == Namespaces::Own),
    ("FILE_SUFFIXES", ".json, .yaml", &[], |s| s.rules.suffixes == [".json", ".yaml"]),
    ("UNIQUE_FILENAMES", "True", &[], |s| s.rules.unique_names),
    ("DEFAULT_FILE_MODE", "0640", &[], |s| s.rules.mode == Some(0o640)),
    ("APP_USERS", "1000:1000, 7:8", &[], |s| s.files.readers == [(1000, 1000), (7, 8)]),
    ("EXISTING_FILES", "adopt", &[], |s| s.files.adopt),
    ("PUBLISH", "together", &[], |s| s.files.publish == Publish::Together),
    ("FSYNC", "true", &[], |s| s.files.fsync),
    ("URL_KEYS", "ignore", &[], |s| !s.rules.fetch_links),
    ("URL_REFRESH", "0", &[], |s| s.web.refresh.is_none()),
    ("URL_REFRESH", "5m", &[], |s| s.web.refresh == Some(Duration::from_secs(300))),
    ("POLL_INTERVAL", "30", &[], |s| s.pace.interval == Duration::from_secs(30)),
    ("IGNORE_ALREADY_PROCESSED", "true", &[], |s| !s.files.repair),
    ("LIST_PAGE_SIZE", "5", &[], |s| s.pace.page_size == 5),
    ("WATCH_SERVER_TIMEOUT", "60", &[], |s| s.pace.server_timeout == Duration::from_secs(60)),
    ("WATCH_CLIENT_TIMEOUT", "66", &[], |s| s.pace.client_timeout == Duration::from_secs(66)),
    ("ERROR_THROTTLE_SLEEP", "7", &[], |s| s.pace.longest_pause == Duration::from_secs(7)),
    ("FORBIDDEN_GRACE", "0", &[], |s| s.pace.forbidden_grace.is_zero()),
    ("SKIP_TLS_VERIFY", "true", &[], |s| s.pace.skip_tls_verify),
    ("REQ_URL", "http://app:1/x", &[], |s| s.notify.call.as_ref().is_some_and(|call| call.url.as_str() == "http://app:1/x")),
    ("REQ_METHOD", "POST", URL, |s| s.notify.call.as_ref().is_some_and(|call| call.post)),
    ("REQ_PAYLOAD", "{\"a\": 1}", POST, |s| matches!(s.notify.call.as_ref().unwrap().payload, Payload::Json(_))),
    ("REQ_PAYLOAD", "reload", POST, |s| s.notify.call.as_ref().unwrap().payload == Payload::Text("reload".to_owned())),
    ("REQ_PRESET", "slack", URL, |s| s.notify.call.as_ref().is_some_and(|call| call.post && call.payload == Payload::Slack)),
    (
        "REQ_USERNAME",
        "jane",
        URL,
        |s| matches!(&s.notify.call.as_ref().unwrap().user, Some(Credential::Value(value)) if value.expose_secret() == "jane"),
    ),
    (
        "REQ_PASSWORD",
        "pw",
        URL,
        |s| matches!(&s.notify.call.as_ref().unwrap().password, Some(Credential::Value(value)) if value.expose_secret() == "pw"),
    ),
    ("REQ_USERNAME_FILE", "/u", URL, |s| matches!(&s.notify.call.as_ref().unwrap().user, Some(Credential::File(path)) if path == "/u")),
    ("REQ_PASSWORD_FILE", "/p", URL, |s| matches!(&s.notify.call.as_ref().unwrap().password, Some(Credential::File(path)) if path == "/p")),
    ("REQ_BASIC_AUTH_ENCODING", "latin1", URL, |s| s.notify.call.as_ref().is_some_and(|call| call.latin1)),
    ("REQ_TIMEOUT", "3", &[], |s| s.web.timeout == Duration::from_secs(3)),
    ("REQ_RETRY_TOTAL", "2", &[], |s| s.notify.retries == Some(2)),
    ("REQ_RETRY_BACKOFF_FACTOR", "0.5", &[], |s| s.notify.first_pause == Duration::from_millis(500)),
    ("ENABLE_5XX", "false", URL, |s| s.notify.call.as_ref().is_some_and(|call| !call.retry_5xx)),
    ("REQ_SKIP_INIT", "true", &[], |s| !s.notify.initial),
    ("REQ_SKIP_TLS_VERIFY", "true", &[], |s| s.web.skip_tls_verify),
    ("REQ_CA_FILE", "/ca.pem", &[], |s| s.web.ca_file.as_deref() == Some("/ca.pem")),
    ("NOTIFY_QUIET", "1s", &[], |s| s.notify.quiet == Duration::from_secs(1)),
    ("NOTIFY_LATEST", "9", &[], |s| s.notify.latest == Duration::from_secs(9)),
    ("SCRIPT", "/scripts/reload", &[], |s| s.notify.script.as_ref().is_some_and(|script| script.path == "/scripts/reload")),
    ("SCRIPT_TIMEOUT", "4", &[("SCRIPT", "/s")], |s| s.notify.script.as_ref().unwrap().timeout == Duration::from_secs(4)),
    ("SMTP_URL", "smtps://mail", MAIL, |s| s.notify.mail.as_ref().is_some_and(|mail| mail.server.security == Security::Tls)),
    ("SMTP_FROM", "Jane <jane@example.com>", MAIL, |s| s.notify.mail.as_ref().unwrap().from.email.to_string() == "jane@example.com"),
    ("SMTP_TO", "a@b.c, d@e.f", MAIL, |s| s.notify.mail.as_ref().unwrap().to.len() == 2),
    ("SMTP_USERNAME", "jane", MAIL, |s| s.notify.mail.as_ref().unwrap().user.as_deref() == Some("jane")),
    ("SMTP_PASSWORD", "pw", MAIL, |s| matches!(&s.notify.mail.as_ref().unwrap().password, Some(Credential::Value(_)))),
    (
        "SMTP_PASSWORD_FILE",
        "/p",
        MAIL,
        |s| matches!(&s.notify.mail.as_ref().unwrap().password, Some(Credential::File(path)) if path == "/p"),
    ),
    ("PGBOUNCER_HOST", "/run/pgbouncer", &[], |s| pgbouncer(s).host == "/run/pgbouncer" && pgbouncer(s).user == "pgbouncer"),
    ("PGBOUNCER_PORT", "6433", POOLER, |s| pgbouncer(s).port == 6433),
    ("PGBOUNCER_USERNAME", "admin", POOLER, |s| pgbouncer(s).user == "admin"),
    ("PGBOUNCER_PASSWORD", "pw", POOLER, |s| matches!(pgbouncer(s).password, Some(Credential::Value(_)))),
    ("PGBOUNCER_PASSWORD_FILE", "/p", POOLER, |s| matches!(&pgbouncer(s).password, Some(Credential::File(path)) if path == "/p")),
    ("PGBOUNCER_TLS_MODE", "require", POOLER, |s| pgbouncer(s).tls.mode == TlsMode::Require),
    ("PGBOUNCER_CA_FILE", "/ca.pem", POOLER, |s| pgbouncer(s).tls.root_certificates == Some(Material::File("/ca.pem".into()))),
    ("PGBOUNCER_AUTH_FILE", "pool/userlist.txt", &[], |s| {
        s.files.auth_file.as_ref().is_some_and(|file| (file.root, &*file.path) == (0, "pool/userlist.txt"))
    }),
    ("APPLIED_ANNOTATION", "team.example/digest", TRACKED, |s| {
        s.applied.as_ref().is_some_and(|applied| applied.annotation == "team.example/digest" && applied.object.name == "users")
    }),
    ("HEALTH_HOST", "127.0.0.1", &[], |s| s.health.ip().is_loopback()),
    ("HEALTH_PORT", "9000", &[], |s| s.health.port() == 9000),
    ("LOG_LEVEL", "WARNING", &[], |s| s.log_level == "warn"),
    ("LOG_FORMAT", "JSON", &[], |s| s.log_format == LogFormat::Json),
];

#[test]
fn each_row_takes_effect() {
    for (name, value, others, took_effect) in CASES {
        assert!(took_effect(&settings(&[others, &[(*name, *value)][..]].concat())), "{name}={value}");
    }
    let without: Vec<&str> = TABLE.iter().map(|row| row.name).filter(|name| !CASES.iter().any(|(case, ..)| case == name)).collect();
    assert!(without.is_empty(), "rows without a test: {without:?}");
}

#[test]
fn defaults_are_those_of_the_table() {
    let (ours, theirs) = (settings(&[]), settings(KIWIGRID));
    assert_eq!((ours.method, &ours.selection.namespaces, ours.health.port()), (Method::Watch, &Namespaces::All, 15801));
    assert_eq!((theirs.method, &theirs.selection.namespaces, theirs.health.port()), (Method::Watch, &Namespaces::Own, 8080));
    assert_eq!((ours.rules.mode, ours.rules.folder_annotation.as_str()), (None, "k8s-sidecar-target-directory"));
    assert!(ours.notify.initial && ours.notify.retries.is_none() && ours.files.repair && call(&[]).retry_5xx);
    assert!(call(KIWIGRID).latin1 && !call(&[]).latin1);
}

#[test]
fn kiwigrid_sends_text_as_a_json_string() {
    let payload = |compat| call(&[("REQ_METHOD", "POST"), ("REQ_PAYLOAD", "reload"), ("COMPAT", compat)]).payload;
    assert_eq!(payload("kiwigrid"), Payload::Json("reload".into()));
    assert_eq!(payload("gsidecar"), Payload::Text("reload".to_owned()));
}

#[test]
fn another_name_of_a_row_counts_where_the_first_is_not_set() {
    assert_eq!(settings(&[("SLEEP_TIME", "7")]).pace.interval, Duration::from_secs(7));
    assert_eq!(settings(&[("SLEEP_TIME", "7"), ("POLL_INTERVAL", "8")]).pace.interval, Duration::from_secs(8));
}

#[test]
fn what_is_missing_or_unreadable_is_named_with_the_way_out() {
    for (given, parts) in [
        (&[("LABEL", "app")][..], &["FOLDER is not set", "/srv/files"][..]),
        (&[("FOLDER", "/f")], &["LABEL is not set", "RESOURCE_NAME"]),
        (&[("FOLDER", "/f"), ("LABEL_VALUE", "x")], &["LABEL is not set"]),
        (&[("FOLDER", "files"), ("LABEL", "app")], &["FOLDER is \"files\"", "absolute"]),
        (&[BASE[0], BASE[1], ("METHOD", "sometimes")], &["METHOD is \"sometimes\"", "watch, poll, once, list, sleep"]),
        (&[BASE[0], BASE[1], ("NAMESPACE", "a,ALL")], &["NAMESPACE is \"a,ALL\"", "stand alone"]),
        (&[BASE[0], BASE[1], ("RESOURCE", "pods")], &["RESOURCE is \"pods\"", "both"]),
        (&[BASE[0], BASE[1], ("RESOURCE_NAME", "a/b/c/d")], &["namespace/kind/name"]),
        (&[BASE[0], BASE[1], ("RESOURCE_NAME", "configmap/a,secret/b")], &["b is of a kind that RESOURCE leaves out", "RESOURCE=both"]),
        (&[BASE[0], BASE[1], ("REQ_URL", "app:80")], &["REQ_URL can't be used", "http://localhost"]),
        (&[BASE[0], BASE[1], ("REQ_URL", "http://a"), ("REQ_METHOD", "PUT")], &["REQ_METHOD is \"PUT\"", "GET, POST"]),
        (&[BASE[0], BASE[1], ("HEALTH_PORT", "0")], &["HEALTH_PORT is \"0\""]),
        (&[BASE[0], BASE[1], ("WATCH_SERVER_TIMEOUT", "0")], &["WATCH_SERVER_TIMEOUT"]),
        (&[BASE[0], BASE[1], ("SCRIPT", "/srv/files/run")], &["SCRIPT is \"/srv/files/run\"", "a volume of its own"]),
        (&[BASE[0], BASE[1], ("SMTP_URL", "smtp://jane:pw@mail")], &["SMTP_USERNAME and SMTP_PASSWORD"]),
        (&[BASE[0], BASE[1], ("SMTP_URL", "smtps://mail"), ("SMTP_FROM", "a@b.c")], &["SMTP_TO is not set"]),
        (&[BASE[0], BASE[1], MAIL[1], MAIL[2], ("SMTP_URL", "smtp://mail"), ("SMTP_USERNAME", "jane")], &["not sent without TLS"]),
        (&[BASE[0], BASE[1], POOLER[0], ("PGBOUNCER_TLS_MODE", "verify-full")], &["PGBOUNCER_CA_FILE is not set", "PGBOUNCER_TLS_MODE"]),
        (&[BASE[0], BASE[1], ("PGBOUNCER_AUTH_FILE", "../userlist.txt")], &["PGBOUNCER_AUTH_FILE is \"../userlist.txt\"", "upwards"]),
        (&[BASE[0], BASE[1], POOLER[0], ("APPLIED_ANNOTATION", "a")], &["RESOURCE_NAME is not set", "APPLIED_ANNOTATION"]),
        (&[BASE[0], BASE[1], TRACKED[1], ("APPLIED_ANNOTATION", "a")], &["PGBOUNCER_HOST is not set", "APPLIED_ANNOTATION"]),
        (&[BASE[0], BASE[1], POOLER[0], ("PGBOUNCER_TLS_MODE", "on")], &["PGBOUNCER_TLS_MODE is \"on\"", "verify-full"]),
        (
            &[BASE[0], BASE[1], ("PUBLISH", "together"), ("ALLOWED_FOLDERS", "/a")],
            &["PUBLISH is \"together\"", "leave out ALLOWED_FOLDERS"],
        ),
        (&[BASE[0], BASE[1], ("COMPAT", "grafana")], &["COMPAT is \"grafana\"", "gsidecar, kiwigrid"]),
    ] {
        let error = read_with(given).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{given:?}: {error}");
    }
}

#[test]
fn an_address_that_is_refused_does_not_show_what_it_holds() {
    for (name, value) in [
        ("SMTP_URL", "smtp://jane:hunter2@mail"),
        ("SMTP_URL", "smtp//mail/hunter2"),
        ("REQ_URL", "ftp://jane:hunter2@host"),
        ("REQ_URL", "https//hooks.example.com/services/hunter2"),
    ] {
        let error = read_with(&[BASE[0], BASE[1], (name, value)]).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(name) && !shown.contains("hunter2") && !shown.contains("jane"), "{shown}");
    }
    let error = read_with(&[BASE[0], BASE[1], MAIL[1], MAIL[2], ("SMTP_URL", "smtp://mail?hunter2"), ("SMTP_USERNAME", "x")]).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn an_empty_value_is_none() {
    assert!(settings(&[("REQ_URL", ""), ("SCRIPT", ""), ("RESOURCE_NAME", "")]).notify.call.is_none());
}

#[test]
fn only_the_health_address_is_needed_to_ask_there() {
    let address = |name: &str, value: &str| health_address(|row| (row.name == name).then(|| value.to_owned())).unwrap().to_string();
    assert_eq!(address("HEALTH_PORT", "1234"), "[::]:1234");
    assert_eq!(address("HEALTH_HOST", "127.0.0.2"), "127.0.0.2:15801");
    assert_eq!(address("COMPAT", "kiwigrid"), "[::]:8080");
}

#[test]
fn secrets_have_no_flag_and_do_not_show() {
    let secrets: Vec<&str> = TABLE.iter().filter(|row| row.is_secret()).map(|row| row.name).collect();
    assert_eq!(secrets, ["REQ_PASSWORD", "SMTP_PASSWORD", "PGBOUNCER_PASSWORD"]);
    let credentials: Vec<&str> = TABLE.iter().filter(|row| row.is_credential()).map(|row| row.name).collect();
    assert_eq!(credentials, ["REQ_USERNAME", "REQ_PASSWORD", "SMTP_USERNAME", "SMTP_PASSWORD", "PGBOUNCER_USERNAME", "PGBOUNCER_PASSWORD"]);
    let shown = format!("{:?}", call(&[("REQ_USERNAME", "jane-the-user"), ("REQ_PASSWORD", "hunter2")]));
    assert!(!shown.contains("hunter2") && !shown.contains("jane-the-user"), "{shown}");
}
