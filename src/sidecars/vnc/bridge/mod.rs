//! One viewer's conversation with a desktop: two directions that never wait for each other, in one task.
//!
//! `upstream` is what the viewer says, `outbox` what it is sent, `target` where the desktop is, and `buffers` are lent to both
//! directions while bytes are on their way. `liveness` knows whether the viewer is still there.

mod buffers;
mod liveness;
mod outbox;
pub mod target;
mod upstream;

use std::{
    borrow::Cow,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

pub use buffers::Buffers;

use super::{
    rfb::filter::Filter,
    viewers::Viewer,
    websocket::{
        ControlPayload, Opcode,
        close::{Close, CloseCode},
        decoder::Decoder,
    },
};
use crate::runtime::takeover::{Stream, Taken};
use liveness::{Liveness, Verdict};
use outbox::Outbox;
use upstream::{Goodbye, Heard, Upstream};

/// The most bytes of the desktop in a frame: the longest payload whose head has four bytes.
const LONGEST_PAYLOAD: usize = u16::MAX as usize;
/// How long an end may take: the close frame, and the viewer's answer.
const CLOSING_LIMIT: Duration = Duration::from_millis(600);
/// How long a desktop may take for what it still has to say to a viewer who leaves.
const LAST_WORDS_LIMIT: Duration = Duration::from_millis(200);
/// How long after the desktop's end an order may still come that tells viewers why.
const REASON_LIMIT: Duration = Duration::from_millis(500);

/// How long the bridge waits.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// For the desktop's socket to take a connection.
    pub connect: Duration,
    /// For the RFB handshake, from the upgrade on.
    pub handshake: Duration,
    /// From one ping to the next. Proxies end connections that are silent for a minute.
    pub ping: Duration,
    /// For a sign of life after a ping, from when it was sent.
    pub pong: Duration,
    /// For a viewer's socket to take bytes, where a ping waits behind many.
    pub stall: Duration,
    /// For the desktop to take what a viewer said.
    pub desktop: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            handshake: Duration::from_secs(10),
            ping: Duration::from_secs(20),
            pong: Duration::from_secs(10),
            stall: Duration::from_mins(2),
            desktop: Duration::from_secs(30),
        }
    }
}

/// What a conversation needs.
pub(super) struct Ends<'viewer> {
    pub(super) viewer: &'viewer Viewer,
    pub(super) taken: Taken,
    pub(super) framing: Framing,
    pub(super) desktop: Box<dyn Stream>,
    pub(super) buffers: Buffers,
    /// None where the desktop does not speak RFB.
    pub(super) filter: Option<Filter>,
    pub(super) pace: Pace,
}

/// How the viewer's bytes and the desktop's are on their way to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// In frames of a WebSocket, of which the viewer's have so many bytes at most.
    WebSocket { limit: u64 },
    /// As they are. Such a viewer can't be told why it must go, and whether it is there TCP alone knows.
    Bare,
}

/// How a conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// The close code; 1006 where there was none.
    pub(super) code: u16,
    /// What the viewer was told, or nothing if it left by itself.
    pub(super) reason: Cow<'static, str>,
}

/// Carries bytes both ways until one side ends it, or `order` does.
pub(super) async fn run(ends: Ends<'_>, order: impl Future<Output = Close>) -> Ended {
    tokio::pin!(order);
    let mut bridge = Bridge::new(ends);
    poll_fn(|context| bridge.poll(context, order.as_mut())).await
}

struct Bridge<'viewer> {
    viewer: &'viewer Viewer,
    stream: Box<dyn Stream>,
    desktop: Box<dyn Stream>,
    buffers: Buffers,
    upstream: Upstream,
    outbox: Outbox,
    /// Whether the viewer's stream may hold bytes that were written, but not sent.
    is_unflushed: bool,
    desktop_is: DesktopIs,
    viewer_is_gone: bool,
    closing: Option<Closing>,
    framing: Framing,
    watch: Watch,
    alarm: Pin<Box<Sleep>>,
    liveness: Liveness,
    /// Since when the desktop has not taken what the viewer said.
    desktop_stuck_since: Option<Instant>,
    pace: Pace,
}

