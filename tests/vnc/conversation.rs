//! Two directions that do not wait for each other, what each viewer may do, and how a conversation ends.

use std::time::Duration;

use outrigger::sidecars::vnc::{
    bridge::Pace,
    rfb::policy::{Bounds, Policy},
    router::{Protocol, Settings},
    viewers::Role,
    websocket::close::{Close, CloseCode},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use crate::{
    client::{BINARY, CLOSE, Client, LONG, PING, PONG},
    desk::{Bridge, echoing, received, says, scripted, until},
    masked,
};

const VERSION: &[u8] = b"RFB 003.008\n";
const KEY: [u8; 8] = [4, 1, 0, 0, 0, 0, 0, b'a'];
const KEY_UP: [u8; 8] = [4, 0, 0, 0, 0, 0, 0, b'a'];
const UPDATE_REQUEST: [u8; 10] = [3, 1, 0, 0, 0, 0, 1, 0, 1, 0];

/// A viewer that has shaken hands, and its desktop.
async fn begun(bridge: &Bridge, desktop: &crate::desk::Desktop) -> (Client, UnixStream) {
    let mut client = Client::connect(bridge.address).await;
    let mut desktop = desktop.accept().await;
    says(&mut desktop, VERSION).await;
    assert_eq!(client.read(12).await, VERSION);
    client.send(BINARY, &[VERSION, &[1, 0]].concat()).await;
    assert_eq!(received(&mut desktop, 14).await, [VERSION, &[1, 1]].concat(), "other viewers are left alone");
    (client, desktop)
}

#[tokio::test]
async fn b6_b7_a_viewer_who_does_not_read_costs_little_and_still_types() {
    let (bridge, desktop) = scripted(|_| {}).await;
    let (mut client, desktop) = begun(&bridge, &desktop).await;
    let (mut from_bridge, mut to_bridge) = desktop.into_split();
    // The desktop sends until nothing goes any more: the sockets' buffers and the bridge's are full.
    let sent = tokio::spawn(async move {
        let (bytes, mut sent) = (vec![0xaa; 64 * 1024], 0);
        while let Ok(Ok(length)) = timeout(Duration::from_secs(2), to_bridge.write(&bytes)).await {
            sent += length;
        }
        (sent, to_bridge)
    });
    let (sent, _to_bridge) = timeout(LONG, sent).await.unwrap().unwrap();
    let taken = bridge.desk.viewers().activity().viewers[0].bytes_from_desktop;
    assert!(taken > 64 * 1024, "{sent} sent, {taken} taken");
    assert_eq!(bridge.metric("outrigger_vnc_buffer_bytes"), 64 * 1024, "b7: one buffer, whose bytes wait for the viewer");
    for _ in 0..200 {
        client.send(BINARY, &[KEY, KEY_UP].concat()).await;
    }
    let mut typed = vec![0; 200 * 16];
    timeout(LONG, from_bridge.read_exact(&mut typed)).await.expect("b6: input arrives").unwrap();
    assert_eq!(typed, [KEY, KEY_UP].concat().repeat(200));
    // And once it reads, nothing was lost.
    assert!(client.read(sent).await.iter().all(|byte| *byte == 0xaa));
}

#[tokio::test]
async fn b5_pings_come_and_whoever_shows_no_sign_of_life_is_sent_away() {
    let quick = Pace { handshake: Duration::from_millis(1), ping: Duration::from_millis(1), ..Pace::default() };
    let (patient, _echo) = echoing(|settings| settings.pace = quick).await;
    let mut client = Client::connect(patient.address).await;
    for _ in 0..3 {
        let (first, payload) = client.receive().await.unwrap();
        assert_eq!(first, PING);
        client.send(PONG, &payload).await;
    }
    let (impatient, _echo) = echoing(|settings| settings.pace = Pace { pong: Duration::from_millis(1), ..quick }).await;
    let mut client = Client::connect(impatient.address).await;
    assert_eq!(client.end().await, (1001, "no sign of life from the viewer after a ping".to_owned()));
    until(|| impatient.metric("outrigger_vnc_ended_total{code=\"1001\"}") == 1).await;
}

#[tokio::test]
async fn sortie_s3_a19_who_may_only_look_does_not_type_and_a_role_changes_at_once() {
    let (bridge, desktop) = scripted(|_| {}).await;
    let (mut client, mut desktop) = begun(&bridge, &desktop).await;
    client.send(BINARY, &KEY).await;
    assert_eq!(received(&mut desktop, 8).await, KEY);
    let id = bridge.desk.viewers().activity().viewers[0].id;

    assert!(bridge.desk.viewers().change_role(id, Role::View));
    client.send(BINARY, &[&[4, 1, 0, 0, 0, 0, 0, b'b'][..], &KEY_UP, &UPDATE_REQUEST].concat()).await;
    assert_eq!(received(&mut desktop, 18).await, [&KEY_UP[..], &UPDATE_REQUEST].concat(), "what was pressed before is let go");
    assert!(bridge.desk.viewers().change_role(id, Role::Control));
    client.send(BINARY, &KEY).await;
    assert_eq!(received(&mut desktop, 8).await, KEY);
    assert_eq!(bridge.metric("outrigger_vnc_dropped_inputs_total"), 1);
}

#[tokio::test]
async fn a18_a16_clipboard_and_size_of_the_desktop_follow_its_settings() {
    let control = Policy { clipboard: Some(4), resize: Some(Bounds { least: (1, 1), most: (800, 600) }), ..Policy::control() };
    let (bridge, desktop) = scripted(|settings| settings.control = control).await;
    let (mut client, mut desktop) = begun(&bridge, &desktop).await;
    let text = |text: &[u8]| [&[6, 0, 0, 0][..], &u32::try_from(text.len()).unwrap().to_be_bytes(), text].concat();
    // As noVNC says it.
    let capabilities = [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xf8, 0x1f, 0, 0, 1, 0, 0, 0, 0];
    let extended = [&[6, 0, 0, 0][..], &(-100i32).to_be_bytes(), &0x1000_0001u32.to_be_bytes(), &[0; 96]].concat();
    let size = |width: u16| [&[251, 0][..], &width.to_be_bytes(), &[0, 100, 0, 0]].concat();
    client
        .send(
            BINARY,
            &[capabilities.to_vec(), text(b"long text"), text(b"text"), extended, size(801), size(800), UPDATE_REQUEST.to_vec()].concat(),
        )
        .await;
    let expected = [capabilities.to_vec(), text(b"text"), size(800), UPDATE_REQUEST.to_vec()].concat();
    assert_eq!(received(&mut desktop, expected.len()).await, expected);
    assert_eq!(bridge.metric("outrigger_vnc_dropped_clipboard_messages_total"), 2);
    assert_eq!(bridge.metric("outrigger_vnc_dropped_resizes_total"), 1);
}

#[tokio::test]
async fn a25_c7_looking_is_no_input_and_typing_is() {
    let (bridge, desktop) = scripted(|_| {}).await;
    let (mut client, mut desktop) = begun(&bridge, &desktop).await;
    client.send(BINARY, &UPDATE_REQUEST).await;
    received(&mut desktop, 10).await;
    assert!(bridge.desk.viewers().activity().last_input.is_none());
    client.send(BINARY, &KEY).await;
    received(&mut desktop, 8).await;
    let activity = bridge.desk.viewers().activity();
    assert!(activity.last_input.is_some() && activity.last_input == activity.viewers[0].last_input);
    drop(client);
    bridge.has_viewers(0).await;
    assert_eq!(bridge.desk.viewers().activity().last_input, activity.last_input, "those who left count, too");
}

#[tokio::test]
async fn b12_what_passes_what_does_not_and_how_viewers_leave_is_counted() {
    let (bridge, desktop) = scripted(|settings| settings.control = Policy { resize: None, ..Policy::control() }).await;
    let (mut client, mut desktop) = begun(&bridge, &desktop).await;
    assert_eq!(bridge.metric("outrigger_vnc_viewers"), 1);
    let resize = [251, 0, 1, 0, 1, 0, 0, 0];
    client.send(BINARY, &[&KEY[..], &resize, &UPDATE_REQUEST].concat()).await;
    received(&mut desktop, KEY.len() + UPDATE_REQUEST.len()).await;
    says(&mut desktop, &[0; 1000]).await;
    client.read(1000).await;
    client.send(CLOSE, &1000u16.to_be_bytes()).await;
    client.end().await;
    bridge.has_viewers(0).await;
    Client::try_connect(bridge.address, "/websockify/nobody", "").await.err().unwrap();
    for (name, value) in [
        ("outrigger_vnc_viewers", 0),
        ("outrigger_vnc_buffer_bytes", 0),
        ("outrigger_vnc_messages_total", 3),
        ("outrigger_vnc_inputs_total", 1),
        ("outrigger_vnc_dropped_resizes_total", 1),
        ("outrigger_vnc_to_desktop_bytes_total", 14 + 8 + 10),
        ("outrigger_vnc_from_desktop_bytes_total", 12 + 1000),
        ("outrigger_vnc_ended_total{code=\"1000\"}", 1),
        ("outrigger_vnc_refused_total{status=\"404\"}", 1),
    ] {
        until(|| bridge.metric(name) == value).await;
    }
}

#[tokio::test]
async fn b11_an_unknown_message_ends_the_conversation_and_is_named() {
    let (bridge, desktop) = scripted(|_| {}).await;
    let (mut client, mut desktop) = begun(&bridge, &desktop).await;
    client.send(BINARY, &[7]).await;
    assert_eq!(client.end().await, (1008, "unknown RFB message type 7".to_owned()));
    assert_eq!(timeout(LONG, desktop.read(&mut [0])).await.unwrap().unwrap(), 0, "the desktop hears the end");
}

#[tokio::test]
async fn another_version_is_refused_with_a_reason() {
    let (bridge, desktop) = scripted(|_| {}).await;
    let mut client = Client::connect(bridge.address).await;
    let mut connection = desktop.accept().await;
    says(&mut connection, VERSION).await;
    client.read(12).await;
    client.send(BINARY, b"RFB 003.003\n").await;
    assert_eq!(client.end().await, (1008, "the viewer says \"RFB 003.003\\n\" instead of RFB 003.008".to_owned()));
}

#[tokio::test]
async fn b16_the_end_of_the_desktop_is_told_and_so_is_that_of_the_viewer() {
    let (bridge, desktop) = scripted(|_| {}).await;
    let (mut client, connection) = begun(&bridge, &desktop).await;
    drop(connection);
    assert_eq!(client.end().await, (1011, "the desktop ended the connection".to_owned()));

    let mut client = Client::connect(bridge.address).await;
    drop(desktop.accept().await);
    assert_eq!(client.end().await.0, 1013, "it may be starting");

    // With a close frame, what was said before arrives; without one, too.
    for says_goodbye in [true, false] {
        let (mut client, mut connection) = begun(&bridge, &desktop).await;
        client.send(BINARY, &KEY).await;
        if says_goodbye {
            client.send(CLOSE, &1001u16.to_be_bytes()).await;
        } else {
            client.stream.shutdown().await.unwrap();
        }
        let mut last = Vec::new();
        timeout(LONG, connection.read_to_end(&mut last)).await.unwrap().unwrap();
        assert_eq!(last, KEY);
    }
}

#[tokio::test]
async fn b11_a_viewer_that_is_revoked_is_gone_at_once() {
    let (bridge, desktop) = scripted(|_| {}).await;
    let (mut client, mut desktop) = begun(&bridge, &desktop).await;
    let id = bridge.desk.viewers().activity().viewers[0].id;
    assert!(bridge.desk.viewers().revoke(id, Close::new(CloseCode::PolicyViolation, "the lesson is over")));
    assert_eq!(client.end().await, (1008, "the lesson is over".to_owned()));
    client.send(BINARY, &KEY).await;
    let mut last = Vec::new();
    timeout(LONG, desktop.read_to_end(&mut last)).await.unwrap().unwrap();
    assert_eq!(last, b"", "nothing that is said afterwards counts");
}

#[tokio::test]
async fn b13_at_the_end_each_viewer_is_told_to_come_back_and_none_holds_it_up() {
    let (bridge, desktop) = scripted(|_| {}).await;
    let (mut polite, mut first) = begun(&bridge, &desktop).await;
    let (_silent, mut second) = begun(&bridge, &desktop).await;
    bridge.close();
    assert_eq!(polite.end().await, (1012, "the desktop's server restarts or goes: connect again".to_owned()));
    for desktop in [&mut first, &mut second] {
        assert_eq!(timeout(LONG, desktop.read(&mut [0])).await.unwrap().unwrap(), 0);
    }
    bridge.ended().await;
}

#[tokio::test]
async fn b4_viewers_of_a_desktop_that_does_not_come_back_are_told_so() {
    let (bridge, desktop) = scripted(|_| {}).await;
    let (mut client, _desktop) = begun(&bridge, &desktop).await;
    bridge.desk.set_farewell(Close::new(CloseCode::Normal, "the app has ended"));
    bridge.desk.set_farewell(Close::new(CloseCode::InternalError, "what is said later does not count"));
    bridge.close();
    assert_eq!(client.end().await, (1000, "the app has ended".to_owned()));
    bridge.ended().await;
}

#[tokio::test]
async fn b15_bytes_pass_untouched_both_ways_whatever_their_sizes() {
    let (bridge, _echo) = echoing(|_| {}).await;
    let client = Client::connect(bridge.address).await;
    let bytes: Vec<u8> = (0..3_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sizes = [1usize, 2, 125, 126, 65535, 65536, 100_000, 7, 300_000];
    let mut frames = Vec::new();
    let (mut rest, mut next) = (bytes.as_slice(), sizes.iter().cycle());
    while !rest.is_empty() {
        let (payload, after) = rest.split_at(rest.len().min(*next.next().unwrap()));
        frames.extend(masked::frame(BINARY, payload));
        rest = after;
    }
    let (read, mut write) = client.stream.into_split();
    let writing = tokio::spawn(async move {
        write.write_all(&frames).await.unwrap();
        write
    });
    let mut read = tokio::io::BufReader::new(read);
    let mut echoed = Vec::new();
    while echoed.len() < bytes.len() {
        let mut head = [0; 2];
        timeout(LONG, read.read_exact(&mut head)).await.unwrap().unwrap();
        assert_eq!(head[0], BINARY);
        let length = if head[1] == 126 { usize::from(read.read_u16().await.unwrap()) } else { usize::from(head[1]) };
        let start = echoed.len();
        echoed.resize(start + length, 0);
        timeout(LONG, read.read_exact(&mut echoed[start..])).await.unwrap().unwrap();
    }
    assert!(echoed == bytes);
    drop(timeout(LONG, writing).await.unwrap().unwrap());
}

#[tokio::test]
async fn what_comes_with_the_request_is_not_lost() {
    let (bridge, _echo) = echoing(|_| {}).await;
    let request = format!(
        "GET /websockify HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        bridge.address
    );
    let mut early = request.into_bytes();
    early.extend(masked::frame(BINARY, b"early"));
    let mut client = Client::ask(bridge.address, &early).await.unwrap();
    assert_eq!(client.read(5).await, b"early");
}

#[tokio::test]
async fn b17_a_desktop_at_a_tcp_address_is_shown_as_well_as_one_at_a_socket() {
    use outrigger::sidecars::vnc::bridge::target::{Target, Targets};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::Tcp(listener.local_addr().unwrap());
    let bridge = Bridge::start(Settings::open(Targets::new(target), Protocol::Opaque)).await;
    let mut client = Client::connect(bridge.address).await;
    let (mut desktop, _) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
    desktop.write_all(b"hello").await.unwrap();
    assert_eq!(client.read(5).await, b"hello");
}
