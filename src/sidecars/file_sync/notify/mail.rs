//! The mail.

use std::time::Duration;

use lettre::{
    Message,
    message::header::ContentType,
    transport::smtp::{
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, TlsParameters},
        extension::ClientId,
    },
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use super::{Batch, NotifyError, credential};
use crate::sidecars::file_sync::settings::{Mail, MailServer, Security};

/// For the last words of a server that has taken the mail.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

/// Why the mail was not sent.
#[derive(Debug, thiserror::Error)]
pub(in crate::sidecars::file_sync) enum MailError {
    /// It can't be written.
    #[error("the mail can't be written")]
    Message(#[from] lettre::error::Error),
    /// The server refuses it, or can't be reached.
    #[error("the mail server in SMTP_URL does not take the mail")]
    Server(#[from] lettre::transport::smtp::Error),
    /// The server says nothing.
    #[error("the mail server in SMTP_URL has not taken the mail within {0:?}")]
    Silent(Duration),
}

/// Sends a mail that tells of a batch. Each has a connection of its own: they are rare. It takes at most `limit`.
///
/// # Errors
/// The server can't be reached, falls silent, or does not take it.
pub(super) async fn send(mail: &Mail, limit: Duration, batch: &Batch) -> Result<(), NotifyError> {
    let password = credential::read(mail.password.as_ref())?;
    let message = message(mail, batch)?;
    let mut server = timeout(limit, hand_over(mail, password, &message)).await.map_err(|_| MailError::Silent(limit))??;
    // It has taken the mail: however it says goodbye, the mail must not be sent again.
    let _ = timeout(GOODBYE_LIMIT, server.quit()).await;
    Ok(())
}

/// Returns the connection to a server that has taken the mail.
async fn hand_over(mail: &Mail, password: Option<SecretString>, message: &Message) -> Result<AsyncSmtpConnection, MailError> {
    let mut server = connect(&mail.server).await?;
    if let Some(user) = &mail.user {
        let password = password.map(|password| password.expose_secret().to_owned()).unwrap_or_default();
        server.auth(DEFAULT_MECHANISMS, &Credentials::new(user.clone(), password)).await?;
    }
    server.send(message.envelope(), &message.formatted()).await?;
    Ok(server)
}

async fn connect(MailServer { host, port, security }: &MailServer) -> Result<AsyncSmtpConnection, MailError> {
    let (us, tls) = (ClientId::default(), || TlsParameters::new(host.clone()));
    let from_the_start = if *security == Security::Tls { Some(tls()?) } else { None };
    let mut server = AsyncSmtpConnection::connect_tokio1((host.as_str(), *port), None, &us, from_the_start, None).await?;
    if *security == Security::StartTls {
        server.starttls(tls()?, &us).await?;
    }
    Ok(server)
}

fn message(mail: &Mail, batch: &Batch) -> Result<Message, MailError> {
    let mut message = Message::builder().from(mail.from.clone()).subject(batch.summary()).header(ContentType::TEXT_PLAIN);
    for recipient in &mail.to {
        message = message.to(recipient.clone());
    }
    Ok(message.body(format!("{}\n", batch.files.join("\n")))?)
}
