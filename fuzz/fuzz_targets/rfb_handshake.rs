//! What comes before any message, from viewers and from desktops: whoever it is and whatever it says, no more is held than is announced,
//! nobody gets in unasked, and a picture is whole or there is none.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::sidecars::vnc::rfb::{approach::Approach, entrance::Entrance, frame::Look};

const CHALLENGE: [u8; 16] = *b"0123456789abcdef";
const LARGEST: (u16, u16) = (64, 48);
/// A row of the largest picture, or what is skipped at once.
const MOST_NEEDED: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    let [which, says @ ..] = bytes else { return };
    match which % 4 {
        0 => enter(Entrance::new(CHALLENGE), says, true),
        1 => enter(Entrance::refusing("later".to_owned()), says, false),
        2 => approach(says),
        _ => look(says),
    }
});

fn enter(mut entrance: Entrance, mut says: &[u8], is_asked: bool) {
    let mut hears = Vec::new();
    while entrance.needs() > 0 {
        let Some((bytes, rest)) = says.split_at_checked(entrance.needs()) else { return };
        let Ok(answer) = entrance.hear(bytes) else { return };
        hears.extend(answer);
        says = rest;
    }
    assert_eq!(entrance.response().is_some(), is_asked && hears.ends_with(&CHALLENGE));
    assert_ne!(entrance.verdict(Some("no")), entrance.verdict(None));
}

fn approach(mut says: &[u8]) {
    let mut approach = Approach::default();
    while approach.needs() > 0 {
        assert!(approach.needs() <= MOST_NEEDED);
        let Some((bytes, rest)) = says.split_at_checked(approach.needs()) else { return };
        if approach.hear(bytes).is_err() {
            return;
        }
        says = rest;
    }
}

fn look(mut says: &[u8]) {
    let mut look = Look::new(LARGEST);
    while look.needs() > 0 {
        assert!(look.needs() <= MOST_NEEDED);
        let Some((bytes, rest)) = says.split_at_checked(look.needs()) else { return };
        if look.hear(bytes).is_err() {
            return;
        }
        says = rest;
    }
    let picture = look.picture().expect("it is known");
    for divisor in 1..=picture.divisor(1) {
        let (width, height) = picture.size(divisor);
        for row in 0..height {
            assert_eq!(picture.row(row, divisor).len(), usize::from(width) * 3);
        }
    }
}
