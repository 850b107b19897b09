//! Images whose program has a window, xterm as Debian has it: one that knows nothing of desktops, and one that brings its own X server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::layer::Layer;
use super::{Image, ImageConfig, desktop, package};
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
    write(folder, REFERENCE, &PACKAGES.into(), &[&XTERM[..], &["-e", "sh"]].concat())
}

/// The name of the image that brings its own X server.
pub const SERVED_REFERENCE: &str = "localhost/served-window:1";

/// The app is tried until the X server is there. It ends with its window, which ends with the X server.
const SERVED: &str = "Xtigervnc :99 -geometry 1024x768 -rfbport -1 -rfbunixpath /tmp/rfb -nolisten tcp -SecurityTypes None & \
                      until DISPLAY=:99 \"$@\"; do kill -0 $! || exit 1; done";

/// Writes the image with an X server of its own into a folder and returns its tar. Its display is `:99`, its window the same.
pub fn served_window(folder: &Path) -> Result<PathBuf> {
    let packages = PACKAGES.into_iter().chain(desktop::packages()).collect();
    write(folder, SERVED_REFERENCE, &packages, &[&["/bin/sh", "-c", SERVED, "sh"], &XTERM[..], &["-e", "sh"]].concat())
}

const XTERM: [&str; 5] = ["/usr/bin/xterm", "-geometry", "300x100+0+0", "-bg", "#20c040"];

fn write(folder: &Path, reference: &str, packages: &BTreeSet<&str>, entrypoint: &[&str]) -> Result<PathBuf> {
    let packages: Vec<&str> = packages.iter().copied().collect();
    let mut layer = Layer::default();
    package::add_all(&mut layer, &debian::download_of(RELEASE, &packages)?)?;
    let image = folder.join("window.tar");
    let config = ImageConfig { entrypoint, env: &["PATH=/usr/bin:/bin"], user: "1000", ..ImageConfig::default() };
    Image { reference, config }.write_layer(&layer, &image)?;
    Ok(image)
}
