//! Who may come in, and as what: by the pod's network alone, by single-use tickets, or by signed claims.

pub mod administrator;
pub mod claims;
pub mod origin;
pub mod tickets;

use std::{io, time::Instant};

use axum::http::{HeaderMap, HeaderName, header};
use jiff::Timestamp;

use super::{viewers::Role, websocket::handshake::subprotocols};
use claims::{ClaimError, KeyFile, KeyFileError};
use tickets::{Tickets, Used};

/// A subprotocol that begins so has a token in it: browsers can't set other headers of a WebSocket's request.
pub const SUBPROTOCOL_PREFIX: &str = "outrigger.token.";
/// The header with the token: of a page that asks whether it would be let in, since `Authorization` may be for a proxy on the way.
pub const HEADER: HeaderName = HeaderName::from_static(COOKIE);
/// The cookie with the token.
pub const COOKIE: &str = "outrigger-token";
/// The parameter of the address with the token, where that is chosen.
pub const PARAMETER: &str = "token";
/// Longer than any token of ours.
const LONGEST_TOKEN: usize = 4096;

/// What somebody may be here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who, where that is known.
    pub user: Option<String>,
    /// As what.
    pub role: Role,
}

/// Why somebody may not come in.
#[derive(Debug, thiserror::Error)]
pub enum Unadmitted {
    /// There is no token.
    #[error(
        "a token is needed: in the subprotocol {SUBPROTOCOL_PREFIX}TOKEN, the cookie {COOKIE}, or the header Authorization: Bearer TOKEN"
    )]
    NoToken,
    /// It is no ticket of ours, or was used, or has expired.
    #[error("the ticket is not known here: it was used, or has expired")]
    Ticket,
    /// The claims are not good.
    #[error(transparent)]
    Claims(#[from] ClaimError),
    /// There is no key by which claims could be judged.
    #[error("signed claims are not used here: there is no file of their keys")]
    NoKeys,
    /// Claims can't be judged.
    #[error("tokens can't be checked now")]
    Keys(#[source] KeyFileError),
}

/// Which tokens let somebody in.
#[derive(Debug, Default)]
pub struct Admittance {
    /// Single-use tickets.
    pub tickets: Option<Tickets>,
    /// The keys of signed claims.
    pub keys: Option<KeyFile>,
    /// The session that claims must be good for.
    pub session: String,
    /// Whether a token may stand in the address, where logs and histories keep it.
    pub allows_address: bool,
}

/// Somebody who may come in. Whoever does not after all may try again with the same ticket.
#[derive(Debug)]
pub struct Admitted<'tickets> {
    /// As whom and as what.
    pub grant: Grant,
    /// The ticket that was used for it.
    ticket: Option<Used<'tickets>>,
}

impl Admitted<'_> {
    /// They are in.
    pub fn enter(self) {
        if let Some(used) = self.ticket {
            used.spend();
        }
    }
}

/// What is known of somebody before a ticket is looked up.
enum Judged<'tickets, 'request> {
    Granted(Grant),
    Ticket(&'tickets Tickets, &'request str),
}

impl Admittance {
    /// Whether whoever reaches us may come in.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.tickets.is_none() && self.keys.is_none()
    }

    /// Whether somebody may come in, and as what. A ticket is used by that, once they [are in](Admitted::enter).
    ///
    /// # Errors
    /// See [`Unadmitted`].
    pub async fn admit(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Admitted<'_>, Unadmitted> {
        match self.judge(headers, query).await? {
            Judged::Granted(grant) => Ok(Admitted { grant, ticket: None }),
            Judged::Ticket(tickets, token) => {
                let used = tickets.take(token, Instant::now()).ok_or(Unadmitted::Ticket)?;
                Ok(Admitted { grant: used.grant().clone(), ticket: Some(used) })
            }
        }
    }

    /// Whether somebody would be let in now, and as what. No ticket is used by that.
    ///
    /// # Errors
    /// See [`Unadmitted`].
    pub async fn check(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Grant, Unadmitted> {
        match self.judge(headers, query).await? {
            Judged::Granted(grant) => Ok(grant),
            Judged::Ticket(tickets, token) => tickets.look_up(token, Instant::now()).ok_or(Unadmitted::Ticket),
        }
    }

    async fn judge<'a>(&self, headers: &'a HeaderMap, query: Option<&'a str>) -> Result<Judged<'_, 'a>, Unadmitted> {
        if self.is_open() {
            return Ok(Judged::Granted(Grant { user: None, role: Role::Control }));
        }
        let token = self.token(headers, query).filter(|token| token.len() <= LONGEST_TOKEN).ok_or(Unadmitted::NoToken)?;
        match (&self.tickets, &self.keys) {
            // Only claims have a dot in them.
            (Some(tickets), None) => Ok(Judged::Ticket(tickets, token)),
            (Some(tickets), Some(_)) if !token.contains('.') => Ok(Judged::Ticket(tickets, token)),
            (_, Some(keys)) => self.claimed(token, keys).await.map(Judged::Granted),
            (None, None) => Err(Unadmitted::NoToken),
        }
    }

    /// What signed claims grant.
    async fn claimed(&self, token: &str, keys: &KeyFile) -> Result<Grant, Unadmitted> {
        let keys = keys.read().await.map_err(|error| match error {
            KeyFileError::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => Unadmitted::NoKeys,
            error => Unadmitted::Keys(error),
        })?;
        let claims = claims::verify(token, &keys, &self.session, Timestamp::now().as_second())?;
        Ok(Grant { user: Some(claims.user), role: claims.role })
    }

    fn token<'a>(&self, headers: &'a HeaderMap, query: Option<&'a str>) -> Option<&'a str> {
        let subprotocol = subprotocols(headers).find_map(|offered| offered.strip_prefix(SUBPROTOCOL_PREFIX));
        let address = query.filter(|_| self.allows_address).and_then(|query| value(query.split('&'), PARAMETER));
        let header = headers.get(HEADER).and_then(|token| token.to_str().ok());
        // What is ours alone counts first: `Authorization` may have been meant for a proxy on the way.
        subprotocol.or(header).or_else(|| cookie(headers)).or_else(|| bearer(headers)).or(address)
    }
}

