//! The TCP port of RFB: who gets in by a password, and that such a viewer is like any other.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Stdio,
    time::Duration,
};

use outrigger::{
    runtime::server,
    sidecars::vnc::{
        bridge::{
            Pace,
            target::{Target, Targets},
        },
        rfb::{policy::Policy, vnc_auth::Password},
        rfb_port::{RfbPort, passwords::PasswordFile},
        router::Settings,
        viewers::{Limits, Role},
        websocket::close::{Close, CloseCode},
    },
};
use outrigger_bed::XServer;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UnixStream},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    client::LONG,
    desk::{Bridge, Desktop, received, says, scripted, until},
    screenshot::{paint, picture_if_any},
    x_server::{INSIDE, line, shown, terminal},
};

const CONTROL: &str = "control!";
const LOOK: &str = "look";
const RETURN: u32 = 0xff0d;

/// A port before a desktop. It ends with its bridge.
struct Port {
    address: SocketAddr,
    folder: TempDir,
    serving: JoinHandle<()>,
}

impl Port {
    async fn of(bridge: &Bridge) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("passwords"), format!("{CONTROL}\n{LOOK}\n")).unwrap();
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let port = RfbPort::new(bridge.desk.clone(), PasswordFile::new(folder.path().join("passwords")));
        Self { address, serving: tokio::spawn(port.serve(listener)), folder }
    }

    fn writes_passwords(&self, text: &str) {
        fs::write(self.folder.path().join("passwords"), text).unwrap();
    }
}

/// A port before a desktop that the test itself speaks for.
async fn port(change: impl FnOnce(&mut Settings)) -> (Bridge, Port, Desktop) {
    let (bridge, desktop) = scripted(change).await;
    let port = Port::of(&bridge).await;
    (bridge, port, desktop)
}

/// Somebody who speaks RFB.
struct Guest {
    stream: TcpStream,
    version: u8,
}

impl Guest {
    /// Says which version it speaks: 3, 7 or 8.
    async fn of_version(port: &Port, version: u8, from: [u8; 4]) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((IpAddr::from(from), 0).into()).unwrap();
        let stream = timeout(LONG, socket.connect(port.address)).await.unwrap().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut guest = Self { stream, version };
        assert_eq!(guest.hears(12).await, b"RFB 003.008\n");
        guest.says(format!("RFB 003.00{version}\n").as_bytes()).await;
        guest
    }

    async fn of(port: &Port) -> Self {
        Self::of_version(port, 8, [127, 0, 0, 1]).await
    }

    /// Answers the challenge as one does who knows this password.
    async fn tries(mut self, password: &str) -> Self {
        if self.version == 3 {
            assert_eq!(self.hears(4).await, [0, 0, 0, 2]);
        } else {
            assert_eq!(self.hears(2).await, [1, 2]);
            self.says(&[2]).await;
        }
        let challenge = self.hears(16).await.try_into().unwrap();
        let response = Password::new(password.as_bytes()).unwrap().respond(&challenge);
        self.says(&response).await;
        self
    }

    /// Gets in by a password.
    async fn enters(self, password: &str) -> Self {
        let mut guest = self.tries(password).await;
        assert_eq!(guest.hears(4).await, [0; 4], "it may come in");
        guest
    }

    async fn says(&mut self, bytes: &[u8]) {
        timeout(LONG, self.stream.write_all(bytes)).await.expect("it is taken in time").unwrap();
    }

    async fn hears(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        timeout(LONG, self.stream.read_exact(&mut bytes)).await.expect("it is said in time").unwrap();
        bytes
    }

    /// All that is said until the end of the connection.
    async fn hears_the_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = timeout(LONG, self.stream.read_to_end(&mut bytes)).await.expect("it ends in time");
        assert!(read.is_ok() || bytes.is_empty(), "{read:?}");
        bytes
    }

    /// The reason for which the password, or the guest, is refused.
    async fn is_refused(&mut self) -> String {
        let said = self.hears_the_end().await;
        assert_eq!(said[..4], [0, 0, 0, 1]);
        assert_eq!(usize::try_from(u32::from_be_bytes(said[4..8].try_into().unwrap())).unwrap(), said.len() - 8);
        String::from_utf8(said[8..].to_vec()).unwrap()
    }

    /// Begins, and hears how large the desktop is.
    async fn begins(&mut self) -> (u16, u16) {
        self.says(&[0]).await;
        let init = self.hears(24).await;
        let name = u32::from_be_bytes(init[20..24].try_into().unwrap());
        self.hears(name.try_into().unwrap()).await;
        (u16::from_be_bytes([init[0], init[1]]), u16::from_be_bytes([init[2], init[3]]))
    }

    async fn points(&mut self, (x, y): (u16, u16)) {
        self.says(&[&[5, 0][..], &x.to_be_bytes(), &y.to_be_bytes()].concat()).await;
    }

    async fn types(&mut self, text: &str) {
        for symbol in text.chars().map(u32::from) {
            self.key(symbol).await;
        }
    }

    async fn key(&mut self, symbol: u32) {
        for is_down in [1, 0] {
            self.says(&[&[4, is_down, 0, 0][..], &symbol.to_be_bytes()].concat()).await;
        }
    }
}

