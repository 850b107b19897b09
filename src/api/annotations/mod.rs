//! The annotations users write on pods and namespaces: one table, from which validation, the reference in
//! `docs/annotations.md` and `outrigger explain` all come.

mod reference;
mod table;
mod value;

pub use reference::reference;
pub use table::*;
pub use value::{Geometry, ValueKind};

use std::{borrow::Cow, collections::BTreeMap};

use super::nearest::nearest;

/// The annotations of a namespace that are defaults for its pods.
pub type NamespaceDefaults = BTreeMap<String, String>;

/// One annotation users may write.
#[derive(Debug)]
pub struct Key {
    /// The whole key, such as `vnc.outrigger.dev/geometry`.
    pub name: &'static str,
    /// Which values are allowed.
    pub kind: ValueKind,
    /// What holds when nobody says otherwise; `None` where absence has a meaning of its own.
    pub default: Option<&'static str>,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// The environment variable that carries it into the sidecar, if one does.
    pub variable: Option<&'static str>,
}

impl PartialEq for Key {
    /// Names are unique in the table.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Key {}

impl Key {
    /// The sidecar this key configures, or `None` for those that concern the whole pod.
    #[must_use]
    pub fn sidecar(&self) -> Option<SidecarKind> {
        let is_under = |prefix: &str| self.name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        SidecarKind::ALL.into_iter().find(|sidecar| is_under(sidecar.prefix()))
    }
}

/// The sidecars Outrigger can add, named as `outrigger.dev/inject` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SidecarKind {
    /// A desktop: X server and WebSocket bridge.
    Vnc,
    /// `ConfigMap`s and `Secret`s mirrored to files.
    FileSync,
    /// Guacamole connections from `Secret`s.
    Guacamole,
}

impl SidecarKind {
    /// All of them, in the order in which they start.
    pub const ALL: [Self; 3] = [Self::FileSync, Self::Vnc, Self::Guacamole];

    /// The word in `outrigger.dev/inject`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vnc => "vnc",
            Self::FileSync => "file-sync",
            Self::Guacamole => "guacamole",
        }
    }

    /// The prefix of the annotations that configure it.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Vnc => "vnc.outrigger.dev",
            Self::FileSync => "file-sync.outrigger.dev",
            Self::Guacamole => "guacamole.outrigger.dev",
        }
    }

    /// The name of the container it becomes.
    #[must_use]
    pub const fn container(self) -> &'static str {
        match self {
            Self::Vnc => "outrigger-vnc",
            Self::FileSync => "outrigger-file-sync",
            Self::Guacamole => "outrigger-guacamole",
        }
    }
}

/// Where a setting was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// On the pod itself.
    Pod,
    /// On its namespace, as a default for every pod in it.
    Namespace,
}

/// One annotation as it applies to a pod.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    /// Which one.
    pub key: &'static Key,
    /// Its text, trimmed.
    pub value: Cow<'a, str>,
    /// Who wrote it.
    pub origin: Origin,
}

/// The annotations that apply to one pod: its own, and its namespace's where it has none.
#[derive(Debug, Default)]
pub struct Annotations<'a> {
    settings: Vec<Setting<'a>>,
}

impl<'a> Annotations<'a> {
    /// Adds one written annotation. The first writer of a key wins, so the pod's own come first.
    ///
    /// Keys of other projects are passed over. A key under our prefixes that the table lacks is returned as a warning
    /// text with the nearest known one.
    pub fn add(&mut self, name: &str, value: Cow<'a, str>, origin: Origin) -> Option<String> {
        if !is_ours(name) || name == STATUS {
            return None;
        }
        let Some(key) = find(name) else {
            return Some(unknown_key(name));
        };
        if !self.settings.iter().any(|setting| setting.key == key) {
            self.settings.push(Setting { key, value: trim(value), origin });
        }
        None
    }

    /// The text written for a key, if anybody wrote one.
    #[must_use]
    pub fn written(&self, key: &'static Key) -> Option<&str> {
        self.setting(key).map(|setting| setting.value.as_ref())
    }

    /// The text that holds for a key: the written one, or the table's default.
    #[must_use]
    pub fn text(&self, key: &'static Key) -> Option<&str> {
        self.written(key).or(key.default)
    }

