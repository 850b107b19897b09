//! What the sidecar is told: by variables of the environment or flags, in the words of its two predecessors or in ours.

mod notify;
mod reference;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::{fmt, net::SocketAddr, time::Duration};

pub use notify::{Call, Credential, Mail, MailServer, Notify, Payload, PgBouncer, Script, Security};
pub use reference::reference;
pub use table::{TABLE, Table, WITHOUT_EFFECT};

use super::plan::{Kind, Rules, Target};
use crate::{
    runtime::telemetry::LogFormat,
    sidecars::setting::{LOG_LEVELS, Read, Row, boolean, folder, ip, port, word},
};
use table as t;
use value::{count, list, mode, some_time, time};

/// Why a setting can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// It is required.
    #[error("{name} is not set: {way_out}")]
    Missing {
        /// The setting.
        name: &'static str,
        /// What to write.
        way_out: &'static str,
    },
    /// It can't be read.
    #[error("{name} is {value:?}: {way_out}")]
    Unreadable {
        /// The setting.
        name: &'static str,
        /// What was written.
        value: String,
        /// What to write instead.
        way_out: String,
    },
    /// It can't be used, and is not shown: it may hold a password or a token.
    #[error("{name} can't be used (its value is not shown: it may hold a password): {way_out}")]
    Hidden {
        /// The setting.
        name: &'static str,
        /// What to write instead.
        way_out: String,
    },
}

impl SettingsError {
    fn unusable(row: &Row, value: String, way_out: String) -> Self {
        if row.is_address() || row.is_credential() {
            Self::Hidden { name: row.name, way_out }
        } else {
            Self::Unreadable { name: row.name, value, way_out }
        }
    }
}

/// All settings, read.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose meaning the words have.
    pub compat: Compat,
    /// When to look.
    pub method: Method,
    /// What to look at.
    pub selection: Selection,
    /// Where the files belong.
    pub rules: Rules,
    /// How files are treated.
    pub files: Files,
    /// How the API server is asked.
    pub pace: Pace,
    /// How the web is asked.
    pub web: Web,
    /// Who is told of changes, and when.
    pub notify: Notify,
    /// Whose annotation is shown once they were.
    pub applied: Option<AppliedAnnotation>,
    /// Where the health port is.
    pub health: SocketAddr,
    /// The filter of the log.
    pub log_level: String,
    /// How log lines are written.
    pub log_format: LogFormat,
}

/// Whose meaning the words have that both predecessors know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compat {
    /// k8s-gsidecar's, as documented.
    Gsidecar,
    /// kiwigrid/k8s-sidecar's.
    Kiwigrid,
}

/// When to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Follow changes.
    Watch,
    /// Look again at intervals.
    Poll,
    /// Look once and end.
    Once,
}

/// Which objects are mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Where.
    pub namespaces: Namespaces,
    /// What.
    pub kinds: Vec<Kind>,
    /// By label, in the API's words.
    pub labels: Option<String>,
    /// By name; any if there are none.
    pub names: Vec<Named>,
}

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespaces {
    /// In the pod's own namespace.
    Own,
    /// Everywhere.
    All,
    /// In these.
    Listed(Vec<String>),
}

/// An object by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// In this namespace alone.
    pub namespace: Option<String>,
    /// Of this kind alone.
    pub kind: Option<Kind>,
    /// The name.
    pub name: String,
}

/// An annotation of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedAnnotation {
    /// The annotation.
    pub annotation: String,
    /// The object.
    pub object: Named,
}

/// How files are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Whether a foreign file in our place becomes ours.
    pub adopt: bool,
    /// Whether a file is on the disk before it appears.
    pub fsync: bool,
    /// What changes at once.
    pub publish: Publish,
    /// Whether files that others changed are written again.
    pub repair: bool,
    /// User and group of those who read the files.
    pub readers: Vec<(u32, u32)>,
    /// `PgBouncer`'s list of users, if that is mirrored.
    pub auth_file: Option<Target>,
}

/// What changes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// Each file.
    Each,
    /// All files of a batch.
    Together,
}

