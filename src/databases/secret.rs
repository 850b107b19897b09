//! The Secret that a database's users connect with: what is in it, and whether it is ours to write.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use aws_lc_rs::{digest::SHA256, error::Unspecified};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Resource, ResourceExt, core::ObjectMeta};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::{
    api::{
        duration,
        pg_database::{ConnectionSecret, PgDatabase},
        pg_server::PgServer,
    },
    postgres::scram::{Salt, Verifier},
};

use super::plan::RoleRecord;

/// The labels that the object asked for, with commas between, so that one that is taken away there is taken away here.
const LABELS: &str = "outrigger.dev/labels";
/// When the password was made.
const PASSWORD_SINCE: &str = "outrigger.dev/password-since";
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "outrigger");
/// As CloudNativePG has it, so that what selects theirs can select ours.
const TYPE: &str = "kubernetes.io/basic-auth";
/// The key of the role's SCRAM verifier, for poolers that need no more than that. Crunchy's operator has the same.
const VERIFIER: &str = "verifier";
/// Characters of a password that nobody types: 190 bits.
const PASSWORD_LENGTH: usize = 32;
const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// What is to be done about the Secret, with the verifier of its password.
pub(super) enum Decision {
    /// It is as it should be.
    Keep(Verifier),
    /// It is to be written so.
    Write(Box<Secret>, Verifier),
    /// It is somebody else's.
    Foreign,
}

/// What a new password is made of.
pub(super) struct Fresh {
    password: SecretString,
    salt: Salt,
}

impl Fresh {
    /// What nobody has seen.
    ///
    /// # Errors
    /// There are no random bytes.
    pub(super) fn random() -> Result<Self, Unspecified> {
        Ok(Self { password: new_password()?, salt: Salt::random()? })
    }
}

/// Whose Secret it is, and what for.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) object: &'a PgDatabase,
    pub(super) server: &'a PgServer,
    pub(super) secret: &'a ConnectionSecret,
    /// The role.
    pub(super) user: &'a str,
}

/// Decides about the Secret by what is there, and by what is kept of the role's verifier.
pub(super) fn decide(asked: Asked<'_>, found: Option<&Secret>, record: Option<&RoleRecord>, now: Timestamp, fresh: Fresh) -> Decision {
    if found.is_some_and(|found| !is_ours(found, asked.object)) {
        return Decision::Foreign;
    }
    let known = found.and_then(|found| Known::of(found, record, fresh.salt, now));
    let Known { password, verifier, since } = match known.filter(|known| !is_too_old(asked.secret, known.since, now)) {
        Some(known) => known,
        None => Known { verifier: Verifier::new(fresh.password.expose_secret(), fresh.salt), password: fresh.password, since: now },
    };
    let secret = secret(asked, &password, &verifier, since);
    if found.is_some_and(|found| is_as(found, &secret)) {
        return Decision::Keep(verifier);
    }
    Decision::Write(Box::new(secret), verifier)
}

/// A password with its verifier.
struct Known {
    password: SecretString,
    verifier: Verifier,
    /// Since when there is this password.
    since: Timestamp,
}

impl Known {
    /// What the Secret has, if that is a password. Whoever writes one by hand changes nothing else, and an editor or a shell may leave a line
    /// end behind it, which no list of users could hold.
    fn of(found: &Secret, record: Option<&RoleRecord>, fresh: Salt, now: Timestamp) -> Option<Self> {
        let password =
            text(found, "password").map(|text| text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty())?;
        let verifier = verifier(&password, Some(found), record, fresh);
        let is_written =
            text(found, VERIFIER).is_some_and(|written| written == verifier.as_str() || Verifier::from_text(&written, &password).is_some());
        let since = found.annotations().get(PASSWORD_SINCE).and_then(|since| since.parse().ok()).filter(|_| is_written).unwrap_or(now);
        Some(Self { password: SecretString::from(password), verifier, since })
    }
}

