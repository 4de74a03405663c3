//! Reading JSON objects by their fields, without a tree of values. What is borrowed borrows from
//! the frame's text. `null` is an absent field, as in protobuf's own JSON mapping.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use crate::frames::MAX_NUMBER;

/// An object that is read field by field.
pub(super) trait Fields<'de> {
    /// What it is called in errors.
    const NAME: &'static str;

    /// Reads the value of the field `key`, or passes it to [`ignore`].
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Reads the object that follows in `map` into `fields`.
pub(super) fn fill<'de, A: MapAccess<'de>, F: Fields<'de>>(
    map: &mut A,
    fields: &mut F,
) -> Result<(), A::Error> {
    map.next_value_seed(Object(fields))
}

/// The object that follows in `map`.
pub(super) fn read<'de, A: MapAccess<'de>, F: Fields<'de> + Default>(
    map: &mut A,
) -> Result<F, A::Error> {
    let mut fields = F::default();
    fill(map, &mut fields)?;
    Ok(fields)
}

/// The object that `from` is.
pub(super) fn object<'de, D: Deserializer<'de>, F: Fields<'de> + Default>(
    from: D,
) -> Result<F, D::Error> {
    let mut fields = F::default();
    Object(&mut fields).deserialize(from)?;
    Ok(fields)
}

/// Skips a field that this version does not know.
pub(super) fn ignore<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

pub(super) struct Object<'f, F>(pub(super) &'f mut F);

impl<'de, F: Fields<'de>> DeserializeSeed<'de> for Object<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: Fields<'de>> Visitor<'de> for Object<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to be an object", F::NAME)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Text("a field's name"))? {
            self.0.field(&key, &mut map)?;
        }
        Ok(())
    }
}

/// A string; `null` is the empty one.
struct Text(&'static str);

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to be a string", self.0)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }
}

/// The string that follows in `map`; `name` stands in errors.
pub(super) fn text<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &'static str,
) -> Result<Cow<'de, str>, A::Error> {
    map.next_value_seed(Text(name))
}

/// A number, or a string of its digits.
struct Number {
    name: &'static str,
    max: u64,
}

impl Number {
    fn check<E: Error>(&self, value: u64) -> Result<Option<u64>, E> {
        if value <= self.max {
            Ok(Some(value))
        } else {
            Err(E::custom(format_args!("{}: above 2^53-1", self.name)))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Number {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Number {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to be a whole number, 0 or more", self.name)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.check(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(E::invalid_value(Unexpected::Str(text), &self));
        }
        // Only digits: it can fail for its size alone.
        self.check(text.parse().unwrap_or(u64::MAX))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// The number that follows in `map`, at most 2^53−1; `null` is none.
pub(super) fn maybe_number<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &'static str,
) -> Result<Option<u64>, A::Error> {
    map.next_value_seed(Number {
        name,
        max: MAX_NUMBER,
    })
}

/// The number that follows in `map`, at most 2^53−1; `null` is 0.
pub(super) fn number<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &'static str,
) -> Result<u64, A::Error> {
    Ok(maybe_number(map, name)?.unwrap_or(0))
}

/// The id that follows in `map`: a number of 64 bits, usually as a string.
pub(super) fn wide<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &'static str,
) -> Result<u64, A::Error> {
    let seed = Number {
        name,
        max: u64::MAX,
    };
    Ok(map.next_value_seed(seed)?.unwrap_or(0))
}

struct Flag(&'static str);

impl<'de> DeserializeSeed<'de> for Flag {
    type Value = Option<bool>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Flag {
    type Value = Option<bool>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to be true or false", self.0)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// The flag that follows in `map`; `null` is false.
pub(super) fn flag<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &'static str,
) -> Result<bool, A::Error> {
    Ok(maybe_flag(map, name)?.unwrap_or(false))
}

/// The flag that follows in `map`; `null` is none.
pub(super) fn maybe_flag<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &'static str,
) -> Result<Option<bool>, A::Error> {
    map.next_value_seed(Flag(name))
}

/// A list of objects.
struct Objects<F> {
    name: &'static str,
    kind: PhantomData<F>,
}

impl<'de, F: Fields<'de> + Default> DeserializeSeed<'de> for Objects<F> {
    type Value = Vec<F>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: Fields<'de> + Default> Visitor<'de> for Objects<F> {
    type Value = Vec<F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to be a list", self.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut objects = Vec::new();
        loop {
            let mut fields = F::default();
            match sequence.next_element_seed(Object(&mut fields))? {
                Some(()) => objects.push(fields),
                None => return Ok(objects),
            }
        }
    }
}

/// The list of objects that follows in `map`.
pub(super) fn objects<'de, A: MapAccess<'de>, F: Fields<'de> + Default>(
    map: &mut A,
    name: &'static str,
) -> Result<Vec<F>, A::Error> {
    map.next_value_seed(Objects {
        name,
        kind: PhantomData,
    })
}

struct Texts(&'static str);

impl<'de> DeserializeSeed<'de> for Texts {
    type Value = Vec<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to be a list of strings", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = sequence.next_element_seed(Text(self.0))? {
            texts.push(text);
        }
        Ok(texts)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
}

/// The list of strings that follows in `map`.
pub(super) fn texts<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &'static str,
) -> Result<Vec<Cow<'de, str>>, A::Error> {
    map.next_value_seed(Texts(name))
}
