//! Durations as Kubernetes writes them (`90s`, `1h30m`): the grammar of Go's `time.ParseDuration`, without signs.

use std::time::Duration;

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A number or its unit is missing, or the unit is unknown.
    #[error("a duration is numbers with units h, m, s or ms, such as 90s, 15m or 1h30m")]
    Malformed,
    /// More than the 292 years that Kubernetes can hold.
    #[error("the duration is too long")]
    TooLong,
    /// Less than what it is for can bear.
    #[error("the duration is too short: give it at least {shortest:?}")]
    TooShort {
        /// The least it can be.
        shortest: Duration,
    },
}

/// Reads a duration. `0` needs no unit; there are no negative durations.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(DurationError::Malformed);
    }
    let mut rest = text;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (part, after) = parse_part(rest)?;
        nanos = nanos.checked_add(part).ok_or(DurationError::TooLong)?;
        rest = after;
    }
    // The limit is Go's: nanoseconds in a signed 64-bit number.
    let nanos = u64::try_from(nanos).ok().filter(|n| i64::try_from(*n).is_ok()).ok_or(DurationError::TooLong)?;
    Ok(Duration::from_nanos(nanos))
}

/// Reads a duration, or a number of seconds, as variables of older programs have it.
pub fn parse_or_seconds(text: &str) -> Result<Duration, DurationError> {
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
        Err(_) => parse(text),
    }
}

/// Reads a duration that must not be shorter than this.
pub fn at_least(shortest: Duration) -> impl Fn(&str) -> Result<Duration, DurationError> + Clone + Send + Sync + 'static {
    move |text| parse(text).and_then(|duration| if duration < shortest { Err(DurationError::TooShort { shortest }) } else { Ok(duration) })
}

/// One number with its unit, in nanoseconds, and the text after it.
fn parse_part(text: &str) -> Result<(u128, &str), DurationError> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(DurationError::Malformed)?;
    let (number, rest) = text.split_at(number_end);
    let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, after) = rest.split_at(unit_end);
    let unit_nanos: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(DurationError::Malformed),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return Err(DurationError::Malformed);
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| DurationError::TooLong)? };
    // A nanosecond is the finest step, so more than 15 digits of hours can't matter.
    let fraction = fraction.get(..15).unwrap_or(fraction);
    let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(15));
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| DurationError::Malformed)? };
    let nanos = whole.checked_mul(unit_nanos).ok_or(DurationError::TooLong)? + fraction * unit_nanos / scale;
    Ok((nanos, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, millis) in [
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1500),
            ("250ms", 250),
            ("0", 0),
            ("0s", 0),
            (".5m", 30_000),
            ("1h0.5s", 3_600_500),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn bare_numbers_are_seconds_where_they_are_allowed() {
        assert_eq!(parse_or_seconds("15"), Ok(Duration::from_secs(15)));
        assert_eq!(parse_or_seconds("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(parse_or_seconds("-1"), Err(DurationError::Malformed));
    }

    #[test]
    fn refuses_what_is_too_short_for_its_purpose() {
        let read = at_least(Duration::from_secs(1));
        assert_eq!(read("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(read("999ms").unwrap_err().to_string(), "the duration is too short: give it at least 1s");
        assert_eq!(read("soon"), Err(DurationError::Malformed));
    }

    #[test]
    fn refuses_what_go_refuses_and_negative_ones() {
        for text in ["", "5", "5 m", "m", "1d", "-5s", "1.2.3s", ".s", "5mm"] {
            assert_eq!(parse(text), Err(DurationError::Malformed), "{text}");
        }
        assert_eq!(parse("9999999h"), Err(DurationError::TooLong));
        assert_eq!(parse(&format!("{}h", "9".repeat(60))), Err(DurationError::TooLong));
    }
}