/// The verifier of a password: the one that was set, or that the Secret has, if it is this password's; or else one with a salt that nobody
/// has seen. It takes a millisecond, which is not worth a thread of its own.
fn verifier(password: &str, found: Option<&Secret>, record: Option<&RoleRecord>, fresh: Salt) -> Verifier {
    let set = record.and_then(|record| Some((Verifier::new(password, record.salt?), record.digest.as_ref()?)));
    let set = set.filter(|(verifier, known)| digest(verifier.as_str()) == **known).map(|(verifier, _)| verifier);
    let offered = || Verifier::from_text(&text(found?, VERIFIER)?, password);
    set.or_else(offered).unwrap_or_else(|| Verifier::new(password, fresh))
}

fn is_ours(secret: &Secret, object: &PgDatabase) -> bool {
    object.uid().is_some_and(|uid| secret.owner_references().iter().any(|owner| owner.uid == uid))
}

fn is_too_old(wanted: &ConnectionSecret, since: Timestamp, now: Timestamp) -> bool {
    let limit = wanted.rotate_after.as_deref().and_then(|text| duration::parse(text).ok());
    limit.is_some_and(|limit| Duration::try_from(now.duration_since(since)).is_ok_and(|age| age >= limit))
}

/// Whether all that we write is there. What others have added stays.
fn is_as(found: &Secret, wanted: &Secret) -> bool {
    fn holds<V: PartialEq>(found: Option<&BTreeMap<String, V>>, wanted: Option<&BTreeMap<String, V>>) -> bool {
        wanted.into_iter().flatten().all(|(key, value)| found.and_then(|found| found.get(key)) == Some(value))
    }
    let (is, should) = (&found.metadata, &wanted.metadata);
    holds(found.data.as_ref(), wanted.data.as_ref())
        && holds(is.labels.as_ref(), should.labels.as_ref())
        && holds(is.annotations.as_ref(), should.annotations.as_ref())
}

/// What makes the Secret that was found the wanted one, if nobody has changed it since: they may have written a password. What others have
/// added stays.
pub(super) fn patch(found: &Secret, wanted: &Secret) -> Value {
    let was_asked = found.annotations().get(LABELS).map(String::as_str).unwrap_or_default();
    let mut labels: BTreeMap<&str, Option<&str>> = was_asked.split(',').filter(|key| !key.is_empty()).map(|key| (key, None)).collect();
    labels.extend(wanted.labels().iter().map(|(key, value)| (key.as_str(), Some(value.as_str()))));
    let metadata = json!({"resourceVersion": found.resource_version(), "labels": labels, "annotations": wanted.metadata.annotations});
    json!({"metadata": metadata, "data": wanted.data})
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

/// The Secret as it should be: the keys are those of CloudNativePG's, and one more.
fn secret(asked: Asked<'_>, password: &SecretString, verifier: &Verifier, since: Timestamp) -> Secret {
    let Asked { object, server, secret: wanted, user } = asked;
    let host = wanted.host.as_ref().unwrap_or(&server.spec.host);
    let port = wanted.port.unwrap_or(server.spec.port);
    let (database, password) = (object.database(), password.expose_secret());
    let place = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let [in_user, in_password, in_database] = [user, password, database].map(percent_encoded);
    let [for_host, for_database, for_user, for_password] =
        [host.as_str(), database, user, password].map(|text| text.replace('\\', "\\\\").replace(':', "\\:"));
    let data = [
        ("username", user.to_owned()),
        ("user", user.to_owned()),
        ("password", password.to_owned()),
        ("host", host.clone()),
        ("port", port.to_string()),
        ("dbname", database.to_owned()),
        ("uri", format!("postgresql://{in_user}:{in_password}@{place}/{in_database}")),
        ("jdbc-uri", format!("jdbc:postgresql://{place}/{in_database}?password={in_password}&user={in_user}")),
        ("pgpass", format!("{for_host}:{port}:{for_database}:{for_user}:{for_password}\n")),
        (VERIFIER, verifier.as_str().to_owned()),
    ];
    let (managed_by, us) = MANAGED_BY;
    let asked = wanted.labels.keys().map(String::as_str).collect::<Vec<_>>().join(",");
    let mut labels = wanted.labels.clone();
    labels.insert(managed_by.to_owned(), us.to_owned());
    Secret {
        metadata: ObjectMeta {
            name: Some(wanted.name.clone()),
            namespace: object.namespace(),
            labels: Some(labels),
            annotations: Some([(PASSWORD_SINCE.to_owned(), since.to_string()), (LABELS.to_owned(), asked)].into()),
            owner_references: object.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes()))).collect()),
        ..Secret::default()
    }
}

