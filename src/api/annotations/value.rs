//! The values annotations may have, and the sentence that says so when one is wrong.

use crate::api::{duration, quantity::Quantity};

use super::{SidecarKind, items};

/// Which values a key allows. [`ValueKind::check`] is the one judge of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Sidecars by name, comma-separated, or `none`.
    Sidecars,
    /// Names of Kubernetes objects, comma-separated.
    Names,
    /// One name of a Kubernetes object.
    Name,
    /// Names of namespaces, comma-separated, or `ALL`.
    Namespaces,
    /// Names of containers, comma-separated.
    Containers,
    /// A Kubernetes quantity above zero.
    Quantity,
    /// A duration such as `90s`.
    Duration,
    /// A whole number within these bounds.
    Integer(i64, i64),
    /// Width and height in pixels.
    Geometry,
    /// An absolute path inside a container.
    Path,
    /// The key of a label.
    LabelKey,
    /// The value of a label.
    LabelValue,
    /// An `http` or `https` address.
    Url,
    /// Origins of pages, comma-separated: scheme, host and port.
    Origins,
    /// An image reference.
    Image,
    /// An X display on this pod, such as `:99`.
    Display,
    /// A file mode in octal, such as `0640`.
    FileMode,
    /// A host name or address.
    Host,
    /// Any text.
    Text,
}

/// Width and height of a desktop in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
}

impl Geometry {
    /// Sides a desktop may have: below, no window fits; above, X servers refuse.
    const SIDES: std::ops::RangeInclusive<u16> = 64..=16384;

    /// Reads `WIDTHxHEIGHT`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (width, height) = text.split_once('x')?;
        let side = |text: &str| digits(text).then(|| text.parse().ok()).flatten().filter(|side| Self::SIDES.contains(side));
        Some(Self { width: side(width)?, height: side(height)? })
    }
}

impl ValueKind {
    /// Whether a value is allowed; the error says what is.
    pub fn check(self, value: &str) -> Result<(), String> {
        if self.allows(value) { Ok(()) } else { Err(self.allowed()) }
    }

    fn allows(self, value: &str) -> bool {
        match self {
            Self::Boolean => matches!(value, "true" | "false"),
            Self::Word(words) => words.contains(&value),
            Self::Sidecars => value == "none" || every(value, |item| SidecarKind::ALL.iter().any(|sidecar| sidecar.as_str() == item)),
            Self::Names => every(value, is_object_name),
            Self::Name => is_object_name(value),
            Self::Namespaces => value == "ALL" || every(value, is_dns_label),
            Self::Containers => every(value, is_dns_label),
            Self::Quantity => value.parse::<Quantity>().is_ok_and(|quantity| !quantity.is_negative() && !quantity.is_zero()),
            Self::Duration => duration::parse(value).is_ok(),
            Self::Integer(low, high) => value.parse().is_ok_and(|number: i64| (low..=high).contains(&number)),
            Self::Geometry => Geometry::parse(value).is_some(),
            Self::Path => is_absolute_path(value),
            Self::LabelKey => is_label_key(value),
            Self::LabelValue => value.is_empty() || is_label_name(value),
            Self::Url => is_http_url(value),
            Self::Origins => every(value, is_origin),
            Self::Image => !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic()),
            Self::Display => value.strip_prefix(':').is_some_and(|number| digits(number) && number.parse::<u16>().is_ok_and(|n| n <= 999)),
            Self::FileMode => {
                (3..=4).contains(&value.len())
                    && value.bytes().all(|b| (b'0'..=b'7').contains(&b))
                    && value.len() - usize::from(value.starts_with('0')) <= 3
            }
            Self::Host => {
                !value.is_empty() && value.len() <= 253 && value.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c))
            }
            Self::Text => !value.contains('\0'),
        }
    }

    /// What is allowed, as it completes the sentence "… must be".
    #[must_use]
    pub fn allowed(self) -> String {
        match self {
            Self::Boolean => "true or false".to_owned(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Sidecars => {
                let names: Vec<_> = SidecarKind::ALL.iter().map(|sidecar| sidecar.as_str()).collect();
                format!("a comma-separated list of {}, or none", names.join(", "))
            }
            Self::Integer(low, high) => format!("a whole number from {low} to {high}"),
            Self::Geometry => {
                format!("WIDTHxHEIGHT in pixels, each from {} to {}, such as 1280x800", Geometry::SIDES.start(), Geometry::SIDES.end())
            }
            other => other.allowed_in_words().to_owned(),
        }
    }

    const fn allowed_in_words(self) -> &'static str {
        match self {
            Self::Names => "a comma-separated list of object names",
            Self::Name => "the name of an object",
            Self::Namespaces => "a comma-separated list of namespaces, or ALL",
            Self::Containers => "a comma-separated list of container names",
            Self::Quantity => "a Kubernetes quantity above zero, such as 500m or 256Mi",
            Self::Duration => "a duration, such as 90s, 15m or 1h30m",
            Self::Path => "an absolute path without `..`, such as /srv/files",
            Self::LabelKey => "a label key, such as app or example.com/files",
            Self::LabelValue => "a label value: at most 63 letters, digits, `-`, `_` or `.`",
            Self::Url => "an http:// or https:// address without user and password",
            Self::Origins => "a comma-separated list of origins of pages, such as https://desks.example.com or http://localhost:8080",
            Self::Image => "an image reference, such as registry.example.com/outrigger:1.0",
            Self::Display => "an X display on this pod, such as :99",
            Self::FileMode => "a file mode in octal, such as 0640",
            Self::Host => "a host name or address",
            _ => "text",
        }
    }

    /// The kind in one or two words, for tables.
    #[must_use]
    pub fn label(self) -> String {
        match self {
            Self::Boolean => "boolean".to_owned(),
            Self::Word(words) => words.join(", "),
            Self::Sidecars => "sidecars".to_owned(),
            Self::Names => "names".to_owned(),
            Self::Name => "name".to_owned(),
            Self::Namespaces => "namespaces".to_owned(),
            Self::Containers => "containers".to_owned(),
            Self::Quantity => "quantity".to_owned(),
            Self::Duration => "duration".to_owned(),
            Self::Integer(low, high) => format!("{low} to {high}"),
            Self::Geometry => "WIDTHxHEIGHT".to_owned(),
            Self::Path => "path".to_owned(),
            Self::LabelKey => "label key".to_owned(),
            Self::LabelValue => "label value".to_owned(),
            Self::Url => "URL".to_owned(),
            Self::Origins => "origins".to_owned(),
            Self::Image => "image".to_owned(),
            Self::Display => "display".to_owned(),
            Self::FileMode => "octal mode".to_owned(),
            Self::Host => "host".to_owned(),
            Self::Text => "text".to_owned(),
        }
    }
}

