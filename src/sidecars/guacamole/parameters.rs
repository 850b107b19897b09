//! The connection parameters that guacd knows, by protocol (Guacamole manual, "Configuring connections", and the argument lists
//! of guacd 1.6).
//!
//! guacd ignores what it doesn't know and falls back to a default where it can't read a value, in both cases without telling the
//! user; so we tell the author.

use crate::api::nearest::nearest;

/// What a parameter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`, in lower case.
    Boolean,
    /// A whole number.
    Number,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any text on a line.
    Text,
    /// A text that nobody may see.
    Password,
    /// A text of several lines, such as a key, that nobody may see.
    Multiline,
}

impl Kind {
    /// Whether nobody may see its values.
    pub(crate) const fn is_secret(self) -> bool {
        matches!(self, Self::Password | Self::Multiline)
    }
}

type Table = &'static [(&'static str, Kind)];

/// A protocol of guacd.
struct Protocol {
    name: &'static str,
    /// Where guacd connects to unless it is told.
    has_default_port: bool,
    tables: &'static [Table],
}

const PROTOCOLS: &[Protocol] = &[
    Protocol { name: "vnc", has_default_port: false, tables: &[COMMON, VNC, CLIPBOARD, RECORDING, SFTP_LOGIN, SFTP, WAKE] },
    Protocol { name: "rdp", has_default_port: true, tables: &[COMMON, RDP, CLIPBOARD, RECORDING, SFTP_LOGIN, SFTP, WAKE] },
    Protocol { name: "ssh", has_default_port: true, tables: &[COMMON, SSH, CLIPBOARD, TERMINAL, RECORDING, SFTP, WAKE] },
    Protocol { name: "telnet", has_default_port: true, tables: &[COMMON, TELNET, CLIPBOARD, TERMINAL, RECORDING, WAKE] },
    Protocol { name: "kubernetes", has_default_port: true, tables: &[COMMON, KUBERNETES, CLIPBOARD, TERMINAL, RECORDING] },
];

use Kind::{Boolean, Multiline, Number, Password, Text, Word};

const COLOR_DEPTH: Kind = Word(&["8", "16", "24", "32"]);
const LEVEL: Kind = Word(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);

const COMMON: Table = &[("hostname", Text), ("port", Number), ("read-only", Boolean)];

const CLIPBOARD: Table = &[("disable-copy", Boolean), ("disable-paste", Boolean), ("clipboard-buffer-size", Number)];

const RECORDING: Table = &[
    ("recording-path", Text),
    ("recording-name", Text),
    ("recording-exclude-output", Boolean),
    ("recording-exclude-mouse", Boolean),
    ("recording-include-keys", Boolean),
    ("recording-include-clipboard", Boolean),
    ("create-recording-path", Boolean),
    ("recording-write-existing", Boolean),
];

const SFTP: Table =
    &[("enable-sftp", Boolean), ("sftp-root-directory", Text), ("sftp-disable-download", Boolean), ("sftp-disable-upload", Boolean)];

/// Where the protocol itself is not SSH, SFTP has an address and a login of its own.
const SFTP_LOGIN: Table = &[
    ("sftp-hostname", Text),
    ("sftp-port", Number),
    ("sftp-timeout", Number),
    ("sftp-host-key", Text),
    ("sftp-username", Text),
    ("sftp-password", Password),
    ("sftp-private-key", Multiline),
    ("sftp-public-key", Multiline),
    ("sftp-passphrase", Password),
    ("sftp-directory", Text),
    ("sftp-server-alive-interval", Number),
];

const WAKE: Table = &[
    ("wol-send-packet", Boolean),
    ("wol-mac-addr", Text),
    ("wol-broadcast-addr", Text),
    ("wol-udp-port", Number),
    ("wol-wait-time", Number),
];

const TERMINAL: Table = &[
    ("backspace", Number),
    ("color-scheme", Text),
    ("font-name", Text),
    ("font-size", Number),
    ("scrollback", Number),
    ("func-keys-and-keypad", Word(&["esc", "vt100"])),
    ("terminal-type", Text),
    ("typescript-path", Text),
    ("typescript-name", Text),
    ("create-typescript-path", Boolean),
    ("typescript-write-existing", Boolean),
];

const VNC: Table = &[
    ("username", Text),
    ("password", Password),
    ("disable-server-input", Boolean),
    ("disable-display-resize", Boolean),
    ("swap-red-blue", Boolean),
    ("force-lossless", Boolean),
    ("compress-level", LEVEL),
    ("quality-level", LEVEL),
    ("color-depth", COLOR_DEPTH),
    ("clipboard-encoding", Word(&["ISO8859-1", "UTF-8", "UTF-16", "CP1252", "MacRoman"])),
    ("cursor", Word(&["local", "remote"])),
    ("encodings", Text),
    ("dest-host", Text),
    ("dest-port", Number),
    ("enable-audio", Boolean),
    ("audio-servername", Text),
    ("autoretry", Number),
    ("listen-timeout", Number),
    ("reverse-connect", Boolean),
];

