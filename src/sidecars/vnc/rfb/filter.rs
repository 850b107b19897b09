//! Lets through what a viewer may send, message by message, whatever pieces its bytes come in.
//!
//! No message is collected: the beginning by which it is judged is at most 73 bytes, and what follows streams through or is dropped.

use std::ops::Range;

use super::{
    NO_SECURITY, VERSION,
    message::{self, EXTENDED_MOUSE_BUTTONS, LONGEST_HEAD, MORE_BUTTONS, Message, Unreadable},
    policy::Policy,
    pressed::{Pressed, Release},
};
use crate::sidecars::vnc::{
    gather::join,
    websocket::close::{Close, CloseCode},
};

/// The most bytes that may be left undecided.
pub const MOST_UNDECIDED: usize = LONGEST_HEAD - 1;

/// Other viewers stay.
const SHARED: u8 = 1;
/// An encoding that nobody knows.
const NO_ENCODING: i32 = i32::MIN;

/// Why a viewer can't be understood, or must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Another version, or another protocol.
    #[error("the viewer says \"{0}\" instead of RFB 003.008")]
    Version(String),
    /// The viewer chose what needs a password.
    #[error("the viewer chose security type {0} instead of 1 (None)")]
    Security(u8),
    /// The end of a message can't be found.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Half of it was passed on; the rest may not be.
    #[error("{0} was cut off in its middle: the viewer may not send it any more")]
    Withdrawn(&'static str),
}

impl From<Fault> for Close {
    fn from(fault: Fault) -> Self {
        Self::new(CloseCode::PolicyViolation, fault.to_string())
    }
}

/// What became of some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// Where those stand that the desktop gets.
    pub passed: Range<usize>,
    /// How many at the end were not judged: they come again, in front of those that follow.
    pub undecided: usize,
    /// What they meant.
    pub tally: Tally,
}

/// Counts of messages.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// All that began.
    pub messages: u32,
    /// Keys and pointer events that reach the desktop.
    pub inputs: u32,
    /// Messages that the policy keeps from the desktop.
    pub dropped: Dropped,
}

/// Messages that don't reach the desktop.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Keys, pointer events, other devices.
    pub input: u32,
    /// Clipboard texts and talk about them.
    pub clipboard: u32,
    /// Other sizes of the desktop.
    pub resize: u32,
    /// Shutting it down.
    pub power: u32,
}

/// One viewer's way through the protocol.
#[derive(Debug)]
pub struct Filter {
    /// Whether the desktop knows extended mouse buttons.
    desktop_knows_more_buttons: bool,
    /// Whether this viewer has said that it knows them, too.
    more_buttons: bool,
    stage: Stage,
    pressed: Pressed,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Version,
    Security,
    Init,
    Message,
    /// The rest of a message.
    Body {
        of: Message,
        left: u64,
        passes: bool,
    },
    /// The list of encodings, of which one matters to us.
    Encodings {
        left: u16,
        more_buttons: bool,
    },
}

/// What is next: so many bytes, and whether the desktop gets them.
struct Step {
    length: usize,
    passes: bool,
}

impl Filter {
    /// The filter of a viewer who has not said anything. `desktop_knows_more_buttons`: `Xtigervnc` does from 1.15 on. Both sides
    /// must agree on it, or they would read pointer events in different ways.
    #[must_use]
    pub fn new(desktop_knows_more_buttons: bool) -> Self {
        Self { desktop_knows_more_buttons, more_buttons: false, stage: Stage::Version, pressed: Pressed::default() }
    }

    /// The filter of a viewer with whom version and security are settled.
    #[must_use]
    pub fn after_security(desktop_knows_more_buttons: bool) -> Self {
        Self { stage: Stage::Init, ..Self::new(desktop_knows_more_buttons) }
    }

