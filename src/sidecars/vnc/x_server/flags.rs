//! How Xtigervnc is started: no port of any kind, a screen, and what its viewers may do.

use std::path::Path;

use crate::sidecars::vnc::settings::Settings;

/// What differs between versions: 1.12 of Debian 12 and 1.15 of Debian 13.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// It draws with a GPU unless it is told not to, which keeps it busy where there is none.
    pub has_render_node: bool,
    /// It takes more than eight buttons, and then a byte more in some messages of viewers (since 1.15).
    pub knows_more_buttons: bool,
}

impl Features {
    /// By what `-help` prints, the version included.
    #[must_use]
    pub fn read(help: &str) -> Self {
        let has_render_node = help.to_ascii_lowercase().contains("-rendernode");
        Self { has_render_node, knows_more_buttons: tigervnc_version(help) >= Some((1, 15)) }
    }
}

/// The version of `Xvnc TigerVNC 1.15.0 - built …`.
fn tigervnc_version(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.split_once("TigerVNC ")?;
    let mut numbers = version.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The arguments.
#[must_use]
pub fn arguments(settings: &Settings, authority: &Path, rfb_socket: &Path, features: Features) -> Vec<String> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut arguments = vec![settings.display.to_string()];
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|&word| word.to_owned()));

    let geometry = settings.geometry;
    add(&["-geometry", &format!("{}x{}", geometry.width, geometry.height), "-depth", "24"]);
    // Neither TCP nor the abstract socket, which everything in the same network namespace could reach.
    add(&["-auth", &path(authority), "-nolisten", "tcp", "-nolisten", "local"]);
    // Without -noreset it begins anew when its last client leaves, and lets nobody in meanwhile: each probe would do that.
    add(&["-noreset", "-s", "0", "-dpms"]);
    add(&["-rfbport", "-1", "-rfbunixpath", &path(rfb_socket), "-rfbunixmode", "0600"]);
    // Who reaches the socket is our bridge. All its viewers count as one client, so none may be banned for the others.
    add(&["-SecurityTypes", "None", "-UseBlacklist=0", "-AlwaysShared=1", "-FrameRate=120"]);

    if let Some(name) = &settings.name {
        // By itself it would show viewers a user and a host.
        add(&[&format!("-desktop={name}")]);
    }
    // What a compressed text becomes, the bridge does not see. There is a NUL at its end, which is none of it.
    add(&[&format!("-MaxCutText={}", settings.clipboard_limit.saturating_add(1))]);

    let viewers_act = !settings.view_only;
    for (name, is_on) in [
        ("AcceptKeyEvents", viewers_act),
        ("AcceptPointerEvents", viewers_act),
        ("AcceptSetDesktopSize", viewers_act && settings.resize),
        ("SendCutText", settings.clipboard.goes_out()),
        ("AcceptCutText", viewers_act && settings.clipboard.comes_in()),
    ] {
        add(&[&format!("-{name}={}", u8::from(is_on))]);
    }
    // Otherwise any X client might turn these on again.
    add(&["-AllowOverride=desktop"]);
    if !settings.shares_memory {
        add(&["-extension", "MIT-SHM"]);
    }
    if features.has_render_node {
        add(&["-rendernode", ""]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sidecars::vnc::settings;

    fn arguments_with(set: &[(&str, &str)]) -> String {
        arguments_of(set, Features { has_render_node: false, knows_more_buttons: false })
    }

    fn arguments_of(set: &[(&str, &str)], features: Features) -> String {
        let value = |name: &str| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        let settings = settings::read(|row| value(row.name), |row| row.name.to_owned()).unwrap();
        arguments(&settings, Path::new("/a/cookie"), Path::new("/d/rfb.sock"), features).join(" ")
    }

    #[test]
    fn by_default_it_listens_at_two_files_and_viewers_may_do_everything() {
        assert_eq!(
            arguments_with(&[]),
            ":99 -geometry 1280x800 -depth 24 -auth /a/cookie -nolisten tcp -nolisten local -noreset -s 0 -dpms \
             -rfbport -1 -rfbunixpath /d/rfb.sock -rfbunixmode 0600 -SecurityTypes None -UseBlacklist=0 -AlwaysShared=1 -FrameRate=120 \
             -MaxCutText=262145 -AcceptKeyEvents=1 -AcceptPointerEvents=1 -AcceptSetDesktopSize=1 -SendCutText=1 -AcceptCutText=1 -AllowOverride=desktop"
        );
    }

    #[test]
    fn a15_no_viewer_is_banned_for_the_failures_of_others() {
        assert!(arguments_with(&[]).contains("-UseBlacklist=0"));
    }

    #[test]
    fn a18_an_unpacked_text_is_held_to_the_same_size_and_the_name_is_the_desktops() {
        let arguments = arguments_with(&[("VNC_CLIPBOARD_LIMIT", "1000"), ("VNC_NAME", "a pod")]);
        assert!(arguments.contains(" -desktop=a pod -MaxCutText=1001 "), "{arguments}");
    }

    #[test]
    fn the_clipboard_goes_the_ways_it_may() {
        for (word, sends, accepts) in [("both", 1, 1), ("in", 0, 1), ("out", 1, 0), ("off", 0, 0)] {
            let arguments = arguments_with(&[("VNC_CLIPBOARD", word)]);
            assert!(arguments.contains(&format!("-SendCutText={sends} -AcceptCutText={accepts}")), "{word}: {arguments}");
        }
    }

    #[test]
    fn who_may_only_look_neither_acts_nor_resizes_nor_brings_text() {
        let arguments = arguments_with(&[("VNC_VIEW_ONLY", "true")]);
        assert!(
            arguments.contains("-AcceptKeyEvents=0 -AcceptPointerEvents=0 -AcceptSetDesktopSize=0 -SendCutText=1 -AcceptCutText=0"),
            "{arguments}"
        );
        assert!(arguments_with(&[("VNC_RESIZE", "false")]).contains("-AcceptSetDesktopSize=0"));
    }

    #[test]
    fn memory_is_shared_by_rule_and_the_gpu_left_alone_where_there_is_a_flag_for_it() {
        assert!(arguments_with(&[("VNC_MIT_SHM", "false")]).ends_with("-extension MIT-SHM"));
        let features = Features::read("-inetd  has  \n-renderNode     - DRM render node");
        assert!(arguments_of(&[], features).ends_with(" -rendernode "));
        assert!(!Features::read("-inetd").has_render_node);
    }

    #[test]
    fn more_buttons_are_known_from_the_version_on_that_knows_them() {
        for (version, knows) in [
            ("\nXvnc TigerVNC 1.12.0 - built 2023-01-06 16:01\n", false),
            ("Xvnc TigerVNC 1.14.1 - built", false),
            ("Xvnc TigerVNC 1.15.0 - built", true),
            ("Xvnc TigerVNC 2.0", true),
            ("", false),
        ] {
            assert_eq!(Features::read(version).knows_more_buttons, knows, "{version}");
        }
    }
}
