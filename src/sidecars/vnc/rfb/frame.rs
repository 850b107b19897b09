//! One look at a desktop: asks for its whole screen in the simplest way there is, and gathers the pixels (RFC 6143, sections 7.3 to 7.7).

use super::approach::{Approach, ApproachError};

/// How many bytes of what does not matter are read at once.
const SKIPPED_AT_ONCE: u64 = 4096;
/// Bytes of a pixel, as we ask for them: red, green, blue, and one that nobody uses.
const PIXEL: usize = 4;
/// What we write into that one when a pixel is known.
const KNOWN: u8 = 0xff;

/// `ClientInit`: other viewers stay.
const SHARED: [u8; 1] = [1];
/// `SetPixelFormat`: 32 bits, of which 24 count, little-endian, true colour; then `SetEncodings`: raw pixels, and no other.
#[rustfmt::skip]
const WISHES: [u8; 28] = [
    0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 0, 8, 16, 0, 0, 0,
    2, 0, 0, 1, 0, 0, 0, 0,
];

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The desktop can't be entered.
    #[error(transparent)]
    Approach(#[from] ApproachError),
    /// It is larger than we may hold.
    #[error("the desktop has {width}x{height} pixels, and pictures are made up to {} x {}: VNC_LARGEST sets that", largest.0, largest.1)]
    TooLarge {
        /// Pixels across.
        width: u16,
        /// Pixels down.
        height: u16,
        /// The most.
        largest: (u16, u16),
    },
    /// There is nothing to see.
    #[error("the desktop has no pixels")]
    Empty,
    /// A message that was not asked for.
    #[error("the desktop sends a message of type {0}, which nobody has asked for")]
    Message(u8),
    /// An encoding that was not asked for.
    #[error("the desktop sends pixels in encoding {0}, which nobody has asked for")]
    Encoding(i32),
    /// Pixels outside of the screen.
    #[error("the desktop sends pixels from outside of its screen")]
    Outside,
}

/// The pixels of a screen, row by row from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels across; at least one.
    pub width: u16,
    /// Pixels down; at least one.
    pub height: u16,
    /// Red, green, blue and 255 of each pixel.
    pixels: Vec<u8>,
}

/// Looks once.
#[derive(Debug)]
pub struct Look {
    largest: (u16, u16),
    stage: Stage,
    picture: Picture,
    /// Pixels that are not known yet.
    missing: u32,
}

#[derive(Debug)]
enum Stage {
    Approach(Approach),
    /// `ServerInit`, up to the length of the desktop's name.
    Screen,
    /// So much of the name.
    Name(u64),
    Message,
    /// The head of an update.
    Update,
    ColourMap,
    CutText,
    /// So many bytes of a message that does not matter.
    Skip(u64),
    /// The head of the next of so many rectangles.
    Rectangle(u16),
    /// Rows of a rectangle.
    Row(Rows),
    Done,
}

#[derive(Debug, Clone, Copy)]
struct Rows {
    x: u16,
    y: u16,
    width: u16,
    left: u16,
    /// Rectangles that follow.
    rectangles: u16,
}

impl Look {
    /// Looks at a desktop that is not larger than this, in pixels across and down.
    #[must_use]
    pub fn new(largest: (u16, u16)) -> Self {
        let picture = Picture { width: 0, height: 0, pixels: Vec::new() };
        Self { largest, stage: Stage::Approach(Approach::default()), picture, missing: 0 }
    }

    /// How many bytes of the desktop are needed next, at most 262140: those of a row of pixels. 0 when it was seen.
    #[must_use]
    pub fn needs(&self) -> usize {
        match &self.stage {
            Stage::Approach(approach) => approach.needs(),
            Stage::Screen => 24,
            Stage::Name(left) | Stage::Skip(left) => usize::try_from((*left).min(SKIPPED_AT_ONCE)).unwrap_or_default(),
            Stage::Message => 1,
            Stage::Update => 3,
            Stage::ColourMap => 5,
            Stage::CutText => 7,
            Stage::Rectangle(_) => 12,
            Stage::Row(rows) => usize::from(rows.width) * PIXEL,
            Stage::Done => 0,
        }
    }

