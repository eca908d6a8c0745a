//! Absolute times as Go writes them: RFC 3339 in UTC with nanoseconds.
//!
//! Owns:       nothing.
//! Uses:       `std`.
//! Never:      the present; every function is a pure conversion.
//! Invariants: `parse(format(t)) == t` for every `i64`.
//! Source:     Go `time.RFC3339Nano`; api-v2.md 1.6, 1.12.

use std::fmt::Write as _;

const SECOND: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01 in the proleptic Gregorian calendar.
const EPOCH_DAYS: i64 = 719_468;
/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;

/// Go's zero time, which stands for "no expiration" in snapshots.
pub const GO_ZERO: &str = "0001-01-01T00:00:00Z";

/// Seconds until `expiration`, rounded up; may be zero or negative once it is past. A distance
/// beyond `i64` nanoseconds counts as the largest, as in Go.
#[must_use]
pub fn ttl_seconds(expiration: i64, now: i64) -> i64 {
    let left = expiration.saturating_sub(now);
    left / SECOND + i64::from(left % SECOND > 0)
}

/// Formats unix nanoseconds; trailing zeros of the fraction are left out.
#[must_use]
pub fn format(unix_ns: i64) -> String {
    let seconds = unix_ns.div_euclid(SECOND);
    let nanos = unix_ns.rem_euclid(SECOND);
    let (year, month, day) = civil(seconds.div_euclid(DAY_SECONDS));
    let clock = seconds.rem_euclid(DAY_SECONDS);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let mut out = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if nanos != 0 {
        write!(out, ".{nanos:09}").expect("writing to a String cannot fail");
        out.truncate(out.trim_end_matches('0').len());
    }
    out.push('Z');
    out
}

/// Reads an RFC 3339 time with any offset into unix nanoseconds. `None` when it is malformed or
/// outside what `i64` nanoseconds can hold (years 1677 to 2262).
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, byte)| bytes.get(*at) != Some(byte)) {
        return None;
    }
    let days = days_from_civil(
        number(bytes.get(0..4)?)?,
        in_range(number(bytes.get(5..7)?)?, 1, 12)?,
        in_range(number(bytes.get(8..10)?)?, 1, 31)?,
    );
    let hour = in_range(number(bytes.get(11..13)?)?, 0, 23)?;
    let minute = in_range(number(bytes.get(14..16)?)?, 0, 59)?;
    let second = in_range(number(bytes.get(17..19)?)?, 0, 59)?;
    let (nanos, zone) = fraction(bytes.get(19..)?)?;
    let seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset_seconds(zone)?;
    let total = i128::from(seconds) * i128::from(SECOND) + i128::from(nanos);
    i64::try_from(total).ok()
}

/// Splits `.123Z` into nanoseconds and zone.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, zone) = digits.split_at(length);
    if digits.is_empty() {
        return None;
    }
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    Some((padded.fold(0, |value, digit| value * 10 + i64::from(digit - b'0')), zone))
}

fn offset_seconds(zone: &[u8]) -> Option<i64> {
    if zone == b"Z" {
        return Some(0);
    }
    let sign = match zone.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    if zone.len() != 6 || zone[3] != b':' {
        return None;
    }
    let hours = in_range(number(&zone[1..3])?, 0, 23)?;
    let minutes = in_range(number(&zone[4..6])?, 0, 59)?;
    Some(sign * (hours * 3600 + minutes * 60))
}

fn number(digits: &[u8]) -> Option<i64> {
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    all_digits.then(|| digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}

fn in_range(value: i64, min: i64, max: i64) -> Option<i64> {
    (min..=max).contains(&value).then_some(value)
}

/// Year, month and day of a day counted from 1970-01-01. Years begin in March inside, so that the
/// leap day is the last one.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + EPOCH_DAYS;
    let era = shifted.div_euclid(ERA_DAYS);
    let day_of_era = shifted.rem_euclid(ERA_DAYS);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * ERA_DAYS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - EPOCH_DAYS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_does() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (1, "1970-01-01T00:00:00.000000001Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (951_782_400 * SECOND, "2000-02-29T00:00:00Z"),
            (1_795_327_346_640_627_100, "2026-11-22T06:02:26.6406271Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
        ];
        for (unix_ns, text) in cases {
            assert_eq!(format(unix_ns), text);
            assert_eq!(parse(text), Some(unix_ns), "{text}");
        }
    }

    #[test]
    fn offsets_are_understood_and_nonsense_is_not() {
        let noon = parse("2026-11-22T12:00:00Z");
        assert!(noon.is_some());
        assert_eq!(parse("2026-11-22T13:30:00+01:30"), noon);
        assert_eq!(parse("2026-11-22T04:00:00.000-08:00"), noon);
        let bad = [
            "",
            "2026",
            GO_ZERO,
            "2026-11-22 12:00:00Z",
            "2026-13-22T12:00:00Z",
            "2026-11-22T12:00:00",
            "2026-11-22T12:00:00.Z",
            "2026-11-22T12:00:00+1:00",
            "2026-11-22T24:00:00Z",
            "9999-01-01T00:00:00Z",
            "20x6-11-22T12:00:00Z",
        ];
        for text in bad {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn ttl_rounds_up() {
        let cases = [
            (100 * SECOND, 0, 100),
            (100 * SECOND, 1, 100),
            (100 * SECOND, SECOND, 99),
            (5, 5, 0),
            (0, SECOND / 2, 0),
            (0, SECOND, -1),
            (0, SECOND * 3 / 2, -1),
            (i64::MAX, i64::MIN, 9_223_372_037),
            (i64::MIN, i64::MAX, -9_223_372_036),
        ];
        for (expiration, now, expected) in cases {
            assert_eq!(ttl_seconds(expiration, now), expected, "{expiration} {now}");
        }
    }
}
