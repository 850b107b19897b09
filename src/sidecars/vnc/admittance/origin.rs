//! Which pages may connect here (RFC 6455, section 10.2): browsers let any page try, and send the user's cookies along.
//!
//! A page of this server may. But whoever owns a name can let it lead here after their page has loaded (DNS rebinding): for the
//! browser their page is ours then, and `Host` says nothing else. Where a token is needed they lack it all the same. Where none is, only
//! a name counts that no stranger can have, or that was listed.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, header};

use super::Admittance;

/// Zones that public DNS does not have: those of a machine, and of a cluster's Services.
const LOCAL_ZONES: [&str; 3] = [".localhost", ".svc", ".cluster.local"];

/// The pages that may connect.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// Origins such as `https://desks.example.com`, besides that of this server itself.
    pub allowed: Vec<String>,
    /// Whether `X-Forwarded-Host` names this server. Only a proxy that sets it itself makes that true.
    pub trusts_forwarded_host: bool,
}

/// A page, or a name, that is not known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// The page is of another server, or of a name that is not known to be ours.
    #[error(
        "pages of {0} may not connect: if they are yours, list that origin in VNC_ORIGINS, which the annotation \
         vnc.outrigger.dev/origins sets, or let viewers need a token"
    )]
    Page(String),
    /// Whoever asks may be a page of a stranger to whom this name belongs.
    #[error(
        "this server is not known as {0}: ask by its address, or list an origin of that name in VNC_ORIGINS, which the annotation \
         vnc.outrigger.dev/origins sets"
    )]
    Name(String),
}

impl Origins {
    /// Whether the page that this request comes from may connect. Clients that are no browsers name none, and carry nobody's cookies.
    ///
    /// # Errors
    /// It may not.
    pub fn check_page(&self, headers: &HeaderMap, admittance: &Admittance) -> Result<(), Stranger> {
        let mut origins = headers.get_all(header::ORIGIN).into_iter();
        let Some(origin) = origins.next() else { return Ok(()) };
        let stranger = || Stranger::Page(String::from_utf8_lossy(origin.as_bytes()).into_owned());
        let (Ok(origin), None) = (origin.to_str(), origins.next()) else { return Err(stranger()) };
        let is_listed = self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
        let is_own = || {
            let Some((name, authority)) = self.own_name(headers).zip(authority(origin)) else { return false };
            authority.is_equal(name.authority) && (!admittance.is_open() || self.is_known(name))
        };
        if is_listed || is_own() { Ok(()) } else { Err(stranger()) }
    }

    /// Whether whoever asks without a token may read what is here. Of its own server a page may read all, and browsers name no origin then,
    /// so the name must be one that no stranger can have.
    ///
    /// # Errors
    /// They may not.
    pub fn check_reader(&self, headers: &HeaderMap) -> Result<(), Stranger> {
        self.check_page(headers, &Admittance::default())?;
        match self.own_name(headers) {
            Some(name) if !self.is_known(name) => Err(Stranger::Name(name.authority.to_owned())),
            _ => Ok(()),
        }
    }

    /// By which name this server was asked.
    fn own_name<'a>(&self, headers: &'a HeaderMap) -> Option<Name<'a>> {
        let forwarded = self.trusts_forwarded_host.then(|| headers.get("x-forwarded-host")).flatten();
        let authority = forwarded.or_else(|| headers.get(header::HOST))?.to_str().ok()?.split(',').next()?.trim();
        Some(Name { authority, is_vouched_for: forwarded.is_some() })
    }

    /// Whether a name is ours, whoever asks by it.
    fn is_known(&self, name: Name<'_>) -> bool {
        let host = host(name.authority).to_ascii_lowercase();
        let is_listed = || self.allowed.iter().filter_map(|origin| authority(origin)).any(|listed| self::host(listed.text) == host);
        name.is_vouched_for || is_local(&host) || is_listed()
    }
}

/// A name of this server, with its port.
#[derive(Clone, Copy)]
struct Name<'a> {
    authority: &'a str,
    /// Whether our own proxy says so.
    is_vouched_for: bool,
}

/// Host and port of an origin.
#[derive(Clone, Copy)]
struct Authority<'a> {
    text: &'a str,
    /// The port that need not be written.
    usual_port: &'static str,
}

impl Authority<'_> {
    fn is_equal(self, other: &str) -> bool {
        let bare = |authority: &str| authority.strip_suffix(self.usual_port).unwrap_or(authority).to_ascii_lowercase();
        bare(self.text) == bare(other)
    }
}

fn authority(origin: &str) -> Option<Authority<'_>> {
    let (scheme, text) = origin.split_once("://")?;
    let usual_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    (!text.is_empty()).then_some(Authority { text, usual_port })
}

/// An authority without its port.
fn host(authority: &str) -> &str {
    let end = if authority.starts_with('[') { authority.find(']').map(|end| end + 1) } else { authority.find(':') };
    authority.get(..end.unwrap_or(authority.len())).unwrap_or(authority)
}

