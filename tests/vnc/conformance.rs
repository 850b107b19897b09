//! Framing, pings, reserved bits and opcodes, fragmentation and closing (RFC 6455, sections 5 and 7), each case as data, through the
//! bridge to a socket that echoes. The numbers are those of the groups that WebSocket servers are usually measured by.
//!
//! Messages come back as a stream of bytes, so how they are cut is not compared. Text is refused, so each case that is about
//! something else uses binary messages.

use tokio::{io::AsyncWriteExt, time::timeout};

use crate::{
    client::{BINARY, CLOSE, Client, LONG, PING, PONG},
    desk::echoing,
    masked::frame,
};

const FRAGMENT: u8 = 0x02;
const CONTINUED: u8 = 0x00;
const LAST: u8 = 0x80;

/// What is sent, and what must come back.
struct Case {
    name: &'static str,
    /// Frames, one write each.
    sent: Vec<Vec<u8>>,
    echoed: Vec<u8>,
    pongs: Vec<Vec<u8>>,
    /// The close code; 1005 is a close frame without one.
    close: u16,
}

/// A case that ends with the close frame among what is sent, or with a fault.
fn case(name: &'static str, sent: Vec<Vec<u8>>, close: u16) -> Case {
    Case { name, sent, echoed: Vec::new(), pongs: Vec::new(), close }
}

/// A case that ends well: the client closes when it has got all.
fn well(name: &'static str, sent: Vec<Vec<u8>>) -> Case {
    case(name, sent, 0)
}

impl Case {
    fn echoes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.echoed = bytes.as_ref().to_vec();
        self
    }

    fn pongs(mut self, payloads: &[&[u8]]) -> Self {
        self.pongs = payloads.iter().map(|payload| payload.to_vec()).collect();
        self
    }
}

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason].concat())
}

fn framing() -> Vec<Case> {
    let size = |name, length: usize| well(name, vec![frame(BINARY, &vec![0xfe; length])]).echoes(vec![0xfe; length]);
    let chopped = frame(BINARY, &vec![0xfe; 65536]).chunks(997).map(<[u8]>::to_vec).collect();
    vec![
        case("1.1.1 an empty text", vec![frame(0x81, b"")], 1003),
        case("1.1.2 a text", vec![frame(0x81, &[b'*'; 125])], 1003),
        size("1.2.1 an empty message", 0),
        size("1.2.2 125 bytes", 125),
        size("1.2.3 126 bytes", 126),
        size("1.2.4 127 bytes", 127),
        size("1.2.5 128 bytes", 128),
        size("1.2.6 65535 bytes", 65535),
        size("1.2.7 65536 bytes", 65536),
        well("1.2.8 65536 bytes in writes of 997", chopped).echoes(vec![0xfe; 65536]),
    ]
}

