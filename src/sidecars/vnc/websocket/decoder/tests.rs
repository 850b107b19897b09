use proptest::prelude::*;

use super::*;
use masked::frame;

#[path = "../../../../../tests/common/masked.rs"]
mod masked;

const LIMIT: u64 = 1 << 20;

/// What is read from bytes that come in pieces: the stream, the control frames, and what was broken.
#[derive(Debug, Default, PartialEq)]
struct Reading {
    stream: Vec<u8>,
    controls: Vec<Event>,
    fault: Option<Fault>,
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Reading {
    let (mut decoder, mut reading) = (Decoder::new(LIMIT), Reading::default());
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = piece.as_mut_slice();
        while !rest.is_empty() {
            match decoder.decode(rest) {
                Ok((length, event)) => {
                    match event {
                        Some(Event::Data(range)) => reading.stream.extend(&rest[range]),
                        Some(control) => reading.controls.push(control),
                        None => assert_eq!(length, rest.len(), "all is read where nothing is told"),
                    }
                    rest = &mut rest[length..];
                }
                Err(fault) => {
                    reading.fault = Some(fault);
                    return reading;
                }
            }
        }
    }
    reading
}

#[test]
fn b8_fragments_with_control_frames_between_them_are_one_stream() {
    let bytes = [frame(0x02, b"one "), frame(0x89, b"there?"), frame(0x00, b"two "), frame(0x8a, b""), frame(0x80, b"three")].concat();
    let reading = read([bytes.as_slice()]);
    assert_eq!(reading.stream, b"one two three");
    assert!(matches!(&reading.controls[..], [Event::Ping(payload), Event::Pong] if payload.as_slice() == b"there?"));
    assert_eq!(reading.fault, None);
}

#[test]
fn b8_what_breaks_the_protocol_is_named_with_its_code() {
    let unmasked = [0x82, 1, b'x'].to_vec();
    let long = |first: u8, length: u64| [&[first, 0xff][..], &length.to_be_bytes()].concat();
    for (bytes, fault, code) in [
        (vec![0xc2], Fault::ReservedBits, CloseCode::ProtocolError),
        (vec![0x83], Fault::ReservedOpcode(3), CloseCode::ProtocolError),
        (vec![0x8f], Fault::ReservedOpcode(15), CloseCode::ProtocolError),
        (unmasked, Fault::Unmasked, CloseCode::ProtocolError),
        (vec![0x09], Fault::FragmentedControl, CloseCode::ProtocolError),
        (vec![0x89, 0xfe], Fault::LongControl, CloseCode::ProtocolError),
        (vec![0x82, 0xfe, 0, 125], Fault::Length, CloseCode::ProtocolError),
        (long(0x82, 65535), Fault::Length, CloseCode::ProtocolError),
        (long(0x82, 1 << 63), Fault::Length, CloseCode::ProtocolError),
        (vec![0x80], Fault::NothingToContinue, CloseCode::ProtocolError),
        ([frame(0x02, b"begun"), vec![0x82]].concat(), Fault::NotContinued, CloseCode::ProtocolError),
        (vec![0x81], Fault::Text, CloseCode::UnsupportedData),
        (long(0x82, LIMIT + 1), Fault::TooLong { length: LIMIT + 1, limit: LIMIT }, CloseCode::MessageTooBig),
        (frame(0x88, &[3]), Fault::CloseCode, CloseCode::ProtocolError),
        (frame(0x88, &1006u16.to_be_bytes()), Fault::CloseCode, CloseCode::ProtocolError),
        (frame(0x88, &[3, 0xe8, 0xff]), Fault::CloseReason, CloseCode::InvalidPayload),
    ] {
        assert_eq!(read([bytes.as_slice()]).fault, Some(fault), "{bytes:x?}");
        assert_eq!(Close::from(fault).code, code);
    }
}

#[test]
fn a_close_frame_tells_its_code() {
    assert_eq!(read([frame(0x88, b"").as_slice()]).controls, [Event::Close(None)]);
    assert_eq!(read([frame(0x88, b"\x03\xe9bye").as_slice()]).controls, [Event::Close(Some(1001))]);
}

#[test]
fn a_frame_as_long_as_the_limit_passes() {
    let payload = vec![7; usize::try_from(LIMIT).unwrap()];
    assert_eq!(read([frame(0x82, &payload).as_slice()]).stream.len(), payload.len());
}

/// Frames that mostly follow each other as they must.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![8 => Just(0x82u8), 4 => Just(0x02), 4 => Just(0x80), 4 => Just(0x00), 3 => Just(0x89), 2 => Just(0x8a), 1 => Just(0x88), 1 => any::<u8>()];
    let one = (first, proptest::collection::vec(any::<u8>(), 0..200)).prop_map(|(first, payload)| frame(first, &payload));
    proptest::collection::vec(one, 0..8).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_result(bytes in frames(), sizes in proptest::collection::vec(1usize..40, 1..20)) {
        let whole = read([bytes.as_slice()]);
        let mut sizes = sizes.iter().cycle();
        let mut rest = bytes.as_slice();
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(read(pieces), whole);
    }
}
