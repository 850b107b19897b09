//! What no file wants any more, and whether it may go.

use std::fmt;

use super::{Policy, matching::Matches};
use crate::sidecars::guacamole::{desired::Desired, model::Origin, observed};

/// More would be removed than one pass may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// How many connections no file wants.
    pub(crate) unwanted: usize,
    /// Of how many that are ours.
    pub(crate) ours: usize,
    /// How many percent may go at once.
    pub(crate) limit: u8,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unwanted, ours, limit } = self;
        write!(
            f,
            "no file wants {unwanted} of our {ours} connections any more, and at most {limit} % may be removed at once: nothing is removed; \
             if files or Secrets are missing, bring them back, else raise PRUNE_LIMIT (100 allows everything) until they are gone"
        )
    }
}

/// What goes: connections, by the one decision for all of them.
pub(super) fn removable<'a>(matches: &Matches<'a>, desired: &Desired, policy: &Policy) -> Result<Vec<&'a observed::Connection>, Refusal> {
    if !policy.prune {
        return Ok(Vec::new());
    }
    let is_unwanted = |(_, origin): &&(&observed::Connection, Origin)| !desired.may_want(origin);
    let unwanted: Vec<_> = matches.orphans.iter().filter(is_unwanted).map(|(connection, _)| *connection).collect();
    if unwanted.len() * 100 > matches.ours * usize::from(policy.prune_limit) {
        return Err(Refusal { unwanted: unwanted.len(), ours: matches.ours, limit: policy.prune_limit });
    }
    Ok(unwanted)
}