/// How the API server is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks.
    pub interval: Duration,
    /// Objects in a page of a list.
    pub page_size: u32,
    /// After which the API server ends a watch.
    pub server_timeout: Duration,
    /// Silence after which a watch is dead.
    pub client_timeout: Duration,
    /// The longest pause after a failure.
    pub longest_pause: Duration,
    /// How long a namespace may be forbidden before its files go.
    pub forbidden_grace: Duration,
    /// Whether the API server's certificate is taken unseen.
    pub skip_tls_verify: bool,
}

/// How the web is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// For one request with its answer.
    pub timeout: Duration,
    /// Whether certificates are taken unseen.
    pub skip_tls_verify: bool,
    /// Further certificate authorities.
    pub ca_file: Option<String>,
    /// After which the address of a `.url` key is asked again.
    pub refresh: Option<Duration>,
}

/// Reads all settings. `set` is what a row was set to, if it was.
///
/// # Errors
/// One is missing or can't be read.
pub fn read(set: impl Fn(&Row) -> Option<String>) -> Result<Settings, SettingsError> {
    Given::new(&set)?.settings()
}

/// Reads where the health port is, for those who only ask there.
///
/// # Errors
/// It can't be read.
pub fn health_address(set: impl Fn(&Row) -> Option<String>) -> Result<SocketAddr, SettingsError> {
    Given::new(&set)?.health()
}

/// What was set, with the defaults that hold otherwise.
struct Given<'a> {
    set: &'a dyn Fn(&Row) -> Option<String>,
    compat: Compat,
}

impl<'a> Given<'a> {
    fn new(set: &'a dyn Fn(&Row) -> Option<String>) -> Result<Self, SettingsError> {
        let words = [("gsidecar", Compat::Gsidecar), ("kiwigrid", Compat::Kiwigrid)];
        let compat = Self { set, compat: Compat::Gsidecar }.read(&t::COMPAT, |text| word(text, &words))?;
        Ok(Self { set, compat })
    }

    fn settings(&self) -> Result<Settings, SettingsError> {
        let method = self.read(&t::METHOD, |text| self.method(text))?;
        let rules = self.rules()?;
        let (selection, notify) = (self.selection()?, self.notify(method, &rules)?);
        Ok(Settings {
            compat: self.compat,
            method,
            applied: self.applied(&selection, &notify)?,
            selection,
            notify,
            files: Files {
                adopt: self.read(&t::EXISTING_FILES, |text| word(text, &[("keep", false), ("adopt", true)]))?,
                fsync: self.read(&t::FSYNC, boolean)?,
                publish: self.publish()?,
                repair: !self.read(&t::IGNORE_ALREADY_PROCESSED, boolean)?,
                readers: self.read_if_set(&t::APP_USERS, readers)?.unwrap_or_default(),
                auth_file: self.read_if_set(&t::PGBOUNCER_AUTH_FILE, |text| rules.recorded(text).map_err(|error| error.to_string()))?,
            },
            rules,
            pace: Pace {
                interval: self.read(&t::POLL_INTERVAL, some_time)?,
                page_size: self.read(&t::LIST_PAGE_SIZE, count)?,
                server_timeout: self.read(&t::WATCH_SERVER_TIMEOUT, some_time)?,
                client_timeout: self.read(&t::WATCH_CLIENT_TIMEOUT, some_time)?,
                longest_pause: self.read(&t::ERROR_THROTTLE_SLEEP, some_time)?,
                forbidden_grace: self.read(&t::FORBIDDEN_GRACE, time)?,
                skip_tls_verify: self.read(&t::SKIP_TLS_VERIFY, boolean)?,
            },
            web: Web {
                timeout: self.read(&t::REQ_TIMEOUT, some_time)?,
                skip_tls_verify: self.read(&t::REQ_SKIP_TLS_VERIFY, boolean)?,
                ca_file: self.text(&t::REQ_CA_FILE),
                refresh: Some(self.read(&t::URL_REFRESH, time)?).filter(|refresh| !refresh.is_zero()),
            },
            health: self.health()?,
            log_level: self.read(&t::LOG_LEVEL, |text| word(text, &LOG_LEVELS))?.to_owned(),
            log_format: self.read(&t::LOG_FORMAT, |text| {
                word(text, &[("text", LogFormat::Text), ("logfmt", LogFormat::Text), ("json", LogFormat::Json)])
            })?,
        })
    }

