use proptest::prelude::*;

use super::*;
use crate::sidecars::vnc::rfb::policy::Bounds;

const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, b'a'];
const KEY_UP: [u8; 8] = [4, 0, 0, 0, 0, 0, 0, b'a'];
const QEMU_KEY: [u8; 12] = [255, 0, 0, 1, 0, 0, 0, b'a', 0, 0, 0, 30];
const POINTER: [u8; 6] = [5, 1, 0, 10, 0, 20];
const UPDATE_REQUEST: [u8; 10] = [3, 1, 0, 0, 0, 0, 1, 0, 1, 0];

fn handshake() -> Vec<u8> {
    [&VERSION[..], &[NO_SECURITY], &[0]].concat()
}

/// What the desktop gets of bytes that come in pieces, and how it ends.
fn passed_in_pieces<'a>(
    filter: &mut Filter,
    policy: &Policy,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Tally, Option<Fault>) {
    let (mut held, mut passed, mut tally) = (Vec::new(), Vec::new(), Tally::default());
    for piece in pieces {
        held.extend(piece);
        match filter.filter(&mut held, policy) {
            Ok(filtered) => {
                passed.extend(&held[filtered.passed]);
                held.drain(..held.len() - filtered.undecided);
                assert!(held.len() <= MOST_UNDECIDED, "no message is collected");
                tally.messages += filtered.tally.messages;
                tally.inputs += filtered.tally.inputs;
                let (all, new) = (&mut tally.dropped, filtered.tally.dropped);
                all.input += new.input;
                all.clipboard += new.clipboard;
                all.resize += new.resize;
                all.power += new.power;
            }
            Err(fault) => return (passed, tally, Some(fault)),
        }
    }
    (passed, tally, None)
}

/// What the desktop gets after the handshake.
fn passed(policy: &Policy, bytes: &[u8]) -> (Vec<u8>, Tally) {
    let mut filter = begun(true);
    let (passed, tally, fault) = passed_in_pieces(&mut filter, policy, [bytes]);
    assert_eq!(fault, None);
    (passed, tally)
}

fn begun(knows_more_buttons: bool) -> Filter {
    let mut filter = Filter::new(knows_more_buttons);
    filter.filter(&mut handshake(), &Policy::VIEW_ONLY).unwrap();
    assert!(filter.has_begun());
    filter
}

fn encodings(list: &[i32]) -> Vec<u8> {
    let mut bytes = vec![2, 0];
    bytes.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
    bytes.extend(list.iter().flat_map(|encoding| encoding.to_be_bytes()));
    bytes
}

