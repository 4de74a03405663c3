//! Any message comes back from its compressed form; any bytes inflate within the limit or are
//! refused; any header is negotiated or refused.
#![no_main]

use arbitrary::Arbitrary;
use imfast_wire::websocket::deflate::{Deflater, Inflater, negotiate};
use imfast_wire::websocket::{
    Decoded, Decoder, ErrorKind, Event, Header, Opcode, Role, deflated_frame,
};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 10_000;

#[derive(Arbitrary, Debug)]
enum Case {
    Message { window_bits: u8, message: Vec<u8> },
    Compressed(Vec<u8>),
    Offer(Vec<Vec<u8>>),
}

fuzz_target!(|case: Case| match case {
    Case::Message {
        window_bits,
        message,
    } => {
        let mut frame = Vec::new();
        let window_bits = 9 + window_bits % 7;
        let mut deflater = Deflater::default();
        deflated_frame(
            Opcode::Binary,
            window_bits,
            &message,
            &mut deflater,
            &mut frame,
        );
        let mut decoder = Decoder::new(Role::Client, message.len()).with_deflate();
        let mut inflater = Inflater::default();
        match decoder.decode(&mut frame, &mut inflater) {
            Ok(Decoded::Frame { event, .. }) => assert_eq!(event, Event::Binary(&message)),
            other => panic!("{other:?}"),
        }
    }
    Case::Compressed(bytes) => {
        let mut frame = Vec::new();
        let header = Header {
            fin: true,
            compressed: true,
            opcode: Opcode::Binary,
            mask: None,
            payload_len: bytes.len() as u64,
        };
        header.write(&mut frame);
        frame.extend_from_slice(&bytes);
        let mut decoder = Decoder::new(Role::Client, LIMIT).with_deflate();
        let mut inflater = Inflater::default();
        match decoder.decode(&mut frame, &mut inflater) {
            Ok(Decoded::Frame {
                event: Event::Binary(message),
                ..
            }) => assert!(message.len() <= LIMIT),
            Err(error) => assert!(matches!(
                error.kind,
                ErrorKind::Deflate | ErrorKind::MessageTooBig { .. }
            )),
            other => panic!("{other:?}"),
        }
    }
    Case::Offer(lines) => {
        if let Ok(Some(agreed)) = negotiate(lines.iter().map(Vec::as_slice)) {
            assert!((9..=15).contains(&agreed.server_window_bits));
            // What we answer is itself an offer that we would accept.
            let answer = agreed.to_string();
            assert_eq!(negotiate([answer.as_bytes()]), Ok(Some(agreed)));
        }
    }
});