    fn health(&self) -> Result<SocketAddr, SettingsError> {
        Ok(SocketAddr::new(self.read(&t::HEALTH_HOST, ip)?, self.read(&t::HEALTH_PORT, port)?))
    }

    fn publish(&self) -> Result<Publish, SettingsError> {
        let publish = self.read(&t::PUBLISH, |text| word(text, &[("each", Publish::Each), ("together", Publish::Together)]))?;
        if publish == Publish::Together && self.text(&t::ALLOWED_FOLDERS).is_some() {
            let way_out = "files in several folders can't be published together: leave out ALLOWED_FOLDERS, or set PUBLISH=each".to_owned();
            return Err(SettingsError::unusable(&t::PUBLISH, "together".to_owned(), way_out));
        }
        Ok(publish)
    }

    fn applied(&self, selection: &Selection, notify: &Notify) -> Result<Option<AppliedAnnotation>, SettingsError> {
        let Some(annotation) = self.text(&t::APPLIED_ANNOTATION) else { return Ok(None) };
        let missing = |name, way_out| SettingsError::Missing { name, way_out };
        if !notify.is_anybody_told() {
            let way_out = "APPLIED_ANNOTATION shows what somebody was told of: set whom, or leave it out";
            return Err(missing(t::PGBOUNCER_HOST.name, way_out));
        }
        let object = selection.names.first().cloned();
        let object = object.ok_or_else(|| missing(t::RESOURCE_NAME.name, "name the object whose APPLIED_ANNOTATION is to be shown"))?;
        Ok(Some(AppliedAnnotation { annotation, object }))
    }

    fn method(&self, text: &str) -> Read<Method> {
        let (list, sleep) = match self.compat {
            Compat::Gsidecar => (Method::Poll, Method::Once),
            Compat::Kiwigrid => (Method::Once, Method::Poll),
        };
        word(text, &[("watch", Method::Watch), ("poll", Method::Poll), ("once", Method::Once), ("list", list), ("sleep", sleep)])
    }

    fn selection(&self) -> Result<Selection, SettingsError> {
        let names = self.read_if_set(&t::RESOURCE_NAME, names)?.unwrap_or_default();
        let (label, value) = (self.text(&t::LABEL), self.text(&t::LABEL_VALUE));
        let by_names_alone = self.compat == Compat::Kiwigrid && !names.is_empty();
        let labels = match (label, value) {
            _ if by_names_alone => None,
            (Some(label), Some(value)) => Some(format!("{label}={value}")),
            (Some(label), None) => Some(label),
            (None, _) if names.is_empty() => {
                return Err(SettingsError::Missing {
                    name: t::LABEL.name,
                    way_out: "name the label that objects have, or the objects with RESOURCE_NAME",
                });
            }
            (None, Some(_)) => {
                return Err(SettingsError::Missing { name: t::LABEL.name, way_out: "LABEL_VALUE is the value of which label?" });
            }
            (None, None) => None,
        };
        let both = || vec![Kind::Secret, Kind::ConfigMap];
        let kinds = self.read(&t::RESOURCE, |text| {
            let words = [("configmap", 0), ("configmaps", 0), ("secret", 1), ("secrets", 1), ("both", 2)];
            Ok(match word(text, &words)? {
                0 => vec![Kind::ConfigMap],
                1 => vec![Kind::Secret],
                _ => both(),
            })
        })?;
        let left_out = names.iter().find(|name| name.kind.is_some_and(|kind| !kinds.contains(&kind)));
        if let Some(name) = left_out {
            let value = self.text(&t::RESOURCE_NAME).unwrap_or_default();
            let way_out = format!("{} is of a kind that RESOURCE leaves out: set RESOURCE=both, or RESOURCE to that kind", name.name);
            return Err(SettingsError::unusable(&t::RESOURCE_NAME, value, way_out));
        }
        Ok(Selection { namespaces: self.read(&t::NAMESPACE, namespaces)?, kinds, labels, names })
    }

