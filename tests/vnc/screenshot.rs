//! Pictures of the desktop.

use std::{io::Cursor, net::SocketAddr, time::Duration};

use outrigger::sidecars::vnc::{
    admittance::{Admittance, tickets::Tickets},
    rfb::policy::Policy,
};
use outrigger_bed::XServer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    client::{LONG, request},
    desk::{Bridge, TOKEN, administrator, scripted},
    x_server::shown,
};

const RED: [u8; 3] = [0xcc, 0x11, 0x22];
const BLUE: [u8; 3] = [0x33, 0x66, 0xcc];

/// A picture, taken apart.
pub(crate) struct Picture {
    pub(crate) size: (u32, u32),
    pixels: Vec<u8>,
}

impl Picture {
    pub(crate) fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let at = usize::try_from(y * self.size.0 + x).unwrap() * 3;
        self.pixels[at..at + 3].try_into().unwrap()
    }
}

/// What a path answers: its head, and its body.
async fn asked(address: SocketAddr, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    timeout(LONG, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase(), bytes[end + 4..].to_vec())
}

pub(crate) async fn picture(address: SocketAddr, path: &str) -> Picture {
    let (head, body) = asked(address, path).await;
    developed(&head, body)
}

/// A picture, unless there is none right now.
pub(crate) async fn picture_if_any(address: SocketAddr, path: &str) -> Option<Picture> {
    let (head, body) = asked(address, path).await;
    (!head.starts_with("http/1.1 503")).then(|| developed(&head, body))
}

