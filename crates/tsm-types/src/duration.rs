//! Durations as Go writes them, which is how our users' files and calls have them: `10s`, `1m30s`,
//! `1.5h`.

use std::time::Duration;

/// Reads a duration: one or more decimal numbers, each with a unit (`ns`, `us`, `ms`, `s`, `m`,
/// `h`). `None` if it is not one, is negative, or does not fit.
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        total = total.checked_add(nanoseconds(number, unit)?)?;
        rest = next;
    }
    Some(Duration::from_nanos(total))
}

fn nanoseconds(number: &str, unit: &str) -> Option<u64> {
    let unit: u64 = match unit {
        "ns" => 1,
        // Go accepts the micro sign and the Greek letter.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3600 * 1_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanoseconds = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        nanoseconds = nanoseconds.checked_add(u64::from(digit - b'0') * place)?;
    }
    Some(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("5m", 300_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s", 1_000),
            ("250ms", 250),
            ("1000us", 1),
            ("1000\u{b5}s", 1),
            ("1h1m1s1ms", 3_661_001),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            " ",
            "5",
            "s",
            ".s",
            "5 s",
            "-5s",
            "+5s",
            "1d",
            "1..5s",
            "5sm",
            "99999999999999999999s",
            "5124096h",
            "10s5",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
