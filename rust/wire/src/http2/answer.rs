//! Writes responses as HEADERS, and what follows as the stream's bytes.
//!
//! Fields are compressed without a table, so the writer needs nothing of the connection; the stream's
//! number is put in by [`super::place_head`] when the frame is sent.

use super::frame::{FRAME_BYTES, FRAME_HEADER_BYTES, Header, flag, kind};
use super::hpack::{write_field, write_status};
use crate::http::{Answer, Answering, Site, date};

/// Appends a response: the frame of its head, then its body as it stands.
pub fn write_answer(out: &mut Vec<u8>, site: &Site, answering: Answering, answer: &Answer<'_>) {
    let Answer {
        status, headers, ..
    } = *answer;
    head(out, site, answering, status, headers, |out| {
        if !answer.content_type.is_empty() {
            write_field(out, "content-type", answer.content_type);
            write_field(out, "x-content-type-options", "nosniff");
        }
        if status != 204 {
            let length = itoa::Buffer::new().format(answer.body.len()).to_owned();
            write_field(out, "content-length", &length);
        }
    });
    if !answering.head {
        out.extend_from_slice(answer.body);
    }
}

/// Appends the frame of a head whose body goes on until the stream ends.
pub fn begin_answer(
    out: &mut Vec<u8>,
    site: &Site,
    answering: Answering,
    status: u16,
    headers: &[(&str, &str)],
) {
    head(out, site, answering, status, headers, |_| {});
}

fn head(
    out: &mut Vec<u8>,
    site: &Site,
    answering: Answering,
    status: u16,
    headers: &[(&str, &str)],
    more: impl FnOnce(&mut Vec<u8>),
) {
    framed(out, |out| {
        write_status(out, status);
        let mut text = Vec::new();
        date::put_date(&mut text, site.wall_ms);
        write_field(out, "date", core::str::from_utf8(&text).unwrap_or(""));
        for (name, value) in headers {
            debug_assert!(!value.bytes().any(|byte| byte.is_ascii_control()));
            write_field(out, &name.to_ascii_lowercase(), value);
        }
        if let Some(origin) = site.origins.shared_with(answering.shared_with) {
            write_field(out, "access-control-allow-origin", origin);
            write_field(out, "access-control-expose-headers", "Retry-After");
            if origin != "*" {
                write_field(out, "vary", "Origin");
            }
        }
        more(out);
    });
}

/// Appends a HEADERS frame of no stream.
pub(super) fn framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    let mut header = Header {
        length: 0,
        kind: kind::HEADERS,
        flags: flag::END_HEADERS,
        stream: 0,
    };
    header.write(out);
    write(out);
    header.length = out.len() - start - FRAME_HEADER_BYTES;
    debug_assert!(header.length <= FRAME_BYTES, "our heads are small");
    let mut written = Vec::with_capacity(FRAME_HEADER_BYTES);
    header.write(&mut written);
    for (place, byte) in out.iter_mut().skip(start).zip(written) {
        *place = byte;
    }
}
