//! Events on the owners of pods: `kubectl describe` tells them why their pods have no sidecars.
//!
//! Whoever has something to tell hands a [`note`] to a bounded queue and goes on. One task behind the queue ([`recorder`])
//! finds the top `owner`, and writes what the [`plan`] says is news; the rest is counted.

pub mod note;
mod owner;
pub mod plan;
pub mod recorder;
