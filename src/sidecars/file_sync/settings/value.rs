//! How the text of a setting is read. Each reader says what is allowed when it refuses.

use std::time::Duration;

use lettre::message::Mailbox;

use super::{MailServer, Security};
use crate::{
    api::duration,
    sidecars::setting::{Read, number},
};

/// The items between commas, without the spaces around them. Nothing is no item.
pub(super) fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// A number of seconds, with a fraction or not, or a duration such as `1m30s`.
pub(super) fn time(text: &str) -> Read<Duration> {
    let allowed = || "use seconds such as 60, or a duration such as 1m30s".to_owned();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| allowed());
    }
    duration::parse(text).map_err(|_| allowed())
}

/// A [`time`] that is not zero, for what would never end or never pause otherwise.
pub(super) fn some_time(text: &str) -> Read<Duration> {
    time(text).and_then(|time| if time.is_zero() { Err("use more than no time at all".to_owned()) } else { Ok(time) })
}

/// A whole number above zero.
pub(super) fn count(text: &str) -> Read<u32> {
    number(text).and_then(|number| if number == 0 { Err("use at least 1".to_owned()) } else { Ok(number) })
}

/// A file's mode in octal, such as `0640` or `640`. It must let the owner read.
pub(super) fn mode(text: &str) -> Read<u32> {
    let allowed = || "use an octal mode that lets its owner read, such as 0640".to_owned();
    let mode = u32::from_str_radix(text.trim_start_matches("0o"), 8).map_err(|_| allowed())?;
    if mode & 0o400 == 0 || mode > 0o777 { Err(allowed()) } else { Ok(mode) }
}

/// An address of the web, in full.
pub(super) fn address(text: &str) -> Read<reqwest::Url> {
    let allowed = || "use an address with http or https, such as http://localhost:3000/reload".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_| allowed())?;
    if ["http", "https"].contains(&url.scheme()) && url.has_host() { Ok(url) } else { Err(allowed()) }
}

/// The address of a mail server, which must not hold a password: it would show. Ports are those of RFC 8314 and RFC 5321.
pub(super) fn mail_server(text: &str) -> Read<MailServer> {
    let allowed = || "use smtps://host or smtp://host?tls=required, with SMTP_USERNAME and SMTP_PASSWORD".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_| allowed())?;
    let host =
        url.host_str().filter(|host| !host.is_empty() && url.username().is_empty() && url.password().is_none()).ok_or_else(allowed)?;
    let (security, port) = match (url.scheme(), url.query()) {
        ("smtps", None) => (Security::Tls, 465),
        ("smtp", Some("tls=required")) => (Security::StartTls, 587),
        ("smtp", None) => (Security::None, 25),
        _ => return Err(allowed()),
    };
    // A literal IPv6 address stands in brackets only in an address.
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(MailServer { host, port: url.port().unwrap_or(port), security })
}

/// Whom a mail is from or to: an address, with a name before it or not.
pub(super) fn mailbox(text: &str) -> Read<Mailbox> {
    text.parse().map_err(|_| "use an address such as jane@example.com".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_durations() {
        for (text, time) in [("60", 60_000), ("1.5", 1500), ("0", 0), ("200ms", 200), ("1m30s", 90_000)] {
            assert_eq!(super::time(text), Ok(Duration::from_millis(time)), "{text}");
        }
        for text in ["", "-1", "soon", "inf", "1e300"] {
            assert!(time(text).unwrap_err().contains("1m30s"), "{text}");
        }
        assert!(some_time("0").is_err() && some_time("1").is_ok());
    }

    #[test]
    fn modes_are_octal_and_let_the_owner_read() {
        for (text, mode) in [("0644", 0o644), ("440", 0o440), ("0o400", 0o400)] {
            assert_eq!(super::mode(text), Ok(mode), "{text}");
        }
        for text in ["", "888", "0044", "1777", "-1"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mail_servers_have_the_usual_port_and_one_of_three_ways_to_be_spoken_to() {
        for (text, host, port, security) in [
            ("smtps://mail", "mail", 465, Security::Tls),
            ("smtp://mail?tls=required", "mail", 587, Security::StartTls),
            ("smtp://[::1]:26", "::1", 26, Security::None),
        ] {
            assert_eq!(mail_server(text), Ok(MailServer { host: host.to_owned(), port, security }), "{text}");
        }
        for text in ["mail", "http://mail", "smtp://", "smtp://mail?tls=maybe", "smtps://mail?tls=none", "smtps://jane@mail"] {
            assert!(mail_server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_are_trimmed_and_addresses_are_of_the_web() {
        assert_eq!(list(" a, b ,,c"), ["a", "b", "c"]);
        assert!(address("http://localhost:1/x").is_ok());
        for text in ["localhost", "file:///etc/passwd", "ftp://host", "http://"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
