//! The X clients that we start.

use std::{ffi::OsStr, path::Path};

use tokio::process::Command;

use super::{authority::Cookie, display::Display};

/// The display they open, and what lets them in.
#[derive(Debug)]
pub(crate) struct Clients<'a> {
    pub(crate) display: Display,
    pub(crate) authority: &'a Path,
    /// The cookie in that file.
    pub(crate) cookie: &'a Cookie,
    /// Where those may write that have no home.
    pub(crate) home: &'a Path,
}

impl Clients<'_> {
    /// The command of one.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("DISPLAY", self.display.to_string()).env("XAUTHORITY", self.authority);
        command
    }
}
