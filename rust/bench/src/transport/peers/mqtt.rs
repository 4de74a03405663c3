//! MQTT 3.1.1 with quality of service 0 (OASIS standard of 2014-10-29; sections are named below).

use imfast_wire::frames::client::ClientFrame;
use imfast_wire::frames::server::ServerFrame;

use super::super::{Incoming, Kind, Transport};
use super::{Request, connected, request};
use crate::failure::Failure;
use crate::pool::User;

/// First bytes of packets: type and flags (section 2.2).
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH_QOS_0: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;

/// The only subscription of a connection.
const PACKET_ID: [u8; 2] = [0, 1];
/// Return code of a subscription that was refused (section 3.9.3).
const REFUSED: u8 = 0x80;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Mqtt;

impl Transport for Mqtt {
    const ANSWERS: bool = false;
    const ECHOES: bool = false;
    const GROUPS: bool = false;

    fn greet(self, _: &User, _: &mut Vec<u8>) {}

    fn greeted(self, _: &[u8]) -> Result<Option<usize>, String> {
        Ok(Some(0))
    }

    fn write(self, frame: &ClientFrame<'_>, _: &User, out: &mut Vec<u8>) {
        match request(frame) {
            // Section 3.1.4: a client may go on without waiting for CONNACK.
            Some(Request::Subscribe { topic, .. }) => {
                // Level 4, clean session, no keep-alive; the server makes up the client's id.
                let connect = [
                    &string("MQTT")[..],
                    &[4, 0b0000_0010],
                    &[0, 0],
                    &string("")[..],
                ];
                packet(CONNECT, &connect, out);
                packet(SUBSCRIBE, &[&PACKET_ID, &string(topic), &[0]], out);
            }
            Some(Request::Publish { topic, body, .. }) => {
                packet(PUBLISH_QOS_0, &[&string(topic), body.as_bytes()], out);
            }
            None => {}
        }
    }

    fn pong(self, _: &[u8], _: &mut Vec<u8>) {}

    #[inline]
    fn walk(self, input: &[u8], each: &mut impl FnMut(Incoming<'_>)) -> Result<usize, Failure> {
        let mut read = 0;
        while let Some((header, length)) = header(&input[read..])? {
            let Some(packet) = input.get(read..read + header + length) else {
                break;
            };
            match packet {
                [PUBLISH_QOS_0 | SUBACK, ..] => each(Incoming::Frame(packet)),
                [CONNACK, 2, _, 0] => {}
                [CONNACK, 2, _, code] => return Err(format!("CONNACK refuses with {code}").into()),
                _ => return Err(format!("unexpected packet {:#04x}", input[read]).into()),
            }
            read += packet.len();
        }
        Ok(read)
    }

    fn kind(self, frame: &[u8]) -> Kind {
        match frame {
            [PUBLISH_QOS_0, ..] => Kind::Message,
            _ => Kind::Other,
        }
    }

    fn author(self, _: &[u8]) -> &[u8] {
        &[]
    }

    fn text(self, frame: &[u8]) -> &[u8] {
        let Ok(Some((header, _))) = header(frame) else {
            return &[];
        };
        let packet = frame.get(header..).unwrap_or_default();
        let Some((topic_bytes, rest)) = packet.split_first_chunk() else {
            return &[];
        };
        let topic_bytes = usize::from(u16::from_be_bytes(*topic_bytes));
        rest.get(topic_bytes..).unwrap_or_default()
    }

    fn decode<'a>(self, frame: &'a [u8], _: &'a mut Vec<u8>) -> Result<ServerFrame<'a>, String> {
        match frame {
            [SUBACK, 3, _, _, code] if *code != REFUSED => Ok(connected()),
            _ => Err(format!("the subscription was answered with {frame:02x?}")),
        }
    }
}

/// A UTF-8 string with its length before it (section 1.5.3).
fn string(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + text.len());
    // Topics of a benchmark are short.
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}

/// A packet of `parts`, its remaining length in front (section 2.2.3).
fn packet(first: u8, parts: &[&[u8]], out: &mut Vec<u8>) {
    out.push(first);
    let mut length: usize = parts.iter().map(|part| part.len()).sum();
    while length >= 0x80 {
        out.push(length as u8 & 0x7f | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Lengths of the fixed header and of what remains; none while it is cut.
#[inline]
fn header(input: &[u8]) -> Result<Option<(usize, usize)>, String> {
    /// Section 2.2.3: at most four bytes.
    const LENGTH_BYTES_MAX: usize = 4;
    let mut length = 0;
    for index in 0..LENGTH_BYTES_MAX {
        let Some(byte) = input.get(1 + index) else {
            return Ok(None);
        };
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((2 + index, length)));
        }
    }
    Err("a remaining length of over four bytes".into())
}

#[cfg(test)]
mod tests {
    use imfast_wire::frames::client::Target;

    use super::super::testing::{connect, is_connected, nobody, send, survives_every_cut, walked};
    use super::*;

    fn bytes(frame: &ClientFrame<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        Mqtt.write(frame, &nobody(), &mut out);
        out
    }

    /// Layouts of sections 3.1.2, 3.8 and 3.3; `a/b` is the topic of the standard's figures.
    #[test]
    fn packets_are_laid_out_as_in_the_standards_figures() {
        let mut wanted = vec![0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 0];
        wanted.extend([0x82, 8, 0, 1, 0, 3, b'a', b'/', b'b', 0]);
        assert_eq!(bytes(&connect("a/b")), wanted);
        let publish = send(1, Target::User("a/b".into()), "hi");
        assert_eq!(
            bytes(&publish),
            [0x30, 7, 0, 3, b'a', b'/', b'b', b'h', b'i']
        );
    }

    /// Table 2.4: 127, 128 and 16,383 bytes are one or two bytes of length, 16,384 three.
    #[test]
    fn remaining_lengths_grow_where_table_2_4_says() {
        for (length, wanted) in [
            (127, vec![0x7f]),
            (128, vec![0x80, 0x01]),
            (16_383, vec![0xff, 0x7f]),
            (16_384, vec![0x80, 0x80, 0x01]),
        ] {
            let mut out = Vec::new();
            packet(PUBLISH_QOS_0, &[&vec![0; length]], &mut out);
            assert_eq!(out[1..=wanted.len()], wanted);
            assert_eq!(header(&out), Ok(Some((1 + wanted.len(), length))));
        }
        assert!(header(&[0x30, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
    }

    #[test]
    fn a_servers_packets_are_read_and_connack_is_passed_over() {
        let mut input = vec![0x20, 2, 0, 0, 0x90, 3, 0, 1, 0];
        packet(PUBLISH_QOS_0, &[&string("a/b"), &[b'x'; 130]], &mut input);
        let (found, read) = walked(Mqtt, &input);
        assert_eq!((found.len(), read), (2, input.len()));
        assert!(is_connected(Mqtt, &[0x90, 3, 0, 1, 0]));
        assert!(
            Mqtt.decode(&[0x90, 3, 0, 1, 0x80], &mut Vec::new())
                .is_err()
        );
        assert_eq!(Mqtt.kind(&[0x30, 0]), Kind::Message);
        assert_eq!(Mqtt.text(&input[9..]), [b'x'; 130]);
        survives_every_cut(Mqtt, &input);
    }

    #[test]
    fn a_refused_connection_says_with_which_code() {
        let error = Mqtt
            .walk(&[0x20, 2, 0, 5], &mut |_| ())
            .expect_err("refused");
        assert!(error.to_string().contains('5'), "{error}");
    }
}
