//! What the app is told.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use outrigger_bed::{ControlPlane, free_port};
use serde_json::{Value, json};

use crate::{
    app::App,
    mail::{MailServer, Manners},
    sidecar::{Site, config_map, put},
    until::until,
};

/// Quick enough for a test, and slow enough for changes to settle.
const PACE: [(&str, &str); 2] = [("NOTIFY_QUIET", "300ms"), ("REQ_RETRY_BACKOFF_FACTOR", "100ms")];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&PACE, more].concat()
}

fn bodies(app: &App) -> Vec<Value> {
    app.calls().iter().map(|call| serde_json::from_str(&call.body).unwrap()).collect()
}

const COUNTED: [(&str, &str); 2] = [("REQ_METHOD", "POST"), ("REQ_PAYLOAD", r#"{"files": "${files}", "count": "${count}"}"#)];

#[tokio::test]
async fn gsidecar_n1_additions_changes_and_removals_are_all_told() {
    let site = Site::new(ControlPlane::shared().await, "told").await;
    let app = App::start().await;
    site.put("a", &[("one", "1"), ("two", "2")]).await;
    let url = app.url("/reload");
    let sidecar = site.ready(&with(&[&COUNTED[..], &[("REQ_URL", &url)]].concat())).await;
    app.until_calls(1).await;
    sidecar.until_told().await;
    site.put("a", &[("one", "changed"), ("two", "2")]).await;
    app.until_calls(2).await;
    sidecar.until_told().await;
    site.delete("a").await;
    app.until_calls(3).await;
    let calls = app.calls();
    assert!(calls.iter().all(|call| call.method == "POST" && call.path == "/reload" && call.headers["content-type"] == "application/json"));
    let expected =
        [json!({"files": "one, two", "count": "2"}), json!({"files": "one", "count": "1"}), json!({"files": "one, two", "count": "2"})];
    assert_eq!(bodies(&app), expected);
    sidecar.until_told().await;
    assert_eq!(sidecar.metric("outrigger_file_sync_notifications_total").await, 3);
}

#[tokio::test]
async fn gsidecar_n2_the_first_sync_is_told_once_for_all_objects_or_not_at_all() {
    let site = Site::new(ControlPlane::shared().await, "first").await;
    let app = App::start().await;
    for name in ["a", "b", "c", "d"] {
        site.put(name, &[(name, "1")]).await;
    }
    let url = app.url("/");
    let told = [&COUNTED[..], &[("REQ_URL", &url)]].concat();
    let sidecar = site.ready(&with(&told)).await;
    app.until_calls(1).await;
    sidecar.until_told().await;
    sidecar.kill().await;
    assert_eq!(bodies(&app), [json!({"files": "a, b, c, d", "count": "4"})]);
    // Nothing has changed since, so the next start has nothing to tell.
    let sidecar = site.ready(&with(&told)).await;
    site.put("e", &[("e", "1")]).await;
    app.until_calls(2).await;
    assert_eq!(bodies(&app)[1], json!({"files": "e", "count": "1"}));
    sidecar.kill().await;

    let fresh = tempfile::tempdir().unwrap();
    let folder = fresh.path().display().to_string();
    let _sidecar = site.ready(&with(&[&told[..], &[("REQ_SKIP_INIT", "true"), ("FOLDER", &folder)]].concat())).await;
    site.put("f", &[("f", "1")]).await;
    app.until_calls(3).await;
    assert_eq!(bodies(&app)[2], json!({"files": "f", "count": "1"}), "five files came before it");
}

#[tokio::test]
async fn gsidecar_n3_without_credentials_none_are_sent() {
    let site = Site::new(ControlPlane::shared().await, "nobody").await;
    let app = App::start().await;
    site.put("a", &[("one", "1")]).await;
    let _sidecar = site.ready(&with(&[("REQ_URL", &app.url("/"))])).await;
    let calls = app.until_calls(1).await;
    assert!(calls[0].method == "GET" && calls[0].body.is_empty());
    assert!(!calls[0].headers.contains_key("authorization") && !calls[0].headers.contains_key("content-type"), "{:?}", calls[0].headers);
}

#[tokio::test]
async fn gsidecar_n4_a_call_that_hangs_or_fails_holds_nothing_back_and_is_made_again() {
    let site = Site::new(ControlPlane::shared().await, "hanging").await;
    site.put("a", &[("one", "1")]).await;
    // It takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let url = format!("http://{address}/");
    let sidecar = site.ready(&with(&[("REQ_URL", &url), ("REQ_TIMEOUT", "500ms")])).await;
    site.put("b", &[("two", "2")]).await;
    site.until_files(&[("one", "1"), ("two", "2")]).await;
    sidecar.until_log("not notified yet; trying again").await;
    drop(silent);
    let app = App::start_at(&address).await;
    app.until_calls(1).await;
}

#[tokio::test]
async fn gsidecar_n8_without_an_address_nobody_is_called() {
    let site = Site::new(ControlPlane::shared().await, "no-address").await;
    site.put("a", &[("one", "1")]).await;
    let sidecar = site.ready(&with(&[("REQ_URL", ""), ("REQ_METHOD", "POST")])).await;
    site.put("a", &[("one", "2")]).await;
    site.until_files(&[("one", "2")]).await;
    let told = sidecar.metric("outrigger_file_sync_notifications_total").await;
    let failed = sidecar.metric("outrigger_file_sync_failed_notifications_total").await;
    assert_eq!((told, failed), (0, 0));
}

#[tokio::test]
async fn kiwigrid_k10_neither_answers_nor_payloads_are_logged() {
    let site = Site::new(ControlPlane::shared().await, "quiet").await;
    let app = App::start().await;
    site.put("a", &[("one", "secret-contents")]).await;
    app.answer(500, "secret-answer");
    let url = app.url("/?token=secret-token");
    let payload = [("REQ_URL", &*url), ("REQ_METHOD", "POST"), ("REQ_PAYLOAD", "secret-payload"), ("LOG_LEVEL", "debug")];
    let sidecar = site.ready(&with(&payload)).await;
    app.until_calls(2).await;
    app.answer(200, "secret-answer");
    sidecar.until_log("notified").await;
    assert!(!sidecar.log().contains("secret-"), "{}", sidecar.log());
}

#[tokio::test]
async fn kiwigrid_k11_a_refusal_is_no_delivery_and_is_not_forgotten_across_a_crash() {
    let site = Site::new(ControlPlane::shared().await, "refused").await;
    let app = App::start().await;
    app.answer(404, "no such page");
    site.put("a", &[("one", "1")]).await;
    let url = app.url("/");
    let variables = with(&[("REQ_URL", &url), ("REQ_SKIP_INIT", "false")]);
    let sidecar = site.ready(&variables).await;
    sidecar.until_log("404").await;
    app.until_calls(2).await;
    sidecar.kill().await;
    app.answer(200, "");
    let before = app.calls().len();
    // The files are right already, and the app still does not know.
    let sidecar = site.ready(&with(&[("REQ_URL", &url), ("REQ_SKIP_INIT", "true")])).await;
    app.until_calls(before + 1).await;
    assert_eq!(sidecar.metric("outrigger_file_sync_written_total").await, 0);
    sidecar.until_log("notified").await;
    until("what was told is forgotten", async || {
        if site.path().join(".outrigger-unnotified").exists() { Err("it is there".into()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn a_5xx_is_final_on_request_and_retries_can_be_bounded() {
    let site = Site::new(ControlPlane::shared().await, "bounded").await;
    let app = App::start().await;
    app.answer(503, "");
    site.put("a", &[("one", "1")]).await;
    let url = app.url("/");
    let sidecar = site.ready(&with(&[("REQ_URL", &url), ("ENABLE_5XX", "false")])).await;
    sidecar.until_log("not notified, and given up").await;
    assert_eq!(app.calls().len(), 1);
    sidecar.kill().await;
    site.put("a", &[("one", "2")]).await;
    let sidecar = site.ready(&with(&[("REQ_URL", &url), ("REQ_RETRY_TOTAL", "2")])).await;
    sidecar.until_log("not notified, and given up").await;
    assert_eq!(app.calls().len(), 1 + 3);
}

#[tokio::test]
async fn a_storm_of_changes_is_told_together() {
    let site = Site::new(ControlPlane::shared().await, "storm").await;
    let app = App::start().await;
    let url = app.url("/");
    let variables =
        [&COUNTED[..], &[("REQ_URL", &url), ("NOTIFY_QUIET", "5s"), ("NOTIFY_LATEST", "120s"), ("REQ_SKIP_INIT", "true")]].concat();
    let _sidecar = site.ready(&variables).await;
    for number in 0..20 {
        site.put("a", &[("same", &number.to_string())]).await;
    }
    app.until_calls(1).await;
    assert_eq!(bodies(&app), [json!({"files": "same", "count": "1"})]);
    assert_eq!(site.files()["same"], "19", "what is told is there");
}

#[tokio::test]
async fn unchanged_contents_are_not_told() {
    let site = Site::new(ControlPlane::shared().await, "unchanged").await;
    let app = App::start().await;
    site.put("a", &[("one", "1")]).await;
    let url = app.url("/");
    let _sidecar = site.ready(&with(&[&COUNTED[..], &[("REQ_URL", &url), ("REQ_SKIP_INIT", "true")]].concat())).await;
    let mut touched = config_map("a", &[("one", "1")]);
    touched.metadata.annotations = Some([("note".to_owned(), "touched".to_owned())].into());
    put(&site.config_maps(), touched).await;
    site.put("b", &[("two", "2")]).await;
    app.until_calls(1).await;
    assert_eq!(bodies(&app), [json!({"files": "two", "count": "1"})]);
}

#[tokio::test]
async fn credentials_are_read_from_files_for_each_call_and_never_follow_a_redirect() {
    let site = Site::new(ControlPlane::shared().await, "files").await;
    let app = App::start().await;
    let secrets = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(secrets.path().join(name), text).unwrap();
    write("user", "jane\n");
    write("password", "first\n");
    let (user, password) = (secrets.path().join("user").display().to_string(), secrets.path().join("password").display().to_string());
    let url = app.url("/");
    let files = [("REQ_URL", &*url), ("REQ_USERNAME_FILE", &user), ("REQ_PASSWORD_FILE", &password), ("REQ_USERNAME", "not-jane")];
    site.put("a", &[("one", "1")]).await;
    let sidecar = site.ready(&with(&files)).await;
    app.until_calls(1).await;
    sidecar.until_told().await;
    write("password", "second\n");
    site.put("a", &[("one", "2")]).await;
    let calls = app.until_calls(2).await;
    let sent: Vec<&str> = calls.iter().map(|call| call.headers["authorization"].to_str().unwrap()).collect();
    // Base64 of jane:first and jane:second.
    assert_eq!(sent, ["Basic amFuZTpmaXJzdA==", "Basic amFuZTpzZWNvbmQ="]);

    let elsewhere = App::start().await;
    app.answer(307, &elsewhere.url("/"));
    site.put("a", &[("one", "3")]).await;
    app.until_calls(4).await;
    assert!(elsewhere.calls().is_empty(), "what is sent is for one address alone");
}

#[tokio::test]
async fn a_script_runs_before_the_call_and_a_shell_that_is_not_there_is_named_at_start() {
    let site = Site::new(ControlPlane::shared().await, "script").await;
    let app = App::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (script, told) = (folder.path().join("reload"), folder.path().join("told"));
    let write = |text: &str| {
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("#!/no/such/shell\n");
    let name = script.display().to_string();
    site.put("a", &[("one", "1")]).await;
    let (status, log) = site.start(&[("SCRIPT", &name)]).end().await;
    assert!(!status.success() && log.contains("needs /no/such/shell, which is not in this image"), "{log}");

    write(&format!("#!/bin/sh\nif env | grep -q hunter2; then exit 1; fi\necho \"$CHANGED_FILES\" >> {}\n", told.display()));
    app.answer(500, "");
    let url = app.url("/");
    let _sidecar =
        site.ready(&with(&[("SCRIPT", &name), ("REQ_URL", &url), ("REQ_PASSWORD", "hunter2"), ("SMTP_PASSWORD", "hunter2")])).await;
    app.until_calls(3).await;
    assert_eq!(read(&told), "one\n", "it is not run again for each attempt to call");
    app.answer(200, "");
    site.put("a", &[("two", "2")]).await;
    until("the script was told of both", async || match read(&told) {
        text if text.ends_with("one\ntwo\n") => Ok(()),
        text => Err(text),
    })
    .await;
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test]
async fn slack_gets_its_own_format() {
    let site = Site::new(ControlPlane::shared().await, "slack").await;
    let app = App::start().await;
    site.put("a", &[("one", "1")]).await;
    let _sidecar = site.ready(&with(&[("REQ_URL", &app.url("/hook")), ("REQ_PRESET", "slack")])).await;
    app.until_calls(1).await;
    assert_eq!(bodies(&app), [json!({"text": format!("1 file in {} changed: one", site.path().display())})]);
}

#[tokio::test]
async fn the_first_sync_does_not_wait_for_the_app_that_waits_for_it() {
    let site = Site::new(ControlPlane::shared().await, "deadlock").await;
    site.put("a", &[("one", "1")]).await;
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let url = format!("http://{address}/reload");
    let sidecar = site.ready(&with(&[("REQ_URL", &url)])).await;
    assert_eq!(site.files().len(), 1, "the app may start, and it is told when it is there");
    sidecar.until_log("not notified yet").await;
    let app = App::start_at(&address).await;
    assert_eq!(app.until_calls(1).await[0].path, "/reload");
}

#[tokio::test]
async fn people_are_told_by_mail_even_if_the_app_does_not_listen() {
    let site = Site::new(ControlPlane::shared().await, "mail").await;
    let (app, mails) = (App::start().await, MailServer::start(Manners::Good).await);
    app.answer(404, "");
    site.put("a", &[("one", "secret-contents")]).await;
    let (url, server) = (app.url("/"), mails.url());
    let settings =
        [("REQ_URL", &*url), ("SMTP_URL", &server), ("SMTP_FROM", "outrigger@example.com"), ("SMTP_TO", "a@example.com, b@example.com")];
    let _sidecar = site.ready(&with(&settings)).await;
    app.until_calls(3).await;
    let mail = mails.until_mails(1).await;
    assert_eq!(mail.len(), 1, "it is not sent again for each attempt to call");
    for part in ["RCPT TO:<a@example.com>", "RCPT TO:<b@example.com>", "Subject: 1 file in ", "\r\none\r\n"] {
        assert!(mail[0].contains(part), "{part} in {}", mail[0]);
    }
    assert!(!mail[0].contains("secret-contents"));
}

#[tokio::test]
async fn what_changed_while_the_sidecar_was_down_is_told_even_if_first_syncs_are_not() {
    let site = Site::new(ControlPlane::shared().await, "skip-init").await;
    let app = App::start().await;
    let url = app.url("/");
    let settings = [("REQ_URL", &*url), ("REQ_SKIP_INIT", "true")];
    site.put("a", &[("one", "1")]).await;
    let sidecar = site.ready(&with(&settings)).await;
    sidecar.until_told().await;
    sidecar.kill().await;
    assert!(app.calls().is_empty(), "the app reads the first sync by itself");
    site.put("a", &[("one", "2")]).await;
    let _sidecar = site.ready(&with(&settings)).await;
    app.until_calls(1).await;
}

#[tokio::test]
async fn a_new_change_is_told_at_once_and_has_all_its_attempts_before_it() {
    let site = Site::new(ControlPlane::shared().await, "attempts").await;
    let app = App::start().await;
    app.answer(500, "");
    let url = app.url("/");
    // The pauses are longer than any test waits.
    let pace = [("REQ_URL", &*url), ("REQ_RETRY_BACKOFF_FACTOR", "300s"), ("REQ_RETRY_TOTAL", "1"), COUNTED[0], COUNTED[1]];
    site.put("a", &[("one", "1")]).await;
    let sidecar = site.ready(&with(&pace)).await;
    app.until_calls(1).await;
    site.put("b", &[("two", "2")]).await;
    app.until_calls(2).await;
    app.answer(200, "");
    site.put("c", &[("three", "3")]).await;
    app.until_calls(3).await;
    assert_eq!(bodies(&app)[2], json!({"files": "one, three, two", "count": "3"}), "none was given up: {}", sidecar.log());
}

#[tokio::test]
async fn a_mail_server_that_says_nothing_holds_back_neither_the_app_nor_the_end() {
    let site = Site::new(ControlPlane::shared().await, "silent-mail").await;
    let (app, mails) = (App::start().await, MailServer::start(Manners::Silent).await);
    let (url, server) = (app.url("/"), mails.url());
    site.put("a", &[("one", "1")]).await;
    let settings = [
        ("REQ_URL", &*url),
        ("SMTP_URL", &server),
        ("SMTP_FROM", "outrigger@example.com"),
        ("SMTP_TO", "a@example.com"),
        ("REQ_TIMEOUT", "2s"),
    ];
    let sidecar = site.ready(&with(&settings)).await;
    mails.until_mails(2).await;
    site.put("a", &[("one", "2")]).await;
    app.until_calls(2).await;
    sidecar.kill().await;
    let (status, log) = site.once(&[&settings[..], &[("REQ_RETRY_TOTAL", "0")]].concat()).await;
    assert!(status.success() && log.contains("has not taken the mail within 2s"), "{log}");
}

#[tokio::test]
async fn a_mail_that_was_taken_is_not_sent_again_however_the_server_says_goodbye() {
    let site = Site::new(ControlPlane::shared().await, "abrupt-mail").await;
    let mails = MailServer::start(Manners::Abrupt).await;
    let server = mails.url();
    site.put("a", &[("one", "1")]).await;
    let settings = [("SMTP_URL", &*server), ("SMTP_FROM", "outrigger@example.com"), ("SMTP_TO", "a@example.com")];
    let (status, log) = site.once(&with(&settings)).await;
    assert!(status.success() && log.contains("notified") && !log.contains("not notified"), "{log}");
    assert_eq!(mails.until_mails(1).await.len(), 1);
}

#[tokio::test]
async fn an_address_with_tls_is_trusted_by_its_authority_or_on_request() {
    let site = Site::new(ControlPlane::shared().await, "tls").await;
    let (app, ca) = App::start_with_tls().await;
    let url = app.url("/");
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem").display().to_string();
    fs::write(&ca_file, ca).unwrap();
    site.put("a", &[("one", "1")]).await;
    let sidecar = site.ready(&with(&[("REQ_URL", &url)])).await;
    sidecar.until_log("not notified yet").await;
    assert!(app.calls().is_empty(), "nobody vouches for it");
    sidecar.kill().await;
    let sidecar = site.ready(&with(&[("REQ_URL", &url), ("REQ_CA_FILE", &ca_file)])).await;
    app.until_calls(1).await;
    sidecar.until_told().await;
    sidecar.kill().await;
    site.put("a", &[("one", "2")]).await;
    let _sidecar = site.ready(&with(&[("REQ_URL", &url), ("REQ_SKIP_TLS_VERIFY", "true")])).await;
    app.until_calls(2).await;
}
