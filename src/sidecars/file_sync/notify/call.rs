//! The call over HTTP.

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{
    Client,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{Batch, NotifyError, credential};
use crate::sidecars::file_sync::{
    settings::{Call, Payload, Web},
    web,
};

/// Who makes the calls.
#[derive(Debug)]
pub(super) struct Caller {
    call: Call,
    web: Web,
    client: Option<Client>,
}

impl Caller {
    /// One that makes this call.
    #[must_use]
    pub(super) const fn new(call: Call, web: Web) -> Self {
        Self { call, web, client: None }
    }

    /// Tells of a batch.
    ///
    /// # Errors
    /// There is no answer, or no good one.
    pub(super) async fn call(&mut self, batch: &Batch) -> Result<(), NotifyError> {
        let client = match &self.client {
            Some(client) => client.clone(),
            // Redirects are not followed: what is sent is for this address alone.
            None => self.client.insert(web::client(&self.web, false)?).clone(),
        };
        let url = &self.call.url;
        let mut request = if self.call.post { client.post(url.clone()) } else { client.get(url.clone()) };
        if let Some((content_type, body)) = self.call.post.then(|| body(&self.call.payload, batch)).flatten() {
            request = request.header(CONTENT_TYPE, content_type).body(body);
        }
        if let Some(authorization) = self.authorization()? {
            request = request.header(AUTHORIZATION, authorization);
        }
        match web::answer(request, url).await {
            Err(error) if !self.call.retry_5xx && error.status().is_some_and(|status| status.is_server_error()) => {
                Err(NotifyError::Final(error))
            }
            answered => Ok(answered.map(drop)?),
        }
    }

    /// Basic authentication, if there is a user or a password. Files are read each time: they may have changed.
    fn authorization(&self) -> Result<Option<HeaderValue>, NotifyError> {
        let (user, password) = (credential::read(self.call.user.as_ref())?, credential::read(self.call.password.as_ref())?);
        if user.is_none() && password.is_none() {
            return Ok(None);
        }
        let text = |half: &Option<SecretString>| half.as_ref().map(|half| half.expose_secret().to_owned()).unwrap_or_default();
        let pair = SecretString::from(format!("{}:{}", text(&user), text(&password)));
        let encoded = SecretString::from(format!("Basic {}", STANDARD.encode(bytes(pair.expose_secret(), self.call.latin1))));
        let mut header = HeaderValue::from_str(encoded.expose_secret()).ok();
        if let Some(header) = &mut header {
            header.set_sensitive(true);
        }
        Ok(header)
    }
}

/// Latin-1 where it can express the text (RFC 7617 leaves the encoding open), else UTF-8.
fn bytes(text: &str, latin1: bool) -> Vec<u8> {
    let narrow = latin1.then(|| text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect::<Option<Vec<u8>>>());
    narrow.flatten().unwrap_or_else(|| text.as_bytes().to_vec())
}

/// What is sent, and what it is.
fn body(payload: &Payload, batch: &Batch) -> Option<(&'static str, String)> {
    const JSON: &str = "application/json";
    match payload {
        Payload::Empty => None,
        Payload::Json(template) => Some((JSON, filled(template, batch).to_string())),
        Payload::Text(template) => Some(("text/plain; charset=utf-8", fill(template, batch))),
        Payload::Slack => Some((JSON, json!({"text": slack_line(batch)}).to_string())),
    }
}

/// A JSON value in whose strings the words are replaced: text stays text, whatever files are called.
fn filled(template: &Value, batch: &Batch) -> Value {
    match template {
        Value::String(text) => Value::String(fill(text, batch)),
        Value::Array(items) => items.iter().map(|item| filled(item, batch)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), filled(value, batch))).collect(),
        other => other.clone(),
    }
}

fn fill(template: &str, batch: &Batch) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        text.push_str(before);
        let word = ["files", "count", "folder"].into_iter().find_map(|word| Some((word, after.strip_prefix(word)?.strip_prefix('}')?)));
        rest = if let Some((word, after)) = word {
            text.push_str(&match word {
                "files" => batch.files.join(", "),
                "count" => batch.count.to_string(),
                _ => batch.folder.clone(),
            });
            after
        } else {
            text.push_str("${");
            after
        };
    }
    text.push_str(rest);
    text
}

fn slack_line(batch: &Batch) -> String {
    // These are Slack's control characters ("Formatting text for app surfaces", Slack API).
    batch.line().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        Batch { files: vec!["a\"b".to_owned(), "<c>".to_owned()], count: 3, folder: "/srv".to_owned(), ..Batch::default() }
    }

    #[test]
    fn names_of_files_stay_text_in_json() {
        let template = json!({"text": "${count} in ${folder}: ${files}", "n": 1, "list": ["${nothing}", "${", "${count"]});
        let (content_type, text) = body(&Payload::Json(template), &batch()).unwrap();
        let sent: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(content_type, "application/json");
        assert_eq!(sent, json!({"text": "3 in /srv: a\"b, <c>", "n": 1, "list": ["${nothing}", "${", "${count"]}));
    }

    #[test]
    fn slack_gets_a_line_without_its_control_characters() {
        let (_, text) = body(&Payload::Slack, &batch()).unwrap();
        let sent: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(sent["text"], "3 files in /srv changed: a\"b, &lt;c&gt; and 1 more");
        assert!(body(&Payload::Empty, &batch()).is_none());
    }

    #[test]
    fn credentials_are_latin_1_by_choice_where_that_is_possible() {
        assert_eq!(bytes("ü", true), [0xfc]);
        assert_eq!(bytes("ü", false), "ü".as_bytes());
        assert_eq!(bytes("€", true), "€".as_bytes());
    }
}
