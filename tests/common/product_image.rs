//! The product's image with the program under test.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use outrigger_bed::{gaps, image};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Where it is, without the tables that only debuggers read; `None` if it can't be made, which was noted as skipped.
#[allow(dead_code, reason = "each test binary has its own copy of this file, and some need the desktop's alone")]
pub(crate) async fn product_image() -> Option<&'static Path> {
    static IMAGE: OnceCell<Option<(TempDir, PathBuf)>> = OnceCell::const_new();
    made(&IMAGE, image::product::write).await
}

/// The same of the desktop sidecar's image.
#[allow(dead_code, reason = "each test binary has its own copy of this file, and most need no desktop")]
pub(crate) async fn desktop_image() -> Option<&'static Path> {
    static IMAGE: OnceCell<Option<(TempDir, PathBuf)>> = OnceCell::const_new();
    made(&IMAGE, image::desktop::write).await
}

type Made = OnceCell<Option<(TempDir, PathBuf)>>;

async fn made(image: &'static Made, write: impl FnOnce(&Path, &Path) -> anyhow::Result<()>) -> Option<&'static Path> {
    let made = image.get_or_init(|| async {
        let folder = tempfile::tempdir().unwrap();
        let (program, tar) = (folder.path().join("outrigger"), folder.path().join("image.tar"));
        let stripped = Command::new("strip").arg("-o").arg(&program).arg(env!("CARGO_BIN_EXE_outrigger")).status();
        assert!(stripped.unwrap().success(), "strip comes with the C compiler");
        match write(&program, &tar) {
            Ok(()) => Some((folder, tar)),
            Err(why) => {
                gaps::skip("the product's image", &why).unwrap();
                None
            }
        }
    });
    made.await.as_ref().map(|(_, tar)| tar.as_path())
}
