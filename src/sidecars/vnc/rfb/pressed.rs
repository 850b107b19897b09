//! What a viewer holds down. Whoever loses control may still let go: a key that nobody releases repeats for ever.

use super::message::{Key, Message};

/// More keys at once than hands can hold; of more, the oldest are forgotten.
const MOST_KEYS: usize = 32;

/// The keys and buttons that went down, by this viewer, and not up again.
#[derive(Debug, Default)]
pub(super) struct Pressed {
    keys: Vec<Key>,
    buttons: u16,
    place: (u16, u16),
}

/// The one thing that a viewer without control may do: where the buttons are, and which stay down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) buttons: u16,
    pub(super) x: u16,
    pub(super) y: u16,
}

impl Pressed {
    /// Remembers a message that reaches the desktop.
    pub(super) fn pass(&mut self, message: &Message) {
        match *message {
            Message::Key { key, is_down } => {
                self.keys.retain(|held| *held != key);
                if is_down {
                    if self.keys.len() == MOST_KEYS {
                        self.keys.remove(0);
                    }
                    self.keys.push(key);
                }
            }
            Message::Pointer { buttons, x, y } => (self.buttons, self.place) = (buttons, (x, y)),
            _ => {}
        }
    }

    /// Whether a message only lets go of a key that is held.
    pub(super) fn releases_key(&self, message: &Message) -> bool {
        matches!(message, Message::Key { key, is_down: false } if self.keys.contains(key))
    }

    /// What is left of a pointer message that lets go of buttons: the pointer stays where it was.
    pub(super) const fn release(&self, message: &Message) -> Option<Release> {
        match *message {
            Message::Pointer { buttons, .. } if buttons & self.buttons != self.buttons => {
                Some(Release { buttons: buttons & self.buttons, x: self.place.0, y: self.place.1 })
            }
            _ => None,
        }
    }
}