/// Lets the next connection of the bridge in, as an X server does, up to the viewer's `ClientInit`.
async fn lets_in(desktop: &Desktop) -> UnixStream {
    let mut stream = desktop.accept().await;
    says(&mut stream, b"RFB 003.008\n").await;
    assert_eq!(received(&mut stream, 12).await, b"RFB 003.008\n");
    says(&mut stream, &[1, 1]).await;
    assert_eq!(received(&mut stream, 1).await, [1]);
    says(&mut stream, &[0; 4]).await;
    stream
}

#[tokio::test]
async fn who_knows_the_password_types_whatever_version_it_speaks() {
    let server = XServer::start().await;
    let bridge = shown(&server, Policy::control()).await;
    let port = Port::of(&bridge).await;
    for version in [3, 7, 8] {
        let file = terminal(&server, &format!("typed-{version}"));
        let mut guest = Guest::of_version(&port, version, [127, 0, 0, 1]).await.enters(CONTROL).await;
        assert_eq!(guest.begins().await, (1280, 800));
        guest.points(INSIDE).await;
        guest.types(&format!("v{version}")).await;
        guest.key(RETURN).await;
        assert_eq!(line(&file).await, format!("v{version}"));
        drop(guest);
        bridge.has_viewers(0).await;
    }
    assert!(bridge.desk.viewers().activity().last_input.is_some());
    assert_eq!(bridge.metric("outrigger_vnc_ended_total{code=\"1000\"}"), 3);
}

#[tokio::test]
async fn a19_the_password_for_looking_reaches_no_application_until_the_role_changes() {
    let server = XServer::start().await;
    let bridge = shown(&server, Policy::control()).await;
    let port = Port::of(&bridge).await;
    let file = terminal(&server, "only");
    let mut guest = Guest::of(&port).await.enters(LOOK).await;
    guest.begins().await;
    guest.points(INSIDE).await;
    guest.types("no").await;
    until(|| bridge.metric("outrigger_vnc_dropped_inputs_total") == 5).await;
    let viewer = &bridge.desk.viewers().activity().viewers[0];
    assert_eq!((viewer.role, &*viewer.address, viewer.dropped_messages), (Role::View, "127.0.0.1", 5));
    assert!(viewer.last_input.is_none());

    assert!(bridge.desk.viewers().change_role(viewer.id, Role::Control));
    guest.points(INSIDE).await;
    guest.types("yes").await;
    guest.key(RETURN).await;
    assert_eq!(line(&file).await, "yes");
}

