//! The file in which X clients find their server's cookie: Xau(3), and the format in `Xauth.h` of libXau.

use std::fmt;

use secrecy::{ExposeSecret, SecretSlice};

use super::display::Display;

/// How X calls its plain shared secret (Xsecurity(7)).
pub(super) const PROTOCOL: &[u8] = b"MIT-MAGIC-COOKIE-1";
/// The family of an entry that is good on any host, so that it does not matter what a container calls its own.
const ANY_HOST: u16 = 0xffff;
/// How long the secret is that we make.
pub(super) const COOKIE_LENGTH: usize = 16;

/// The secret that X clients show.
#[derive(Clone)]
pub struct Cookie(SecretSlice<u8>);

impl Cookie {
    /// Takes the bytes of one.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for its server alone.
    pub(super) fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie")
    }
}

/// One entry of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry<'a> {
    family: u16,
    address: &'a [u8],
    /// The display's number in digits; any display if there are none.
    number: &'a [u8],
    protocol: &'a [u8],
    secret: &'a [u8],
}

/// A file with one cookie, good for this display under any host name.
#[must_use]
pub fn file(display: Display, cookie: &Cookie) -> Vec<u8> {
    let number = display.number().to_string();
    let mut file = ANY_HOST.to_be_bytes().to_vec();
    for field in [&[][..], number.as_bytes(), PROTOCOL, cookie.expose()] {
        // Nothing of ours comes near 64 KiB.
        let length = u16::try_from(field.len()).unwrap_or(u16::MAX);
        file.extend(length.to_be_bytes());
        file.extend(field.iter().take(length.into()));
    }
    file
}

/// The first cookie of a file that is good for this display. What follows a damaged entry is not read, as X clients do.
#[must_use]
pub fn cookie_for(file: &[u8], display: Display) -> Option<Cookie> {
    let number = display.number().to_string();
    let is_good = |entry: &Entry<'_>| entry.protocol == PROTOCOL && (entry.number.is_empty() || entry.number == number.as_bytes());
    entries(file).find(is_good).map(|entry| Cookie::new(entry.secret.to_vec()))
}

/// The cookie of a file that we have written for this display; `None` if it is any other file.
#[must_use]
pub fn own_cookie(file: &[u8], display: Display) -> Option<Cookie> {
    let entry = entries(file).next()?;
    let cookie = Cookie::new(entry.secret.to_vec());
    (entry.secret.len() == COOKIE_LENGTH && self::file(display, &cookie) == file).then_some(cookie)
}

/// Whether a file holds what others need: entries that are not good on any host, or more than one. We write neither.
#[must_use]
pub fn is_foreign(file: &[u8]) -> bool {
    entries(file).enumerate().any(|(position, entry)| position > 0 || entry.family != ANY_HOST)
}

fn entries(mut file: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    std::iter::from_fn(move || {
        let family = number(&mut file)?;
        let [address, number, protocol, secret] = [field(&mut file)?, field(&mut file)?, field(&mut file)?, field(&mut file)?];
        Some(Entry { family, address, number, protocol, secret })
    })
}

fn number(rest: &mut &[u8]) -> Option<u16> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u16::from_be_bytes(*number))
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(rest)?;
    let (field, after) = rest.split_at_checked(length.into())?;
    *rest = after;
    Some(field)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn display(text: &str) -> Display {
        text.parse().unwrap()
    }

    /// An entry as xauth writes them, for a host.
    fn entry(family: u16, number: &str, protocol: &[u8], secret: &[u8]) -> Vec<u8> {
        let mut entry = family.to_be_bytes().to_vec();
        for field in [&b"host"[..], number.as_bytes(), protocol, secret] {
            entry.extend(u16::try_from(field.len()).unwrap().to_be_bytes());
            entry.extend(field);
        }
        entry
    }

    #[test]
    fn a_file_of_ours_has_one_entry_for_any_host() {
        let written = file(display(":99"), &Cookie::new(vec![7; 16]));
        let expected = [&b"\xff\xff\0\0\0\x0299\0\x12MIT-MAGIC-COOKIE-1\0\x10"[..], &[7; 16]].concat();
        assert_eq!(written, expected);
        assert!(own_cookie(&written, display(":98")).is_none(), "another display's");
        assert!(own_cookie(&[&written[..], &written[..]].concat(), display(":99")).is_none(), "somebody added to it");
        assert!(own_cookie(&written[..20], display(":99")).is_none(), "half of it");
    }

    #[test]
    fn a_cookie_is_found_by_the_display_among_others() {
        let file = [
            entry(256, "99", b"XDM-AUTHORIZATION-1", b"other"),
            entry(256, "1", PROTOCOL, b"one"),
            entry(256, "99", PROTOCOL, b"ninety-nine"),
            entry(0xffff, "", PROTOCOL, b"any"),
        ]
        .concat();
        for (name, secret) in [(":1", &b"one"[..]), (":99", b"ninety-nine"), (":5", b"any")] {
            assert_eq!(cookie_for(&file, display(name)).unwrap().expose(), secret, "{name}");
        }
        assert!(cookie_for(&file[..file.len() - 1], display(":5")).is_none(), "the last entry is damaged");
        assert!(cookie_for(b"", display(":5")).is_none());
    }

    #[test]
    fn a_cookie_is_not_shown() {
        assert_eq!(format!("{:?}", Cookie::new(vec![65; 16])), "Cookie");
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(number in 0_u16..=999, secret in proptest::array::uniform16(any::<u8>())) {
            let display = display(&format!(":{number}"));
            let written = file(display, &Cookie::new(secret.to_vec()));
            for read in [own_cookie(&written, display).unwrap(), cookie_for(&written, display).unwrap()] {
                prop_assert_eq!(read.expose(), &secret);
            }
        }

        #[test]
        fn any_bytes_are_a_file(bytes: Vec<u8>) {
            let _ = (own_cookie(&bytes, display(":99")), cookie_for(&bytes, display(":99")));
        }
    }
}
