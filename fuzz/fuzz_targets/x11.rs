//! What an X server answers, and the files with cookies that apps bring.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::sidecars::vnc::x_server::{
    authority,
    display::Display,
    handshake::{self, HEADER_LENGTH},
    requests::Heard,
};

fuzz_target!(|bytes: &[u8]| {
    for display in Display::all().take(2) {
        if let Some(cookie) = authority::own_cookie(bytes, display) {
            assert_eq!(authority::file(display, &cookie), bytes);
        }
        if let Some(cookie) = authority::cookie_for(bytes, display) {
            let _ = handshake::request(Some(&cookie));
        }
    }
    if let Some((header, body)) = bytes.split_first_chunk::<HEADER_LENGTH>() {
        let _ = handshake::body_length(*header);
        if let Ok(setup) = handshake::read_reply(*header, body) {
            let _ = setup.id(u32::MAX);
        }
    }
    let mut heard = Heard::default();
    for piece in bytes.chunks(48) {
        heard.buffer().extend(piece);
        while let Ok(Some(_)) = heard.take() {}
    }
});
