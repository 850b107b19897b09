//! What is known of each stream: whether it may be read, and which objects it showed.

use std::collections::BTreeSet;

use super::{advice, observe::Scope, plan::ObjectId};
use crate::runtime::readiness::{Gate, Readiness};

/// All streams of the sidecar.
pub(super) struct Streams(Vec<Stream>);

/// One stream.
pub(super) struct Stream {
    scope: Scope,
    gate: Gate,
    state: State,
    /// Whether a whole list was seen since it was last lost.
    was_listed: bool,
    members: BTreeSet<ObjectId>,
    /// What a list in progress has shown so far.
    listing: Option<BTreeSet<ObjectId>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Waiting,
    Listed,
    /// With what to do about it, and whether that was so for so long that its files are gone.
    Forbidden {
        advice: String,
        is_lost: bool,
    },
}

impl Streams {
    /// Streams of which nothing is known yet, each with a gate of its own.
    pub(super) fn new(scopes: Vec<Scope>, readiness: &Readiness) -> Self {
        let stream = |scope: Scope| {
            let gate = readiness.gate(scope.to_string());
            Stream { scope, gate, state: State::Waiting, was_listed: false, members: BTreeSet::new(), listing: None }
        };
        Self(scopes.into_iter().map(stream).collect())
    }

    /// The stream of a number.
    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut Stream> {
        self.0.get_mut(number)
    }

    /// Whether each was listed or is forbidden, and not all are.
    pub(super) fn are_settled(&self) -> bool {
        let is_any_listed = self.0.iter().any(|stream| stream.state == State::Listed);
        is_any_listed && self.0.iter().all(|stream| stream.state != State::Waiting)
    }

    /// How many are forbidden.
    pub(super) fn forbidden_count(&self) -> usize {
        self.0.iter().filter(|stream| matches!(stream.state, State::Forbidden { .. })).count()
    }

    /// Whether one is forbidden for a moment only, for all we know: what it showed may be wanted still.
    pub(super) fn may_return(&self) -> bool {
        self.0.iter().any(|stream| matches!(stream.state, State::Forbidden { is_lost: false, .. }))
    }

    /// What to do about it, if nothing at all may be read.
    pub(super) fn forbidden_everywhere(&self) -> Option<String> {
        let advice = self.0.iter().map(|stream| match &stream.state {
            State::Forbidden { advice, .. } => Some(format!("{}: {advice}", stream.scope)),
            _ => None,
        });
        advice.collect::<Option<Vec<_>>>().map(|advice| advice.join("\n"))
    }

    /// Says in the gates what is forbidden. One that is harms only itself, unless it is all there is.
    pub(super) fn show_forbidden(&self) {
        let is_everywhere = self.forbidden_everywhere().is_some();
        for stream in &self.0 {
            if let State::Forbidden { advice, .. } = &stream.state {
                if is_everywhere { stream.gate.close_with(advice.clone()) } else { stream.gate.open_with(advice.clone()) }
            }
        }
    }
}

impl Stream {
    /// What it is of.
    pub(super) const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// A list begins.
    pub(super) fn listing(&mut self) {
        self.listing = Some(BTreeSet::new());
    }

    /// An object is there.
    pub(super) fn shows(&mut self, id: &ObjectId) {
        if let Some(listing) = &mut self.listing {
            listing.insert(id.clone());
        }
        self.members.insert(id.clone());
    }

    /// An object is gone.
    pub(super) fn misses(&mut self, id: &ObjectId) {
        if let Some(listing) = &mut self.listing {
            listing.remove(id);
        }
        self.members.remove(id);
    }

    /// The list was whole. Returns the objects that it no longer showed.
    pub(super) fn listed(&mut self) -> Vec<ObjectId> {
        self.state = State::Listed;
        self.was_listed = true;
        self.gate.open();
        let listed = self.listing.take().unwrap_or_default();
        let before = std::mem::replace(&mut self.members, listed);
        tracing::info!(stream = %self.scope, objects = self.members.len(), "listed");
        before.difference(&self.members).cloned().collect()
    }

