//! What stands in the folder is what stands in the cluster.

use std::{fs, os::unix::fs::symlink, path::Path};

use k8s_openapi::ByteString;
use kube::api::{Patch, PatchParams, PostParams};
use outrigger_bed::ControlPlane;
use serde_json::json;

use crate::{
    sidecar::{Site, config_map, put, secret},
    until::until,
};

#[tokio::test]
async fn files_follow_their_objects() {
    let site = Site::new(ControlPlane::shared().await, "follow").await;
    site.put("a", &[("one.json", "1"), ("two.yaml", "2")]).await;
    let sidecar = site.ready(&[]).await;
    assert_eq!(site.files(), [("one.json".to_owned(), "1".to_owned()), ("two.yaml".to_owned(), "2".to_owned())].into());
    site.put("a", &[("one.json", "changed"), ("three", "3")]).await;
    site.until_files(&[("one.json", "changed"), ("three", "3")]).await;
    site.put("b", &[("four", "4")]).await;
    site.until_files(&[("four", "4"), ("one.json", "changed"), ("three", "3")]).await;
    site.delete("a").await;
    site.until_files(&[("four", "4")]).await;
    assert!(sidecar.log().contains("k8s-gsidecar's documents"), "the first line says whose meaning words have: {}", sidecar.log());
    assert!(sidecar.terminate().await.success());
    assert_eq!(site.files().len(), 1, "the files outlive the sidecar");
}

#[tokio::test]
async fn an_object_that_loses_its_label_loses_its_files() {
    let site = Site::new(ControlPlane::shared().await, "unlabelled").await;
    site.put("a", &[("one", "1")]).await;
    let _sidecar = site.ready(&[]).await;
    let patch = Patch::Merge(json!({"metadata": {"labels": {"mirrored": null}}}));
    site.config_maps().patch("a", &PatchParams::default(), &patch).await.unwrap();
    site.until_files(&[]).await;
}

/// Also gsidecar n6: a key that is removed.
#[tokio::test]
async fn gsidecar_n6_a_key_or_a_folder_that_is_no_longer_named_is_cleaned_up() {
    let site = Site::new(ControlPlane::shared().await, "moved").await;
    let annotated = |folder: &str, data: &[(&str, &str)]| {
        let mut object = config_map("a", data);
        object.metadata.annotations = Some([("k8s-sidecar-target-directory".to_owned(), folder.to_owned())].into());
        object
    };
    put(&site.config_maps(), annotated("old/deep", &[("one", "1"), ("two", "2")])).await;
    let _sidecar = site.ready(&[]).await;
    assert_eq!(site.files().into_keys().collect::<Vec<_>>(), ["old/deep/one", "old/deep/two"]);
    put(&site.config_maps(), annotated("old/deep", &[("one", "1")])).await;
    site.until_files(&[("old/deep/one", "1")]).await;
    put(&site.config_maps(), annotated("new", &[("one", "1")])).await;
    site.until_files(&[("new/one", "1")]).await;
    until(
        "folders of ours go with their last file",
        async || if site.path().join("old").exists() { Err("it is there".to_owned()) } else { Ok(()) },
    )
    .await;
}

#[tokio::test]
async fn secrets_and_binary_data_come_as_bytes_with_modes_of_their_own() {
    let site = Site::new(ControlPlane::shared().await, "bytes").await;
    let bytes = [0_u8, 159, 146, 150, 255];
    put(&site.secrets(), secret("s", &[("key.pem", &bytes)])).await;
    let mut object = config_map("c", &[("text", "text")]);
    object.binary_data = Some([("picture.png".to_owned(), ByteString(bytes.to_vec()))].into());
    put(&site.config_maps(), object).await;
    let _sidecar = site.ready(&[("RESOURCE", "both")]).await;
    assert_eq!(fs::read(site.path().join("key.pem")).unwrap(), bytes);
    assert_eq!(fs::read(site.path().join("picture.png")).unwrap(), bytes);
    assert_eq!((site.mode("key.pem"), site.mode("text"), site.mode("picture.png")), (0o440, 0o644, 0o644));
}

#[tokio::test]
async fn kiwigrid_k2_what_vanished_while_we_were_down_is_removed_and_nothing_else() {
    let site = Site::new(ControlPlane::shared().await, "down").await;
    site.put("a", &[("gone", "1"), ("kept", "1")]).await;
    site.put("b", &[("with-b", "1")]).await;
    site.ready(&[]).await.kill().await;
    fs::write(site.path().join("foreign"), "theirs").unwrap();
    site.put("a", &[("kept", "2")]).await;
    site.delete("b").await;
    let sidecar = site.ready(&[]).await;
    assert_eq!(site.files(), [("foreign".to_owned(), "theirs".to_owned()), ("kept".to_owned(), "2".to_owned())].into());
    assert_eq!(sidecar.metric("outrigger_file_sync_written_total").await, 1, "what had not changed was not written again");
    assert_eq!(sidecar.metric("outrigger_file_sync_removed_total").await, 2);
}

