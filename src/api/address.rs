//! IP addresses and blocks of them, as the CEL library of Kubernetes reads them (`isIP`, `isCIDR`).

use std::net::IpAddr;

/// An address; none for other text, and for IPv4 addresses dressed up as IPv6, which Kubernetes refuses.
pub(crate) fn parse(text: &str) -> Option<IpAddr> {
    let address = text.parse().ok()?;
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => None,
        _ => Some(address),
    }
}

/// Whether a text is an address with the number of its leading bits, such as `10.0.0.0/8`.
pub(crate) fn is_block(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Some(address) = parse(address) else { return false };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let is_plain_number = bits.chars().all(|c| c.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    is_plain_number && bits.parse::<u8>().is_ok_and(|bits| bits <= longest)
}
