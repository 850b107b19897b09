//! Who may come in, as the program's settings say.

use std::{fs, path::Path, sync::Arc};

use outrigger::sidecars::vnc::{
    admittance::claims::{Claims, Key, sign},
    viewers::Role,
};
use outrigger_bed::{Browser, free_port, obtain};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustix::process::{Signal, kill_process};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    sidecar::{DEADLINE, Sidecar, Site},
    until::until,
};

pub(crate) const ADMINISTRATOR: &str = "the token of the administrator";
pub(crate) const UPGRADE: &str = "GET /websockify HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n";

/// A sidecar with a page, and the folder that its Secret would be.
pub(crate) struct Desk {
    pub(crate) port: u16,
    sidecar: Sidecar,
    site: Site,
    pub(crate) novnc: TempDir,
}

impl Desk {
    /// Starts one with these variables, of which `FOLDER` in a value is the Secret's folder.
    async fn start(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Self {
        let (site, novnc, port) = (Site::new(), tempfile::tempdir().unwrap(), free_port().unwrap());
        tokio::task::spawn_blocking(obtain::web::novnc).await.unwrap().unwrap().copy_to(novnc.path()).unwrap();
        let folder = site.path("secret");
        fs::create_dir(&folder).unwrap();
        for (name, content) in files {
            fs::write(folder.join(name), content).unwrap();
        }
        let (port_text, web) = (port.to_string(), novnc.path().display().to_string());
        let values: Vec<(&str, String)> =
            variables.iter().map(|(name, value)| (*name, value.replace("FOLDER", folder.to_str().unwrap()))).collect();
        let mut set = vec![("VNC_PORT", port_text.as_str()), ("VNC_WEB_FOLDER", web.as_str())];
        set.extend(values.iter().map(|(name, value)| (*name, value.as_str())));
        let sidecar = site.start(&set);
        sidecar.until_status("/startupz", 200).await;
        Self { port, sidecar, site, novnc }
    }

    /// One that issues tickets.
    pub(crate) async fn with_tickets() -> Self {
        let variables = [("VNC_TICKETS", "true"), ("VNC_ADMINISTRATOR_TOKEN_FILE", "FOLDER/administrator-token")];
        Self::start(&[("administrator-token", ADMINISTRATOR)], &variables).await
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.site.path("secret").join(name), content).unwrap();
    }

    async fn connection(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// Asks for a WebSocket with further header lines: the connection, and the status of the answer.
    async fn upgrade(&self, lines: &str) -> (TcpStream, u16) {
        let mut stream = self.connection().await;
        let status = head(&mut stream, &format!("{UPGRADE}Host: 127.0.0.1:{}\r\n{lines}\r\n", self.port)).await;
        (stream, status)
    }

    pub(crate) async fn ticket(&self, token: &str, wanted: &str) -> (u16, String) {
        let mut stream = self.connection().await;
        let request = format!(
            "POST /tickets HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{wanted}",
            wanted.len()
        );
        let status = head(&mut stream, &request).await;
        let mut body = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut body)).await.unwrap().unwrap();
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        (status, answer["ticket"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn page(&self, token: &str) -> String {
        format!("http://127.0.0.1:{}/{token}", self.port)
    }
}

/// Sends a request, and reads the head of the answer.
pub(crate) async fn head(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> u16 {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap().into());
    }
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The desktop says its version.
async fn sees_the_desktop(stream: &mut (impl AsyncRead + Unpin)) {
    assert_eq!(frame(stream).await, (0x82, b"RFB 003.008\n".to_vec()));
}

/// A frame of a viewer, masked with zeros.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = 0x80 | u8::try_from(payload.len()).unwrap();
    [&[first, length, 0, 0, 0, 0], payload].concat()
}

/// The next short frame of the desktop: its first byte, and its payload.
pub(crate) async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let [first, length] = timeout(DEADLINE, async { [stream.read_u8().await.unwrap(), stream.read_u8().await.unwrap()] }).await.unwrap();
    let mut payload = vec![0; length.into()];
    timeout(DEADLINE, stream.read_exact(&mut payload)).await.unwrap().unwrap();
    (first, payload)
}

