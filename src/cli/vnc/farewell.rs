//! What viewers are told when a desktop ends by itself. That of a pod comes back with its container; that of a command does not, and
//! with the close code for that (1000) no page tries again.

use crate::sidecars::vnc::{
    DesktopError, End,
    websocket::close::{Close, CloseCode},
};

/// For the end of a desktop. None where it was told to end, and may be back in a moment.
pub(super) fn of(end: &Result<End, DesktopError>, is_for_command: bool) -> Option<Close> {
    match end {
        Ok(End::App(_)) => Some(Close::new(CloseCode::Normal, "the app has ended")),
        Ok(End::Told) => None,
        Err(error) => {
            let code = if is_for_command { CloseCode::Normal } else { CloseCode::InternalError };
            Some(Close::new(code, format!("the desktop has failed: {error}")))
        }
    }
}

/// For a command that was interrupted.
pub(super) fn interrupted() -> Close {
    Close::new(CloseCode::Normal, "the desktop was closed")
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

    use super::*;

    fn failed() -> DesktopError {
        DesktopError::Folder { folder: "/desk".into(), user: 1, source: std::io::ErrorKind::PermissionDenied.into() }
    }

    #[test]
    fn viewers_come_back_only_to_what_comes_back() {
        assert_eq!(of(&Ok(End::Told), false), None);
        let app = of(&Ok(End::App(ExitStatus::from_raw(0))), true).unwrap();
        assert_eq!((app.code, &*app.reason), (CloseCode::Normal, "the app has ended"));
        for (is_for_command, code) in [(true, CloseCode::Normal), (false, CloseCode::InternalError)] {
            let close = of(&Err(failed()), is_for_command).unwrap();
            assert_eq!((close.code, close.reason.contains("VNC_FOLDER /desk can't be used")), (code, true), "{close:?}");
        }
    }
}