/// Its client is libvncclient, which is also the one of guacd: x11vnc shows by it what another server shows.
#[tokio::test]
async fn libvncclient_gets_in_by_the_password_and_sees_the_desktop() {
    let server = XServer::start().await;
    let bridge = shown(&server, Policy::control()).await;
    let port = Port::of(&bridge).await;
    let colour = [0x22, 0x88, 0x44];
    paint(&server, colour);
    let socket = port.folder.path().join("reflected");
    let mut reflector = reflector(&port, &socket, CONTROL).spawn().unwrap();
    until(|| socket.exists()).await;
    bridge.has_viewers(1).await;
    let (reflected, _desktop) = scripted(|settings| settings.targets = Targets::new(Target::Unix(socket.clone()))).await;
    let end = tokio::time::Instant::now() + LONG;
    loop {
        // It may have its socket before it listens.
        let seen = picture_if_any(reflected.address, "/screenshot").await;
        if seen.as_ref().is_some_and(|seen| seen.size == (1280, 800) && [seen.pixel(300, 200), seen.pixel(1279, 799)] == [colour; 2]) {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{:?}", seen.map(|seen| (seen.size, seen.pixel(0, 0))));
    }
    reflector.kill().await.unwrap();
    bridge.has_viewers(0).await;
}

#[tokio::test]
async fn libvncclient_does_not_get_in_by_another_password() {
    let (bridge, port, _desktop) = port(|_| {}).await;
    let socket = port.folder.path().join("reflected");
    let output = timeout(LONG, reflector(&port, &socket, "another").output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("the password is wrong"), "{said}");
    assert_eq!(bridge.metric("outrigger_vnc_refused_total{status=\"401\"}"), 1);
}

fn reflector(port: &Port, socket: &Path, password: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("x11vnc");
    // From 5900 on a number is a port, and below a display's.
    command.args(["-reflect", &format!("127.0.0.1:{}", port.address.port()), "-rfbport", "0", "-rfbportv6", "-1", "-unixsock"]);
    command.arg(socket).args(["-norc", "-nopw", "-forever", "-shared"]).env("X11VNC_REFLECT_PASSWORD", password);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_who_goes_on_is_not_asked_for_a_while() {
    let (bridge, port, desktop) = port(|_| {}).await;
    let wrong = async |version| Guest::of_version(&port, version, [127, 0, 0, 1]).await.tries("wrong").await.hears_the_end().await;
    let refused = [&[0, 0, 0, 1, 0, 0, 0, 21][..], b"the password is wrong"].concat();
    let said = tokio::join!(wrong(3), wrong(7), wrong(8), wrong(8), wrong(8));
    assert_eq!([said.0, said.1], [[0, 0, 0, 1], [0, 0, 0, 1]], "before 3.8 there are no reasons");
    assert_eq!([said.2, said.3, said.4], [refused.clone(), refused.clone(), refused]);

    for (version, none) in [(3, 4), (7, 1), (8, 1)] {
        let said = Guest::of_version(&port, version, [127, 0, 0, 1]).await.hears_the_end().await;
        assert_eq!(said[..none], vec![0; none]);
        let reason = String::from_utf8_lossy(&said[none + 4..]).into_owned();
        assert!(reason.starts_with("too many wrong passwords: try again in "), "{reason}");
    }
    assert_eq!(["401", "429"].map(|status| bridge.metric(&format!("outrigger_vnc_refused_total{{status=\"{status}\"}}"))), [5, 3]);

    // Another address has not guessed.
    let other = Guest::of_version(&port, 8, [127, 0, 0, 2]).await;
    let (mut other, _desktop) = tokio::join!(other.tries(CONTROL), lets_in(&desktop));
    assert_eq!(other.hears(4).await, [0; 4]);
}

#[tokio::test]
async fn many_guesses_at_once_are_no_more_than_many_after_each_other() {
    let (bridge, port, _desktop) = port(|_| {}).await;
    let mut guests = Vec::new();
    for _ in 0..20 {
        guests.push(Guest::of(&port).await);
    }
    let answers = futures::future::join_all(guests.into_iter().map(async |guest| guest.tries("wrong").await.is_refused().await)).await;
    let judged = answers.iter().filter(|answer| *answer == "the password is wrong").count();
    let unheard = answers.iter().filter(|answer| answer.starts_with("too many wrong passwords")).count();
    assert_eq!((judged, unheard), (5, 15), "{answers:?}");
    assert_eq!(bridge.metric("outrigger_vnc_refused_total{status=\"429\"}"), 15);
}

#[tokio::test]
async fn a15_connections_that_say_nothing_are_no_wrong_passwords() {
    let (bridge, port, desktop) = port(|_| {}).await;
    for _ in 0..20 {
        drop(TcpStream::connect(port.address).await.unwrap());
        let mut guest = Guest::of(&port).await;
        guest.hears(2).await;
    }
    let guest = Guest::of(&port).await;
    let (mut guest, _desktop) = tokio::join!(guest.tries(CONTROL), lets_in(&desktop));
    assert_eq!(guest.hears(4).await, [0; 4]);
    bridge.has_viewers(1).await;
}

#[tokio::test]
async fn what_is_no_rfb_and_who_is_slow_is_sent_away() {
    let (bridge, port, _desktop) = port(|settings| settings.pace = Pace { handshake: Duration::from_millis(200), ..Pace::default() }).await;
    let refused = |status: &str| bridge.metric(&format!("outrigger_vnc_refused_total{{status=\"{status}\"}}"));
    for (says, status) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], "400"), (b"RFB 003.008\n\x01", "400"), (b"RFB 003", "408"), (b"", "408")] {
        let before = refused(status);
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(says).await.unwrap();
        let mut heard = Vec::new();
        // What was not read makes the end a reset.
        let _ = timeout(LONG, stream.read_to_end(&mut heard)).await.expect("it ends in time");
        until(|| refused(status) == before + 1).await;
    }
    bridge.has_viewers(0).await;
}

