//! `outrigger-bed`: obtains what the tests need, and starts a control plane to look around in.

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use outrigger_bed::{ControlPlane, gaps, obtain};
use tokio::signal;

const USAGE: &str = "\
usage: outrigger-bed obtain [control-plane | node | helm | cargo-deny] ...   fetch or build what is missing (default: everything)
       outrigger-bed up                                                     start a control plane and keep it until Ctrl-C";

const PARTS: [&str; 4] = ["control-plane", "node", "helm", "cargo-deny"];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["obtain"] => obtain_parts(&PARTS),
        ["obtain", parts @ ..] => obtain_parts(parts),
        ["up"] => up().await,
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(anyhow!("{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("outrigger-bed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Obtains each part; one that cannot be had does not keep back the others.
fn obtain_parts(parts: &[&str]) -> Result<()> {
    let mut missing = Vec::new();
    for part in parts {
        if let Err(why) = obtain_part(part) {
            match gaps::skip(part, &why) {
                Ok(()) => {}
                Err(error) => missing.push(format!("{error:#}")),
            }
        }
    }
    if missing.is_empty() { Ok(()) } else { bail!("cannot obtain {}", missing.join("; ")) }
}

fn obtain_part(part: &str) -> Result<()> {
    match part {
        "control-plane" => obtain::control_plane().map(drop),
        "node" => obtain::node().map(drop),
        "helm" => obtain::helm().map(drop),
        "cargo-deny" => obtain::cargo_deny().map(drop),
        other => bail!("there is no part {other}: choose from {}", PARTS.join(", ")),
    }
}

async fn up() -> Result<()> {
    let cluster = ControlPlane::try_start().await?;
    println!("export KUBECONFIG={}", cluster.kubeconfig_path().display());
    eprintln!("the control plane runs at https://{}; Ctrl-C ends it", cluster.address());
    signal::ctrl_c().await.context("cannot wait for Ctrl-C")
}
