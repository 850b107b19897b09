//! How the cluster is reached.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use axum::http::{HeaderValue, header};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// How long the API server may say nothing on a connection in use. Watches end sooner by themselves; a list whose connection
/// is dead does not.
const SILENCE_LIMIT: Duration = Duration::from_secs(240);
/// Who the API server's log and metrics say is asking.
const USER_AGENT: &str = concat!("outrigger/", env!("CARGO_PKG_VERSION"));

/// How to reach the cluster: by a file, or as a pod does, or as kubectl does.
pub(super) async fn config(kubeconfig: Option<&Path>) -> Result<Config> {
    let mut config = match kubeconfig {
        None => Config::infer().await.context("no cluster is in reach: run in a pod, or give --kubeconfig")?,
        Some(path) => read(path).await?,
    };
    config.headers.push((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
    config.read_timeout = Some(SILENCE_LIMIT);
    // Between two requests a connection may be as silent as it likes.
    config.reset_reader_on_write = true;
    // Whoever asks says how often, and hears what the API server says: behind their back, a request may take hours.
    config.default_retry = false;
    Ok(config)
}

async fn read(path: &Path) -> Result<Config> {
    let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("{} can't be read", path.display()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    config.with_context(|| format!("{} can't be used", path.display()))
}

/// A client.
pub(super) fn connect(config: Config) -> Result<Client> {
    Client::try_from(config).context("the cluster's credentials can't be used")
}

/// A name of this process alone, which tells people where it runs: a pod that starts again under its old name is another holder of a lease.
pub(super) fn identity() -> Result<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut random = [0; 4];
    aws_lc_rs::rand::fill(&mut random).ok().context("there are no random bytes to be had")?;
    Ok(format!("{host}_{:08x}", u32::from_ne_bytes(random)))
}
