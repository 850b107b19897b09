//! The page in a real browser, before a real desktop.

use outrigger::{
    runtime::{server, shutdown::Shutdown, telemetry},
    sidecars::vnc::{
        bridge::target::{Target, Targets},
        metrics::Metrics,
        page::Page,
        router::{Desk, Protocol, Settings},
        websocket::close::{Close, CloseCode},
    },
};
use outrigger_bed::{Browser, Page as BrowserPage, XServer, obtain};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::desk::until;

/// A desktop and its page, on a port of their own.
struct Shown {
    server: XServer,
    address: String,
    desk: Desk,
    shutdown: Shutdown,
    serving: Option<JoinHandle<()>>,
    _novnc: TempDir,
}

impl Shown {
    async fn start() -> Self {
        let server = XServer::start().await;
        let novnc = tempfile::tempdir().unwrap();
        let files = tokio::task::spawn_blocking(obtain::web::novnc).await.unwrap().unwrap();
        files.copy_to(novnc.path()).unwrap();
        let (shutdown, mut registry) = (Shutdown::default(), telemetry::registry());
        let settings = Settings::open(Targets::new(Target::Unix(server.rfb_socket())), Protocol::Rfb { knows_more_buttons: false });
        let desk = Desk::new(settings, Metrics::new(&mut registry), shutdown.clone());
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let router = desk.router().merge(Page::new(Some(novnc.path().to_owned())).router());
        let serving = Some(tokio::spawn(server::serve_plain(listener, router, shutdown.clone())));
        Self { server, address, desk, shutdown, serving, _novnc: novnc }
    }

    /// Makes the whole screen this colour.
    fn paint(&self, colour: &str) {
        self.server.output("xsetroot", &["-solid", colour]);
    }

    /// Ends the connection of the one who looks, as something passing, and waits until they are back.
    async fn interrupt(&self) {
        let viewers = self.desk.viewers();
        let id = viewers.activity().viewers[0].id;
        assert!(viewers.revoke(id, Close::new(CloseCode::TryAgainLater, "a moment, please")));
        until(|| viewers.activity().viewers.first().is_some_and(|viewer| viewer.id != id)).await;
    }

