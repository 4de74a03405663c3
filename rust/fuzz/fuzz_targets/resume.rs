//! Where a stream of events goes on: what a browser names is what the engine is asked for, whichever
//! way it came, and a sync token read from it says the same once written.
#![no_main]

use imfast_session::{Input, Policy, Session, What};
use imfast_wire::frames::token::SyncToken;
use imfast_wire::http::{self, Site};
use imfast_wire::http2::hpack::write_field;
use imfast_wire::http2::{Connection, Event, Limits};
use imfast_wire::websocket::deflate::Inflater;
use libfuzzer_sys::fuzz_target;

/// What the engine is asked for; `None`: the request was refused.
fn asked_for(session: &mut Session, mut input: Vec<u8>, policy: &Policy) -> Option<String> {
    let mut out = Vec::new();
    let mut inflater = Inflater::default();
    match session.receive(&mut input, policy, &mut inflater, &mut out) {
        Input::Request { asked, .. } => match asked.what {
            What::Events { sync, .. } => Some(sync.into_owned()),
            other => panic!("{other:?}"),
        },
        _ => None,
    }
}

fn over_http2(id: &str, policy: &Policy) -> Option<String> {
    let limits = Limits {
        head: policy.http,
        streams: 1,
    };
    let mut connection = Connection::new(&limits, &mut Vec::new());
    let mut block = Vec::new();
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/v1/events"),
        (":authority", "x"),
        ("last-event-id", id),
    ];
    for (name, value) in fields {
        write_field(&mut block, name, value);
    }
    let mut input = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    input.extend_from_slice(&(block.len() as u32).to_be_bytes()[1..]);
    input.extend_from_slice(&[1, 5, 0, 0, 0, 1]);
    input.extend_from_slice(&block);
    let (settings, _) = connection.receive(&mut input, &limits, 1, &mut Vec::new());
    match connection.receive(&mut input[settings..], &limits, 1, &mut Vec::new()) {
        (_, Event::Begun { head, ended, .. }) => {
            asked_for(&mut Session::exchange(head, ended), Vec::new(), policy)
        }
        _ => None,
    }
}

fuzz_target!(|id: &str| {
    let policy = Policy {
        message_bytes_max: 512,
        http: http::Limits::default(),
        http2_streams: 100,
        site: Site::default(),
        compression: false,
        forwarded: false,
    };
    let head = format!("GET /v1/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {id}\r\n\r\n");
    let over_http1 = asked_for(&mut Session::http(), head.into_bytes(), &policy);
    // What is trimmed, folded or ends the line is not the same id any more.
    let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic());
    if plain && id.len() < 4096 {
        assert_eq!(over_http1.as_deref(), Some(id));
        assert_eq!(over_http2(id, &policy).as_deref(), Some(id));
    } else {
        let _ = over_http2(id, &policy);
    }
    for sync in over_http1.iter().map(String::as_str).chain([id]) {
        if let Ok(token) = SyncToken::decode(sync) {
            assert!(token.positions.len() <= sync.len());
            assert_eq!(SyncToken::decode(&token.encode()), Ok(token));
        }
    }
});
