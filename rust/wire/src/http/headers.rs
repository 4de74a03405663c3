//! Header fields: a borrowed view, and the list and token rules of RFC 9110.

/// The header fields of one message, in their order on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers<'a> {
    fields: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Headers<'a> {
    pub(super) fn new(parsed: &[httparse::Header<'a>]) -> Self {
        Self {
            fields: parsed
                .iter()
                .map(|field| (field.name, field.value))
                .collect(),
        }
    }

    /// Fields that were read elsewhere.
    pub(crate) fn of(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        Self {
            fields: fields.collect(),
        }
    }

    /// Names and values in order; values are without surrounding white space.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + '_ {
        self.fields.iter().copied()
    }

    /// Every value of `name`, which is compared without regard to ASCII case.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        self.iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The first value of `name`, if it is UTF-8.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.all(name)
            .next()
            .and_then(|value| core::str::from_utf8(value).ok())
    }

    /// The only value of `name`.
    pub(super) fn once(&self, name: &str) -> Once<'a> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (None, _) => Once::Absent,
            (Some(value), None) => core::str::from_utf8(value).map_or(Once::Unusable, Once::Value),
            (Some(_), Some(_)) => Once::Unusable,
        }
    }

    /// The elements of the comma-separated list `name`, over all of its lines, empty ones left
    /// out (RFC 9110 section 5.6.1). A line that is not UTF-8 gives one element that is no token.
    pub(super) fn list<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a str> + 's {
        self.all(name)
            .map(|value| core::str::from_utf8(value).unwrap_or("\u{fffd}"))
            .flat_map(|value| value.split(','))
            .map(|element| element.trim_matches([' ', '\t']))
            .filter(|element| !element.is_empty())
    }

    /// Whether the list `name` holds `token`, without regard to ASCII case.
    pub(super) fn list_holds(&self, name: &str, token: &str) -> bool {
        self.list(name)
            .any(|element| element.eq_ignore_ascii_case(token))
    }
}

/// A field that must not be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Once<'a> {
    Absent,
    Value(&'a str),
    /// Repeated or not UTF-8.
    Unusable,
}

/// Whether `text` is a token (RFC 9110 section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Appends `name: value` and the line's end.
///
/// Panics on control bytes, which would let a value begin another header: our own mistake, as
/// everything we write was validated where it came in.
pub(super) fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    assert!(is_token(name), "a header name is a token");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    put_text(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Appends text that must stay on its line.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    assert!(
        !text.bytes().any(|b| b.is_ascii_control()),
        "text in a header has no control bytes"
    );
    out.extend_from_slice(text.as_bytes());
}
