//! The image of the desktop sidecar, the same as `images/outrigger-desktop/Dockerfile` makes, but without Docker and without a registry:
//! the program, an X server and a window manager, of the Debian release that has the newest of them.

use std::path::Path;

use anyhow::Result;

use super::layer::Layer;
use super::product::{add_program, config, labels};
use super::{Image, package};
use crate::obtain::{debian, web};

/// The image's name, by which the webhook calls it unless told otherwise.
pub const REFERENCE: &str = concat!("localhost/outrigger-desktop:", env!("CARGO_PKG_VERSION"));

/// The release the packages are of.
const RELEASE: &str = "trixie";
/// The packages whose files are in the image, one a line.
const PACKAGES: &str = include_str!("../../../../images/outrigger-desktop/packages");
/// Where the program looks for the page's library.
const WEB: &str = "usr/share/outrigger/novnc";
/// What programs ask that want to write: the root is read-only, and X servers and window managers keep all they write there.
const ENVIRONMENT: [&str; 3] = ["PATH=/usr/bin:/bin", "HOME=/tmp", "XDG_CACHE_HOME=/tmp"];
const LABELS: [(&str, &str); 3] = labels("outrigger-desktop");

/// Writes the image with this program, which was built on this machine, as `<destination>`. The same program and packages make the same
/// bytes.
pub fn write(program: &Path, destination: &Path) -> Result<()> {
    let packages: Vec<&str> = packages().collect();
    let mut layer = Layer::default();
    package::add_all(&mut layer, &debian::download_of(RELEASE, &packages)?)?;
    for (path, source) in web::novnc()?.files()? {
        layer.add_file(Path::new(WEB).join(path), 0o644, &source);
    }
    add_program(&mut layer, program);
    Image { reference: REFERENCE, config: config(&ENVIRONMENT, &LABELS) }.write_layer(&layer, destination)
}

pub(super) fn packages() -> impl Iterator<Item = &'static str> {
    PACKAGES.lines().filter(|line| !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::product::{ENTRYPOINT, USER};

    #[test]
    fn the_dockerfile_makes_an_image_that_runs_alike() {
        let dockerfile = include_str!("../../../../images/outrigger-desktop/Dockerfile");
        let instruction = |name: &str| dockerfile.lines().rev().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        assert_eq!(instruction("USER "), USER);
        assert_eq!(serde_json::from_str::<Vec<String>>(instruction("ENTRYPOINT ")).unwrap(), ENTRYPOINT);
        assert_eq!(instruction("ENV ").split(' ').collect::<Vec<_>>(), ENVIRONMENT);
        assert!(dockerfile.contains(&format!("ARG DEBIAN={RELEASE}\n")) && dockerfile.contains(&format!("/image/{WEB}")));
    }

    #[test]
    fn packages_are_named_once_and_sorted() {
        let packages: Vec<&str> = packages().collect();
        assert!(packages.is_sorted_by(|one, other| one < other), "{packages:?}");
    }
}
