//! The desktop as a sidecar of a pod that really runs, in a real browser.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "common/product_image.rs"]
mod product_image;
#[path = "common/running.rs"]
mod running;
#[path = "common/until.rs"]
mod until;

use outrigger_bed::{Browser, Node, gaps, image};
use serde_json::json;

use product_image::desktop_image;
use running::{create, pods, restricted, until_phase};
use until::until;

const PORT: u16 = 6080;

#[tokio::test(flavor = "multi_thread")]
async fn the_window_of_an_image_that_knows_nothing_of_desktops_shows_in_a_browser() {
    let name = "the_window_of_an_image";
    let Some(desktop) = desktop_image().await else { return };
    let Some(node) = Node::start(name).await else { return };
    node.import_image(desktop).await;
    let folder = tempfile::tempdir().unwrap();
    match image::window::window(folder.path()) {
        Ok(app) => node.import_image(&app).await,
        Err(why) => return gaps::skip(name, &why).unwrap(),
    }
    let namespace = node.cluster().namespace("desktops").await;
    namespace.label("pod-security.kubernetes.io/enforce", "restricted").await;

    let app =
        json!({"name": "app", "image": image::window::REFERENCE, "imagePullPolicy": "IfNotPresent", "securityContext": restricted(1234)});
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "drawing", "annotations": {"outrigger.dev/inject": "vnc"}},
        "spec": {"containers": [app]},
    });
    create(&namespace, &pod).await;
    until_phase(&namespace, "drawing", "Running").await;
    let address = pods(&namespace).get("drawing").await.unwrap().status.unwrap().pod_ip.unwrap();

    let browser = Browser::start().await;
    let page = browser.open(&format!("http://{address}:{PORT}/"));
    page.until("document.getElementById('status').textContent === 'Connected'");
    let colour = "Array.from(document.querySelector('canvas').getContext('2d').getImageData(200, 200, 1, 1).data).slice(0, 3).join()";
    page.until(&format!("{colour} === '32,192,64'"));

    // The app ends and is started again, while the desktop and its viewer stay.
    page.click(300, 300);
    page.type_text("exit\n");
    until("the app was started again", async || {
        let status = pods(&namespace).get("drawing").await.unwrap().status.unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        if containers.iter().any(|container| container.restart_count > 0) { Ok(()) } else { Err(format!("{containers:?}")) }
    })
    .await;
    page.until(&format!("{colour} === '32,192,64'"));
    assert_eq!(page.evaluate("document.getElementById('status').textContent"), "Connected");
}
