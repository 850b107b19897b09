//! Whatever happens, in whatever order, the folder ends up as the cluster says.

use std::{collections::BTreeMap, fs};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use outrigger_bed::ControlPlane;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};

use crate::{
    proxy::Proxy,
    sidecar::{Sidecar, Site, config_map, put, secret},
    until::until,
};

/// Rows of events that are tried.
const CASES: usize = 4;
const FOLDER: &str = "k8s-sidecar-target-directory";
/// A crash in the middle of things must leave things in the middle: many keys take a while.
const KEYS: [&str; 4] = ["one", "two", "three", "four"];

/// What happens.
#[derive(Debug, Clone)]
enum Event {
    Put {
        is_secret: bool,
        name: &'static str,
        folder: Option<&'static str>,
        data: BTreeMap<&'static str, u8>,
    },
    Delete {
        is_secret: bool,
        name: &'static str,
    },
    /// The sidecar is killed in the middle of whatever it does, and started again with this value of `PUBLISH`.
    Crash(&'static str),
    /// The sidecar can't reach the API server.
    Cut,
    Mend,
    /// All is given time to settle, and looked at.
    Look,
}

fn names() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c"])
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let data = prop::collection::btree_map(prop::sample::select(KEYS.to_vec()), 0_u8..4, 0..4);
    let folder = prop::option::of(prop::sample::select(vec!["sub", "sub/deep"]));
    let put =
        (any::<bool>(), names(), folder, data).prop_map(|(is_secret, name, folder, data)| Event::Put { is_secret, name, folder, data });
    let delete = (any::<bool>(), names()).prop_map(|(is_secret, name)| Event::Delete { is_secret, name });
    let crash = prop::sample::select(vec!["each", "together"]).prop_map(Event::Crash);
    let others = prop_oneof![3 => crash, 1 => Just(Event::Cut), 2 => Just(Event::Mend), 1 => Just(Event::Look)];
    prop::collection::vec(prop_oneof![6 => put, 3 => delete, 3 => others], 25..40)
}

/// What the cluster holds: by kind, so that config maps come first, and name.
type Model = BTreeMap<(bool, &'static str), (Option<&'static str>, BTreeMap<&'static str, u8>)>;

/// What the folder is to hold: the first claim to each path.
fn expected(model: &Model) -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([("foreign".to_owned(), "theirs".to_owned())]);
    for ((_, name), (folder, data)) in model {
        for (key, value) in data {
            let path = folder.map_or_else(|| (*key).to_owned(), |folder| format!("{folder}/{key}"));
            files.entry(path).or_insert_with(|| contents(name, *value));
        }
    }
    files
}

