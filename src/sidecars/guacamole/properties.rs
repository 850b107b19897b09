//! `guacamole.properties`, a file of Java properties (`java.util.Properties.load`), and the database it names.

use std::collections::HashMap;

use secrecy::SecretString;

use super::model::CaseSensitivity;
use crate::postgres::{
    session::Target,
    tls::{Material, Tls, TlsMode},
};

/// Where Guacamole's PostgreSQL usually listens.
const DEFAULT_PORT: u16 = 5432;

/// What a file of properties says. The values may be secrets.
#[derive(Default)]
pub(crate) struct Properties(HashMap<String, String>);

/// A property that can't be used. It shows no value that may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("guacamole.properties: {name} {problem}")]
pub struct PropertyError {
    name: &'static str,
    problem: String,
}

/// What settings say of the database. Each is stronger than its property.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// Host, or folder of a Unix socket.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// The database's name.
    pub name: Option<String>,
    /// The role's name.
    pub user: Option<String>,
}

impl Properties {
    /// Reads properties. As Java does, it takes everything for something: there are no malformed lines.
    pub(crate) fn read(text: &str) -> Self {
        Self(logical_lines(text).iter().map(|line| property(line)).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The database: what settings say, else what stands here, else Guacamole's usual.
    pub(crate) fn target(&self, settings: &DatabaseSettings) -> Result<Target, PropertyError> {
        let text = |setting: &Option<String>, name: &str, usual: &str| {
            setting.clone().or_else(|| self.get(name).map(ToOwned::to_owned)).unwrap_or_else(|| usual.to_owned())
        };
        Ok(Target {
            host: text(&settings.host, "postgresql-hostname", "localhost"),
            port: settings.port.map_or_else(|| self.port(), Ok)?,
            database: text(&settings.name, "postgresql-database", "guacamole_db"),
            user: text(&settings.user, "postgresql-username", "guacamole"),
            password: self.get("postgresql-password").map(SecretString::from),
            tls: self.tls()?,
            options: None,
        })
    }

    fn port(&self) -> Result<u16, PropertyError> {
        let name = "postgresql-port";
        let parse = |text: &str| text.parse().map_err(|_| PropertyError { name, problem: format!("is {text:?}, which is no port") });
        self.get(name).map_or(Ok(DEFAULT_PORT), parse)
    }

    fn tls(&self) -> Result<Tls, PropertyError> {
        let name = "postgresql-ssl-mode";
        let mode = match self.get(name) {
            None => TlsMode::default(),
            Some(text) => TlsMode::read(text)
                .ok_or_else(|| PropertyError { name, problem: format!("is {text:?}: it must be one of {}", TlsMode::NAMES) })?,
        };
        let path = |name: &str| self.get(name).map(|path| Material::File(path.into()));
        let name = "postgresql-ssl-key-file";
        let identity = match (path("postgresql-ssl-cert-file"), path(name)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(_), None) => return Err(PropertyError { name, problem: "is missing beside postgresql-ssl-cert-file".to_owned() }),
            (None, _) => None,
        };
        let name = "postgresql-ssl-key-password";
        if identity.is_some() && self.get(name).is_some() {
            return Err(PropertyError {
                name,
                problem: "is set, and encrypted keys can't be used: give one without a password".to_owned(),
            });
        }
        Ok(Tls { mode, root_certificates: path("postgresql-ssl-root-cert-file"), identity })
    }

    /// Whether names of users, and of user groups, count with their case.
    pub(crate) fn case_sensitivity(&self) -> Result<CaseSensitivity, PropertyError> {
        let name = "case-sensitivity";
        match self.get(name) {
            None | Some("enabled") => Ok(CaseSensitivity { users: true, user_groups: true }),
            Some("usernames") => Ok(CaseSensitivity { users: true, user_groups: false }),
            Some("group-names") => Ok(CaseSensitivity { users: false, user_groups: true }),
            Some("disabled") => Ok(CaseSensitivity { users: false, user_groups: false }),
            Some(text) => {
                Err(PropertyError { name, problem: format!("is {text:?}: it must be enabled, usernames, group-names or disabled") })
            }
        }
    }
}

/// Lines without comments and blank ones; a backslash at a line's end joins it with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut joined: Option<String> = None;
    for line in text.lines().map(|line| line.trim_start_matches(BLANKS)) {
        if joined.is_none() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let mut whole = joined.take().unwrap_or_default();
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            whole.push_str(line.strip_suffix('\\').unwrap_or(line));
            joined = Some(whole);
        } else {
            whole.push_str(line);
            lines.push(whole);
        }
    }
    lines.extend(joined);
    lines
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// Key and value of a line: between them stands `=`, `:` or white space.
fn property(line: &str) -> (String, String) {
    let mut is_escaped = false;
    let end = line.find(|character: char| {
        let ends = !is_escaped && (BLANKS.contains(&character) || character == '=' || character == ':');
        is_escaped = character == '\\' && !is_escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANKS);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(BLANKS);
    (unescaped(key), unescaped(value))
}

fn unescaped(text: &str) -> String {
    // Java escapes what lies beyond 16 bits as two halves, so text is put together from halves.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let meant = match character {
            '\\' => match characters.next() {
                Some('u') => {
                    let digits: String = characters.by_ref().take(4).collect();
                    units.extend(u16::from_str_radix(&digits, 16));
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\u{c}',
                Some(other) => other,
                None => continue,
            },
            other => other,
        };
        units.extend_from_slice(meant.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn properties_are_read_as_java_reads_them() {
        for (text, key, value) in [
            ("postgresql-password: a:b=c", "postgresql-password", "a:b=c"),
            ("postgresql-password=secret", "postgresql-password", "secret"),
            ("postgresql-password secret", "postgresql-password", "secret"),
            ("  key \t = \t value with blanks", "key", "value with blanks"),
            ("key = a\\\n    b", "key", "ab"),
            ("a\\:b\\ c = d", "a:b c", "d"),
            ("key = \\u00e9\\ud83d\\ude00\\t|\\\\|\\q", "key", "é😀\t|\\|q"),
            ("key = one\nkey = two", "key", "two"),
            ("key", "key", ""),
            ("key = a\\\\", "key", "a\\"),
        ] {
            assert_eq!(Properties::read(text).0.get(key).map(String::as_str), Some(value), "{text}");
        }
    }

    #[test]
    fn comments_are_no_properties() {
        let properties = Properties::read("#postgresql-password: old\n! postgresql-password: older\n\n  # x\npostgresql-password: new\n");
        assert_eq!(properties.get("postgresql-password"), Some("new"));
        assert_eq!(properties.0.len(), 1);
    }

    #[test]
    fn settings_are_stronger_than_properties_and_those_than_what_is_usual() {
        let properties =
            Properties::read("postgresql-hostname: db\npostgresql-port: 6432\npostgresql-password: p\npostgresql-ssl-mode: verify-full\n");
        let target = properties.target(&DatabaseSettings::default()).unwrap();
        assert_eq!(target.to_string(), "guacamole_db at db:6432 as guacamole");
        assert_eq!(target.password.unwrap().expose_secret(), "p");
        assert_eq!(target.tls.mode, TlsMode::VerifyFull);
        let settings =
            DatabaseSettings { host: Some("other".to_owned()), port: Some(1), name: Some("d".to_owned()), user: Some("u".to_owned()) };
        assert_eq!(properties.target(&settings).unwrap().to_string(), "d at other:1 as u");
    }

    #[test]
    fn what_cant_be_used_is_named() {
        for (text, expected) in [
            ("postgresql-port: x", "guacamole.properties: postgresql-port is \"x\", which is no port"),
            (
                "postgresql-ssl-mode: on",
                "guacamole.properties: postgresql-ssl-mode is \"on\": it must be one of disable, allow, prefer, require, verify-ca, verify-full",
            ),
            ("postgresql-ssl-cert-file: c", "guacamole.properties: postgresql-ssl-key-file is missing beside postgresql-ssl-cert-file"),
        ] {
            let error = Properties::read(text).target(&DatabaseSettings::default()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        assert!(Properties::read("case-sensitivity: maybe").case_sensitivity().is_err());
        assert_eq!(
            Properties::read("case-sensitivity: usernames").case_sensitivity(),
            Ok(CaseSensitivity { users: true, user_groups: false })
        );
    }
}
