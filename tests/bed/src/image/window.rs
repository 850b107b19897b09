//! An image whose program has a window, and which knows nothing of desktops: xterm, as Debian has it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::layer::Layer;
use super::{Image, ImageConfig, package};
use crate::obtain::debian;

/// The image's name.
pub const REFERENCE: &str = "localhost/window:1";

/// The release the packages are of.
const RELEASE: &str = "trixie";
/// A shell and xterm, with the libraries that these are linked with.
const PACKAGES: [&str; 31] = [
    "base-files",
    "dash",
    "fontconfig-config",
    "fonts-dejavu-core",
    "libbrotli1",
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libfontconfig1",
    "libfreetype6",
    "libice6",
    "libpng16-16t64",
    "libsm6",
    "libtinfo6",
    "libutempter0",
    "libuuid1",
    "libx11-6",
    "libx11-data",
    "libxau6",
    "libxaw7",
    "libxcb1",
    "libxdmcp6",
    "libxext6",
    "libxft2",
    "libxinerama1",
    "libxmu6",
    "libxpm4",
    "libxrender1",
    "libxt6t64",
    "xterm",
    "zlib1g",
];

/// Writes the image into a folder and returns its tar. Its window is green, and as large as a screen.
pub fn window(folder: &Path) -> Result<PathBuf> {
    let mut layer = Layer::default();
    package::add_all(&mut layer, &debian::download_of(RELEASE, &PACKAGES)?)?;
    let image = folder.join("window.tar");
    let entrypoint = ["/usr/bin/xterm", "-geometry", "300x100+0+0", "-bg", "#20c040", "-e", "sh"];
    let config = ImageConfig { entrypoint: &entrypoint, env: &["PATH=/usr/bin:/bin"], user: "1000", ..ImageConfig::default() };
    Image { reference: REFERENCE, config }.write_layer(&layer, &image)?;
    Ok(image)
}
