//! Files that are published together, as in the kubelet's volumes.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use outrigger_bed::ControlPlane;

use crate::{
    app::App,
    sidecar::{Site, config_map, files_below, put, secret},
    until::until,
};

const TOGETHER: (&str, &str) = ("PUBLISH", "together");
const QUICK: (&str, &str) = ("NOTIFY_QUIET", "20ms");

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).unwrap().is_symlink()
}

/// The folder in which the files of one time stand.
fn published(site: &Site<'_>) -> std::path::PathBuf {
    site.path().join(fs::read_link(site.path().join("..data")).unwrap())
}

async fn put_nested(site: &Site<'_>, name: &str, folder: &str, data: &[(&str, &str)]) {
    let mut object = config_map(name, data);
    object.metadata.annotations = Some([("k8s-sidecar-target-directory".to_owned(), folder.to_owned())].into());
    put(&site.config_maps(), object).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_data_sees_all_files_of_one_time() {
    let site = Site::new(ControlPlane::shared().await, "together").await;
    let pair = async |text: &str| site.put("pair", &[("tls.crt", text), ("tls.key", text)]).await;
    pair("0").await;
    let _sidecar = site.ready(&[TOGETHER, QUICK]).await;
    let (folder, stop) = (site.path().to_owned(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let reader = tokio::task::spawn_blocking(move || {
        let mut seen = std::collections::BTreeSet::new();
        while !stopped.load(Ordering::Relaxed) {
            let now = folder.join(fs::read_link(folder.join("..data")).unwrap());
            // The folder of one time goes soon after the next one has come.
            let (Ok(certificate), Ok(key)) = (fs::read_to_string(now.join("tls.crt")), fs::read_to_string(now.join("tls.key"))) else {
                continue;
            };
            assert_eq!(certificate, key);
            seen.insert(certificate);
        }
        seen.len()
    });
    for turn in 1..=20 {
        let text = turn.to_string();
        pair(&text).await;
        site.until_files(&[("tls.crt", &text), ("tls.key", &text)]).await;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 5);
}

#[tokio::test]
async fn the_first_sync_appears_at_once_and_later_changes_leave_the_rest_as_it_is() {
    let site = Site::new(ControlPlane::shared().await, "at-once").await;
    let app = App::start().await;
    site.put("a", &[("one", "1"), ("two", "1")]).await;
    put(&site.secrets(), secret("s", &[("secret", b"1")])).await;
    put_nested(&site, "b", "sub/deep", &[("three", "1")]).await;
    let settings = [TOGETHER, QUICK, ("RESOURCE", "both"), ("REQ_URL", &app.url("/")), ("POLL_INTERVAL", "1s")];
    let sidecar = site.start(&settings);
    let data = site.path().join("..data");
    until("the files are published", async || if data.exists() { Ok(()) } else { Err(sidecar.log()) }).await;
    assert_eq!(files_below(&data, "").len(), 4, "all that the cluster holds");
    sidecar.until_status("/startupz", 200).await;
    let all = |two: &'static str| [("one", "1"), ("secret", "1"), ("sub/deep/three", "1"), ("two", two)];
    site.until_files(&all("1")).await;
    for name in ["one", "sub", "two", "secret"] {
        assert_eq!(fs::read_link(site.path().join(name)).unwrap(), Path::new("..data").join(name));
    }
    assert_eq!(site.mode("secret"), 0o440);

    let before = published(&site);
    site.put("a", &[("one", "1"), ("two", "2")]).await;
    site.until_files(&all("2")).await;
    until("the folder of before is gone", async || if before.exists() { Err(sidecar.log()) } else { Ok(()) }).await;
    assert_eq!(sidecar.metric("outrigger_file_sync_written_total").await, 5, "what stays the same is not written again");
    app.until_calls(2).await;
    sidecar.until_told().await;
    site.delete("b").await;
    site.until_files(&[("one", "1"), ("secret", "1"), ("two", "2")]).await;
    let link = site.path().join("sub");
    until("its link is gone", async || if fs::symlink_metadata(&link).is_err() { Ok(()) } else { Err("it is there".to_owned()) }).await;
    // Looked at again and again, they are found to be as we left them.
    let looks = sidecar.metric("outrigger_file_sync_watches_total").await;
    assert!(looks >= 1 && sidecar.metric("outrigger_file_sync_repaired_total").await == 0);
}

#[tokio::test]
async fn the_option_can_be_switched_on_and_off_and_foreign_files_stay() {
    let site = Site::new(ControlPlane::shared().await, "switched").await;
    site.put("a", &[("one", "1"), ("blocked", "ours")]).await;
    put_nested(&site, "b", "sub", &[("two", "1")]).await;
    put_nested(&site, "c", "shared", &[("three", "1")]).await;
    fs::write(site.path().join("blocked"), "theirs").unwrap();
    fs::create_dir(site.path().join("shared")).unwrap();
    fs::write(site.path().join("shared/foreign"), "theirs").unwrap();
    let foreign = [("blocked", "theirs"), ("shared/foreign", "theirs")];
    let apart = [&foreign[..], &[("one", "1"), ("shared/three", "1"), ("sub/two", "1")]].concat();
    // Where somebody else's file stands, no link can take the folder's place.
    let together = [&foreign[..], &[("one", "1"), ("sub/two", "1")]].concat();
    for _ in 0..2 {
        let sidecar = site.start(&[]);
        site.until_files(&apart).await;
        sidecar.until_log("blocked is there already and is not ours").await;
        sidecar.kill().await;
        assert!(!is_link(&site.path().join("one")) && fs::symlink_metadata(site.path().join("..data")).is_err());

        let sidecar = site.start(&[TOGETHER, QUICK]);
        sidecar.until_log("shared/three is there already and is not ours").await;
        site.until_files(&together).await;
        sidecar.kill().await;
        assert!(is_link(&site.path().join("one")) && is_link(&site.path().join("sub")));
    }
    let hidden: Vec<String> = fs::read_dir(site.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(hidden.iter().filter(|name| name.starts_with("..outrigger-")).count(), 1, "{hidden:?}");
}

#[tokio::test]
async fn what_somebody_else_put_in_our_place_is_reported_and_never_touched() {
    let site = Site::new(ControlPlane::shared().await, "in-our-place").await;
    site.put("a", &[("one", "1"), ("two", "1")]).await;
    let sidecar = site.ready(&[TOGETHER, QUICK, ("POLL_INTERVAL", "1s")]).await;
    fs::remove_file(site.path().join("one")).unwrap();
    site.until_files(&[("one", "1"), ("two", "1")]).await;
    // In one step, so that it is not linked again in between.
    fs::write(site.path().join("theirs"), "theirs").unwrap();
    fs::rename(site.path().join("theirs"), site.path().join("two")).unwrap();
    sidecar.until_log("two is there already and is not ours").await;
    assert_eq!(fs::read_to_string(site.path().join("two")).unwrap(), "theirs");
    fs::remove_file(site.path().join("two")).unwrap();
    site.until_files(&[("one", "1"), ("two", "1")]).await;
    sidecar.kill().await;

    let other = tempfile::tempdir().unwrap();
    symlink("somewhere", other.path().join("..data")).unwrap();
    let (status, log) = site.once(&[TOGETHER, ("FOLDER", &other.path().display().to_string())]).await;
    assert!(!status.success() && log.contains("..data in the folder") && log.contains("set PUBLISH=each"), "{log}");
    assert_eq!(fs::read_link(other.path().join("..data")).unwrap(), Path::new("somewhere"));
}
