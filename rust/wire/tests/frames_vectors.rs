//! The vectors of `spec/vectors/frames.json`, whose protobuf bytes Google's implementation wrote.

use std::collections::BTreeMap;

use imfast_wire::frames::client::Verb;
use imfast_wire::frames::{json, proto};
use serde_json::value::RawValue;

type Vector = BTreeMap<String, Box<RawValue>>;

fn vectors(kind: &str) -> Vec<Vector> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../spec/vectors/frames.json"
    );
    let text = std::fs::read_to_string(path).expect("vectors");
    let mut file: BTreeMap<String, Vec<Vector>> = serde_json::from_str(&text).expect("vectors");
    file.remove(kind).expect("kind of vector")
}

/// A field that is a string.
fn text(vector: &Vector, field: &str) -> String {
    serde_json::from_str(vector[field].get()).expect("string")
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

/// The bytes of a refused or unsupported frame.
fn input(vector: &Vector) -> Vec<u8> {
    match text(vector, "encoding").as_str() {
        "json" => text(vector, "input").into_bytes(),
        _ => hex(&text(vector, "input")),
    }
}

#[test]
fn client_frames_read_and_write_as_the_vectors_say() {
    for vector in vectors("client") {
        let name = text(&vector, "name");
        let (json_text, bytes) = (vector["json"].get(), hex(&text(&vector, "proto")));
        let from_json = json::decode_client(json_text.as_bytes()).expect(&name);
        let from_proto = proto::decode_client(&bytes).expect(&name);
        assert_eq!(from_json, from_proto, "{name}");

        let mut out = Vec::new();
        proto::encode_client(&from_json, &mut out);
        assert_eq!(out, bytes, "{name}");
        out.clear();
        json::encode_client(&from_proto, &mut out);
        assert_eq!(json::decode_client(&out).expect(&name), from_json, "{name}");

        let others: Vec<String> = vector
            .get("also")
            .map(|raw| serde_json::from_str(raw.get()).expect("strings"))
            .unwrap_or_default();
        for other in others {
            let frame = json::decode_client(other.as_bytes()).expect(&name);
            assert_eq!(frame, from_json, "{name}: {other}");
        }
    }
}

#[test]
fn server_frames_read_and_write_as_the_vectors_say() {
    for vector in vectors("server") {
        let name = text(&vector, "name");
        let (json_text, bytes) = (vector["json"].get(), hex(&text(&vector, "proto")));
        let mut rows = Vec::new();
        let from_json = json::decode_server(json_text.as_bytes(), &mut rows).expect(&name);
        let from_proto = proto::decode_server(&bytes).expect(&name);
        assert_eq!(from_json, from_proto, "{name}");

        let mut out = Vec::new();
        proto::encode_server(&from_json, &mut out);
        assert_eq!(out, bytes, "{name}");
        out.clear();
        json::encode_server(&from_proto, &mut out).expect(&name);
        assert_eq!(String::from_utf8(out).expect("UTF-8"), json_text, "{name}");
    }
}

#[test]
fn refused_frames_name_their_code_and_keep_their_id() {
    for vector in vectors("refused") {
        let (name, bytes) = (text(&vector, "name"), input(&vector));
        let error = if text(&vector, "encoding") == "json" {
            json::decode_client(&bytes).expect_err(&name)
        } else {
            proto::decode_client(&bytes).expect_err(&name)
        };
        assert_eq!(error.code.name, text(&vector, "code"), "{name}: {error}");
        assert_eq!(error.id.to_string(), vector["id"].get(), "{name}: {error}");
        assert!(error.offset <= bytes.len(), "{name}: {error}");
    }
}

#[test]
fn later_verbs_and_actions_are_unknown_and_keep_their_id() {
    for vector in vectors("unsupported") {
        let (name, bytes) = (text(&vector, "name"), input(&vector));
        let frame = if text(&vector, "encoding") == "json" {
            json::decode_client(&bytes).expect(&name)
        } else {
            proto::decode_client(&bytes).expect(&name)
        };
        assert_eq!(frame.verb, Verb::Unknown, "{name}");
        assert_eq!(frame.id.to_string(), vector["id"].get(), "{name}");
    }
}
