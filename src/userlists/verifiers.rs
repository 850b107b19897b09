//! Puts verifiers into a plan where they are wished for. Each comparison takes a millisecond and more, so what came of it is remembered.

use std::collections::HashMap;

use crate::runtime::group;

use super::{
    grammar::{Password, UserName, Users},
    plan::{
        Plan,
        form::{self, Choice, Forms},
    },
    source::RoleVerifier,
};

/// What came of comparing passwords with verifiers.
#[derive(Debug, Default)]
pub(super) struct Verifiers(HashMap<UserName, Known>);

/// What was compared, and what came of it.
#[derive(Debug)]
struct Known {
    password: Password,
    role: RoleVerifier,
    before: Option<Password>,
    outcome: Result<Password, &'static str>,
}

/// Who stays in plain text although a verifier was wished for, and why.
pub(super) type InPlainText = Vec<(UserName, &'static str)>;

impl Verifiers {
    /// Gives each of the plan's users the form that their password is to be stored in.
    pub(super) async fn put_into(&mut self, plan: &mut Plan, forms: &Forms<'_>, before: &Users) -> InPlainText {
        let mut in_plain_text = Vec::new();
        for (name, role) in &plan.roles {
            let Some(password) = plan.users.get_mut(name) else { continue };
            match forms.choice(name, password) {
                Choice::AsGiven => {}
                Choice::Plain(why) => in_plain_text.push((name.clone(), why)),
                Choice::Verifier => match self.of(name, password, role, before.get(name)).await {
                    Ok(verifier) => *password = verifier,
                    Err(why) => in_plain_text.push((name.clone(), why)),
                },
            }
        }
        self.0.retain(|name, _| plan.roles.contains_key(name));
        in_plain_text
    }

    async fn of(
        &mut self,
        name: &UserName,
        password: &Password,
        role: &RoleVerifier,
        before: Option<&Password>,
    ) -> Result<Password, &'static str> {
        let is_known = |known: &&Known| {
            let is_ours = known.outcome.as_ref().ok() == before || known.before.as_ref() == before;
            known.password == *password && known.role == *role && is_ours
        };
        if let Some(known) = self.0.get(name).filter(is_known) {
            return known.outcome.clone();
        }
        let outcome = form::verifier(password, role, before);
        let known = Known { password: password.clone(), role: role.clone(), before: before.cloned(), outcome: outcome.clone() };
        self.0.insert(name.clone(), known);
        // Thousands of them must not hold up the other lists.
        group::let_others_go_on().await;
        outcome
    }
}
