//! What the bridge answers over HTTP: the WebSocket itself, who is connected, and what an administrator may change.
//!
//! | request | answer |
//! |---|---|
//! | `GET /websockify`, `GET /websockify/NAME` | the WebSocket to the pod's desktop, or to another that is listed |
//! | `POST /admittance` | 204 if a viewer would be let in now, else why not; a browser's page can't read the refusal of a WebSocket |
//! | `GET /screenshot`, `GET /screenshot?width=320` | a picture of the pod's own desktop as PNG |
//! | `GET /activity` | [`Activity`](super::viewers::Activity) as JSON |
//! | `DELETE /viewers/ID` | ends a viewer's conversation; the body may have a reason: `{"reason":"…"}` |
//! | `PUT /viewers/ID/role` | `{"role":"view"}` or `{"role":"control"}`, in force at once |
//! | `POST /tickets` | a ticket for `{"user":"…","role":"…","seconds":30}` |
//!
//! The last five need the administrator's token where there is one. The last three need that there is one, and so do `/activity` and
//! `/screenshot` where viewers need a token.

mod administration;
mod refusal;
mod screenshot;

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State},
    http::{HeaderMap, StatusCode, Uri, request::Parts},
    response::{IntoResponse, Response},
    routing::{any, delete, get, post, put},
};

use super::{
    admittance::{Admittance, Grant, administrator::TokenFile, origin::Origins},
    bridge::{self, Buffers, Ends, Framing, Pace, target::Targets},
    metrics::Metrics,
    rfb::{
        filter::Filter,
        policy::{Bounds, Policy},
    },
    screenshot::Camera,
    viewers::{Guest, Limits, Role, Seat, Viewers},
    websocket::{
        close::{Close, CloseCode},
        handshake::{self, Accepted},
    },
};
use crate::runtime::{
    complaint::with_causes,
    shutdown::Shutdown,
    takeover::{Stream, Taken, Takeover},
};
use refusal::Refusal;

/// More than any request to an administrator's address has.
const LONGEST_BODY: usize = 4096;

/// What a desktop speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFB 3.8, of which viewers' messages are read.
    Rfb {
        /// Whether the server knows extended mouse buttons, as `Xtigervnc` does from 1.15 on.
        knows_more_buttons: bool,
    },
    /// Something else, of which nothing is understood: no viewer can be kept from anything.
    Opaque,
}

/// How desktops are shown.
#[derive(Debug)]
pub struct Settings {
    /// Where they are.
    pub targets: Targets,
    /// What they speak.
    pub protocol: Protocol,
    /// What a viewer in control may do.
    pub control: Policy,
    /// Which pages may connect.
    pub origins: Origins,
    /// Who may connect.
    pub admittance: Admittance,
    /// How many may be connected.
    pub limits: Limits,
    /// Whether the last entry of `X-Forwarded-For` is a viewer's address. Only a proxy that adds it itself makes that true.
    pub trusts_forwarded_address: bool,
    /// The file with the token of those who may see and change who is connected.
    pub administrator: Option<TokenFile>,
    /// The largest desktop of which pictures are taken, in pixels across and down.
    pub largest_picture: (u16, u16),
    /// How long is waited for what.
    pub pace: Pace,
    /// The longest frame of a viewer, in bytes.
    pub frame_limit: u64,
}

impl Settings {
    /// Desktops that whoever reaches us may control.
    #[must_use]
    pub fn open(targets: Targets, protocol: Protocol) -> Self {
        Self {
            targets,
            protocol,
            control: Policy::control(),
            origins: Origins::default(),
            admittance: Admittance::default(),
            limits: Limits::default(),
            trusts_forwarded_address: false,
            administrator: None,
            largest_picture: Bounds::default().most,
            pace: Pace::default(),
            frame_limit: 16 * 1024 * 1024,
        }
    }
}

