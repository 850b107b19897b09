//! What the sidecar is told: by variables of the environment or flags.

mod access;
mod reference;
mod table;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf};

pub use access::Access;
pub use reference::reference;
pub use table::{Row, TABLE, WITHOUT_EFFECT};

use super::{
    rfb::policy::{Bounds, Policy},
    x_server::display::{Display, NoDisplay},
};
use crate::{
    api::annotations::{Geometry, ValueKind},
    runtime::telemetry::LogFormat,
    sidecars::setting::{LOG_LEVELS, Read, boolean, folder, ip, number, port, word},
};
use table as t;

/// Where the webhook has the cookie's file mounted.
const COOKIE_FILE: &str = "/run/outrigger/xauth/cookie";

/// Longer texts would not fit into a frame of the WebSocket with all that may come with them.
const CLIPBOARD_LIMITS: RangeInclusive<u32> = 1..=8 * 1024 * 1024;

/// Why a setting can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// It can't be read.
    #[error("{name} is {value:?}: {way_out}")]
    Unreadable {
        /// The setting.
        name: &'static str,
        /// What was written.
        value: String,
        /// What to write instead.
        way_out: String,
    },
    /// It makes no sense beside another.
    #[error("{name} is {value:?}, and {other}: {way_out}")]
    Contradiction {
        /// The setting.
        name: &'static str,
        /// What was written.
        value: String,
        /// How the other is.
        other: &'static str,
        /// What to do about it.
        way_out: &'static str,
    },
}

/// All settings, read.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose X server is shown.
    pub mode: Mode,
    /// Its display.
    pub display: Display,
    /// The size it begins with.
    pub geometry: Geometry,
    /// Whether viewers may resize it.
    pub resize: bool,
    /// The smallest and the largest it may be.
    pub bounds: (Geometry, Geometry),
    /// Whether viewers may only look.
    pub view_only: bool,
    /// Which way text may be copied.
    pub clipboard: Clipboard,
    /// The longest text that may be copied to the desktop, in bytes.
    pub clipboard_limit: u32,
    /// The desktop's name, as viewers see it.
    pub name: Option<String>,
    /// Whether X clients share memory with the server.
    pub shares_memory: bool,
    /// Which window manager runs.
    pub window_manager: Option<WindowManager>,
    /// How often what shows the desktop is started again before we give up.
    pub restarts: u32,
    /// The folder of the RFB socket.
    pub folder: PathBuf,
    /// Port of the page and its WebSocket.
    pub port: u16,
    /// Who may come in there.
    pub access: Access,
    /// The TCP port of RFB, if there is to be one.
    pub rfb: Option<Rfb>,
    /// The folder of noVNC, if it is not where it usually is.
    pub web: Option<PathBuf>,
    /// Where the health port is.
    pub health: SocketAddr,
    /// The filter of the log.
    pub log_level: String,
    /// How log lines are written.
    pub log_format: LogFormat,
}

/// The TCP port of RFB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rfb {
    /// Where it listens.
    pub address: SocketAddr,
    /// The file with its passwords.
    pub password_file: PathBuf,
}

/// Whose X server is shown, and where its cookie is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Our own.
    Serve {
        /// The cookie's file, which we write.
        authority: PathBuf,
        /// Its mode.
        cookie_mode: u32,
    },
    /// The app's own.
    Attach {
        /// The cookie's file, if there is one.
        authority: Option<PathBuf>,
    },
}

/// Which way text may be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clipboard {
    /// Both ways.
    Both,
    /// From viewers to the desktop.
    In,
    /// From the desktop to viewers.
    Out,
    /// Not at all.
    Off,
}

impl Settings {
    /// The largest the desktop may be, in pixels across and down.
    #[must_use]
    pub const fn largest(&self) -> (u16, u16) {
        (self.bounds.1.width, self.bounds.1.height)
    }

