//! The request that asks for a WebSocket: what it must be, and who is refused before it becomes one.

use std::time::Duration;

use outrigger::sidecars::vnc::{
    admittance::{Admittance, claims, claims::KeyFile, tickets::Tickets},
    bridge::target::{Target, Targets},
    router::{Protocol, Settings},
    viewers::{Limits, Role},
};
use secrecy::ExposeSecret;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::{
    client::{BINARY, Client, LONG, request},
    desk::{Bridge, Desktop, TOKEN, administrator, echoing, received, scripted},
};

#[tokio::test]
async fn b1_what_is_no_request_for_a_websocket_is_told_the_way() {
    let (bridge, _echo) = echoing(|_| {}).await;
    let plain = request(bridge.address, "GET /websockify HTTP/1.1", "").await;
    assert_eq!(plain.status, 426);
    assert!(plain.head.contains("upgrade: websocket") && plain.body.contains("noVNC"), "{plain:?}");
    let posted = request(bridge.address, "POST /websockify HTTP/1.1", "").await;
    assert_eq!(posted.status, 405);
    assert!(posted.head.contains("allow: get"), "{posted:?}");
    let lines = "GET /websockify HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let old = Client::ask(bridge.address, format!("{lines}Sec-WebSocket-Version: 8\r\nConnection: close\r\n\r\n")).await.err().unwrap();
    assert_eq!(old.status, 426);
    assert!(old.head.contains("sec-websocket-version: 13"), "{old:?}");
    let keyless = Client::ask(bridge.address, format!("{lines}Sec-WebSocket-Version: 13\r\n\r\n")).await.err().unwrap();
    assert_eq!((keyless.status, keyless.body.contains("Sec-WebSocket-Key")), (400, true));
    assert_eq!(bridge.metric("outrigger_vnc_refused_total{status=\"426\"}"), 2);
}

