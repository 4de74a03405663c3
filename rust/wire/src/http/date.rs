//! Times as HTTP says them (RFC 9110 section 5.6.7).

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Appends an IMF-fixdate, as in `Sun, 06 Nov 1994 08:49:37 GMT`. `wall_ms` counts from 1970; years
/// have four digits.
pub(crate) fn put_date(out: &mut Vec<u8>, wall_ms: u64) {
    let seconds = wall_ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    out.extend_from_slice(name(&DAYS, days % 7));
    out.extend_from_slice(b", ");
    two_digits(out, day);
    out.push(b' ');
    out.extend_from_slice(name(&MONTHS, month));
    out.push(b' ');
    two_digits(out, year / 100);
    two_digits(out, year % 100);
    out.push(b' ');
    two_digits(out, second / 3600);
    out.push(b':');
    two_digits(out, second / 60 % 60);
    out.push(b':');
    two_digits(out, second % 60);
    out.extend_from_slice(b" GMT");
}

fn name(names: &[&'static [u8; 3]], at: u64) -> &'static [u8] {
    names
        .get(usize::try_from(at).unwrap_or(0))
        .map_or(&[], |name| &name[..])
}

fn two_digits(out: &mut Vec<u8>, value: u64) {
    let digit = |value: u64| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[digit(value / 10), digit(value)]);
}

/// Year, month from 0 and day from 1 of a day since 1970. Years begin in March here, so that a leap
/// day is the last one of a year; 400 of them are one period of the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    const PERIOD_DAYS: u64 = 146_097;
    // From 1 March 0000 to 1 January 1970.
    let days = days + 719_468;
    let day = days % PERIOD_DAYS;
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let year = year + 400 * (days / PERIOD_DAYS);
    // March is 0; January and February are of the next year.
    if month < 10 {
        (year, month + 2, day_of_month)
    } else {
        (year + 1, month - 10, day_of_month)
    }
}

#[cfg(test)]
mod tests {
    use super::put_date;

    fn date(seconds: u64) -> String {
        let mut out = Vec::new();
        put_date(&mut out, seconds * 1000 + 999);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn rfc_9110_section_5_6_7_the_rfcs_time_is_said_as_there() {
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn leap_days_and_ends_of_years_are_right() {
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(date(951_868_800), "Wed, 01 Mar 2000 00:00:00 GMT");
        assert_eq!(date(1_735_689_599), "Tue, 31 Dec 2024 23:59:59 GMT");
        assert_eq!(date(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
    }
}
