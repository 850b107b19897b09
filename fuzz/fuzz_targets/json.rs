//! The reader of reviews and the writer of patches against `serde_json`: they read and write the same, and refuse the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::injection::json;
use serde::de::IgnoredAny;
use serde_json::Value;

fuzz_target!(|text: &str| {
    if let Some(value) = json::read::<Value>(text) {
        assert_eq!(value, serde_json::from_str::<Value>(text).expect("what is read here is JSON"));
        let mut written = String::new();
        json::write(&value, &mut written).expect("a value can be written");
        assert_eq!(written, value.to_string());
    }
    if json::read::<IgnoredAny>(text).is_some() {
        serde_json::from_str::<IgnoredAny>(text).expect("what is passed over here is JSON");
    }
});
