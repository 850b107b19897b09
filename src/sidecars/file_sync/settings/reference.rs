//! The table as a page's section.

use std::fmt::Write;

use super::table::{TABLE, WITHOUT_EFFECT, kiwigrid_default};
use crate::sidecars::setting::Row;

/// The settings as a Markdown table.
#[must_use]
pub fn reference() -> String {
    let mut text = "| variable | default | values | meaning |\n|---|---|---|---|\n".to_owned();
    for row in TABLE {
        let also = row.also.map(|also| format!(", also `{also}`")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{}`{also} | {} | {} | {} |", row.name, default(row), row.values, row.meaning);
    }
    text.push_str(
        "\nThese variables of the predecessors change nothing; if one is set, the log says so.\n\n| variable | why |\n|---|---|\n",
    );
    for (name, why) in WITHOUT_EFFECT {
        let _ = writeln!(text, "| `{name}` | {why} |");
    }
    text
}

fn default(row: &Row) -> String {
    match (row.default, kiwigrid_default(row)) {
        (Some(default), Some(kiwigrid)) => format!("`{default}`; with `COMPAT=kiwigrid` `{kiwigrid}`"),
        (Some(default), None) => format!("`{default}`"),
        (None, _) => String::new(),
    }
}
