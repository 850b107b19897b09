//! What a viewer's WebSocket may bring: frames in any pieces, whose meaning must not depend on the pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::sidecars::vnc::websocket::decoder::{Decoder, Event, Fault};

const LIMIT: u64 = 4096;

#[derive(Debug, Default, PartialEq)]
struct Reading {
    stream: Vec<u8>,
    controls: Vec<Event>,
    fault: Option<Fault>,
}

fn read(bytes: &[u8], at_once: usize) -> Reading {
    let (mut decoder, mut reading) = (Decoder::new(LIMIT), Reading::default());
    for piece in bytes.chunks(at_once) {
        let mut piece = piece.to_vec();
        let mut rest = piece.as_mut_slice();
        while !rest.is_empty() {
            match decoder.decode(rest) {
                Ok((length, event)) => {
                    match event {
                        Some(Event::Data(range)) => reading.stream.extend(&rest[range]),
                        Some(control) => reading.controls.push(control),
                        None => assert_eq!(length, rest.len()),
                    }
                    assert!(length > 0);
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

fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(read(bytes, 1), whole);
    assert_eq!(read(bytes, usize::from(*size).max(1)), whole);
});
