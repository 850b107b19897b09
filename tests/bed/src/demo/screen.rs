//! What the demo's audience sees: headings, commands, and differences in colour where colour is wanted.

use std::env;
use std::io::{self, IsTerminal, Stdout, Write};

/// The longest line of a difference that is shown whole, in characters; the record of an injection is one long line.
const SHOWN_WIDTH: usize = 140;

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

/// Standard output, with or without colour.
pub(super) struct Screen {
    output: Stdout,
    is_coloured: bool,
}

impl Screen {
    /// Colour only on a terminal that knows it, and not against the user's wish (<https://no-color.org>).
    pub(super) fn of_this_terminal() -> Self {
        let is_unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
        let output = io::stdout();
        Self { is_coloured: output.is_terminal() && !is_unwanted && !is_dumb, output }
    }

    pub(super) fn heading(&self, text: &str) -> io::Result<()> {
        self.line(&format!("\n{}", self.paint(BOLD, &format!("== {text}"))))
    }

    /// A command as the audience could type it.
    pub(super) fn command(&self, text: &str) -> io::Result<()> {
        self.line(&self.paint(BOLD, &format!("$ {text}")))
    }

    /// A line of a unified difference.
    pub(super) fn difference(&self, line: &str) -> io::Result<()> {
        let shown = shortened(line);
        let painted = match line.as_bytes() {
            [b'-', b'-', b'-', ..] | [b'+', b'+', b'+', ..] => self.paint(BOLD, &shown),
            [b'@', ..] => self.paint(CYAN, &shown),
            [b'+', ..] => self.paint(GREEN, &shown),
            [b'-', ..] => self.paint(RED, &shown),
            _ => shown,
        };
        self.line(&painted)
    }

    /// Text as it is.
    pub(super) fn line(&self, text: &str) -> io::Result<()> {
        let mut output = self.output.lock();
        writeln!(output, "{}", text.trim_end())?;
        output.flush()
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.is_coloured { format!("{style}{text}{PLAIN}") } else { text.to_owned() }
    }
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(SHOWN_WIDTH) {
        Some((end, _)) => format!("{} ...", line.get(..end).unwrap_or(line)),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_lines_are_shortened() {
        assert_eq!(shortened("+ short"), "+ short");
        let long = "é".repeat(SHOWN_WIDTH + 1);
        assert_eq!(shortened(&long), format!("{} ...", "é".repeat(SHOWN_WIDTH)));
    }

    #[test]
    fn without_colour_a_line_is_itself() {
        assert_eq!(Screen { output: io::stdout(), is_coloured: false }.paint(GREEN, "+ added"), "+ added");
        assert_eq!(Screen { output: io::stdout(), is_coloured: true }.paint(GREEN, "+ added"), "\x1b[32m+ added\x1b[0m");
    }
}
