//! What a viewer may say to a desktop: in any pieces the same passes, and nothing that a viewer who may only look must not do.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::sidecars::vnc::rfb::{
    filter::{Fault, Filter, MOST_UNDECIDED},
    message::{self, Message},
    policy::Policy,
};

const HANDSHAKE: &[u8] = b"RFB 003.008\n\x01\x01";

/// What the desktop gets, and how it ends.
fn passed(bytes: &[u8], at_once: usize, knows_more_buttons: bool, policy: &Policy) -> (Vec<u8>, Option<Fault>) {
    let mut filter = Filter::new(knows_more_buttons);
    let (mut held, mut passed) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(at_once) {
        held.extend(piece);
        match filter.filter(&mut held, policy) {
            Ok(filtered) => {
                passed.extend(&held[filtered.passed]);
                held.drain(..held.len() - filtered.undecided);
                assert!(held.len() <= MOST_UNDECIDED);
            }
            Err(fault) => return (passed, Some(fault)),
        }
    }
    (passed, None)
}

fuzz_target!(|bytes: &[u8]| {
    let [size, flags, messages @ ..] = bytes else { return };
    let knows_more_buttons = flags & 1 == 0;
    // With and without the handshake that else each input had to guess.
    let bytes = if flags & 2 == 0 { [HANDSHAKE, messages].concat() } else { messages.to_vec() };
    for policy in [Policy::VIEW_ONLY, Policy { clipboard: Some(u32::from(*size)), ..Policy::control() }] {
        let single = passed(&bytes, 1, knows_more_buttons, &policy);
        let pieces = passed(&bytes, usize::from(*size).max(1), knows_more_buttons, &policy);
        assert_eq!(pieces.1, single.1);
        if single.1.is_none() {
            assert_eq!(pieces.0, single.0);
        }
    }
    let (reached, _) = passed(&bytes, 1, knows_more_buttons, &Policy::VIEW_ONLY);
    let mut rest = reached.get(HANDSHAKE.len()..).unwrap_or_default();
    while let Ok(Some(head)) = message::read(rest, false) {
        let harmless = matches!(
            head.message,
            Message::SetPixelFormat | Message::SetEncodings { .. } | Message::UpdateRequest | Message::ContinuousUpdates | Message::Fence
        );
        assert!(harmless, "{:?}", head.message);
        rest = usize::try_from(head.body).ok().and_then(|body| rest.get(head.length + body..)).unwrap_or_default();
    }
});
