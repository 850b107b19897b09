//! What the viewer is sent next: one frame at a time, and control frames before the desktop's bytes.

use std::{collections::VecDeque, io::IoSlice, ops::Range};

use super::buffers::Lent;
use crate::sidecars::vnc::websocket::{ControlPayload, Opcode, encoder::Head};

/// Pongs that wait for a viewer who asks, but does not read. A later one answers for those before it (RFC 6455, section 5.5.3).
const MOST_PONGS: usize = 16;

/// Frames for the viewer.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frame: Option<Frame>,
    pongs: Pongs,
    ping_is_due: bool,
    close: Option<ControlPayload>,
    close_was_sent: bool,
    /// Whether the desktop's bytes are sent as they are, and nothing else.
    is_bare: bool,
}

/// Payloads of pings that want pongs: the newest, and no more than [`MOST_PONGS`].
#[derive(Debug, Default)]
pub(super) struct Pongs(VecDeque<ControlPayload>);

impl Pongs {
    pub(super) fn push(&mut self, payload: ControlPayload) {
        if self.0.len() == MOST_PONGS {
            self.0.pop_front();
        }
        self.0.push_back(payload);
    }

    pub(super) fn pop(&mut self) -> Option<ControlPayload> {
        self.0.pop_front()
    }
}

#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    /// None where there are no frames.
    head: Option<Head>,
    payload: Payload,
    /// Bytes of head and payload that are sent.
    sent: usize,
}

#[derive(Debug)]
enum Payload {
    Control(ControlPayload),
    /// The desktop's bytes, sent from where they were read to.
    Lent(Lent, Range<usize>),
}

impl Payload {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Control(payload) => payload.as_slice(),
            Self::Lent(lent, range) => lent.get(range.clone()).unwrap_or_default(),
        }
    }
}

impl Frame {
    fn head(&self) -> &[u8] {
        self.head.as_ref().map(Head::as_slice).unwrap_or_default()
    }
}

impl Outbox {
    /// For a viewer who gets the desktop's bytes as they are: it can't be asked or told anything.
    pub(super) fn bare() -> Self {
        Self { is_bare: true, ..Self::default() }
    }

    /// Answers a ping.
    pub(super) fn pong(&mut self, payload: ControlPayload) {
        self.pongs.push(payload);
    }

    /// Asks whether the viewer is there, unless it is to be asked already.
    pub(super) const fn ping(&mut self) {
        self.ping_is_due = true;
    }

    /// Ends the conversation after what is on its way.
    pub(super) const fn close(&mut self, payload: ControlPayload) {
        self.close = Some(payload);
    }

    pub(super) const fn close_was_sent(&self) -> bool {
        self.close_was_sent
    }

    /// Sends bytes of the desktop, when there is [no other frame](Self::begin).
    pub(super) fn data(&mut self, lent: Lent, range: Range<usize>) {
        let head = (!self.is_bare).then(|| Head::new(Opcode::Binary, range.len()));
        self.frame = Some(Frame { opcode: Opcode::Binary, head, payload: Payload::Lent(lent, range), sent: 0 });
    }

    /// Whether there is a frame to send; if none is on its way, the next control frame is begun.
    pub(super) fn begin(&mut self) -> bool {
        if self.frame.is_none() && self.is_bare {
            self.close_was_sent |= self.close.take().is_some();
        } else if self.frame.is_none() && !self.close_was_sent {
            let question = std::mem::take(&mut self.ping_is_due).then(|| (Opcode::Ping, ControlPayload::default()));
            let answer = || Some((Opcode::Pong, self.pongs.pop()?));
            let end = || Some((Opcode::Close, self.close.take()?));
            self.frame = question.or_else(answer).or_else(end).map(|(opcode, payload)| Frame {
                opcode,
                head: Some(Head::new(opcode, payload.as_slice().len())),
                payload: Payload::Control(payload),
                sent: 0,
            });
        }
        self.frame.is_some()
    }

    /// The rest of the frame that is on its way: of its head, and of its payload.
    pub(super) fn rest(&self) -> [IoSlice<'_>; 2] {
        let Some(frame) = &self.frame else { return [IoSlice::new(&[]), IoSlice::new(&[])] };
        let (head, payload) = (frame.head(), frame.payload.as_slice());
        let of_head = frame.sent.min(head.len());
        let rest_of_payload = payload.get(frame.sent - of_head..).unwrap_or_default();
        [IoSlice::new(head.get(of_head..).unwrap_or_default()), IoSlice::new(rest_of_payload)]
    }

    /// So many bytes of the rest were sent. Says which frame that was, if it was all of it.
    pub(super) fn sent(&mut self, length: usize) -> Option<Opcode> {
        let frame = self.frame.as_mut()?;
        frame.sent += length;
        if frame.sent < frame.head().len() + frame.payload.as_slice().len() {
            return None;
        }
        let opcode = frame.opcode;
        self.close_was_sent |= opcode == Opcode::Close;
        self.frame = None;
        Some(opcode)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::buffers::Buffers, *};

    /// Everything that is sent, some bytes at a time.
    fn drained(outbox: &mut Outbox, at_once: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while outbox.begin() {
            let rest = outbox.rest().iter().flat_map(|slice| slice.to_vec()).take(at_once).collect::<Vec<_>>();
            all.extend(&rest);
            outbox.sent(rest.len());
        }
        all
    }

    #[test]
    fn frames_are_whole_however_little_is_sent_at_once() {
        for at_once in [1, 2, 3, 100] {
            let mut outbox = Outbox::default();
            let mut lent = Buffers::default().lend();
            lent[..4].copy_from_slice(b"data");
            outbox.data(lent, 1..4);
            outbox.ping();
            let mut asked = ControlPayload::default();
            asked.extend(b"there?");
            outbox.pong(asked);
            assert_eq!(drained(&mut outbox, at_once), b"\x82\x03ata\x89\x00\x8a\x06there?");
        }
    }

    #[test]
    fn without_frames_the_desktops_bytes_are_all_that_is_sent() {
        let mut outbox = Outbox::bare();
        let mut lent = Buffers::default().lend();
        lent[..4].copy_from_slice(b"data");
        outbox.data(lent, 1..4);
        outbox.ping();
        outbox.close(ControlPayload::default());
        assert_eq!(drained(&mut outbox, 2), b"ata");
        assert!(outbox.close_was_sent());
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        let mut outbox = Outbox::default();
        outbox.close(ControlPayload::default());
        outbox.pong(ControlPayload::default());
        assert_eq!(drained(&mut outbox, 1), [0x8a, 0, 0x88, 0]);
        assert!(outbox.close_was_sent());
        outbox.ping();
        outbox.pong(ControlPayload::default());
        assert!(!outbox.begin());
    }

    #[test]
    fn b7_pings_of_a_viewer_who_does_not_read_are_answered_by_the_latest() {
        let mut outbox = Outbox::default();
        for number in 0..200u8 {
            let mut payload = ControlPayload::default();
            payload.extend(&[number]);
            outbox.pong(payload);
        }
        let sent = drained(&mut outbox, 100);
        assert_eq!((sent.len(), sent.last()), (MOST_PONGS * 3, Some(&199)));
    }
}
