//! Whatever is given to `-f`: it is read or refused, and what is written is read back as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::cli::manifests::{stream, yaml_writer};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(documents) = stream::read_bytes("input", bytes) {
        let written = yaml_writer::write_all(documents.iter().map(|document| &document.root));
        let again = stream::read_bytes("output", written.as_bytes()).expect("what we write can be read");
        let rewritten = yaml_writer::write_all(again.iter().map(|document| &document.root));
        assert_eq!(written, rewritten);
    }
});