fn developed(head: &str, body: Vec<u8>) -> Picture {
    assert!(head.starts_with("http/1.1 200"), "{head}\n{}", String::from_utf8_lossy(&body));
    assert!(head.contains("content-type: image/png") && head.contains("cache-control: no-store"), "{head}");
    let mut reader = png::Decoder::new(Cursor::new(body)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((frame.color_type, frame.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    Picture { size: (frame.width, frame.height), pixels }
}

pub(crate) fn paint(server: &XServer, [red, green, blue]: [u8; 3]) {
    server.output("xsetroot", &["-solid", &format!("#{red:02x}{green:02x}{blue:02x}")]);
}

#[tokio::test]
async fn a28_a_picture_has_the_colours_of_the_desktop_and_is_nobodys_activity() {
    let server = XServer::start().await;
    let bridge = shown(&server, Policy::control()).await;
    for colour in [RED, BLUE] {
        paint(&server, colour);
        let whole = picture(bridge.address, "/screenshot").await;
        assert_eq!((whole.size, whole.pixel(0, 0), whole.pixel(1279, 799)), ((1280, 800), colour, colour));
        let small = picture(bridge.address, "/screenshot?width=320").await;
        assert_eq!((small.size, small.pixel(0, 0), small.pixel(319, 199)), ((320, 200), colour, colour));
    }
    let activity = bridge.desk.viewers().activity();
    assert!(activity.viewers.is_empty() && activity.without_viewers_since.is_some() && activity.last_input.is_none());
}

#[tokio::test]
async fn a_window_is_where_it_is_on_the_desktop_also_after_another_size() {
    let server = XServer::start().await;
    let bridge = shown(&server, Policy::control()).await;
    paint(&server, BLUE);
    server.start_client("xterm", &["-T", "seen", "-bg", "#cc1122", "-geometry", "40x10+600+500"]);
    server.output("xdotool", &["search", "--sync", "--onlyvisible", "--name", "^seen$"]);
    for (size, mode) in [((1280, 800), None), ((1400, 900), Some("1400x900"))] {
        if let Some(mode) = mode {
            server.output("xrandr", &["--fb", mode]);
        }
        let mut taken = picture(bridge.address, "/screenshot").await;
        let end = tokio::time::Instant::now() + LONG;
        // A window is mapped before it has painted itself.
        while taken.pixel(610, 510) != RED && tokio::time::Instant::now() < end {
            taken = picture(bridge.address, "/screenshot").await;
        }
        assert_eq!((taken.size, taken.pixel(610, 510), taken.pixel(590, 490)), (size, RED, BLUE));
    }
}

#[tokio::test]
async fn several_at_once_are_taken_one_after_the_other() {
    let server = XServer::start().await;
    let bridge = shown(&server, Policy::control()).await;
    paint(&server, RED);
    let path = "/screenshot?width=64";
    // Who has waited for two seconds is sent away, and comes again.
    let in_turn = async || loop {
        let begun = Instant::now();
        if let Some(taken) = picture_if_any(bridge.address, path).await {
            break taken.pixel(0, 0);
        }
        assert!(begun.elapsed() >= Duration::from_secs(2), "sent away after {:?}", begun.elapsed());
    };
    let taken = timeout(LONG, async { tokio::join!(in_turn(), in_turn(), in_turn()) }).await.unwrap();
    assert_eq!([taken.0, taken.1, taken.2], [RED; 3]);
}

#[tokio::test]
async fn a_desktop_that_says_nothing_is_not_waited_for_and_meanwhile_others_are_sent_away() {
    let (bridge, desktop) = scripted(|_| {}).await;
    let ask = || request(bridge.address, "GET /screenshot HTTP/1.1", "");
    let (first, second, _silent) = tokio::join!(ask(), ask(), desktop.accept());
    let mut reasons = [first, second].map(|answer| {
        assert!(answer.status == 503 && answer.head.contains("retry-after: 2"), "{answer:?}");
        answer.body.trim().to_owned()
    });
    reasons.sort();
    assert_eq!(reasons, ["other pictures are being taken", "the desktop does not show itself within 5 s"]);
}

#[tokio::test]
async fn without_a_desktop_there_is_no_picture_but_a_reason() {
    let (bridge, desktop) = scripted(|_| {}).await;
    drop(desktop);
    let answer = request(bridge.address, "GET /screenshot HTTP/1.1", "").await;
    assert!(answer.status == 503 && answer.body.contains("the desktop can't be looked at: it may be starting"), "{answer:?}");

    let server = XServer::start().await;
    let bridge = shown(&server, Policy::control()).await;
    drop(server);
    let answer = request(bridge.address, "GET /screenshot HTTP/1.1", "").await;
    assert!(answer.status == 503 && answer.head.contains("retry-after"), "{answer:?}");
}

#[tokio::test]
async fn what_can_not_be_held_or_understood_is_refused_by_name() {
    let server = XServer::start().await;
    let (bridge, _desktop) = scripted(|settings| {
        settings.targets = crate::x_server::targets(&server);
        settings.largest_picture = (1279, 4320);
    })
    .await;
    let answer = request(bridge.address, "GET /screenshot HTTP/1.1", "").await;
    assert!(answer.status == 409 && answer.body.contains("1280x800 pixels, and pictures are made up to 1279 x 4320"), "{answer:?}");
    let answer = request(bridge.address, "GET /screenshot?width=0 HTTP/1.1", "").await;
    assert_eq!((answer.status, answer.body.trim()), (400, "width is no number of pixels from 1 to 65535"));
    bridge.close();
    bridge.ended().await;
}

async fn status(bridge: &Bridge, header: &str) -> u16 {
    let mut stream = TcpStream::connect(bridge.address).await.unwrap();
    let head = format!("GET /screenshot HTTP/1.1\r\nHost: x\r\nConnection: close{header}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    timeout(LONG, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    std::str::from_utf8(&bytes[9..12]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn who_may_not_see_who_is_there_sees_no_picture_and_tickets_are_not_gone_around() {
    let server = XServer::start().await;
    let tickets = || Admittance { tickets: Some(Tickets::new(8)), ..Admittance::default() };
    for (has_administrator, has_tickets, without, with) in
        [(false, false, 200, 200), (true, false, 401, 200), (false, true, 403, 403), (true, true, 401, 200)]
    {
        let (bridge, _desktop) = scripted(|settings| {
            settings.targets = crate::x_server::targets(&server);
            settings.administrator = has_administrator.then(administrator);
            settings.admittance = if has_tickets { tickets() } else { Admittance::default() };
        })
        .await;
        assert_eq!(status(&bridge, "").await, without, "{has_administrator} {has_tickets}");
        assert_eq!(status(&bridge, &format!("\r\nAuthorization: Bearer {TOKEN}")).await, with, "{has_administrator} {has_tickets}");
    }
}

#[tokio::test]
async fn who_does_not_wait_for_the_picture_does_not_keep_others_from_theirs() {
    let (bridge, desktop) = scripted(|_| {}).await;
    let mut impatient = TcpStream::connect(bridge.address).await.unwrap();
    impatient.write_all(b"GET /screenshot HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = desktop.accept().await;
    drop(impatient);
    // The look ends with who wanted it.
    assert_eq!(timeout(LONG, first.read(&mut [0])).await.unwrap().unwrap(), 0);
    let _second = tokio::spawn(async move { request(bridge.address, "GET /screenshot HTTP/1.1", "").await });
    timeout(Duration::from_secs(30), desktop.accept()).await.unwrap();
}
