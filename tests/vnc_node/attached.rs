//! An image that brings its own X server.

use outrigger_bed::{Browser, image};
use serde_json::json;

use crate::{
    desk::{APP, Desk, SIDECAR, USER, open, until_back, until_window},
    running::restricted,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_x_server_of_the_apps_own_is_shown_and_shown_again_when_it_is_back() {
    let Some(desk) = Desk::place("an_x_server_of_the_apps_own", "attached").await else { return };
    let mut security = restricted(USER);
    // Its X server keeps its lock in the image's own /tmp.
    security["readOnlyRootFilesystem"] = json!(false);
    let app =
        json!({"name": APP, "image": image::window::SERVED_REFERENCE, "imagePullPolicy": "IfNotPresent", "securityContext": security});
    desk.run(&[("vnc.outrigger.dev/mode", "attach")], &app).await;
    let browser = Browser::start().await;
    let page = open(&browser, &desk.address().await);
    until_window(&page);

    desk.kill(APP, Some("Xtigervnc")).await;
    desk.until_restarted(APP).await;
    until_back(&page);
    assert_eq!(desk.restarts(SIDECAR).await, 0, "the sidecar waits for it");
}