/// As RFC 3986 has it for all but unreserved characters.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// What is kept of a verifier, to know whether it is the one that was set.
pub(super) fn digest(verifier: &str) -> String {
    aws_lc_rs::digest::digest(&SHA256, verifier.as_bytes()).as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A new password of letters and digits, which no place where passwords are put takes for anything else.
///
/// # Errors
/// There are no random bytes.
fn new_password() -> Result<SecretString, Unspecified> {
    let mut password = String::with_capacity(PASSWORD_LENGTH);
    while password.len() < PASSWORD_LENGTH {
        let mut random = [0; PASSWORD_LENGTH];
        aws_lc_rs::rand::fill(&mut random)?;
        // Six bits each; the two numbers of 64 that stand for no letter are passed over, so that all letters are as likely.
        let letters = random.iter().filter_map(|byte| LETTERS.get(usize::from(byte & 63)));
        password.extend(letters.map(|letter| char::from(*letter)).take(PASSWORD_LENGTH - password.len()));
    }
    Ok(SecretString::from(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> PgDatabase {
        serde_json::from_value(json!({
            "apiVersion": "outrigger.dev/v1alpha1", "kind": "PgDatabase", "metadata": {"name": "shop", "namespace": "team", "uid": "u"},
            "spec": {"server": "main", "name": "sh:op", "owner": {"name": "o\\w:ner", "create": true},
                "connectionSecret": {"name": "s", "rotateAfter": "1h", "labels": {"a": "b"}}},
        }))
        .unwrap()
    }

    fn server() -> PgServer {
        serde_json::from_value(json!({
            "apiVersion": "outrigger.dev/v1alpha1", "kind": "PgServer", "metadata": {"name": "main"},
            "spec": {"host": "fd00::1", "port": 5433, "credentials": {"name": "admin"}},
        }))
        .unwrap()
    }

    fn decision(found: Option<&Secret>, at: i64) -> Decision {
        let object = object();
        let wanted = object.spec.connection_secret.clone().unwrap();
        let now = Timestamp::from_second(at).unwrap();
        let fresh = Fresh { password: SecretString::from(format!("p@{at}")), salt: Salt::random().unwrap() };
        decide(Asked { object: &object, server: &server(), secret: &wanted, user: "o\\w:ner" }, found, None, now, fresh)
    }

    fn written(found: Option<&Secret>, at: i64) -> Secret {
        match decision(found, at) {
            Decision::Write(secret, _) => *secret,
            _ => panic!("it is to be written"),
        }
    }

    #[test]
    fn the_keys_are_those_of_cloudnativepg() {
        let secret = written(None, 0);
        let value = |key: &str| text(&secret, key).unwrap();
        assert_eq!(value("username"), "o\\w:ner");
        assert_eq!(value("user"), value("username"));
        assert_eq!(value("uri"), "postgresql://o%5Cw%3Aner:p%400@[fd00::1]:5433/sh%3Aop");
        assert_eq!(value("jdbc-uri"), "jdbc:postgresql://[fd00::1]:5433/sh%3Aop?password=p%400&user=o%5Cw%3Aner");
        assert_eq!(value("pgpass"), "fd00\\:\\:1:5433:sh\\:op:o\\\\w\\:ner:p@0\n");
        assert!(Verifier::from_text(&value("verifier"), "p@0").is_some());
        assert_eq!(secret.data.unwrap().len(), 10);
    }

    #[test]
    fn what_is_as_it_should_be_is_kept_until_its_time_comes() {
        let secret = written(None, 0);
        assert!(
            matches!(decision(Some(&secret), 3599), Decision::Keep(verifier) if verifier.as_str() == text(&secret, "verifier").unwrap())
        );
        assert_eq!(text(&written(Some(&secret), 3600), "password").unwrap(), "p@3600");
    }

    #[test]
    fn cnpg_9677_a_password_that_somebody_else_has_put_there_is_taken_and_others_keys_stay() {
        let mut secret = written(None, 0);
        let data = secret.data.as_mut().unwrap();
        data.insert("password".into(), ByteString(b"theirs".to_vec()));
        data.insert("extra".into(), ByteString(b"x".to_vec()));
        let rewritten = written(Some(&secret), 1);
        assert_eq!(text(&rewritten, "password").unwrap(), "theirs");
        assert!(text(&rewritten, "uri").unwrap().contains(":theirs@"));
    }

    #[test]
    fn a_password_that_is_written_by_hand_is_new_and_has_no_line_end() {
        let mut secret = written(None, 0);
        secret.data.as_mut().unwrap().insert("password".into(), ByteString(b"by hand\r\n".to_vec()));
        // It would be too old by now, were it the one that was there before.
        let rewritten = written(Some(&secret), 3600);
        assert_eq!(text(&rewritten, "password").unwrap(), "by hand");
        assert!(Verifier::from_text(&text(&rewritten, VERIFIER).unwrap(), "by hand").is_some());
        assert_eq!(rewritten.annotations()[PASSWORD_SINCE], Timestamp::from_second(3600).unwrap().to_string());
        assert!(matches!(decision(Some(&rewritten), 7199), Decision::Keep(_)));
        assert_eq!(text(&written(Some(&rewritten), 7200), "password").unwrap(), "p@7200");
        secret.data.as_mut().unwrap().insert("password".into(), ByteString(b"\n".to_vec()));
        assert_eq!(text(&written(Some(&secret), 1), "password").unwrap(), "p@1", "a line end is none");
    }

    #[test]
    fn what_somebody_writes_meanwhile_is_not_written_over() {
        let mut found = written(None, 0);
        found.metadata.resource_version = Some("7".into());
        assert_eq!(patch(&found, &written(Some(&found), 3600))["metadata"]["resourceVersion"], "7");
    }

    #[test]
    fn a_label_that_is_no_longer_asked_for_is_taken_away_and_others_stay() {
        let mut found = written(None, 0);
        found.metadata.labels.as_mut().unwrap().insert("theirs".into(), "x".into());
        let object = object();
        let mut wanted = object.spec.connection_secret.clone().unwrap();
        wanted.labels = [("c".to_owned(), "d".to_owned())].into();
        let (now, fresh) = (Timestamp::from_second(1).unwrap(), Fresh::random().unwrap());
        let decided =
            decide(Asked { object: &object, server: &server(), secret: &wanted, user: "o\\w:ner" }, Some(&found), None, now, fresh);
        let Decision::Write(secret, _) = decided else { panic!("it is to be written") };
        let labels = &patch(&found, &secret)["metadata"]["labels"];
        assert_eq!(*labels, json!({"a": null, "c": "d", "app.kubernetes.io/managed-by": "outrigger"}));
    }

    #[test]
    fn another_ones_secret_is_never_written() {
        let mut secret = written(None, 0);
        secret.metadata.owner_references = None;
        assert!(matches!(decision(Some(&secret), 1), Decision::Foreign));
    }

    #[test]
    fn an_unchanged_password_keeps_its_verifier_and_another_gets_another_salt() {
        let salt = || Salt::random().unwrap();
        let first = verifier("a", None, None, salt());
        let holder = crate::databases::plan::Holder::default();
        let record = RoleRecord { holder, oid: None, digest: Some(digest(first.as_str())), salt: Some(first.salt()) };
        assert_eq!(verifier("a", None, Some(&record), salt()).as_str(), first.as_str());
        assert_ne!(verifier("b", None, Some(&record), salt()).salt(), first.salt());
        let of_old = RoleRecord { salt: None, ..record };
        assert_ne!(verifier("a", None, Some(&of_old), salt()).salt(), first.salt());
        let secret = written(None, 0);
        let offered = text(&secret, "verifier").unwrap();
        assert_eq!(verifier("p@0", Some(&secret), None, salt()).as_str(), offered, "what is in the Secret and not set yet will be");
        assert_ne!(verifier("a", Some(&secret), None, salt()).as_str(), offered);
    }

    #[test]
    fn passwords_are_long_and_no_two_are_the_same() {
        let (one, other) = (new_password().unwrap(), new_password().unwrap());
        assert!(one.expose_secret().len() == PASSWORD_LENGTH && one.expose_secret().chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(one.expose_secret(), other.expose_secret());
    }
}