/// An end that has begun.
struct Closing {
    ended: Ended,
    /// Whether the viewer's close frame is there, or can't be read any more, or there is none.
    is_answered: bool,
    /// Where the viewer leaves by itself: the answer to its close frame. Before that, the desktop gets what the viewer said
    /// last, and hears that it was the last; and the viewer gets what the desktop says to that.
    last_words: Option<ControlPayload>,
    desktop_knows: bool,
    is_shut_down: bool,
}

/// What is known of the desktop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DesktopIs {
    /// It has said nothing yet.
    Silent,
    Speaking,
    /// It has ended the connection.
    Gone,
}

/// What the alarm is for.
#[derive(Debug, Clone, Copy)]
enum Watch {
    Handshake,
    NextPing,
    Pong {
        asked_at: Instant,
    },
    /// Somebody may know why the desktop has gone.
    Reason,
    LastWords,
    Closing,
    /// The end took too long.
    Overdue,
}

impl<'viewer> Bridge<'viewer> {
    fn new(Ends { viewer, taken: Taken { stream, read_ahead }, framing, desktop, buffers, filter, pace }: Ends<'viewer>) -> Self {
        let now = Instant::now();
        let (decoder, outbox) = match framing {
            Framing::WebSocket { limit } => (Some(Decoder::new(limit)), Outbox::default()),
            Framing::Bare => (None, Outbox::bare()),
        };
        Self {
            viewer,
            stream,
            desktop,
            buffers,
            upstream: Upstream::new(decoder, filter, read_ahead),
            outbox,
            is_unflushed: false,
            desktop_is: DesktopIs::Silent,
            viewer_is_gone: false,
            closing: None,
            framing,
            watch: Watch::Handshake,
            alarm: Box::pin(sleep_until(now + pace.handshake)),
            liveness: Liveness::new(pace, now),
            desktop_stuck_since: None,
            pace,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>, order: Pin<&mut impl Future<Output = Close>>) -> Poll<Ended> {
        // A future that has completed is not asked again: an end has begun then.
        if self.closing.is_none()
            && let Poll::Ready(close) = order.poll(context)
        {
            self.close(close);
        }
        while self.alarm.as_mut().poll(context).is_ready() {
            self.ring();
            if self.is_over() {
                return Poll::Ready(self.ended());
            }
        }
        loop {
            let upstream = self.poll_upstream(context);
            let downstream = self.poll_downstream(context);
            if self.is_over() {
                return Poll::Ready(self.ended());
            }
            if upstream.is_pending() && downstream.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// One step from the viewer to the desktop.
    fn poll_upstream(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pending) = self.upstream.pending() {
            let Poll::Ready(written) = Pin::new(&mut self.desktop).poll_write(context, pending) else {
                self.desktop_stuck_since.get_or_insert_with(Instant::now);
                return Poll::Pending;
            };
            self.desktop_stuck_since = None;
            match written {
                Ok(length) if length > 0 => {
                    self.viewer.received(length);
                    self.upstream.sent(length);
                }
                _ => self.lose_desktop(),
            }
            return Poll::Ready(());
        }
        if self.viewer_is_gone {
            return Poll::Pending;
        }
        if let Some(closing) = self.closing.as_mut().filter(|closing| closing.last_words.is_some() && !closing.desktop_knows) {
            let shut_down = ready!(Pin::new(&mut self.desktop).poll_shutdown(context));
            closing.desktop_knows = true;
            if shut_down.is_err() {
                self.end_last_words();
            }
            return Poll::Ready(());
        }
        let mut room = self.upstream.room(&self.buffers);
        let mut length = self.upstream.read_ahead(&mut room);
        if length == 0 {
            let mut buffer = ReadBuf::new(room.as_mut_slice());
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            length = buffer.filled().len();
            self.viewer_is_gone = read.is_err() || length == 0;
        }
        if length > 0 {
            self.note_life();
            let passes = self.closing.is_none();
            let heard = self.upstream.hear(room, length, &self.viewer.policy(), passes);
            self.mind(heard);
        }
        Poll::Ready(())
    }

    /// The viewer has said something, so the next question has time.
    fn note_life(&mut self) {
        let now = Instant::now();
        self.liveness.heard(now);
        if let Watch::Pong { asked_at } = self.watch {
            self.watch_until(Watch::NextPing, (asked_at + self.pace.ping).max(now));
        }
    }

    /// Does what the viewer's frames ask for.
    fn mind(&mut self, mut heard: Heard) {
        self.viewer.count(&heard.tally);
        while let Some(payload) = heard.pings.pop() {
            self.outbox.pong(payload);
        }
        if heard.ponged {
            self.liveness.ponged();
        }
        if let Some(Goodbye { code }) = heard.close {
            self.answer_close(code);
        }
        if let Some(close) = heard.fault {
            self.close(close);
            // What follows a fault is not read, so no answer will be seen.
            self.end_is_answered();
        }
    }

    /// One step from the desktop to the viewer.
    fn poll_downstream(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.viewer_is_gone {
            return Poll::Pending;
        }
        if self.is_unflushed {
            let flushed = ready!(Pin::new(&mut self.stream).poll_flush(context));
            self.is_unflushed = false;
            self.viewer_is_gone |= flushed.is_err();
            return Poll::Ready(());
        }
        if self.outbox.begin() {
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, &self.outbox.rest()));
            match written {
                Ok(length) if length > 0 => self.sent(length),
                _ => self.viewer_is_gone = true,
            }
            return Poll::Ready(());
        }
        if self.closing.as_ref().is_some_and(|closing| closing.last_words.is_none()) {
            return self.poll_shutdown(context);
        }
        if self.desktop_is == DesktopIs::Gone {
            return Poll::Pending;
        }
        let mut lent = self.buffers.lend();
        let mut buffer = ReadBuf::new(lent.get_mut(..LONGEST_PAYLOAD).unwrap_or_default());
        let read = ready!(Pin::new(&mut self.desktop).poll_read(context, &mut buffer));
        match buffer.filled().len() {
            length if length > 0 && read.is_ok() => {
                self.desktop_is = DesktopIs::Speaking;
                self.viewer.sent(length);
                self.outbox.data(lent, 0..length);
            }
            _ => self.lose_desktop(),
        }
        Poll::Ready(())
    }

