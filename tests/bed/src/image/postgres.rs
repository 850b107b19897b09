//! An image with the PostgreSQL of this machine, for pods whose app is a database.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::layer::Layer;
use super::{Image, ImageConfig};
use crate::obtain::{self, command};

/// The image's name.
pub const REFERENCE: &str = "localhost/postgres:1";

/// Makes a database in `/data`, where something must be mounted, and serves it on port 5432. Everybody may sign in as anybody.
const ENTRYPOINT: [&str; 3] = [
    "/bin/sh",
    "-c",
    "initdb --auth=trust --username=postgres --no-locale --encoding=UTF8 --no-sync --pgdata=/data/db \
     && echo 'host all all all trust' >> /data/db/pg_hba.conf \
     && exec postgres -D /data/db -c listen_addresses='*' -c unix_socket_directories=/data -c fsync=off",
];

/// Writes the image into a folder and returns its tar.
pub fn postgres(folder: &Path) -> Result<PathBuf> {
    let programs = obtain::postgres()?;
    let shell = fs::canonicalize("/bin/sh").context("there is no shell here")?;
    let bin = programs.postgres.parent().context("PostgreSQL is in no folder")?;
    let mut files = BTreeSet::from([programs.initdb.clone(), programs.postgres.clone(), shell.clone()]);
    // Beside its programs lies what it loads, but for the compiler of queries; and what initdb reads.
    let version = bin.parent().context("PostgreSQL's folder has no parent")?;
    let loads = |path: &Path| path.extension().is_some_and(|extension| extension == "so") && !path.ends_with("llvmjit.so");
    files.extend(below(&version.join("lib"))?.into_iter().filter(|path| loads(path)));
    files.extend(below(&Path::new("/usr/share/postgresql").join(version.file_name().unwrap_or_default()))?);
    files.insert(PathBuf::from("/usr/share/zoneinfo/Etc/UTC"));
    let libraries: BTreeSet<PathBuf> = [&programs.initdb, &programs.postgres, &shell]
        .into_iter()
        .map(|program| libraries(program))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect();
    files.extend(libraries);

    let mut layer = Layer::default();
    for file in &files {
        let mode = if file.starts_with("/usr/share") { 0o644 } else { 0o755 };
        layer.add_file(file.strip_prefix("/")?, mode, &fs::canonicalize(file).with_context(|| format!("there is no {}", file.display()))?);
    }
    layer.add_file("bin/sh", 0o755, &shell);
    // initdb asks who it is.
    layer.add_bytes("etc/passwd", 0o644, "postgres:x:1000:1000::/data:/bin/sh\n");
    let path = format!("PATH={}", bin.display());
    let image = folder.join("postgres.tar");
    Image {
        reference: REFERENCE,
        config: ImageConfig { entrypoint: &ENTRYPOINT, env: &[&path, "TZ=Etc/UTC"], user: "1000", ..ImageConfig::default() },
    }
    .write_layer(&layer, &image)?;
    Ok(image)
}

/// The libraries a program is linked with, at the paths where it looks for them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let printed = command::output(Command::new("ldd").arg(program))?;
    let paths = printed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(paths.collect())
}

fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { files.extend(below(&path)?) } else { files.push(path) }
    }
    Ok(files)
}
