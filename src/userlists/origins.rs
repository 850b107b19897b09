//! Which Secret gave a user, as a list remembers it: so that nobody else takes the user over, and a Secret that says nothing any more costs
//! nobody their login.

use std::{collections::BTreeMap, fmt::Write};

use aws_lc_rs::digest::{SHA256, digest};

use super::{grammar::UserName, source::SourceSecret};

/// Bytes of a fingerprint. A list may have thousands of users, and all that is known of them shares a Secret; who made two names with one
/// fingerprint would only deceive themselves.
const FINGERPRINT: usize = 6;

/// Where a user comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// Whose user it is.
    pub(super) namespace: String,
    /// Of the Secret's name, in hexadecimal digits.
    fingerprint: String,
}

/// Where each user of a list comes from, and those who were removed came from.
pub(super) type Origins = BTreeMap<UserName, Origin>;

impl Origin {
    pub(super) fn of(secret: &SourceSecret) -> Self {
        let mut fingerprint = String::with_capacity(2 * FINGERPRINT);
        for byte in digest(&SHA256, secret.name.as_bytes()).as_ref().iter().take(FINGERPRINT) {
            // Writing to a text can't fail.
            let _ = write!(fingerprint, "{byte:02x}");
        }
        Self { namespace: secret.namespace.clone(), fingerprint }
    }

    /// Bytes that are written of it.
    pub(super) fn length(&self, own: &str) -> usize {
        2 * FINGERPRINT + 1 + if self.namespace == own { 0 } else { self.namespace.len() + 1 }
    }
}

/// A line for each of the names of a list, in its order: the names themselves are there.
pub(super) fn render(names: impl Iterator<Item = UserName>, origins: &Origins, own: &str) -> String {
    let mut text = String::new();
    for name in names {
        if let Some(Origin { namespace, fingerprint }) = origins.get(&name) {
            text.push_str(fingerprint);
            if namespace != own {
                text.push(' ');
                text.push_str(namespace);
            }
        }
        text.push('\n');
    }
    text
}

/// What was rendered of the names of a list. Nothing is known where the lines are not as many as they are.
pub(super) fn read(text: &str, names: impl ExactSizeIterator<Item = UserName>, own: &str) -> Origins {
    if text.lines().count() != names.len() {
        return Origins::new();
    }
    names.zip(text.lines()).filter_map(|(name, line)| Some((name, read_line(line, own)?))).collect()
}

fn read_line(line: &str, own: &str) -> Option<Origin> {
    let (fingerprint, namespace) = line.split_once(' ').unwrap_or((line, own));
    (!fingerprint.is_empty()).then(|| Origin { namespace: namespace.to_owned(), fingerprint: fingerprint.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(namespace: &str, name: &str) -> Origin {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Origin::of(&SourceSecret { namespace, name, created: None, shared_with: Vec::new(), users: Vec::new() })
    }

    #[test]
    fn what_is_rendered_is_read_again() {
        let users = ["a", "b", "c"].map(|name| UserName::new(name).unwrap());
        let [a, _, c] = &users;
        let origins = Origins::from([(a.clone(), origin("own", "of-a")), (c.clone(), origin("team", "of-c"))]);
        let text = render(users.iter().cloned(), &origins, "own");
        assert_eq!(read(&text, users.iter().cloned(), "own"), origins);
        let lengths: Vec<usize> = text.lines().map(|line| line.len() + 1).collect();
        assert_eq!(lengths, [origin("own", "of-a").length("own"), 1, origin("team", "of-c").length("own")]);
        assert_eq!(read(&text, users[..2].iter().cloned(), "own"), Origins::new(), "of other users nothing is known");
        assert_eq!(read("", [].into_iter(), "own"), Origins::new());
    }

    #[test]
    fn secrets_of_one_name_in_two_namespaces_differ() {
        assert_ne!(origin("a", "x"), origin("b", "x"));
        assert_ne!(origin("a", "x"), origin("a", "y"));
    }
}
