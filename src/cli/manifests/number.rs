//! Decimal numbers, kept digit by digit.
//!
//! A float has one spelling here, `1.0e+3`, because it is the one that JSON, YAML 1.2 and every YAML 1.1 library read as
//! a number: the YAML 1.1 specification wants both the point and the exponent's sign.

use std::fmt;

/// A JSON number of any precision, in canonical spelling: an integer as `-?(0|[1-9][0-9]*)`, anything else with a
/// point and, if it has an exponent, a signed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number(String);

impl Number {
    /// Reads `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, which holds JSON's numbers and YAML's decimal ones.
    ///
    /// `None` for any other text and for a number beyond the range of a 64-bit float: no Kubernetes program reads those.
    #[must_use]
    pub fn from_decimal(text: &str) -> Option<Self> {
        let parts = Parts::split(text)?;
        text.parse::<f64>().ok().filter(|value| value.is_finite())?;
        Some(parts.canonical())
    }

    /// The canonical spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is written without a fraction and without an exponent.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        !self.0.contains('.')
    }

    /// The value, if it is an integer of 64 bits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// Whether both have the same value, however they are spelled: `1`, `1.0` and `10.0e-1` do.
    #[must_use]
    pub fn same_value(&self, other: &Self) -> bool {
        self == other || Magnitude::of(&self.0) == Magnitude::of(&other.0)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self(value.to_string())
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self(value.to_string())
    }
}

/// A decimal number cut at its point and exponent.
struct Parts<'text> {
    negative: bool,
    whole: &'text str,
    fraction: Option<&'text str>,
    exponent: Option<(bool, &'text str)>,
}

impl<'text> Parts<'text> {
    fn split(text: &'text str) -> Option<Self> {
        let (negative, unsigned) = split_sign(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(split_sign(exponent))),
            None => (unsigned, None),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let mantissa_is_digits = all_digits(whole) && all_digits(fraction.unwrap_or_default());
        let mantissa_has_digits = !whole.is_empty() || fraction.is_some_and(|digits| !digits.is_empty());
        let exponent_is_digits = exponent.is_none_or(|(_, digits)| !digits.is_empty() && all_digits(digits));
        (mantissa_is_digits && mantissa_has_digits && exponent_is_digits).then_some(Self { negative, whole, fraction, exponent })
    }

    fn canonical(&self) -> Number {
        let whole = without_leading_zeros(self.whole);
        if self.fraction.is_none() && self.exponent.is_none() {
            // An integer has one zero; only floats know a negative one.
            let sign = if self.negative && whole != "0" { "-" } else { "" };
            return Number(format!("{sign}{whole}"));
        }
        let sign = if self.negative { "-" } else { "" };
        let fraction = self.fraction.filter(|digits| !digits.is_empty()).unwrap_or("0");
        let exponent = self.exponent.map_or_else(String::new, |(negative, digits)| {
            format!("e{}{}", if negative { '-' } else { '+' }, without_leading_zeros(digits))
        });
        Number(format!("{sign}{whole}.{fraction}{exponent}"))
    }
}

/// A value as its significant digits and the power of ten of the last one, so that equal values are equal structs.
#[derive(PartialEq, Eq)]
struct Magnitude {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Magnitude {
    fn of(text: &str) -> Option<Self> {
        let parts = Parts::split(text)?;
        let fraction = parts.fraction.unwrap_or_default();
        let all = format!("{}{fraction}", parts.whole);
        let significant = all.trim_start_matches('0');
        let digits = significant.trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { negative: false, digits: String::new(), exponent: 0 });
        }
        let written = parts.exponent.map_or(0, |(negative, digits)| signed_exponent(negative, digits));
        let trimmed = i64::try_from(significant.len() - digits.len()).ok()?;
        let exponent = written.saturating_add(trimmed).saturating_sub(i64::try_from(fraction.len()).ok()?);
        Some(Self { negative: parts.negative, digits: digits.to_owned(), exponent })
    }
}

/// Exponents past 64 bits only occur on zeros and on values that no float tells from zero.
fn signed_exponent(negative: bool, digits: &str) -> i64 {
    let size = digits.parse().unwrap_or(i64::MAX);
    if negative { -size } else { size }
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn without_leading_zeros(digits: &str) -> &str {
    match digits.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_one_spelling() {
        let table = [
            ("0", "0"),
            ("-0", "0"),
            ("+7", "7"),
            ("007", "7"),
            ("-12", "-12"),
            ("1.50", "1.50"),
            (".5", "0.5"),
            ("1.", "1.0"),
            ("-0.0", "-0.0"),
            ("1e3", "1.0e+3"),
            ("1.5E-07", "1.5e-7"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
        ];
        for (written, canonical) in table {
            let number = Number::from_decimal(written).expect(written);
            assert_eq!(number.as_str(), canonical);
            assert_eq!(Number::from_decimal(number.as_str()), Some(number), "{canonical} is stable");
        }
    }

    #[test]
    fn what_is_no_decimal_number_is_refused() {
        for text in ["", "-", ".", "e1", "1e", "1e+", "1.2.3", "0x1", "1_0", "inf", "nan", "--1", "1e999", &"9".repeat(400)] {
            assert_eq!(Number::from_decimal(text), None, "{text}");
        }
    }

    #[test]
    fn equal_values_are_recognised_exactly() {
        let same = |left: &str, right: &str| Number::from_decimal(left).expect(left).same_value(&Number::from_decimal(right).expect(right));
        assert!(same("1", "1.0"));
        assert!(same("100", "1e2"));
        assert!(same("0.00", "-0"));
        assert!(same("10e-1", "1"));
        assert!(!same("9007199254740993", "9007199254740992.0"));
        assert!(!same("1", "-1"));
        assert!(!same("1e-5", "1e-6"));
    }
}
