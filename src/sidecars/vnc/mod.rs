//! The desktop: an X server for the app's windows, and what runs on it; or the app's own X server, shown by another program.
//!
//! `x_server` starts and asks X servers, `attach` shows one that is not ours, `window_manager` and `app` are clients of ours, and
//! `desktop` keeps all of them running. Viewers reach the screen at one Unix socket, whoever shows it.

mod app;
mod attach;
mod attempts;
mod desktop;
mod health;
mod output;
mod program;
pub mod settings;
mod window_manager;
pub mod x_server;

pub use app::{App, AppError, OnEnd};
pub use attach::AttachError;
pub use desktop::{Desktop, DesktopError, End, ProbeError, probe};
pub use program::ProgramError;
