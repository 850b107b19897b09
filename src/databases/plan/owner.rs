//! What is next for the role that is to own a database.

use crate::api::pg_database::AdoptionPolicy;

use super::{Action, Claimed, Refusal, Seen, Step, Wish, plan, step};

/// What is to be done so that the owner can own something.
pub(super) fn owner_steps(wish: &Wish, seen: &Seen) -> Result<Vec<Step>, Refusal> {
    let Some(owner) = &wish.spec.owner else { return Ok(Vec::new()) };
    let name = &owner.name;
    let Some(role) = seen.roles.get(name) else {
        if !owner.create {
            let message = format!("there is no role {name:?}; create it, or set owner.create: true");
            return Err(Refusal::new("OwnerMissing", message));
        }
        if !(seen.server.can_create_roles || seen.server.is_superuser) {
            let message = format!("the role {} may not create roles: ALTER ROLE … CREATEROLE, or create {name:?}", seen.server.user);
            return Err(Refusal::new("PermissionDenied", message));
        }
        return Ok(vec![step(Action::CreateOwner, "there is no such role")]);
    };
    let made = seen.owner_record.as_ref().filter(|made| made.oid == Some(role.oid));
    let record = made.filter(|made| made.holder.is(&wish.us));
    if role.is_superuser {
        let message = format!("the role {name:?} is a superuser, which owns nothing here; choose another owner");
        return Err(Refusal::new("OwnerRefused", message));
    }
    if owner.create && record.is_none() {
        if made.is_some() && seen.is_owner_holder_gone && wish.adoption >= AdoptionPolicy::IfUnclaimed {
            return Ok(vec![step(Action::AdoptOwner, "the object that it was created for is gone, and the policy is to take it over")]);
        }
        let holder = match made {
            Some(made) if seen.is_owner_holder_gone => {
                format!("was created for {}, which is gone: adoptionPolicy: IfUnclaimed takes it over", made.holder.described(&wish.us))
            }
            Some(made) => format!("was created for {}", made.holder.described(&wish.us)),
            None => "was not created here".to_owned(),
        };
        let message = format!("the role {name:?} {holder}; choose another owner, or set owner.create: false to use it as it is");
        return Err(Refusal::new("OwnerNotOurs", message));
    }
    let mut steps = Vec::new();
    if !role.is_ours_to_set {
        if record.is_none() {
            let user = &seen.server.user;
            let message = if seen.server.version_number >= 160_000 {
                format!("nothing can be given to the role {name:?}: GRANT it TO {user} WITH INHERIT TRUE, SET TRUE")
            } else {
                format!("nothing can be given to the role {name:?}: GRANT it TO {user}, who must have INHERIT")
            };
            return Err(Refusal::new("PermissionDenied", message));
        }
        steps.push(step(Action::JoinOwner, "only members of a role that inherit from it may give it something and change it"));
    }
    if let (Some(digest), Some(record)) = (&wish.digest, record)
        && record.digest.as_ref() != Some(digest)
    {
        steps.push(step(Action::SetPassword, "the Secret holds another password"));
    }
    Ok(steps)
}

/// Whether the owner's password is ours to set, and nothing is in the way of that: the Secret is written before the server is told, so a
/// password that the server won't get would lock everybody out.
#[must_use]
pub fn may_have_password(wish: &Wish, seen: &Seen) -> bool {
    if wish.spec.connection_secret.is_none() || !wish.spec.owner.as_ref().is_some_and(|owner| owner.create) {
        return false;
    }
    let plan = plan(wish, seen);
    let is_free = plan.refusal.is_none() && !matches!(plan.claimed, Claimed::Refused(_));
    // All but the password comes first: what fails leaves the old one.
    let comes_first = |step: &Step| !matches!(step.action, Action::CreateOwner | Action::SetPassword);
    is_free && owner_steps(wish, seen).is_ok_and(|steps| !steps.iter().any(comes_first))
}
