//! Durations as Go writes them: `300ms`, `1h30m`, `1.5s`, `-2us`, `0`.

/// Parses a Go duration into nanoseconds; `None` when it is not one or leaves 64 bits.
#[must_use]
pub(crate) fn parse_nanos(text: &str) -> Option<i64> {
    let (is_negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    let mut rest = rest;
    while !rest.is_empty() {
        let (nanos, after) = parse_term(rest)?;
        total = total.checked_add(nanos)?;
        rest = after;
    }
    i64::try_from(if is_negative { -total } else { total }).ok()
}

/// One number with its unit, and what stands behind it.
fn parse_term(text: &str) -> Option<(i128, &str)> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(number_end);
    let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, after) = rest.split_at(unit_end);
    let unit_nanos: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Digits past the fifteenth are below a nanosecond even of an hour.
    let fraction = &fraction[..fraction.len().min(15)];
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let nanos = whole.checked_mul(unit_nanos)?.checked_add(part * unit_nanos / scale)?;
    Some((nanos, after))
}

#[cfg(test)]
mod tests {
    use super::parse_nanos;

    #[test]
    fn durations_follow_gos_syntax() {
        let cases = [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("300ms", Some(300_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            (".5s", Some(500_000_000)),
            ("-2us", Some(-2_000)),
            ("1m0s", Some(60_000_000_000)),
            ("1.00000000000000000001h", Some(3_600_000_000_000)),
            ("3", None),
            ("", None),
            ("-", None),
            ("s", None),
            (".s", None),
            ("1x", None),
            ("1.2.3s", None),
            ("99999999999999h", None),
            ("99999999999999999999999999999999999999999h", None),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse_nanos(text), nanos, "{text:?}");
        }
    }
}
