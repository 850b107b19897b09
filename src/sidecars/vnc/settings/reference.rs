//! The table as a page's section.

use std::fmt::Write;

use super::table::{TABLE, WITHOUT_EFFECT};

/// The settings as a Markdown table.
#[must_use]
pub fn reference() -> String {
    let mut text = "| variable | flag | default | values | meaning |\n|---|---|---|---|---|\n".to_owned();
    for row in TABLE {
        let also = row.also.map(|also| format!(", also `{also}`")).unwrap_or_default();
        let default = row.default.map(|default| format!("`{default}`")).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{}`{also} | `--{}` | {default} | {} | {} |", row.name, row.flag(), row.values, row.meaning);
    }
    for (name, why) in WITHOUT_EFFECT {
        let _ = writeln!(text, "\n`{name}` changes nothing: {why}. If it is set, the log says so.");
    }
    text
}
