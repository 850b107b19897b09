//! A real Xtigervnc behind the bridge: a viewer that speaks RFB sees the desktop, and does to it what it may.

use std::{fs, path::PathBuf, process::Stdio};

use outrigger::sidecars::vnc::{
    bridge::target::{Target, Targets},
    rfb::policy::{Bounds, Policy},
    router::{Protocol, Settings},
    viewers::Role,
    x_server::flags::Features,
};
use outrigger_bed::XServer;
use tokio::time::timeout;

use crate::{
    client::{BINARY, Client, LONG},
    desk::{Bridge, until},
};

const VERSION: &[u8] = b"RFB 003.008\n";
const RAW: i32 = 0;
const EXTENDED_DESKTOP_SIZE: i32 = -308;
const EXTENDED_MOUSE_BUTTONS: i32 = -316;
const RETURN: u32 = 0xff0d;
const SCREEN: (u16, u16) = (1280, 800);

/// The bridge before an X server, which may do as `control` says.
pub(crate) async fn shown(server: &XServer, control: Policy) -> Bridge {
    let knows_more_buttons = knows_more_buttons(server);
    let mut settings = Settings::open(targets(server), Protocol::Rfb { knows_more_buttons });
    settings.control = control;
    Bridge::start(settings).await
}

pub(crate) fn targets(server: &XServer) -> Targets {
    Targets::new(Target::Unix(server.rfb_socket()))
}

fn knows_more_buttons(server: &XServer) -> bool {
    let said = server.client("Xtigervnc").arg("-help").output().unwrap();
    Features::read(&format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr))).knows_more_buttons
}

/// A viewer that speaks RFB.
struct Viewer {
    client: Client,
    size: (u16, u16),
}

impl Viewer {
    /// Shakes hands and says what it understands.
    async fn connect(bridge: &Bridge, encodings: &[i32]) -> Self {
        let mut client = Client::connect(bridge.address).await;
        let mut stream = Bytes::default();
        assert_eq!(stream.take(&mut client, 12).await, VERSION);
        client.send(BINARY, VERSION).await;
        assert_eq!(stream.take(&mut client, 2).await, [1, 1], "the one security type is None");
        client.send(BINARY, &[1]).await;
        assert_eq!(stream.take(&mut client, 4).await, [0; 4], "security is fine");
        client.send(BINARY, &[1]).await;
        let init = stream.take(&mut client, 24).await;
        let name = u32::from_be_bytes(init[20..24].try_into().unwrap());
        stream.take(&mut client, name.try_into().unwrap()).await;
        let size = (u16::from_be_bytes([init[0], init[1]]), u16::from_be_bytes([init[2], init[3]]));
        let mut viewer = Self { client, size };
        viewer.understand(encodings).await;
        viewer
    }

    async fn understand(&mut self, encodings: &[i32]) {
        let mut message = vec![2, 0];
        message.extend(u16::try_from(encodings.len()).unwrap().to_be_bytes());
        message.extend(encodings.iter().flat_map(|encoding| encoding.to_be_bytes()));
        self.client.send(BINARY, &message).await;
    }

    async fn key(&mut self, symbol: u32) {
        for is_down in [1, 0] {
            self.client.send(BINARY, &[&[4, is_down, 0, 0][..], &symbol.to_be_bytes()].concat()).await;
        }
    }

    async fn types(&mut self, text: &str) {
        for character in text.chars() {
            self.key(u32::from(character)).await;
        }
    }

    async fn points(&mut self, buttons: u8, (x, y): (u16, u16)) {
        self.client.send(BINARY, &[&[5, buttons][..], &x.to_be_bytes(), &y.to_be_bytes()].concat()).await;
    }

    async fn clicks(&mut self, button: u8, place: (u16, u16)) {
        self.points(1 << (button - 1), place).await;
        self.points(0, place).await;
    }

    async fn cuts(&mut self, text: &str) {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        self.client.send(BINARY, &[&[6, 0, 0, 0][..], &length, text.as_bytes()].concat()).await;
    }

    async fn resizes(&mut self, width: u16, height: u16) {
        let (width, height) = (width.to_be_bytes(), height.to_be_bytes());
        let screen = [&[0; 8][..], &width, &height, &[0; 4]].concat();
        self.client.send(BINARY, &[&[251, 0][..], &width, &height, &[1, 0], &screen].concat()).await;
    }

