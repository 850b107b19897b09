//! Who is told of changes, and how.

use std::time::Duration;

use lettre::message::Mailbox;
use reqwest::Url;
use secrecy::SecretString;

use super::{
    Compat, Given, Method, Row, SettingsError, table as t,
    value::{address, list, mail_server, mailbox, some_time, time},
};
use crate::{
    postgres::tls::{Material, Tls, TlsMode},
    sidecars::file_sync::plan::Rules,
    sidecars::setting::{Read, boolean, folder, number, port, word},
};

/// How often a call is tried again in mode once: the app that is called may be the one that waits for the sidecar to end.
const RETRIES_OF_ONCE: u32 = 0;

/// Who is told of changes, and when.
#[derive(Debug, Clone)]
pub struct Notify {
    /// Over HTTP.
    pub call: Option<Call>,
    /// By running a program.
    pub script: Option<Script>,
    /// By mail.
    pub mail: Option<Mail>,
    /// By letting `PgBouncer` read its files anew.
    pub pgbouncer: Option<PgBouncer>,
    /// How long nothing must change before.
    pub quiet: Duration,
    /// How long it waits at most.
    pub latest: Duration,
    /// Whether the first sync is told, too.
    pub initial: bool,
    /// How often a failed attempt is repeated; without it, until it succeeds.
    pub retries: Option<u32>,
    /// Pause after the first failure.
    pub first_pause: Duration,
}

/// A call over HTTP.
#[derive(Debug, Clone)]
pub struct Call {
    /// Whom to call.
    pub url: Url,
    /// Whether by POST, with a body, rather than by GET.
    pub post: bool,
    /// What to send.
    pub payload: Payload,
    /// The user and the password, which are sent here alone.
    pub user: Option<Credential>,
    /// See `user`.
    pub password: Option<Credential>,
    /// Whether they are sent as Latin-1 where that can express them.
    pub latin1: bool,
    /// Whether answers of 500 and above are tried again.
    pub retry_5xx: bool,
}

/// A mail.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Who takes it.
    pub server: MailServer,
    /// The sender.
    pub from: Mailbox,
    /// The recipients.
    pub to: Vec<Mailbox>,
    /// The user at the server.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Credential>,
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailServer {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub security: Security,
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// In the clear.
    None,
    /// In TLS once it has agreed to that, and not otherwise.
    StartTls,
    /// In TLS from the start.
    Tls,
}

/// What a POST sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Nothing.
    Empty,
    /// JSON, in whose strings words stand for what changed.
    Json(serde_json::Value),
    /// Text, in which words stand for what changed.
    Text(String),
    /// One line for Slack.
    Slack,
}

/// One half of what a call is allowed by.
#[derive(Debug, Clone)]
pub enum Credential {
    /// As it is.
    Value(SecretString),
    /// In a file that may change.
    File(String),
}

/// `PgBouncer`'s admin console.
#[derive(Debug, Clone)]
pub struct PgBouncer {
    /// A name, an address, or the folder of a Unix socket.
    pub host: String,
    /// Its port, which a socket's name has, too.
    pub port: u16,
    /// The user, one of its `admin_users`.
    pub user: String,
    /// The user's password.
    pub password: Option<Credential>,
    /// How the connection is secured.
    pub tls: Tls,
}

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Where it is.
    pub path: String,
    /// How long it may run.
    pub timeout: Duration,
}

impl Notify {
    /// Whether there is anybody to tell.
    #[must_use]
    pub const fn is_anybody_told(&self) -> bool {
        self.call.is_some() || self.script.is_some() || self.mail.is_some() || self.pgbouncer.is_some()
    }
}

