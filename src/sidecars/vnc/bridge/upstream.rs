//! From the viewer to the desktop: frames are taken apart where there are some, what may not pass is dropped, and the rest is one write.

use std::ops::Range;

use bytes::{Buf, Bytes};

use super::{
    buffers::{Buffers, Lent},
    outbox::Pongs,
};
use crate::sidecars::vnc::{
    gather::join,
    rfb::{
        filter::{Filter, MOST_UNDECIDED, Tally},
        policy::Policy,
    },
    websocket::{
        close::Close,
        decoder::{Decoder, Event},
    },
};

/// The viewer's bytes on their way.
#[derive(Debug)]
pub(super) struct Upstream {
    /// None where the viewer's bytes come in no frames.
    decoder: Option<Decoder>,
    /// None where the desktop does not speak RFB.
    filter: Option<Filter>,
    /// The beginning of a message that can't be judged yet.
    undecided: [u8; MOST_UNDECIDED],
    undecided_length: usize,
    /// What came with the request.
    read_ahead: Bytes,
    /// What waits for the desktop.
    pending: Option<(Lent, Range<usize>)>,
    /// After a fault nothing means anything.
    is_deaf: bool,
}

/// A buffer to read into, behind what is undecided.
pub(super) struct Room {
    lent: Lent,
    start: usize,
}

/// What some bytes of the viewer had in them besides messages.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Payloads of pings, which want pongs.
    pub(super) pings: Pongs,
    /// Whether there was a pong.
    pub(super) ponged: bool,
    /// A close frame.
    pub(super) close: Option<Goodbye>,
    /// Why the conversation can't go on.
    pub(super) fault: Option<Close>,
    /// What the messages meant.
    pub(super) tally: Tally,
}

/// A viewer's close frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Goodbye {
    pub(super) code: Option<u16>,
}

impl Upstream {
    pub(super) fn new(decoder: Option<Decoder>, filter: Option<Filter>, read_ahead: Bytes) -> Self {
        Self { decoder, filter, undecided: [0; MOST_UNDECIDED], undecided_length: 0, read_ahead, pending: None, is_deaf: false }
    }

    /// Whether the viewer has said what comes before the first message.
    pub(super) fn has_begun(&self) -> bool {
        self.filter.as_ref().is_none_or(Filter::has_begun)
    }

    /// What the desktop is to get.
    pub(super) fn pending(&self) -> Option<&[u8]> {
        self.pending.as_ref().and_then(|(lent, range)| lent.get(range.clone()))
    }

    /// The desktop got so many bytes of that.
    pub(super) fn sent(&mut self, length: usize) {
        self.pending =
            self.pending.take().map(|(lent, range)| (lent, range.start + length..range.end)).filter(|(_, range)| !range.is_empty());
    }

    /// Gives up what the desktop does not take.
    pub(super) fn give_up(&mut self) {
        self.pending = None;
    }

    /// Room for the viewer's next bytes.
    pub(super) fn room(&self, buffers: &Buffers) -> Room {
        let mut lent = buffers.lend();
        for (to, from) in lent.iter_mut().zip(self.undecided.iter().take(self.undecided_length)) {
            *to = *from;
        }
        Room { lent, start: self.undecided_length }
    }

    /// Fills the room with what came with the request; 0 if there is none left.
    pub(super) fn read_ahead(&mut self, room: &mut Room) -> usize {
        let length = room.as_mut_slice().len().min(self.read_ahead.len());
        if let Some(start) = room.as_mut_slice().get_mut(..length) {
            self.read_ahead.copy_to_slice(start);
        }
        length
    }

    /// Reads `length` bytes in the room. With `passes`, what may reach the desktop is pending then.
    pub(super) fn hear(&mut self, Room { mut lent, start }: Room, length: usize, policy: &Policy, passes: bool) -> Heard {
        let mut heard = Heard::default();
        let payload = match &mut self.decoder {
            Some(decoder) => unframed(decoder, &mut lent, start, length, &mut self.is_deaf, &mut heard),
            None => 0..start + length,
        };
        if passes {
            self.pass(lent, payload, policy, &mut heard);
        }
        heard
    }

    fn pass(&mut self, mut lent: Lent, payload: Range<usize>, policy: &Policy, heard: &mut Heard) {
        let Some(filter) = &mut self.filter else {
            self.pending = (!payload.is_empty()).then_some((lent, payload));
            return;
        };
        let bytes = lent.get_mut(payload.clone()).unwrap_or_default();
        match filter.filter(bytes, policy) {
            Ok(filtered) => {
                let undecided = bytes.get(bytes.len() - filtered.undecided..).unwrap_or_default();
                for (to, from) in self.undecided.iter_mut().zip(undecided) {
                    *to = *from;
                }
                self.undecided_length = undecided.len();
                heard.tally = filtered.tally;
                let passed = payload.start + filtered.passed.start..payload.start + filtered.passed.end;
                self.pending = (!passed.is_empty()).then_some((lent, passed));
            }
            Err(fault) => {
                heard.fault.get_or_insert_with(|| fault.into());
                self.is_deaf = true;
            }
        }
    }
}

impl Room {
    /// Where the viewer's bytes go.
    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        self.lent.get_mut(self.start..).unwrap_or_default()
    }
}

/// Takes the frames apart that stand behind `start`, and says where all payload stands then, with what was before them.
fn unframed(decoder: &mut Decoder, lent: &mut Lent, start: usize, length: usize, is_deaf: &mut bool, heard: &mut Heard) -> Range<usize> {
    let (mut payload, mut at) = (0..start, start);
    while let Some(rest) = lent.get_mut(at..start + length).filter(|rest| !rest.is_empty() && !*is_deaf) {
        match decoder.decode(rest) {
            Ok((read, event)) => {
                match event {
                    Some(Event::Data(piece)) => payload = join(lent, payload, at + piece.start..at + piece.end),
                    Some(Event::Ping(payload)) => heard.pings.push(payload),
                    Some(Event::Close(code)) => {
                        heard.close = Some(Goodbye { code });
                        *is_deaf = true;
                    }
                    Some(Event::Pong) => heard.ponged = true,
                    None => {}
                }
                at += read;
            }
            Err(fault) => {
                heard.fault = Some(fault.into());
                *is_deaf = true;
            }
        }
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b7_of_a_flood_of_pings_in_one_read_the_latest_are_kept() {
        let buffers = Buffers::default();
        let mut upstream = Upstream::new(Some(Decoder::new(1024)), None, Bytes::new());
        let mut room = upstream.room(&buffers);
        // Masked with zeros, which change nothing.
        let flood: Vec<u8> = (0..4000u16).flat_map(|number| [0x89, 0x82, 0, 0, 0, 0].into_iter().chain(number.to_be_bytes())).collect();
        room.as_mut_slice()[..flood.len()].copy_from_slice(&flood);
        let mut heard = upstream.hear(room, flood.len(), &Policy::control(), true);
        let kept: Vec<u16> =
            std::iter::from_fn(|| heard.pings.pop()).map(|payload| u16::from_be_bytes(payload.as_slice().try_into().unwrap())).collect();
        assert_eq!(kept, (3984..4000).collect::<Vec<_>>());
    }
}