    /// Asks for the whole screen.
    async fn asks(&mut self) {
        let (width, height) = (self.size.0.to_be_bytes(), self.size.1.to_be_bytes());
        self.client.send(BINARY, &[&[3, 0, 0, 0, 0, 0][..], &width, &height].concat()).await;
    }
}

/// The desktop's stream, however it is cut into frames.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    async fn take(&mut self, client: &mut Client, length: usize) -> Vec<u8> {
        if self.0.len() < length {
            let missing = length - self.0.len();
            self.0.extend(client.read(missing).await);
        }
        self.0.drain(..length).collect()
    }
}

/// A terminal that writes down the first line that is typed into it.
pub(crate) fn terminal(server: &XServer, name: &str) -> PathBuf {
    terminal_with(server, name, "head -n 1")
}

/// A terminal that writes down what a program makes of what is typed into it.
fn terminal_with(server: &XServer, name: &str, program: &str) -> PathBuf {
    let file = server.folder().join(name);
    let script = format!("{program} > {0}.part; mv {0}.part {0}", file.display());
    server.start_client("xterm", &["-T", name, "-geometry", "80x24+0+0", "-e", "sh", "-c", &script]);
    server.output("xdotool", &["search", "--sync", "--onlyvisible", "--name", name]);
    file
}

pub(crate) async fn line(file: &PathBuf) -> String {
    until(|| file.exists()).await;
    fs::read_to_string(file).unwrap().trim_end().to_owned()
}

/// Within the terminal.
pub(crate) const INSIDE: (u16, u16) = (100, 100);

#[tokio::test]
async fn a_viewer_sees_the_desktop_and_types() {
    let server = XServer::start().await;
    let bridge = shown(&server, Policy::control()).await;
    let file = terminal(&server, "typed");
    let mut viewer = Viewer::connect(&bridge, &[RAW]).await;
    assert_eq!(viewer.size, SCREEN);
    viewer.asks().await;
    let mut stream = Bytes::default();
    let head = stream.take(&mut viewer.client, 4).await;
    assert_eq!(head[0], 0, "an update");
    let rectangle = stream.take(&mut viewer.client, 12).await;
    assert_eq!(rectangle[8..12], RAW.to_be_bytes());
    let (width, height) = (u16::from_be_bytes([rectangle[4], rectangle[5]]), u16::from_be_bytes([rectangle[6], rectangle[7]]));
    let pixels = stream.take(&mut viewer.client, usize::from(width) * usize::from(height) * 4).await;
    let first = &pixels[..4];
    assert!(pixels.chunks(4).any(|pixel| pixel != first), "the terminal differs from what is behind it");

    viewer.points(0, INSIDE).await;
    viewer.types("hello").await;
    viewer.key(RETURN).await;
    assert_eq!(line(&file).await, "hello");
}

#[tokio::test]
async fn sortie_s3_a19_a_viewer_who_may_only_look_reaches_no_application() {
    let server = XServer::start().await;
    let bridge = shown(&server, Policy::control()).await;
    let file = terminal(&server, "only");
    let mut spectator = Viewer::connect(&bridge, &[RAW]).await;
    let id = bridge.desk.viewers().activity().viewers[0].id;
    assert!(bridge.desk.viewers().change_role(id, Role::View));
    let mut actor = Viewer::connect(&bridge, &[RAW]).await;
    actor.points(0, INSIDE).await;
    spectator.points(0, (1000, 700)).await;
    spectator.types("no").await;
    until(|| bridge.metric("outrigger_vnc_dropped_inputs_total") == 5).await;
    actor.types("yes").await;
    actor.key(RETURN).await;
    assert_eq!(line(&file).await, "yes");
}

#[tokio::test]
async fn a18_a_text_within_the_limit_is_pasted_and_a_longer_one_is_not() {
    let server = XServer::start().await;
    let bridge = shown(&server, Policy { clipboard: Some(5), ..Policy::control() }).await;
    // A paste takes its own way through the X server, so no key tells its end.
    let file = terminal_with(&server, "pasted", "stty raw; head -c 5");
    let mut viewer = Viewer::connect(&bridge, &[RAW]).await;
    viewer.cuts("short").await;
    viewer.cuts("longer").await;
    viewer.clicks(2, INSIDE).await;
    assert_eq!(line(&file).await, "short");
    assert_eq!(bridge.metric("outrigger_vnc_dropped_clipboard_messages_total"), 1);
}