const RDP: Table = &[
    ("username", Text),
    ("password", Password),
    ("domain", Text),
    ("security", Word(&["any", "nla", "rdp", "tls", "vmconnect"])),
    ("disable-auth", Boolean),
    ("ignore-cert", Boolean),
    ("cert-tofu", Boolean),
    ("cert-fingerprints", Text),
    ("timeout", Number),
    ("gateway-hostname", Text),
    ("gateway-port", Number),
    ("gateway-username", Text),
    ("gateway-password", Password),
    ("gateway-domain", Text),
    ("initial-program", Text),
    ("client-name", Text),
    ("server-layout", Word(LAYOUTS)),
    ("timezone", Text),
    ("enable-touch", Boolean),
    ("console", Boolean),
    ("width", Number),
    ("height", Number),
    ("dpi", Number),
    ("color-depth", COLOR_DEPTH),
    ("force-lossless", Boolean),
    ("resize-method", Word(&["display-update", "reconnect"])),
    ("normalize-clipboard", Word(&["preserve", "unix", "windows"])),
    ("console-audio", Boolean),
    ("disable-audio", Boolean),
    ("enable-audio-input", Boolean),
    ("enable-printing", Boolean),
    ("printer-name", Text),
    ("enable-drive", Boolean),
    ("drive-name", Text),
    ("drive-path", Text),
    ("create-drive-path", Boolean),
    ("disable-download", Boolean),
    ("disable-upload", Boolean),
    ("static-channels", Text),
    ("enable-wallpaper", Boolean),
    ("enable-theming", Boolean),
    ("enable-font-smoothing", Boolean),
    ("enable-full-window-drag", Boolean),
    ("enable-desktop-composition", Boolean),
    ("enable-menu-animations", Boolean),
    ("disable-bitmap-caching", Boolean),
    ("disable-offscreen-caching", Boolean),
    ("disable-glyph-caching", Boolean),
    ("disable-gfx", Boolean),
    ("remote-app", Text),
    ("remote-app-dir", Text),
    ("remote-app-args", Text),
    ("preconnection-id", Number),
    ("preconnection-blob", Text),
    ("load-balance-info", Text),
    ("recording-exclude-touch", Boolean),
];

const LAYOUTS: &[&str] = &[
    "cs-cz-qwertz",
    "de-ch-qwertz",
    "de-de-qwertz",
    "en-gb-qwerty",
    "en-us-qwerty",
    "es-es-qwerty",
    "es-latam-qwerty",
    "fr-be-azerty",
    "fr-fr-azerty",
    "fr-ca-qwerty",
    "fr-ch-qwertz",
    "hu-hu-qwertz",
    "it-it-qwerty",
    "ja-jp-qwerty",
    "no-no-qwerty",
    "pl-pl-qwerty",
    "pt-br-qwerty",
    "pt-pt-qwerty",
    "ro-ro-qwerty",
    "sv-se-qwerty",
    "da-dk-qwerty",
    "tr-tr-qwerty",
    "failsafe",
];

const SSH: Table = &[
    ("username", Text),
    ("password", Password),
    ("host-key", Text),
    ("private-key", Multiline),
    ("public-key", Multiline),
    ("passphrase", Password),
    ("timeout", Number),
    ("command", Text),
    ("locale", Text),
    ("timezone", Text),
    ("server-alive-interval", Number),
    ("enable-agent", Boolean),
];

const TELNET: Table = &[
    ("username", Text),
    ("password", Password),
    ("username-regex", Text),
    ("password-regex", Text),
    ("login-success-regex", Text),
    ("login-failure-regex", Text),
    ("timeout", Number),
];

const KUBERNETES: Table = &[
    ("namespace", Text),
    ("pod", Text),
    ("container", Text),
    ("exec-command", Text),
    ("use-ssl", Boolean),
    ("ignore-cert", Boolean),
    ("ca-cert", Multiline),
    ("client-cert", Multiline),
    ("client-key", Multiline),
];

impl Protocol {
    fn parameters(&self) -> impl Iterator<Item = &'static (&'static str, Kind)> {
        self.tables.iter().copied().flatten()
    }

    fn find(&self, name: &str) -> Option<&'static (&'static str, Kind)> {
        self.parameters().find(|(known, _)| *known == name)
    }
}

fn protocol(name: &str) -> Option<&'static Protocol> {
    PROTOCOLS.iter().find(|protocol| protocol.name == name)
}

/// Whether a parameter's values may be shown: those of unknown ones may not, since a misspelt password is one, too.
pub(crate) fn may_be_shown(protocol_name: &str, name: &str) -> bool {
    protocol(protocol_name).and_then(|protocol| protocol.find(name)).is_some_and(|(_, kind)| !kind.is_secret())
}

