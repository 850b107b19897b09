//! The control group below which a node's kubelet keeps its pods.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const HIERARCHIES: &str = "/sys/fs/cgroup";

/// Makes the group in the unified hierarchy, or in each of version 1. The run's guardian removes it.
pub(crate) fn create(name: &str) -> Result<()> {
    let root = Path::new(HIERARCHIES);
    if root.join("cgroup.controllers").exists() {
        return make(&root.join(name));
    }
    for entry in fs::read_dir(root)? {
        let hierarchy = entry?.path();
        // `cpu` and `cpuacct` may be links to a hierarchy of both.
        if hierarchy.is_dir() && !hierarchy.is_symlink() {
            make(&hierarchy.join(name))?;
        }
    }
    Ok(())
}

fn make(group: &Path) -> Result<()> {
    fs::create_dir_all(group).with_context(|| format!("cannot make the control group {}", group.display()))?;
    let parent = group.parent().unwrap_or(group);
    for set in ["cpuset.cpus", "cpuset.mems"] {
        // In version 1 a new group has no processor and no memory until they are given to it.
        if group.join(set).exists() && parent.join(set).exists() {
            fs::write(group.join(set), fs::read_to_string(parent.join(set))?).with_context(|| format!("cannot set {set}"))?;
        }
    }
    Ok(())
}
