//! The browser is a real one, and answers.

use std::io::{Read, Write};
use std::net::TcpListener;

use outrigger_bed::Browser;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_opened_typed_into_and_looked_at() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let body = "<input id=text autofocus><script>text.focus()</script>";
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    let browser = Browser::start().await;
    let page = browser.open(&address);
    page.until("document.activeElement.id === 'text'");
    page.type_text("ahoy 42");
    assert_eq!(page.until("document.getElementById('text').value"), "ahoy 42");
    page.resize(640, 480);
    page.until("innerWidth + innerHeight === 1120");
    assert!(page.screenshot().starts_with(b"\x89PNG"));
    assert_eq!(page.evaluate("Promise.resolve(7)"), 7);
}
