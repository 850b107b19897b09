//! Why a request is refused before any upgrade: a status for programs, a sentence for people.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::sidecars::vnc::{
    admittance::{Unadmitted, administrator::TokenFileError, origin::Stranger, tickets::TicketError},
    rfb::frame::FrameError,
    screenshot::ScreenshotError,
    viewers::Full,
    websocket::handshake::Malformed,
};

/// A request that is not granted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("there is no desktop of this name")]
    NoDesktop,
    #[error(transparent)]
    Stranger(#[from] Stranger),
    #[error(transparent)]
    Unadmitted(#[from] Unadmitted),
    #[error("this desktop's protocol can't be filtered, so nobody may only look")]
    NotFiltered,
    #[error(transparent)]
    Full(#[from] Full),
    #[error("the desktop can't be reached: it may be starting")]
    DesktopAway,
    #[error("this server restarts or goes: connect again")]
    GoingDown,
    #[error("the administrator's token is needed, in the header Authorization: Bearer TOKEN")]
    NotAdministrator,
    #[error("nobody is administrator here: give the bridge a file with an administrator's token first")]
    NoAdministrator,
    #[error("nobody can be told from the administrator now")]
    AdministratorUnknown(#[source] TokenFileError),
    #[error("there is no viewer with this number")]
    NoViewer,
    #[error("the body is not {0}")]
    Body(&'static str),
    #[error("tickets are not used here: let the bridge use them first")]
    NoTickets,
    #[error(transparent)]
    Ticket(#[from] TicketError),
    #[error("width is no number of pixels from 1 to 65535")]
    Width,
    #[error("this desktop's protocol is not RFB, so no picture can be taken")]
    NoPicture,
    #[error(transparent)]
    Screenshot(#[from] ScreenshotError),
}

impl Refusal {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(malformed) => malformed.status(),
            Self::NoDesktop | Self::NoViewer => StatusCode::NOT_FOUND,
            Self::NotFiltered
            | Self::NoTickets
            | Self::NoPicture
            | Self::Screenshot(ScreenshotError::Frame(FrameError::TooLarge { .. })) => StatusCode::CONFLICT,
            Self::Unadmitted(Unadmitted::Keys(_))
            | Self::AdministratorUnknown(_)
            | Self::DesktopAway
            | Self::GoingDown
            | Self::Screenshot(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unadmitted(_) | Self::NotAdministrator => StatusCode::UNAUTHORIZED,
            Self::Stranger(_) | Self::NoAdministrator => StatusCode::FORBIDDEN,
            Self::Full(_) | Self::Ticket(TicketError::TooMany(_)) => StatusCode::TOO_MANY_REQUESTS,
            Self::Body(_) | Self::Width => StatusCode::BAD_REQUEST,
            Self::Ticket(TicketError::Random) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Seconds after which it is worth to try again.
    const fn retry_after(&self) -> Option<&'static str> {
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE => Some("2"),
            StatusCode::TOO_MANY_REQUESTS => Some("10"),
            _ => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status(), format!("{self}\n")).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Self::Malformed(malformed) = self {
            headers.extend(malformed.header());
        }
        response
    }
}