#[tokio::test]
async fn a_foreign_file_is_left_alone_unless_it_may_be_taken_over() {
    let site = Site::new(ControlPlane::shared().await, "foreign").await;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("target"), "theirs").unwrap();
    fs::write(site.path().join("one"), "theirs").unwrap();
    symlink(outside.path().join("target"), site.path().join("link")).unwrap();
    symlink(outside.path(), site.path().join("folder")).unwrap();
    site.put("a", &[("one", "ours"), ("link", "ours"), ("two", "ours")]).await;
    let mut object = config_map("b", &[("target", "ours")]);
    object.metadata.annotations = Some([("k8s-sidecar-target-directory".to_owned(), "folder".to_owned())].into());
    put(&site.config_maps(), object).await;
    let sidecar = site.ready(&[]).await;
    assert_eq!(fs::read_to_string(site.path().join("one")).unwrap(), "theirs");
    assert_eq!(fs::read_to_string(site.path().join("two")).unwrap(), "ours");
    assert_eq!(fs::read_to_string(outside.path().join("target")).unwrap(), "theirs", "no link is followed");
    sidecar.until_log("one is there already and is not ours").await;
    assert_eq!(sidecar.metric("outrigger_file_sync_unwritten_files").await, 3);
    sidecar.kill().await;

    let _sidecar = site.ready(&[("EXISTING_FILES", "adopt")]).await;
    assert_eq!(fs::read_to_string(site.path().join("one")).unwrap(), "ours");
    assert_eq!(fs::read_to_string(outside.path().join("target")).unwrap(), "theirs", "a link is no file to take over");
    site.put("a", &[("two", "ours")]).await;
    until(
        "the file that was taken over is removed",
        async || {
            if site.path().join("one").exists() { Err("it is there".to_owned()) } else { Ok(()) }
        },
    )
    .await;
}

#[tokio::test]
async fn kiwigrid_k4_the_other_file_surfaces_when_its_owner_goes() {
    let site = Site::new(ControlPlane::shared().await, "owners").await;
    site.put("b", &[("same", "from b")]).await;
    site.put("a", &[("same", "from a")]).await;
    let sidecar = site.ready(&[]).await;
    assert_eq!(site.files()["same"], "from a");
    sidecar.until_log("objects want the same file").await;
    assert_eq!(sidecar.metric("outrigger_file_sync_conflicts").await, 1);
    site.delete("a").await;
    site.until_files(&[("same", "from b")]).await;
    site.put("a", &[("same", "from a again")]).await;
    site.until_files(&[("same", "from a again")]).await;
    site.delete("b").await;
    until("nothing is contested", async || match sidecar.metric("outrigger_file_sync_conflicts").await {
        0 => Ok(()),
        count => Err(count.to_string()),
    })
    .await;
    assert_eq!(site.files()["same"], "from a again");
}

#[tokio::test]
async fn a_file_that_somebody_changed_or_removed_is_written_again_unless_that_is_not_wanted() {
    let site = Site::new(ControlPlane::shared().await, "repair").await;
    site.put("a", &[("changed", "right"), ("removed", "right")]).await;
    let damage = || {
        fs::write(site.path().join("changed"), "wrong").unwrap();
        fs::remove_file(site.path().join("removed")).unwrap();
    };
    let sidecar = site.ready(&[("POLL_INTERVAL", "200ms"), ("IGNORE_ALREADY_PROCESSED", "true")]).await;
    damage();
    site.put("b", &[("new", "1")]).await;
    site.until_files(&[("changed", "wrong"), ("new", "1")]).await;
    sidecar.kill().await;
    let sidecar = site.ready(&[("POLL_INTERVAL", "200ms")]).await;
    site.until_files(&[("changed", "right"), ("new", "1"), ("removed", "right")]).await;
    damage();
    site.until_files(&[("changed", "right"), ("new", "1"), ("removed", "right")]).await;
    assert_eq!(sidecar.metric("outrigger_file_sync_repaired_total").await, 2);
}

