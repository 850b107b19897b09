//! What a Secret says of users.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use crate::api::user_list::{NAMESPACES_ANNOTATION, SecretKeys};

use super::grammar::{self, Form, LineError, NameError, Password, PasswordError, UserName};

/// Which keys of a Secret are read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reading {
    /// One user; of each, the first key that is there counts.
    OneUser(SecretKeys),
    /// Lines as in `userlist.txt`.
    Lines { key: String },
}

/// A Secret that was found, as far as it matters.
#[derive(Debug, Clone)]
pub(super) struct SourceSecret {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) created: Option<Timestamp>,
    /// The other namespaces that may use it.
    pub(super) shared_with: Vec<String>,
    pub(super) users: Vec<Result<Credentials, Unusable>>,
}

/// A user, and what is known of their role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) name: UserName,
    pub(super) password: Password,
    pub(super) verifier: RoleVerifier,
}

/// What a Secret says of the verifier that its role has on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RoleVerifier {
    /// Nothing.
    Unknown,
    /// It is this one, if it fits the password.
    Given(Password),
}

/// A user who can't be in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unusable {
    /// Who, if their name at least can be read.
    pub(super) user: Option<UserName>,
    /// Why, in words that repeat nothing secret.
    pub(super) reason: String,
}

/// Why a Secret gives no user.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error("it has none of the keys {keys}: add one with the user's {what}")]
    Missing { keys: String, what: &'static str },
    #[error("its key {0} is no UTF-8 text: write it anew")]
    Encoding(String),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("line {number}: {error}")]
    Line { number: usize, error: LineError },
}

impl Reading {
    /// The keys of a selected Secret.
    pub(super) fn one_user(keys: &SecretKeys) -> Self {
        Self::OneUser(keys.clone())
    }

    /// What a Secret says.
    pub(super) fn read(&self, secret: &Secret) -> SourceSecret {
        let users = match self {
            Self::OneUser(keys) => vec![one_user(secret, keys)],
            Self::Lines { key } => lines(secret, key),
        };
        SourceSecret {
            namespace: secret.namespace().unwrap_or_default(),
            name: secret.name_any(),
            created: secret.metadata.creation_timestamp.as_ref().map(|time| time.0),
            shared_with: shared_with(secret),
            users,
        }
    }
}

impl From<SourceError> for Unusable {
    fn from(error: SourceError) -> Self {
        Self { user: None, reason: error.to_string() }
    }
}

fn shared_with(secret: &Secret) -> Vec<String> {
    let annotation = secret.annotations().get(NAMESPACES_ANNOTATION).map_or("", String::as_str);
    annotation.split(',').map(str::trim).filter(|namespace| !namespace.is_empty()).map(ToOwned::to_owned).collect()
}

fn one_user(secret: &Secret, keys: &SecretKeys) -> Result<Credentials, Unusable> {
    let name = text(secret, &keys.username, "name").and_then(|text| Ok(UserName::new(text)?));
    let name = name?;
    let password = text(secret, &keys.password, "password").and_then(|text| Ok(Password::new(text)?));
    match password {
        Ok(password) => Ok(Credentials { name, password, verifier: role_verifier(secret, &keys.verifier) }),
        Err(error) => Err(Unusable { user: Some(name), ..error.into() }),
    }
}

fn role_verifier(secret: &Secret, keys: &[String]) -> RoleVerifier {
    let given = text(secret, keys, "verifier").ok().and_then(|text| Password::new(text).ok());
    given.filter(|given| given.form() == Form::Scram).map_or(RoleVerifier::Unknown, RoleVerifier::Given)
}

fn lines(secret: &Secret, key: &String) -> Vec<Result<Credentials, Unusable>> {
    let line = |(number, line): (usize, Result<_, LineError>)| match line {
        Ok((name, password)) => Ok(Credentials { name, password, verifier: RoleVerifier::Unknown }),
        Err(error) => Err(SourceError::Line { number, error }.into()),
    };
    match bytes(secret, std::slice::from_ref(key), "lines") {
        Ok((_, bytes)) => grammar::read(bytes).map(line).collect(),
        Err(error) => vec![Err(error.into())],
    }
}