#[tokio::test]
async fn b1_binary_is_answered_only_if_it_was_offered() {
    let (bridge, _echo) = echoing(|_| {}).await;
    let offered = Client::connect(bridge.address).await;
    assert!(offered.head.contains("sec-websocket-protocol: binary\r\n"), "{}", offered.head);
    assert!(offered.head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{}", offered.head);
    for lines in ["", "Sec-WebSocket-Protocol: chat\r\n"] {
        let mut client = Client::try_connect(bridge.address, "/websockify", lines).await.unwrap();
        assert!(!client.head.contains("sec-websocket-protocol"), "{}", client.head);
        client.send(BINARY, b"works all the same").await;
        assert_eq!(client.read(18).await, b"works all the same");
    }
}

#[tokio::test]
async fn sortie_s8_pages_of_other_servers_do_not_connect() {
    let (bridge, _echo) = echoing(|settings| settings.origins.allowed.push("https://desks.example.com".to_owned())).await;
    let own = format!("Origin: http://{}\r\n", bridge.address);
    for lines in ["", &own, "Origin: https://desks.example.com\r\n"] {
        Client::try_connect(bridge.address, "/websockify", lines).await.unwrap();
    }
    let refused = Client::try_connect(bridge.address, "/websockify", "Origin: https://evil.example\r\n").await.err().unwrap();
    assert_eq!((refused.status, refused.body.contains("VNC_ORIGINS")), (403, true), "{refused:?}");
}

#[tokio::test]
async fn b2_a_page_of_a_name_that_anybody_may_own_connects_and_reads_only_where_a_token_is_needed() {
    let (open, _desktop) = scripted(|_| {}).await;
    let (guarded, _desktop) = scripted(|settings| settings.admittance.tickets = Some(Tickets::new(1))).await;
    for (bridge, status) in [(&open, 403), (&guarded, 401)] {
        let port = bridge.address.port();
        let page = format!("Host: desk.example:{port}\r\nOrigin: http://desk.example:{port}\r\nConnection: close\r\n\r\n");
        let upgrade = format!(
            "GET /websockify HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{page}"
        );
        for request in [upgrade, format!("POST /admittance HTTP/1.1\r\n{page}")] {
            let refused = Client::ask(bridge.address, request).await.err().unwrap();
            assert_eq!(refused.status, status, "{refused:?}");
            assert_eq!(refused.body.contains("vnc.outrigger.dev/origins"), status == 403, "{refused:?}");
        }
        let reading = format!("GET /activity HTTP/1.1\r\nHost: desk.example:{port}\r\nConnection: close\r\n\r\n");
        assert_eq!(Client::ask(bridge.address, reading).await.err().unwrap().status, 403);
    }
    let elsewhere = request(open.address, "GET /activity HTTP/1.1\r\nOrigin: https://evil.example", "").await;
    assert_eq!(elsewhere.status, 403, "{elsewhere:?}");
}

#[tokio::test]
async fn b3_a_ticket_is_good_again_when_its_viewer_hangs_up_before_it_is_in() {
    // A desktop whose queue is full: whoever connects waits.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let desktop = socket.listen(1).unwrap();
    let target = desktop.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(500), TcpStream::connect(target)).await {
        queue.push(connected.unwrap());
    }
    let mut settings = Settings::open(Targets::new(Target::Tcp(target)), Protocol::Opaque);
    settings.admittance.tickets = Some(Tickets::new(10));
    settings.administrator = Some(administrator());
    settings.pace.connect = LONG;
    let bridge = Bridge::start(settings).await;
    let ticket = ticket(&bridge, r#"{"role":"control"}"#).await;
    let becomes = async |status: u16| {
        let asking = async {
            let line = format!("POST /admittance HTTP/1.1\r\nOutrigger-Token: {ticket}");
            while request(bridge.address, &line, "").await.status != status {}
        };
        timeout(LONG, asking).await.unwrap_or_else(|_| panic!("it is not {status} in time"));
    };
    becomes(204).await;
    let mut viewer = TcpStream::connect(bridge.address).await.unwrap();
    let upgrade = format!(
        "GET /websockify HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOutrigger-Token: {ticket}\r\n\r\n",
        bridge.address
    );
    viewer.write_all(upgrade.as_bytes()).await.unwrap();
    becomes(401).await;
    drop(viewer);
    becomes(204).await;
}

#[tokio::test]
async fn b10_only_listed_desktops_are_connected_to() {
    let (own, other) = (Desktop::new(), Desktop::new());
    let targets = own.targets().and("other", Target::Unix(other.socket()));
    let bridge = Bridge::start(Settings::open(targets, Protocol::Opaque)).await;
    let mut client = Client::try_connect(bridge.address, "/websockify/other", "").await.unwrap();
    client.send(BINARY, b"hello other").await;
    assert_eq!(received(&mut other.accept().await, 11).await, b"hello other");
    for name in ["nobody", "..%2F..%2Frun%2Fsecret.sock", "127.0.0.1:22"] {
        let refused = Client::try_connect(bridge.address, &format!("/websockify/{name}"), "").await.err().unwrap();
        assert_eq!(refused.status, 404, "{refused:?}");
    }
}

#[tokio::test]
async fn b4_a_desktop_that_is_away_is_worth_another_try_with_the_same_ticket() {
    let (bridge, desktop) = scripted(|settings| {
        settings.admittance = Admittance { tickets: Some(Tickets::new(10)), ..Admittance::default() };
        settings.administrator = Some(administrator());
    })
    .await;
    let socket = desktop.socket();
    let hidden = socket.with_extension("away");
    std::fs::rename(&socket, &hidden).unwrap();
    let ticket = ticket(&bridge, r#"{"role":"control"}"#).await;
    let lines = format!("Sec-WebSocket-Protocol: binary, outrigger.token.{ticket}\r\n");
    let refused = Client::try_connect(bridge.address, "/websockify", &lines).await.err().unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("retry-after: 2"), "{refused:?}");
    std::fs::rename(&hidden, &socket).unwrap();
    Client::try_connect(bridge.address, "/websockify", &lines).await.unwrap();
    let again = Client::try_connect(bridge.address, "/websockify", &lines).await.err().unwrap();
    assert_eq!(again.status, 401, "a ticket lets one viewer in: {again:?}");
}

async fn ticket(bridge: &Bridge, wanted: &str) -> String {
    let issued = request(bridge.address, &format!("POST /tickets HTTP/1.1\r\nAuthorization: Bearer {TOKEN}"), wanted).await;
    assert_eq!(issued.status, 201, "{issued:?}");
    let answer: serde_json::Value = serde_json::from_str(&issued.body).unwrap();
    answer["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a20_b3_signed_claims_let_a_user_in_with_its_role_and_nobody_else() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "n".repeat(32)).unwrap();
    let (bridge, _desktop) = scripted(|settings| {
        let keys = Some(KeyFile::new(file.path().to_owned()));
        settings.admittance = Admittance { keys, session: "desk-1".to_owned(), ..Admittance::default() };
    })
    .await;
    let none = Client::try_connect(bridge.address, "/websockify", "").await.err().unwrap();
    assert_eq!(none.status, 401);
    assert!(none.head.contains("www-authenticate: bearer"), "{none:?}");
    let signed = |key: &str, session: &str| {
        let claims = claims::Claims { exp: i64::MAX, session: session.to_owned(), user: "ann".to_owned(), role: Role::View };
        let token = claims::sign(&claims, &claims::Key::new(key.repeat(32).as_bytes()).unwrap());
        format!("Cookie: outrigger-token={}\r\n", token.expose_secret())
    };
    let _ann = Client::try_connect(bridge.address, "/websockify", &signed("n", "desk-1")).await.unwrap();
    bridge.has_viewers(1).await;
    let viewer = &bridge.desk.viewers().activity().viewers[0];
    assert_eq!((viewer.user.as_deref(), viewer.role), (Some("ann"), Role::View));
    for lines in [signed("o", "desk-1"), signed("n", "desk-2")] {
        assert_eq!(Client::try_connect(bridge.address, "/websockify", &lines).await.err().unwrap().status, 401);
    }
    // The key is changed: what the old one signed is good as long as it stands there.
    std::fs::write(file.path(), format!("{}\n{}\n", "o".repeat(32), "n".repeat(32))).unwrap();
    for key in ["o", "n"] {
        Client::try_connect(bridge.address, "/websockify", &signed(key, "desk-1")).await.unwrap();
    }
    std::fs::write(file.path(), "o".repeat(32)).unwrap();
    assert_eq!(Client::try_connect(bridge.address, "/websockify", &signed("n", "desk-1")).await.err().unwrap().status, 401);
}

#[tokio::test]
async fn b9_a_viewer_too_many_is_asked_to_come_later() {
    let (bridge, _echo) = echoing(|settings| settings.limits = Limits { total: 5, of_user: 5, of_address: 2 }).await;
    let first = Client::connect(bridge.address).await;
    let _second = Client::connect(bridge.address).await;
    // Whoever claims another address is still who it is.
    let lines = "X-Forwarded-For: 10.1.1.1\r\n";
    let refused = Client::try_connect(bridge.address, "/websockify", lines).await.err().unwrap();
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: 10") && refused.body.contains("2 viewers from this address"), "{refused:?}");
    drop(first);
    bridge.has_viewers(1).await;
    Client::connect(bridge.address).await;
}

#[tokio::test]
async fn b9_a_proxys_word_for_addresses_counts_by_choice() {
    let (bridge, _echo) = echoing(|settings| {
        settings.limits.of_address = 1;
        settings.trusts_forwarded_address = true;
    })
    .await;
    let connect =
        async |addresses: &str| Client::try_connect(bridge.address, "/websockify", &format!("X-Forwarded-For: {addresses}\r\n")).await;
    let _first = connect("10.1.1.1").await.unwrap();
    let _second = connect("10.1.1.1, 10.1.1.2").await.unwrap();
    assert_eq!(connect("10.9.9.9, 10.1.1.1").await.err().unwrap().status, 429, "only what our own proxy adds is believed");
}

#[tokio::test]
async fn b4_nobody_only_looks_where_nothing_can_be_filtered() {
    let (bridge, _echo) = echoing(|settings| {
        settings.admittance = Admittance { tickets: Some(Tickets::new(10)), ..Admittance::default() };
        settings.administrator = Some(administrator());
    })
    .await;
    let ticket = ticket(&bridge, r#"{"role":"view","user":"ann","seconds":60}"#).await;
    let lines = format!("Authorization: Bearer {ticket}\r\n");
    assert_eq!(Client::try_connect(bridge.address, "/websockify", &lines).await.err().unwrap().status, 409);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_ends_the_conversation() {
    let (bridge, desktop) = scripted(|settings| settings.pace.handshake = Duration::from_millis(50)).await;
    let mut client = Client::connect(bridge.address).await;
    let _silent = desktop.accept().await;
    assert_eq!(client.end().await, (1013, "the desktop said nothing within 50ms".to_owned()));

    let mut client = Client::connect(bridge.address).await;
    let mut desktop = desktop.accept().await;
    crate::desk::says(&mut desktop, b"RFB 003.008\n").await;
    let (code, reason) = client.end().await;
    assert!((code == 1008 && reason == "no RFB handshake within 50ms") || code == 1013, "{code} {reason}");
}