#[tokio::test]
async fn who_got_in_and_says_nothing_more_does_not_keep_its_place() {
    let (bridge, port, desktop) = port(|settings| settings.pace = Pace { handshake: Duration::from_millis(300), ..Pace::default() }).await;
    let guest = Guest::of(&port).await;
    let (mut guest, _desktop) = tokio::join!(guest.tries(CONTROL), lets_in(&desktop));
    assert_eq!(guest.hears_the_end().await, [0; 4]);
    bridge.has_viewers(0).await;
}

#[tokio::test]
async fn b9_the_limits_of_viewers_hold_here_too() {
    let (bridge, port, desktop) = port(|settings| settings.limits = Limits { total: 1, ..Limits::default() }).await;
    let guest = Guest::of(&port).await;
    let (mut guest, _desktop) = tokio::join!(guest.tries(CONTROL), lets_in(&desktop));
    assert_eq!(guest.hears(4).await, [0; 4]);
    let refused = Guest::of(&port).await.tries(CONTROL).await.is_refused().await;
    assert_eq!(refused, "1 viewers are connected, and no more may be");
    drop(guest);
    bridge.has_viewers(0).await;
}

#[tokio::test]
async fn a_desktop_that_is_away_is_told_and_reached_when_it_is_back() {
    let server = XServer::start().await;
    let gone = tempfile::tempdir().unwrap();
    let socket = gone.path().join("rfb.sock");
    let (bridge, _desktop) = scripted(|settings| settings.targets = Targets::new(Target::Unix(socket.clone()))).await;
    let port = Port::of(&bridge).await;
    let refused = Guest::of(&port).await.tries(CONTROL).await.is_refused().await;
    assert_eq!(refused, "the desktop can't be reached: it may be starting");
    std::os::unix::fs::symlink(server.rfb_socket(), &socket).unwrap();
    let mut guest = Guest::of(&port).await.enters(CONTROL).await;
    assert_eq!(guest.begins().await, (1280, 800));
    drop(server);
    guest.hears_the_end().await;
    bridge.has_viewers(0).await;
    assert_eq!(bridge.metric("outrigger_vnc_ended_total{code=\"1011\"}"), 1);
}

#[tokio::test]
async fn a_desktop_that_wants_a_password_or_says_nothing_is_told_as_away() {
    let (_bridge, port, desktop) = port(|settings| settings.pace = Pace { connect: Duration::from_millis(300), ..Pace::default() }).await;
    let wants_a_password = async {
        let mut stream = desktop.accept().await;
        says(&mut stream, b"RFB 003.008\n\x01\x02").await;
        stream
    };
    let guest = Guest::of(&port).await;
    let (mut guest, _stream) = tokio::join!(guest.tries(CONTROL), wants_a_password);
    assert_eq!(guest.is_refused().await, "the desktop can't be reached: it may be starting");
    let guest = Guest::of(&port).await;
    let (mut guest, _silent) = tokio::join!(guest.tries(CONTROL), desktop.accept());
    assert_eq!(guest.is_refused().await, "the desktop can't be reached: it may be starting");
}

