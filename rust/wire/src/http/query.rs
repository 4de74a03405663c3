//! The query of a request's target, as forms and browsers write it.

use std::borrow::Cow;

use super::framing::Refusal;

/// The value of the parameter `name` in `query`, decoded; none: empty. Of several, the first.
///
/// # Errors
/// It is not percent-encoded UTF-8.
pub fn query_value<'a>(query: &'a str, name: &str) -> Result<Cow<'a, str>, Refusal> {
    for parameter in query.split('&') {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if key == name {
            return decode(value);
        }
    }
    Ok(Cow::Borrowed(""))
}

fn decode(value: &str) -> Result<Cow<'_, str>, Refusal> {
    const MALFORMED: Refusal = Refusal::new(400, "the query is not percent-encoded UTF-8");
    if !value.contains(['%', '+']) {
        return Ok(Cow::Borrowed(value));
    }
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = digit().zip(digit()).ok_or(MALFORMED)?;
                (high << 4 | low) as u8
            }
            other => other,
        });
    }
    String::from_utf8(out)
        .map(Cow::Owned)
        .map_err(|_| MALFORMED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_and_decoded() {
        let value = |name| query_value("a=1&device=web%2D7f+%C3%BC&flag&a=2", name);
        assert_eq!(value("a").as_deref(), Ok("1"));
        assert_eq!(value("device").as_deref(), Ok("web-7f ü"));
        assert_eq!(value("flag").as_deref(), Ok(""));
        assert_eq!(value("absent").as_deref(), Ok(""));
    }

    #[test]
    fn what_is_not_percent_encoded_utf_8_is_refused() {
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=%C3"] {
            assert_eq!(
                query_value(bad, "a").map_err(|e| e.status),
                Err(400),
                "{bad}"
            );
        }
    }
}
