//! The product's image, the same as `images/outrigger/Dockerfile` makes, but without Docker and without a registry: the program, the C
//! library it is linked with, and certificates. No shell, no package manager.

use std::path::Path;

use anyhow::{Result, ensure};

use super::layer::Layer;
use super::{Image, ImageConfig, package};
use crate::obtain::debian;

/// The image's name; the chart and the sidecars call it by this one unless told otherwise.
pub const REFERENCE: &str = concat!("localhost/outrigger:", env!("CARGO_PKG_VERSION"));

/// Whom the program runs as. By number: a kubelet can't tell that a name is not root's.
pub(super) const USER: &str = "65532:65532";
pub(super) const ENTRYPOINT: [&str; 1] = ["/usr/bin/outrigger"];

/// The packages whose files are in the image, and no others: not even those they depend on to be installed.
const PACKAGES: [&str; 4] = ["base-files", "ca-certificates", "libc6", "libgcc-s1"];

const ENVIRONMENT: [&str; 2] = ["PATH=/usr/bin:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"];
const LABELS: [(&str, &str); 3] = labels("outrigger");

const CERTIFICATES: &str = "usr/share/ca-certificates";
/// Where TLS libraries look for all of them in one file; installing the package would write it.
const CERTIFICATE_BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Writes the image with this program, which was built on this machine, as `<destination>`. The same program and packages make the same
/// bytes.
pub fn write(program: &Path, destination: &Path) -> Result<()> {
    let mut layer = Layer::default();
    package::add_all(&mut layer, &debian::download(&PACKAGES)?)?;
    let bundle: Vec<u8> = layer.contents(|path| path.starts_with(CERTIFICATES)).flatten().copied().collect();
    ensure!(!bundle.is_empty(), "the package ca-certificates holds no certificates in {CERTIFICATES}");
    layer.add_bytes(CERTIFICATE_BUNDLE, 0o644, bundle);
    add_program(&mut layer, program);
    Image { reference: REFERENCE, config: config(&ENVIRONMENT, &LABELS) }.write_layer(&layer, destination)
}

/// Adds the program, and whom it runs as.
pub(super) fn add_program(layer: &mut Layer, program: &Path) {
    layer.add_bytes("etc/passwd", 0o644, "root:x:0:0:root:/root:/sbin/nologin\noutrigger:x:65532:65532::/nonexistent:/sbin/nologin\n");
    layer.add_bytes("etc/group", 0o644, "root:x:0:\noutrigger:x:65532:\n");
    layer.add_file("usr/bin/outrigger", 0o755, program);
}

/// How the program is run, with these variables.
pub(super) fn config(env: &'static [&'static str], labels: &'static [(&'static str, &'static str)]) -> ImageConfig<'static> {
    ImageConfig { entrypoint: &ENTRYPOINT, env, user: USER, labels, ..ImageConfig::default() }
}

/// What tools show of an image with this title.
pub(super) const fn labels(title: &'static str) -> [(&'static str, &'static str); 3] {
    [
        ("org.opencontainers.image.title", title),
        ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION")),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE")),
    ]
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::{digest, gaps};

    #[test]
    fn the_dockerfile_makes_an_image_that_runs_alike() {
        let dockerfile = include_str!("../../../../images/outrigger/Dockerfile");
        let instruction = |name: &str| dockerfile.lines().rev().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        assert_eq!(instruction("USER "), USER);
        assert_eq!(serde_json::from_str::<Vec<String>>(instruction("ENTRYPOINT ")).unwrap(), ENTRYPOINT);
    }

    #[test]
    fn the_same_program_makes_the_same_image() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, "a program").unwrap();
        let made = |name: &str, age: u64| {
            fs::File::options().write(true).open(&program).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(age)).unwrap();
            let destination = folder.path().join(name);
            write(&program, &destination).map(|()| digest::of_file(&destination).unwrap())
        };
        match made("one", 1000) {
            Ok(digest) => assert_eq!(digest, made("other", 2000).unwrap()),
            Err(why) => gaps::skip("the_same_program_makes_the_same_image", &why).unwrap(),
        }
    }
}
