//! What a viewer may do to a desktop.

use super::message::{ClipboardAction, Message};

/// What a viewer may do. It is asked before each message, so a change is in force at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether keys and pointer reach the desktop.
    pub input: bool,
    /// The longest clipboard text into the desktop, in bytes as it is sent; none may pass where this is `None`. What a compressed text
    /// becomes is bounded by the X server (`-MaxCutText` of `Xtigervnc`).
    pub clipboard: Option<u32>,
    /// To which sizes the desktop may be brought, if to any.
    pub resize: Option<Bounds>,
    /// Whether the desktop may be shut down or reset (the extension xvp).
    pub power: bool,
}

/// Sizes of a desktop in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The smallest width and height.
    pub least: (u16, u16),
    /// The greatest width and height.
    pub most: (u16, u16),
}

impl Bounds {
    const fn contain(self, width: u16, height: u16) -> bool {
        self.least.0 <= width && width <= self.most.0 && self.least.1 <= height && height <= self.most.1
    }
}

impl Default for Bounds {
    /// Any size that a browser's window may have, up to the 8K that X servers take.
    fn default() -> Self {
        Self { least: (160, 120), most: (7680, 4320) }
    }
}

impl Policy {
    /// Whoever may only look.
    pub const VIEW_ONLY: Self = Self { input: false, clipboard: None, resize: None, power: false };

    /// What a viewer may usually do.
    #[must_use]
    pub fn control() -> Self {
        Self { input: true, clipboard: Some(256 * 1024), resize: Some(Bounds::default()), power: false }
    }

    /// Whether all of this message may reach the desktop.
    #[must_use]
    pub fn allows(&self, message: &Message) -> bool {
        match *message {
            Message::SetPixelFormat
            | Message::SetEncodings { .. }
            | Message::UpdateRequest
            | Message::ContinuousUpdates
            | Message::Fence => true,
            Message::Key { .. } | Message::Pointer { .. } => self.input,
            // Other devices would be a way around what is known of keys and pointer, and TigerVNC ends the connection for them.
            Message::Gii { .. } => false,
            Message::CutText { length } => self.clipboard.is_some_and(|most| length <= most),
            Message::ExtendedClipboard { length, action } => match action {
                // What the viewer can take, and its wish for the desktop's text: nothing comes in.
                ClipboardAction::Capabilities | ClipboardAction::Request | ClipboardAction::Peek if length <= LONGEST_CLIPBOARD_TALK => {
                    self.input
                }
                ClipboardAction::Notify | ClipboardAction::Provide => self.clipboard.is_some_and(|most| length <= most),
                _ => false,
            },
            Message::Resize { width, height, .. } => self.resize.is_some_and(|bounds| bounds.contain(width, height)),
            Message::Power => self.power,
        }
    }
}

/// The longest message of the extended clipboard without contents: flags and sixteen lengths.
const LONGEST_CLIPBOARD_TALK: u32 = 4 + 16 * 4;