/// What the author of a connection should know about its protocol.
pub(crate) fn check_protocol(name: &str, given: &[&str]) -> Vec<String> {
    let Some(known) = protocol(name) else {
        let hint = nearest(name, PROTOCOLS.iter().map(|protocol| protocol.name)).map(|near| format!(": did you mean {near}?"));
        return vec![format!("guacd has no protocol {name:?} of its own{}", hint.unwrap_or_default())];
    };
    let lacks = |wanted: &str| !given.contains(&wanted);
    let mut warnings = Vec::new();
    // With reverse-connect, the VNC server calls guacd; a kubernetes connection names its pod besides.
    if lacks("hostname") && lacks("reverse-connect") {
        warnings.push("there is no parameter hostname: guacd will not know where to connect".to_owned());
    }
    if !known.has_default_port && lacks("port") {
        warnings.push(format!("there is no parameter port, and {name} has no default for it"));
    }
    warnings
}

/// A parameter's value as guacd reads it, and what its author should know.
pub(crate) fn check(protocol_name: &str, name: &str, value: String) -> (String, Option<String>) {
    let Some(protocol) = protocol(protocol_name) else { return (value, None) };
    let Some((_, kind)) = protocol.find(name) else {
        let hint = nearest(name, protocol.parameters().map(|(name, _)| *name)).map(|near| format!(": did you mean {near}?"));
        return (
            value,
            Some(format!("guacd ignores the parameter {name}, which {protocol_name} doesn't have{}", hint.unwrap_or_default())),
        );
    };
    // A token becomes a value when somebody connects; only Guacamole can judge that one.
    if value.contains("${") {
        return (value, None);
    }
    match kind {
        Boolean => canonical(name, value, &["true", "false"]),
        Word(words) => canonical(name, value, words),
        Number if value.trim().parse::<i64>().is_err() => {
            let warning = format!("the parameter {name} is not a whole number: guacd will use its default");
            (value, Some(warning))
        }
        Number => (value.trim().to_owned(), None),
        Text | Password | Multiline => (value, None),
    }
}

/// One of the words, however its letters are written, as Guacamole's own import takes it.
fn canonical(name: &str, value: String, words: &[&str]) -> (String, Option<String>) {
    if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(value.trim())) {
        return ((*word).to_owned(), None);
    }
    let warning = format!("the parameter {name} must be one of {}: guacd will use its default", words.join(", "));
    (value, Some(warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(protocol: &str, name: &str, value: &str) -> (String, Option<String>) {
        check(protocol, name, value.to_owned())
    }

    #[test]
    fn a_misspelt_name_gets_a_hint() {
        for (protocol, name, hint) in [
            ("rdp", "enable-clipbord", None),
            ("rdp", "keyboard-layout", None),
            ("ssh", "private_key", Some("private-key")),
            ("vnc", "pasword", Some("password")),
            ("vnc", "colour-depth", Some("color-depth")),
        ] {
            let warning = checked(protocol, name, "x").1.unwrap();
            assert!(warning.contains(&format!("guacd ignores the parameter {name}")), "{warning}");
            assert_eq!(warning.split_once("did you mean ").map(|(_, rest)| rest.trim_end_matches('?')), hint, "{warning}");
        }
    }

    #[test]
    fn values_become_what_guacd_reads() {
        assert_eq!(checked("rdp", "ignore-cert", "True"), ("true".to_owned(), None));
        assert_eq!(checked("rdp", "security", " NLA "), ("nla".to_owned(), None));
        assert_eq!(checked("rdp", "port", " 3389 "), ("3389".to_owned(), None));
        assert_eq!(checked("rdp", "port", "${RDP_PORT}"), ("${RDP_PORT}".to_owned(), None));
        assert_eq!(checked("ssh", "password", " kept "), (" kept ".to_owned(), None));
        for (name, value) in [("port", "rdp"), ("ignore-cert", "yes"), ("security", "none")] {
            let (kept, warning) = checked("rdp", name, value);
            assert!(kept == value && warning.is_some_and(|warning| warning.contains(name)));
        }
    }

    #[test]
    fn what_a_connection_lacks_is_said() {
        assert_eq!(check_protocol("rdp", &["hostname"]), Vec::<String>::new());
        assert_eq!(check_protocol("vnc", &["hostname"]).len(), 1);
        assert_eq!(check_protocol("vnc", &["reverse-connect", "port"]), Vec::<String>::new());
        assert_eq!(check_protocol("vcn", &["hostname"]), ["guacd has no protocol \"vcn\" of its own: did you mean vnc?"]);
    }

    #[test]
    fn only_values_of_known_harmless_parameters_are_shown() {
        for (name, shown) in [("hostname", true), ("username", true), ("password", false), ("pasword", false), ("private-key", false)] {
            assert_eq!(may_be_shown("ssh", name), shown, "{name}");
        }
    }

    #[test]
    fn no_protocol_has_a_parameter_twice() {
        for (protocol, count) in PROTOCOLS.iter().zip([53, 90, 46, 37, 34]) {
            let mut names: Vec<_> = protocol.parameters().map(|(name, _)| *name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!((protocol.name, names.len()), (protocol.name, protocol.parameters().count()), "{names:?}");
            assert_eq!((protocol.name, names.len()), (protocol.name, count), "{names:?}");
        }
    }
}
