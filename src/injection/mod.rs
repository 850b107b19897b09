//! injection.
