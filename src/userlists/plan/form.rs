//! In which form a password is stored, by what `PgBouncer` can do with each: pure.
//!
//! `PgBouncer` can tell by a SCRAM verifier whether a client knows the password. It signs in to a server with one only if the client has
//! proved it by SCRAM, if the server's role has the very same verifier (salt and iterations, too), and as the client's own user. An md5 hash
//! does for clients that prove it by MD5 or in clear. So plain text is what always works, and a verifier is only written where it does, too.

use std::collections::BTreeSet;

use crate::{
    api::user_list::{AuthType, StoredForm, UserListSpec},
    userlists::{
        grammar::{Form, Password, UserName},
        source::RoleVerifier,
    },
};

/// What decides about forms in a list.
#[derive(Debug, Clone, Default)]
pub(in crate::userlists) struct Forms<'a> {
    stored: StoredForm,
    auth_type: Option<AuthType>,
    /// As whom somebody signs in by the list's password alone: `PgBouncer` to its servers, or we to its console.
    forced: BTreeSet<&'a str>,
}

/// In which form a password is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::userlists) enum Choice {
    /// As it is, and there is nothing to say of it.
    AsGiven,
    /// As it is, although a verifier was wished for, for this reason.
    Plain(&'static str),
    /// As the role's verifier, if one can be had.
    Verifier,
}

/// Of whose verifier nothing is known.
pub(in crate::userlists) const UNKNOWN: &str =
    "the verifier of its role is not known: add it to the Secret under the key verifier, as pg_authid has it";
/// Whose verifier is another password's.
pub(in crate::userlists) const MISFIT: &str = "the Secret's verifier is not one of its password: renew it as pg_authid has it";
const AUTH_TYPE: &str = "with this authType clients do not prove themselves by SCRAM, without which a verifier signs in to no server";

impl<'a> Forms<'a> {
    pub(in crate::userlists) fn new(spec: &'a UserListSpec) -> Self {
        let admin = spec.admin.as_ref().map(|admin| admin.user.as_str());
        let forced = spec.forced_users.iter().map(String::as_str).chain(admin).collect();
        Self { stored: spec.stored_form, auth_type: spec.auth_type, forced }
    }

    /// Why a user's password can't be used at all.
    pub(super) fn refusal(&self, name: &UserName, password: &Password) -> Option<&'static str> {
        let form = password.form();
        if form != Form::Plain && self.forced.contains(name.as_str()) {
            return Some(
                "its password is a hash, and PgBouncer or the console is signed in to with the password itself (forcedUsers, admin.user): \
                 write that",
            );
        }
        (form == Form::Md5 && self.auth_type == Some(AuthType::ScramSha256)).then_some(
            "its password is an md5 hash, by which nobody signs in with scram-sha-256: write the password or its SCRAM verifier, or set \
             authType: md5 with PgBouncer's auth_type",
        )
    }

    /// In which form the password is stored of a user who isn't refused.
    pub(in crate::userlists) fn choice(&self, name: &UserName, password: &Password) -> Choice {
        if self.stored == StoredForm::AsGiven || password.form() != Form::Plain || self.forced.contains(name.as_str()) {
            return Choice::AsGiven;
        }
        match self.auth_type {
            None | Some(AuthType::ScramSha256 | AuthType::Md5) => Choice::Verifier,
            Some(AuthType::Any | AuthType::Cert | AuthType::Hba | AuthType::Pam | AuthType::Plain | AuthType::Trust) => {
                Choice::Plain(AUTH_TYPE)
            }
        }
    }
}

/// The verifier that may be stored instead of a password, whether or not it fits.
pub(super) fn candidate<'a>(role: &'a RoleVerifier, before: Option<&'a Password>) -> Option<&'a Password> {
    match role {
        RoleVerifier::Given(given) => Some(given),
        RoleVerifier::Unknown => before.filter(|before| before.form() == Form::Scram),
    }
}

/// Which verifier is the role's: that of the Secret, as that of a `PgDatabase` has it, else the one that the list has already. A password
/// that has not changed keeps its verifier, so nothing is ever salted anew.
///
/// # Errors
/// None is known, for this reason.
pub(in crate::userlists) fn verifier(
    password: &Password,
    role: &RoleVerifier,
    before: Option<&Password>,
) -> Result<Password, &'static str> {
    let why_not = if matches!(role, RoleVerifier::Given(_)) { MISFIT } else { UNKNOWN };
    let fits = |verifier: &&Password| verifier.form() == Form::Scram && verifier.is_verifier_of(password);
    candidate(role, before).filter(fits).cloned().ok_or(why_not)
}

