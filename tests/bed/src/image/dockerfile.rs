//! Images of Dockerfiles that do no more than install Debian packages, made without Docker and without a registry: the same packages,
//! installed by Debian's own tools.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::{Image, ImageConfig};
use crate::obtain::debian;

const BASE: &str = "docker.io/library/debian:";
const INSTALL: &str = "apt-get install --yes --no-install-recommends ";

/// Writes the image that `docker build` would make of this Dockerfile, as `<destination>`. Needs root.
pub fn write(dockerfile: &Path, reference: &str, destination: &Path) -> Result<()> {
    let text = std::fs::read_to_string(dockerfile).with_context(|| format!("cannot read {}", dockerfile.display()))?;
    let recipe = Recipe::read(&text).with_context(|| format!("{} does more than install Debian packages", dockerfile.display()))?;
    let system = debian::system(&recipe.release, &recipe.packages)?;
    let [entrypoint, env] = [&recipe.entrypoint, &recipe.env].map(|words| words.iter().map(String::as_str).collect::<Vec<_>>());
    let config = ImageConfig { entrypoint: &entrypoint, env: &env, user: &recipe.user, ..ImageConfig::default() };
    Image { reference, config }.write_archive(&system, destination)
}

/// What such a Dockerfile says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Recipe {
    release: String,
    packages: Vec<String>,
    env: Vec<String>,
    user: String,
    entrypoint: Vec<String>,
}

impl Recipe {
    fn read(text: &str) -> Result<Self> {
        let mut recipe =
            Self { env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()], ..Self::default() };
        let comments = |line: &&str| !line.starts_with('#') && !line.trim().is_empty();
        let whole = text.lines().filter(comments).collect::<Vec<_>>().join("\n").replace("\\\n", " ");
        for line in whole.lines() {
            let (instruction, rest) = line.split_once(' ').with_context(|| format!("{line}: an instruction has a value"))?;
            match instruction {
                "FROM" => recipe.release = release(rest)?,
                "RUN" => recipe.packages = packages(rest)?,
                "ENV" => recipe.env.push(rest.to_owned()),
                "USER" => rest.clone_into(&mut recipe.user),
                "ENTRYPOINT" => recipe.entrypoint = serde_json::from_str(rest).with_context(|| format!("{rest} is no list"))?,
                _ => bail!("{instruction} is not known here"),
            }
        }
        ensure!(!recipe.release.is_empty() && !recipe.packages.is_empty(), "FROM or RUN is missing");
        Ok(recipe)
    }
}

fn release(base: &str) -> Result<String> {
    let release = base.strip_prefix(BASE).and_then(|tag| tag.strip_suffix("-slim"));
    Ok(release.with_context(|| format!("{base} is not {BASE}RELEASE-slim"))?.to_owned())
}

fn packages(commands: &str) -> Result<Vec<String>> {
    let (_, rest) = commands.split_once(INSTALL).with_context(|| format!("{commands}: there is no {INSTALL}"))?;
    Ok(rest.split_whitespace().take_while(|word| *word != "&&").map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dockerfile_says_is_what_is_made() {
        let text = "# A comment.\nFROM docker.io/library/debian:trixie-slim\nRUN apt-get update \\\n && \
                    apt-get install --yes --no-install-recommends one two \\\n && rm -rf /var/lib/apt/lists/*\nENV A=b\nUSER 1000\n\
                    ENTRYPOINT [\"/usr/bin/one\", \"--flag\"]\n";
        let recipe = Recipe::read(text).unwrap();
        assert_eq!((&*recipe.release, &*recipe.user), ("trixie", "1000"));
        assert_eq!((recipe.packages, recipe.entrypoint), (vec!["one".into(), "two".into()], vec!["/usr/bin/one".into(), "--flag".into()]));
        assert_eq!(recipe.env.last().unwrap(), "A=b");
    }

    #[test]
    fn what_only_docker_could_do_is_refused() {
        for text in [
            "FROM alpine\n",
            "FROM docker.io/library/debian:trixie-slim\nCOPY a b\n",
            "FROM docker.io/library/debian:trixie-slim\nRUN make\n",
        ] {
            assert!(Recipe::read(text).is_err(), "{text}");
        }
    }
}
