//! What the programs of a desktop print, as lines of our log.

use std::collections::VecDeque;

/// Longer lines are cut there.
const LONGEST_LINE: usize = 1024;
/// How many lines tell why a program ended.
const LAST_LINES: usize = 6;

/// How loud a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Something is wrong.
    Warn,
    /// All else.
    Debug,
}

/// Makes lines of what comes in pieces, and remembers the last that were important; of those that were not, only while there are no others.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    last: VecDeque<(Level, String)>,
}

impl Lines {
    /// Takes the next piece, and gives the lines that are complete with it.
    pub(super) fn take(&mut self, piece: &[u8]) -> Vec<(Level, String)> {
        let mut lines = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.begun.len());
            self.begun.extend(part.iter().take(room));
            if part.ends_with(b"\n") {
                lines.extend(self.finish());
            }
        }
        lines
    }

    /// The line that was begun, if it says anything.
    fn finish(&mut self) -> Option<(Level, String)> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.begun)).trim().to_owned();
        if line.is_empty() {
            return None;
        }
        let line = (level(&line), line);
        self.remember(line.clone());
        Some(line)
    }

    fn remember(&mut self, line: (Level, String)) {
        self.last.push_back(line);
        if self.last.len() > LAST_LINES {
            let unimportant = self.last.iter().position(|(level, _)| *level == Level::Debug).unwrap_or_default();
            self.last.remove(unimportant);
        }
    }

    /// What was said last, on one line: what is wrong, or else anything.
    pub(super) fn last_words(&mut self) -> String {
        self.finish();
        let is_wrong = self.last.iter().any(|(level, _)| *level == Level::Warn);
        let words = self
            .last
            .iter()
            .filter(|(level, _)| !is_wrong || *level == Level::Warn)
            .map(|(_, line)| line.trim_start_matches("(EE)").trim());
        words.filter(|words| !words.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// X servers mark errors and warnings (Xorg(1), LOGGING); others use words.
fn level(line: &str) -> Level {
    const MARKS: [&str; 7] = ["(EE)", "Fatal", "fatal", "ERROR", "rror:", "annot", "failed"];
    // A message of each start, about what the server itself does.
    let is_usual = line.contains("mieq: warning") || line.contains("non TCP socket");
    if !is_usual && MARKS.iter().any(|mark| line.contains(mark)) { Level::Warn } else { Level::Debug }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pieces_become_lines_and_what_is_wrong_is_told_at_the_end() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"\nXvnc Tiger"), []);
        assert_eq!(lines.take(b"VNC 1.12.0\n\n vncext: run"), [(Level::Debug, "Xvnc TigerVNC 1.12.0".to_owned())]);
        assert_eq!(lines.last_words(), "Xvnc TigerVNC 1.12.0 vncext: run");
        let wrong = lines.take(b"(EE) \nFatal server error:\n(EE) Server is already active for display 99\n");
        assert!(wrong.iter().all(|(level, _)| *level == Level::Warn));
        for _ in 0..100 {
            lines.take(b"chatter\n");
        }
        assert_eq!(lines.last_words(), "Fatal server error: Server is already active for display 99");
    }

    proptest! {
        #[test]
        fn neither_lines_nor_what_is_remembered_grow_without_bound(pieces: Vec<Vec<u8>>, long in 0_usize..5000) {
            let mut lines = Lines::default();
            for piece in pieces.iter().chain([&vec![b'x'; long], &b"\n".to_vec()]) {
                for (_, line) in lines.take(piece) {
                    // What is no UTF-8 is replaced by characters of three bytes.
                    prop_assert!(!line.contains('\n') && line.len() <= 3 * LONGEST_LINE);
                }
                prop_assert!(lines.begun.len() <= LONGEST_LINE && lines.last.len() <= LAST_LINES);
            }
        }
    }
}