fn text<'a>(secret: &'a Secret, keys: &[String], what: &'static str) -> Result<&'a str, SourceError> {
    let (key, bytes) = bytes(secret, keys, what)?;
    std::str::from_utf8(bytes).map_err(|_| SourceError::Encoding(key.to_owned()))
}

/// The first of the keys that is there, and what it holds.
fn bytes<'a, 'b>(secret: &'a Secret, keys: &'b [String], what: &'static str) -> Result<(&'b str, &'a [u8]), SourceError> {
    let found = keys.iter().find_map(|key| Some((key.as_str(), secret.data.as_ref()?.get(key)?.0.as_slice())));
    found.ok_or_else(|| SourceError::Missing { keys: keys.join(", "), what })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use secrecy::ExposeSecret;

    use crate::postgres::scram::{Salt, Verifier};

    use super::*;

    fn secret(data: &[(&str, &[u8])]) -> Secret {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec()))).collect();
        Secret { data: Some(data), ..Secret::default() }
    }

    fn read(data: &[(&str, &[u8])]) -> Result<(String, String), (Option<String>, String)> {
        let users = Reading::one_user(&SecretKeys::default()).read(&secret(data)).users;
        let [user] = <[_; 1]>::try_from(users).unwrap();
        user.map(|user| (user.name.to_string(), user.password.expose_secret().to_owned()))
            .map_err(|unusable| (unusable.user.map(|name| name.to_string()), unusable.reason))
    }

    #[test]
    fn the_first_key_that_is_there_counts() {
        let alice = Ok(("alice".to_owned(), "secret".to_owned()));
        assert_eq!(read(&[("username", b"alice"), ("password", b"secret"), ("host", b"\xff")]), alice);
        assert_eq!(read(&[("user", b"alice"), ("password", b"secret")]), alice);
        assert_eq!(read(&[("user", b"bob"), ("username", b"alice"), ("password", b"secret")]), alice);
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_said_with_the_way_out_and_without_its_content() {
        for (data, user, part) in [
            (&[("password", &b"hush"[..])][..], None, "none of the keys username, user"),
            (&[("username", b"alice")], Some("alice"), "none of the keys password"),
            (&[("username", b"alice"), ("password", b"hush\n")], Some("alice"), "as printf does"),
            (&[("username", b"alice"), ("password", b"")], Some("alice"), "is empty"),
            (&[("username", b"alice"), ("password", b"hush\xff")], Some("alice"), "key password is no UTF-8"),
            (&[("username", b"alice\n"), ("password", b"hush")], None, "user name has a line break"),
        ] {
            let (name, reason) = read(data).unwrap_err();
            assert_eq!(name.as_deref(), user, "{reason}");
            assert!(reason.contains(part) && !reason.contains("hush"), "{reason}");
        }
    }

    #[test]
    fn a_bad_line_is_left_out_alone_and_named() {
        let secret = secret(&[("users", b"\"a\" \"1\"\nb hush\n\"c\" \"3\"\n")]);
        let users = Reading::Lines { key: "users".to_owned() }.read(&secret).users;
        assert_eq!(users.iter().filter(|user| user.is_ok()).count(), 2);
        let reason = &users[1].as_ref().unwrap_err().reason;
        assert!(reason.starts_with("line 2: ") && !reason.contains("hush"), "{reason}");
    }

    #[test]
    fn who_else_may_use_a_secret_is_written_on_it() {
        let mut secret = secret(&[]);
        secret.annotations_mut().insert(NAMESPACES_ANNOTATION.to_owned(), " pooler, ,other".to_owned());
        assert_eq!(shared_with(&secret), ["pooler", "other"]);
    }

    #[test]
    fn what_is_known_of_the_role_s_verifier_is_taken_along() {
        let verifier = Verifier::new("secret", Salt::random().unwrap()).as_str().to_owned();
        let of = |data: &[(&str, &[u8])]| {
            let secret = secret(&[&[("user", &b"alice"[..]), ("password", b"secret")], data].concat());
            Reading::one_user(&SecretKeys::default()).read(&secret).users.remove(0).unwrap().verifier
        };
        assert_eq!(of(&[("verifier", verifier.as_bytes())]), RoleVerifier::Given(Password::new(&verifier).unwrap()));
        assert_eq!(of(&[("verifier", b"md5 or so")]), RoleVerifier::Unknown);
        assert_eq!(of(&[]), RoleVerifier::Unknown);
    }
}