    /// What a viewer who is in control may do.
    #[must_use]
    pub fn policy(&self) -> Policy {
        if self.view_only {
            return Policy::VIEW_ONLY;
        }
        let (smallest, largest) = self.bounds;
        let bounds = Bounds { least: (smallest.width, smallest.height), most: (largest.width, largest.height) };
        let clipboard = self.clipboard.comes_in().then_some(self.clipboard_limit);
        Policy { clipboard, resize: self.resize.then_some(bounds), ..Policy::control() }
    }
}

impl Clipboard {
    /// Whether text may be copied from viewers to the desktop.
    #[must_use]
    pub const fn comes_in(self) -> bool {
        matches!(self, Self::Both | Self::In)
    }

    /// Whether text may be copied from the desktop to viewers.
    #[must_use]
    pub const fn goes_out(self) -> bool {
        matches!(self, Self::Both | Self::Out)
    }
}

/// A window manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowManager {
    /// <http://openbox.org>.
    Openbox,
}

/// Reads all settings. `set` is what a row was set to, if it was.
///
/// # Errors
/// One can't be read.
pub fn read(set: impl Fn(&Row) -> Option<String>) -> Result<Settings, SettingsError> {
    Given(&set).settings()
}

/// Reads where the health port is, for those who only ask there.
///
/// # Errors
/// It can't be read.
pub fn health_port(set: impl Fn(&Row) -> Option<String>) -> Result<u16, SettingsError> {
    Given(&set).read(&t::HEALTH_PORT, port)
}

/// What was set, with the defaults that hold otherwise.
struct Given<'a>(&'a dyn Fn(&Row) -> Option<String>);

