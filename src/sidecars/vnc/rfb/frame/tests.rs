//! A look gathers what a desktop sends, and believes no desktop blindly.

use proptest::prelude::*;

use super::*;

const LARGEST: (u16, u16) = (64, 48);

/// What a desktop of this size says before the first message.
fn beginning(width: u16, height: u16) -> Vec<u8> {
    let mut says = b"RFB 003.008\n\x01\x01\0\0\0\0".to_vec();
    says.extend(width.to_be_bytes());
    says.extend(height.to_be_bytes());
    says.extend([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]);
    says.extend([0, 0, 0, 4]);
    says.extend(b"desk");
    says
}

fn rectangle(x: u16, y: u16, width: u16, height: u16) -> Vec<u8> {
    [x, y, width, height].iter().flat_map(|number| number.to_be_bytes()).chain([0; 4]).collect()
}

/// What the desktop hears, and how it ends. There is no picture when it says too little.
fn seen(mut says: &[u8]) -> (Vec<u8>, Result<Option<Picture>, FrameError>) {
    let (mut look, mut answers) = (Look::new(LARGEST), Vec::new());
    while look.needs() > 0 {
        let Some((bytes, rest)) = says.split_at_checked(look.needs()) else { return (answers, Ok(None)) };
        match look.hear(bytes) {
            Ok(answer) => answers.extend(answer),
            Err(error) => return (answers, Err(error)),
        }
        says = rest;
    }
    (answers, Ok(look.picture()))
}

#[test]
fn a_screen_is_gathered_from_rectangles_and_updates_in_any_order() {
    let mut says = beginning(2, 2);
    says.extend([2]); // a bell
    says.extend([3, 0, 0, 0, 0, 0, 0, 3, b'c', b'u', b't']);
    says.extend([1, 0, 0, 0, 0, 1, 9, 9, 9, 9, 9, 9]); // a colour of a map
    says.extend([0, 0, 0, 1]);
    says.extend(rectangle(0, 1, 2, 1));
    says.extend([5, 6, 7, 0, 8, 9, 10, 0]);
    says.extend([0, 0, 0, 2]);
    says.extend(rectangle(1, 0, 1, 1));
    says.extend([3, 4, 5, 0]);
    says.extend(rectangle(0, 0, 1, 1));
    says.extend([1, 2, 3, 0]);
    let (answers, picture) = seen(&says);
    let picture = picture.unwrap().unwrap();
    assert_eq!((picture.row(0, 1), picture.row(1, 1)), (vec![1, 2, 3, 3, 4, 5], vec![5, 6, 7, 8, 9, 10]));
    assert_eq!(answers[..14], *b"RFB 003.008\n\x01\x01");
    assert_eq!(answers[14 + WISHES.len()..], [3, 0, 0, 0, 0, 0, 0, 2, 0, 2], "all of the screen is asked for, once");
}

#[test]
fn a_thumbnail_has_the_mean_of_each_square_also_at_the_edges() {
    let mut says = beginning(3, 3);
    says.extend([0, 0, 0, 1]);
    says.extend(rectangle(0, 0, 3, 3));
    for value in [10, 20, 30, 30, 40, 50, 60, 71, 80] {
        says.extend([value, 2 * value, 0, 0]);
    }
    let picture = seen(&says).1.unwrap().unwrap();
    assert_eq!([1, 2, 3, 100].map(|width| picture.divisor(width)), [3, 2, 1, 1]);
    assert_eq!((picture.size(2), picture.size(3), picture.size(1)), ((2, 2), (1, 1), (3, 3)));
    assert_eq!((picture.row(0, 2), picture.row(1, 2)), (vec![25, 50, 0, 40, 80, 0], vec![66, 131, 0, 80, 160, 0]));
    assert_eq!(picture.divisor(0), 3, "a picture has a pixel at least");
}

#[test]
fn what_was_not_asked_for_or_can_not_be_held_is_refused() {
    let with = |rest: &[u8]| [beginning(2, 2), rest.to_vec()].concat();
    let hextile = [&[0, 0, 0, 1][..], &rectangle(0, 0, 1, 1)[..8], &5_i32.to_be_bytes()].concat();
    for (says, error) in [
        (beginning(65, 48), FrameError::TooLarge { width: 65, height: 48, largest: LARGEST }),
        (beginning(64, 49), FrameError::TooLarge { width: 64, height: 49, largest: LARGEST }),
        (beginning(0, 48), FrameError::Empty),
        (with(&[7]), FrameError::Message(7)),
        (with(&hextile), FrameError::Encoding(5)),
        (with(&[&[0, 0, 0, 1][..], &rectangle(1, 0, 2, 1)].concat()), FrameError::Outside),
        (with(&[&[0, 0, 0, 1][..], &rectangle(0, u16::MAX, 1, 2)].concat()), FrameError::Outside),
        (b"HTTP/1.1 400".to_vec(), FrameError::Approach(ApproachError::Version("HTTP/1.1 400".to_owned()))),
    ] {
        assert_eq!(seen(&says).1, Err(error));
    }
}

proptest! {
    #[test]
    fn whatever_a_desktop_says_a_picture_is_whole_or_there_is_none(messages: Vec<u8>, width in 1u16..5, height in 1u16..5) {
        let says = [beginning(width, height), messages].concat();
        if let (_, Ok(Some(picture))) = seen(&says) {
            prop_assert_eq!(picture.size(1), (width, height));
            prop_assert!(picture.pixels.as_chunks::<PIXEL>().0.iter().all(|pixel| pixel[3] == KNOWN));
        }
    }

    /// Rectangles that may overlap: only those that cover everything make a picture.
    #[test]
    fn a_picture_is_there_when_each_pixel_was_sent(columns in prop::collection::vec((0u16..4, 1u16..4), 0..8)) {
        let mut says = beginning(4, 1);
        let fitting: Vec<_> = columns.into_iter().map(|(x, width)| (x, width.min(4 - x))).collect();
        says.extend([0, 0, 0, u8::try_from(fitting.len()).unwrap()]);
        for (x, width) in &fitting {
            says.extend(rectangle(*x, 0, *width, 1));
            says.extend(vec![7; usize::from(*width) * PIXEL]);
        }
        let covers = (0..4).all(|x| fitting.iter().any(|(start, width)| (*start..start + width).contains(&x)));
        prop_assert_eq!(seen(&says).1.unwrap().is_some(), covers);
    }
}