    /// What a message says behind a key its reader has not written.
    #[must_use]
    pub fn origin_note(&self, key: &'static Key) -> &'static str {
        match self.setting(key) {
            Some(Setting { origin: Origin::Namespace, .. }) => " (a default of the namespace)",
            _ => "",
        }
    }

    /// A key's setting with its origin.
    #[must_use]
    pub fn setting(&self, key: &'static Key) -> Option<&Setting<'a>> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// All that was written, in the order it was met.
    pub fn iter(&self) -> impl Iterator<Item = &Setting<'a>> {
        self.settings.iter()
    }
}

/// Whether a key stands under one of our prefixes.
fn is_ours(name: &str) -> bool {
    let Some((prefix, _)) = name.split_once('/') else { return false };
    prefix.strip_suffix("outrigger.dev").is_some_and(|owner| owner.is_empty() || owner.ends_with('.'))
}

/// The annotations of an object that stand under our prefixes.
#[must_use]
pub fn under_our_prefixes(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    annotations.iter().filter(|(name, _)| is_ours(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The table's entry for a key.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    TABLE.iter().copied().find(|key| key.name == name)
}

fn unknown_key(name: &str) -> String {
    match nearest_key(name) {
        Some(known) => format!("unknown annotation {name}: did you mean {known}?"),
        None => format!("unknown annotation {name}: see `outrigger explain --annotations`"),
    }
}

/// The key that was probably meant: one with the same prefix if the prefix is right, else one with any.
fn nearest_key(name: &str) -> Option<&'static str> {
    let split = |key: &'static str| key.split_once('/').unwrap_or_default();
    let (prefix, word) = name.split_once('/')?;
    let siblings = || TABLE.iter().map(|key| key.name).filter(|key| split(key).0 == prefix);
    match siblings().next() {
        Some(_) => {
            let word = nearest(word, siblings().map(|key| split(key).1))?;
            siblings().find(|key| split(key).1 == word)
        }
        None => nearest(name, TABLE.iter().map(|key| key.name)),
    }
}

fn trim(value: Cow<'_, str>) -> Cow<'_, str> {
    match value {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

/// The items of a comma-separated list: trimmed, empty ones dropped.
pub fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pods_own_word_wins_over_the_namespaces() {
        let mut annotations = Annotations::default();
        annotations.add(VNC_GEOMETRY.name, "800x600".into(), Origin::Pod);
        annotations.add(VNC_GEOMETRY.name, "640x480".into(), Origin::Namespace);
        annotations.add(VNC_RESIZE.name, " false ".into(), Origin::Namespace);
        assert_eq!(annotations.written(&VNC_GEOMETRY), Some("800x600"));
        assert_eq!(annotations.written(&VNC_RESIZE), Some("false"), "values are trimmed");
        assert_eq!(annotations.text(&VNC_CLIPBOARD), Some("both"), "the default holds when nobody wrote one");
    }

    #[test]
    fn an_unknown_key_under_our_prefix_names_the_nearest() {
        let mut annotations = Annotations::default();
        let warning = annotations.add("vnc.outrigger.dev/geometri", "1x1".into(), Origin::Pod).unwrap();
        assert!(warning.contains("did you mean vnc.outrigger.dev/geometry?"), "{warning}");
        let warning = annotations.add("vnc.outrigger.dev/zzzzzzzzzzzzzzzz", "1".into(), Origin::Pod).unwrap();
        assert!(warning.contains("outrigger explain"), "{warning}");
    }

    #[test]
    fn keys_of_others_are_none_of_our_business() {
        let mut annotations = Annotations::default();
        for name in ["example.com/inject", "notoutrigger.dev/inject", "inject", STATUS] {
            assert_eq!(annotations.add(name, "x".into(), Origin::Pod), None, "{name}");
        }
        assert_eq!(annotations.iter().count(), 0);
    }

    #[test]
    fn the_table_is_sound() {
        let mut names: Vec<_> = TABLE.iter().map(|key| key.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len(), "no key stands twice");
        for key in TABLE {
            assert!(is_ours(key.name), "{}", key.name);
            assert!(key.summary.ends_with('.') && !key.summary.contains('\n'), "{}: one sentence", key.name);
            if let Some(default) = key.default {
                assert_eq!(key.kind.check(default), Ok(()), "{}: the default is an allowed value", key.name);
            }
        }
    }
}
