//! The content of a message, the same in a `send` and in a `message`: body, ttl, headers, flags.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Error, MapAccess};
use serde_json::value::RawValue;

use super::read::{Fields, fill, flag, ignore, number, text};
use crate::frames::check;
use crate::frames::client::{Body, Header};

/// Padding may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What was read so far.
#[derive(Default)]
pub(super) struct Content<'a> {
    pub(super) body: Option<Body<'a>>,
    pub(super) mime: Cow<'a, str>,
    pub(super) ttl_ms: u64,
    pub(super) headers: Vec<Header<'a>>,
    pub(super) silent: bool,
    pub(super) ephemeral: bool,
}

impl<'a> Content<'a> {
    /// Reads the field `key` if it belongs to the content; otherwise skips it.
    pub(super) fn field<A: MapAccess<'a>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let body = match key {
            "json" => {
                let raw: &RawValue = map.next_value()?;
                Body::Json(check::json_body(raw.get()).map_err(A::Error::custom)?)
            }
            "text" => Body::Text(text(map, "send.text")?),
            "base64" => Body::Bytes {
                data: Cow::Owned(
                    BASE64
                        .decode(text(map, "send.base64")?.as_bytes())
                        .map_err(|error| A::Error::custom(format_args!("send.base64: {error}")))?,
                ),
                content_type: Cow::Borrowed(""),
            },
            "contentType" => {
                self.mime = text(map, "send.contentType")?;
                return Ok(());
            }
            "ttlMs" => {
                self.ttl_ms = number(map, "send.ttlMs")?;
                return Ok(());
            }
            "headers" => return fill(map, self),
            "silent" => {
                self.silent = flag(map, "send.silent")?;
                return Ok(());
            }
            "ephemeral" => {
                self.ephemeral = flag(map, "send.ephemeral")?;
                return Ok(());
            }
            _ => return ignore(map),
        };
        if self.body.is_some() {
            return Err(A::Error::custom(check::MANY_BODIES));
        }
        self.body = Some(body);
        Ok(())
    }

    /// The body, which has to be there.
    pub(super) fn take_body(&mut self) -> Result<Body<'a>, &'static str> {
        check::typed_body(self.body.take(), std::mem::take(&mut self.mime))
    }
}

/// Its headers, which are an object of their own.
impl<'de> Fields<'de> for Content<'de> {
    const NAME: &'static str = "send.headers";

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let header = Header {
            // The name is handed out for the length of the call only; headers are rare.
            name: Cow::Owned(key.to_owned()),
            value: text(map, "send.headers' values")?,
        };
        check::add_header(&mut self.headers, header).map_err(A::Error::custom)
    }
}