/// A viewer's part of the handshake, whatever the desktop is called.
pub(crate) async fn shakes_hands(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    for (heard, said) in [(&b"RFB 003.008\n"[..], &b"RFB 003.008\n"[..]), (&[1, 1], &[1]), (&[0; 4], &[1])] {
        assert_eq!(frame(stream).await, (0x82, heard.to_vec()));
        stream.write_all(&masked(0x82, said)).await.unwrap();
    }
    assert_eq!(frame(stream).await.0, 0x82);
}

/// A viewer asks whether the desktop is there, and answers when it is asked. What comes instead of an answer is the error.
async fn is_answered(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), String> {
    const QUESTION: &[u8] = b"there?";
    stream.write_all(&masked(0x89, QUESTION)).await.unwrap();
    loop {
        match frame(stream).await {
            (0x8a, payload) if payload == QUESTION => return Ok(()),
            (0x89, payload) => stream.write_all(&masked(0x8a, &payload)).await.unwrap(),
            (first, payload) => return Err(format!("{first:#x} {}", payload.escape_ascii())),
        }
    }
}

pub(crate) fn status(text: &str) -> String {
    format!("document.getElementById('status').textContent.includes('{text}')")
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_a_ticket_lets_one_browser_in_once_and_the_page_says_so() {
    let desk = Desk::with_tickets().await;
    assert_eq!(desk.ticket("another token of somebody", r#"{"role":"control"}"#).await.0, 401);
    let (status_code, ticket) = desk.ticket(ADMINISTRATOR, r#"{"role":"control","user":"ann","seconds":600}"#).await;
    assert_eq!(status_code, 201);
    let browser = Browser::start().await;
    let page = browser.open(&desk.page(&format!("#token={ticket}&view-only")));
    page.until(&status("Connected, view only"));
    assert_eq!(page.evaluate("location.hash"), "#view-only", "nobody reads the token over a shoulder");

    let second = browser.open(&desk.page(&format!("#token={ticket}")));
    second.until(&status("This link is not good any more: it was used, or has expired; whoever gave you this address"));
    let without = browser.open(&desk.page(""));
    without.until(&status("This desktop opens by a link of your own: whoever gave you this address"));
    let damaged = browser.open(&desk.page("#token=one%20two"));
    damaged.until(&status("This link is damaged: whoever gave you this address"));

    // The desktop's end ends the visit. The ticket is used, and one more attempt shows that.
    kill_process(desk.site.process("Xtigervnc").await, Signal::KILL).unwrap();
    page.until(&status("it was used, or has expired"));
    let refusals = "outrigger_vnc_refused_total{status=\"401\"}";
    assert!((desk.sidecar.metric(refusals) - 3.0).abs() < f64::EPSILON, "each page has tried once");
    assert!(!desk.sidecar.log().contains(&ticket), "{}", desk.sidecar.log());
}

#[tokio::test]
async fn the_administrators_token_is_that_of_its_file_at_each_moment() {
    let desk = Desk::with_tickets().await;
    desk.write("administrator-token", "the next of the tokens\n");
    assert_eq!(desk.ticket(ADMINISTRATOR, r#"{"role":"view"}"#).await.0, 401);
    assert_eq!(desk.ticket("the next of the tokens", r#"{"role":"view"}"#).await.0, 201);
    fs::remove_file(desk.site.path("secret/administrator-token")).unwrap();
    assert_eq!(desk.ticket("the next of the tokens", r#"{"role":"view"}"#).await.0, 403, "nobody is administrator");
    assert_eq!(desk.upgrade("").await.1, 401, "and nobody comes in by that");
}

fn signed(key: &str, session: &str) -> String {
    let claims = Claims { exp: i64::MAX, session: session.to_owned(), user: "ann".to_owned(), role: Role::View };
    let token = sign(&claims, &Key::new(key.repeat(32).as_bytes()).unwrap());
    format!("Authorization: Bearer {}\r\n", token.expose_secret())
}

#[tokio::test]
async fn b3_claims_are_good_for_their_session_and_another_key_is_in_force_at_once() {
    let keys = ("VNC_CLAIMS_KEYS_FILE", "FOLDER/claims-keys");
    let desk = Desk::start(&[("claims-keys", &"k".repeat(32))], &[keys, ("VNC_CLAIMS_SESSION", "desk-1")]).await;
    let (mut viewer, upgraded) = desk.upgrade(&signed("k", "desk-1")).await;
    assert_eq!(upgraded, 101);
    sees_the_desktop(&mut viewer).await;
    for lines in [signed("k", "desk-2"), signed("n", "desk-1"), String::new()] {
        assert_eq!(desk.upgrade(&lines).await.1, 401);
    }
    desk.write("claims-keys", &"n".repeat(32));
    assert_eq!(desk.upgrade(&signed("k", "desk-1")).await.1, 401);
    assert_eq!(desk.upgrade(&signed("n", "desk-1")).await.1, 101);
    assert!(!desk.sidecar.log().contains(&"n".repeat(32)));
}

#[tokio::test]
async fn claims_are_for_the_pod_by_its_name_and_nobody_comes_in_while_their_keys_are_missing() {
    let desk = Desk::start(&[], &[("VNC_CLAIMS_KEYS_FILE", "FOLDER/claims-keys")]).await;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert_eq!(desk.upgrade(&signed("k", &host)).await.1, 401);
    assert!(desk.sidecar.log().contains("claims-keys is not there: this way in is shut until it is"), "{}", desk.sidecar.log());
    desk.write("claims-keys", &"k".repeat(32));
    assert_eq!(desk.upgrade(&signed("k", &host)).await.1, 101);
}

#[tokio::test]
async fn sortie_s8_pages_of_listed_origins_connect_and_others_do_not() {
    let desk = Desk::start(&[], &[("VNC_ORIGINS", "https://desks.example.com")]).await;
    for (origin, expected) in [("https://desks.example.com", 101), ("https://evil.example", 403)] {
        assert_eq!(desk.upgrade(&format!("Origin: {origin}\r\n")).await.1, expected, "{origin}");
    }
}

#[tokio::test]
async fn b9_there_are_as_many_viewers_as_the_settings_say() {
    let variables = [("VNC_MAX_VIEWERS", "2"), ("VNC_MAX_VIEWERS_OF_ADDRESS", "1"), ("VNC_FORWARDED_HEADERS", "true")];
    let desk = Desk::start(&[], &variables).await;
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    let (_first, expected) = desk.upgrade(&from("10.0.0.1")).await;
    assert_eq!(expected, 101);
    assert_eq!(desk.upgrade(&from("10.0.0.1")).await.1, 429, "one from each address");
    let (_second, expected) = desk.upgrade(&from("10.0.0.2")).await;
    assert_eq!(expected, 101);
    assert_eq!(desk.upgrade(&from("10.0.0.3")).await.1, 429, "two of all");
}

#[tokio::test]
async fn what_makes_no_sense_together_ends_the_program_before_it_starts_anything() {
    for (set, said) in [
        (("VNC_TICKETS", "true"), "VNC_TICKETS is \"true\", and VNC_ADMINISTRATOR_TOKEN_FILE is not set"),
        (("VNC_CLAIMS_SESSION", "desk-1"), "VNC_CLAIMS_SESSION is \"desk-1\", and VNC_CLAIMS_KEYS_FILE is not set"),
        (("VNC_TLS_FOLDER", "/nowhere"), "VNC_TLS_FOLDER /nowhere is no folder"),
    ] {
        let site = Site::new();
        let (status, log) = site.failing(&[set]).await;
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(said), "{log}");
        assert!(!site.cookie().exists());
    }
}

/// Writes a certificate for 127.0.0.1 as the kubelet has a Secret's files: a link is swapped, so both change at once.
fn certify(folder: &Path, version: &str, key: &KeyPair) -> CertificateDer<'static> {
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(key).unwrap();
    let data = folder.join(version);
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("tls.crt"), certificate.pem()).unwrap();
    fs::write(data.join("tls.key"), key.serialize_pem()).unwrap();
    let link = folder.join(format!("link-{version}"));
    std::os::unix::fs::symlink(version, &link).unwrap();
    fs::rename(link, folder.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        if !folder.join(file).exists() {
            std::os::unix::fs::symlink(Path::new("..data").join(file), folder.join(file)).unwrap();
        }
    }
    certificate.der().clone()
}

/// A connection to the port by somebody who trusts this certificate alone.
async fn connect_trusting(desk: &Desk, root: &CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    timeout(DEADLINE, TlsConnector::from(Arc::new(config)).connect(name, desk.connection().await)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn b14_over_tls_a_browser_sees_the_desktop_and_viewers_stay_when_the_certificate_changes() {
    // A viewer that says nothing of other sizes is sent away when the browser's window makes one.
    let desk = Desk::start(&[], &[("VNC_TLS_FOLDER", "FOLDER"), ("VNC_RESIZE", "false")]).await;
    // There is none yet: that is told, and keeps nothing else back.
    let report = desk.sidecar.until_status("/readyz", 503).await;
    assert!(report.contains("certificate: ") && report.contains("tls.crt can't be read"), "{report}");
    let (folder, key) = (desk.site.path("secret"), KeyPair::generate().unwrap());
    let first = certify(&folder, "..1", &key);
    desk.sidecar.until_status("/readyz", 200).await;

    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &PublicKeyData::subject_public_key_info(&key));
    let browser = Browser::start_trusting(digest.as_ref()).await;
    let page = browser.open(&format!("https://127.0.0.1:{}/", desk.port));
    page.until(&status("Connected"));
    assert_eq!(page.evaluate("location.protocol"), "https:");

    let mut viewer = connect_trusting(&desk, &first).await.unwrap();
    assert_eq!(head(&mut viewer, &format!("{UPGRADE}Host: x\r\n\r\n")).await, 101);
    shakes_hands(&mut viewer).await;

    // A pair that can't be used changes nothing.
    fs::write(folder.join("..1/tls.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let failures = "outrigger_certificate_reloads_total{result=\"failed\"}";
    let before = desk.sidecar.metric(failures);
    until("the failure is counted", async || {
        is_answered(&mut viewer).await.unwrap_or_else(|error| panic!("{error}\n{}", desk.sidecar.log()));
        if desk.sidecar.metric(failures) > before { Ok(()) } else { Err("it is not".to_owned()) }
    })
    .await;
    assert!(desk.sidecar.log().contains("the new certificate can't be used; serving the old one"), "{}", desk.sidecar.log());
    connect_trusting(&desk, &first).await.unwrap();

    let second = certify(&folder, "..2", &KeyPair::generate().unwrap());
    until("the new one is served", async || {
        is_answered(&mut viewer).await.unwrap_or_else(|error| panic!("{error}\n{}", desk.sidecar.log()));
        connect_trusting(&desk, &second).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    assert!(connect_trusting(&desk, &first).await.is_err());
    // Whoever was there goes on.
    is_answered(&mut viewer).await.unwrap_or_else(|error| panic!("{error}\n{}", desk.sidecar.log()));
    page.until(&status("Connected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a18_a_text_that_was_compressed_is_held_to_the_limit_of_what_it_becomes() {
    let desk = Desk::start(&[], &[("VNC_CLIPBOARD_LIMIT", "1000")]).await;
    let browser = Browser::start().await;
    let page = browser.open(&desk.page(""));
    page.until(&status("Connected"));
    let paste = |text: &str| {
        page.evaluate(&format!(
            "((text) => {{ text.value = {text}; text.dispatchEvent(new Event('input')); }})(document.getElementById('clipboard-text'))"
        ));
    };
    let pasted = async || desk.site.client("timeout", &["1", "xclip", "-selection", "clipboard", "-out"]).await;
    paste("'a'.repeat(2000)");
    until("the X server refuses it, to which the bridge has passed the short message", async || {
        // The text is sent when somebody wants it.
        let output = pasted().await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains('a'), "{text}");
        if desk.sidecar.log().contains("clipboard data too long") { Ok(()) } else { Err(text) }
    })
    .await;
    paste("'b'.repeat(1000)");
    until("a shorter one arrives", async || {
        let output = pasted().await;
        if output.stdout == "b".repeat(1000).as_bytes() { Ok(()) } else { Err(format!("{output:?}")) }
    })
    .await;
}
