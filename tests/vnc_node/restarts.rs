//! Whatever ends, the desktop comes back, and its page with it.

use outrigger_bed::Browser;

use crate::{
    desk::{APP, CONNECTED, Desk, SIDECAR, kill, open, pod, until_back, until_window, window},
    running::{create, until_phase},
    until::until,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_ends_is_started_again_before_the_same_viewer() {
    let Some(desk) = Desk::place("an_app_that_ends", "ends").await else { return };
    desk.run(&[], &window()).await;
    let browser = Browser::start().await;
    let page = open(&browser, &desk.address().await);
    until_window(&page);

    page.click(300, 300);
    page.type_text("exit\n");
    desk.until_restarted(APP).await;
    until_window(&page);
    assert_eq!(page.evaluate("said.join()"), "", "the viewer stayed");
    assert_eq!(desk.restarts(SIDECAR).await, 0);
}

/// What it left in the pod's volumes, a lock among it, keeps no new one away.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sidecar_comes_back_with_the_app_and_the_page() {
    let Some(desk) = Desk::place("a_killed_sidecar", "sidecar").await else { return };
    desk.run(&[], &window()).await;
    let browser = Browser::start().await;
    let page = open(&browser, &desk.address().await);
    until_window(&page);

    desk.kill(SIDECAR, None).await;
    desk.until_restarted(SIDECAR).await;
    desk.until_restarted(APP).await;
    until_back(&page);
    assert_eq!(desk.restarts(SIDECAR).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_x_server_is_started_again_by_its_sidecar() {
    let Some(desk) = Desk::place("a_killed_x_server", "server").await else { return };
    desk.run(&[], &window()).await;
    let browser = Browser::start().await;
    let page = open(&browser, &desk.address().await);
    until_window(&page);

    desk.kill(SIDECAR, Some("Xtigervnc")).await;
    desk.until_restarted(APP).await;
    until_back(&page);
    assert_eq!(desk.restarts(SIDECAR).await, 0, "its container goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_stay_while_the_nodes_own_programs_are_away() {
    let Some(desk) = Desk::place("viewers_stay", "node").await else { return };
    desk.run(&[], &window()).await;
    let browser = Browser::start().await;
    let page = open(&browser, &desk.address().await);
    until_window(&page);

    desk.node.restart_runtime().await;
    // Once the kubelet starts a pod it has looked at those that were there.
    create(&desk.namespace, &pod("next", &[], &window())).await;
    until_phase(&desk.namespace, "next", "Running").await;
    for container in [SIDECAR, APP] {
        assert_eq!(desk.restarts(container).await, 0, "{container}");
    }
    assert_eq!(page.evaluate("said.join()"), "", "the viewer stayed");
    // It still sees what happens.
    page.click(300, 300);
    page.type_text("exit\n");
    desk.until_restarted(APP).await;
    until_window(&page);
}

/// As after a power cut: nothing of the pod runs any more, and it may get another address.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_processes_are_all_gone_comes_back_with_its_desktop() {
    let Some(desk) = Desk::place("a_pod_whose_processes_are_all_gone", "cut").await else { return };
    desk.run(&[], &window()).await;
    let browser = Browser::start().await;
    until_window(&open(&browser, &desk.address().await));

    let pod = crate::running::pods(&desk.namespace).get(desk.pod).await.unwrap();
    for process in desk.node.processes(&format!("pod{}", pod.metadata.uid.unwrap())) {
        kill(process.id);
    }
    for container in [SIDECAR, APP] {
        desk.until_restarted(container).await;
    }
    let page = until("the page answers at the pod's address", async || {
        let address = desk.address().await;
        let answer = reqwest::get(&address).await.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(browser.open(&address)) } else { Err(answer.status().to_string()) }
    })
    .await;
    page.until(CONNECTED);
    until_window(&page);
}