    fn rules(&self) -> Result<Rules, SettingsError> {
        let first = self.read_if_set(&t::FOLDER, folder)?;
        let first = first
            .ok_or(SettingsError::Missing { name: t::FOLDER.name, way_out: "name the folder to write the files to, such as /srv/files" })?;
        let further = self.read_if_set(&t::ALLOWED_FOLDERS, |text| list(text).iter().map(|path| folder(path)).collect::<Read<Vec<_>>>())?;
        let mut roots = vec![first];
        roots.extend(further.unwrap_or_default());
        Ok(Rules {
            roots,
            absolute_folders: self.compat == Compat::Kiwigrid,
            unique_names: self.read(&t::UNIQUE_FILENAMES, boolean)?,
            suffixes: self.text(&t::FILE_SUFFIXES).map(|text| list(&text)).unwrap_or_default(),
            fetch_links: self.read(&t::URL_KEYS, |text| word(text, &[("fetch", true), ("ignore", false)]))?,
            mode: self.read_if_set(&t::DEFAULT_FILE_MODE, mode)?,
            folder_annotation: self.text(&t::FOLDER_ANNOTATION).unwrap_or_default(),
        })
    }

    /// What a row is set to, or its default.
    fn text(&self, row: &Row) -> Option<String> {
        let default = if self.compat == Compat::Kiwigrid { t::kiwigrid_default(row).or(row.default) } else { row.default };
        (self.set)(row).filter(|value| !value.is_empty()).or_else(|| default.map(str::to_owned))
    }

    fn read_if_set<T>(&self, row: &'static Row, read: impl FnOnce(&str) -> Read<T>) -> Result<Option<T>, SettingsError> {
        let Some(value) = self.text(row) else { return Ok(None) };
        read(&value).map(Some).map_err(|way_out| SettingsError::unusable(row, value, way_out))
    }

    /// Reads a row that has a default.
    fn read<T>(&self, row: &'static Row, read: impl FnOnce(&str) -> Read<T>) -> Result<T, SettingsError> {
        self.read_if_set(row, read)?.ok_or(SettingsError::Missing { name: row.name, way_out: "give it a value" })
    }
}

fn namespaces(text: &str) -> Read<Namespaces> {
    let names = list(text);
    match names.as_slice() {
        [] => Err("use names, ALL or OWN".to_owned()),
        [all] if all == "ALL" => Ok(Namespaces::All),
        [own] if own == "OWN" => Ok(Namespaces::Own),
        // Names of namespaces have no capitals (RFC 1123 labels).
        names if names.iter().any(|name| name == "ALL" || name == "OWN") => Err("ALL and OWN stand alone".to_owned()),
        _ => Ok(Namespaces::Listed(names)),
    }
}

fn names(text: &str) -> Read<Vec<Named>> {
    let kind = |text: &str| word(text, &[("configmap", Kind::ConfigMap), ("secret", Kind::Secret)]).map(Some);
    list(text)
        .iter()
        .map(|item| match item.split('/').collect::<Vec<_>>().as_slice() {
            [name] => Ok(Named { namespace: None, kind: None, name: (*name).to_owned() }),
            [of, name] => Ok(Named { namespace: None, kind: kind(of)?, name: (*name).to_owned() }),
            [namespace, of, name] => Ok(Named { namespace: Some((*namespace).to_owned()), kind: kind(of)?, name: (*name).to_owned() }),
            _ => Err("use name, kind/name or namespace/kind/name".to_owned()),
        })
        .collect()
}

fn readers(text: &str) -> Read<Vec<(u32, u32)>> {
    let pair = |item: &String| item.split_once(':').and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
    list(text).iter().map(|item| pair(item).ok_or_else(|| "use pairs of numbers such as 1000:1000".to_owned())).collect()
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Watch => "watch",
            Self::Poll => "poll",
            Self::Once => "once",
        })
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => formatter.write_str("OWN"),
            Self::All => formatter.write_str("ALL"),
            Self::Listed(names) => formatter.write_str(&names.join(",")),
        }
    }
}
