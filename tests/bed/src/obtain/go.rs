//! Builds from source: modules come from wherever the machine's own Go settings say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::command::{find, output};
use super::packages::{Package, Source};
use super::{cache, wheel};
use crate::versions;

/// Builds one program of a package into the workshop and returns where it lies there.
pub(crate) fn build(package: &Package, name: &str, workshop: &Path) -> Result<PathBuf> {
    let source = &package.source;
    let (_, import_path) =
        source.programs.iter().find(|(program, _)| *program == name).with_context(|| format!("no Go package for {name}"))?;
    let go = toolchain()?;
    let module = prepare_module(&go, package)?;
    let binary = workshop.join(name);
    let mut build = go_command(&go, &module);
    build.args(["build", "-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags", &linker_flags(source)]);
    if !source.tags.is_empty() {
        build.args(["-tags", source.tags]);
    }
    output(build.arg("-o").arg(&binary).arg(import_path))?;
    Ok(binary)
}

/// Builds the module in a folder, whose go.mod and go.sum say what it needs.
pub(crate) fn build_module(module: &Path, binary: &Path) -> Result<()> {
    let go = toolchain()?;
    output(go_command(&go, module).args(["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"]).arg(binary).arg("."))
        .map(drop)
}

fn linker_flags(source: &Source) -> String {
    let mut flags = String::from("-s -w");
    for (variable, value) in &source.stamps {
        flags.push_str(" -X ");
        flags.push_str(variable);
        flags.push('=');
        flags.push_str(value);
    }
    flags
}

/// A module of our own that requires the package: main packages of another module can only be built from within one.
fn prepare_module(go: &Path, package: &Package) -> Result<PathBuf> {
    let folder = cache::subfolder(format!("go/{}-{}", package.name, package.version))?;
    if folder.join("go.sum").exists() {
        return Ok(folder);
    }
    let upstream = upstream_go_mod(go, &folder, package)?;
    fs::write(folder.join("go.mod"), go_mod(package, &upstream))?;
    fs::write(folder.join("tools.go"), tools_go(&package.source))?;
    output(go_command(go, &folder).args(["mod", "tidy"]))?;
    Ok(folder)
}

/// What `go mod download -json` tells of a module.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    go_mod: PathBuf,
    dir: PathBuf,
}

/// Downloads a module and returns its folder, which nobody may change.
pub(crate) fn module(module: &str, version: &str) -> Result<PathBuf> {
    let folder = cache::subfolder("go/modules")?;
    download(&toolchain()?, &folder, &format!("{module}@v{version}")).map(|downloaded| downloaded.dir)
}

fn download(go: &Path, folder: &Path, module: &str) -> Result<Downloaded> {
    let printed = output(go_command(go, folder).args(["mod", "download", "-json", module]))?;
    serde_json::from_str(&printed).context("go mod download printed no module")
}

fn upstream_go_mod(go: &Path, folder: &Path, package: &Package) -> Result<String> {
    let module = format!("{}@v{}", package.source.module, package.version);
    Ok(fs::read_to_string(download(go, folder, &module)?.go_mod)?)
}

fn go_mod(package: &Package, upstream: &str) -> String {
    let Package { version, source: Source { module, .. }, .. } = package;
    let language = upstream.lines().find_map(|line| line.strip_prefix("go ")).unwrap_or("1.26").trim();
    let release: Vec<&str> = language.split('.').take(2).collect();
    // Kubernetes is developed together with its libraries, which its own go.mod names v0.0.0; they are published as v0.<minor>.<patch>.
    let library_version = version.split_once('.').map_or(version.as_str(), |(_, rest)| rest);
    let replacements: Vec<String> =
        unpublished_libraries(upstream).iter().map(|library| format!("replace {library} => {library} v0.{library_version}\n")).collect();
    format!(
        "module outrigger-bed\n\ngo {language}\n\ngodebug default=go{}\n\nrequire {module} v{version}\n\n{}",
        release.join("."),
        replacements.concat()
    )
}

fn unpublished_libraries(upstream: &str) -> Vec<&str> {
    let mut libraries: Vec<&str> = upstream
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let module = words.next()?;
            (words.next()? == "v0.0.0" && module.starts_with("k8s.io/")).then_some(module)
        })
        .collect();
    libraries.sort_unstable();
    libraries.dedup();
    libraries
}

/// Blank imports hold the commands' dependencies in go.mod.
fn tools_go(source: &Source) -> String {
    let imports: Vec<String> = source.programs.iter().map(|(_, import_path)| format!("import _ \"{import_path}\"")).collect();
    format!("//go:build tools\n\npackage tools\n\n{}\n", imports.join("\n"))
}

fn go_command(go: &Path, folder: &Path) -> Command {
    let mut command = Command::new(go);
    // The toolchain we chose is the one that builds: no other is fetched behind our back.
    command.current_dir(folder).env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "local");
    command
}

/// The machine's Go if it is new enough, else the pinned one in the cache.
fn toolchain() -> Result<PathBuf> {
    match find("go") {
        Some(go) if is_new_enough(&output(Command::new(&go).arg("version").env("GOTOOLCHAIN", "local"))?) => Ok(go),
        _ => wheel::go(),
    }
}

fn is_new_enough(printed: &str) -> bool {
    let version = printed.split_whitespace().nth(2).and_then(|word| word.strip_prefix("go"));
    let numbers: Vec<u32> = version.unwrap_or_default().split('.').map_while(|part| part.parse().ok()).collect();
    matches!(numbers.as_slice(), [major, minor, ..] if (*major, *minor) >= versions::GO_OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::obtain::packages;

    #[test]
    fn go_is_judged_by_its_numbers() {
        assert!(is_new_enough("go version go1.26.8 linux/amd64"));
        assert!(is_new_enough("go version go1.27 linux/amd64"));
        assert!(!is_new_enough("go version go1.9.7 linux/amd64"));
        assert!(!is_new_enough("go version devel linux/amd64"));
    }

    #[test]
    fn libraries_that_upstream_names_without_version_are_replaced_by_their_releases() {
        let upstream = "module k8s.io/kubernetes\n\ngo 1.26.0\n\nrequire (\n\tk8s.io/api v0.0.0\n\tk8s.io/klog/v2 v2.130.1\n\tk8s.io/kms v0.0.0 // indirect\n)\n";
        let text = go_mod(&packages::kubernetes("1.36.3"), upstream);
        assert!(text.contains("require k8s.io/kubernetes v1.36.3\n"), "{text}");
        assert!(text.contains("replace k8s.io/api => k8s.io/api v0.36.3\n"), "{text}");
        assert!(text.contains("replace k8s.io/kms => k8s.io/kms v0.36.3\n"), "{text}");
        assert!(!text.contains("klog"), "{text}");
        assert!(text.contains("godebug default=go1.26\n"), "{text}");
    }
}