    /// It may not be read.
    pub(super) fn forbidden(&mut self, refusal: &str) {
        let advice = advice::forbidden(&self.scope, refusal);
        let is_lost = matches!(self.state, State::Forbidden { is_lost: true, .. });
        let before = std::mem::replace(&mut self.state, State::Forbidden { advice: advice.clone(), is_lost });
        if !matches!(before, State::Forbidden { .. }) {
            tracing::error!(stream = %self.scope, "{advice}");
        }
    }

    /// That was so for too long. Returns the objects that it showed, when that is said for the first time.
    pub(super) fn lost(&mut self) -> BTreeSet<ObjectId> {
        if let State::Forbidden { is_lost, .. } = &mut self.state
            && std::mem::replace(is_lost, true)
        {
            return BTreeSet::new();
        }
        tracing::warn!(stream = %self.scope, "forbidden for too long: its files are removed");
        (self.was_listed, self.listing) = (false, None);
        std::mem::take(&mut self.members)
    }

    /// The API server can't be asked.
    pub(super) fn failing(&self) {
        self.gate.close_with("the API server can't be asked: see the log");
    }

    /// It may be read, whatever was before: a watch goes on where it was, and what was lost is about to be listed.
    pub(super) fn answering(&mut self) {
        if let State::Forbidden { .. } = self.state {
            self.state = if self.was_listed { State::Listed } else { State::Waiting };
        }
        if self.state == State::Listed {
            self.gate.open();
        } else {
            self.gate.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecars::file_sync::plan::Kind;

    fn streams(readiness: &Readiness) -> Streams {
        let scope = |namespace: &str| Scope { kind: Kind::ConfigMap, namespace: Some(namespace.to_owned()), name: None, labels: None };
        Streams::new(vec![scope("a"), scope("b")], readiness)
    }

    fn id(name: &str) -> ObjectId {
        ObjectId { namespace: "a".to_owned(), kind: Kind::ConfigMap, name: name.to_owned() }
    }

    #[test]
    fn one_that_is_forbidden_harms_only_itself_unless_it_is_all_there_is() {
        let readiness = Readiness::default();
        let mut streams = streams(&readiness);
        streams.get_mut(0).unwrap().forbidden("no");
        streams.show_forbidden();
        assert!(!streams.are_settled() && streams.may_return() && streams.forbidden_everywhere().is_none());
        streams.get_mut(1).unwrap().forbidden("no");
        streams.show_forbidden();
        assert!(streams.forbidden_everywhere().unwrap().contains("kubectl create role"));
        assert!(!streams.are_settled() && !readiness.is_ready(), "there is nothing to mirror");
        streams.get_mut(1).unwrap().answering();
        streams.get_mut(1).unwrap().listed();
        streams.show_forbidden();
        assert!(streams.are_settled() && readiness.is_ready());
        assert_eq!(streams.forbidden_count(), 1);
    }

    #[test]
    fn a_list_tells_what_is_gone_and_half_a_list_tells_nothing() {
        let readiness = Readiness::default();
        let mut streams = streams(&readiness);
        let stream = streams.get_mut(0).unwrap();
        stream.listing();
        stream.shows(&id("x"));
        stream.shows(&id("y"));
        assert_eq!(stream.listed(), []);
        stream.listing();
        stream.shows(&id("z"));
        stream.listing();
        stream.shows(&id("x"));
        stream.misses(&id("x"));
        stream.shows(&id("y"));
        assert_eq!(stream.listed(), [id("z")], "x went by itself, and z came and went while nobody looked");
    }

    #[test]
    fn rights_that_come_back_in_time_lose_nothing_and_later_all_is_listed_again() {
        let readiness = Readiness::default();
        let mut streams = streams(&readiness);
        let stream = streams.get_mut(0).unwrap();
        stream.shows(&id("x"));
        stream.listing();
        stream.shows(&id("x"));
        stream.listed();
        stream.forbidden("no");
        stream.answering();
        assert_eq!(stream.state, State::Listed, "its watch goes on");
        stream.forbidden("no");
        assert_eq!(stream.lost(), BTreeSet::from([id("x")]));
        assert_eq!(stream.lost(), BTreeSet::new(), "that is known");
        stream.answering();
        assert_eq!(stream.state, State::Waiting, "for its list");
    }
}
