//! The parts of expressions that have names of their own.

use super::{super::mesh, cel::Cel};

/// The pod's containers, of which there is always one.
pub(super) const APPS: &str = "object.spec.containers";
/// The pod's init containers.
pub(super) const INIT: &str = "variables.init";
/// Both, init containers first.
pub(super) const ALL: &str = "variables.all";
/// The names of containers that injectors write.
pub(super) const INJECTORS: &str = "variables.injectors";

/// One of the two lists of containers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Init,
    Apps,
}

/// Both lists, in the plan's order.
pub(super) const LISTS: [List; 2] = [List::Init, List::Apps];

impl List {
    /// Its name in `spec`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::Apps => "containers",
        }
    }

    /// The containers in it.
    pub(super) const fn containers(self) -> &'static str {
        match self {
            Self::Init => INIT,
            Self::Apps => APPS,
        }
    }
}

/// An expression that others use by its name.
pub(super) struct Variable {
    /// What follows `variables.` in them.
    pub(super) name: &'static str,
    /// The expression. It may use the variables before it.
    pub(super) expression: Cel,
}

impl Variable {
    /// A variable of our own words and of other expressions, as [`Cel::code`].
    pub(super) fn new(name: &'static str, code: impl Into<String>) -> Self {
        Self { name, expression: Cel::code(code) }
    }
}

/// The variables that both policies have.
pub(super) fn common() -> Vec<Variable> {
    vec![
        // The API server leaves out empty lists.
        Variable::new("init", "has(object.spec.initContainers) ? object.spec.initContainers : []"),
        Variable::new("all", format!("{INIT} + {APPS}")),
        Variable::new("injectors", Cel::texts(mesh::injected_names()).to_string()),
    ]
}
