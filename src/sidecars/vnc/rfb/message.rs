//! The messages of a client: how long each is, and what it asks for.
//!
//! Lengths follow RFC 6143, section 7.5, and the registered extensions: continuous updates, fences, xvp, desktop sizes, GII, QEMU's keys,
//! the extended clipboard and extended mouse buttons. What the desktop would read differently is refused, not guessed: a
//! message inside another would get around the policy.

/// The pseudo-encoding of the extended mouse buttons.
pub const EXTENDED_MOUSE_BUTTONS: i32 = -316;
/// The bit of a button mask that announces one more byte, where extended mouse buttons are agreed on.
pub const MORE_BUTTONS: u8 = 0x80;
/// The longest payload of a fence.
const LONGEST_FENCE: u8 = 64;
/// The longest beginning that is judged at once: a fence with its payload.
pub const LONGEST_HEAD: usize = 9 + LONGEST_FENCE as usize;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// How pixels are sent.
    SetPixelFormat,
    /// What the client understands; four bytes for each encoding follow.
    SetEncodings {
        /// How many.
        count: u16,
    },
    /// Wants pixels.
    UpdateRequest,
    /// Wants pixels unasked.
    ContinuousUpdates,
    /// Keeps messages in order, and measures the way.
    Fence,
    /// A key goes down or up.
    Key {
        /// Which: a keysym, or with QEMU's extension a key code.
        key: Key,
        /// Whether it goes down.
        is_down: bool,
    },
    /// The pointer is somewhere, with some buttons down.
    Pointer {
        /// One bit for each button, from the first.
        buttons: u16,
        /// Pixels from the left.
        x: u16,
        /// Pixels from the top.
        y: u16,
    },
    /// Text for the desktop's clipboard, in Latin-1.
    CutText {
        /// Bytes that follow.
        length: u32,
    },
    /// The extended clipboard.
    ExtendedClipboard {
        /// Bytes that follow the first eight.
        length: u32,
        /// What it is about.
        action: ClipboardAction,
    },
    /// Another size of the desktop; sixteen bytes for each screen follow.
    Resize {
        /// In pixels.
        width: u16,
        /// In pixels.
        height: u16,
        /// How many.
        screens: u8,
    },
    /// Shuts the desktop down, or resets it (xvp).
    Power,
    /// Other input devices.
    Gii {
        /// Bytes that follow the first four.
        length: u16,
    },
}

impl Message {
    /// What people call it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SetPixelFormat => "a SetPixelFormat message",
            Self::SetEncodings { .. } => "a SetEncodings message",
            Self::UpdateRequest => "a FramebufferUpdateRequest message",
            Self::ContinuousUpdates => "an EnableContinuousUpdates message",
            Self::Fence => "a fence",
            Self::Key { .. } => "a key event",
            Self::Pointer { .. } => "a pointer event",
            Self::CutText { .. } | Self::ExtendedClipboard { .. } => "a clipboard text",
            Self::Resize { .. } => "a SetDesktopSize message",
            Self::Power => "an xvp message",
            Self::Gii { .. } => "a GII message",
        }
    }
}

/// Which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// By what it means.
    Symbol(u32),
    /// By where it is: QEMU's extension.
    Code(u32),
}

/// What an extended clipboard message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClipboardAction {
    /// What the client can take and do.
    Capabilities,
    /// The client wants the desktop's text.
    Request,
    /// The client wants to know what there is.
    Peek,
    /// The client has something.
    Notify,
    /// Here it is.
    Provide,
    /// None of these alone.
    Unknown,
}

impl ClipboardAction {
    /// The action of the flags. Capabilities name the other actions that the client knows, in the same bits (rfbproto, "Extended
    /// Clipboard Pseudo-Encoding"); any other mixture is none, for servers would read it in different ways.
    const fn from_flags(flags: u32) -> Self {
        match flags >> 24 {
            actions if actions & 0x01 != 0 => Self::Capabilities,
            0x02 => Self::Request,
            0x04 => Self::Peek,
            0x08 => Self::Notify,
            0x10 => Self::Provide,
            _ => Self::Unknown,
        }
    }
}

