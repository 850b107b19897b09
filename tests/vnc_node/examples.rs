//! The worked examples of docs/desktop.md: images that any Dockerfile makes, and the manifests as they stand.

use std::{fs, path::Path};

use outrigger_bed::{Browser, gaps, image};
use serde_json::Value;

use crate::{
    desk::{CONNECTED, Desk},
    running::{injected, until_phase},
};

/// Set to anything, the examples with large images are tried, too: they take minutes.
const ALL: &str = "OUTRIGGER_ALL_DESKTOPS";
/// Where their pictures are written, if that is to be.
const PICTURES: &str = "OUTRIGGER_PICTURES";

#[tokio::test(flavor = "multi_thread")]
async fn a_gtk_app_shows_its_window() {
    shows_its_window("mousepad").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_java_app_shows_its_window() {
    if std::env::var_os(ALL).is_some() {
        shows_its_window("jedit").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_its_window() {
    if std::env::var_os(ALL).is_some() {
        shows_its_window("firefox").await;
    }
}

async fn shows_its_window(name: &'static str) {
    let Some(desk) = Desk::place(name, name).await else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/desktop");
    let (image, temporary) = (format!("localhost/{name}:1"), tempfile::tempdir().unwrap());
    let tar = temporary.path().join("image.tar");
    match image::dockerfile::write(&folder.join(format!("{name}.Dockerfile")), &image, &tar) {
        Ok(()) => desk.node.import_image(&tar).await,
        Err(why) => return gaps::skip(name, &why).unwrap(),
    }
    for manifest in manifests(&folder.join(format!("{name}.yaml"))) {
        let stored = if manifest["kind"] == "Pod" { injected(&manifest) } else { manifest };
        let create = ["-n", desk.namespace.name(), "create", "-f", "-"];
        drop(desk.node.cluster().kubectl_with_input(&create, &stored.to_string()).await.success());
    }
    until_phase(&desk.namespace, name, "Running").await;
    let browser = Browser::start().await;
    let page = browser.open(&desk.address().await);
    page.until(CONNECTED);
    // The desktop is dark, and each of these apps has a sheet of white.
    let white = "((canvas) => { const seen = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer); \
                 return seen.filter((pixel) => pixel === 0xffffffff).length; })(document.querySelector('canvas'))";
    page.until(&format!("{white} > 100000"));
    if let Some(pictures) = std::env::var_os(PICTURES) {
        fs::write(Path::new(&pictures).join(format!("{name}.png")), page.screenshot()).unwrap();
    }
}

fn manifests(path: &Path) -> Vec<Value> {
    serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap()
}
