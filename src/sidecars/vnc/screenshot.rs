//! A picture of the desktop, taken through the same socket as viewers use, though not by a viewer: nobody sees it come, and nothing of the
//! desktop changes.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    bridge::target::Target,
    rfb::frame::{FrameError, Look, Picture},
};
use crate::runtime::blocking;

/// How long a desktop may take to show itself.
pub const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// How long a picture may take to be compressed.
const COMPRESSION_LIMIT: Duration = Duration::from_secs(5);
/// How long one waits for those who want a picture, too.
const TURN_LIMIT: Duration = Duration::from_secs(2);
/// Few reads for much.
const READ_AHEAD: usize = 64 * 1024;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum ScreenshotError {
    /// Others want one, too.
    #[error("other pictures are being taken")]
    Busy,
    /// The desktop's socket is not there, or ends.
    #[error("the desktop can't be looked at: it may be starting, or have another size by now")]
    Away(#[source] io::Error),
    /// It is there, and does not answer.
    #[error("the desktop does not show itself within {} s", LOOK_LIMIT.as_secs())]
    Silent,
    /// It shows nothing that can be understood.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The picture can't be compressed in time.
    #[error("the picture can't be compressed")]
    Compression,
}

/// Takes pictures, one at a time: each needs four bytes of memory for each pixel while it is taken. Clones share the turn.
#[derive(Debug, Clone)]
pub struct Camera {
    /// The largest desktop, in pixels across and down.
    largest: (u16, u16),
    turn: Arc<Semaphore>,
}

impl Camera {
    /// Takes pictures of desktops that are not larger than this, in pixels across and down.
    #[must_use]
    pub fn new(largest: (u16, u16)) -> Self {
        Self { largest, turn: Arc::new(Semaphore::new(1)) }
    }

    /// A PNG of the desktop; with `most_across`, made so small by a whole number that it has no more pixels across.
    ///
    /// # Errors
    /// See [`ScreenshotError`].
    pub(super) async fn take(&self, target: &Target, most_across: Option<u16>) -> Result<Vec<u8>, ScreenshotError> {
        let turn = timeout(TURN_LIMIT, self.turn.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(ScreenshotError::Busy)?;
        let picture = timeout(LOOK_LIMIT, look(target, self.largest)).await.map_err(|_| ScreenshotError::Silent)??;
        let divisor = most_across.map_or(1, |most| picture.divisor(most));
        let compressed = blocking::within(COMPRESSION_LIMIT, move || compress(&picture, divisor, turn)).await;
        compressed.and_then(Result::ok).ok_or(ScreenshotError::Compression)
    }
}

async fn look(target: &Target, largest: (u16, u16)) -> Result<Picture, ScreenshotError> {
    let desktop = target.connect(LOOK_LIMIT).await.map_err(ScreenshotError::Away)?;
    let (mut desktop, mut look, mut bytes) = (BufReader::with_capacity(READ_AHEAD, desktop), Look::new(largest), Vec::new());
    while look.needs() > 0 {
        bytes.resize(look.needs(), 0);
        desktop.read_exact(&mut bytes).await.map_err(ScreenshotError::Away)?;
        let answer = look.hear(&bytes)?;
        if !answer.is_empty() {
            desktop.write_all(&answer).await.map_err(ScreenshotError::Away)?;
        }
    }
    look.picture().ok_or(ScreenshotError::Compression)
}

/// The turn ends with the work, even if nobody waits for it any more.
fn compress(picture: &Picture, divisor: u16, _turn: OwnedSemaphorePermit) -> Result<Vec<u8>, png::EncodingError> {
    let (width, height) = picture.size(divisor);
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width.into(), height.into());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    let mut rows = writer.stream_writer()?;
    for row in 0..height {
        io::Write::write_all(&mut rows, &picture.row(row, divisor))?;
    }
    rows.finish()?;
    writer.finish()?;
    Ok(file)
}
