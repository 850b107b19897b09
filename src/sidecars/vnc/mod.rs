//! The desktop: an X server for the app's windows, or the app's own, shown in a browser.
//!
//! `x_server` starts and asks X servers, `attach` shows one that is not ours, `window_manager` and `app` are clients of ours, and
//! `desktop` keeps all of them running. The screen is then spoken for at one Unix socket, whoever shows it.
//!
//! `router` is what browsers meet there: `admittance` says who may come in, `viewers` who is there, and `bridge` carries RFB between a
//! viewer's WebSocket and the X server. `rfb_port` is the same without a WebSocket, `guacamole` tells a provisioner of that, and `screenshot` looks once. `websocket` and `rfb` are the two protocols, without I/O; `page` is what a browser
//! loads first.

pub mod admittance;
mod app;
mod attach;
mod attempts;
pub mod bridge;
mod desktop;
mod gather;
pub mod guacamole;
mod health;
pub mod metrics;
mod output;
pub mod page;
mod program;
pub mod rfb;
pub mod rfb_port;
pub mod router;
pub mod screenshot;
pub mod settings;
pub mod viewers;
pub mod websocket;
mod whole_file;
mod window_manager;
pub mod x_server;

pub use app::{App, AppError, OnEnd};
pub use attach::AttachError;
pub use desktop::{Desktop, DesktopError, End, ProbeError, probe};
pub use program::ProgramError;
