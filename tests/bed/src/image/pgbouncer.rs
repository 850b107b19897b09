//! `PgBouncer`'s image, the same as `images/pgbouncer/Dockerfile` makes, but without Docker and without a registry: the program and what it is
//! linked with, of one of two Debian releases.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::layer::Layer;
use super::{Image, ImageConfig, package};
use crate::obtain::command::output;
use crate::obtain::debian;

/// The program, in its package.
pub(super) const PROGRAM: &str = "usr/sbin/pgbouncer";

const USER: &str = "65532:65532";
const ENTRYPOINT: [&str; 1] = ["/usr/sbin/pgbouncer"];
const ENVIRONMENT: [&str; 1] = ["PATH=/usr/sbin:/usr/bin:/bin"];
const STOP_SIGNAL: &str = "SIGINT";

/// Which `PgBouncer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// 1.24, of Debian trixie.
    Current,
    /// 1.18, of Debian bookworm.
    Old,
}

impl Generation {
    /// The image's name.
    #[must_use]
    pub const fn reference(self) -> &'static str {
        match self {
            Self::Current => "localhost/pgbouncer:1.24",
            Self::Old => "localhost/pgbouncer:1.18",
        }
    }

    const fn release(self) -> &'static str {
        match self {
            Self::Current => "trixie",
            Self::Old => "bookworm",
        }
    }

    /// The packages whose files are in the image.
    fn packages(self) -> impl Iterator<Item = &'static str> {
        let packages = match self {
            Self::Current => include_str!("../../../../images/pgbouncer/packages.trixie"),
            Self::Old => include_str!("../../../../images/pgbouncer/packages.bookworm"),
        };
        packages.lines().filter(|line| !line.starts_with('#'))
    }
}

/// The version of the Debian package that an image of this generation is made of now.
pub fn package_version(generation: Generation) -> Result<String> {
    let package = debian::download_of(generation.release(), &["pgbouncer"])?;
    let version = output(Command::new("dpkg-deb").arg("--field").args(package).arg("Version"))?;
    Ok(version.trim().to_owned())
}

/// Writes the image as `<destination>`. The same packages make the same bytes.
pub fn write(generation: Generation, destination: &Path) -> Result<()> {
    let packages: Vec<&str> = generation.packages().collect();
    let mut layer = Layer::default();
    package::add_all(&mut layer, &debian::download_of(generation.release(), &packages)?)?;
    layer.add_bytes("etc/passwd", 0o644, "pgbouncer:x:65532:65532::/nonexistent:/sbin/nologin\n");
    layer.add_bytes("etc/group", 0o644, "pgbouncer:x:65532:\n");
    Image { reference: generation.reference(), config: config() }.write_layer(&layer, destination)
}

fn config() -> ImageConfig<'static> {
    ImageConfig {
        entrypoint: &ENTRYPOINT,
        env: &ENVIRONMENT,
        user: USER,
        stop_signal: STOP_SIGNAL,
        labels: &[("org.opencontainers.image.title", "pgbouncer")],
        ..ImageConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_makes_an_image_that_runs_alike() {
        let dockerfile = include_str!("../../../../images/pgbouncer/Dockerfile");
        let instruction = |name: &str| dockerfile.lines().rev().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        assert_eq!((instruction("USER "), instruction("STOPSIGNAL ")), (USER, STOP_SIGNAL));
        assert_eq!(serde_json::from_str::<Vec<String>>(instruction("ENTRYPOINT ")).unwrap(), ENTRYPOINT);
        assert_eq!([instruction("ENV ")], ENVIRONMENT);
        assert!(dockerfile.contains(&format!("ARG DEBIAN={}\n", Generation::Current.release())));
    }

    #[test]
    fn packages_are_named_once_and_sorted() {
        for generation in [Generation::Current, Generation::Old] {
            let packages: Vec<&str> = generation.packages().collect();
            assert!(packages.is_sorted_by(|one, other| one < other), "{packages:?}");
        }
    }
}
