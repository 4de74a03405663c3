//! Runs spec/vectors/websocket.json, which every language's tests share.

use imfast_wire::websocket::deflate::Inflater;
use imfast_wire::websocket::{Decoded, Decoder, Event, Role};
use serde_json::Value;

const VECTORS: &str = include_str!("../../../spec/vectors/websocket.json");

fn hex(text: &str) -> Vec<u8> {
    assert!(
        text.len().is_multiple_of(2),
        "hex digits come in pairs: {text}"
    );
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex digits"))
        .collect()
}

fn string(value: &Value) -> &str {
    value.as_str().expect("a string")
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

/// Joins parts, each hex or `{hex, times}`.
fn parts(value: &Value) -> Vec<u8> {
    let parts = value.as_array().expect("a list of parts");
    parts
        .iter()
        .flat_map(|part| match part {
            Value::String(text) => hex(text),
            _ => hex(string(&part["hex"])).repeat(number(&part["times"])),
        })
        .collect()
}

fn assert_event(expected: &Value, event: &Event<'_>, name: &str) {
    let (kind, value) = expected
        .as_object()
        .and_then(|o| o.iter().next())
        .expect("an event");
    let matches = match event {
        Event::Text(text) => kind == "text" && value == *text,
        Event::Binary(payload) => kind == "binary" && parts(value) == *payload,
        Event::Ping(payload) => kind == "ping" && hex(string(value)) == *payload,
        Event::Pong(payload) => kind == "pong" && hex(string(value)) == *payload,
        Event::Close { code, reason } => {
            kind == "close"
                && value["code"].as_u64() == code.map(u64::from)
                && value["reason"] == *reason
        }
    };
    assert!(matches, "{name}: expected {expected}, decoded {event:?}");
}

fn run(case: &Value) {
    let name = string(&case["name"]);
    let role = match string(&case["role"]) {
        "server" => Role::Server,
        "client" => Role::Client,
        other => panic!("{name}: role {other}"),
    };
    let mut input = parts(&case["input"]);
    let mut decoder = Decoder::new(role, number(&case["messageBytesMax"]));
    let mut expected = case["events"].as_array().expect("events").iter();
    let mut inflater = Inflater::default();
    let mut start = 0;
    let needed = loop {
        match decoder.decode(&mut input[start..], &mut inflater) {
            Ok(Decoded::Frame { consumed, event }) => {
                let Some(expected) = expected.next() else {
                    panic!("{name}: {event:?} is one event too many");
                };
                assert_event(expected, &event, name);
                start += consumed;
            }
            Ok(Decoded::Fragment { consumed }) => start += consumed,
            Ok(Decoded::Incomplete { needed }) => break needed,
            Err(error) => {
                assert_eq!(case["closeCode"], error.close_code(), "{name}: {error}");
                assert_eq!(expected.next(), None, "{name}: {error} came too early");
                return;
            }
        }
    };
    assert_eq!(expected.next(), None, "{name}: an event is missing");
    assert!(case.get("closeCode").is_none(), "{name}: no error");
    match case.get("needed") {
        Some(value) => assert_eq!(number(value), needed, "{name}"),
        None => assert_eq!(start, input.len(), "{name}: bytes are left over"),
    }
}

#[test]
fn every_vector_decodes_to_its_events_or_its_close_code() {
    let vectors: Value = serde_json::from_str(VECTORS).expect("the vectors are JSON");
    let cases = vectors["cases"].as_array().expect("cases");
    assert!(cases.len() > 100, "{} cases", cases.len());
    cases.iter().for_each(run);
}