/// Whether a list has at least one item and each is good.
fn every(list: &str, good: impl Fn(&str) -> bool) -> bool {
    let mut items = items(list).peekable();
    items.peek().is_some() && items.all(good)
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// RFC 1123 label: what names containers and namespaces.
fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && is_dns_part(name)
}

/// RFC 1123 subdomain: what names most objects. Kubernetes bounds the whole, not its parts.
fn is_object_name(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_part)
}

/// Lower-case letters, digits and inner hyphens.
fn is_dns_part(name: &str) -> bool {
    let bytes = name.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// The name part of a label, by the Kubernetes documentation "Labels and Selectors".
fn is_label_name(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    name.len() <= 63 && edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => prefix.len() <= 253 && prefix.split('.').all(is_dns_label) && is_label_name(name),
        None => is_label_name(key),
    }
}

/// A path the kubelet accepts as a mount path and nobody can climb out of.
fn is_absolute_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() > 1
        && !path.contains(['\0', ':', '\n'])
        && path.split('/').all(|part| part != ".." && part != ".")
        && path.split('/').any(|part| !part.is_empty())
}

/// User and password belong into a Secret, so an address with an `@` before its path is refused.
fn is_http_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    !authority.is_empty() && !authority.contains('@') && url.chars().all(|c| !c.is_whitespace() && !c.is_control())
}

/// What browsers say in `Origin` (RFC 6454, section 6.2): no path, not even a slash.
fn is_origin(origin: &str) -> bool {
    is_http_url(origin) && origin.split_once("://").is_some_and(|(_, authority)| !authority.contains(['/', '?', '#', '*']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_and_bad_values_of_each_kind() {
        let table: &[(ValueKind, &[&str], &[&str])] = &[
            (ValueKind::Boolean, &["true", "false"], &["", "yes", "True", "1"]),
            (ValueKind::Word(&["in", "out"]), &["in"], &["", "IN", "both"]),
            (ValueKind::Sidecars, &["vnc", "vnc, file-sync", "none", "guacamole,"], &["", ",", "vnc,none", "VNC", "all"]),
            (ValueKind::Names, &["a", "a, b.c"], &["", "A", "a b", "a_b"]),
            (ValueKind::Name, &["db-secret"], &["", "a,b", "-a"]),
            (ValueKind::Namespaces, &["ALL", "a, b"], &["", "a.b", "*"]),
            (ValueKind::Containers, &["app", "app,worker"], &["", "a.b", &"a-very-long-name-".repeat(4)]),
            (ValueKind::Quantity, &["500m", "1Gi"], &["", "0", "-1", "1GB"]),
            (ValueKind::Duration, &["90s", "0"], &["", "90", "-1s", "1d"]),
            (ValueKind::Integer(1, 10), &["1", "10"], &["0", "11", "1.0", ""]),
            (ValueKind::Geometry, &["1280x800", "64x16384"], &["", "1280", "1280X800", "63x64", "+64x64", "64x16385", "1x2x3"]),
            (ValueKind::Path, &["/srv", "/a/b.", "/a/"], &["", "/", "//", "/.", "srv", "/a/../b", "/a:b"]),
            (ValueKind::LabelKey, &["app", "example.com/App_1"], &["", "/a", "a/", "-a", "a/b/c"]),
            (ValueKind::LabelValue, &["", "v1.0"], &["a b", "-a", &"a".repeat(64)]),
            (
                ValueKind::Url,
                &["http://localhost:8080/reload?x=1"],
                &["", "ftp://x", "http://", "http://user:password@host/", "http://a b"],
            ),
            (
                ValueKind::Origins,
                &["https://desks.example.com", "http://localhost:8080, http://[::1]"],
                &["", "desks.example.com", "https://a/", "https://*", "https://*.example.com", "https://", "ftp://a", "null"],
            ),
            (ValueKind::Image, &["localhost/outrigger:1", "auto"], &["", "a b"]),
            (ValueKind::Display, &[":0", ":99"], &["99", ":", ":1.0", "host:1", ":1000"]),
            (ValueKind::FileMode, &["0644", "400"], &["", "888", "4755", "07777", "rw"]),
            (ValueKind::Host, &["localhost", "10.0.0.1", "[::1]"], &["", "a b", "a/b"]),
            (ValueKind::Text, &["", "anything at all"], &["a\0b"]),
        ];
        for (kind, good, bad) in table {
            for value in *good {
                assert_eq!(kind.check(value), Ok(()), "{kind:?} allows {value:?}");
            }
            for value in *bad {
                assert_eq!(kind.check(value), Err(kind.allowed()), "{kind:?} refuses {value:?}");
            }
        }
    }
}