#[tokio::test]
async fn objects_are_chosen_by_label_value_name_kind_and_namespace() {
    let cluster = ControlPlane::shared().await;
    let (site, other) = (Site::new(cluster, "chosen").await, Site::new(cluster, "other").await);
    site.put("plain", &[("plain", "1")]).await;
    let mut labelled_otherwise = config_map("web", &[("web", "1")]);
    labelled_otherwise.metadata.labels = Some([("mirrored".to_owned(), "web".to_owned())].into());
    put(&site.config_maps(), labelled_otherwise).await;
    put(&site.secrets(), secret("plain", &[("from-secret", b"1")])).await;
    other.put("elsewhere", &[("elsewhere", "1")]).await;
    let both = format!(" {} , {} ", site.namespace.name(), other.namespace.name());
    let full_name = format!("{}/configmap/elsewhere", other.namespace.name());
    for (variables, expected) in [
        (&[][..], &["plain", "web"][..]),
        (&[("LABEL_VALUE", "web")], &["web"]),
        (&[("RESOURCE", "secret")], &["from-secret"]),
        (&[("RESOURCE", "both"), ("NAMESPACE", &both)], &["elsewhere", "from-secret", "plain", "web"]),
        (&[("RESOURCE_NAME", "plain")], &["plain"]),
        (&[("RESOURCE_NAME", "secret/plain,configmap/web"), ("RESOURCE", "both")], &["from-secret", "web"]),
        (&[("RESOURCE_NAME", &full_name)], &["elsewhere"]),
        (&[("FILE_SUFFIXES", "b")], &["web"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let folder_name = folder.path().display().to_string();
        let (status, log) = site.once(&[variables, &[("FOLDER", &folder_name)]].concat()).await;
        assert!(status.success(), "{variables:?}: {log}");
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with(".outrigger-")).collect();
        names.sort();
        assert_eq!(names, expected, "{variables:?}");
    }
}

#[tokio::test]
async fn names_are_unique_on_request_and_never_too_long() {
    let site = Site::new(ControlPlane::shared().await, "unique").await;
    let long_name = "n".repeat(253);
    let long_key = format!("{}.json", "k".repeat(248));
    site.put("a", &[("same", "a")]).await;
    site.put("b", &[("same", "b")]).await;
    site.put(&long_name, &[(&long_key, "long")]).await;
    let (status, log) = site.once(&[("UNIQUE_FILENAMES", "true")]).await;
    assert!(status.success(), "{log}");
    let files = site.files();
    let namespace = site.namespace.name();
    assert_eq!(files[&format!("namespace_{namespace}.configmap_a.same")], "a");
    assert_eq!(files[&format!("namespace_{namespace}.configmap_b.same")], "b");
    let name = files.iter().find(|(_, text)| *text == "long").unwrap().0;
    assert!(name.len() == 255 && Path::new(name).extension().is_some_and(|extension| extension == "json"), "{name}");
}

#[tokio::test]
async fn polling_sees_what_came_went_and_changed() {
    let site = Site::new(ControlPlane::shared().await, "poll").await;
    site.put("a", &[("one", "1")]).await;
    let sidecar = site.ready(&[("METHOD", "list"), ("POLL_INTERVAL", "200ms"), ("LIST_PAGE_SIZE", "1")]).await;
    assert_eq!(site.files().len(), 1);
    site.put("b", &[("two", "2")]).await;
    site.put("a", &[("one", "changed")]).await;
    site.until_files(&[("one", "changed"), ("two", "2")]).await;
    site.delete("a").await;
    site.until_files(&[("two", "2")]).await;
    assert!(sidecar.log().contains("method=poll"), "{}", sidecar.log());
}

#[tokio::test]
async fn one_look_mirrors_removes_and_ends() {
    let site = Site::new(ControlPlane::shared().await, "once").await;
    site.put("a", &[("one", "1")]).await;
    assert!(site.once(&[("METHOD", "sleep")]).await.0.success());
    assert_eq!(site.files().into_keys().collect::<Vec<_>>(), ["one"]);
    site.delete("a").await;
    site.config_maps().create(&PostParams::default(), &config_map("b", &[("two", "2")])).await.unwrap();
    let (status, log) = site.once(&[("COMPAT", "kiwigrid"), ("METHOD", "LIST")]).await;
    assert!(status.success(), "{log}");
    assert_eq!(site.files().into_keys().collect::<Vec<_>>(), ["two"]);
    assert!(log.contains("kiwigrid/k8s-sidecar makes of them"), "{log}");
    let (status, log) = site.once(&[("FOLDER", "/proc/no-such-folder")]).await;
    assert!(!status.success() && log.contains("/proc/no-such-folder can't be used: mount a volume"), "{log}");
}

#[tokio::test]
async fn a_second_sidecar_in_a_folder_is_refused_and_removes_nothing() {
    let site = Site::new(ControlPlane::shared().await, "shared").await;
    site.put("a", &[("one", "1")]).await;
    let first = site.ready(&[]).await;
    let (status, log) = site.once(&[("RESOURCE", "secret")]).await;
    assert!(!status.success() && log.contains("is kept by another outrigger file-sync (process "), "{log}");
    site.put("a", &[("one", "2")]).await;
    site.until_files(&[("one", "2")]).await;
    first.kill().await;
    let (status, log) = site.once(&[("RESOURCE", "secret")]).await;
    assert!(status.success() && log.contains("files of an earlier run are removed"), "{log}");
    assert!(site.files().is_empty());
}

#[tokio::test]
async fn polling_one_namespace_leaves_the_files_of_the_others_alone() {
    let cluster = ControlPlane::shared().await;
    let (site, other) = (Site::new(cluster, "polled").await, Site::new(cluster, "beside").await);
    site.put("a", &[("one", "1")]).await;
    other.put("b", &[("two", "2")]).await;
    let both = format!("{},{}", site.namespace.name(), other.namespace.name());
    let sidecar = site.ready(&[("COMPAT", "kiwigrid"), ("METHOD", "SLEEP"), ("SLEEP_TIME", "0.1"), ("NAMESPACE", &both)]).await;
    for turn in 0..3 {
        let text = turn.to_string();
        site.put("a", &[("one", &text)]).await;
        site.until_files(&[("one", &text), ("two", "2")]).await;
    }
    assert_eq!(sidecar.metric("outrigger_file_sync_removed_total").await, 0);
}