#[tokio::test]
async fn a16_the_desktop_takes_sizes_within_bounds() {
    let server = XServer::start().await;
    let bounds = Bounds { least: (640, 480), most: (1024, 768) };
    let bridge = shown(&server, Policy { resize: Some(bounds), ..Policy::control() }).await;
    let mut viewer = Viewer::connect(&bridge, &[RAW, EXTENDED_DESKTOP_SIZE]).await;
    viewer.asks().await;
    viewer.resizes(1025, 700).await;
    viewer.resizes(1000, 700).await;
    until(|| server.output("xdpyinfo", &[]).contains("1000x700 pixels")).await;
    viewer.resizes(639, 700).await;
    until(|| bridge.metric("outrigger_vnc_dropped_resizes_total") == 2).await;
    assert!(server.output("xdpyinfo", &[]).contains("1000x700 pixels"));
}

#[tokio::test]
async fn b6_a_viewer_who_does_not_read_still_types() {
    let server = XServer::start().await;
    let bridge = shown(&server, Policy::control()).await;
    let file = terminal(&server, "stalled");
    let mut viewer = Viewer::connect(&bridge, &[RAW]).await;
    // Four megabytes for each change of the screen, of which none is read, until nothing goes any more.
    let taken = || bridge.desk.viewers().activity().viewers[0].bytes_from_desktop;
    // What it does not read fills the sockets, and then waits in one buffer of the bridge.
    let is_full = || bridge.metric("outrigger_vnc_buffer_bytes") == 64 * 1024;
    let (mut before, mut unchanged) = (0, 0);
    let filling = async {
        for colour in ["red", "green"].iter().cycle() {
            server.output("xsetroot", &["-solid", colour]);
            viewer.asks().await;
            // The bridge has this thread, too.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            unchanged = if is_full() && taken() == before { unchanged + 1 } else { 0 };
            before = taken();
            if unchanged == 5 {
                break;
            }
        }
    };
    timeout(LONG, filling).await.expect("the viewer's sockets are full in time");
    assert!(before > 1_000_000, "{before}");
    viewer.points(0, INSIDE).await;
    viewer.types("still").await;
    viewer.key(RETURN).await;
    assert_eq!(line(&file).await, "still");
}

#[tokio::test]
async fn b11_back_and_forward_arrive_where_the_desktop_knows_them() {
    let server = XServer::start().await;
    let bridge = shown(&server, Policy::control()).await;
    let events = server.folder().join("events");
    let mut xev = server.client("xev");
    xev.args(["-event", "button", "-geometry", "400x300+0+0"]).stdin(Stdio::null()).stdout(fs::File::create(&events).unwrap());
    let mut xev = Ends(xev.spawn().unwrap());
    server.output("xdotool", &["search", "--sync", "--onlyvisible", "--name", "Event Tester"]);
    let saw = |button: u32| fs::read_to_string(&events).unwrap().contains(&format!("button {button},"));
    let mut viewer = Viewer::connect(&bridge, &[RAW, EXTENDED_MOUSE_BUTTONS]).await;
    let ([x1, x2], [y1, y2]) = (INSIDE.0.to_be_bytes(), INSIDE.1.to_be_bytes());
    viewer.points(0, INSIDE).await;
    if knows_more_buttons(&server) {
        for (button, bit) in [(8, 1), (9, 2)] {
            viewer.client.send(BINARY, &[5, 0x80, x1, x2, y1, y2, bit]).await;
            viewer.points(0, INSIDE).await;
            until(|| saw(button)).await;
        }
    } else {
        // Without the extension there are eight buttons, and the message is as short as ever.
        viewer.client.send(BINARY, &[5, 0x80, x1, x2, y1, y2]).await;
    }
    // What follows is read where it begins.
    viewer.clicks(1, INSIDE).await;
    until(|| saw(1)).await;
    assert!(xev.0.try_wait().unwrap().is_none());
}

/// A process that ends with this.
struct Ends(std::process::Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
