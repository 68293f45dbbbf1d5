//! Hexadecimal floating-point literals, as C's `%a` writes them.

use std::fmt::Write as _;

/// Bits of an f64 fraction.
const FRACTION_BITS: u32 = 52;
/// Bias of an f64 exponent.
const BIAS: i64 = 1023;

/// Appends `value` with one digit before the point and no trailing zeros, such as `-0x1.8p-4`.
pub(super) fn write(value: f64, text: &mut String) {
    if value.is_nan() {
        text.push_str("nan");
        return;
    }
    if value.is_sign_negative() {
        text.push('-');
    }
    if value.is_infinite() {
        text.push_str("inf");
        return;
    }
    if value == 0.0 {
        text.push_str("0x0p+0");
        return;
    }
    let bits = value.abs().to_bits();
    let mut fraction = bits & ((1 << FRACTION_BITS) - 1);
    let mut exponent = i64::try_from(bits >> FRACTION_BITS).unwrap_or(0) - BIAS;
    if exponent == -BIAS {
        // Subnormal: shift the first one bit into the place of the implied one.
        let shift = fraction.leading_zeros() - (u64::BITS - FRACTION_BITS - 1);
        fraction = (fraction << shift) & ((1 << FRACTION_BITS) - 1);
        exponent = 1 - BIAS - i64::from(shift);
    }
    text.push_str("0x1");
    if fraction != 0 {
        let digits = format!("{fraction:013x}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "p{exponent:+}");
}

/// Reads a hexadecimal or decimal literal, an infinity or a nan.
pub(super) fn read(text: &str) -> Option<f64> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let value = match magnitude.strip_prefix("0x").or_else(|| magnitude.strip_prefix("0X")) {
        Some(hex) => read_hex(hex)?,
        None if magnitude == "nan" || magnitude == "inf" => magnitude.parse().ok()?,
        None if magnitude.starts_with(|c: char| c.is_ascii_digit()) => magnitude.parse().ok()?,
        None => return None,
    };
    Some(if negative { -value } else { value })
}

fn read_hex(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = whole.len() + fraction.len();
    // Sixteen digits fill 64 bits; no f64 needs more than fourteen.
    if digits == 0 || digits > 16 || whole.is_empty() {
        return None;
    }
    let integer = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()?;
    let scale = exponent.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?;
    #[expect(clippy::cast_precision_loss, reason = "digits beyond 53 bits are rounded once, here")]
    let value = integer as f64;
    Some(scale_by_power_of_two(value, scale))
}

/// `value * 2^exponent`, in steps that are exact until the last.
fn scale_by_power_of_two(mut value: f64, mut exponent: i32) -> f64 {
    const STEP: i32 = 1000;
    // A zero would stay one for as many steps as a short literal can ask for.
    while exponent > STEP && value.is_normal() {
        value *= 2_f64.powi(STEP);
        exponent -= STEP;
    }
    // Going down, a step that leaves the normal range would round twice; one below it loses nothing.
    while exponent < -STEP && value >= 2_f64.powi(-20) {
        value *= 2_f64.powi(-STEP);
        exponent += STEP;
    }
    value * 2_f64.powi(exponent.clamp(-1074, 1023))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: f64) -> String {
        let mut text = String::new();
        write(value, &mut text);
        text
    }

    #[test]
    fn literals_are_those_of_compiled_models() {
        for (value, text) in [
            (1.0, "0x1p+0"),
            (-1.0, "-0x1p+0"),
            (0.0, "0x0p+0"),
            (-0.0, "-0x0p+0"),
            (2_f64.powi(-24), "0x1p-24"),
            (0.099_975_585_937_5, "0x1.998p-4"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (5e-324, "0x1p-1074"),
        ] {
            assert_eq!(written(value), text);
            assert_eq!(read(text).map(f64::to_bits), Some(value.to_bits()), "{text}");
        }
        assert!(read("nan").is_some_and(f64::is_nan));
    }

    #[test]
    fn other_spellings_are_read_and_nonsense_is_not() {
        assert_eq!(read("0.5"), Some(0.5));
        assert_eq!(read("1e-3"), Some(1e-3));
        assert_eq!(read("0x18p-4"), Some(1.5));
        for wrong in ["", "-", "0x", "0xp1", "0x1.8", "infinity", "0x1p99999999999", "--1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read("0x1p999999"), Some(f64::INFINITY));
        assert_eq!(read("0x1p-999999"), Some(0.0));
        assert_eq!(read("0x0p2147483647"), Some(0.0));
    }
}
