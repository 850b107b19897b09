//! PgBouncer's list of users, which anybody may have written who may write its Secret.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::postgres::auth_file::{AuthFileError, count_users};

fuzz_target!(|list: &[u8]| {
    let lines = list.split(|byte| *byte == b'\n').count();
    let more = [list, b"\n\"one\" \"more\"\n"].concat();
    match count_users(list) {
        Ok(count) => {
            assert!(count <= lines);
            assert_eq!(count_users(&more), Ok(count + 1));
        }
        Err(AuthFileError::Empty) => assert_eq!(count_users(&more), Ok(1)),
        Err(AuthFileError::Line { line, fault }) => {
            assert!((1..=lines).contains(&line));
            assert_eq!(count_users(&more), Err(AuthFileError::Line { line, fault }));
        }
    }
});