fn cut_text(text: &[u8]) -> Vec<u8> {
    [&[6, 0, 0, 0][..], &u32::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

fn extended(flags: u32, rest: &[u8]) -> Vec<u8> {
    let length = -i32::try_from(rest.len() + 4).unwrap();
    [&[6, 0, 0, 0][..], &length.to_be_bytes(), &flags.to_be_bytes(), rest].concat()
}

fn resize(width: u16, height: u16) -> Vec<u8> {
    let ([w1, w2], [h1, h2]) = (width.to_be_bytes(), height.to_be_bytes());
    [&[251, 0, w1, w2, h1, h2, 1, 0][..], &[0; 16]].concat()
}

#[test]
fn the_handshake_is_that_of_rfb_3_8_without_security_and_leaves_other_viewers_alone() {
    let mut bytes = handshake();
    let filtered = Filter::new(false).filter(&mut bytes, &Policy::VIEW_ONLY).unwrap();
    assert_eq!(bytes[filtered.passed], [&VERSION[..], &[NO_SECURITY, SHARED]].concat());
    for (bytes, told) in [
        (&b"RFB 003.003\n"[..], "the viewer says \"RFB 003.003\\n\" instead of RFB 003.008"),
        (b"GET / HTTP/1", "the viewer says \"GET / HTTP/1\" instead of RFB 003.008"),
        (b"RFB 003.008\n\x02", "the viewer chose security type 2 instead of 1 (None)"),
    ] {
        let close = Close::from(Filter::new(false).filter(&mut bytes.to_vec(), &Policy::control()).unwrap_err());
        assert_eq!((close.code, &*close.reason), (CloseCode::PolicyViolation, told));
    }
}

#[test]
fn a19_a_viewer_who_may_only_look_changes_nothing() {
    let harmless =
        [encodings(&[7, 0]), UPDATE_REQUEST.to_vec(), vec![248, 0, 0, 0, 0, 0, 0, 1, 2, 9, 9], [&[150, 1][..], &[0; 8]].concat()];
    let harmful = [
        KEY.to_vec(),
        QEMU_KEY.to_vec(),
        POINTER.to_vec(),
        cut_text(b"text"),
        extended(0x1000_0001, b"zlib"),
        extended(0x0200_0001, b""),
        resize(800, 600),
        vec![250, 0, 1, 2],
        vec![253, 0x81, 0, 4, 1, 2, 3, 4],
        vec![253, 0x01, 4, 0, 1, 2, 3, 4],
    ];
    let mixed: Vec<u8> =
        harmful.iter().zip(harmless.iter().cycle()).flat_map(|(one, other)| [one.clone(), other.clone()].concat()).collect();
    let (reached, tally) = passed(&Policy::VIEW_ONLY, &mixed);
    let expected: Vec<u8> = harmless.iter().cycle().take(harmful.len()).flatten().copied().collect();
    assert_eq!(reached, expected);
    assert_eq!(tally.dropped, Dropped { input: 5, clipboard: 3, resize: 1, power: 1 });
    assert_eq!((tally.messages, tally.inputs), (20, 0));

    let (reached, tally) = passed(&Policy::control(), &[KEY.to_vec(), QEMU_KEY.to_vec(), POINTER.to_vec(), resize(800, 600)].concat());
    assert_eq!((reached.len(), tally.inputs), (8 + 12 + 6 + 24, 3));
}

#[test]
fn a30_keys_pass_by_what_they_mean_and_by_where_they_are() {
    // AltGr with Q is @ on a German keyboard: the desktop must get the keysym and the key's own code as they were.
    let alt_gr = [255, 0, 0, 1, 0, 0, 0xfe, 0x03, 0, 0, 0, 0xb8];
    let at = [4, 1, 0, 0, 0, 0, 0, b'@'];
    let dead_acute = [4, 1, 0, 0, 0, 0, 0xfe, 0x51];
    let keys = [&alt_gr[..], &at, &dead_acute, &QEMU_KEY].concat();
    let (reached, tally) = passed(&Policy::control(), &keys);
    assert_eq!((reached, tally.inputs), (keys, 4));
}

#[test]
fn whoever_loses_control_can_still_let_go() {
    let mut filter = begun(true);
    let mut send = |policy: Policy, bytes: &[u8]| passed_in_pieces(&mut filter, &policy, [bytes]).0;
    send(Policy::control(), &[&KEY[..], &POINTER].concat());
    assert_eq!(send(Policy::VIEW_ONLY, &KEY), b"", "nothing is pressed");
    assert_eq!(send(Policy::VIEW_ONLY, &[5, 3, 0, 30, 0, 40]), b"", "and nothing is moved");
    assert_eq!(send(Policy::VIEW_ONLY, &KEY_UP), KEY_UP);
    assert_eq!(send(Policy::VIEW_ONLY, &KEY_UP), b"", "it is up already");
    assert_eq!(send(Policy::VIEW_ONLY, &[5, 2, 0, 30, 0, 40]), [5, 0, 0, 10, 0, 20], "where it was pressed");
    assert_eq!(send(Policy::VIEW_ONLY, &[5, 0, 0, 30, 0, 40]), b"");
}

#[test]
fn a18_clipboard_texts_pass_by_direction_and_size_and_the_extension_is_no_way_around() {
    let limited = Policy { clipboard: Some(8), ..Policy::control() };
    let off = Policy { clipboard: None, ..Policy::control() };
    let (short, long) = (cut_text(b"12345678"), cut_text(b"123456789"));
    assert_eq!(passed(&limited, &[short.clone(), long.clone()].concat()).0, short);
    assert_eq!(passed(&off, &short).0, b"");
    // Capabilities, and the viewer's wish for the desktop's text, bring nothing in.
    for flags in [0x0100_0001, 0x0200_0001, 0x0400_0000] {
        assert_eq!(passed(&off, &extended(flags, b"1234")).0, extended(flags, b"1234"));
        assert_eq!(passed(&off, &extended(flags, &[0; 100])).0, b"", "too long for what it says it is");
    }
    for flags in [0x0800_0001, 0x1000_0001] {
        assert_eq!(passed(&off, &extended(flags, b"1234")).0, b"");
        assert_eq!(passed(&limited, &extended(flags, b"1234")).0, extended(flags, b"1234"));
        assert_eq!(passed(&limited, &extended(flags, b"12345")).0, b"");
    }
    assert_eq!(passed(&limited, &extended(0x1800_0001, b"")).0, b"", "two things at once are neither");
    assert_eq!(
        passed(&off, &[extended(0x1000_0001, &vec![9; 70_000]), KEY.to_vec()].concat()).0,
        KEY,
        "what follows is read where it begins"
    );
}

/// What noVNC 1.7 sends when it hears of the extension: it can do all five actions, takes text, and wants it announced first.
const NOVNC_CAPABILITIES: [u8; 16] = [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xf8, 0x1f, 0, 0, 1, 0, 0, 0, 0];

#[test]
fn a18_what_a_browser_says_of_its_clipboard_reaches_the_desktop() {
    for clipboard in [None, Some(8)] {
        let (reached, tally) = passed(&Policy { clipboard, ..Policy::control() }, &NOVNC_CAPABILITIES);
        assert_eq!((reached, tally.dropped), (NOVNC_CAPABILITIES.to_vec(), Dropped::default()));
    }
    // A text that is called capabilities as well is too long for them.
    let text = extended(0x1100_0001, &[9; 100]);
    assert_eq!(passed(&Policy::control(), &text).0, b"");
}

#[test]
fn a_text_that_began_before_the_viewers_rights_changed_does_not_go_on() {
    let mut filter = begun(true);
    let text = cut_text(b"half of this");
    assert_eq!(passed_in_pieces(&mut filter, &Policy::control(), [&text[..12]]).0, text[..12]);
    let fault = passed_in_pieces(&mut filter, &Policy::VIEW_ONLY, [&text[12..]]).2.unwrap();
    assert_eq!(fault.to_string(), "a clipboard text was cut off in its middle: the viewer may not send it any more");
}

#[test]
fn what_is_cut_off_because_rights_have_changed_is_named() {
    let mut filter = begun(true);
    let size = resize(800, 600);
    assert_eq!(passed_in_pieces(&mut filter, &Policy::control(), [&size[..12]]).0, size[..12]);
    let fault = passed_in_pieces(&mut filter, &Policy::VIEW_ONLY, [&size[12..]]).2.unwrap();
    assert_eq!(fault.to_string(), "a SetDesktopSize message was cut off in its middle: the viewer may not send it any more");
}

#[test]
fn a16_the_desktop_is_resized_within_bounds_alone() {
    let bounds = Bounds { least: (640, 480), most: (1920, 1080) };
    let policy = Policy { resize: Some(bounds), ..Policy::control() };
    for (width, height, passes) in [(640, 480, true), (1920, 1080, true), (639, 480, false), (640, 1081, false), (1921, 480, false)] {
        assert_eq!(passed(&policy, &resize(width, height)).0.len(), if passes { 24 } else { 0 }, "{width}x{height}");
    }
    assert_eq!(passed(&Policy { resize: None, ..policy }, &resize(800, 600)).0, b"");
}

#[test]
fn b11_pointer_events_have_the_length_that_was_agreed_on() {
    let more = [5, 0x81, 0, 10, 0, 20, 0b11];
    let announced = encodings(&[7, EXTENDED_MOUSE_BUTTONS, 0]);
    let agreed = [&announced[..], &more, &KEY].concat();
    assert_eq!(passed(&Policy::control(), &agreed).0, agreed, "back and forward");
    assert_eq!(
        passed(&Policy::VIEW_ONLY, &[&announced[..], &more, &UPDATE_REQUEST].concat()).0,
        [&announced[..], &UPDATE_REQUEST].concat()
    );

    // Without the agreement the same bit is an eighth button, and the message ends before the seventh byte.
    let plain = [&encodings(&[7])[..], &more[..6], &KEY].concat();
    assert_eq!(passed(&Policy::control(), &plain).0, plain);
    // It is taken back by a later list, and by an empty one.
    for later in [encodings(&[7]), encodings(&[])] {
        let taken_back = [&announced[..], &later, &more[..6], &KEY].concat();
        assert_eq!(passed(&Policy::control(), &taken_back).0, taken_back);
    }
}

#[test]
fn b11_a_desktop_that_does_not_know_more_buttons_is_not_told_of_them() {
    let sent = [&encodings(&[7, EXTENDED_MOUSE_BUTTONS, 0])[..], &[5, 0x81, 0, 10, 0, 20], &KEY].concat();
    let (reached, _, fault) = passed_in_pieces(&mut begun(false), &Policy::control(), [sent.as_slice()]);
    assert_eq!((reached, fault), ([&encodings(&[7, NO_ENCODING, 0])[..], &[5, 0x81, 0, 10, 0, 20], &KEY].concat(), None));
}

#[test]
fn buttons_beyond_the_seventh_are_let_go_of_too() {
    let mut filter = begun(true);
    let mut send = |policy: Policy, bytes: &[u8]| passed_in_pieces(&mut filter, &policy, [bytes]).0;
    send(Policy::control(), &encodings(&[EXTENDED_MOUSE_BUTTONS]));
    send(Policy::control(), &[5, 0xc1, 0, 10, 0, 20, 0b11]);
    let release = send(Policy::VIEW_ONLY, &[5, 0xc0, 0, 30, 0, 40, 0b10]);
    assert_eq!(release, [5, 0xc0, 0, 10, 0, 20, 0b10]);
    assert_eq!(send(Policy::VIEW_ONLY, &[5, 0, 0, 30, 0, 40]), [5, 0, 0, 10, 0, 20]);
}

#[test]
fn what_has_no_known_end_ends_the_connection_and_names_its_type() {
    for (bytes, told) in [
        (vec![7], "unknown RFB message type 7"),
        (vec![1], "unknown RFB message type 1"),
        (vec![255, 1], "unknown RFB message type 255.1"),
        ([&[248, 0, 0, 0, 0, 0, 0, 0, 65][..], &[0; 65]].concat(), "an RFB fence of 65 bytes is longer than 64"),
        (vec![6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], "an extended clipboard message of 1 bytes has no flags"),
        (vec![6, 0, 0, 0, 0x80, 0, 0, 0], "an extended clipboard message of 2147483648 bytes has no flags"),
    ] {
        let fault = begun(true).filter(&mut bytes.clone(), &Policy::control()).unwrap_err();
        assert_eq!(fault.to_string(), told, "{bytes:?}");
    }
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let one = prop_oneof![
        Just(KEY.to_vec()),
        Just(KEY_UP.to_vec()),
        Just(QEMU_KEY.to_vec()),
        any::<[u8; 5]>().prop_map(|rest| [&[5][..], &rest].concat()),
        any::<[u8; 6]>().prop_map(|rest| [&[5, rest[0] | 0x80][..], &rest[1..]].concat()),
        proptest::collection::vec(prop_oneof![Just(EXTENDED_MOUSE_BUTTONS), any::<i32>()], 0..5).prop_map(|list| encodings(&list)),
        proptest::collection::vec(any::<u8>(), 0..50).prop_map(|text| cut_text(&text)),
        (any::<u32>(), proptest::collection::vec(any::<u8>(), 0..50)).prop_map(|(flags, rest)| extended(flags, &rest)),
        (any::<u16>(), any::<u16>()).prop_map(|(width, height)| resize(width, height)),
        Just(UPDATE_REQUEST.to_vec()),
        proptest::collection::vec(any::<u8>(), 0..30),
    ];
    proptest::collection::vec(one, 0..10).prop_map(|messages| messages.concat())
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_result(
        bytes in messages(), sizes in proptest::collection::vec(1usize..20, 1..20), knows_more_buttons: bool, may_input: bool, most in 0u32..60,
    ) {
        let policy = Policy { input: may_input, clipboard: Some(most), ..Policy::control() };
        let bytes = [handshake(), bytes].concat();
        let mut pieces = Vec::new();
        let (mut rest, mut sizes) = (bytes.as_slice(), sizes.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
            pieces.push(piece);
            rest = after;
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let (in_pieces, in_single) = (
            passed_in_pieces(&mut Filter::new(knows_more_buttons), &policy, pieces),
            passed_in_pieces(&mut Filter::new(knows_more_buttons), &policy, single),
        );
        prop_assert_eq!(in_pieces.2, in_single.2.clone(), "they end alike");
        if in_single.2.is_none() {
            prop_assert_eq!((in_pieces.0, in_pieces.1), (in_single.0, in_single.1));
        }
    }

    #[test]
    fn whoever_may_only_look_never_gets_more_than_harmless_messages_through(bytes in messages(), knows_more_buttons: bool) {
        let bytes = [handshake(), bytes].concat();
        let (reached, tally, _) = passed_in_pieces(&mut Filter::new(knows_more_buttons), &Policy::VIEW_ONLY, [bytes.as_slice()]);
        prop_assert_eq!(tally.inputs, 0);
        // A desktop that reads with the same rules finds no message that changes anything.
        let mut rest = reached.get(handshake().len()..).unwrap_or_default();
        while let Ok(Some(head)) = message::read(rest, false) {
            prop_assert!(matches!(head.message, Message::SetPixelFormat | Message::SetEncodings { .. } | Message::UpdateRequest
                | Message::ContinuousUpdates | Message::Fence), "{:?}", head.message);
            rest = rest.get(head.length + usize::try_from(head.body).unwrap()..).unwrap_or_default();
        }
    }
}
