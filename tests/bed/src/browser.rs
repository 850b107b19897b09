//! A real Chromium without a window, driven by its own protocol (Chrome `DevTools` Protocol) over two pipes: it listens on no port.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};

use crate::obtain;
use crate::progress;
use crate::supervise::Run;

const BROWSER: &str = "chromium";
/// Chromium reads commands from its third descriptor, and writes to its fourth.
const LAUNCH: &str = "commands=$1 answers=$2; shift 2; exec \"$@\" 3<\"$commands\" 4>\"$answers\"";
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A running browser. It ends when this is dropped or when the process ends, however that happens.
pub struct Browser {
    run: Run,
    pipes: Arc<Mutex<Pipes>>,
}

/// A page of it. Calls block: use a runtime with several threads.
pub struct Page {
    session: String,
    pipes: Arc<Mutex<Pipes>>,
}

struct Pipes {
    commands: File,
    answers: File,
    unread: Vec<u8>,
    last: u64,
}

impl Browser {
    /// Starts one.
    ///
    /// # Panics
    /// When it cannot be obtained or started: the test that needs it has failed.
    pub async fn start() -> Self {
        let started = tokio::task::spawn_blocking(Self::try_start).await;
        crate::expect(started.map_err(anyhow::Error::from).flatten(), "cannot start a browser")
    }

    /// Starts one that takes certificates of this key for good: the SHA-256 digest of its `SubjectPublicKeyInfo`.
    ///
    /// # Panics
    /// When it cannot be obtained or started: the test that needs it has failed.
    pub async fn start_trusting(key_digest: &[u8]) -> Self {
        let flag = format!("--ignore-certificate-errors-spki-list={}", STANDARD.encode(key_digest));
        let started = tokio::task::spawn_blocking(move || Self::try_start_with(&[flag])).await;
        crate::expect(started.map_err(anyhow::Error::from).flatten(), "cannot start a browser")
    }

    /// The same as [`Self::start`] for those who report what goes wrong themselves.
    pub fn try_start() -> Result<Self> {
        Self::try_start_with(&[])
    }

    fn try_start_with(flags: &[String]) -> Result<Self> {
        let (program, run) = (obtain::chromium()?, Run::create()?);
        let pipe = |name: &str| -> Result<(PathBuf, File)> {
            let path = run.path(name);
            mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).with_context(|| format!("cannot make {}", path.display()))?;
            // Open for both, so that neither side waits for the other.
            let file = File::options().read(true).write(true).open(&path)?;
            Ok((path, file))
        };
        let ((commands_path, commands), (answers_path, answers)) = (pipe("commands")?, pipe("answers")?);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", LAUNCH, BROWSER]).arg(commands_path).arg(answers_path).arg(program);
        // As root there is no sandbox; the pages are our own. Shared memory may be small here.
        shell.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        shell.args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]);
        shell.args(["--remote-debugging-pipe", "--window-size=1280,860"]).args(flags);
        shell.arg(format!("--user-data-dir={}", run.path("profile").display())).env("HOME", run.path("home"));
        run.start(BROWSER, &shell)?;
        let pipes = Arc::new(Mutex::new(Pipes { commands, answers, unread: Vec::new(), last: 0 }));
        let browser = Self { run, pipes };
        browser.call("Browser.getVersion", &json!({})).or_else(|error| browser.run.check().and(Err(error)))?;
        Ok(browser)
    }

    /// Opens an address in a page of its own.
    ///
    /// # Panics
    /// When it can't.
    #[must_use]
    pub fn open(&self, address: &str) -> Page {
        crate::expect(self.try_open(address), "cannot open a page")
    }

    /// The same for those who report what goes wrong themselves.
    pub fn try_open(&self, address: &str) -> Result<Page> {
        let context = self.call("Target.createBrowserContext", &json!({}))?;
        let target =
            self.call("Target.createTarget", &json!({"url": "about:blank", "browserContextId": field(&context, "browserContextId")}))?;
        let session = self.call("Target.attachToTarget", &json!({"targetId": field(&target, "targetId"), "flatten": true}))?;
        let session = field(&session, "sessionId").as_str().context("the browser names no session")?.to_owned();
        let page = Page { session, pipes: self.pipes.clone() };
        page.call("Page.enable", &json!({}))?;
        let navigated = page.call("Page.navigate", &json!({"url": address}))?;
        ensure!(field(&navigated, "errorText").is_null(), "{address}: {}", field(&navigated, "errorText"));
        Ok(page)
    }

    fn call(&self, method: &str, parameters: &Value) -> Result<Value> {
        lock(&self.pipes).call(None, method, parameters)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            progress::say("a test with a browser of its own has failed");
            self.run.keep_logs();
        }
    }
}

