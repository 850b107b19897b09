//! Container images made here, without a registry: a tar with the image's configuration, one layer and a manifest, as
//! `ctr images import` reads it.

pub mod desktop;
pub mod dockerfile;
mod layer;
mod package;
pub mod pgbouncer;
pub mod postgres;
pub mod product;
pub mod window;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Serialize, Serializer};
use serde_json::json;
use tar::Builder;

use self::layer::{Layer, append_bytes, append_file};

use crate::digest;
use crate::obtain::architecture;
use crate::obtain::command::output;

/// An image's reference and what runs in it.
pub struct Image<'a> {
    /// The name pods call it by, such as `localhost/app:1`. With a registry nobody has, it is never pulled.
    pub reference: &'a str,
    /// How it runs.
    pub config: ImageConfig<'a>,
}

/// How an image runs (OCI image specification, `config`).
#[derive(Clone, Copy, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageConfig<'a> {
    /// The program and its first arguments.
    pub entrypoint: &'a [&'a str],
    /// Environment variables as `NAME=value`.
    pub env: &'a [&'a str],
    /// The user to run as, by number; empty means root.
    pub user: &'a str,
    /// The signal by which it is asked to end; empty means `SIGTERM`.
    pub stop_signal: &'a str,
    /// The working directory; empty means `/`.
    pub working_dir: &'a str,
    /// What tools show of it.
    #[serde(serialize_with = "as_map")]
    pub labels: &'a [(&'a str, &'a str)],
}

fn as_map<S: Serializer>(labels: &[(&str, &str)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter().copied())
}

/// A file of an image and the file here that it is made of.
pub struct ImageFile<'a> {
    /// Its path in the image, without a leading slash.
    pub path: &'a str,
    /// The file here.
    pub source: &'a Path,
    /// Its mode, such as `0o755`.
    pub mode: u32,
}

impl Image<'_> {
    /// Writes the image with these files alone as `<destination>`.
    pub fn write_files(&self, files: &[ImageFile<'_>], destination: &Path) -> Result<()> {
        let mut layer = Layer::default();
        for file in files {
            layer.add_file(file.path, file.mode, file.source);
        }
        self.write_layer(&layer, destination)
    }

    fn write_layer(&self, layer: &Layer, destination: &Path) -> Result<()> {
        let tar = destination.with_extension("layer");
        let written = layer.write(&tar).and_then(|()| self.write_archive(&tar, destination));
        written.with_context(|| format!("cannot write the image {} as {}", self.reference, destination.display()))?;
        Ok(std::fs::remove_file(tar)?)
    }

    fn write_archive(&self, layer_tar: &Path, destination: &Path) -> Result<()> {
        let layer = digest::of_file(layer_tar)?;
        let config = serde_json::to_vec(&json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": architecture(),
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        }))?;
        let config_name = format!("{}.json", digest::of_bytes(&config));
        let layer_name = format!("{layer}/layer.tar");
        let manifest = serde_json::to_vec(&json!([{"Config": config_name, "RepoTags": [self.reference], "Layers": [layer_name]}]))?;
        let mut archive = Builder::new(File::create(destination)?);
        append_bytes(&mut archive, &config_name, 0o644, &config)?;
        append_file(&mut archive, layer_name, 0o644, layer_tar)?;
        append_bytes(&mut archive, "manifest.json", 0o644, &manifest)?;
        Ok(archive.into_inner()?.sync_all()?)
    }
}

/// The pause image that holds each pod's namespaces.
pub(crate) const PAUSE: &str = "localhost/pause:1";

/// Writes the pause image into a folder and returns its tar.
pub(crate) fn pause(folder: &Path) -> Result<PathBuf> {
    static_program(PAUSE, "pause", include_str!("pause.c"), folder)
}

/// Writes the image `localhost/answer:1` into a folder and returns its tar. Its program takes a port as its argument, answers every
/// HTTP request there with 200, and ends on SIGTERM or after a request for `/quit`.
pub fn answer(folder: &Path) -> Result<PathBuf> {
    static_program("localhost/answer:1", "answer", include_str!("answer.c"), folder)
}

/// An image with nothing but one program, linked so that it needs no library.
fn static_program(reference: &str, name: &str, source: &str, folder: &Path) -> Result<PathBuf> {
    let code = folder.join(format!("{name}.c"));
    let program = folder.join(name);
    let image = folder.join(format!("{name}.tar"));
    std::fs::write(&code, source)?;
    output(Command::new("gcc").args(["-O2", "-static", "-o"]).arg(&program).arg(&code))?;
    let entrypoint = format!("/{name}");
    Image { reference, config: ImageConfig { entrypoint: &[&entrypoint], user: "1000", ..ImageConfig::default() } }
        .write_files(&[ImageFile { path: name, source: &program, mode: 0o755 }], &image)?;
    Ok(image)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use super::*;

    #[test]
    fn an_image_names_its_layer_by_digest_and_keeps_the_run_bits() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("program");
        fs::write(&source, "#!/bin/sh\n").unwrap();
        let destination = folder.path().join("image.tar");
        let image =
            Image { reference: "localhost/test:1", config: ImageConfig { entrypoint: &["/bin/program"], ..ImageConfig::default() } };
        image.write_files(&[ImageFile { path: "bin/program", source: &source, mode: 0o755 }], &destination).unwrap();

        let content = |name: &str| {
            let mut archive = tar::Archive::new(File::open(&destination).unwrap());
            let mut entry = archive.entries().unwrap().map(Result::unwrap).find(|entry| entry.path().unwrap() == Path::new(name)).unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            bytes
        };
        let manifest: serde_json::Value = serde_json::from_slice(&content("manifest.json")).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "localhost/test:1");
        let config: serde_json::Value = serde_json::from_slice(&content(manifest[0]["Config"].as_str().unwrap())).unwrap();
        let layer = content(manifest[0]["Layers"][0].as_str().unwrap());
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", digest::of_bytes(&layer)));
        assert_eq!(config["config"]["Entrypoint"][0], "/bin/program");
        let mut layer = tar::Archive::new(layer.as_slice());
        let program = layer.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(program.header().mode().unwrap(), 0o755);
    }
}
