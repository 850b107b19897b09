//! The page on a way that fails.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use outrigger_bed::Browser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::access::{ADMINISTRATOR, Desk, status};

/// What the page can't do without.
const MODULE: &[u8] = b"GET /novnc/core/rfb.js";

/// A way to the desktop on which so many requests for [`MODULE`] are cut off.
struct Way {
    port: u16,
    failures: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Way {
    async fn new(desktop: u16, failures: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, failures) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(failures)));
        let (mut tasks, shared) = (JoinSet::new(), failures.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(hand_on(client, desktop, shared.clone()));
            }
        });
        Self { port, failures, _tasks: tasks }
    }
}

async fn hand_on(mut client: TcpStream, desktop: u16, failures: Arc<AtomicUsize>) {
    let mut desktop = TcpStream::connect(("127.0.0.1", desktop)).await.unwrap();
    let ((mut asks, mut hears), (mut answers, mut is_asked)) = (client.split(), desktop.split());
    let asking = async {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = asks.read(&mut bytes).await {
            let is_cut = bytes[..length].windows(MODULE.len()).any(|window| window == MODULE)
                && failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
            if is_cut || is_asked.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = asking => {}
        _ = copy(&mut answers, &mut hears) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_which_a_part_did_not_come_is_loaded_again_with_its_token() {
    let desk = Desk::with_tickets().await;
    let (_, ticket) = desk.ticket(ADMINISTRATOR, r#"{"role":"control","seconds":600}"#).await;
    let way = Way::new(desk.port, 4).await;
    let browser = Browser::start().await;
    let page = browser.open(&format!("http://127.0.0.1:{}/#token={ticket}", way.port));
    page.until(&status("Connected"));
    assert_eq!(way.failures.load(Ordering::Relaxed), 0, "it was cut off");
    assert_eq!(page.evaluate("location.hash + JSON.stringify(history.state)"), "null", "nothing is left in the address");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_the_browser_can_not_read_says_so_once() {
    let desk = Desk::with_tickets().await;
    fs::write(desk.novnc.path().join("core/rfb.js"), "no module").unwrap();
    let browser = Browser::start().await;
    let page = browser.open(&desk.page(""));
    page.until(&status("The page can't be loaded: Unexpected identifier").replace("can't", "can\\'t"));
    assert_eq!(page.evaluate("document.getElementById('status').textContent.includes('again')"), false, "it would be no better");
}
