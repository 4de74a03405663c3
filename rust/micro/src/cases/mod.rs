//! One file a hot path. Set-up and a first run happen before counting begins: what is counted is
//! the path as it runs all day, with warm buffers.

pub(crate) mod client_frames;
pub(crate) mod fan_out;
pub(crate) mod partition;
pub(crate) mod routes;
pub(crate) mod send_queue;
pub(crate) mod server_frames;
pub(crate) mod websocket;

/// Operations of a case, unless it is a large one.
pub(crate) const OPERATIONS: usize = 1_000;

/// A JSON body of 128 bytes.
pub(crate) fn body() -> String {
    let text = "x".repeat(128 - r#"{"text":""}"#.len());
    format!(r#"{{"text":"{text}"}}"#)
}

/// The JSON text of a send with that body.
pub(crate) fn send() -> String {
    let body = body();
    format!(
        r#"{{"id":17,"send":{{"to":{{"user":"bob"}},"key":"0198c0de-0000-7000-8000-000000000001","json":{body}}}}}"#
    )
}
