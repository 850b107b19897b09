//! Where results and messages go: results to standard output, everything else to standard error.

use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::ColorChoice;
use clap::builder::styling::{AnsiColor, Effects, Style};

/// Added text, in a comparison.
pub(super) const ADDED: Style = AnsiColor::Green.on_default();
/// Removed text, in a comparison.
pub(super) const REMOVED: Style = AnsiColor::Red.on_default();
/// Where a hunk of a comparison stands.
pub(super) const PLACE: Style = AnsiColor::Cyan.on_default();
/// A heading.
pub(super) const HEADING: Style = Style::new().effects(Effects::BOLD);
/// An error.
pub(super) const ERROR: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
/// A warning.
pub(super) const WARNING: Style = AnsiColor::Yellow.on_default().effects(Effects::BOLD);

/// The two standard streams, each with or without colour.
#[derive(Debug)]
pub(super) struct Console {
    colours_results: bool,
    colours_messages: bool,
}

impl Console {
    /// A console that colours as the user wants. `auto` asks the streams, `TERM` and `NO_COLOR` (<https://no-color.org>).
    pub(super) fn new(choice: ColorChoice) -> Self {
        let coloured = |is_terminal: bool| match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => is_terminal && allows_colour(env::var_os("NO_COLOR"), env::var_os("TERM")),
        };
        Self { colours_results: coloured(io::stdout().is_terminal()), colours_messages: coloured(io::stderr().is_terminal()) }
    }

    /// A result's text in a style, if results are coloured.
    pub(super) fn styled(&self, style: Style, text: &str) -> String {
        paint(self.colours_results, style, text)
    }

    /// Says what went wrong.
    pub(super) fn error(&self, message: &str) {
        self.say("error", ERROR, message);
    }

    /// Says what is likely a mistake.
    pub(super) fn warning(&self, message: &str) {
        self.say("warning", WARNING, message);
    }

    /// Says what was assumed.
    pub(super) fn note(&self, message: &str) {
        self.say("note", HEADING, message);
    }

    fn say(&self, label: &str, style: Style, message: &str) {
        let label = paint(self.colours_messages, style, label);
        let written = writeln!(io::stderr().lock(), "{label}: {}", printable(message));
        // If nobody reads our messages, there is nobody left to tell.
        drop(written);
    }
}

/// Writes a result. A reader that has seen enough and closed the pipe (`| head`) is no error.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Whether the values of `NO_COLOR` and `TERM` allow colour.
fn allows_colour(no_color: Option<OsString>, terminal: Option<OsString>) -> bool {
    let is_refused = no_color.is_some_and(|value| !value.is_empty());
    let is_dumb = terminal.is_none_or(|terminal| terminal == "dumb");
    !is_refused && !is_dumb
}

fn paint(is_coloured: bool, style: Style, text: &str) -> String {
    if is_coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// The text without control characters, by which a manifest could play with its reader's terminal.
pub(super) fn printable(text: &str) -> String {
    let is_unsafe = |character: char| character.is_control() && character != '\n' && character != '\t';
    if !text.contains(is_unsafe) {
        return text.to_owned();
    }
    text.chars().flat_map(|character| if is_unsafe(character) { character.escape_default().collect() } else { vec![character] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n"), "a\\u{1b}[2Jb\\r\n");
        assert_eq!(printable("plain é"), "plain é");
    }

    #[test]
    fn the_environment_can_refuse_colour() {
        let allows = |no_color: Option<&str>, terminal: Option<&str>| allows_colour(no_color.map(Into::into), terminal.map(Into::into));
        assert!(allows(None, Some("xterm")));
        assert!(allows(Some(""), Some("xterm")), "an empty NO_COLOR counts as none");
        assert!(!allows(Some("1"), Some("xterm")));
        assert!(!allows(None, Some("dumb")));
        assert!(!allows(None, None));
    }

    #[test]
    fn the_user_has_the_last_word_on_colour() {
        assert!(Console::new(ColorChoice::Always).colours_results);
        let never = Console::new(ColorChoice::Never);
        assert_eq!(never.styled(ADDED, "text"), "text");
    }
}
