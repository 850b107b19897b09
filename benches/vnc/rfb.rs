//! RFB as noVNC speaks it. Messages are read to their ends; pixels are not decoded.

use std::io::{self, ErrorKind};

use super::websocket::{self, Reader, Writer};

const VERSION: &[u8; 12] = b"RFB 003.008\n";
/// No password, and others may look, too.
const NO_SECURITY: u8 = 1;
const SHARED: u8 = 1;

const RAW: i32 = 0;
const COPY: i32 = 1;
const TIGHT: i32 = 7;
const DESKTOP_SIZE: i32 = -223;
const LAST_RECTANGLE: i32 = -224;
const CURSOR: i32 = -239;
const QEMU_KEYS: i32 = -258;
const QEMU_LEDS: i32 = -261;
const DESKTOP_NAME: i32 = -307;
const EXTENDED_DESKTOP_SIZE: i32 = -308;
const VMWARE_CURSOR: i32 = 0x574d_5664;
/// What noVNC 1.7 says that it understands where the browser decodes no H.264: quality 6, compression 2, in its order.
const ENCODINGS: [i32; 24] = [
    COPY,
    TIGHT,
    -260,
    16,
    21,
    5,
    2,
    6,
    RAW,
    -26,
    -254,
    DESKTOP_SIZE,
    LAST_RECTANGLE,
    QEMU_KEYS,
    QEMU_LEDS,
    EXTENDED_DESKTOP_SIZE,
    -309,
    -312,
    -313,
    DESKTOP_NAME,
    0xc0a1_e5ce_u32.cast_signed(),
    -316,
    VMWARE_CURSOR,
    CURSOR,
];
/// 32 bits for a pixel, of which 24 count: red, green and blue from the lowest on.
const PIXEL_FORMAT: [u8; 16] = [32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 0, 8, 16, 0, 0, 0];
const PIXEL: u64 = 4;
/// A pixel in Tight, without the bits that don't count.
const TIGHT_PIXEL: u64 = 3;

/// What a desktop says.
#[derive(Debug)]
pub(crate) enum Message {
    /// Something on the screen may have changed.
    Update {
        has_pixels: bool,
    },
    /// It wants this back.
    Fence {
        flags: u32,
        payload: Vec<u8>,
    },
    /// It would send updates without being asked for each.
    OffersContinuousUpdates,
    Other,
}

/// Pixels across and down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    width: u16,
    height: u16,
}

/// Connects, and waits until the desktop speaks.
pub(crate) fn connect(port: u16) -> io::Result<(Reader, Writer)> {
    let (mut reader, writer) = websocket::connect(port)?;
    if &reader.take()? == VERSION { Ok((reader, writer)) } else { Err(wrong("the version is not 3.8")) }
}

/// Says what comes before the first message, and what noVNC says first.
pub(crate) fn begin(reader: &mut Reader, writer: &Writer) -> io::Result<Size> {
    writer.send(VERSION)?;
    let [count] = reader.take()?;
    reader.skip(count.into())?;
    writer.send(&[NO_SECURITY])?;
    if reader.take()? != [0; 4] {
        return Err(wrong("a refusal"));
    }
    writer.send(&[SHARED])?;
    let size = Size { width: number(reader)?, height: number(reader)? };
    reader.skip(PIXEL_FORMAT.len() as u64)?;
    let name = length(reader)?;
    reader.skip(name)?;

    writer.send(&[&[0; 4][..], &PIXEL_FORMAT].concat())?;
    let count = u16::try_from(ENCODINGS.len()).unwrap().to_be_bytes();
    let encodings: Vec<u8> = ENCODINGS.iter().flat_map(|encoding| encoding.to_be_bytes()).collect();
    writer.send(&[&[2, 0][..], &count, &encodings].concat())?;
    writer.send(&update_request(size, false))?;
    Ok(size)
}

pub(crate) fn update_request(size: Size, is_incremental: bool) -> Vec<u8> {
    [&[3, u8::from(is_incremental)][..], &area(size)].concat()
}

pub(crate) fn enable_continuous_updates(size: Size) -> Vec<u8> {
    [&[150, 1][..], &area(size)].concat()
}

pub(crate) fn fence(flags: u32, payload: &[u8]) -> Vec<u8> {
    const REQUEST: u32 = 1 << 31;
    let length = u8::try_from(payload.len()).unwrap();
    [&[248, 0, 0, 0][..], &(flags & !REQUEST).to_be_bytes(), &[length], payload].concat()
}

/// Presses a key and lets go of it.
pub(crate) fn key_press(symbol: u8) -> Vec<u8> {
    [1, 0].into_iter().flat_map(|is_down| [4, is_down, 0, 0, 0, 0, 0, symbol]).collect()
}

pub(crate) fn pointer(x: u16, y: u16) -> Vec<u8> {
    [&[5, 0][..], &x.to_be_bytes(), &y.to_be_bytes()].concat()
}