#[cfg(test)]
mod tests {
    use crate::postgres::scram::{Salt, Verifier};

    use super::*;

    fn scram(password: &str) -> String {
        Verifier::new(password, Salt::random().unwrap()).as_str().to_owned()
    }

    fn name(text: &str) -> UserName {
        UserName::new(text).unwrap()
    }

    fn password(text: &str) -> Password {
        Password::new(text).unwrap()
    }

    fn forms(stored: StoredForm, auth_type: Option<AuthType>) -> Forms<'static> {
        Forms { stored, auth_type, forced: BTreeSet::from(["pool"]) }
    }

    const AUTH_TYPES: [Option<AuthType>; 9] = [
        None,
        Some(AuthType::Any),
        Some(AuthType::Cert),
        Some(AuthType::Hba),
        Some(AuthType::Md5),
        Some(AuthType::Pam),
        Some(AuthType::Plain),
        Some(AuthType::ScramSha256),
        Some(AuthType::Trust),
    ];

    #[test]
    fn a_verifier_is_chosen_only_where_clients_prove_themselves_by_scram() {
        for auth_type in AUTH_TYPES {
            let scram = matches!(auth_type, None | Some(AuthType::Md5 | AuthType::ScramSha256));
            let chosen = forms(StoredForm::Verifier, auth_type).choice(&name("app"), &password("secret"));
            assert_eq!(chosen == Choice::Verifier, scram, "{auth_type:?}");
            assert_eq!(matches!(chosen, Choice::Plain(_)), !scram, "{auth_type:?} is said");
            assert_eq!(forms(StoredForm::AsGiven, auth_type).choice(&name("app"), &password("secret")), Choice::AsGiven);
        }
    }

    #[test]
    fn as_whom_pgbouncer_signs_in_by_itself_stays_in_plain_text_and_may_not_come_as_a_hash() {
        let (md5, verifier) = (format!("md5{}", "0".repeat(32)), scram("secret"));
        for (stored, auth_type) in [(StoredForm::AsGiven, None), (StoredForm::Verifier, Some(AuthType::ScramSha256))] {
            let forms = forms(stored, auth_type);
            assert_eq!(forms.choice(&name("pool"), &password("secret")), Choice::AsGiven);
            assert_eq!(forms.refusal(&name("pool"), &password("secret")), None);
            for hash in [&md5, &verifier] {
                assert!(forms.refusal(&name("pool"), &password(hash)).unwrap().contains("forcedUsers"));
            }
        }
    }

    #[test]
    fn a_hash_is_taken_as_it_is_wherever_it_can_sign_in() {
        let (md5, verifier) = (password(&format!("md5{}", "0".repeat(32))), password(&scram("secret")));
        for auth_type in AUTH_TYPES {
            let forms = forms(StoredForm::Verifier, auth_type);
            assert_eq!(forms.refusal(&name("app"), &md5).is_some(), auth_type == Some(AuthType::ScramSha256), "{auth_type:?}");
            assert_eq!(forms.refusal(&name("app"), &verifier), None, "{auth_type:?}");
            assert_eq!(forms.choice(&name("app"), &verifier), Choice::AsGiven, "{auth_type:?}");
        }
    }

    #[test]
    fn pgbouncer_t33_a_password_that_has_not_changed_keeps_its_verifier() {
        let secret = password("secret");
        let salted = password(&scram("secret"));
        assert_eq!(verifier(&secret, &RoleVerifier::Unknown, Some(&salted)), Ok(salted.clone()));
        assert_eq!(verifier(&secret, &RoleVerifier::Given(salted.clone()), None), Ok(salted.clone()));
        let renewed = password(&scram("secret"));
        assert_eq!(verifier(&secret, &RoleVerifier::Given(renewed.clone()), Some(&salted)), Ok(renewed), "the role's counts first");
    }

    #[test]
    fn a_verifier_of_another_password_is_never_written() {
        let changed = password("changed");
        let old = password(&scram("secret"));
        assert_eq!(verifier(&changed, &RoleVerifier::Unknown, Some(&old)), Err(UNKNOWN));
        assert_eq!(verifier(&changed, &RoleVerifier::Given(old), None), Err(MISFIT));
        assert_eq!(verifier(&changed, &RoleVerifier::Unknown, Some(&password("changed"))), Err(UNKNOWN), "plain text is none");
    }
}
