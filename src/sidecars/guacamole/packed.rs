//! Parameters, packed into one text for each connection: thousands of connections have them, most of them only to be compared.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret, SecretString};

use super::model::Digest;

/// The parameters of a connection or a sharing profile, sorted by name: names and values in turn, each with its length in bytes before it
/// (`4:port2:22`). Each value may be a secret.
#[derive(Clone, Default)]
pub(crate) struct Parameters(SecretString);

impl Parameters {
    /// Packs parameters, of which no two have one name.
    pub(crate) fn pack(mut parameters: Vec<(String, SecretString)>) -> Self {
        parameters.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let texts = || parameters.iter().flat_map(|(name, value)| [name.as_str(), value.expose_secret()]);
        // It never grows, which would leave a copy of what it holds behind.
        let mut packed = String::with_capacity(texts().map(packed_length).sum());
        for text in texts() {
            packed.push_str(&text.len().to_string());
            packed.push(':');
            packed.push_str(text);
        }
        Self(packed.into())
    }

    /// Names and values, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = self.0.expose_secret();
        std::iter::from_fn(move || Some((unpack_first(&mut rest)?, unpack_first(&mut rest)?)))
    }

    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The digest by which parameters of files and of the database are compared without moving them: `observe` has the database compute
    /// the same.
    pub(crate) fn digest(&self) -> Digest {
        digest(&SHA256, self.0.expose_secret().as_bytes()).as_ref().try_into().unwrap_or_default()
    }
}

fn packed_length(text: &str) -> usize {
    let digits = text.len().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + 1 + text.len()
}

fn unpack_first<'t>(rest: &mut &'t str) -> Option<&'t str> {
    let (length, text) = rest.split_once(':')?;
    let (first, behind) = text.split_at_checked(length.parse().ok()?)?;
    *rest = behind;
    Some(first)
}

impl PartialEq for Parameters {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pack(pairs: &[(&str, &str)]) -> Parameters {
        Parameters::pack(pairs.iter().map(|(name, value)| ((*name).to_owned(), SecretString::from(*value))).collect())
    }

    #[test]
    fn a_digest_tells_apart_what_differs() {
        let all = [pack(&[]), pack(&[("a", "b")]), pack(&[("a", "1:b"), ("c", "")]), pack(&[("a", "1:bc:0:")]), pack(&[("a:1", "b")])];
        for (index, one) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|other| one.digest() != other.digest() && one != other));
        }
    }

    #[test]
    fn nothing_that_prints_them_shows_a_value() {
        assert_eq!(format!("{:?}", pack(&[("password", "hunter2")])), r#"["password"]"#);
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_sorted(pairs in proptest::collection::btree_map(".{0,12}", ".{0,120}", 0..20)) {
            let packed = Parameters::pack(pairs.iter().rev().map(|(name, value)| (name.clone(), SecretString::from(value.as_str()))).collect());
            prop_assert!(packed.iter().eq(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))));
            for (name, value) in &pairs {
                prop_assert_eq!(packed.get(name), Some(value.as_str()));
            }
            prop_assert_eq!(packed.0.expose_secret().len(), pairs.iter().flat_map(|(name, value)| [name, value]).map(|text| packed_length(text)).sum::<usize>());
        }
    }
}