impl Given<'_> {
    pub(super) fn notify(&self, method: Method, rules: &Rules) -> Result<Notify, SettingsError> {
        let retries = self.read_if_set(&t::REQ_RETRY_TOTAL, number)?;
        Ok(Notify {
            call: self.call()?,
            script: self.script(rules)?,
            mail: self.mail()?,
            pgbouncer: self.pgbouncer()?,
            quiet: self.read(&t::NOTIFY_QUIET, time)?,
            latest: self.read(&t::NOTIFY_LATEST, time)?,
            initial: !self.read(&t::REQ_SKIP_INIT, boolean)?,
            retries: retries.or_else(|| (method == Method::Once).then_some(RETRIES_OF_ONCE)),
            first_pause: self.read(&t::REQ_RETRY_BACKOFF_FACTOR, some_time)?,
        })
    }

    fn call(&self) -> Result<Option<Call>, SettingsError> {
        let slack = self.read(&t::REQ_PRESET, |text| word(text, &[("none", false), ("slack", true)]))?;
        let Some(url) = self.read_if_set(&t::REQ_URL, address)? else { return Ok(None) };
        let post = slack || self.read(&t::REQ_METHOD, |text| word(text, &[("GET", false), ("POST", true)]))?;
        let payload = if slack { Payload::Slack } else { self.text(&t::REQ_PAYLOAD).map_or(Payload::Empty, |text| self.payload(text)) };
        let latin1 = self.read(&t::REQ_BASIC_AUTH_ENCODING, |text| {
            word(text, &[("utf-8", false), ("utf8", false), ("latin1", true), ("latin-1", true), ("iso-8859-1", true)])
        })?;
        let retry_5xx = self.read(&t::ENABLE_5XX, boolean)?;
        let user = self.credential(&t::REQ_USERNAME, &t::REQ_USERNAME_FILE);
        let password = self.credential(&t::REQ_PASSWORD, &t::REQ_PASSWORD_FILE);
        Ok(Some(Call { url, post, payload, user, password, latin1, retry_5xx }))
    }

    fn payload(&self, text: String) -> Payload {
        match serde_json::from_str(&text) {
            Ok(json) => Payload::Json(json),
            Err(_) if self.compat == Compat::Kiwigrid => Payload::Json(serde_json::Value::String(text)),
            Err(_) => Payload::Text(text),
        }
    }

    fn credential(&self, value: &Row, file: &Row) -> Option<Credential> {
        let file = self.text(file).map(Credential::File);
        file.or_else(|| self.text(value).map(|text| Credential::Value(SecretString::from(text))))
    }

    fn script(&self, rules: &Rules) -> Result<Option<Script>, SettingsError> {
        let Some(path) = self.read_if_set(&t::SCRIPT, folder)? else { return Ok(None) };
        // Whoever may create an object could write the program, too.
        if rules.recorded(&path).is_ok() {
            let way_out = "a program that is run must not stand where files are mirrored to: bring it in a volume of its own".to_owned();
            return Err(SettingsError::unusable(&t::SCRIPT, path, way_out));
        }
        Ok(Some(Script { path, timeout: self.read(&t::SCRIPT_TIMEOUT, some_time)? }))
    }

    fn mail(&self) -> Result<Option<Mail>, SettingsError> {
        let Some(server) = self.read_if_set(&t::SMTP_URL, mail_server)? else { return Ok(None) };
        let user = self.text(&t::SMTP_USERNAME);
        if user.is_some() && server.security == Security::None {
            let way_out = "a user's password is not sent without TLS: use smtps://, or add ?tls=required".to_owned();
            return Err(SettingsError::Hidden { name: t::SMTP_URL.name, way_out });
        }
        let missing = |row: &Row| SettingsError::Missing { name: row.name, way_out: "SMTP_URL needs it" };
        let from = self.read_if_set(&t::SMTP_FROM, mailbox)?.ok_or_else(|| missing(&t::SMTP_FROM))?;
        let to = self.read_if_set(&t::SMTP_TO, |text| list(text).iter().map(|address| mailbox(address)).collect::<Read<Vec<_>>>())?;
        let to = to.filter(|to| !to.is_empty()).ok_or_else(|| missing(&t::SMTP_TO))?;
        Ok(Some(Mail { server, from, to, user, password: self.credential(&t::SMTP_PASSWORD, &t::SMTP_PASSWORD_FILE) }))
    }

    fn pgbouncer(&self) -> Result<Option<PgBouncer>, SettingsError> {
        let Some(host) = self.text(&t::PGBOUNCER_HOST) else { return Ok(None) };
        let mode = self.read(&t::PGBOUNCER_TLS_MODE, tls_mode)?;
        let root_certificates = self.text(&t::PGBOUNCER_CA_FILE).map(|path| Material::File(path.into()));
        if root_certificates.is_none() && matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyFull) {
            let way_out = "name the file with the authorities that PGBOUNCER_TLS_MODE asks for, or set that to require";
            return Err(SettingsError::Missing { name: t::PGBOUNCER_CA_FILE.name, way_out });
        }
        Ok(Some(PgBouncer {
            host,
            port: self.read(&t::PGBOUNCER_PORT, port)?,
            user: self.read(&t::PGBOUNCER_USERNAME, |text| Ok(text.to_owned()))?,
            password: self.credential(&t::PGBOUNCER_PASSWORD, &t::PGBOUNCER_PASSWORD_FILE),
            tls: Tls { mode, root_certificates, identity: None },
        }))
    }
}

fn tls_mode(text: &str) -> Read<TlsMode> {
    TlsMode::read(text).ok_or_else(|| format!("use one of {}", TlsMode::NAMES))
}