    /// What an application of the desktop pastes.
    fn pasted(&self) -> String {
        // It waits for ever for an owner of the clipboard that does not answer.
        let output = self.server.client("timeout").args(["5", "xclip", "-selection", "clipboard", "-out"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    async fn pastes(&self, text: &str) {
        until(|| self.pasted() == text).await;
    }

    fn size(&self) -> String {
        let info = self.server.output("xdpyinfo", &[]);
        info.lines().find_map(|line| line.trim().strip_prefix("dimensions:")).unwrap().split_whitespace().next().unwrap().to_owned()
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.shutdown.close();
        drop(self.serving.take());
    }
}

/// A desktop, a browser, and the page in it that shows the desktop.
async fn connected() -> (Shown, Browser, BrowserPage) {
    let shown = Shown::start().await;
    let browser = Browser::start().await;
    let page = browser.open(&shown.address);
    page.until("document.getElementById('status').textContent === 'Connected'");
    (shown, browser, page)
}

/// What colour a point of the desktop has in the page.
fn colour(x: u32, y: u32) -> String {
    format!("Array.from(document.querySelector('canvas').getContext('2d').getImageData({x}, {y}, 1, 1).data).slice(0, 3).join()")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_desktop_and_types_into_it() {
    let shown = Shown::start().await;
    let typed = tempfile::tempdir().unwrap();
    shown.paint("#3060c0");
    let browser = Browser::start().await;
    let page = browser.open(&shown.address);
    page.until("document.getElementById('status').textContent === 'Connected'");
    page.until(&format!("{} === '48,96,192'", colour(20, 20)));
    shown.paint("#20c040");
    page.until(&format!("{} === '32,192,64'", colour(20, 20)));

    // What is typed reaches the app that has the focus, and the app's own doing is seen.
    let file = typed.path().join("typed");
    shown
        .server
        .start_client("xterm", &["-geometry", "80x24+0+0", "-e", "sh", "-c", &format!("read line; echo \"$line\" > {}", file.display())]);
    page.until(&format!("{} !== '32,192,64'", colour(40, 40)));
    page.click(300, 200);
    page.type_text("ahoy 42\n");
    until(|| std::fs::read_to_string(&file).is_ok_and(|text| text == "ahoy 42\n")).await;
    assert!(page.screenshot().len() > 1000);
    assert_eq!(shown.desk.viewers().activity().viewers[0].dropped_messages, 0, "all that noVNC says reaches the desktop");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_does_not_try_again_where_nothing_comes_back() {
    let (shown, _browser, page) = connected().await;
    shown.desk.set_farewell(Close::new(CloseCode::Normal, "the app has ended"));
    shown.shutdown.close();
    page.until("document.getElementById('status').textContent === 'the app has ended'");
    assert_eq!(page.evaluate("document.getElementById('connect').hidden"), false);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_desktop_takes_the_size_of_the_window() {
    let (shown, _browser, page) = connected().await;
    for (width, height) in [(1000, 700), (800, 640)] {
        page.resize(width, height);
        let screen = "((screen) => `${Math.floor(screen.width)}x${Math.floor(screen.height)}`)(document.getElementById('screen').getBoundingClientRect())";
        until(|| shown.size().starts_with(&format!("{width}x")) && page.evaluate(screen) == shown.size()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_copied_on_one_side_can_be_pasted_on_the_other() {
    let (shown, _browser, page) = connected().await;
    page.evaluate(&write("Grüße, 世界"));
    shown.pastes("Grüße, 世界").await;
    let copied = typed_file("von drüben ✓");
    shown.server.start_client("xclip", &["-quiet", "-selection", "clipboard", "-in", copied.path().to_str().unwrap()]);
    page.until("document.getElementById('clipboard-text').value === 'von drüben ✓'");
}

/// The connection's first moment is the worst: it is there, and the desktop has not said yet what its clipboard takes.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_before_the_desktop_answers_can_be_pasted_on_it() {
    let (shown, _browser, page) = connected().await;
    page.evaluate(&format!(
        "new MutationObserver(([{{ target }}]) => {{ if (target.textContent === 'Connected') {} }}).observe(document.getElementById('status'), {{ childList: true }})",
        write("im ersten Augenblick ✓")
    ));
    shown.interrupt().await;
    shown.pastes("im ersten Augenblick ✓").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_outlives_an_interruption() {
    let (shown, _browser, page) = connected().await;
    page.evaluate(&write("davor ✓"));
    shown.pastes("davor ✓").await;
    shown.interrupt().await;
    shown.pastes("davor ✓").await;
}

/// Something else may have been copied on the desktop since, which tells nobody who was away.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_before_a_long_absence_takes_no_place() {
    let (shown, _browser, page) = connected().await;
    page.evaluate(&write("gestern ✓"));
    shown.pastes("gestern ✓").await;
    page.evaluate("((now) => { Date.now = () => now += 61_000; })(Date.now())");
    shown.interrupt().await;
    // The second colour was asked for behind all that the page says after the first.
    for (name, seen) in [("#3060c0", "48,96,192"), ("#20c040", "32,192,64")] {
        shown.paint(name);
        page.until(&format!("{} === '{seen}'", colour(20, 20)));
    }
    assert_eq!(shown.pasted(), "");
}

/// Writes this into the page's clipboard, as somebody who types it.
fn write(text: &str) -> String {
    format!(
        "((field) => {{ field.value = '{text}'; field.dispatchEvent(new Event('input')); }})(document.getElementById('clipboard-text'))"
    )
}

fn typed_file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_why_it_ended_and_comes_back_where_that_helps() {
    let (shown, _browser, page) = connected().await;
    // The server dies: its viewers come back when it does.
    shown.server.kill();
    page.until("document.getElementById('status').textContent.includes('connecting again')");
    shown.server.restart();
    page.until("document.getElementById('status').textContent === 'Connected'");
    // Somebody is sent away, and stays away.
    let viewer = shown.desk.viewers().activity().viewers[0].id;
    assert!(shown.desk.viewers().revoke(viewer, Close::new(CloseCode::PolicyViolation, "the lesson is over")));
    page.until("document.getElementById('status').textContent === 'the lesson is over'");
    assert_eq!(page.evaluate("document.getElementById('connect').hidden"), false);
    page.evaluate("document.getElementById('connect').click()");
    page.until("document.getElementById('status').textContent === 'Connected'");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_breaks_no_rule_of_its_own() {
    let shown = Shown::start().await;
    let browser = Browser::start().await;
    let page = browser.open(&shown.address);
    page.evaluate(
        "window.broken = []; document.addEventListener('securitypolicyviolation', (event) => broken.push(event.violatedDirective)); 1",
    );
    page.until("document.getElementById('status').textContent === 'Connected'");
    assert_eq!(page.evaluate("broken.join()"), "");
    // Every control has a name, and says how it is.
    assert_eq!(page.evaluate("[...document.querySelectorAll('button')].filter((button) => !button.textContent.trim()).length"), 0);
    page.evaluate("document.getElementById('clipboard').click()");
    assert_eq!(page.evaluate("document.getElementById('clipboard').getAttribute('aria-expanded')"), "true");
}