/// The token of an `Authorization` header (RFC 6750, section 2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    value(lines.flat_map(|line| line.split(';')).map(str::trim), COOKIE)
}

/// The value of the first pair `name=value` of this name.
fn value<'a>(mut pairs: impl Iterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    pairs.find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::HeaderValue;
    use secrecy::ExposeSecret;

    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[tokio::test]
    async fn without_tickets_and_keys_whoever_reaches_us_is_in_control() {
        let admittance = Admittance::default();
        let admitted = admittance.admit(&HeaderMap::new(), None).await.unwrap();
        assert_eq!(admitted.grant, Grant { user: None, role: Role::Control });
    }

    #[tokio::test]
    async fn b3_a_token_comes_in_a_header_a_subprotocol_or_a_cookie_and_in_the_address_only_by_choice() {
        let mut admittance = Admittance { tickets: Some(Tickets::new(10)), ..Admittance::default() };
        let grant = Grant { user: Some("ann".to_owned()), role: Role::View };
        let issue = |admittance: &Admittance| {
            let ticket = admittance.tickets.as_ref().unwrap().issue(grant.clone(), Duration::from_secs(60), Instant::now());
            ticket.unwrap().expose_secret().to_owned()
        };
        for (name, before, after) in [
            (header::AUTHORIZATION, "Bearer ", ""),
            (header::SEC_WEBSOCKET_PROTOCOL, "binary, outrigger.token.", ""),
            (header::COOKIE, "theme=dark; outrigger-token=", "; other=1"),
        ] {
            let lines = headers(name, &format!("{before}{}{after}", issue(&admittance)));
            let admitted = admittance.admit(&lines, None).await.unwrap();
            assert_eq!(admitted.grant, grant);
            admitted.enter();
            assert!(matches!(admittance.admit(&lines, None).await, Err(Unadmitted::Ticket)), "used");
        }
        let query = format!("x=1&token={}", issue(&admittance));
        assert!(matches!(admittance.admit(&HeaderMap::new(), Some(&query)).await, Err(Unadmitted::NoToken)));
        admittance.allows_address = true;
        assert_eq!(admittance.admit(&HeaderMap::new(), Some(&query)).await.unwrap().grant, grant);
    }

    #[tokio::test]
    async fn tickets_and_claims_are_told_apart() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "k".repeat(32)).unwrap();
        let admittance = Admittance {
            tickets: Some(Tickets::new(10)),
            keys: Some(KeyFile::new(file.path().to_owned())),
            session: "desk-1".to_owned(),
            allows_address: false,
        };
        let claims = claims::Claims { exp: i64::MAX, session: "desk-1".to_owned(), user: "bob".to_owned(), role: Role::Control };
        let token = claims::sign(&claims, &claims::Key::new(&[b'k'; 32]).unwrap());
        let lines = headers(header::AUTHORIZATION, &format!("bearer {}", token.expose_secret()));
        let admitted = admittance.admit(&lines, None).await.unwrap();
        assert_eq!(admitted.grant, Grant { user: Some("bob".to_owned()), role: Role::Control });
        assert!(matches!(admittance.admit(&headers(header::AUTHORIZATION, "Bearer nobody"), None).await, Err(Unadmitted::Ticket)));
        std::fs::remove_file(file.path()).unwrap();
        assert!(matches!(admittance.admit(&lines, None).await, Err(Unadmitted::NoKeys)), "this way is off");
        std::fs::create_dir(file.path()).unwrap();
        assert!(matches!(admittance.admit(&lines, None).await, Err(Unadmitted::Keys(_))));
    }

    #[tokio::test]
    async fn who_asks_whether_a_ticket_is_good_does_not_use_it() {
        let admittance = Admittance { tickets: Some(Tickets::new(10)), ..Admittance::default() };
        assert!(matches!(admittance.check(&HeaderMap::new(), None).await, Err(Unadmitted::NoToken)));
        let grant = Grant { user: None, role: Role::View };
        let ticket = admittance.tickets.as_ref().unwrap().issue(grant.clone(), Duration::from_secs(60), Instant::now()).unwrap();
        let lines = headers(HEADER, ticket.expose_secret());
        for _ in 0..2 {
            assert_eq!(admittance.check(&lines, None).await.unwrap(), grant);
        }
        admittance.admit(&lines, None).await.unwrap().enter();
        assert!(matches!(admittance.check(&lines, None).await, Err(Unadmitted::Ticket)));
    }

    #[tokio::test]
    async fn what_was_meant_for_a_proxy_is_not_taken_for_our_token() {
        let admittance = Admittance { tickets: Some(Tickets::new(10)), ..Admittance::default() };
        let grant = Grant { user: None, role: Role::View };
        let ticket = admittance.tickets.as_ref().unwrap().issue(grant, Duration::from_secs(60), Instant::now()).unwrap();
        let mut lines = headers(header::AUTHORIZATION, "Bearer of-the-proxy");
        let subprotocol = format!("binary, {SUBPROTOCOL_PREFIX}{}", ticket.expose_secret());
        lines.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(&subprotocol).unwrap());
        admittance.admit(&lines, None).await.unwrap();
    }
}
