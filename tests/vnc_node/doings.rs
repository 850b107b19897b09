//! What somebody does in the page reaches the app, and what happens on the desktop reaches the page.

use outrigger_bed::{Browser, Page};
use serde_json::json;

use crate::{
    desk::{APP, Desk, open, until_window, window},
    until::until,
};

/// Says what it gets: first the mouse, by xterm's reports, then text; then it is full of one word.
const APP_SCRIPT: &str = "\
    say() { echo \"$1\" > /proc/1/fd/1; } \
    ; printf '\\033[?1000h\\033[?1006h'; say ready; read -r got; printf '\\033[?1000l\\033[?1006l'; say \"mouse $got\" \
    ; read -r got; say \"pasted $got\" \
    ; row=0; while [ $row -lt 60 ]; do echo drawn_on_the_desktop; row=$((row + 1)); done; say shown; read -r got";

#[tokio::test(flavor = "multi_thread")]
async fn keys_all_buttons_and_the_clipboard_go_between_page_and_app() {
    let Some(desk) = Desk::place("keys_all_buttons", "doings").await else { return };
    let mut app = window();
    // Two clicks are a double one, however slow the browser is.
    let slow = "*multiClickTime: 10000";
    app["command"] = json!(["/usr/bin/xterm", "-xrm", slow, "-geometry", "300x100+0+0", "-bg", "#20c040", "-e", "sh", "-c", APP_SCRIPT]);
    // A window manager may hold a click back until it has looked at it, while keys go by.
    desk.run(&[("vnc.outrigger.dev/window-manager", "none")], &app).await;
    let browser = Browser::start().await;
    let page = open(&browser, &desk.address().await);
    until_window(&page);
    until_said(&desk, "ready").await;

    // By xterm's reports: 2 is the right button, 128 the eighth and 129 the ninth; M is down and m is up.
    for button in ["right", "back", "forward"] {
        page.click_with(button, at(&page, 100, 200));
    }
    page.type_text("end\n");
    let said = until_said(&desk, "mouse ").await;
    for report in ["[<2;", "[<128;", "[<129;"] {
        assert_eq!(said.matches(report).count(), 2, "{report} goes down and up: {said:?}");
    }
    assert!(said.trim_end().ends_with("end"), "{said:?}");

    // The paste comes when the X server has asked for the text, so its end is in it.
    page.evaluate(
        "((text) => { text.value = 'from the page\\n'; text.dispatchEvent(new Event('input')); })(document.getElementById('clipboard-text'))",
    );
    page.click_with("middle", at(&page, 100, 200));
    let said = until_said(&desk, "pasted ").await;
    assert!(said.contains("pasted from the page\n"), "{said:?}");

    until_said(&desk, "shown").await;
    for _ in 0..2 {
        let (x, y) = at(&page, 40, 200);
        page.click(x, y);
    }
    page.until("document.getElementById('clipboard-text').value === 'drawn_on_the_desktop'");

    for width in [1000, 800] {
        page.resize(width, 700);
        page.until(&format!("document.querySelector('canvas').width === {width}"));
    }
}

/// What the app has said, once that is among it.
async fn until_said(desk: &Desk, wanted: &str) -> String {
    until(&format!("the app says {wanted}"), async || {
        let said = desk.log(APP).await;
        if said.contains(wanted) { Ok(said) } else { Err(said) }
    })
    .await
}

/// Where a point of the desktop is in the page.
fn at(page: &Page, x: u32, y: u32) -> (u32, u32) {
    let place = page.evaluate(&format!(
        "((canvas) => {{ const box = canvas.getBoundingClientRect(); const scale = box.width / canvas.width; \
         return [Math.round(box.left + {x} * scale), Math.round(box.top + {y} * scale)]; }})(document.querySelector('canvas'))"
    ));
    serde_json::from_value(place).unwrap()
}
