//! Rows, as they lie in the log: any bytes are read or refused, and what is read can be written
//! for every client.
#![no_main]

use imfast_wire::frames::json;
use imfast_wire::frames::row::{EventView, MessageView};
use imfast_wire::frames::server::Row;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut out = Vec::new();
    if let Ok(view) = MessageView::parse(input) {
        let headers = view.headers().count();
        assert_eq!(view.has_headers(), headers > 0);
        let _ = json::encode_row(Row::Message(input), &mut out);
    }
    out.clear();
    if let Ok(view) = EventView::parse(input) {
        assert_eq!(view.user_count(), view.users().count());
        if json::encode_row(Row::Event(input), &mut out).is_ok() {
            assert!(core::str::from_utf8(&out).is_ok());
        }
    }
});