    /// The viewer's socket took so many bytes.
    fn sent(&mut self, length: usize) {
        let now = Instant::now();
        self.liveness.took(length, now);
        let completed = self.outbox.sent(length);
        self.is_unflushed = completed.is_some();
        if completed == Some(Opcode::Ping) {
            self.liveness.pinged(now);
        }
    }

    /// Closes our half, when all was said; what the viewer still sends is read and dropped, or a reset would overtake our close frame.
    fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(closing) = &mut self.closing else { return Poll::Pending };
        if closing.is_shut_down || !closing.is_answered || !self.outbox.close_was_sent() {
            return Poll::Pending;
        }
        let shut_down = ready!(Pin::new(&mut self.stream).poll_shutdown(context));
        closing.is_shut_down = true;
        self.viewer_is_gone |= shut_down.is_err();
        Poll::Ready(())
    }

    /// Looks after the viewer, or the end, when its time has come.
    fn ring(&mut self) {
        let now = Instant::now();
        match self.watch {
            Watch::Handshake if !self.upstream.has_begun() => self.close(self.handshake_took_too_long()),
            Watch::Handshake => self.watch_until(Watch::NextPing, now + self.pace.ping.saturating_sub(self.pace.handshake)),
            Watch::NextPing if self.framing == Framing::Bare => self.watch_until(Watch::NextPing, now + self.pace.ping),
            Watch::NextPing => {
                self.outbox.ping();
                self.liveness.asked(now);
                self.watch_until(Watch::Pong { asked_at: now }, now + self.pace.pong);
            }
            Watch::Pong { asked_at } => self.look_for_life(asked_at, now),
            Watch::Reason => self.close(self.desktop_ended()),
            Watch::LastWords => self.end_last_words(),
            Watch::Closing | Watch::Overdue => self.watch = Watch::Overdue,
        }
    }

    fn look_for_life(&mut self, asked_at: Instant, now: Instant) {
        // While the desktop does not take what the viewer said before, we don't know what else it said.
        if let Some(since) = self.desktop_stuck_since {
            let end = since + self.pace.desktop;
            if now < end {
                return self.watch_until(self.watch, end);
            }
            let reason = format!("the desktop took nothing of what the viewer said for {:?}", self.pace.desktop);
            return self.close(Close::new(CloseCode::InternalError, reason));
        }
        match self.liveness.judge(now) {
            Verdict::Alive => self.watch_until(Watch::NextPing, (asked_at + self.pace.ping).max(now)),
            Verdict::Unknown { until } => self.watch_until(self.watch, until),
            Verdict::Dead => self.close(Close::new(CloseCode::GoingAway, "no sign of life from the viewer after a ping")),
        }
    }

    fn watch_until(&mut self, watch: Watch, end: Instant) {
        self.watch = watch;
        self.alarm.as_mut().reset(end);
    }

    /// The viewer ends it, or answers our end.
    fn answer_close(&mut self, code: Option<u16>) {
        if self.closing.is_none() {
            let mut payload = ControlPayload::default();
            if let Some(code) = code {
                payload.extend(&code.to_be_bytes());
            }
            // 1005 says that there was no code; it is never sent.
            let ended = Ended { code: code.unwrap_or(1005), reason: Cow::Borrowed("the viewer left") };
            self.begin_to_close(ended, Some(payload));
            self.watch_until(Watch::LastWords, Instant::now() + LAST_WORDS_LIMIT);
        }
        self.end_is_answered();
    }

    /// We end it: what the viewer says from now on does not count.
    fn close(&mut self, close: Close) {
        match &self.closing {
            None => {
                self.upstream.give_up();
                self.outbox.close(close.payload());
                self.begin_to_close(Ended { code: close.code.number(), reason: close.reason }, None);
                self.watch_until(Watch::Closing, Instant::now() + CLOSING_LIMIT);
            }
            // A viewer who leaves anyhow need not be told.
            Some(_) => self.end_last_words(),
        }
    }

    fn begin_to_close(&mut self, ended: Ended, last_words: Option<ControlPayload>) {
        self.closing =
            Some(Closing { ended, is_answered: self.framing == Framing::Bare, last_words, desktop_knows: false, is_shut_down: false });
    }

    /// The viewer who leaves gets its answer.
    fn end_last_words(&mut self) {
        if let Some(payload) = self.closing.as_mut().and_then(|closing| closing.last_words.take()) {
            self.upstream.give_up();
            self.outbox.close(payload);
            self.watch_until(Watch::Closing, Instant::now() + CLOSING_LIMIT);
        }
    }

    const fn end_is_answered(&mut self) {
        if let Some(closing) = &mut self.closing {
            closing.is_answered = true;
        }
    }

    /// The desktop has ended the connection. If all of it ends, an order follows that says so.
    fn lose_desktop(&mut self) {
        self.upstream.give_up();
        if self.closing.is_some() {
            self.end_last_words();
        } else if !self.upstream.has_begun() {
            self.close(self.desktop_ended());
        } else if self.desktop_is != DesktopIs::Gone {
            self.watch_until(Watch::Reason, Instant::now() + REASON_LIMIT);
        }
        self.desktop_is = DesktopIs::Gone;
    }

    fn desktop_ended(&self) -> Close {
        if self.upstream.has_begun() {
            Close::new(CloseCode::InternalError, "the desktop ended the connection")
        } else {
            Close::new(CloseCode::TryAgainLater, "the desktop ended the connection before it began: it may be starting")
        }
    }

    fn handshake_took_too_long(&self) -> Close {
        if self.desktop_is == DesktopIs::Speaking {
            Close::new(CloseCode::PolicyViolation, format!("no RFB handshake within {:?}", self.pace.handshake))
        } else {
            Close::new(CloseCode::TryAgainLater, format!("the desktop said nothing within {:?}", self.pace.handshake))
        }
    }

    const fn is_over(&self) -> bool {
        self.viewer_is_gone || matches!(self.watch, Watch::Overdue)
    }

    fn ended(&mut self) -> Ended {
        let gone = || match self.framing {
            Framing::WebSocket { .. } => Ended { code: 1006, reason: Cow::Borrowed("the viewer vanished") },
            // That is how it leaves.
            Framing::Bare => Ended { code: CloseCode::Normal.number(), reason: Cow::Borrowed("the viewer left") },
        };
        self.closing.take().map_or_else(gone, |closing| closing.ended)
    }
}

#[cfg(test)]
mod tests;
