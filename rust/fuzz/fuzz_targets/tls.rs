//! Whatever a client sends in the place of a handshake, however it is cut: no panic, nothing is let in,
//! nothing is taken for plaintext, what is held is bounded, and what is said to it is TLS.
#![no_main]

use arbitrary::Arbitrary;
use imfast_tls::{Certificate, Credentials, Received, Settings, TicketKey, Tls};
use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

#[derive(Arbitrary, Debug)]
struct Case {
    /// Whether each piece is put into records of the handshake.
    framed: bool,
    pieces: Vec<Vec<u8>>,
}

fn credentials() -> &'static Credentials {
    static MADE: OnceLock<Credentials> = OnceLock::new();
    MADE.get_or_init(|| {
        let settings = Settings {
            certificates: vec![Certificate {
                chain: include_bytes!("../../tls/src/connection/test_data/localhost.pem").to_vec(),
                key: include_bytes!("../../tls/src/connection/test_data/localhost.key").to_vec(),
                ocsp: Vec::new(),
            }],
            ticket_keys: vec![TicketKey::new(&[7; TicketKey::BYTES])],
            ticket_lifetime_s: 60,
            protocols: vec![b"http/1.1".to_vec()],
            ..Settings::default()
        };
        Credentials::new(&settings).expect("the certificates of the tests")
    })
}

fuzz_target!(|case: Case| {
    let mut tls = Tls::new(credentials()).expect("a connection");
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let mut over = false;
    for piece in &case.pieces {
        let mut bytes = if case.framed {
            let length = piece.len().min(1 << 14);
            let mut record = vec![22, 3, 1, (length >> 8) as u8, length as u8];
            record.extend_from_slice(&piece[..length]);
            record
        } else {
            piece.clone()
        };
        match tls.receive(&mut bytes, &mut plain, &mut out) {
            Received::Handshaking => assert!(!over),
            // A handshake cannot be guessed.
            Received::Opened | Received::Open => panic!("let in"),
            Received::Closed | Received::Failed(_) => over = true,
        }
        assert!(tls.seal(b"secret", &mut out).is_err());
        assert!(plain.is_empty());
    }
    tls.close(&mut out);
    // Records of handshake, alert or change of cipher, one after the other.
    let mut rest = &out[..];
    while let [kind, 3, _, high, low, after @ ..] = rest {
        assert!((20..=22).contains(kind));
        rest = &after[usize::from(u16::from_be_bytes([*high, *low]))..];
    }
    assert!(rest.is_empty());
});