    /// Reads as many bytes as are needed, and says what the desktop is to be sent.
    ///
    /// # Errors
    /// There will be no picture.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<Vec<u8>, FrameError> {
        let u16_at = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |number| u16::from_be_bytes(*number));
        let u32_at = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |number| u32::from_be_bytes(*number));
        let mut answer = Vec::new();
        self.stage = match &mut self.stage {
            Stage::Approach(approach) => {
                answer.extend(approach.hear(bytes)?);
                if approach.needs() > 0 {
                    return Ok(answer);
                }
                answer.extend(SHARED);
                Stage::Screen
            }
            Stage::Screen => {
                self.begin(u16_at(0), u16_at(2))?;
                named(u32_at(20).into(), &self.picture, &mut answer)
            }
            Stage::Name(left) => named(*left - bytes.len() as u64, &self.picture, &mut answer),
            Stage::Message => match bytes.first().copied().unwrap_or_default() {
                0 => Stage::Update,
                1 => Stage::ColourMap,
                2 => Stage::Message,
                3 => Stage::CutText,
                other => return Err(FrameError::Message(other)),
            },
            Stage::Update => rectangles(u16_at(1)),
            Stage::ColourMap => skipped(u64::from(u16_at(3)) * 6),
            Stage::CutText => skipped(u32_at(3).into()),
            Stage::Skip(left) => skipped(*left - bytes.len() as u64),
            Stage::Rectangle(left) => {
                let rectangles = left.saturating_sub(1);
                let rows = Rows { x: u16_at(0), y: u16_at(2), width: u16_at(4), left: u16_at(6), rectangles };
                self.picture.check(rows)?;
                match u32_at(8).cast_signed() {
                    0 => rows.next(),
                    other => return Err(FrameError::Encoding(other)),
                }
            }
            Stage::Row(rows) => {
                self.missing -= self.picture.fill(rows.x, rows.y, bytes);
                Rows { y: rows.y + 1, left: rows.left - 1, ..*rows }.next()
            }
            Stage::Done => Stage::Done,
        };
        // One update may show a part, and the next the rest.
        if self.missing == 0 && matches!(self.stage, Stage::Message) {
            self.stage = Stage::Done;
        }
        Ok(answer)
    }

    /// The picture, when all of it is known.
    #[must_use]
    pub fn picture(self) -> Option<Picture> {
        matches!(self.stage, Stage::Done).then_some(self.picture)
    }

    fn begin(&mut self, width: u16, height: u16) -> Result<(), FrameError> {
        if width == 0 || height == 0 {
            return Err(FrameError::Empty);
        }
        if width > self.largest.0 || height > self.largest.1 {
            return Err(FrameError::TooLarge { width, height, largest: self.largest });
        }
        self.missing = u32::from(width) * u32::from(height);
        self.picture = Picture { width, height, pixels: vec![0; usize::from(width) * usize::from(height) * PIXEL] };
        Ok(())
    }
}

/// Behind so much of the desktop's name, we say what we want.
fn named(left: u64, picture: &Picture, answer: &mut Vec<u8>) -> Stage {
    if left > 0 {
        return Stage::Name(left);
    }
    answer.extend(WISHES);
    // FramebufferUpdateRequest, of everything.
    answer.extend([3, 0, 0, 0, 0, 0]);
    answer.extend(picture.width.to_be_bytes());
    answer.extend(picture.height.to_be_bytes());
    Stage::Message
}

const fn skipped(left: u64) -> Stage {
    if left == 0 { Stage::Message } else { Stage::Skip(left) }
}

const fn rectangles(left: u16) -> Stage {
    if left == 0 { Stage::Message } else { Stage::Rectangle(left) }
}

impl Rows {
    const fn next(self) -> Stage {
        if self.left == 0 || self.width == 0 { rectangles(self.rectangles) } else { Stage::Row(self) }
    }
}

impl Picture {
    fn check(&self, rows: Rows) -> Result<(), FrameError> {
        let fits = |start: u16, length: u16, most: u16| start.checked_add(length).is_some_and(|end| end <= most);
        if fits(rows.x, rows.width, self.width) && fits(rows.y, rows.left, self.height) { Ok(()) } else { Err(FrameError::Outside) }
    }

    /// Writes pixels that stand side by side, and says how many of them were not known before.
    fn fill(&mut self, x: u16, y: u16, bytes: &[u8]) -> u32 {
        let start = (usize::from(y) * usize::from(self.width) + usize::from(x)) * PIXEL;
        let (to, _) = self.pixels.get_mut(start..).unwrap_or_default().as_chunks_mut::<PIXEL>();
        let (from, _) = bytes.as_chunks::<PIXEL>();
        let mut new = 0;
        for (to, [red, green, blue, _]) in to.iter_mut().zip(from) {
            new += u32::from(to.last() != Some(&KNOWN));
            *to = [*red, *green, *blue, KNOWN];
        }
        new
    }

    /// How many pixels across and down become one, if the picture may be so wide at most.
    #[must_use]
    pub fn divisor(&self, most_across: u16) -> u16 {
        self.width.div_ceil(most_across.max(1))
    }

    /// Its size where so many pixels across and down become one.
    #[must_use]
    pub const fn size(&self, divisor: u16) -> (u16, u16) {
        (self.width.div_ceil(divisor), self.height.div_ceil(divisor))
    }

    /// Red, green and blue of a row's pixels, each the mean of a square of pixels; what is cut off at the edges counts less.
    #[must_use]
    pub fn row(&self, row: u16, divisor: u16) -> Vec<u8> {
        let (across, divisor) = (usize::from(self.width) * PIXEL, usize::from(divisor.max(1)));
        let mut squares = vec![Square::default(); self.size(u16::try_from(divisor).unwrap_or(u16::MAX)).0.into()];
        for line in self.pixels.chunks_exact(across).skip(usize::from(row) * divisor).take(divisor) {
            for (square, pixels) in squares.iter_mut().zip(line.chunks(divisor * PIXEL)) {
                pixels.as_chunks::<PIXEL>().0.iter().for_each(|pixel| square.add(*pixel));
            }
        }
        squares.iter().flat_map(Square::mean).collect()
    }
}

/// Pixels that become one.
#[derive(Debug, Default, Clone, Copy)]
struct Square {
    sums: [u64; 3],
    count: u64,
}

impl Square {
    fn add(&mut self, [red, green, blue, _]: [u8; PIXEL]) {
        for (sum, colour) in self.sums.iter_mut().zip([red, green, blue]) {
            *sum += u64::from(colour);
        }
        self.count += 1;
    }

    fn mean(&self) -> [u8; 3] {
        self.sums.map(|sum| u8::try_from((sum + self.count / 2) / self.count.max(1)).unwrap_or(u8::MAX))
    }
}

#[cfg(test)]
mod tests;
