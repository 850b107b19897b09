use proptest::prelude::*;

use super::*;
use crate::postgres::scram::{Salt, Verifier};

fn name(text: &str) -> UserName {
    UserName::new(text).unwrap()
}

fn password(text: &str) -> Password {
    Password::new(text).unwrap()
}

fn rendered(users: &[(&str, &str)]) -> String {
    let users: Users = users.iter().map(|(user, secret)| (name(user), password(secret))).collect();
    render(&users).expose_secret().to_owned()
}

/// How `PgBouncer` reads a list, told again from its manual and its loader: up to the first line that it can't read.
fn as_pgbouncer_reads(text: &str) -> Vec<(String, String)> {
    fn field(bytes: &[u8], mut at: usize, longest: usize) -> Option<(Vec<u8>, usize)> {
        let start = at;
        let mut field = Vec::new();
        loop {
            match (bytes.get(at)?, bytes.get(at + 1)) {
                (b'"', Some(b'"')) => {
                    field.push(b'"');
                    at += 2;
                }
                (b'"', _) => return (at - start <= longest).then_some((field, at + 1)),
                (byte, _) => {
                    field.push(*byte);
                    at += 1;
                }
            }
        }
    }
    let bytes = text.split('\0').next().unwrap().as_bytes();
    let (mut users, mut at) = (Vec::new(), 0);
    loop {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        match bytes.get(at) {
            Some(b';') => {}
            Some(b'"') => {
                let Some((user, after)) = field(bytes, at + 1, 127) else { return users };
                let Some(gap) = bytes[after..].iter().position(|byte| *byte == b'"') else { return users };
                let Some((secret, after)) = field(bytes, after + gap + 1, 2047) else { return users };
                users.push((String::from_utf8(user).unwrap(), String::from_utf8(secret).unwrap()));
                at = after;
            }
            _ => return users,
        }
        while bytes.get(at).is_some_and(|byte| *byte != b'\n') {
            at += 1;
        }
    }
}

#[test]
fn qs_pgbouncer_p1_backslashes_are_characters_like_any_other() {
    assert_eq!(rendered(&[("alice", r"ab\cd\n\\")]), "\"alice\" \"ab\\cd\\n\\\\\"\n");
}

#[test]
fn qs_pgbouncer_p2_quotes_are_doubled_so_that_nobody_after_them_is_lost() {
    let text = rendered(&[("a\"b", "\"p\"\""), ("z", "z")]);
    assert_eq!(text, "\"a\"\"b\" \"\"\"p\"\"\"\"\"\n\"z\" \"z\"\n");
    assert_eq!(as_pgbouncer_reads(&text), [("a\"b".to_owned(), "\"p\"\"".to_owned()), ("z".to_owned(), "z".to_owned())]);
}

#[test]
fn qs_pgbouncer_p11_the_order_is_that_of_the_names_whatever_order_they_came_in() {
    assert_eq!(rendered(&[("b", "1"), ("a", "2"), ("B", "3")]), "\"B\" \"3\"\n\"a\" \"2\"\n\"b\" \"1\"\n");
}

#[test]
fn pgbouncer_g6_names_and_passwords_end_where_pgbouncer_stops_reading() {
    assert!(UserName::new(&"n".repeat(127)).is_ok());
    assert_eq!(UserName::new(&"n".repeat(128)), Err(NameError::TooLong(128)));
    assert_eq!(UserName::new(&"\"".repeat(64)), Err(NameError::TooLong(128)), "a quote counts twice");
    assert!(Password::new(&"p".repeat(2047)).is_ok());
    assert_eq!(Password::new(&"p".repeat(2048)), Err(PasswordError::TooLong(2048)));
}

#[test]
fn pgbouncer_g4_what_a_list_can_not_hold_is_refused_by_name() {
    assert_eq!(UserName::new(""), Err(NameError::Empty));
    for bad in ["a\nb", "a\r", "a\0"] {
        assert_eq!(UserName::new(bad), Err(NameError::ControlCharacter), "{bad:?}");
    }
    assert_eq!(Password::new(""), Err(PasswordError::Empty));
    for bad in ["a\n", "a\r\n", "\n"] {
        assert_eq!(Password::new(bad), Err(PasswordError::TrailingLineBreak), "{bad:?}");
    }
    for bad in ["a\nb", "a\nb\n", "a\0"] {
        assert_eq!(Password::new(bad), Err(PasswordError::ControlCharacter), "{bad:?}");
    }
}

#[test]
fn a_password_is_told_from_a_hash_as_pgbouncer_tells_them() {
    assert_eq!(password(&format!("md5{}", "0a".repeat(16))).form(), Form::Md5);
    assert_eq!(password("md5hash").form(), Form::Plain);
    assert_eq!(password(Verifier::new("secret", Salt::random().unwrap()).as_str()).form(), Form::Scram);
    assert_eq!(password("SCRAM-SHA-256$what").form(), Form::Plain);
}

#[test]
fn pgbouncer_g1_g2_lines_of_others_are_read_one_by_one() {
    let text = b"\xef\xbb\xbf\"bom\" \"x\"\n; a comment\n\n  \"a\" \"1\"\r\n# no comment\n\"b\"\"\" \t\"2\"\"3\"\n\"c\"\"4\"\n\"d\" \"5\" more\n\"e\"\n\"f\" \"\"\n\"g\" \"\xff\"\n\"h\" \"6\"7\"\n\"i\" \"8\"";
    let lines: Vec<_> =
        read(text).map(|(number, line)| (number, line.map(|(user, secret)| format!("{user}={}", secret.expose_secret())))).collect();
    let fault = |fault| Err(LineError::Unreadable(fault));
    assert_eq!(
        lines,
        [
            (1, fault(Fault::NoQuote)),
            (4, Ok("a=1".to_owned())),
            (5, fault(Fault::NoQuote)),
            (6, Ok("b\"=2\"3".to_owned())),
            (7, fault(Fault::NoPassword)),
            (8, Ok("d=5".to_owned())),
            (9, fault(Fault::NoPassword)),
            (10, fault(Fault::EmptyPassword)),
            (11, Err(LineError::Encoding)),
            (12, fault(Fault::Rest)),
            (13, Ok("i=8".to_owned())),
        ]
    );
}

#[test]
fn a_password_shows_itself_to_nobody() {
    assert_eq!(format!("{:?}", password("hunter2")), "[password]");
}

proptest! {
    #[test]
    fn what_is_written_is_what_pgbouncer_and_we_read(
        users in prop::collection::btree_map("[^\n\r\0]{1,40}", "[^\n\r\0]{1,60}|[\"\\\\ ;#]{1,20}", 0..20),
    ) {
        let valid: Users = users.iter().filter_map(|(user, secret)| Some((UserName::new(user).ok()?, Password::new(secret).ok()?))).collect();
        let text = render(&valid);
        let expected: Vec<_> = valid.iter().map(|(user, secret)| (user.to_string(), secret.expose_secret().to_owned())).collect();
        prop_assert_eq!(as_pgbouncer_reads(text.expose_secret()), expected);
        let read: Users = read(text.expose_secret().as_bytes()).map(|(_, line)| line.unwrap()).collect();
        prop_assert_eq!(read, valid);
    }

    #[test]
    fn whatever_we_read_of_a_line_pgbouncer_reads_too(line in "[\"a-c ;\\t]{0,24}") {
        if let Some((_, Ok((user, secret)))) = read(line.as_bytes()).next() {
            prop_assert_eq!(as_pgbouncer_reads(&line), [(user.to_string(), secret.expose_secret().to_owned())]);
        }
    }
}
