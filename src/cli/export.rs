//! `outrigger export`: what an installation applies, for people without Helm.

mod policy;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::{
    admission::registration::{Endpoint, manifests},
    cli::{
        console::{self, Console},
        manifests::{Node, yaml_writer},
    },
    monitoring,
};

/// Print what an installation applies.
#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Webhooks(Webhooks),
    Policy(policy::Policy),
    /// Print the alerts, as a file of rules for Prometheus.
    Alerts,
    /// Print the dashboard, as Grafana imports it.
    Dashboard,
}

/// Print the webhook configurations.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  outrigger export webhooks --ca-file ca.crt | kubectl apply -f -
  outrigger export webhooks --url https://127.0.0.1:10250 --ca-file ca.crt   # a server outside the cluster")]
struct Webhooks {
    /// Address of a server outside the cluster, instead of the Service.
    #[arg(long, value_name = "URL", conflicts_with_all = ["namespace", "service", "port"])]
    url: Option<String>,

    /// Namespace of the Service.
    #[arg(long, default_value = "outrigger")]
    namespace: String,

    /// Name of the Service.
    #[arg(long, default_value = "outrigger-admission")]
    service: String,

    /// Port of the Service.
    #[arg(long, default_value_t = 443)]
    port: u16,

    /// CA that signed the server's certificate, in PEM; without it, something in the cluster must write the bundle.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Export {
    pub(super) fn run(self, console: &Console) -> Result<()> {
        match self.what {
            What::Webhooks(webhooks) => webhooks.run(),
            What::Policy(policy) => policy.run(console),
            What::Alerts => print_yaml(&[Node::from(monitoring::rules())]),
            What::Dashboard => Ok(console::print(&format!("{:#}\n", monitoring::dashboard()))?),
        }
    }
}

impl Webhooks {
    fn run(self) -> Result<()> {
        let bundle = match &self.ca_file {
            None => None,
            Some(path) => Some(std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?),
        };
        let endpoint = match self.url {
            Some(url) => Endpoint::Url(url),
            None => Endpoint::Service { namespace: self.namespace, name: self.service, port: self.port },
        };
        print_yaml(&manifests(&endpoint, bundle.as_deref()).map(Node::from))
    }
}

fn print_yaml(documents: &[Node]) -> Result<()> {
    Ok(console::print(&yaml_writer::write_all(documents.iter()))?)
}
