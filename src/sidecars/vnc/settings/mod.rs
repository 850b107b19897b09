//! What the sidecar is told: by variables of the environment or flags.

mod access;
mod reference;
mod rfb;
mod table;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf};

pub use access::Access;
pub use reference::reference;
pub use rfb::{GuacamoleConnection, Rfb};
pub use table::{TABLE, Table, WITHOUT_EFFECT};

use super::{
    rfb::policy::{Bounds, Policy},
    x_server::display::{Display, NoDisplay},
};
use crate::{
    api::annotations::{Geometry, ValueKind},
    runtime::telemetry::LogFormat,
    sidecars::setting::{LOG_LEVELS, Read, Row, boolean, folder, ip, number, port, word},
};
use table as t;

/// Where the webhook has the cookie's file mounted.
const COOKIE_FILE: &str = "/run/outrigger/xauth/cookie";

/// Longer texts would not fit into a frame of the WebSocket with all that may come with them.
const CLIPBOARD_LIMITS: RangeInclusive<u32> = 1..=8 * 1024 * 1024;

/// Why a setting can't be used. The names are those by which they were set, or can be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// It can't be read.
    #[error("{name} is {value:?}: {way_out}")]
    Unreadable {
        /// The setting.
        name: String,
        /// What was written.
        value: String,
        /// What to write instead.
        way_out: String,
    },
    /// It makes no sense beside another.
    #[error("{name} is {value:?}, and {other}: {way_out}")]
    Contradiction {
        /// The setting.
        name: String,
        /// What was written.
        value: String,
        /// How the other is.
        other: String,
        /// What to do about it.
        way_out: String,
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

/// Reads the settings of a pod. `set` is what a row was set to, if it was, and `name` by what it was, or can be.
///
/// # Errors
/// One can't be read, or two make no sense together.
pub fn read(set: impl Fn(&Row) -> Option<String>, name: impl Fn(&Row) -> String) -> Result<Settings, SettingsError> {
    Given { set: &set, name: &name }.settings(Use::Pod)
}

/// Reads the settings of a desktop for a command, which flags alone set.
///
/// # Errors
/// As [`read`].
pub fn read_for_command(set: impl Fn(&Row) -> Option<String>) -> Result<Settings, SettingsError> {
    Given { set: &set, name: &flag }.settings(Use::Command)
}

/// Reads the display that was asked for by a flag.
///
/// # Errors
/// It can't be read.
pub fn wanted_display(set: impl Fn(&Row) -> Option<String>) -> Result<Option<Display>, SettingsError> {
    let given = Given { set: &set, name: &flag };
    if given.is_set(&t::DISPLAY) { given.read_if_set(&t::DISPLAY, display) } else { Ok(None) }
}

/// Reads where the health port is, for those who only ask there.
///
/// # Errors
/// It can't be read.
pub fn health_address(set: impl Fn(&Row) -> Option<String>, name: impl Fn(&Row) -> String) -> Result<SocketAddr, SettingsError> {
    Given { set: &set, name: &name }.health()
}

fn flag(row: &Row) -> String {
    format!("--{}", row.flag())
}

/// What a desktop is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The app of a pod.
    Pod,
    /// A command, where there is a health port only if one is named.
    Command,
}

/// What was set, by what, and the defaults that hold otherwise.
struct Given<'a> {
    set: &'a dyn Fn(&Row) -> Option<String>,
    name: &'a dyn Fn(&Row) -> String,
}

