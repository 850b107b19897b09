//! The request that asks for a WebSocket, and the answer (RFC 6455, section 4.2).

use aws_lc_rs::digest;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// What the key is joined with before it is hashed (RFC 6455, section 1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_LENGTH: usize = 16;
const VERSION: &str = "13";
/// The subprotocol of noVNC and websockify.
const SUBPROTOCOL: &str = "binary";

/// Why a request is not one for a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is no GET.
    #[error("a WebSocket begins with a GET request")]
    Method,
    /// HTTP/1.0 knows no upgrades, and HTTP/2 has another way.
    #[error("a WebSocket begins with an HTTP/1.1 request")]
    Version,
    /// It does not ask for one.
    #[error("this is the address of a WebSocket: connect a VNC client such as noVNC to it")]
    NoUpgrade,
    /// It asks for another version of the protocol.
    #[error("WebSocket version 13 is spoken here alone")]
    WebSocketVersion,
    /// The key is missing, or is not 16 bytes in base64.
    #[error("the header Sec-WebSocket-Key must be 16 bytes in base64, once")]
    Key,
    /// There is no Host header.
    #[error("the header Host is missing")]
    Host,
}

impl Malformed {
    /// The status that says so.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoUpgrade | Self::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Self::Version | Self::Key | Self::Host => StatusCode::BAD_REQUEST,
        }
    }

    /// The header that names the way out.
    #[must_use]
    pub const fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Method => Some((header::ALLOW, HeaderValue::from_static("GET"))),
            Self::NoUpgrade => Some((header::UPGRADE, HeaderValue::from_static("websocket"))),
            Self::WebSocketVersion => Some((header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION))),
            Self::Version | Self::Key | Self::Host => None,
        }
    }
}

/// What a good request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    accept: String,
    chooses_subprotocol: bool,
}

impl Accepted {
    /// The headers of the answer. Without a subprotocol in the request there is none in the answer: strict clients would refuse it.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let fixed = [(header::CONNECTION, HeaderValue::from_static("Upgrade")), (header::UPGRADE, HeaderValue::from_static("websocket"))];
        let accept = HeaderValue::from_str(&self.accept).ok().map(|accept| (header::SEC_WEBSOCKET_ACCEPT, accept));
        let subprotocol = self.chooses_subprotocol.then(|| (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL)));
        fixed.into_iter().chain(accept).chain(subprotocol)
    }
}

/// Whether a request asks for a WebSocket as it must.
///
/// # Errors
/// It does not; the error names what is wrong first.
pub fn judge(method: &Method, version: Version, headers: &HeaderMap) -> Result<Accepted, Malformed> {
    if method != Method::GET {
        return Err(Malformed::Method);
    }
    if !tokens(headers, &header::UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket")) {
        return Err(Malformed::NoUpgrade);
    }
    if version != Version::HTTP_11 {
        return Err(Malformed::Version);
    }
    if !tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return Err(Malformed::NoUpgrade);
    }
    if headers.get(header::HOST).is_none() {
        return Err(Malformed::Host);
    }
    if !tokens(headers, &header::SEC_WEBSOCKET_VERSION).eq([VERSION]) {
        return Err(Malformed::WebSocketVersion);
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).into_iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(Malformed::Key) };
    if STANDARD.decode(key).map_or(0, |bytes| bytes.len()) != KEY_LENGTH {
        return Err(Malformed::Key);
    }
    Ok(Accepted { accept: accept(key.as_bytes()), chooses_subprotocol: subprotocols(headers).any(|offered| offered == SUBPROTOCOL) })
}

/// The subprotocols that are offered, in their order.
pub fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL)
}

/// The elements of a header that is a list, on one line or several.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

fn accept(key: &[u8]) -> String {
    // The protocol's own choice; it protects from caches that answer by mistake, not from anybody.
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(ACCEPT_SUFFIX);
    STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(lines: impl IntoIterator<Item = (&'static str, &'a str)>) -> HeaderMap {
        lines.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    const GOOD: [(&str, &str); 5] = [
        ("host", "desk"),
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn judged(lines: &[(&'static str, &str)]) -> Result<Accepted, Malformed> {
        judge(&Method::GET, Version::HTTP_11, &headers(lines.iter().copied()))
    }

    #[test]
    fn the_answer_to_the_specifications_own_example() {
        assert_eq!(judged(&GOOD).unwrap().accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn b1_the_subprotocol_is_echoed_only_if_it_was_offered() {
        let answered = |offers: &[&str]| {
            let offers = offers.iter().map(|offer| ("sec-websocket-protocol", *offer));
            let accepted = judged(&GOOD.into_iter().chain(offers).collect::<Vec<_>>()).unwrap();
            accepted.headers().find(|(name, _)| *name == header::SEC_WEBSOCKET_PROTOCOL).map(|(_, value)| value)
        };
        assert_eq!(answered(&[]), None);
        assert_eq!(answered(&["chat, superchat"]), None);
        assert_eq!(answered(&["base64", "outrigger.token.x, binary"]), Some(HeaderValue::from_static("binary")));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let without = |name: &str| GOOD.into_iter().filter(|(other, _)| *other != name).collect::<Vec<_>>();
        let with = |name: &'static str, value: &'static str| without(name).into_iter().chain([(name, value)]).collect::<Vec<_>>();
        for (lines, malformed) in [
            (without("host"), Malformed::Host),
            (without("upgrade"), Malformed::NoUpgrade),
            (with("upgrade", "h2c"), Malformed::NoUpgrade),
            (without("connection"), Malformed::NoUpgrade),
            (with("connection", "close"), Malformed::NoUpgrade),
            (without("sec-websocket-version"), Malformed::WebSocketVersion),
            (with("sec-websocket-version", "8"), Malformed::WebSocketVersion),
            (without("sec-websocket-key"), Malformed::Key),
            (with("sec-websocket-key", "c2hvcnQ="), Malformed::Key),
            (GOOD.into_iter().chain([GOOD[4]]).collect(), Malformed::Key),
        ] {
            assert_eq!(judged(&lines).unwrap_err(), malformed, "{lines:?}");
        }
        let headers = headers(GOOD);
        assert_eq!(judge(&Method::POST, Version::HTTP_11, &headers).unwrap_err(), Malformed::Method);
        assert_eq!(judge(&Method::GET, Version::HTTP_10, &headers).unwrap_err(), Malformed::Version);
    }
}
