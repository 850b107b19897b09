//! What a reader sees of a file, and where files can be at all.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::STANDARD};
use outrigger::sidecars::file_sync::plan::{RESERVED_PREFIX, digest, hexadecimal};
use outrigger_bed::ControlPlane;

use crate::{
    app::{App, DATED},
    sidecar::{Site, config_map, put, secret},
    until::until,
};

const FOLDER_ANNOTATION: &str = "k8s-sidecar-target-directory";

fn annotated(name: &str, folder: &str, data: &[(&str, &str)]) -> k8s_openapi::api::core::v1::ConfigMap {
    let mut object = config_map(name, data);
    object.metadata.annotations = Some([(FOLDER_ANNOTATION.to_owned(), folder.to_owned())].into());
    object
}

#[tokio::test]
async fn kiwigrid_k5_a_reader_sees_the_old_contents_or_the_new_and_never_half_of_them() {
    let site = Site::new(ControlPlane::shared().await, "whole").await;
    let contents = |character: &str| character.repeat(200_000);
    site.put("a", &[("file", &contents("0"))]).await;
    let _sidecar = site.ready(&[]).await;
    let (path, stop) = (site.path().join("file"), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let reader = tokio::task::spawn_blocking(move || {
        let mut reads = 0_u32;
        while !stopped.load(Ordering::Relaxed) {
            let text = fs::read_to_string(&path).unwrap();
            let first = text.chars().next().unwrap();
            assert!(text.len() == 200_000 && text.chars().all(|character| character == first), "torn: {} bytes", text.len());
            reads += 1;
        }
        reads
    });
    for turn in 1..=30 {
        let text = contents(&(turn % 10).to_string());
        site.put("a", &[("file", &text)]).await;
        site.until_files(&[("file", &text)]).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 30);
}

#[tokio::test]
async fn kiwigrid_k6_a_file_without_write_permission_is_updated_all_the_same() {
    let site = Site::new(ControlPlane::shared().await, "readonly").await;
    site.put("a", &[("file", "1")]).await;
    let _sidecar = site.ready(&[("DEFAULT_FILE_MODE", "400")]).await;
    assert_eq!(site.mode("file"), 0o400);
    site.put("a", &[("file", "2")]).await;
    site.until_files(&[("file", "2")]).await;
    assert_eq!(site.mode("file"), 0o400);
}

#[tokio::test]
async fn kiwigrid_k7_a_secret_is_never_readable_by_others_not_even_for_a_moment() {
    let site = Site::new(ControlPlane::shared().await, "private").await;
    put(&site.secrets(), secret("s", &[("key", b"0")])).await;
    let _sidecar = site.ready(&[("RESOURCE", "secret")]).await;
    let (folder, stop) = (site.path().to_owned(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let watcher = tokio::task::spawn_blocking(move || {
        let mut seen = 0_u32;
        while !stopped.load(Ordering::Relaxed) {
            // Also the file that is being written, under its other name.
            for entry in fs::read_dir(&folder).unwrap() {
                if let Ok(metadata) = entry.unwrap().metadata() {
                    assert_eq!(metadata.mode() & 0o007, 0, "{:o}", metadata.mode());
                    seen += 1;
                }
            }
        }
        seen
    });
    for turn in 1..=20 {
        let text = turn.to_string();
        put(&site.secrets(), secret("s", &[("key", text.as_bytes())])).await;
        site.until_files(&[("key", &text)]).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(watcher.await.unwrap() > 20);
}

#[tokio::test]
async fn kiwigrid_k8_no_object_is_written_outside_the_folders_that_are_allowed() {
    let site = Site::new(ControlPlane::shared().await, "confined").await;
    let (allowed, forbidden) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (allowed_name, forbidden_name) = (allowed.path().display().to_string(), forbidden.path().display().to_string());
    put(&site.config_maps(), annotated("allowed", &format!("{allowed_name}/sub"), &[("file", "1")])).await;
    put(&site.config_maps(), annotated("absolute", &forbidden_name, &[("file", "1")])).await;
    put(&site.config_maps(), annotated("upwards", "../../../../../../tmp", &[("file", "1")])).await;
    put(&site.config_maps(), annotated("inside", "sub", &[("inside", "1")])).await;
    let sidecar = site.ready(&[("COMPAT", "kiwigrid"), ("ALLOWED_FOLDERS", &allowed_name)]).await;
    assert_eq!(fs::read_to_string(allowed.path().join("sub/file")).unwrap(), "1");
    assert_eq!(fs::read_dir(forbidden.path()).unwrap().count(), 0);
    assert_eq!(site.files().into_keys().collect::<Vec<_>>(), ["sub/inside"]);
    for part in ["is not allowed: name it in ALLOWED_FOLDERS", "leads upwards: take out"] {
        assert!(sidecar.log().contains(part), "{}", sidecar.log());
    }
    sidecar.kill().await;

    let sidecar = site.ready(&[]).await;
    let nested = format!("{}/file", forbidden_name.trim_start_matches('/'));
    until("in k8s-gsidecar's words it is a folder below", async || {
        if site.files().contains_key(&nested) { Ok(()) } else { Err(format!("{:?}; {}", site.files(), sidecar.log())) }
    })
    .await;
    assert_eq!(fs::read_dir(forbidden.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn kiwigrid_k9_an_address_in_an_object_gets_no_credentials() {
    let site = Site::new(ControlPlane::shared().await, "address").await;
    let (web, app) = (App::start().await, App::start().await);
    web.answer(200, "contents");
    site.put("a", &[("page.html.url", &web.url("/page"))]).await;
    let mut binary = config_map("b", &[]);
    binary.binary_data = Some([("binary.url".to_owned(), k8s_openapi::ByteString(web.url("/binary").into_bytes()))].into());
    put(&site.config_maps(), binary).await;
    let variables = [("REQ_URL", &*app.url("/reload")), ("REQ_USERNAME", "jane"), ("REQ_PASSWORD", "hunter2")];
    let sidecar = site.ready(&variables).await;
    assert_eq!(site.files(), [("binary".to_owned(), "contents".to_owned()), ("page.html".to_owned(), "contents".to_owned())].into());
    let told = app.until_calls(1).await;
    assert_eq!(told[0].headers["authorization"], format!("Basic {}", STANDARD.encode("jane:hunter2")));
    assert!(web.calls().iter().all(|call| !call.headers.contains_key("authorization")), "{:?}", web.calls());
    assert_eq!(web.calls().len(), 2, "each is fetched once");
    assert!(!sidecar.log().contains("hunter2"));
}

#[tokio::test]
async fn an_address_that_fails_leaves_what_was_there_and_is_asked_again() {
    let site = Site::new(ControlPlane::shared().await, "asked-again").await;
    let web = App::start().await;
    web.answer(200, "good");
    site.put("a", &[("page.url", &web.url("/one"))]).await;
    let sidecar = site.ready(&[]).await;
    assert_eq!(site.files()["page"], "good");
    web.answer(500, "bad");
    site.put("a", &[("page.url", &web.url("/two"))]).await;
    web.until_calls(3).await;
    assert_eq!(site.files()["page"], "good", "the answer of a failure is no contents");
    web.answer(200, "better");
    site.until_files(&[("page", "better")]).await;
    let calls = web.calls().len();
    site.delete("a").await;
    site.until_files(&[]).await;
    assert_eq!(web.calls().len(), calls, "nothing is fetched to remove a file");
    assert!(sidecar.metric("outrigger_file_sync_failed_downloads_total").await >= 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_to_is_named_and_tried_again() {
    let site = Site::new(ControlPlane::shared().await, "unwritable").await;
    site.put("a", &[("file", "1")]).await;
    // A folder where the file belongs: root could write to a folder without permission.
    fs::create_dir(site.path().join("file")).unwrap();
    let sidecar = site.ready(&[]).await;
    assert!(sidecar.until_status("/readyz", 200).await.contains("1 files are missing"), "it harms nothing else");
    fs::remove_dir(site.path().join("file")).unwrap();
    site.until_files(&[("file", "1")]).await;
    until("nothing is missing", async || match sidecar.status("/readyz").await?.1 {
        report if report.contains("missing") => Err(report),
        _ => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn a_file_that_the_app_cannot_read_is_warned_about_at_start() {
    let site = Site::new(ControlPlane::shared().await, "unreadable").await;
    put(&site.secrets(), secret("s", &[("key", b"0")])).await;
    let sidecar = site.ready(&[("RESOURCE", "secret"), ("APP_USERS", "12345:12345")]).await;
    sidecar.until_log("the app can't read these files: give the pod an fsGroup").await;
    sidecar.kill().await;
    let sidecar = site.ready(&[("RESOURCE", "secret"), ("APP_USERS", "12345:12345"), ("DEFAULT_FILE_MODE", "0444")]).await;
    assert!(!sidecar.log().contains("can't read these files"));
    assert_eq!(fs::metadata(site.path().join("key")).unwrap().permissions().mode() & 0o777, 0o444, "the mode alone was changed");
    assert_eq!(sidecar.metric("outrigger_file_sync_written_total").await, 0);
}

#[tokio::test]
async fn an_address_is_asked_again_from_time_to_time_on_request() {
    let site = Site::new(ControlPlane::shared().await, "refreshed").await;
    let web = App::start().await;
    web.answer(200, "old");
    site.put("a", &[("page.url", &web.url("/page"))]).await;
    let sidecar = site.ready(&[("URL_REFRESH", "100ms"), ("POLL_INTERVAL", "1s")]).await;
    let calls = web.until_calls(4).await;
    assert!(!calls[0].headers.contains_key("if-none-match"));
    assert!(calls[1..].iter().all(|call| call.headers["if-none-match"] == "\"old\""), "only what has changed is sent: {calls:?}");
    assert_eq!(sidecar.metric("outrigger_file_sync_written_total").await, 1);

    web.answer(200, "new");
    site.until_files(&[("page", "new")]).await;
    web.answer(500, "bad");
    sidecar.until_log("what was there stays").await;
    assert_eq!(site.files()["page"], "new");
    assert!(!sidecar.until_status("/readyz", 200).await.contains("missing"), "the file is there");
    web.answer(200, "newest");
    site.until_files(&[("page", "newest")]).await;
    // What the server holds is not what the file holds any more.
    fs::write(site.path().join("page"), "theirs").unwrap();
    site.until_files(&[("page", "newest")]).await;
    site.put("a", &[("page", "value")]).await;
    site.until_files(&[("page", "value")]).await;
}

#[tokio::test]
async fn what_an_address_answered_is_fetched_again_if_it_could_not_be_written() {
    let site = Site::new(ControlPlane::shared().await, "unwritten").await;
    let web = App::start().await;
    web.answer(200, "old");
    site.put("a", &[("page.url", &web.url("/page"))]).await;
    let sidecar = site.ready(&[("URL_REFRESH", "100ms")]).await;
    // A folder stands where the file is prepared.
    let prepared = site.path().join(format!("{RESERVED_PREFIX}{}", &hexadecimal(&digest(b"page"))[..16]));
    fs::create_dir(&prepared).unwrap();
    web.answer(200, "new");
    sidecar.until_log("page can't be written").await;
    web.until_calls(web.calls().len() + 3).await;
    fs::remove_dir(&prepared).unwrap();
    site.until_files(&[("page", "new")]).await;
}

#[tokio::test]
async fn an_address_whose_server_names_no_version_is_fetched_whole_each_time() {
    let site = Site::new(ControlPlane::shared().await, "dated").await;
    let web = App::start().await;
    web.answer(304, "nothing was there before");
    site.put("a", &[("page.url", &web.url(DATED))]).await;
    let sidecar = site.start(&[("URL_REFRESH", "100ms")]);
    sidecar.until_log("answers 304 Not Modified").await;
    web.answer(200, "new");
    site.until_files(&[("page", "new")]).await;
    web.until_calls(web.calls().len() + 3).await;
    assert_eq!(sidecar.metric("outrigger_file_sync_written_total").await, 1);
    // Whoever goes back to an older file shows its older date.
    web.answer(200, "older");
    site.until_files(&[("page", "older")]).await;
}
