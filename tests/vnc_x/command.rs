//! A desktop for one command, on a developer's machine.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixStream,
    },
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    access::{UPGRADE, frame, head, shakes_hands},
    sidecar::{DEADLINE, Site, desktop_name, printed},
    until::until,
};

/// `outrigger vnc` with a runtime folder that belongs to the site, and the display and cookie of somebody else in its environment.
fn outrigger(site: &Site, flags: &[&str]) -> Command {
    let runtime = site.path("runtime");
    fs::create_dir_all(&runtime).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(["vnc", "--display", &site.display.name()]).args(flags);
    command.env("XDG_RUNTIME_DIR", runtime).env("DISPLAY", ":0").env("XAUTHORITY", site.path("somebody-elses"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn until_gone(site: &Site) {
    site.until_nothing_is_left().await;
    assert_eq!(fs::read_dir(site.path("runtime/outrigger")).unwrap().count(), 0, "no folder is left");
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn a_command_gets_a_desktop_of_its_own_which_ends_with_it_and_its_status() {
    let site = Site::new();
    let script = "xdpyinfo | grep dimensions; echo $DISPLAY; test -r $XAUTHORITY && exit 7";
    let output = timeout(DEADLINE, outrigger(&site, &["--geometry", "800x600", "--", "sh", "-c", script]).output()).await.unwrap().unwrap();
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.contains("800x600 pixels") && said.contains(&site.display.name()), "{said}");
    assert!(!site.path("somebody-elses").exists());
    until_gone(&site).await;
}

#[tokio::test]
async fn a_real_window_is_shown_until_somebody_interrupts() {
    let site = Site::new();
    let mut child = outrigger(&site, &["--", "xterm", "-T", "shown", "-e", "sleep", "600"]).spawn().unwrap();
    let authority = site.path("runtime/outrigger").join(format!("desktop-{}/cookie", site.display.number()));
    until("the window is there", async || {
        let output = site.client_with("xdotool", &["search", "--onlyvisible", "--name", "^shown$"], &authority).await;
        if output.status.success() { Ok(()) } else { Err(printed(&output)) }
    })
    .await;
    signal(&child, Signal::INT);
    assert!(timeout(DEADLINE, child.wait()).await.unwrap().unwrap().success());
    until_gone(&site).await;
}

#[tokio::test]
async fn the_command_starts_when_a_slow_window_manager_has_come() {
    let site = Site::new();
    let mut command = outrigger(&site, &["--", "xprop", "-root", "_NET_SUPPORTING_WM_CHECK"]);
    let path = site.with_openbox("sleep 1; exec /usr/bin/openbox \"$@\"");
    let output = timeout(DEADLINE, command.env("PATH", path).output()).await.unwrap().unwrap();
    assert!(output.status.success() && printed(&output).contains("window id #"), "{}", printed(&output));
    until_gone(&site).await;
}

#[tokio::test]
async fn a_window_manager_that_says_nothing_keeps_nobody_from_starting() {
    let site = Site::new();
    let mut command = outrigger(&site, &["--", "sh", "-c", "exit 7"]);
    let output = timeout(DEADLINE, command.env("PATH", site.with_openbox("exec sleep 600")).output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", printed(&output));
    let said = "the window manager does not answer within 5 s, and the app is started without it";
    assert!(printed(&output).contains(said), "{}", printed(&output));
    until_gone(&site).await;
}

#[tokio::test]
async fn a22_the_desktop_stays_or_the_command_comes_back_where_that_is_wanted() {
    for (policy, runs) in [("keep", 1), ("restart", 2)] {
        let site = Site::new();
        let runs_file = site.path("runs");
        let script = format!("echo run >> {}", runs_file.display());
        let mut child = outrigger(&site, &["--on-end", policy, "--log-level", "info", "--", "sh", "-c", &script]).spawn().unwrap();
        until("it has run", async || {
            let count = fs::read_to_string(&runs_file).unwrap_or_default().lines().count();
            if count >= runs { Ok(()) } else { Err(format!("{count} times")) }
        })
        .await;
        site.process("Xtigervnc").await;
        signal(&child, Signal::TERM);
        assert!(timeout(DEADLINE, child.wait()).await.unwrap().unwrap().success());
        assert_eq!(fs::read_to_string(&runs_file).unwrap().lines().count() >= 2, runs == 2, "{policy}");
        until_gone(&site).await;
    }
}

#[tokio::test]
async fn b4_viewers_hear_that_the_command_has_ended_and_that_nothing_comes_back() {
    for (ends_by_itself, reason) in [(true, "the app has ended"), (false, "the desktop was closed")] {
        let site = Site::new();
        let script = format!("while ! test -e {}; do sleep 0.1; done", site.path("done").display());
        let errors = site.path("errors");
        let mut command = outrigger(&site, &["--", "sh", "-c", &script]);
        let mut child = command.stderr(fs::File::create(&errors).unwrap()).spawn().unwrap();
        let mut address = String::new();
        until("its address is said", async || {
            let text = fs::read_to_string(&errors).unwrap();
            let said = text.split_once("http://").and_then(|(_, rest)| rest.split_once('/'));
            said.map(|(said, _)| said.clone_into(&mut address)).ok_or_else(|| text.clone())
        })
        .await;
        let mut viewer = None;
        until("viewers are let in", async || {
            let mut stream = TcpStream::connect(&address).await.map_err(|error| error.to_string())?;
            let status = head(&mut stream, &format!("{UPGRADE}Host: {address}\r\n\r\n")).await;
            viewer = (status == 101).then_some(stream);
            if viewer.is_some() { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
        let mut viewer = viewer.unwrap();
        shakes_hands(&mut viewer).await;
        if ends_by_itself {
            fs::write(site.path("done"), "").unwrap();
        } else {
            signal(&child, Signal::INT);
        }
        let told = loop {
            let (first, payload) = frame(&mut viewer).await;
            if first == 0x88 {
                break payload;
            }
        };
        assert_eq!(told, [&1000u16.to_be_bytes()[..], reason.as_bytes()].concat(), "{}", told.escape_ascii());
        assert!(timeout(DEADLINE, child.wait()).await.unwrap().unwrap().success());
        until_gone(&site).await;
    }
}

/// A program that fails as a browser, and one that writes down what it was to open.
fn browsers(site: &Site) -> String {
    let (broken, working) = (site.path("broken"), site.path("working"));
    fs::write(&broken, "#!/bin/sh\nexit 3\n").unwrap();
    fs::write(&working, format!("#!/bin/sh\necho \"$@\" > {0}.part; mv {0}.part {0}\n", site.path("opened").display())).unwrap();
    for program in [&broken, &working] {
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}:{} --new %s", broken.display(), working.display())
}

#[tokio::test]
async fn the_page_is_opened_in_the_browser_that_the_user_has_named() {
    let site = Site::new();
    let script = format!("while ! test -e {}; do sleep 0.1; done", site.path("opened").display());
    let mut command = outrigger(&site, &["--open", "--", "sh", "-c", &script]);
    let output = timeout(DEADLINE, command.env("BROWSER", browsers(&site)).output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", printed(&output));
    let opened = fs::read_to_string(site.path("opened")).unwrap();
    let address = opened.trim().strip_prefix("--new ").unwrap();
    assert!(address.starts_with("http://127.0.0.1:"), "{opened}");
    assert!(printed(&output).contains(&format!("note: {address} shows the desktop to everybody on this machine")), "{}", printed(&output));
    until_gone(&site).await;
}

#[tokio::test]
async fn where_no_browser_opens_the_user_is_told_what_to_do_and_the_desktop_is_there_all_the_same() {
    for (browser, said) in [
        (None, "there is no screen here that a browser could open on: open http://127.0.0.1:"),
        (Some("no-such-browser"), "no browser opened (no-such-browser did not): open http://127.0.0.1:"),
    ] {
        let site = Site::new();
        let mut command = outrigger(&site, &["--open", "--on-end", "keep", "--", "true"]);
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").env_remove("BROWSER");
        let errors = site.path("errors");
        command.envs(browser.map(|browser| ("BROWSER", browser))).stderr(fs::File::create(&errors).unwrap());
        let mut child = command.spawn().unwrap();
        until("it is said", async || {
            let text = fs::read_to_string(&errors).unwrap();
            if text.contains(said) && text.contains("name a program in BROWSER") { Ok(()) } else { Err(text) }
        })
        .await;
        site.process("Xtigervnc").await;
        signal(&child, Signal::TERM);
        assert!(timeout(DEADLINE, child.wait()).await.unwrap().unwrap().success());
        until_gone(&site).await;
    }
}

#[tokio::test]
async fn viewers_see_the_commands_name() {
    let site = Site::new();
    let mut child = outrigger(&site, &["--on-end", "keep", "--", "/bin/true"]).spawn().unwrap();
    let socket = site.path("runtime/outrigger").join(format!("desktop-{}/rfb.sock", site.display.number()));
    until("viewers are let in", async || UnixStream::connect(&socket).map(drop).map_err(|error| error.to_string())).await;
    assert_eq!(desktop_name(&socket).unwrap(), "true");
    signal(&child, Signal::TERM);
    child.wait().await.unwrap();
    until_gone(&site).await;
}

#[tokio::test]
async fn a_command_that_is_not_there_and_a_display_that_is_in_use_are_named() {
    let site = Site::new();
    let output = timeout(DEADLINE, outrigger(&site, &["--", "no-such-program"]).output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(printed(&output).contains("no-such-program can't be started on the desktop"), "{}", printed(&output));
    until_gone(&site).await;

    let mut first = outrigger(&site, &["--on-end", "keep", "--", "true"]).spawn().unwrap();
    site.process("Xtigervnc").await;
    let output = timeout(DEADLINE, outrigger(&site, &["--", "true"]).output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = printed(&output);
    assert!(said.contains(&format!("another outrigger vnc has the display {}: choose another one", site.display.name())), "{said}");
    signal(&first, Signal::TERM);
    first.wait().await.unwrap();
    until_gone(&site).await;
}

#[tokio::test]
async fn what_a_killed_desktop_has_left_is_ended_by_the_next_one() {
    let site = Site::new();
    let mut killed = outrigger(&site, &["--on-end", "keep", "--", "true"]).spawn().unwrap();
    site.process("Xtigervnc").await;
    let authority = site.path("runtime/outrigger").join(format!("desktop-{}/cookie", site.display.number()));
    until("it answers", async || {
        let output = site.client_with("xdpyinfo", &[], &authority).await;
        if output.status.success() { Ok(()) } else { Err(printed(&output)) }
    })
    .await;
    signal(&killed, Signal::KILL);
    killed.wait().await.unwrap();
    let output = timeout(DEADLINE, outrigger(&site, &["--", "xdpyinfo"]).output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", printed(&output));
    until_gone(&site).await;
}

#[tokio::test]
async fn without_a_display_one_is_taken_that_is_free() {
    let site = Site::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(["vnc", "--", "sh", "-c", "echo $DISPLAY; xdpyinfo > /dev/null"]).env("XDG_RUNTIME_DIR", site.path(""));
    let output = timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    assert!(output.status.success() && printed(&output).starts_with(':'), "{}", printed(&output));
    assert_eq!(fs::read_dir(site.path("outrigger")).unwrap().count(), 0);
}

#[tokio::test]
async fn errors_name_the_flag_that_was_given_or_is_missing() {
    let site = Site::new();
    for (flags, said) in [
        (&["--geometry", "1280"][..], "--geometry is \"1280\": use "),
        (&["--geometry", "16000x100"], "--geometry is \"16000x100\": use a size from --smallest 64x64 to --largest 7680x4320"),
        (&["--port", "99999"], "--port is \"99999\": use a port from 1 to 65535"),
        (&["--tickets", "true"], "--tickets is \"true\", and --administrator-token-file is not set"),
        (&["--smallest", "800x600", "--largest", "640x480"], "--smallest is \"800x600\", and --largest is \"640x480\": "),
    ] {
        let output = timeout(DEADLINE, outrigger(&site, &[flags, &["--", "true"]].concat()).output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(printed(&output).contains(said), "{}", printed(&output));
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(["vnc", "--display", "foo", "--", "true"]).env("XDG_RUNTIME_DIR", site.path(""));
    let output = timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    assert!(printed(&output).contains("--display is \"foo\": use a display "), "{}", printed(&output));
    assert!(!site.path("outrigger").exists(), "nothing is made");
}

/// "All paths set in these environment variables must be absolute. If an implementation encounters a relative path [...] it should
/// consider the path invalid and ignore it" (XDG Base Directory Specification).
#[tokio::test]
async fn a_runtime_folder_that_is_no_absolute_path_is_as_if_it_were_not_set() {
    let site = Site::new();
    let temporary = site.path("temporary");
    fs::create_dir(&temporary).unwrap();
    let mut command = outrigger(&site, &["--", "sh", "-c", "echo $XAUTHORITY"]);
    command.env("XDG_RUNTIME_DIR", "relative").env("TMPDIR", &temporary).current_dir(site.path(""));
    let output = timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    let said = printed(&output);
    assert!(output.status.success() && said.contains(temporary.to_str().unwrap()), "{said}");
    assert!(!site.path("relative").exists());
    site.until_nothing_is_left().await;
}

#[tokio::test]
async fn without_a_window_manager_or_novnc_the_flag_that_helps_is_named() {
    let site = Site::new();
    let programs = site.path("programs");
    fs::create_dir(&programs).unwrap();
    symlink("/usr/bin/Xtigervnc", programs.join("Xtigervnc")).unwrap();
    let web = site.path("nowhere").display().to_string();
    let mut command = outrigger(&site, &["--web-folder", &web, "--", "/bin/true"]);
    let output = timeout(DEADLINE, command.env("PATH", &programs).output()).await.unwrap().unwrap();
    let said = printed(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("openbox is not here") && said.contains("set --window-manager=none"), "{said}");
    assert!(said.contains(&format!("warning: noVNC is not here. It was looked for in {web}: ")) && said.contains("--web-folder"), "{said}");
    until_gone(&site).await;
}
