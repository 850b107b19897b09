//! The small grammars: quantities, durations, annotations, records.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::{
    api::{annotations, duration, quantity::Quantity},
    injection::{Record, uninject},
};

fuzz_target!(|text: &str| {
    if let Ok(quantity) = text.parse::<Quantity>() {
        assert_eq!(quantity.as_str(), text);
    }
    let _ = duration::parse(text);
    let _ = Record::parse(text);
    for key in annotations::TABLE {
        let _ = key.kind.check(text);
    }
    let _ = annotations::Annotations::default().add(text, text.into(), annotations::Origin::Pod);
    let _ = uninject(text);
});
