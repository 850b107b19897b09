//! The API server goes away, forgets, refuses or falls silent.

use std::fs;

use outrigger_bed::ControlPlane;

use crate::{
    proxy::Proxy,
    sidecar::{Sidecar, Site, put, secret},
    until::until,
};

/// Failures are noticed and tried again soon enough for a test.
const PACE: [(&str, &str); 1] = [("ERROR_THROTTLE_SLEEP", "500ms")];

async fn wired<'cluster>(cluster: &'cluster ControlPlane, name: &str) -> (Site<'cluster>, Proxy) {
    let proxy = Proxy::start(cluster.address()).await;
    (Site::new(cluster, name).await.through(cluster, &proxy.address()), proxy)
}

async fn until_unreachable(sidecar: &Sidecar) {
    until("the sidecar notices", async || match sidecar.metric("outrigger_file_sync_failed_requests_total").await {
        0 => Err("it has not".to_owned()),
        _ => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn kiwigrid_k1_what_happens_while_the_watch_is_down_is_seen_when_it_is_back() {
    let (site, proxy) = wired(ControlPlane::shared().await, "down").await;
    site.put("gone", &[("gone", "1")]).await;
    site.put("changed", &[("changed", "1")]).await;
    let sidecar = site.ready(&PACE).await;
    proxy.cut();
    until_unreachable(&sidecar).await;
    assert!(sidecar.until_status("/readyz", 503).await.contains("can't be asked"));
    assert_eq!(sidecar.status("/livez").await.unwrap().0, 200, "that is no reason to be started again");
    site.delete("gone").await;
    site.put("changed", &[("changed", "2")]).await;
    site.put("new", &[("new", "1")]).await;
    proxy.mend();
    site.until_files(&[("changed", "2"), ("new", "1")]).await;
    sidecar.until_status("/readyz", 200).await;
    assert_eq!(sidecar.log().matches("listed").count(), 1, "the watch went on where it was");
}

/// Old events are not played again, and a file that is wanted does not go for a moment.
#[tokio::test]
async fn a_file_whose_object_was_deleted_and_made_again_stays() {
    let (site, proxy) = wired(ControlPlane::shared().await, "again").await;
    site.put("a", &[("one", "1")]).await;
    site.delete("a").await;
    site.put("a", &[("one", "1")]).await;
    let sidecar = site.ready(&[("ERROR_THROTTLE_SLEEP", "500ms"), ("WATCH_SERVER_TIMEOUT", "1")]).await;
    for turn in 0..3 {
        proxy.cut();
        proxy.mend();
        let text = turn.to_string();
        site.put("b", &[("two", &text)]).await;
        site.until_files(&[("one", "1"), ("two", &text)]).await;
    }
    assert_eq!(sidecar.metric("outrigger_file_sync_removed_total").await, 0);
    assert_eq!(sidecar.metric("outrigger_file_sync_relists_total").await, 0);
}

#[tokio::test]
async fn kiwigrid_k12_a_watch_that_has_fallen_silent_is_noticed_and_resumed() {
    let (site, proxy) = wired(ControlPlane::shared().await, "silent").await;
    site.put("a", &[("one", "1")]).await;
    let sidecar = site.ready(&[("WATCH_CLIENT_TIMEOUT", "2")]).await;
    proxy.silence();
    site.put("a", &[("one", "2")]).await;
    site.until_files(&[("one", "2")]).await;
    assert!(sidecar.metric("outrigger_file_sync_silent_watches_total").await >= 1);
    sidecar.until_status("/healthz", 200).await;
}

#[tokio::test]
async fn an_idle_watch_costs_next_to_nothing() {
    let (site, proxy) = wired(ControlPlane::shared().await, "idle").await;
    let contents = "x".repeat(100_000);
    for name in ["a", "b", "c"] {
        site.put(name, &[(name, &contents)]).await;
    }
    // Resumed several times while we look.
    let sidecar = site.ready(&[("WATCH_SERVER_TIMEOUT", "1")]).await;
    let carried = proxy.carried();
    assert!(carried > 300_000, "all contents were read once: {carried}");
    until("some watches were resumed", async || match sidecar.metric("outrigger_file_sync_watches_total").await {
        0..4 => Err("they were not".to_owned()),
        _ => Ok(()),
    })
    .await;
    assert!(proxy.carried() < carried + 50_000, "nothing was read again, but {} bytes", proxy.carried() - carried);
    assert_eq!(sidecar.log().matches("listed").count(), 1);
}

/// Also gsidecar n5: a deletion that was missed, of which no event ever comes.
#[tokio::test(flavor = "multi_thread")]
async fn gsidecar_n5_the_api_server_is_killed_and_forgets_where_we_were() {
    let cluster = ControlPlane::start().await;
    let (site, proxy) = wired(&cluster, "forgotten").await;
    site.put("gone", &[("gone", "1")]).await;
    site.put("kept", &[("kept", "1")]).await;
    let sidecar = site.ready(&PACE).await;

    cluster.restart_api_server().await;
    site.put("new", &[("new", "1")]).await;
    site.until_files(&[("gone", "1"), ("kept", "1"), ("new", "1")]).await;

    proxy.cut();
    until_unreachable(&sidecar).await;
    site.delete("gone").await;
    site.put("new", &[("new", "2")]).await;
    // One that starts remembers nothing of before.
    cluster.restart_api_server().await;
    proxy.mend();
    site.until_files(&[("kept", "1"), ("new", "2")]).await;
    assert_eq!(sidecar.metric("outrigger_file_sync_removed_total").await, 1);
    assert!(sidecar.metric("outrigger_file_sync_relists_total").await <= 2, "the list is read once for each time it was forgotten");
    sidecar.until_status("/readyz", 200).await;
}

/// Also kiwigrid k13: whoever may not read is told, and the others are served.
#[tokio::test]
async fn gsidecar_n7_a_forbidden_namespace_harms_only_itself() {
    let cluster = ControlPlane::shared().await;
    let (site, other) = (Site::new(cluster, "allowed").await.without_rights(cluster), Site::new(cluster, "forbidden").await);
    site.put("a", &[("one", "1")]).await;
    other.put("b", &[("two", "2")]).await;
    let (namespace, forbidden) = (site.namespace.name(), other.namespace.name());
    allow(cluster, namespace, namespace).await;
    let both = format!("{forbidden},{namespace}");
    let sidecar = site.ready(&[("NAMESPACE", &both), ("ERROR_THROTTLE_SLEEP", "200ms"), ("FORBIDDEN_GRACE", "1s")]).await;
    assert_eq!(site.files().into_keys().collect::<Vec<_>>(), ["one"]);
    let report = sidecar.status("/readyz").await.unwrap().1;
    assert!(report.contains(&format!("kubectl create rolebinding file-sync-configmaps -n {forbidden}")), "{report}");
    assert_eq!(sidecar.metric("outrigger_file_sync_forbidden_streams").await, 1);

    allow(cluster, forbidden, namespace).await;
    site.until_files(&[("one", "1"), ("two", "2")]).await;
    drop(cluster.kubectl(&["delete", "rolebinding", "reader", "-n", forbidden]).await.success());
    until("the API server has heard of it", async || {
        let account = format!("--as={namespace}");
        let said = cluster.kubectl(&["auth", "can-i", "watch", "configmaps", "-n", forbidden, &account]).await.stdout;
        if said.trim() == "no" { Ok(()) } else { Err(said) }
    })
    .await;
    // A watch that is open is not closed by that.
    let restarted = {
        sidecar.kill().await;
        site.ready(&[("NAMESPACE", &both), ("ERROR_THROTTLE_SLEEP", "200ms"), ("FORBIDDEN_GRACE", "1s")]).await
    };
    site.until_files(&[("one", "1")]).await;
    assert!(restarted.log().contains("forbidden for too long: its files are removed"), "{}", restarted.log());
}

#[tokio::test]
async fn kiwigrid_k13_where_all_is_forbidden_the_app_waits_and_the_commands_that_help_are_told() {
    let cluster = ControlPlane::shared().await;
    let site = Site::new(cluster, "unbound").await.without_rights(cluster);
    put(&site.secrets(), secret("s", &[("key", b"1")])).await;
    let sidecar = site.start(&[("RESOURCE", "secret"), ("ERROR_THROTTLE_SLEEP", "200ms")]);
    sidecar.until_log("forbidden; allow it with").await;
    let report = sidecar.until_status("/startupz", 503).await;
    assert_eq!(sidecar.status("/livez").await.unwrap().0, 200, "a restart would not help");

    // What the kubelet runs, and shows in an Event when it fails.
    let probe = |port: u16| site.command(&[]).arg("probe").env("HEALTH_PORT", port.to_string()).output();
    let output = probe(sidecar.port()).await.unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && report.contains(told.trim()), "{told}");
    let (_, commands) = told.trim().split_once("allow it with: ").unwrap();
    for command in commands.split(" && ") {
        let arguments: Vec<&str> = command.split(' ').skip(1).collect();
        drop(cluster.kubectl(&arguments).await.success());
    }
    sidecar.until_status("/startupz", 200).await;
    assert_eq!(fs::read_to_string(site.path().join("key")).unwrap(), "1");
    assert!(probe(sidecar.port()).await.unwrap().status.success());
    sidecar.kill().await;
    // An earlier run left something to tell, which waits for a first sync.
    fs::write(site.path().join(".outrigger-unnotified"), "").unwrap();
    let (status, log) = site.once(&[("NAMESPACE", "default"), ("REQ_URL", "http://127.0.0.1:1/")]).await;
    assert!(!status.success() && log.contains("kubectl create rolebinding"), "one look does not wait: {log}");
}

#[tokio::test]
async fn files_stay_while_nothing_at_all_may_be_read() {
    let cluster = ControlPlane::shared().await;
    let site = Site::new(cluster, "revoked").await.without_rights(cluster);
    let namespace = site.namespace.name();
    site.put("a", &[("one", "1")]).await;
    allow(cluster, namespace, namespace).await;
    let sidecar = site.ready(&[("WATCH_SERVER_TIMEOUT", "1s"), ("FORBIDDEN_GRACE", "1s"), ("ERROR_THROTTLE_SLEEP", "200ms")]).await;
    drop(cluster.kubectl(&["delete", "role,rolebinding", "reader", "-n", namespace]).await.success());
    sidecar.until_log("the files stay as they are").await;
    assert_eq!(site.files().len(), 1);
    sidecar.until_status("/readyz", 503).await;
    site.put("a", &[("one", "2")]).await;
    allow(cluster, namespace, namespace).await;
    site.until_files(&[("one", "2")]).await;
    sidecar.until_status("/readyz", 200).await;
}

#[tokio::test]
async fn an_object_that_can_not_be_read_again_holds_back_the_app_but_no_other_file() {
    let cluster = ControlPlane::shared().await;
    let site = Site::new(cluster, "no-get").await.without_rights(cluster);
    let namespace = site.namespace.name();
    let grant = async |role: &str, verbs: &str, names: &[&str]| {
        let create = [&["create", "role", role, "-n", namespace, verbs, "--resource=configmaps"], names].concat();
        drop(cluster.kubectl(&create).await.success());
        let (role, user) = (format!("--role={role}"), format!("--user={namespace}"));
        drop(cluster.kubectl(&["create", "rolebinding", &role[7..], "-n", namespace, &role, &user]).await.success());
    };
    grant("lister", "--verb=list,watch", &[]).await;
    site.put("a", &[("one", "1")]).await;
    site.put("b", &[("two", "1")]).await;
    let sidecar = site.ready(&[]).await;
    sidecar.kill().await;
    site.put("a", &[("one", "2")]).await;
    site.put("b", &[("two", "2")]).await;
    grant("getter-of-b", "--verb=get", &["--resource-name=b"]).await;
    let sidecar = site.start(&[]);
    site.until_files(&[("one", "1"), ("two", "2")]).await;
    let report = sidecar.until_status("/startupz", 503).await;
    assert!(report.contains("1 files are missing") && report.contains("a can't be read again"), "{report}");
    grant("getter", "--verb=get", &[]).await;
    site.until_files(&[("one", "2"), ("two", "2")]).await;
    sidecar.until_status("/startupz", 200).await;
}

/// Lets a user read config maps in a namespace.
async fn allow(cluster: &ControlPlane, namespace: &str, user: &str) {
    let role = ["create", "role", "reader", "--verb=get,list,watch", "--resource=configmaps", "-n", namespace];
    drop(cluster.kubectl(&role).await.success());
    let binding = ["create", "rolebinding", "reader", "--role=reader", &format!("--user={user}"), "-n", namespace];
    drop(cluster.kubectl(&binding).await.success());
}

/// What etcd has forgotten, no API server can tell: one that still remembers it helps, one that was started since can't.
#[tokio::test(flavor = "multi_thread")]
async fn history_that_is_compacted_under_a_watch_costs_one_list_at_most_and_loses_nothing() {
    const SIZE: usize = 100_000;
    let cluster = ControlPlane::start().await;
    let (site, proxy) = wired(&cluster, "compacted").await;
    let contents = "x".repeat(SIZE);
    for name in ["a", "b", "c"] {
        site.put(name, &[(name, &contents)]).await;
    }
    site.put("gone", &[("gone", "1")]).await;
    let kept = [("a", &*contents), ("b", &*contents), ("c", &*contents)];
    let sidecar = site.ready(&PACE).await;
    let first_list = proxy.carried();

    // Under a watch that goes on.
    cluster.compact().await;
    site.put("new", &[("new", "1")]).await;
    site.until_files(&[&kept[..], &[("gone", "1"), ("new", "1")]].concat()).await;

    // While it is interrupted.
    proxy.cut();
    until_unreachable(&sidecar).await;
    site.put("new", &[("new", "2")]).await;
    cluster.compact().await;
    proxy.mend();
    site.until_files(&[&kept[..], &[("gone", "1"), ("new", "2")]].concat()).await;
    assert_eq!(sidecar.metric("outrigger_file_sync_relists_total").await, 0, "{}", sidecar.log());
    assert!(proxy.carried() < first_list + SIZE, "nothing was read again");

    // While it is interrupted, and nobody remembers.
    proxy.cut();
    let failed = sidecar.metric("outrigger_file_sync_failed_requests_total").await;
    until("the sidecar notices", async || match sidecar.metric("outrigger_file_sync_failed_requests_total").await {
        count if count > failed => Ok(()),
        count => Err(count.to_string()),
    })
    .await;
    site.delete("gone").await;
    for turn in 3..23 {
        site.put("new", &[("new", &turn.to_string())]).await;
    }
    cluster.compact().await;
    cluster.restart_api_server().await;
    let carried = proxy.carried();
    proxy.mend();
    site.until_files(&[&kept[..], &[("new", "22")]].concat()).await;
    assert_eq!(sidecar.metric("outrigger_file_sync_relists_total").await, 1, "{}", sidecar.log());
    site.put("new", &[("new", "23")]).await;
    site.until_files(&[&kept[..], &[("new", "23")]].concat()).await;
    assert!(proxy.carried() < carried + 2 * 3 * SIZE, "the list was read once: {} bytes", proxy.carried() - carried);
    assert_eq!(sidecar.metric("outrigger_file_sync_removed_total").await, 1);
}