    /// Whether the viewer has said all that comes before the first message.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Version | Stage::Security | Stage::Init)
    }

    /// Judges the next bytes; what passes is brought together in place.
    ///
    /// # Errors
    /// Nothing that the viewer says from here on can be understood, or may be passed on.
    pub fn filter(&mut self, bytes: &mut [u8], policy: &Policy) -> Result<Filtered, Fault> {
        let (mut passed, mut at, mut tally) = (0..0, 0, Tally::default());
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let Some(Step { length, passes }) = self.step(rest, policy, &mut tally)? else { break };
            if passes {
                passed = join(bytes, passed, at..at + length);
            }
            at += length;
        }
        Ok(Filtered { passed, undecided: bytes.len() - at, tally })
    }

    /// Judges as much as can be judged at once; `None` if that needs more bytes.
    fn step(&mut self, bytes: &mut [u8], policy: &Policy, tally: &mut Tally) -> Result<Option<Step>, Fault> {
        let passes = |length| Ok(Some(Step { length, passes: true }));
        match self.stage {
            Stage::Version => {
                let Some(version) = bytes.first_chunk::<{ VERSION.len() }>() else { return Ok(None) };
                if version != VERSION {
                    return Err(Fault::Version(version.escape_ascii().to_string()));
                }
                self.stage = Stage::Security;
                passes(VERSION.len())
            }
            Stage::Security => {
                if let Some(other) = bytes.first().filter(|chosen| **chosen != NO_SECURITY) {
                    return Err(Fault::Security(*other));
                }
                self.stage = Stage::Init;
                passes(1)
            }
            Stage::Init => {
                if let Some(shared) = bytes.first_mut() {
                    *shared = SHARED;
                }
                self.stage = Stage::Message;
                passes(1)
            }
            Stage::Message => self.begin(bytes, policy, tally),
            Stage::Body { of, left, passes } => self.go_on(bytes.len(), of, left, passes, policy).map(Some),
            Stage::Encodings { left, more_buttons } => Ok(self.encodings(bytes, left, more_buttons)),
        }
    }

    fn begin(&mut self, bytes: &mut [u8], policy: &Policy, tally: &mut Tally) -> Result<Option<Step>, Fault> {
        let Some(message::Head { message, length, body }) = message::read(bytes, self.more_buttons)? else { return Ok(None) };
        tally.messages = tally.messages.saturating_add(1);
        self.stage = match message {
            Message::SetEncodings { count: 0 } => {
                self.more_buttons = false;
                Stage::Message
            }
            Message::SetEncodings { count } => Stage::Encodings { left: count, more_buttons: false },
            _ if body == 0 => Stage::Message,
            _ => Stage::Body { of: message, left: body, passes: policy.allows(&message) },
        };
        if policy.allows(&message) || self.pressed.releases_key(&message) {
            self.pressed.pass(&message);
            tally.inputs += u32::from(matches!(message, Message::Key { .. } | Message::Pointer { .. }));
            return Ok(Some(Step { length, passes: true }));
        }
        tally.dropped.count(&message);
        let release = self.pressed.release(&message);
        if let Some(release) = release {
            self.pressed.pass(&release.into());
            release.write(bytes, length);
        }
        Ok(Some(Step { length, passes: release.is_some() }))
    }

    fn go_on(&mut self, available: usize, of: Message, left: u64, passes: bool, policy: &Policy) -> Result<Step, Fault> {
        if passes && !policy.allows(&of) {
            return Err(Fault::Withdrawn(of.name()));
        }
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        let left = left - length as u64;
        self.stage = if left == 0 { Stage::Message } else { Stage::Body { of, left, passes } };
        Ok(Step { length, passes })
    }

    /// Reads as many encodings as are there. A desktop that does not know extended mouse buttons is not told of them.
    fn encodings(&mut self, bytes: &mut [u8], left: u16, mut more_buttons: bool) -> Option<Step> {
        let (encodings, _) = bytes.as_chunks_mut::<4>();
        let count = encodings.len().min(left.into());
        if count == 0 {
            return None;
        }
        for encoding in encodings.iter_mut().take(count) {
            if i32::from_be_bytes(*encoding) == EXTENDED_MOUSE_BUTTONS {
                more_buttons = self.desktop_knows_more_buttons;
                if !more_buttons {
                    *encoding = NO_ENCODING.to_be_bytes();
                }
            }
        }
        let left = left.saturating_sub(u16::try_from(count).unwrap_or(left));
        if left == 0 {
            self.more_buttons = more_buttons;
            self.stage = Stage::Message;
        } else {
            self.stage = Stage::Encodings { left, more_buttons };
        }
        Some(Step { length: count * 4, passes: true })
    }
}

impl From<Release> for Message {
    fn from(Release { buttons, x, y }: Release) -> Self {
        Self::Pointer { buttons, x, y }
    }
}

impl Release {
    /// Writes itself over the pointer message that stands there.
    fn write(self, bytes: &mut [u8], length: usize) {
        let has_more = length > 6;
        let [more, first] = if has_more { (self.buttons << 1).to_be_bytes() } else { self.buttons.to_be_bytes() };
        let first = if has_more { (first >> 1) | MORE_BUTTONS } else { first };
        let ([x1, x2], [y1, y2]) = (self.x.to_be_bytes(), self.y.to_be_bytes());
        for (to, from) in bytes.iter_mut().take(length).skip(1).zip([first, x1, x2, y1, y2, more]) {
            *to = from;
        }
    }
}

impl Dropped {
    const fn count(&mut self, message: &Message) {
        let count = match message {
            Message::CutText { .. } | Message::ExtendedClipboard { .. } => &mut self.clipboard,
            Message::Resize { .. } => &mut self.resize,
            Message::Power => &mut self.power,
            _ => &mut self.input,
        };
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests;