/// A message that no desktop can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Nobody knows how long it is.
    #[error("unknown RFB message type {0}")]
    Type(u8),
    /// A message of QEMU's that is no key.
    #[error("unknown RFB message type 255.{0}")]
    QemuType(u8),
    /// A fence has 64 bytes at most.
    #[error("an RFB fence of {0} bytes is longer than 64")]
    Fence(u8),
    /// There are no flags in it.
    #[error("an extended clipboard message of {0} bytes has no flags")]
    Clipboard(u32),
}

/// The beginning of a message: all that is needed to judge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What it asks for.
    pub message: Message,
    /// How many bytes were read for that.
    pub length: usize,
    /// How many bytes follow, which tell nothing new.
    pub body: u64,
}

/// Reads the beginning of a message; `None` if it needs more bytes. `more_buttons` says that extended mouse buttons are agreed on.
///
/// # Errors
/// Nobody knows where the message would end.
pub fn read(bytes: &[u8], more_buttons: bool) -> Result<Option<Head>, Unreadable> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    let whole = |length: usize, message: Message| Ok((bytes.len() >= length).then_some(Head { message, length, body: 0 }));
    let number = Numbers(bytes);
    match kind {
        0 => whole(20, Message::SetPixelFormat),
        2 => head(bytes, 4, || {
            let count = number.u16(2);
            Ok((Message::SetEncodings { count }, u64::from(count) * 4))
        }),
        3 => whole(10, Message::UpdateRequest),
        4 => whole(8, Message::Key { key: Key::Symbol(number.u32(4)), is_down: number.u8(1) != 0 }),
        5 => {
            let has_more = more_buttons && number.u8(1) & MORE_BUTTONS != 0;
            whole(if has_more { 7 } else { 6 }, pointer(number, has_more))
        }
        6 => cut_text(bytes, number),
        150 => whole(10, Message::ContinuousUpdates),
        248 => match number.u8(8) {
            payload if payload > LONGEST_FENCE => Err(Unreadable::Fence(payload)),
            payload => whole(9 + usize::from(payload), Message::Fence),
        },
        250 => whole(4, Message::Power),
        251 => head(bytes, 8, || {
            let screens = number.u8(6);
            Ok((Message::Resize { width: number.u16(2), height: number.u16(4), screens }, u64::from(screens) * 16))
        }),
        253 => head(bytes, 4, || {
            // The sender says in which order it writes the bytes of its numbers.
            let length = if number.u8(1) & 0x80 == 0 { number.u16(2).swap_bytes() } else { number.u16(2) };
            Ok((Message::Gii { length }, u64::from(length)))
        }),
        255 => match bytes.get(1) {
            None => Ok(None),
            Some(0) => whole(12, Message::Key { key: Key::Code(number.u32(8)), is_down: number.u16(2) != 0 }),
            Some(other) => Err(Unreadable::QemuType(*other)),
        },
        other => Err(Unreadable::Type(*other)),
    }
}

fn head(bytes: &[u8], length: usize, read: impl FnOnce() -> Result<(Message, u64), Unreadable>) -> Result<Option<Head>, Unreadable> {
    if bytes.len() < length {
        return Ok(None);
    }
    let (message, body) = read()?;
    Ok(Some(Head { message, length, body }))
}

fn cut_text(bytes: &[u8], number: Numbers<'_>) -> Result<Option<Head>, Unreadable> {
    let length = number.u32(4).cast_signed();
    if length >= 0 {
        return head(bytes, 8, || Ok((Message::CutText { length: length.unsigned_abs() }, u64::from(length.unsigned_abs()))));
    }
    // A negative length is that of an extended message, which begins with its flags.
    let length = length.unsigned_abs();
    if length < 4 || length > i32::MAX.unsigned_abs() {
        return Err(Unreadable::Clipboard(length));
    }
    head(bytes, 12, || {
        let action = ClipboardAction::from_flags(number.u32(8));
        Ok((Message::ExtendedClipboard { length, action }, u64::from(length) - 4))
    })
}

fn pointer(number: Numbers<'_>, has_more: bool) -> Message {
    let first = number.u8(1);
    let buttons = if has_more { u16::from(first & !MORE_BUTTONS) | u16::from(number.u8(6)) << 7 } else { u16::from(first) };
    Message::Pointer { buttons, x: number.u16(2), y: number.u16(4) }
}

/// Numbers in network order; what is not there is 0.
#[derive(Clone, Copy)]
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn u8(self, at: usize) -> u8 {
        self.array::<1>(at)[0]
    }

    fn u16(self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }

    fn u32(self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
    }
}