fn area(size: Size) -> Vec<u8> {
    [&[0; 4][..], &size.width.to_be_bytes(), &size.height.to_be_bytes()].concat()
}

/// Reads the next message.
pub(crate) fn read(reader: &mut Reader) -> io::Result<Message> {
    let [kind] = reader.take()?;
    match kind {
        0 => return update(reader),
        // A bell.
        2 => {}
        3 => {
            reader.skip(3)?;
            // A text of an extended clipboard has a negative length.
            let length = i32::from_be_bytes(reader.take()?).unsigned_abs();
            reader.skip(length.into())?;
        }
        150 => return Ok(Message::OffersContinuousUpdates),
        248 => {
            reader.skip(3)?;
            let flags = u32::from_be_bytes(reader.take()?);
            let [length] = reader.take()?;
            let mut payload = vec![0; length.into()];
            io::Read::read_exact(reader, &mut payload)?;
            return Ok(Message::Fence { flags, payload });
        }
        250 => reader.skip(3)?,
        other => return Err(wrong(&format!("message {other}"))),
    }
    Ok(Message::Other)
}

fn update(reader: &mut Reader) -> io::Result<Message> {
    reader.skip(1)?;
    let (mut count, mut has_pixels) = (number(reader)?, false);
    while count > 0 {
        reader.skip(4)?;
        let (width, height): (u64, u64) = (number(reader)?.into(), number(reader)?.into());
        let encoding = i32::from_be_bytes(reader.take()?);
        let pixels = width * height;
        has_pixels |= [RAW, COPY, TIGHT].contains(&encoding) && pixels > 0;
        match encoding {
            RAW => reader.skip(pixels * PIXEL)?,
            COPY => reader.skip(4)?,
            TIGHT => tight(reader, width, height)?,
            DESKTOP_SIZE | QEMU_KEYS => {}
            LAST_RECTANGLE => break,
            CURSOR => reader.skip(pixels * PIXEL + width.div_ceil(8) * height)?,
            QEMU_LEDS => reader.skip(1)?,
            DESKTOP_NAME => {
                let name = length(reader)?;
                reader.skip(name)?;
            }
            EXTENDED_DESKTOP_SIZE => {
                let [screens, ..]: [u8; 4] = reader.take()?;
                reader.skip(u64::from(screens) * 16)?;
            }
            VMWARE_CURSOR => {
                let [kind, _] = reader.take()?;
                let of_each = if kind == 0 { 2 * PIXEL } else { PIXEL };
                reader.skip(pixels * of_each)?;
            }
            other => return Err(wrong(&format!("encoding {other}"))),
        }
        count -= 1;
    }
    Ok(Message::Update { has_pixels })
}

/// One rectangle ("Tight Encoding" of the RFB protocol's community version).
fn tight(reader: &mut Reader, width: u64, height: u64) -> io::Result<()> {
    const FILL: u8 = 8;
    const JPEG: u8 = 9;
    const PALETTE: u8 = 1;
    const GRADIENT: u8 = 2;
    const NAMES_FILTER: u8 = 4;
    /// What is shorter is not compressed.
    const LEAST: u64 = 12;
    let [control] = reader.take()?;
    let kind = control >> 4;
    match kind {
        FILL => return reader.skip(TIGHT_PIXEL),
        JPEG => return compressed(reader),
        0..FILL => {}
        other => return Err(wrong(&format!("Tight rectangle {other}"))),
    }
    let filter = if kind & NAMES_FILTER == 0 { 0 } else { reader.take::<1>()?[0] };
    let row = match filter {
        0 | GRADIENT => width * TIGHT_PIXEL,
        PALETTE => {
            let colors = u64::from(reader.take::<1>()?[0]) + 1;
            reader.skip(colors * TIGHT_PIXEL)?;
            if colors == 2 { width.div_ceil(8) } else { width }
        }
        other => return Err(wrong(&format!("Tight filter {other}"))),
    };
    if row * height < LEAST { reader.skip(row * height) } else { compressed(reader) }
}

/// Bytes behind their length, which takes one to three bytes: seven bits, seven and eight, the lowest first.
fn compressed(reader: &mut Reader) -> io::Result<()> {
    let mut length = 0;
    for shift in [0, 7, 14] {
        let [byte] = reader.take()?;
        let goes_on = shift < 14 && byte & 0x80 != 0;
        length |= u64::from(if goes_on { byte & 0x7f } else { byte }) << shift;
        if !goes_on {
            break;
        }
    }
    reader.skip(length)
}

fn number(reader: &mut Reader) -> io::Result<u16> {
    reader.take().map(u16::from_be_bytes)
}

fn length(reader: &mut Reader) -> io::Result<u64> {
    Ok(u32::from_be_bytes(reader.take()?).into())
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the desktop says what we don't know: {what}"))
}