fn pings() -> Vec<Case> {
    let ten: Vec<Vec<u8>> = (0..10).map(|number| format!("payload-{number}").into_bytes()).collect();
    let ten_frames: Vec<Vec<u8>> = ten.iter().map(|payload| frame(PING, payload)).collect();
    let ten: Vec<&[u8]> = ten.iter().map(Vec::as_slice).collect();
    vec![
        well("2.1 a ping without payload", vec![frame(PING, b"")]).pongs(&[b""]),
        well("2.2 with text", vec![frame(PING, b"Hello, world!")]).pongs(&[b"Hello, world!"]),
        well("2.3 with bytes", vec![frame(PING, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff")]).pongs(&[b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"]),
        well("2.4 with 125 bytes", vec![frame(PING, &[0xfe; 125])]).pongs(&[&[0xfe; 125]]),
        case("2.5 with 126 bytes", vec![frame(PING, &[0xfe; 126])], 1002),
        well("2.6 with 125 bytes, one a write", frame(PING, &[0xfe; 125]).chunks(1).map(<[u8]>::to_vec).collect()).pongs(&[&[0xfe; 125]]),
        well("2.7 a pong that nobody asked for", vec![frame(PONG, b"")]),
        well("2.8 one with a payload", vec![frame(PONG, b"unsolicited")]),
        well("2.9 one, and a ping", vec![frame(PONG, b"unsolicited"), frame(PING, b"ping")]).pongs(&[b"ping"]),
        well("2.10 ten pings", ten_frames.clone()).pongs(&ten),
        well("2.11 ten pings in small writes", ten_frames.concat().chunks(3).map(<[u8]>::to_vec).collect()).pongs(&ten),
    ]
}

fn reserved_bits() -> Vec<Case> {
    let hello = || frame(BINARY, b"Hello, world!");
    let after = |name, first| case(name, vec![hello(), frame(first, b"Hello, world!"), frame(PING, b"")], 1002).echoes(b"Hello, world!");
    vec![
        case("3.1 RSV3 in the first message", vec![frame(BINARY | 0x10, b"Hello, world!")], 1002),
        after("3.2 RSV2 in the second", BINARY | 0x20),
        after("3.3 RSV2 and RSV3", BINARY | 0x30),
        after("3.4 RSV1", BINARY | 0x40),
        case("3.5 RSV1 and RSV3", vec![frame(BINARY | 0x50, b"\x00\xff\xfe")], 1002),
        case("3.6 RSV1 and RSV2 in a ping", vec![frame(PING | 0x60, b"Hello, world!")], 1002),
        case("3.7 all in a close frame", vec![frame(CLOSE | 0x70, b"\x03\xe8")], 1002),
    ]
}

fn opcodes() -> Vec<Case> {
    let hello = || frame(BINARY, b"Hello, world!");
    let alone = |name, opcode: u8, payload: &[u8]| case(name, vec![frame(0x80 | opcode, payload)], 1002);
    let after = |name, opcode: u8, payload: &[u8]| {
        case(name, vec![hello(), frame(0x80 | opcode, payload), frame(PING, b"")], 1002).echoes(b"Hello, world!")
    };
    vec![
        alone("4.1.1 opcode 3", 3, b""),
        alone("4.1.2 opcode 4 with a payload", 4, b"reserved opcode"),
        after("4.1.3 opcode 5 after a message", 5, b""),
        after("4.1.4 opcode 6 with a payload after a message", 6, b"reserved opcode"),
        after("4.1.5 opcode 7 with a payload after a message", 7, b"reserved opcode"),
        alone("4.2.1 opcode 11", 11, b""),
        alone("4.2.2 opcode 12 with a payload", 12, b"reserved opcode"),
        after("4.2.3 opcode 13 after a message", 13, b""),
        after("4.2.4 opcode 14 with a payload after a message", 14, b"reserved opcode"),
        after("4.2.5 opcode 15 with a payload after a message", 15, b"reserved opcode"),
    ]
}

fn fragmentation() -> Vec<Case> {
    let two = || vec![frame(FRAGMENT, b"fragment1"), frame(LAST, b"fragment2")];
    let with_ping = || vec![frame(FRAGMENT, b"fragment1"), frame(PING, b"ping payload"), frame(LAST, b"fragment2")];
    let joined = b"fragment1fragment2";
    let in_one = |sent: Vec<Vec<u8>>| vec![sent.concat()];
    let in_bytes = |sent: Vec<Vec<u8>>| sent.concat().chunks(1).map(<[u8]>::to_vec).collect();
    let nothing_to_continue = |first| vec![frame(first, b"non-continuation payload"), frame(BINARY, b"Hello, world!")];
    let many = || {
        let five =
            |last: u8| -> Vec<Vec<u8>> { vec![frame(CONTINUED, b"3"), frame(PING, b"ping 2"), frame(CONTINUED, b"4"), frame(last, b"5")] };
        [vec![frame(FRAGMENT, b"1"), frame(CONTINUED, b"2"), frame(PING, b"ping 1")], five(LAST)].concat()
    };
    vec![
        case("5.1 a ping in two fragments", vec![frame(0x09, b"fragment1"), frame(LAST, b"fragment2")], 1002),
        case("5.2 a pong in two fragments", vec![frame(0x0a, b"fragment1"), frame(LAST, b"fragment2")], 1002),
        well("5.3 a message in two fragments", two()).echoes(joined),
        well("5.4 in one write", in_one(two())).echoes(joined),
        well("5.5 a byte a write", in_bytes(two())).echoes(joined),
        well("5.6 a ping between two fragments", with_ping()).echoes(joined).pongs(&[b"ping payload"]),
        well("5.7 in one write", in_one(with_ping())).echoes(joined).pongs(&[b"ping payload"]),
        well("5.8 a byte a write", in_bytes(with_ping())).echoes(joined).pongs(&[b"ping payload"]),
        case("5.9 a last fragment of nothing", nothing_to_continue(LAST), 1002),
        case("5.10 in one write", in_one(nothing_to_continue(LAST)), 1002),
        case("5.11 a byte a write", in_bytes(nothing_to_continue(LAST)), 1002),
        case("5.12 a fragment of nothing", nothing_to_continue(CONTINUED), 1002),
        case("5.13 in one write", in_one(nothing_to_continue(CONTINUED)), 1002),
        case("5.14 a byte a write", in_bytes(nothing_to_continue(CONTINUED)), 1002),
        case(
            "5.15 a fragment after the last one",
            [two(), vec![frame(CONTINUED, b"fragment3"), frame(BINARY, b"fragment4")]].concat(),
            1002,
        )
        .echoes(joined),
        case("5.16 a fragment of nothing before a message", [vec![frame(CONTINUED, b"fragment1")], two()].concat(), 1002),
        case("5.17 a last fragment of nothing before a message", [vec![frame(LAST, b"fragment1")], two()].concat(), 1002),
        case("5.18 a message within a message", vec![frame(FRAGMENT, b"fragment1"), frame(BINARY, b"fragment2")], 1002)
            .echoes(b"fragment1"),
        well("5.19 five fragments with pings between them", many()).echoes(b"12345").pongs(&[b"ping 1", b"ping 2"]),
        well("5.20 a byte a write", in_bytes(many())).echoes(b"12345").pongs(&[b"ping 1", b"ping 2"]),
    ]
}

fn closing() -> Vec<Case> {
    let hello = || frame(BINARY, b"Hello World!");
    let large = vec![b'B'; 256 * 1024];
    let mut cases = vec![
        case("7.1.1 a message, then close", vec![hello(), close(1000, b"")], 1000).echoes(b"Hello World!"),
        case("7.1.2 two close frames", vec![close(1000, b""), close(1000, b"")], 1000),
        case("7.1.3 a ping after close", vec![close(1000, b""), frame(PING, b"")], 1000),
        case("7.1.4 a message after close", vec![close(1000, b""), hello()], 1000),
        case("7.1.5 a fragment, close, the last fragment", vec![frame(FRAGMENT, b"fragment1"), close(1000, b""), frame(LAST, b"x")], 1000)
            .echoes(b"fragment1"),
        case(
            "7.1.6 a long message, a short one, close, a ping",
            vec![frame(BINARY, &large), hello(), close(1000, b""), frame(PING, b"")],
            1000,
        )
        .echoes([&large[..], b"Hello World!"].concat()),
        case("7.3.1 close without a payload", vec![frame(CLOSE, b"")], 1005),
        case("7.3.2 close with half a code", vec![frame(CLOSE, b"a")], 1002),
        case("7.3.3 close with a code", vec![close(1000, b"")], 1000),
        case("7.3.4 close with a reason", vec![close(1000, b"Hello World!")], 1000),
        case("7.3.5 close with the longest reason", vec![close(1000, &[b'*'; 123])], 1000),
        case("7.3.6 close with a longer one", vec![close(1000, &[b'*'; 124])], 1002),
        case("7.5.1 close with a reason that is not UTF-8", vec![close(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80edited")], 1007),
    ];
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        cases.push(case("7.7 close with a valid code", vec![close(code, b"")], code));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999] {
        cases.push(case("7.9 close with an invalid code", vec![close(code, b"")], 1002));
    }
    for code in [5000, 65535] {
        cases.push(case("7.13 close with a code beyond all", vec![close(code, b"")], 1002));
    }
    cases
}

fn all() -> Vec<Case> {
    let limits = vec![
        case("9.1 a frame beyond the limit", vec![[&[BINARY, 0xff][..], &(1u64 << 40).to_be_bytes()].concat()], 1009),
        case("9.2 an unmasked frame", vec![vec![BINARY, 5, b'H', b'e', b'l', b'l', b'o']], 1002),
        case("9.3 a length in more bytes than it needs", vec![vec![BINARY, 0xfe, 0, 5]], 1002),
    ];
    [framing(), pings(), reserved_bits(), opcodes(), fragmentation(), closing(), limits].into_iter().flatten().collect()
}

/// Runs a case, and says what was wrong.
async fn run(case: &Case, address: std::net::SocketAddr, sent: &[Vec<u8>]) -> Result<(), String> {
    let mut client = Client::connect(address).await;
    for bytes in sent {
        // After a fault the server does not wait for the rest.
        if timeout(LONG, client.stream.write_all(bytes)).await.map_err(|_| "nothing is taken")?.is_err() {
            break;
        }
    }
    let (mut echoed, mut pongs, mut closes) = (Vec::new(), Vec::new(), false);
    let code = loop {
        if case.close == 0 && !closes && echoed.len() == case.echoed.len() && pongs.len() == case.pongs.len() {
            client.send(CLOSE, &1000u16.to_be_bytes()).await;
            closes = true;
        }
        match client.receive().await {
            Some((BINARY, payload)) => echoed.extend(payload),
            Some((PONG, payload)) => pongs.push(payload),
            Some((CLOSE, payload)) => break payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code)),
            other => return Err(format!("{other:?} came")),
        }
    };
    let expected = if case.close == 0 { 1000 } else { case.close };
    // A fault ends all at once, whether the echo of what came before has come back or not.
    let is_fault = matches!(expected, 1002 | 1003 | 1007 | 1009) && !case.sent.contains(&close(expected, b""));
    let is_echoed = if is_fault { case.echoed.starts_with(&echoed) } else { echoed == case.echoed };
    if !is_echoed || pongs != case.pongs || code != expected {
        return Err(format!("{} bytes, {} pongs, code {code} instead of {expected}", echoed.len(), pongs.len()));
    }
    match client.receive().await {
        None => Ok(()),
        after => Err(format!("{after:?} came after the close frame")),
    }
}

#[tokio::test]
async fn b8_each_case_of_the_usual_groups_passes() {
    let (bridge, _echo) = echoing(|_| {}).await;
    let mut failed = Vec::new();
    for case in all() {
        if let Err(wrong) = run(&case, bridge.address, &case.sent).await {
            failed.push(format!("{}: {wrong}", case.name));
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[tokio::test]
async fn b8_each_case_passes_byte_by_byte() {
    let (bridge, _echo) = echoing(|_| {}).await;
    let mut failed = Vec::new();
    // A quarter of a million writes tell nothing that 65536 don't.
    for case in all().into_iter().filter(|case| case.sent.iter().map(Vec::len).sum::<usize>() < 70_000) {
        let bytes: Vec<Vec<u8>> = case.sent.concat().chunks(1).map(<[u8]>::to_vec).collect();
        if let Err(wrong) = run(&case, bridge.address, &bytes).await {
            failed.push(format!("{}: {wrong}", case.name));
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}
