//! Somebody who comes over RFB with a password, as guacd does.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use outrigger::sidecars::vnc::rfb::vnc_auth::{CHALLENGE, Password};

const DEADLINE: Duration = Duration::from_secs(60);

/// Whether a password lets somebody in (RFC 6143, section 7.2.2).
pub(crate) fn logs_in(address: SocketAddr, password: &str) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut banner, mut types, mut challenge, mut result) = ([0; 12], [0; 2], [0; CHALLENGE], [0; 4]);
    stream.read_exact(&mut banner).unwrap();
    stream.write_all(&banner).unwrap();
    stream.read_exact(&mut types).unwrap();
    assert_eq!(types, [1, 2], "a password is asked for");
    stream.write_all(&[2]).unwrap();
    stream.read_exact(&mut challenge).unwrap();
    stream.write_all(&Password::new(password.as_bytes()).unwrap().respond(&challenge)).unwrap();
    stream.read_exact(&mut result).unwrap();
    result == [0; 4]
}
