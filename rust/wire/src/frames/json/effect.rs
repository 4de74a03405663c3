//! What readers of an outbox get: a committed row with its place in the log, as JSON.

use super::server_encode::encode_row;
use super::write::{array, braces, comma, position, string, text};
use crate::frames::server::Row;
use crate::protobuf::Malformed;

/// A committed row as a reader of the outbox gets it.
#[derive(Debug, Clone, Copy)]
pub struct Effect<'a> {
    pub partition: u16,
    pub position: u64,
    pub tenant: &'a str,
    /// Both users of a direct conversation; none of a group.
    pub direct: Option<[&'a str; 2]>,
    pub row: Row<'a>,
}

/// Appends an effect and a line feed, which nothing within it can contain. Fails only where the row
/// is not the protobuf that it claims to be; then `out` is as it was.
pub fn encode_effect(effect: &Effect<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = out.len();
    let mut result = Ok(());
    braces(out, |out| {
        position(out, "position", effect.partition, effect.position);
        text(out, "tenant", effect.tenant);
        if let Some(users) = effect.direct {
            array(out, "direct", |out| {
                for user in users {
                    comma(out);
                    string(out, user);
                }
            });
        }
        result = encode_row(effect.row, out);
    });
    out.push(b'\n');
    if result.is_err() {
        out.truncate(start);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::row::write_row_prefix;
    use crate::protobuf::put_bytes;

    #[test]
    fn effect_is_one_line_whatever_the_row_says() {
        let mut row = Vec::new();
        write_row_prefix(&mut row, "d.x", 3, 77, "al\nice", 5);
        put_bytes(&mut row, 7, b"one\ntwo\"");
        let effect = Effect {
            partition: 2,
            position: 9,
            tenant: "default",
            direct: Some(["al\nice", "bob"]),
            row: Row::Message(&row),
        };
        let mut out = Vec::new();
        encode_effect(&effect, &mut out).expect("a row of ours");
        assert_eq!(
            out.iter().position(|byte| *byte == b'\n'),
            Some(out.len() - 1)
        );
        let read: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(read["position"], "2-9");
        assert_eq!(read["direct"], serde_json::json!(["al\nice", "bob"]));
        assert_eq!(read["message"]["messageId"], "77");
        assert_eq!(read["message"]["from"], "al\nice");
    }

    #[test]
    fn row_that_cannot_be_read_leaves_nothing_behind() {
        let effect = Effect {
            partition: 0,
            position: 1,
            tenant: "default",
            direct: None,
            row: Row::Message(&[0xff]),
        };
        let mut out = b"before".to_vec();
        assert!(encode_effect(&effect, &mut out).is_err());
        assert_eq!(out, b"before");
    }
}