fn contents(name: &str, value: u8) -> String {
    format!("{name}{value}").repeat(2000)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_any_events_crashes_and_restarts_the_folder_is_as_the_cluster_says() {
    let cluster = ControlPlane::shared().await;
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..CASES {
        let events = events().new_tree(&mut runner).unwrap().current();
        let proxy = Proxy::start(cluster.address()).await;
        let site = Site::new(cluster, "crashes").await.through(cluster, &proxy.address());
        fs::write(site.path().join("foreign"), "theirs").unwrap();
        let mut model = Model::new();
        let mut sidecar = start(&site, "each");
        for event in &events {
            match event {
                Event::Put { is_secret, name, folder, data } => {
                    model.insert((*is_secret, name), (*folder, data.clone()));
                    write(&site, *is_secret, name, *folder, data).await;
                }
                Event::Delete { is_secret, name } => {
                    if model.remove(&(*is_secret, name)).is_some() {
                        delete(&site, *is_secret, name).await;
                    }
                }
                Event::Crash(publish) => {
                    sidecar.kill().await;
                    sidecar = start(&site, publish);
                }
                Event::Cut => proxy.cut(),
                Event::Mend => proxy.mend(),
                Event::Look => {
                    proxy.mend();
                    until_as(&site, &model, &sidecar, &events).await;
                }
            }
        }
        proxy.mend();
        until_as(&site, &model, &sidecar, &events).await;
        let ours = |name: &std::ffi::OsString| {
            name.to_string_lossy().starts_with(".outrigger-") && name != ".outrigger-files" && name != ".outrigger-lock"
        };
        // The files may be as they should be while it writes them once more.
        until("nothing is left of what it wrote", async || {
            let mut names = fs::read_dir(site.path()).unwrap().map(|entry| entry.unwrap().file_name());
            names.find(ours).map_or(Ok(()), |left| Err(format!("{}", left.display())))
        })
        .await;
        sidecar.kill().await;
    }
}

fn start(site: &Site<'_>, publish: &str) -> Sidecar {
    site.start(&[("RESOURCE", "both"), ("PUBLISH", publish), ("ERROR_THROTTLE_SLEEP", "200ms"), ("LOG_LEVEL", "info")])
}

async fn until_as(site: &Site<'_>, model: &Model, sidecar: &Sidecar, events: &[Event]) {
    let expected = expected(model);
    until("the folder is as the cluster says", async || {
        let files = site.files();
        let short = |files: &BTreeMap<String, String>| {
            files.iter().map(|(path, text)| format!("{path}={}", text.get(..3).unwrap_or(text))).collect::<Vec<_>>().join(" ")
        };
        if files == expected {
            Ok(())
        } else {
            Err(format!("it is {} and not {}; {events:?}\n{}", short(&files), short(&expected), sidecar.log()))
        }
    })
    .await;
}

async fn write(site: &Site<'_>, is_secret: bool, name: &str, folder: Option<&str>, data: &BTreeMap<&'static str, u8>) {
    let data: Vec<(&str, String)> = data.iter().map(|(key, value)| (*key, contents(name, *value))).collect();
    let annotations = folder.map(|folder| [(FOLDER.to_owned(), folder.to_owned())].into());
    if is_secret {
        let data: Vec<(&str, &[u8])> = data.iter().map(|(key, text)| (*key, text.as_bytes())).collect();
        let mut object: Secret = secret(name, &data);
        object.metadata.annotations = annotations;
        put(&site.secrets(), object).await;
    } else {
        let data: Vec<(&str, &str)> = data.iter().map(|(key, text)| (*key, text.as_str())).collect();
        let mut object: ConfigMap = config_map(name, &data);
        object.metadata.annotations = annotations;
        put(&site.config_maps(), object).await;
    }
}

async fn delete(site: &Site<'_>, is_secret: bool, name: &str) {
    let now = DeleteParams::default();
    if is_secret {
        site.secrets().delete(name, &now).await.unwrap();
    } else {
        site.config_maps().delete(name, &now).await.unwrap();
    }
}

/// A first sync that is interrupted again and again gets to its end.
#[tokio::test]
async fn a_first_sync_that_is_killed_at_every_point_is_complete_in_the_end() {
    let site = Site::new(ControlPlane::shared().await, "killed").await;
    let api: Api<ConfigMap> = site.config_maps();
    for number in 0..20 {
        let text = contents("x", number);
        let data: Vec<(String, &str)> = KEYS.iter().map(|key| (format!("{number}-{key}"), text.as_str())).collect();
        let data: Vec<(&str, &str)> = data.iter().map(|(key, text)| (key.as_str(), *text)).collect();
        api.create(&PostParams::default(), &config_map(&format!("object-{number}"), &data)).await.unwrap();
    }
    for files in 0..20 {
        let sidecar = site.start(&[]);
        // Killed as soon as one more file is there, wherever it is then.
        until("one more file is there", async || if site.files().len() > files { Ok(()) } else { Err(sidecar.log()) }).await;
        sidecar.kill().await;
    }
    let sidecar = site.ready(&[]).await;
    assert_eq!(site.files().len(), 80);
    assert_eq!(sidecar.metric("outrigger_file_sync_unwritten_files").await, 0, "nothing of ours was taken for foreign: {}", sidecar.log());
}