/// The desktops of a pod, as viewers meet them. Clones share them.
#[derive(Debug, Clone)]
pub struct Desk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: Settings,
    viewers: Viewers,
    buffers: Buffers,
    camera: Camera,
    metrics: Metrics,
    shutdown: Shutdown,
    /// What viewers are told at the end.
    farewell: OnceLock<Close>,
}

impl Desk {
    /// Shows desktops until `shutdown` closes: then viewers are told to come back, unless there is [another end](Self::set_farewell), and go.
    #[must_use]
    pub fn new(settings: Settings, metrics: Metrics, shutdown: Shutdown) -> Self {
        let viewers = Viewers::new(settings.limits, settings.control, metrics.clone());
        let (buffers, camera) = (Buffers::new(metrics.clone()), Camera::new(settings.largest_picture));
        Self(Arc::new(Shared { settings, viewers, buffers, camera, metrics, shutdown, farewell: OnceLock::new() }))
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(super) fn shutdown(&self) -> &Shutdown {
        &self.0.shutdown
    }

    /// What viewers are told when `shutdown` closes, where not that they may come back at once. What is said first counts.
    pub fn set_farewell(&self, close: Close) {
        // Somebody else knew it before.
        let _ = self.0.farewell.set(close);
    }

    fn farewell(&self) -> Close {
        let restarts = || Close::new(CloseCode::ServiceRestart, "the desktop's server restarts or goes: connect again");
        self.0.farewell.get().cloned().unwrap_or_else(restarts)
    }

    /// Who is connected.
    #[must_use]
    pub fn viewers(&self) -> &Viewers {
        &self.0.viewers
    }

    /// All addresses; see [the module](self).
    pub fn router(&self) -> Router {
        let administration = Router::new()
            .route("/activity", get(administration::activity))
            .route("/screenshot", get(screenshot::screenshot))
            .route("/viewers/{id}", delete(administration::revoke))
            .route("/viewers/{id}/role", put(administration::change_role))
            .route("/tickets", post(administration::issue_ticket))
            .layer(DefaultBodyLimit::max(LONGEST_BODY));
        let desktops = Router::new().route("/websockify", any(own_desktop)).route("/websockify/{name}", any(named_desktop));
        desktops.merge(administration).route("/admittance", post(admittance)).with_state(self.clone())
    }

    /// Lets a viewer in, or says why not.
    async fn meet(&self, name: Option<&str>, peer: SocketAddr, request: &Parts) -> Result<Response, Refusal> {
        let Shared { settings, shutdown, .. } = &*self.0;
        let target = settings.targets.find(name).ok_or(Refusal::NoDesktop)?;
        let accepted = handshake::judge(&request.method, request.version, &request.headers)?;
        if shutdown.is_closing() {
            return Err(Refusal::GoingDown);
        }
        settings.origins.check_page(&request.headers, &settings.admittance)?;
        let admitted = settings.admittance.admit(&request.headers, request.uri.query()).await?;
        let address = self.address(&request.headers, peer);
        let seat = self.0.viewers.seat(self.guest(&admitted.grant, address)?)?;
        let desktop = target.connect(settings.pace.connect).await.map_err(|error| {
            tracing::warn!(error = with_causes(&error), ?target, "the desktop can't be reached");
            Refusal::DesktopAway
        })?;
        admitted.enter();
        Ok(self.begin(&accepted, seat, desktop))
    }

    /// Whether a viewer would be let in now. Nothing changes by that, so the answer may be old when it arrives.
    async fn judge(&self, peer: SocketAddr, headers: &HeaderMap, query: Option<&str>) -> Result<(), Refusal> {
        let Shared { settings, viewers, shutdown, .. } = &*self.0;
        if shutdown.is_closing() {
            return Err(Refusal::GoingDown);
        }
        settings.origins.check_page(headers, &settings.admittance)?;
        let grant = settings.admittance.check(headers, query).await?;
        Ok(viewers.has_room(&self.guest(&grant, self.address(headers, peer))?)?)
    }

    fn guest(&self, grant: &Grant, address: IpAddr) -> Result<Guest, Refusal> {
        if self.0.settings.protocol == Protocol::Opaque && grant.role == Role::View {
            return Err(Refusal::NotFiltered);
        }
        Ok(Guest { user: grant.user.clone(), address, role: grant.role })
    }

    /// Who a viewer is to the limits.
    fn address(&self, headers: &HeaderMap, peer: SocketAddr) -> IpAddr {
        let forwarded =
            || headers.get_all("x-forwarded-for").into_iter().next_back()?.to_str().ok()?.rsplit(',').next()?.trim().parse().ok();
        // IPv4 in the clothes of IPv6 is IPv4.
        self.0.settings.trusts_forwarded_address.then(forwarded).flatten().unwrap_or_else(|| peer.ip()).to_canonical()
    }

    /// Answers with the upgrade, after which the connection is the bridge's.
    fn begin(&self, accepted: &Accepted, seat: Seat, desktop: Box<dyn Stream>) -> Response {
        let desk = self.clone();
        let framing = Framing::WebSocket { limit: self.0.settings.frame_limit };
        let mut response = Takeover::new(move |taken| async move { desk.show(seat, taken, framing, desktop).await }).into_response();
        response.headers_mut().extend(accepted.headers());
        response
    }

    /// Carries bytes between a viewer and the desktop to the end. Where they come in no frames, version and security are settled.
    pub(super) async fn show(&self, mut seat: Seat, taken: Taken, framing: Framing, desktop: Box<dyn Stream>) {
        let Shared { settings, buffers, metrics, shutdown, .. } = &*self.0;
        let viewer = seat.viewer.clone();
        let guest = viewer.guest();
        tracing::info!(viewer = viewer.id(), user = guest.user, address = %guest.address, role = ?viewer.role(), "a viewer came");
        let filter = match (framing, settings.protocol) {
            (Framing::WebSocket { .. }, Protocol::Rfb { knows_more_buttons }) => Some(Filter::new(knows_more_buttons)),
            (Framing::WebSocket { .. }, Protocol::Opaque) => None,
            (Framing::Bare, Protocol::Rfb { knows_more_buttons }) => Some(Filter::after_security(knows_more_buttons)),
            (Framing::Bare, Protocol::Opaque) => Some(Filter::after_security(false)),
        };
        let ends = Ends { viewer: &viewer, taken, framing, desktop, buffers: buffers.clone(), filter, pace: settings.pace };
        let order = async {
            tokio::select! {
                close = seat.order() => close,
                () = shutdown.closing() => self.farewell(),
            }
        };
        let ended = bridge::run(ends, order).await;
        metrics.ended(ended.code);
        tracing::info!(viewer = viewer.id(), code = ended.code, reason = &*ended.reason, "a viewer left");
    }

    /// Counts and logs that somebody may not come in. The HTTP status says why, also where there is no HTTP.
    pub(super) fn tell_refused(&self, status: u16, address: IpAddr, why: &dyn Error) {
        self.0.metrics.refused(status);
        tracing::info!(%address, status, reason = with_causes(why), "a viewer was refused");
    }
}

async fn own_desktop(State(desk): State<Desk>, ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request) -> Response {
    answer(&desk, None, peer, request).await
}

async fn named_desktop(
    State(desk): State<Desk>,
    Path(name): Path<String>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    answer(&desk, Some(&name), peer, request).await
}

async fn admittance(
    State(desk): State<Desk>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<StatusCode, Refusal> {
    desk.judge(peer, &headers, uri.query()).await.map(|()| StatusCode::NO_CONTENT)
}

async fn answer(desk: &Desk, name: Option<&str>, peer: SocketAddr, request: Request) -> Response {
    desk.meet(name, peer, &request.into_parts().0).await.unwrap_or_else(|refusal| {
        desk.tell_refused(refusal.status().as_u16(), peer.ip(), &refusal);
        refusal.into_response()
    })
}