impl Given<'_> {
    fn settings(&self, purpose: Use) -> Result<Settings, SettingsError> {
        let bounds = self.bounds()?;
        let mode = self.mode()?;
        let window_manager =
            self.read(&t::VNC_WINDOW_MANAGER, |text| word(text, &[("openbox", Some(WindowManager::Openbox)), ("none", None)]))?;
        let (port, health) = (self.bridge_port()?, self.health()?);
        if port == health.port() && (purpose == Use::Pod || self.is_set(&t::HEALTH_PORT)) {
            return Err(self.contradiction(self.bridge_row(), &t::HEALTH_PORT, "set one of them to another port"));
        }
        Ok(Settings {
            display: self.read(&t::DISPLAY, display)?,
            geometry: self.geometry(bounds)?,
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
            port,
            access: self.access()?,
            rfb: self.rfb()?,
            web: self.read_if_set(&t::VNC_WEB_FOLDER, folder)?.map(PathBuf::from),
            health,
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

    /// The smallest and the largest size that the desktop may have.
    fn bounds(&self) -> Result<(Geometry, Geometry), SettingsError> {
        let (smallest, largest) = (self.read(&t::VNC_SMALLEST, geometry)?, self.read(&t::VNC_LARGEST, geometry)?);
        if smallest.width > largest.width || smallest.height > largest.height {
            let way_out = "make the smallest size no larger than the largest, in width and in height";
            return Err(self.contradiction(&t::VNC_SMALLEST, &t::VNC_LARGEST, way_out));
        }
        Ok((smallest, largest))
    }

    /// The size that the desktop begins with.
    fn geometry(&self, (smallest, largest): (Geometry, Geometry)) -> Result<Geometry, SettingsError> {
        let size = self.read(&t::VNC_GEOMETRY, |text| without_depth(text).and_then(geometry))?;
        let is_too_large = size.width > largest.width || size.height > largest.height;
        let is_too_small = size.width < smallest.width || size.height < smallest.height;
        if !is_too_large && !is_too_small {
            return Ok(size);
        }
        let (least, most) = ((self.name)(&t::VNC_SMALLEST), (self.name)(&t::VNC_LARGEST));
        let range = format!("from {least} {}x{} to {most} {}x{}", smallest.width, smallest.height, largest.width, largest.height);
        if self.is_set(&t::VNC_GEOMETRY) {
            return self.read(&t::VNC_GEOMETRY, |_| Err(format!("use a size {range}")));
        }
        // Nobody asked for this size, but for a bound.
        let bound = if is_too_large { &t::VNC_LARGEST } else { &t::VNC_SMALLEST };
        let way_out = format!("set {} to a size {range}", (self.name)(&t::VNC_GEOMETRY));
        Err(self.contradiction(bound, &t::VNC_GEOMETRY, &way_out))
    }

    fn bridge_port(&self) -> Result<u16, SettingsError> {
        self.read(self.bridge_row(), port)
    }

    /// Which name of the bridge's port counts.
    fn bridge_row(&self) -> &'static Row {
        if self.is_set(&t::WEBSOCKET_PORT) { &t::WEBSOCKET_PORT } else { &t::VNC_PORT }
    }

    fn health(&self) -> Result<SocketAddr, SettingsError> {
        Ok(SocketAddr::new(self.read(&t::HEALTH_HOST, ip)?, self.read(&t::HEALTH_PORT, port)?))
    }

    /// Two rows that make no sense together, first the one that was set.
    fn contradiction(&self, one: &Row, other: &Row, way_out: &str) -> SettingsError {
        let (one, other) = if self.is_set(one) { (one, other) } else { (other, one) };
        let by_default = if self.is_set(other) { "" } else { " by default" };
        let value = self.text(other).unwrap_or_default();
        self.contradiction_with(one, format!("{} is {value:?}{by_default}", (self.name)(other)), way_out)
    }

    /// A row that makes no sense beside what another is.
    fn contradiction_with(&self, row: &Row, other: String, way_out: &str) -> SettingsError {
        let value = self.text(row).unwrap_or_default();
        SettingsError::Contradiction { name: (self.name)(row), value, other, way_out: way_out.to_owned() }
    }

    /// Nothing is no value.
    fn is_set(&self, row: &Row) -> bool {
        (self.set)(row).is_some_and(|value| !value.is_empty())
    }

    /// What a row is set to, or its default.
    fn text(&self, row: &Row) -> Option<String> {
        (self.set)(row).filter(|value| !value.is_empty()).or_else(|| row.default.map(str::to_owned))
    }

    fn read_if_set<T>(&self, row: &Row, read: impl FnOnce(&str) -> Read<T>) -> Result<Option<T>, SettingsError> {
        let Some(value) = self.text(row) else { return Ok(None) };
        read(&value).map(Some).map_err(|way_out| SettingsError::Unreadable { name: (self.name)(row), value, way_out })
    }

    /// Reads a row that has a default.
    fn read<T>(&self, row: &Row, read: impl FnOnce(&str) -> Read<T>) -> Result<T, SettingsError> {
        let missing = || SettingsError::Unreadable { name: (self.name)(row), value: String::new(), way_out: "give it a value".to_owned() };
        self.read_if_set(row, read)?.ok_or_else(missing)
    }
}

fn display(text: &str) -> Read<Display> {
    text.parse().map_err(|error: NoDisplay| error.to_string())
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
