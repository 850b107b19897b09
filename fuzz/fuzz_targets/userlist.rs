//! The reader of lists that others wrote: it takes anything, what it reads it writes so that it reads the same again, and all that it reads
//! the agent of a pooler takes for a list, too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::{
    postgres::auth_file::count_users,
    userlists::grammar::{self, Users},
};
use secrecy::ExposeSecret;

fuzz_target!(|list: &[u8]| {
    let lines: Vec<_> = grammar::read(list).map(|(_, line)| line).collect();
    if !lines.is_empty() && lines.iter().all(Result::is_ok) {
        assert_eq!(count_users(list), Ok(lines.len()));
    }
    let users: Users = lines.into_iter().filter_map(Result::ok).collect();
    let written = grammar::render(&users);
    let written = written.expose_secret().as_bytes();
    let again: Users = grammar::read(written).map(|(_, line)| line.expect("what is written can be read")).collect();
    assert_eq!(again, users);
    assert_eq!(count_users(written).ok(), Some(users.len()).filter(|count| *count > 0));
});