impl Given<'_> {
    fn settings(&self) -> Result<Settings, SettingsError> {
        let bounds = (self.read(&t::VNC_SMALLEST, geometry)?, self.read(&t::VNC_LARGEST, geometry)?);
        let mode = self.mode()?;
        let window_manager =
            self.read(&t::VNC_WINDOW_MANAGER, |text| word(text, &[("openbox", Some(WindowManager::Openbox)), ("none", None)]))?;
        let (host, port) = (self.read(&t::HEALTH_HOST, ip)?, self.read(&t::HEALTH_PORT, port)?);
        Ok(Settings {
            display: self.read(&t::DISPLAY, |text| text.parse().map_err(|error: NoDisplay| error.to_string()))?,
            geometry: self.read(&t::VNC_GEOMETRY, |text| within(without_depth(text).and_then(geometry)?, bounds))?,
            resize: self.read(&t::VNC_RESIZE, boolean)?,
            bounds,
            view_only: self.read(&t::VNC_VIEW_ONLY, boolean)?,
            clipboard: self.read(&t::VNC_CLIPBOARD, |text| {
                let words = [("both", Clipboard::Both), ("in", Clipboard::In), ("out", Clipboard::Out), ("off", Clipboard::Off)];
                word(text, &words)
            })?,
            clipboard_limit: self.read(&t::VNC_CLIPBOARD_LIMIT, clipboard_limit)?,
            name: self.text(&t::VNC_NAME),
            shares_memory: self.read(&t::VNC_MIT_SHM, boolean)?,
            // An app that brings its X server brings what runs on it.
            window_manager: window_manager.filter(|_| matches!(mode, Mode::Serve { .. })),
            mode,
            restarts: self.read(&t::VNC_X_RESTARTS, number)?,
            folder: self.read(&t::VNC_FOLDER, folder)?.into(),
            port: self.bridge_port()?,
            access: self.access()?,
            rfb: self.rfb()?,
            web: self.read_if_set(&t::VNC_WEB_FOLDER, folder)?.map(PathBuf::from),
            health: SocketAddr::new(host, port),
            log_level: self.read(&t::LOG_LEVEL, |text| word(text, &LOG_LEVELS))?.to_owned(),
            log_format: self.read(&t::LOG_FORMAT, |text| word(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)]))?,
        })
    }

    fn mode(&self) -> Result<Mode, SettingsError> {
        let authority = self.read_if_set(&t::XAUTHORITY, folder)?.map(PathBuf::from);
        let cookie_mode = self.read(&t::VNC_COOKIE_MODE, |text| word(text, &[("0440", 0o440), ("0444", 0o444)]))?;
        let attaches = self.read(&t::VNC_MODE, |text| word(text, &[("serve", false), ("attach", true)]))?;
        Ok(if attaches {
            Mode::Attach { authority }
        } else {
            Mode::Serve { authority: authority.unwrap_or_else(|| COOKIE_FILE.into()), cookie_mode }
        })
    }

    fn rfb(&self) -> Result<Option<Rfb>, SettingsError> {
        let rfb_port = self.read_if_set(&t::VNC_RFB_PORT, port)?;
        let password_file = self.read_if_set(&t::VNC_RFB_PASSWORD_FILE, folder)?;
        let host = self.read(&t::VNC_RFB_HOST, ip)?;
        let alone = |row: &'static Row, value: String, missing: &Row| {
            let way_out = format!("set {} too, or neither: a port for everybody is none", missing.name);
            Err(SettingsError::Unreadable { name: row.name, value, way_out })
        };
        match (rfb_port, password_file) {
            (Some(port), Some(file)) => Ok(Some(Rfb { address: SocketAddr::new(host, port), password_file: file.into() })),
            (Some(port), None) => alone(&t::VNC_RFB_PORT, port.to_string(), &t::VNC_RFB_PASSWORD_FILE),
            (None, Some(file)) => alone(&t::VNC_RFB_PASSWORD_FILE, file.clone(), &t::VNC_RFB_PORT),
            (None, None) => Ok(None),
        }
    }

    fn bridge_port(&self) -> Result<u16, SettingsError> {
        let by_other_name = self.read_if_set(&t::WEBSOCKET_PORT, port)?;
        by_other_name.map_or_else(|| self.read(&t::VNC_PORT, port), Ok)
    }

    /// What a row is set to, or its default.
    fn text(&self, row: &Row) -> Option<String> {
        (self.0)(row).filter(|value| !value.is_empty()).or_else(|| row.default.map(str::to_owned))
    }

    fn read_if_set<T>(&self, row: &'static Row, read: impl FnOnce(&str) -> Read<T>) -> Result<Option<T>, SettingsError> {
        let Some(value) = self.text(row) else { return Ok(None) };
        read(&value).map(Some).map_err(|way_out| SettingsError::Unreadable { name: row.name, value, way_out })
    }

    /// Reads a row that has a default.
    fn read<T>(&self, row: &'static Row, read: impl FnOnce(&str) -> Read<T>) -> Result<T, SettingsError> {
        let missing = || SettingsError::Unreadable { name: row.name, value: String::new(), way_out: "give it a value".to_owned() };
        self.read_if_set(row, read)?.ok_or_else(missing)
    }
}

fn clipboard_limit(text: &str) -> Read<u32> {
    number(text)
        .ok()
        .filter(|bytes| CLIPBOARD_LIMITS.contains(bytes))
        .ok_or_else(|| format!("use a whole number of bytes from {} to {}", CLIPBOARD_LIMITS.start(), CLIPBOARD_LIMITS.end()))
}

fn geometry(text: &str) -> Read<Geometry> {
    Geometry::parse(text).ok_or_else(|| format!("use {}", ValueKind::Geometry.allowed()))
}

/// Some images name a depth, too, as Xvfb wants it.
fn without_depth(text: &str) -> Read<&str> {
    match text.rsplit_once('x') {
        Some((size, "24")) if size.contains('x') => Ok(size),
        Some((size, depth)) if size.contains('x') => Err(format!("the depth is always 24, and {depth:?} is not: use {size}")),
        _ => Ok(text),
    }
}

fn within(geometry: Geometry, (smallest, largest): (Geometry, Geometry)) -> Read<Geometry> {
    let fits = |side: u16, least: u16, most: u16| (least..=most).contains(&side);
    if fits(geometry.width, smallest.width, largest.width) && fits(geometry.height, smallest.height, largest.height) {
        return Ok(geometry);
    }
    Err(format!("use a size from VNC_SMALLEST {}x{} to VNC_LARGEST {}x{}", smallest.width, smallest.height, largest.width, largest.height))
}