impl Page {
    /// What a script comes to, as JSON. A promise is waited for.
    ///
    /// # Panics
    /// When it throws.
    #[allow(clippy::must_use_candidate, reason = "many are run for what they do")]
    pub fn evaluate(&self, script: &str) -> Value {
        crate::expect(self.try_evaluate(script), "a script failed")
    }

    /// Waits until a script comes to something true, and returns that.
    ///
    /// # Panics
    /// When that takes longer than a minute.
    #[allow(clippy::must_use_candidate, reason = "most wait for it alone")]
    pub fn until(&self, script: &str) -> Value {
        crate::expect(self.try_until(script), "a page is not as expected")
    }

    /// The same for those who report what goes wrong themselves.
    pub fn try_until(&self, script: &str) -> Result<Value> {
        let end = Instant::now() + ANSWER_DEADLINE;
        loop {
            // A page that isn't loaded yet lacks what scripts use.
            let value = self.try_evaluate(script);
            if let Ok(value) = &value
                && !matches!(value.as_str(), Some(""))
                && *value != Value::Null
                && *value != false
                && *value != 0
            {
                return Ok(value.clone());
            }
            if Instant::now() > end {
                let shown = self.try_evaluate("document.body.innerText").unwrap_or_default();
                bail!("waited {} s for: {script}, which is {value:?}; the page shows: {shown}", ANSWER_DEADLINE.as_secs());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Types a text, key by key.
    ///
    /// # Panics
    /// When the page is gone.
    pub fn type_text(&self, text: &str) {
        for letter in text.chars() {
            let (key, code) = match letter {
                '\n' => ("Enter".to_owned(), "Enter".to_owned()),
                ' ' => (" ".to_owned(), "Space".to_owned()),
                '0'..='9' => (letter.to_string(), format!("Digit{letter}")),
                _ => (letter.to_string(), format!("Key{}", letter.to_ascii_uppercase())),
            };
            let text = if letter == '\n' { "\r".to_owned() } else { letter.to_string() };
            for (kind, text) in [("keyDown", Some(text)), ("keyUp", None)] {
                let event = json!({"type": kind, "key": key, "code": code, "text": text.unwrap_or_default()});
                crate::expect(self.call("Input.dispatchKeyEvent", &event), "cannot type");
            }
        }
    }

    /// Clicks at a point, in pixels of the page.
    ///
    /// # Panics
    /// When the page is gone.
    pub fn click(&self, x: u32, y: u32) {
        self.click_with("left", (x, y));
    }

    /// The same with another button: `middle`, `right`, `back` or `forward`.
    ///
    /// # Panics
    /// When the page is gone.
    pub fn click_with(&self, button: &str, point: (u32, u32)) {
        self.drag(button, point, point);
    }

    /// Presses a button at a point, and lets it go at another.
    ///
    /// # Panics
    /// When the page is gone.
    pub fn drag(&self, button: &str, from: (u32, u32), to: (u32, u32)) {
        // What is down is told by a bit for each button.
        let down = match button {
            "left" => 1,
            "right" => 2,
            "middle" => 4,
            "back" => 8,
            _ => 16,
        };
        for (kind, (x, y), buttons) in
            [("mouseMoved", from, 0), ("mousePressed", from, down), ("mouseMoved", to, down), ("mouseReleased", to, 0)]
        {
            let event = json!({"type": kind, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": 1});
            crate::expect(self.call("Input.dispatchMouseEvent", &event), "cannot click");
        }
    }

    /// Makes the page's window this large.
    ///
    /// # Panics
    /// When the page is gone.
    pub fn resize(&self, width: u32, height: u32) {
        crate::expect(self.try_resize(width, height), "cannot resize a page");
    }

    /// The same for those who report what goes wrong themselves.
    pub(crate) fn try_resize(&self, width: u32, height: u32) -> Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size).map(drop)
    }

    /// What the page looks like, as PNG.
    ///
    /// # Panics
    /// When the page is gone.
    #[must_use]
    pub fn screenshot(&self) -> Vec<u8> {
        crate::expect(self.try_screenshot(), "cannot take a picture")
    }

    /// The same for those who report what goes wrong themselves.
    pub(crate) fn try_screenshot(&self) -> Result<Vec<u8>> {
        let shot = self.call("Page.captureScreenshot", &json!({"format": "png"}))?;
        STANDARD.decode(field(&shot, "data").as_str().unwrap_or_default()).context("a picture is no base64")
    }

    fn try_evaluate(&self, script: &str) -> Result<Value> {
        let done = self.call("Runtime.evaluate", &json!({"expression": script, "awaitPromise": true, "returnByValue": true}))?;
        match field(&done, "exceptionDetails") {
            Value::Null => Ok(field(field(&done, "result"), "value").clone()),
            thrown => bail!("{script}: {}", field(field(thrown, "exception"), "description").as_str().unwrap_or("it throws")),
        }
    }

    fn call(&self, method: &str, parameters: &Value) -> Result<Value> {
        lock(&self.pipes).call(Some(&self.session), method, parameters)
    }
}

/// A field of an object; null where it isn't there.
fn field<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn lock(pipes: &Mutex<Pipes>) -> std::sync::MutexGuard<'_, Pipes> {
    pipes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipes {
    /// Sends a command and returns its answer; events in between are nothing to us. A NUL ends each message.
    fn call(&mut self, session: Option<&str>, method: &str, parameters: &Value) -> Result<Value> {
        self.last += 1;
        let message = match session {
            None => json!({"id": self.last, "method": method, "params": parameters}),
            Some(session) => json!({"id": self.last, "method": method, "params": parameters, "sessionId": session}),
        };
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.commands.write_all(&bytes)?;
        let end = Instant::now() + ANSWER_DEADLINE;
        loop {
            let answer = self.next(end).with_context(|| format!("the browser doesn't answer {method}"))?;
            if *field(&answer, "id") == self.last {
                ensure!(field(&answer, "error").is_null(), "{method}: {}", field(field(&answer, "error"), "message"));
                return Ok(field(&answer, "result").clone());
            }
        }
    }

    fn next(&mut self, end: Instant) -> Result<Value> {
        loop {
            if let Some(length) = self.unread.iter().position(|byte| *byte == 0) {
                let message: Vec<u8> = self.unread.drain(..=length).collect();
                return Ok(serde_json::from_slice(message.strip_suffix(&[0]).unwrap_or_default())?);
            }
            let left = end.checked_duration_since(Instant::now()).context("there was time enough")?;
            let left = Timespec::try_from(left)?;
            if poll(&mut [PollFd::new(&self.answers, PollFlags::IN)], Some(&left))? > 0 {
                let mut piece = vec![0; 64 * 1024];
                let count = self.answers.read(&mut piece)?;
                piece.truncate(count);
                self.unread.append(&mut piece);
            }
        }
    }
}
