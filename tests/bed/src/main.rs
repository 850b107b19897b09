//! `outrigger-bed`: obtains what the tests need, starts a control plane to look around in, writes the product's image, and shows
//! the product.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use outrigger_bed::demo::Demo;
use outrigger_bed::image::{desktop, pgbouncer, product};
use outrigger_bed::{ControlPlane, Node, gaps, obtain};
use tokio::signal;

const USAGE: &str = "\
usage: outrigger-bed obtain [control-plane | node | helm | cargo-deny | openssl | postgres | pgbouncer | strace | desktop | desktop-rivals | chromium] ...   fetch or build what is missing (default: everything)
       outrigger-bed path PROGRAM                                           print where helm, kubectl or cargo-deny is; obtain it first
       outrigger-bed up [node]                                              start a control plane, or a whole node, until Ctrl-C
       outrigger-bed image --outrigger PATH --destination FILE              write the product's image, for `ctr -n k8s.io images import FILE`
       outrigger-bed desktop-image --outrigger PATH --destination FILE      write the desktop sidecar's image
       outrigger-bed pgbouncer-image --destination FILE                     write PgBouncer's image
       outrigger-bed web --destination DIR                                  write what the product's pages need of others
       outrigger-bed demo --outrigger PATH --examples DIR --crds DIR [--once [--picture FILE]]
                                                                            show the product, until Ctrl-C or once";

const PARTS: [&str; 12] = [
    "control-plane",
    "node",
    "helm",
    "foreign-kinds",
    "cargo-deny",
    "openssl",
    "postgres",
    "pgbouncer",
    "strace",
    "desktop",
    "desktop-rivals",
    "chromium",
];

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["obtain"] => obtain_parts(&PARTS),
        ["obtain", parts @ ..] => obtain_parts(parts),
        ["path", program] => print_path(program),
        ["up"] => up().await,
        ["up", "node"] => up_node().await,
        ["image", "--outrigger", program, "--destination", destination] => {
            product::write(Path::new(program), Path::new(destination)).map(|()| println!("{} {destination}", product::REFERENCE))
        }
        ["desktop-image", "--outrigger", program, "--destination", destination] => {
            desktop::write(Path::new(program), Path::new(destination)).map(|()| println!("{} {destination}", desktop::REFERENCE))
        }
        ["pgbouncer-image", "--destination", destination] => {
            let generation = pgbouncer::Generation::Current;
            pgbouncer::write(generation, Path::new(destination)).map(|()| println!("{} {destination}", generation.reference()))
        }
        ["web", "--destination", destination] => {
            obtain::web::novnc().and_then(|novnc| novnc.copy_to(Path::new(destination))).map(|()| println!("{destination}"))
        }
        ["demo", flags @ ..] => demo(flags).await,
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
        "foreign-kinds" => obtain::foreign_kinds().map(drop),
        "openssl" => obtain::openssl(),
        "postgres" => obtain::postgres().map(drop),
        "pgbouncer" => obtain::pgbouncer().map(drop),
        "strace" => obtain::strace().map(drop),
        "desktop" => obtain::desktop().map(drop),
        "desktop-rivals" => obtain::desktop_rivals(),
        "chromium" => obtain::chromium().map(drop),
        other => bail!("there is no part {other}: choose from {}", PARTS.join(", ")),
    }
}

fn print_path(program: &str) -> Result<()> {
    let path = match program {
        "helm" => obtain::helm()?,
        "kubectl" => obtain::control_plane()?.kubectl,
        "cargo-deny" => obtain::cargo_deny()?,
        other => bail!("there is no program {other}: choose from helm, kubectl, cargo-deny"),
    };
    println!("{}", path.display());
    Ok(())
}

async fn up() -> Result<()> {
    let start = Instant::now();
    let cluster = ControlPlane::try_start().await?;
    keep(&cluster, "control plane", start.elapsed()).await
}

async fn up_node() -> Result<()> {
    let start = Instant::now();
    let node = Node::try_start().await?;
    keep(node.cluster(), "node", start.elapsed()).await
}

async fn demo(flags: &[&str]) -> Result<()> {
    Demo::from_flags(flags).map_err(|error| anyhow!("{error:#}\n{USAGE}"))?.run().await
}

async fn keep(cluster: &ControlPlane, what: &str, duration: Duration) -> Result<()> {
    println!("export KUBECONFIG={}", cluster.kubeconfig_path().display());
    eprintln!("the {what} was ready after {:.1} s: https://{}; Ctrl-C ends it", duration.as_secs_f64(), cluster.address());
    signal::ctrl_c().await.context("cannot wait for Ctrl-C")
}
