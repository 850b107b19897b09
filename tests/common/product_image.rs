//! The product's image with the program under test.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use outrigger_bed::{gaps, image};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Where it is, without the tables that only debuggers read; `None` if it can't be made, which was noted as skipped.
pub(crate) async fn product_image() -> Option<&'static Path> {
    static IMAGE: OnceCell<Option<(TempDir, PathBuf)>> = OnceCell::const_new();
    let made = IMAGE.get_or_init(|| async {
        let folder = tempfile::tempdir().unwrap();
        let (program, tar) = (folder.path().join("outrigger"), folder.path().join("image.tar"));
        let stripped = Command::new("strip").arg("-o").arg(&program).arg(env!("CARGO_BIN_EXE_outrigger")).status();
        assert!(stripped.unwrap().success(), "strip comes with the C compiler");
        match image::product::write(&program, &tar) {
            Ok(()) => Some((folder, tar)),
            Err(why) => {
                gaps::skip("the product's image", &why).unwrap();
                None
            }
        }
    });
    made.await.as_ref().map(|(_, tar)| tar.as_path())
}
