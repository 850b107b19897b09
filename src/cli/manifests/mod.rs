//! Manifests on disk: read as kubectl reads them, changed exactly, written so that nobody reads them differently.
//!
//! [`stream`] turns files, directories and standard input into [`stream::Document`]s. Each holds a [`Node`], a model of
//! JSON that keeps order and every digit. [`workload`] finds the pods in it, [`patch`] changes it, and [`json`] and
//! [`yaml_writer`] write it.

pub mod json;
pub mod node;
pub mod number;
pub mod patch;
pub mod pointer;
mod scalar;
pub mod stream;
pub mod syntax;
pub mod workload;
pub mod yaml_reader;
pub mod yaml_writer;

#[cfg(test)]
mod properties;

pub use node::Node;
pub use number::Number;
pub use pointer::Pointer;
