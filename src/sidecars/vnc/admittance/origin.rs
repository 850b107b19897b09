//! Which pages may open a WebSocket here (RFC 6455, section 10.2): browsers let any page try, and send the user's cookies along.

use axum::http::{HeaderMap, header};

/// The pages that may connect.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// Origins such as `https://desks.example.com`, besides that of this server itself.
    pub allowed: Vec<String>,
    /// Whether `X-Forwarded-Host` names this server. Only a proxy that sets it itself makes that true.
    pub trusts_forwarded_host: bool,
}

impl Origins {
    /// Whether the page that this request comes from may connect. Clients that are no browsers name none, and carry nobody's cookies.
    #[must_use]
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).into_iter();
        let Some(origin) = origins.next() else { return true };
        let (Ok(origin), None) = (origin.to_str(), origins.next()) else { return false };
        self.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) || self.is_own(origin, headers)
    }

    /// Whether the page came from this server.
    fn is_own(&self, origin: &str, headers: &HeaderMap) -> bool {
        let forwarded = self.trusts_forwarded_host.then(|| headers.get("x-forwarded-host")).flatten();
        let host = forwarded.or_else(|| headers.get(header::HOST)).and_then(|host| host.to_str().ok());
        let host = host.and_then(|host| host.split(',').next()).map(str::trim);
        let (Some(host), Some((scheme, authority))) = (host, origin.split_once("://")) else { return false };
        let port = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => return false,
        };
        let bare = |authority: &str| authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
        !authority.is_empty() && bare(authority) == bare(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        lines.iter().map(line).collect()
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
            assert_eq!(origins.allow(&headers(&[("origin", origin), ("host", host)])), is_allowed, "{origin} at {host}");
        }
        assert!(origins.allow(&headers(&[("host", "desk.local")])), "no browser");
        let twice = [("origin", "https://desk.local"), ("origin", "https://evil.example"), ("host", "desk.local")];
        assert!(!origins.allow(&headers(&twice)));
    }

    #[test]
    fn a_proxys_word_for_our_name_counts_only_by_choice() {
        let lines = headers(&[("origin", "https://desk.example"), ("host", "10.0.0.1"), ("x-forwarded-host", "desk.example, inner")]);
        assert!(!Origins::default().allow(&lines));
        assert!(Origins { trusts_forwarded_host: true, ..Origins::default() }.allow(&lines));
    }
}