#[tokio::test]
async fn a_password_that_is_changed_is_in_force_at_once_and_without_a_file_nobody_gets_in() {
    let (bridge, port, desktop) = port(|_| {}).await;
    port.writes_passwords("newer\n");
    let guest = Guest::of(&port).await;
    let (mut guest, _desktop) = tokio::join!(guest.tries("newer"), lets_in(&desktop));
    assert_eq!(guest.hears(4).await, [0; 4]);
    for old in [CONTROL, LOOK] {
        assert_eq!(Guest::of(&port).await.tries(old).await.is_refused().await, "the password is wrong");
    }
    port.writes_passwords("");
    assert_eq!(Guest::of(&port).await.tries("newer").await.is_refused().await, "passwords can't be checked now");
    assert_eq!(bridge.metric("outrigger_vnc_refused_total{status=\"503\"}"), 1);
}

#[tokio::test]
async fn a_viewer_who_must_go_and_a_port_that_closes_end_connections() {
    let (bridge, port, desktop) = port(|_| {}).await;
    let guest = Guest::of(&port).await;
    let (mut guest, mut stream) = tokio::join!(guest.tries(CONTROL), lets_in(&desktop));
    guest.hears(4).await;
    guest.says(&[0]).await;
    assert_eq!(received(&mut stream, 1).await, [1], "the desktop is always shared");
    says(&mut stream, b"what it shows").await;
    assert_eq!(guest.hears(13).await, b"what it shows");
    let id = bridge.desk.viewers().activity().viewers[0].id;
    assert!(bridge.desk.viewers().revoke(id, Close::new(CloseCode::PolicyViolation, "someone else's turn")));
    assert_eq!(guest.hears_the_end().await, b"");
    bridge.has_viewers(0).await;

    let guest = Guest::of(&port).await;
    let (mut guest, _stream) = tokio::join!(guest.tries(CONTROL), lets_in(&desktop));
    guest.hears(4).await;
    let mut waiting = Guest::of(&port).await;
    waiting.hears(2).await;
    bridge.close();
    assert_eq!((guest.hears_the_end().await, waiting.hears_the_end().await), (Vec::new(), Vec::new()));
    timeout(LONG, port.serving).await.expect("the port closes in time").unwrap();
    assert!(TcpStream::connect(port.address).await.is_err());
}

#[tokio::test]
async fn b6_b7_a_viewer_who_does_not_read_still_types_and_costs_a_buffer() {
    let server = XServer::start().await;
    let bridge = shown(&server, Policy::control()).await;
    let port = Port::of(&bridge).await;
    let file = terminal(&server, "stalled");
    let mut guest = Guest::of(&port).await.enters(CONTROL).await;
    let (width, height) = guest.begins().await;
    for _ in 0..20 {
        guest.says(&[&[3, 0, 0, 0, 0, 0][..], &width.to_be_bytes(), &height.to_be_bytes()].concat()).await;
    }
    guest.points(INSIDE).await;
    guest.types("still").await;
    guest.key(RETURN).await;
    assert_eq!(line(&file).await, "still");
    let sent = bridge.desk.viewers().activity().viewers[0].bytes_from_desktop;
    assert!(sent < 20 * 4 * u64::from(width) * u64::from(height), "{sent} bytes were taken from the desktop though nobody reads them");
}

#[tokio::test]
async fn a_message_that_nobody_knows_ends_the_viewer_alone() {
    let (bridge, port, desktop) = port(|_| {}).await;
    let mut guests = Vec::new();
    for _ in 0..2 {
        let guest = Guest::of(&port).await;
        let (mut guest, mut stream) = tokio::join!(guest.tries(CONTROL), lets_in(&desktop));
        guest.hears(4).await;
        guest.says(&[1]).await;
        received(&mut stream, 1).await;
        guests.push((guest, stream));
    }
    let [(bad, _), (good, stream)] = guests.as_mut_slice() else { unreachable!() };
    bad.says(&[99; 32]).await;
    bad.hears_the_end().await;
    bridge.has_viewers(1).await;
    good.says(&[3, 0, 0, 0, 0, 0, 0, 1, 0, 1]).await;
    assert_eq!(received(stream, 10).await, [3, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
    assert_eq!(bridge.metric("outrigger_vnc_ended_total{code=\"1008\"}"), 1);
}