/// Whether no stranger can own this host: an address, this machine, a name without a dot, or one of a zone that is nobody's.
fn is_local(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_address = address.map_or_else(|| host.parse::<Ipv4Addr>().is_ok(), |address| address.parse::<Ipv6Addr>().is_ok());
    let is_word = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_address || is_word || LOCAL_ZONES.iter().any(|zone| host.ends_with(zone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecars::vnc::admittance::tickets::Tickets;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        lines.iter().map(line).collect()
    }

    fn with_token() -> Admittance {
        Admittance { tickets: Some(Tickets::new(1)), ..Admittance::default() }
    }

    #[test]
    fn sortie_s8_b2_only_pages_of_this_server_and_listed_ones_connect() {
        let origins = Origins { allowed: vec!["https://desks.example.com".to_owned()], trusts_forwarded_host: false };
        for (origin, host, is_allowed) in [
            ("https://desk.local", "desk.local", true),
            ("https://desk.local", "desk.local:443", true),
            ("http://DESK.local:80", "desk.local", true),
            ("http://desk.local:6080", "desk.local:6080", true),
            ("http://[::1]:6080", "[::1]:6080", true),
            ("https://desks.example.com", "desk.local", true),
            ("http://desk.local:6080", "desk.local", false),
            ("http://desk.local", "desk.local:443", false),
            ("https://evil.example", "desk.local", false),
            ("https://desk.local.evil.example", "desk.local", false),
            ("https://desks.example.com.evil.example", "desk.local", false),
            ("null", "desk.local", false),
            ("file://", "desk.local", false),
            ("https://", "desk.local", false),
            ("", "desk.local", false),
        ] {
            let checked = origins.check_page(&headers(&[("origin", origin), ("host", host)]), &with_token());
            assert_eq!(checked.is_ok(), is_allowed, "{origin} at {host}");
        }
        assert_eq!(origins.check_page(&headers(&[("host", "desk.local")]), &with_token()), Ok(()), "no browser");
        let twice = [("origin", "https://desk.local"), ("origin", "https://evil.example"), ("host", "desk.local")];
        assert!(origins.check_page(&headers(&twice), &with_token()).is_err());
    }

    #[test]
    fn b2_a_strangers_name_that_leads_here_is_not_ours_where_no_token_is_needed() {
        let origins = Origins { allowed: vec!["https://desk.example.com".to_owned()], trusts_forwarded_host: false };
        for (host, is_known) in [
            ("127.0.0.1:6080", true),
            ("10.1.2.3", true),
            ("[::1]:6080", true),
            ("[fd00::7]", true),
            ("localhost:6080", true),
            ("LOCALHOST:6080", true),
            ("desk.localhost:6080", true),
            ("desk:6080", true),
            ("desk.team.svc:6080", true),
            ("desk.team.svc.cluster.local:6080", true),
            ("desk.example.com:8080", true),
            ("evil.example:6080", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.", false),
            ("desk.example.com.evil.example", false),
            ("[evil.example]", false),
            ("evil.example", false),
        ] {
            let origin = format!("http://{host}");
            let lines = headers(&[("origin", &origin), ("host", host)]);
            assert_eq!(origins.check_page(&lines, &Admittance::default()).is_ok(), is_known, "{host}");
            assert_eq!(origins.check_page(&lines, &with_token()), Ok(()), "{host}: a token is needed anyhow");
            // Browsers name no origin when a page reads from its own server.
            assert_eq!(origins.check_reader(&headers(&[("host", host)])).is_ok(), is_known, "{host}");
        }
        let elsewhere = headers(&[("origin", "https://evil.example"), ("host", "127.0.0.1:6080")]);
        let refused = origins.check_reader(&elsewhere).unwrap_err().to_string();
        assert!(refused.contains("https://evil.example") && refused.contains("VNC_ORIGINS"), "{refused}");
        let refused = origins.check_reader(&headers(&[("host", "evil.example")])).unwrap_err().to_string();
        assert!(refused.contains("evil.example") && refused.contains("vnc.outrigger.dev/origins"), "{refused}");
        assert_eq!(origins.check_reader(&HeaderMap::new()), Ok(()), "no browser");
    }

    #[test]
    fn a_proxys_word_for_our_name_counts_only_by_choice() {
        let lines = headers(&[("origin", "https://desk.example"), ("host", "10.0.0.1"), ("x-forwarded-host", "desk.example, inner")]);
        let behind_proxy = Origins { trusts_forwarded_host: true, ..Origins::default() };
        for admittance in [Admittance::default(), with_token()] {
            assert!(Origins::default().check_page(&lines, &admittance).is_err());
            assert_eq!(behind_proxy.check_page(&lines, &admittance), Ok(()));
        }
    }
}
