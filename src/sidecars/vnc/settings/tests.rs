//! Each row of the table means what it says.

use super::*;

fn with(set: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    read(|row| value(set, row), |row| row.name.to_owned())
}

fn for_command(set: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    read_for_command(|row| value(set, row))
}

fn value(set: &[(&str, &str)], row: &Row) -> Option<String> {
    set.iter().find(|(name, _)| *name == row.name).map(|(_, value)| (*value).to_owned())
}

#[test]
fn every_default_can_be_read() {
    let settings = with(&[]).unwrap();
    assert_eq!(settings.mode, Mode::Serve { authority: COOKIE_FILE.into(), cookie_mode: 0o440 });
    assert_eq!((settings.display.to_string().as_str(), settings.geometry), (":99", Geometry { width: 1280, height: 800 }));
    assert_eq!((settings.port, settings.health.port(), settings.restarts), (6080, 15803, 5));
    assert_eq!(settings.window_manager, Some(WindowManager::Openbox));
    let attached = with(&[("VNC_MODE", "attach")]).unwrap();
    assert_eq!((attached.mode, attached.window_manager), (Mode::Attach { authority: None }, None));
}

/// Its own variable and value, and what to write instead.
#[test]
fn a_bad_value_is_refused_by_name_with_what_is_allowed() {
    for (name, value, way_out) in [
        ("VNC_MODE", "both", "serve, attach"),
        ("DISPLAY", "host:1", "from :0 to :999"),
        ("DISPLAY", ":1000", "from :0 to :999"),
        ("XAUTHORITY", "cookie", "an absolute path"),
        ("VNC_COOKIE_MODE", "0666", "0440, 0444"),
        ("VNC_MIT_SHM", "maybe", "true, false"),
        ("VNC_GEOMETRY", "flat", "WIDTHxHEIGHT in pixels"),
        ("VNC_GEOMETRY", "0x0", "WIDTHxHEIGHT in pixels"),
        ("VNC_GEOMETRY", "1280x800x16", "the depth is always 24, and \"16\" is not: use 1280x800"),
        ("VNC_GEOMETRY", "16384x16384", "from VNC_SMALLEST 64x64 to VNC_LARGEST 7680x4320"),
        ("VNC_SMALLEST", "1x1", "from 64 to 16384"),
        ("VNC_CLIPBOARD", "yes", "both, in, out, off"),
        ("VNC_CLIPBOARD_LIMIT", "0", "from 1 to 8388608"),
        ("VNC_WINDOW_MANAGER", "kwin", "openbox, none"),
        ("VNC_ORIGINS", "desks.example.com", "origins of pages, such as https://desks.example.com"),
        ("VNC_ORIGINS", "https://desks.example.com/", "origins of pages"),
        ("VNC_CLAIMS_KEYS_FILE", "keys", "an absolute path"),
        ("VNC_TICKETS", "yes", "true, false"),
        ("VNC_MAX_VIEWERS", "0", "from 1 to 500"),
        ("VNC_MAX_VIEWERS_OF_ADDRESS", "501", "from 1 to 500"),
        ("VNC_TLS_FOLDER", "tls", "an absolute path"),
        ("VNC_X_RESTARTS", "99999999999999", "a whole number from 0 to 4294967295"),
        ("VNC_FOLDER", "../desk", "an absolute path"),
        ("VNC_PORT", "0", "a port from 1 to 65535"),
        ("WEBSOCKET_PORT", "65536", "a port from 1 to 65535"),
        ("VNC_RFB_PORT", "rfb", "a port from 1 to 65535"),
        ("VNC_RFB_PORT", "5900", "VNC_RFB_PASSWORD_FILE is not set"),
        ("VNC_RFB_PASSWORD_FILE", "/p", "VNC_RFB_PORT is not set"),
        ("VNC_RFB_HOST", "everywhere", "an IP address"),
        ("VNC_GUACAMOLE_FOLDER", "guacamole", "an absolute path"),
        ("VNC_GUACAMOLE_FOLDER", "/g", "POD_IP is not set: guacd needs an address"),
        ("POD_IP", "desk-0", "an IP address"),
        ("HEALTH_HOST", "localhost", "an IP address"),
        ("LOG_LEVEL", "loud", "error, warn, info"),
    ] {
        let error = with(&[(name, value)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name} is {value:?}")) && error.contains(way_out), "{error}");
    }
}

#[test]
fn a_size_must_be_within_the_bounds_that_are_set() {
    let bounds = [("VNC_SMALLEST", "800x600"), ("VNC_LARGEST", "1920x1080")];
    for (size, fits) in [("800x600", true), ("1920x1080", true), ("799x600", false), ("1920x1081", false)] {
        assert_eq!(with(&[&bounds[..], &[("VNC_GEOMETRY", size)]].concat()).is_ok(), fits, "{size}");
    }
}

#[test]
fn sizes_with_a_depth_and_the_other_name_of_the_port_are_understood() {
    let settings = with(&[("VNC_GEOMETRY", "1920x1080x24"), ("VNC_PORT", "5900"), ("WEBSOCKET_PORT", "6080")]).unwrap();
    assert_eq!(settings.geometry, Geometry { width: 1920, height: 1080 });
    assert_eq!(settings.port, 6080);
    assert_eq!(with(&[("VNC_PORT", "8000")]).unwrap().port, 8000);
}

#[test]
fn the_port_of_rfb_is_there_only_if_it_is_asked_for_and_then_on_this_machine_alone() {
    assert_eq!(with(&[]).unwrap().rfb, None);
    let both = [("VNC_RFB_PORT", "5900"), ("VNC_RFB_PASSWORD_FILE", "/p")];
    assert_eq!(
        with(&both).unwrap().rfb,
        Some(Rfb { address: ([127, 0, 0, 1], 5900).into(), password_file: "/p".into(), connection: None })
    );
    let everywhere = with(&[&both[..], &[("VNC_RFB_HOST", "::")]].concat()).unwrap().rfb.unwrap();
    assert_eq!(everywhere.address.to_string(), "[::]:5900");
}

#[test]
fn nothing_is_no_value() {
    assert_eq!(with(&[("VNC_GEOMETRY", "")]).unwrap().geometry, Geometry { width: 1280, height: 800 });
}

/// Both settings, and what to do.
#[test]
fn what_makes_no_sense_together_is_refused_and_both_are_named() {
    for (set, said) in [
        (&[("VNC_TICKETS", "true")][..], "VNC_TICKETS is \"true\", and VNC_ADMINISTRATOR_TOKEN_FILE is not set: nobody could get a ticket"),
        (
            &[("VNC_CLAIMS_SESSION", "desk-1"), ("VNC_TICKETS", "true"), ("VNC_ADMINISTRATOR_TOKEN_FILE", "/a")],
            "VNC_CLAIMS_SESSION is \"desk-1\", and VNC_CLAIMS_KEYS_FILE is not set: no claims are checked",
        ),
        (
            &[("VNC_TOKEN_IN_ADDRESS", "true"), ("VNC_ADMINISTRATOR_TOKEN_FILE", "/a")],
            "VNC_TOKEN_IN_ADDRESS is \"true\", and neither VNC_TICKETS nor VNC_CLAIMS_KEYS_FILE is set: no token is asked for",
        ),
    ] {
        let error = with(set).unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
    let error = for_command(&[("VNC_TOKEN_IN_ADDRESS", "true")]).unwrap_err().to_string();
    assert!(error.starts_with("--token-in-address is \"true\", and neither --tickets nor --claims-keys-file is set: "), "{error}");
}

/// Only what somebody has set is called so.
#[test]
fn sizes_that_do_not_fit_each_other_are_refused_by_the_one_that_was_set() {
    const TOO_SMALL: &str = "make the smallest size no larger than the largest, in width and in height";
    for (set, said) in [
        (
            &[("VNC_SMALLEST", "800x600"), ("VNC_LARGEST", "640x480")][..],
            format!("VNC_SMALLEST is \"800x600\", and VNC_LARGEST is \"640x480\": {TOO_SMALL}"),
        ),
        (&[("VNC_SMALLEST", "64x9000")], format!("VNC_SMALLEST is \"64x9000\", and VNC_LARGEST is \"7680x4320\" by default: {TOO_SMALL}")),
        (
            &[("VNC_LARGEST", "100x100")],
            "VNC_LARGEST is \"100x100\", and VNC_GEOMETRY is \"1280x800\" by default: \
             set VNC_GEOMETRY to a size from VNC_SMALLEST 64x64 to VNC_LARGEST 100x100"
                .to_owned(),
        ),
        (
            &[("VNC_SMALLEST", "1920x1080")],
            "VNC_SMALLEST is \"1920x1080\", and VNC_GEOMETRY is \"1280x800\" by default: \
             set VNC_GEOMETRY to a size from VNC_SMALLEST 1920x1080 to VNC_LARGEST 7680x4320"
                .to_owned(),
        ),
    ] {
        assert_eq!(with(set).unwrap_err().to_string(), said);
    }
    let sizes = [("VNC_SMALLEST", "100x100"), ("VNC_LARGEST", "100x100"), ("VNC_GEOMETRY", "100x100x24")];
    assert_eq!(with(&sizes).unwrap().geometry, Geometry { width: 100, height: 100 });
}

#[test]
fn the_page_and_the_health_port_need_ports_of_their_own() {
    let way_out = "set one of them to another port";
    for (set, said) in [
        (&[("VNC_PORT", "15803")][..], "VNC_PORT is \"15803\", and HEALTH_PORT is \"15803\" by default"),
        (&[("HEALTH_PORT", "6080")], "HEALTH_PORT is \"6080\", and VNC_PORT is \"6080\" by default"),
        (&[("WEBSOCKET_PORT", "80"), ("HEALTH_PORT", "80"), ("VNC_PORT", "81")], "WEBSOCKET_PORT is \"80\", and HEALTH_PORT is \"80\""),
    ] {
        assert_eq!(with(set).unwrap_err().to_string(), format!("{said}: {way_out}"));
    }
    assert!(with(&[("WEBSOCKET_PORT", "80"), ("VNC_PORT", "15803")]).is_ok(), "the port that nobody listens on is nobody's");
    assert!(for_command(&[("VNC_PORT", "15803")]).is_ok(), "nobody has asked for a health port");
    let error = for_command(&[("VNC_PORT", "80"), ("HEALTH_PORT", "80")]).unwrap_err().to_string();
    assert_eq!(error, format!("--port is \"80\", and --health-port is \"80\": {way_out}"));
}

#[test]
fn for_a_command_settings_are_flags() {
    for (name, value, said) in [
        ("VNC_GEOMETRY", "1280", "--geometry is \"1280\": use WIDTHxHEIGHT in pixels"),
        ("VNC_GEOMETRY", "16000x100", "--geometry is \"16000x100\": use a size from --smallest 64x64 to --largest 7680x4320"),
        ("WEBSOCKET_PORT", "0", "--websocket-port is \"0\": use a port"),
    ] {
        let error = for_command(&[(name, value)]).unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
}

#[test]
fn a_display_is_wanted_where_one_is_named() {
    let wanted = |value: Option<&str>| wanted_display(|row| value.filter(|_| row.name == "DISPLAY").map(str::to_owned));
    assert_eq!((wanted(None), wanted(Some("")), wanted(Some(":7"))), (Ok(None), Ok(None), Ok(":7".parse().ok())));
    assert_eq!(wanted(Some("foo")).unwrap_err().to_string(), "--display is \"foo\": use a display from :0 to :999, such as :99");
}

/// All else may be as it likes.
#[test]
fn only_the_health_address_is_needed_to_ask_there() {
    let address = |set: &[(&str, &str)]| health_address(|row| value(set, row), |row| row.name.to_owned()).map(|it| it.to_string());
    assert_eq!(address(&[("VNC_MODE", "neither")]), Ok("[::]:15803".to_owned()));
    assert_eq!(address(&[("HEALTH_HOST", "127.0.0.2"), ("HEALTH_PORT", "1")]), Ok("127.0.0.2:1".to_owned()));
    assert!(address(&[("HEALTH_HOST", "here")]).is_err());
}

#[test]
fn without_settings_whoever_reaches_the_port_comes_in_and_with_a_way_nobody_else() {
    let open = with(&[]).unwrap().access;
    assert!(open.admittance("pod").is_open() && open.administrator().is_none() && open.tls.is_none());
    assert_eq!((open.limits.total, open.limits.of_user, open.limits.of_address), (32, 8, 32));
    for set in [&[("VNC_CLAIMS_KEYS_FILE", "/a")][..], &[("VNC_TICKETS", "true"), ("VNC_ADMINISTRATOR_TOKEN_FILE", "/b")]] {
        assert!(!with(set).unwrap().access.admittance("pod").is_open(), "{set:?}");
    }
}

#[test]
fn claims_are_for_the_host_unless_another_session_is_named() {
    let keys = ("VNC_CLAIMS_KEYS_FILE", "/a");
    assert_eq!(with(&[keys]).unwrap().access.admittance("pod").session, "pod");
    assert_eq!(with(&[keys, ("VNC_CLAIMS_SESSION", "desk-1")]).unwrap().access.admittance("pod").session, "desk-1");
}

#[test]
fn limits_origins_and_a_proxys_word_are_as_they_are_set() {
    let set = [
        ("VNC_MAX_VIEWERS", "4"),
        ("VNC_MAX_VIEWERS_OF_USER", "2"),
        ("VNC_ORIGINS", "https://a.example, http://[::1]:8080"),
        ("VNC_FORWARDED_HEADERS", "true"),
        ("VNC_CLIPBOARD_LIMIT", "1000"),
    ];
    let settings = with(&set).unwrap();
    let (limits, origins) = (settings.access.limits, settings.access.origins());
    assert_eq!((limits.total, limits.of_user, limits.of_address), (4, 2, 4), "an address may have all");
    assert_eq!(with(&[("VNC_MAX_VIEWERS_OF_ADDRESS", "3")]).unwrap().access.limits.of_address, 3);
    assert_eq!(origins.allowed, ["https://a.example", "http://[::1]:8080"]);
    assert!(origins.trusts_forwarded_host && settings.access.forwarded_headers);
    assert_eq!(settings.policy().clipboard, Some(1000));
}

#[test]
fn a_connection_of_guacamole_needs_a_port_an_address_and_a_name() {
    let all = [("VNC_GUACAMOLE_FOLDER", "/g"), ("VNC_RFB_PORT", "5900"), ("POD_IP", "fd00::7"), ("POD_NAME", "desk-0")];
    let rfb = with(&all).unwrap().rfb.unwrap();
    let connection = rfb.connection.unwrap();
    assert_eq!((rfb.password_file.as_path(), connection.name.as_str()), (std::path::Path::new("/g/password"), "desk-0"));
    assert_eq!((connection.host.to_string().as_str(), connection.users.len()), ("fd00::7", 0));
    for (left_out, said) in [
        ("VNC_RFB_PORT", "VNC_GUACAMOLE_FOLDER is \"/g\", and VNC_RFB_PORT is not set: guacd needs a port"),
        ("POD_IP", "VNC_GUACAMOLE_FOLDER is \"/g\", and POD_IP is not set: guacd needs an address"),
        ("POD_NAME", "VNC_GUACAMOLE_NAME is \"{pod}\", and POD_NAME is not set: set it, too"),
    ] {
        let rest: Vec<_> = all.into_iter().filter(|(name, _)| *name != left_out).collect();
        let error = with(&rest).unwrap_err().to_string();
        assert!(error.starts_with(said), "{error}");
    }
    let error = with(&[&all[..], &[("VNC_RFB_PASSWORD_FILE", "/p")]].concat()).unwrap_err().to_string();
    assert!(
        error.starts_with("VNC_RFB_PASSWORD_FILE is \"/p\", and VNC_GUACAMOLE_FOLDER is \"/g\": the password is made there"),
        "{error}"
    );
}
