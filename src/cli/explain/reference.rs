//! The table of all annotations, for a terminal.

use crate::api::annotations::{Key, TABLE};
use crate::cli::console::{Console, HEADING};

/// Each annotation with its values, its default and what it does.
pub(super) fn text(console: &Console) -> String {
    TABLE.iter().map(|key| entry(key, console)).collect::<Vec<_>>().join("\n")
}

fn entry(key: &Key, console: &Console) -> String {
    let default = key.default.map(|default| format!("; {default} unless written")).unwrap_or_default();
    format!("{}\n  {}{default}\n  {}\n", console.styled(HEADING, key.name), key.kind.allowed(), key.summary)
}
