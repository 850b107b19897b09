//! The mail.

use std::time::Duration;

use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor, message::header::ContentType, transport::smtp::authentication::Credentials,
};
use secrecy::ExposeSecret;

use super::{Batch, NotifyError, credential};
use crate::sidecars::file_sync::settings::Mail;

/// Why the mail was not sent.
#[derive(Debug, thiserror::Error)]
pub(in crate::sidecars::file_sync) enum MailError {
    /// It can't be written.
    #[error("the mail can't be written")]
    Message(#[from] lettre::error::Error),
    /// The server refuses it, or can't be reached.
    #[error("the mail server in SMTP_URL does not take the mail")]
    Server(#[from] lettre::transport::smtp::Error),
}

/// Sends a mail that tells of a batch. Each has a connection of its own: they are rare.
///
/// # Errors
/// The server can't be reached, or does not take it.
pub(super) async fn send(mail: &Mail, timeout: Duration, batch: &Batch) -> Result<(), NotifyError> {
    let password = credential::read(mail.password.as_ref())?;
    let message = message(mail, batch)?;
    let mut server = AsyncSmtpTransport::<Tokio1Executor>::from_url(&mail.url).map_err(MailError::Server)?.timeout(Some(timeout));
    if let Some(user) = &mail.user {
        let password = password.map(|password| password.expose_secret().to_owned()).unwrap_or_default();
        server = server.credentials(Credentials::new(user.clone(), password));
    }
    server.build().send(message).await.map_err(MailError::Server)?;
    Ok(())
}

fn message(mail: &Mail, batch: &Batch) -> Result<Message, MailError> {
    let mut message = Message::builder().from(mail.from.clone()).subject(batch.summary()).header(ContentType::TEXT_PLAIN);
    for recipient in &mail.to {
        message = message.to(recipient.clone());
    }
    Ok(message.body(format!("{}\n", batch.files.join("\n")))?)
}
