//! Kubernetes quantities (`500m`, `1.5Gi`, `2e3`), as the `resource.Quantity` documentation defines them.

use std::{cmp::Ordering, fmt, str::FromStr};

/// An amount as Kubernetes writes it: the user's own text, comparable by value.
#[derive(Debug, Clone)]
pub struct Quantity {
    text: String,
    /// The value in billionths, rounded up: the finest step Kubernetes keeps.
    nano: i128,
}

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// There is no digit to read.
    #[error("a quantity needs a number, such as 500m, 2 or 1.5Gi")]
    NoNumber,
    /// The part after the number is no known suffix.
    #[error("`{0}` is not a suffix; use one of n u m k M G T P E, Ki Mi Gi Ti Pi Ei, or an exponent such as e3")]
    UnknownSuffix(String),
    /// The value is beyond what Kubernetes stores (2^63 - 1).
    #[error("the value is too large")]
    TooLarge,
}

const NANO: i128 = 1_000_000_000;

impl Quantity {
    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the value is below zero: legal for Kubernetes, never for a resource.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.nano < 0
    }

    /// Whether the value is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (negative, unsigned) = match text.strip_prefix(['+', '-']) {
            Some(rest) => (text.starts_with('-'), rest),
            None => (false, text),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError::NoNumber);
        }
        let nano = scale(whole, fraction, suffix)?;
        Ok(Self { text: text.to_owned(), nano: if negative { -nano } else { nano } })
    }
}

/// `whole.fraction` times the suffix, in billionths, rounded up.
fn scale(whole: &str, fraction: &str, suffix: &str) -> Result<i128, QuantityError> {
    let (multiplier, divisor) = suffix_factor(suffix)?;
    // Digits beyond the eighteenth of a fraction are below what any suffix can lift to a billionth.
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let digits: i128 = [whole, fraction].concat().parse().map_err(|_| QuantityError::TooLarge)?;
    let fraction_scale = 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(18));
    let numerator = digits.checked_mul(multiplier).and_then(|n| n.checked_mul(NANO)).ok_or(QuantityError::TooLarge)?;
    let denominator = divisor.checked_mul(fraction_scale).ok_or(QuantityError::TooLarge)?;
    let nano = numerator / denominator + i128::from(numerator % denominator != 0);
    if nano > i128::from(i64::MAX) * NANO { Err(QuantityError::TooLarge) } else { Ok(nano) }
}

/// Numerator and denominator of a suffix.
fn suffix_factor(suffix: &str) -> Result<(i128, i128), QuantityError> {
    let factor = match suffix {
        "" => (1, 1),
        "n" => (1, NANO),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (NANO, 1),
        "T" => (NANO * 1000, 1),
        "P" => (NANO * 1_000_000, 1),
        "E" => (NANO * NANO, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return exponent_factor(suffix),
    };
    Ok(factor)
}

/// The factor of `e3` or `E-6`.
fn exponent_factor(suffix: &str) -> Result<(i128, i128), QuantityError> {
    let unknown = || QuantityError::UnknownSuffix(suffix.to_owned());
    let exponent: i32 = suffix.strip_prefix(['e', 'E']).and_then(|e| e.parse().ok()).ok_or_else(unknown)?;
    if exponent > 18 {
        return Err(QuantityError::TooLarge);
    }
    // Below a billionth everything rounds to the same step.
    let power = 10_i128.pow(exponent.unsigned_abs().min(18));
    Ok(if exponent < 0 { (1, power) } else { (power, 1) })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn equal_amounts_in_other_words_are_equal() {
        for (a, b) in [("1", "1000m"), ("1Ki", "1024"), ("1.5Gi", "1536Mi"), ("2e3", "2k"), ("1E", "1e18"), (".5", "500m"), ("5.", "5")] {
            assert_eq!(quantity(a), quantity(b), "{a} and {b}");
        }
    }

    #[test]
    fn amounts_are_ordered_by_value_not_text() {
        assert!(quantity("900Mi") < quantity("1Gi"));
        assert!(quantity("2") > quantity("1500m"));
        assert!(quantity("-1").is_negative());
        assert!(quantity("0.0000000001") > quantity("0"), "what is below a billionth rounds up");
    }

    #[test]
    fn what_is_not_a_quantity_says_why() {
        assert_eq!("".parse::<Quantity>(), Err(QuantityError::NoNumber));
        assert_eq!("1.2.3".parse::<Quantity>(), Err(QuantityError::NoNumber));
        assert_eq!("1GB".parse::<Quantity>(), Err(QuantityError::UnknownSuffix("GB".into())));
        assert_eq!("12 Mi".parse::<Quantity>(), Err(QuantityError::UnknownSuffix(" Mi".into())));
        assert_eq!("1e".parse::<Quantity>(), Err(QuantityError::UnknownSuffix("e".into())));
        assert_eq!("16Ei".parse::<Quantity>(), Err(QuantityError::TooLarge));
        assert_eq!("1e400".parse::<Quantity>(), Err(QuantityError::TooLarge));
        assert_eq!("9".repeat(400).parse::<Quantity>(), Err(QuantityError::TooLarge));
    }
}
