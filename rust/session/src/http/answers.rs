//! The responses that requests get: answers, problems, the head of a stream of events.

use imfast_wire::frames::codes::{self, Code};
use imfast_wire::frames::json;
use imfast_wire::frames::server::ServerBody;
use imfast_wire::http::{self, Answer, Answering, Refusal, Site, Version};

pub(super) const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// A refusal with all that its response says.
#[derive(Debug)]
pub(crate) struct Refused {
    pub status: u16,
    pub code: &'static Code,
    pub detail: &'static str,
    pub headers: &'static [(&'static str, &'static str)],
}

impl From<Refusal> for Refused {
    fn from(Refusal { status, detail }: Refusal) -> Self {
        let code = match status {
            403 => &codes::ORIGIN_REFUSED,
            404 | 405 => &codes::UNSUPPORTED,
            411 | 415 | 417 => &codes::INVALID_ARGUMENT,
            413 | 414 => &codes::FRAME_TOO_LARGE,
            431 => &codes::HEADERS_TOO_LARGE,
            _ => &codes::MALFORMED_FRAME,
        };
        Self {
            status,
            code,
            detail,
            headers: &[],
        }
    }
}

/// Appends the response of a refusal.
pub(crate) fn refuse(out: &mut Vec<u8>, site: &Site, answering: Answering, refused: &Refused) {
    let problem = Problem {
        status: refused.status,
        code: refused.code,
        retry_after_ms: 0,
        detail: refused.detail,
    };
    problem.write(out, site, answering, refused.headers, &mut Vec::new());
}

/// An error as a response (RFC 9457).
struct Problem<'a> {
    status: u16,
    code: &'static Code,
    /// 0: nothing is said about when.
    retry_after_ms: u64,
    detail: &'a str,
}

impl Problem<'_> {
    fn write(
        &self,
        out: &mut Vec<u8>,
        site: &Site,
        answering: Answering,
        headers: &[(&str, &str)],
        scratch: &mut Vec<u8>,
    ) {
        scratch.clear();
        let title = http::reason(self.status);
        let (code, wait_ms) = (self.code, self.retry_after_ms);
        json::encode_problem(self.status, title, code, wait_ms, self.detail, scratch);
        let seconds = wait_ms.div_ceil(1000).to_string();
        let mut headers = headers.to_vec();
        if wait_ms > 0 {
            headers.push(("Retry-After", &seconds));
        }
        if self.status == 401 {
            // RFC 6750 section 3: why is said only of a token that was there.
            let challenge = if self.code == &codes::NOT_CONNECTED {
                "Bearer"
            } else {
                "Bearer error=\"invalid_token\""
            };
            headers.push(("WWW-Authenticate", challenge));
        }
        let answer = Answer {
            status: self.status,
            content_type: PROBLEM,
            headers: &headers,
            body: scratch,
        };
        http::write_answer(out, site, answering, &answer);
    }
}

/// Appends the head of a stream of events, and what a browser is to know at first.
pub(crate) fn begin_events(number: u64, retry_ms: u32, site: &Site, out: &mut Vec<u8>) {
    let mut headers = vec![
        ("Content-Type", "text/event-stream"),
        ("Cache-Control", "no-store"),
        // nginx would hold events back otherwise.
        ("X-Accel-Buffering", "no"),
    ];
    let answering = Answering::from_bits(number);
    let retry = format!("retry: {retry_ms}\n\n");
    if answering.version == Version::Http2 {
        http::begin_answer(out, site, answering, 200, &headers);
        return out.extend_from_slice(retry.as_bytes());
    }
    headers.push(("Transfer-Encoding", "chunked"));
    http::begin_answer(out, site, answering, 200, &headers);
    out.extend_from_slice(b"\r\n");
    http::write_chunk(out, |out| out.extend_from_slice(retry.as_bytes()));
}

/// Appends an answer that is JSON already; `number` as for [`write_reply`].
pub fn write_json_answer(number: u64, json: &str, site: &Site, out: &mut Vec<u8>) {
    let answer = Answer {
        status: 200,
        content_type: JSON,
        headers: &[("Cache-Control", "no-store")],
        body: json.as_bytes(),
    };
    http::write_answer(out, site, Answering::from_bits(number), &answer);
}

/// Appends an answer as it is; `number` as for [`write_reply`].
pub fn write_plain_answer(number: u64, answer: &Answer<'_>, site: &Site, out: &mut Vec<u8>) {
    http::write_answer(out, site, Answering::from_bits(number), answer);
}

/// Appends the answer of a verb. `number` is what [`Answering::to_bits`] gave; 0: nobody asked.
pub(crate) fn write_reply(
    out: &mut Vec<u8>,
    site: &Site,
    number: u64,
    body: &ServerBody<'_>,
    scratch: &mut Vec<u8>,
) {
    if number == 0 {
        return;
    }
    let answering = Answering::from_bits(number);
    if let ServerBody::Error {
        code,
        retry_after_ms,
        message,
        ..
    } = body
    {
        let known = codes::ALL
            .iter()
            .find(|entry| u32::from(entry.number) == *code);
        let code = known.copied().unwrap_or(&codes::INTERNAL);
        let problem = Problem {
            status: code.http,
            code,
            retry_after_ms: *retry_after_ms,
            detail: message,
        };
        return problem.write(out, site, answering, &[], scratch);
    }
    scratch.clear();
    // Only a row can be unreadable, and rows are written by us and checksummed.
    let written = json::encode_answer(body, scratch);
    debug_assert!(written.is_ok(), "unreadable row: {written:?}");
    let answer = Answer {
        status: 200,
        content_type: JSON,
        headers: &[],
        body: if scratch.is_empty() { b"{}" } else { scratch },
    };
    http::write_answer(out, site, answering, &answer);
}
