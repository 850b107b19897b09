//! What the product's pages need of others, as npm has it: nothing of it is committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::node_modules;

const PACKAGE: &str = include_str!("../../../../web/package.json");
const LOCK: &str = include_str!("../../../../web/package-lock.json");

/// noVNC: a client for desktops that runs in a browser.
pub struct NoVnc {
    folder: PathBuf,
}

/// Fetches noVNC at its pinned version, whose digest is pinned, too.
pub fn novnc() -> Result<NoVnc> {
    let modules = node_modules::locked("web", PACKAGE, LOCK)?;
    let folder = modules.join("node_modules/@novnc/novnc");
    ensure!(folder.join("core/rfb.js").is_file(), "the package @novnc/novnc holds no core/rfb.js");
    Ok(NoVnc { folder })
}

impl NoVnc {
    /// The files that a browser loads, with their licences, by their paths.
    pub fn files(&self) -> Result<BTreeMap<PathBuf, PathBuf>> {
        let mut files = BTreeMap::new();
        for part in ["core", "vendor", "LICENSE.txt", "AUTHORS"] {
            self.add(Path::new(part), &mut files)?;
        }
        Ok(files)
    }

    fn add(&self, path: &Path, files: &mut BTreeMap<PathBuf, PathBuf>) -> Result<()> {
        let place = self.folder.join(path);
        if place.is_file() {
            files.insert(path.to_owned(), place);
            return Ok(());
        }
        let entries = std::fs::read_dir(&place).with_context(|| format!("cannot read {}", place.display()))?;
        for entry in entries {
            self.add(&path.join(entry?.file_name()), files)?;
        }
        Ok(())
    }

    /// Copies them into a folder, whatever is there.
    pub fn copy_to(&self, folder: &Path) -> Result<()> {
        for (path, source) in self.files()? {
            let place = folder.join(path);
            if let Some(parent) = place.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::copy(&source, &place).with_context(|| format!("cannot write {}", place.display()))?;
        }
        Ok(())
    }
}
