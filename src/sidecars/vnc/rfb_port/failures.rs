//! Who guesses passwords: after some wrong ones, an address is not asked for any more until a while has passed.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// So many wrong passwords of an address within [`MEMORY`] are borne.
pub const BORNE: usize = 5;
/// How long a wrong password is remembered.
pub const MEMORY: Duration = Duration::from_secs(60);
/// How many are remembered of everybody; of more, the oldest are forgotten.
const MOST: usize = 1024;

/// The wrong passwords of late. Connections that say nothing are none.
#[derive(Debug, Default)]
pub struct Failures(VecDeque<(Network, Instant)>);

/// Whoever has one address of an IPv6 network has all of them, so those count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network(IpAddr);

impl Network {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
            address @ IpAddr::V4(_) => address,
        })
    }
}

impl Failures {
    /// How long an address has to wait before it may try; zero if it may now.
    #[must_use]
    pub fn pause(&self, address: IpAddr, now: Instant) -> Duration {
        let network = Network::of(address);
        let of_network = self.0.iter().rev().filter(|(other, _)| *other == network).map(|(_, time)| *time);
        // The oldest that keeps it out: when that is forgotten, it may try again.
        of_network.take(BORNE).nth(BORNE - 1).map_or(Duration::ZERO, |oldest| (oldest + MEMORY).saturating_duration_since(now))
    }

    /// A wrong password came from an address.
    pub fn add(&mut self, address: IpAddr, now: Instant) {
        while self.0.front().is_some_and(|(_, time)| self.0.len() >= MOST || *time + MEMORY <= now) {
            self.0.pop_front();
        }
        self.0.push_back((Network::of(address), now));
    }

    /// A right password came from an address: what was wrong before was a mistake.
    pub fn forgive(&mut self, address: IpAddr) {
        let network = Network::of(address);
        self.0.retain(|(other, _)| *other != network);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_guesses_waits_and_others_do_not() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        let (guesser, other) = (address("10.0.0.1"), address("10.0.0.2"));
        for second in 0..5 {
            assert_eq!(failures.pause(guesser, start), Duration::ZERO, "{second}");
            failures.add(guesser, start + SECOND * second);
        }
        assert_eq!(failures.pause(guesser, start + SECOND * 10), SECOND * 50);
        assert_eq!(failures.pause(other, start + SECOND * 10), Duration::ZERO);
        assert_eq!(failures.pause(guesser, start + MEMORY), Duration::ZERO, "the first is forgotten");
        failures.add(guesser, start + MEMORY);
        assert_eq!(failures.pause(guesser, start + MEMORY), SECOND, "until the second is");
        failures.forgive(guesser);
        assert_eq!(failures.pause(guesser, start + MEMORY), Duration::ZERO);
    }

    #[test]
    fn a_network_of_ipv6_is_one_guesser_and_ipv4_in_the_clothes_of_ipv6_is_ipv4() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for (guess, same, other) in [("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"), ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2")] {
            for _ in 0..BORNE {
                failures.add(address(guess), now);
            }
            assert_eq!([same, other].map(|text| failures.pause(address(text), now)), [MEMORY, Duration::ZERO]);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for number in 0..10_000_u32 {
            failures.add(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(failures.0.len(), MOST);
        failures.add(address("10.0.0.1"), now + MEMORY);
        assert_eq!(failures.0.len(), 1);
    }
}
