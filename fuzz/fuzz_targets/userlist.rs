//! The reader of lists that others wrote: it takes anything, and what it reads it writes so that it reads the same again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::userlists::grammar::{self, Users};
use secrecy::ExposeSecret;

fuzz_target!(|text: &str| {
    let users: Users = grammar::read(text).filter_map(|(_, line)| line.ok()).collect();
    let written = grammar::render(&users);
    let again: Users = grammar::read(written.expose_secret()).map(|(_, line)| line.expect("what is written can be read")).collect();
    assert_eq!(again, users);
});
