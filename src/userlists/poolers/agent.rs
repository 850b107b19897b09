//! The agent in a pooler's pod, which says by HTTP which list is live.

use std::{net::SocketAddr, time::Duration};

use reqwest::{Client, StatusCode, redirect};
use serde::Deserialize;

/// It answers from memory.
const LIMIT: Duration = Duration::from_secs(2);
/// A digest and its name.
const LONGEST_ANSWER: usize = 1024;

/// Asks agents. Pods are asked directly, whatever proxies the environment names, and may not send us elsewhere.
#[derive(Debug, Default)]
pub(in crate::userlists) struct AgentClient(std::sync::OnceLock<Client>);

/// Why an agent's answer is of no use.
#[derive(Debug, thiserror::Error)]
pub(in crate::userlists) enum AgentError {
    #[error("its agent can't be asked")]
    Request(#[from] reqwest::Error),
    #[error("its agent has applied no list yet")]
    NotYet,
    #[error("its agent answers {0}")]
    Status(StatusCode),
    #[error("its agent answers with something that is no digest")]
    Answer,
    #[error("its agent does not say whether sessions of removed users are over: it needs a newer image")]
    Sessions,
}

/// What an agent says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Applied {
    /// The digest of the list that the pod uses.
    pub(super) digest: String,
    /// How many sessions of its removed users `PgBouncer` could not end.
    #[serde(default)]
    pub(super) remaining_sessions: Option<usize>,
}

impl AgentClient {
    /// Which list the pod uses.
    pub(super) async fn applied(&self, agent: SocketAddr) -> Result<Applied, AgentError> {
        let mut response = self.client()?.get(format!("http://{agent}/applied")).send().await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::SERVICE_UNAVAILABLE => return Err(AgentError::NotYet),
            status => return Err(AgentError::Status(status)),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_ANSWER {
                return Err(AgentError::Answer);
            }
        }
        let applied: Applied = serde_json::from_slice(&body).map_err(|_| AgentError::Answer)?;
        let is_digest = applied.digest.len() == 64 && applied.digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_digest { Ok(applied) } else { Err(AgentError::Answer) }
    }

    fn client(&self) -> Result<&Client, AgentError> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let client = Client::builder().timeout(LIMIT).no_proxy().redirect(redirect::Policy::none()).build()?;
        Ok(self.0.get_or_init(|| client))
    }
}
