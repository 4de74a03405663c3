use super::*;
use crate::{Certificate, ClientCertificates, Settings, TicketKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    SupportedProtocolVersion, version,
};
use std::io::{Read, Write};

/// Takes any certificate: these tests are about what is shown, not about who signed it.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn certificate(name: &str) -> Certificate {
    let (chain, key) = match name {
        "localhost" => (
            &include_bytes!("test_data/localhost.pem")[..],
            &include_bytes!("test_data/localhost.key")[..],
        ),
        _ => (
            &include_bytes!("test_data/other.example.pem")[..],
            &include_bytes!("test_data/other.example.key")[..],
        ),
    };
    Certificate {
        chain: chain.to_vec(),
        key: key.to_vec(),
        ocsp: Vec::new(),
    }
}

fn settings() -> Settings {
    Settings {
        certificates: vec![certificate("localhost"), certificate("other.example")],
        ticket_keys: vec![TicketKey::new(&[7; TicketKey::BYTES])],
        ticket_lifetime_s: 60,
        protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        ..Settings::default()
    }
}

fn server(settings: &Settings) -> Tls {
    Tls::new(&Credentials::new(settings).expect("credentials")).expect("a connection")
}

fn client_config(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth()
}

fn client(config: ClientConfig, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a connection")
}

fn wire_of(client: &mut ClientConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut wire).expect("memory");
    }
    wire
}

fn give(client: &mut ClientConnection, mut wire: &[u8]) -> Result<(), Error> {
    while !wire.is_empty() {
        client.read_tls(&mut wire).expect("memory");
        client.process_new_packets()?;
    }
    Ok(())
}

/// Shakes hands, `piece` bytes at a time; returns what the last bytes meant.
fn shake(client: &mut ClientConnection, server: &mut Tls, piece: usize) -> Received {
    let (mut plain, mut last) = (Vec::new(), Received::Handshaking);
    for _ in 0..10 {
        let mut wire = wire_of(client);
        for bytes in wire.chunks_mut(piece) {
            let mut out = Vec::new();
            last = server.receive(bytes, &mut plain, &mut out);
            if give(client, &out).is_err() {
                return last;
            }
        }
        if !client.is_handshaking() && !client.wants_write() {
            break;
        }
    }
    assert!(plain.is_empty());
    last
}

fn read(client: &mut ClientConnection, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.reader().read_exact(&mut bytes).expect("all of it");
    bytes
}

#[test]
fn both_versions_carry_bytes_both_ways_however_they_are_cut() {
    for versions in [[&version::TLS13], [&version::TLS12]] {
        for piece in [1, 7, 100_000] {
            let mut client = client(client_config(&versions), "localhost");
            let mut server = server(&settings());
            assert_eq!(shake(&mut client, &mut server, piece), Received::Opened);
            assert!(server.is_open() && server.held.is_empty());

            client.writer().write_all(b"from the client").expect("room");
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            for bytes in wire_of(&mut client).chunks_mut(piece) {
                assert_eq!(server.receive(bytes, &mut plain, &mut out), Received::Open);
            }
            assert_eq!(plain, b"from the client");
            assert!(out.is_empty());

            let long: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
            server.seal(&long, &mut out).expect("open");
            // Seven records, and no more than their overhead beside them.
            assert!(out.len() < long.len() + 7 * RECORD_OVERHEAD);
            // The client buffers a few records at a time.
            let mut got = Vec::new();
            for wire in out.chunks(4096) {
                give(&mut client, wire).expect("records");
                let _ = client.reader().read_to_end(&mut got);
            }
            assert!(got == long);
        }
    }
}

#[test]
fn each_name_gets_its_certificate_and_the_others_the_first() {
    let shown = |name: &str| {
        let mut client = client(client_config(&[&version::TLS13]), name);
        let mut server = server(&settings());
        assert_eq!(shake(&mut client, &mut server, 4096), Received::Opened);
        client.peer_certificates().expect("a certificate")[0].to_vec()
    };
    let first = shown("localhost");
    let second = shown("other.example");
    assert_ne!(first, second);
    assert_eq!(shown("deep.other.example"), second);
    assert_eq!(shown("too.deep.other.example"), first);
    assert_eq!(shown("unknown.test"), first);
}

#[test]
fn the_most_wanted_protocol_is_agreed_on_and_none_in_common_is_refused() {
    let agreed = |offered: &[&[u8]]| {
        let mut config = client_config(&[&version::TLS13]);
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let mut client = client(config, "localhost");
        let mut server = server(&settings());
        let outcome = shake(&mut client, &mut server, 4096);
        (outcome, server.protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(agreed(&[b"http/1.1", b"h2"]).1.as_deref(), Some(&b"h2"[..]));
    assert_eq!(agreed(&[]), (Received::Opened, None));
    assert!(matches!(agreed(&[b"h3"]).0, Received::Failed(_)));
}

#[test]
fn a_ticket_of_one_worker_is_good_at_another_until_its_key_is_gone() {
    for versions in [[&version::TLS13], [&version::TLS12]] {
        let config = client_config(&versions);
        let visit = |settings: &Settings| {
            let mut client = client(config.clone(), "localhost");
            let mut server = server(settings);
            shake(&mut client, &mut server, 4096);
            // Tickets come with what the server says last.
            let mut out = Vec::new();
            server.seal(b"x", &mut out).expect("open");
            give(&mut client, &out).expect("a record");
            read(&mut client, 1);
            server.resumed()
        };
        assert!(!visit(&settings()));
        assert!(visit(&settings()));
        let key = |number| TicketKey::new(&[number; TicketKey::BYTES]);
        let mut rotated = settings();
        rotated.ticket_keys = vec![key(8), key(7)];
        assert!(visit(&rotated));
        rotated.ticket_keys = vec![key(9)];
        assert!(!visit(&rotated));
    }
}

#[test]
fn the_end_of_bytes_is_said_and_seen() {
    let mut client = client(client_config(&[&version::TLS13]), "localhost");
    let mut server = server(&settings());
    shake(&mut client, &mut server, 4096);
    client.send_close_notify();
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    let mut wire = wire_of(&mut client);
    assert_eq!(
        server.receive(&mut wire, &mut plain, &mut out),
        Received::Closed
    );
    server.seal(b"late", &mut out).expect("it still reads");

    let mut client = self::client(client_config(&[&version::TLS13]), "localhost");
    let mut server = self::server(&settings());
    shake(&mut client, &mut server, 4096);
    out.clear();
    server.close(&mut out);
    assert!(!out.is_empty());
    give(&mut client, &out).expect("an alert");
    let state = client.process_new_packets().expect("nothing wrong");
    assert!(state.peer_has_closed());
    assert_eq!(server.seal(b"late", &mut out), Err(SealError));
}

#[test]
fn what_is_no_handshake_fails_with_an_alert() {
    for garbage in [
        &b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"[..],
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\xff\xff",
        b"\x17\x03\x03\x00\x01\x00",
    ] {
        let mut server = server(&settings());
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let mut bytes = garbage.to_vec();
        let outcome = server.receive(&mut bytes, &mut plain, &mut out);
        assert!(
            matches!(outcome, Received::Failed(_)),
            "{garbage:?}: {outcome:?}"
        );
        assert_eq!(out.first(), Some(&21), "an alert");
        assert!(plain.is_empty() && !server.is_open());
    }
}

#[test]
fn half_a_message_that_came_late_does_not_disturb_what_is_sealed() {
    let mut client = client(client_config(&[&version::TLS13]), "localhost");
    let mut server = server(&settings());
    shake(&mut client, &mut server, 4096);
    client.refresh_traffic_keys().expect("1.3");
    client
        .writer()
        .write_all(b"after the keys changed")
        .expect("room");
    let (mut plain, mut out, mut sealed) = (Vec::new(), Vec::new(), Vec::new());
    for byte in wire_of(&mut client) {
        server.receive(&mut [byte], &mut plain, &mut out);
        server.seal(b".", &mut sealed).expect("open");
        give(&mut client, &out).expect("records");
        give(&mut client, &sealed).expect("records");
        (out, sealed) = (Vec::new(), Vec::new());
    }
    assert_eq!(plain, b"after the keys changed");
}

#[test]
fn what_the_socket_did_not_take_waits_in_order() {
    let mut server = server(&settings());
    server.keep_unsent(b"abc");
    server.sent(1);
    server.keep_unsent(b"def");
    assert_eq!(server.unsent(), b"bcdef");
    server.sent(5);
    assert!(server.unsent().is_empty() && server.unsent.capacity() == 0);
}

#[test]
fn credentials_that_cannot_be_used_say_which_and_why() {
    let refused = |change: fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        Credentials::new(&settings)
            .expect_err("refused")
            .to_string()
    };
    for (change, wanted) in [
        (
            (|s| s.certificates.clear()) as fn(&mut Settings),
            "no certificate is given",
        ),
        (
            |s| s.certificates[1].key = certificate("localhost").key,
            "certificate 2: certificate and key do not belong together",
        ),
        (
            |s| s.certificates[0].key = b"what".to_vec(),
            "certificate 1: the key file has no private key",
        ),
        (
            |s| s.certificates[0].chain.clear(),
            "certificate 1: the file has no certificate in PEM",
        ),
        (
            |s| s.clients = ClientCertificates::Required,
            "clients' authorities: the file has no certificate in PEM",
        ),
    ] {
        let error = refused(change);
        assert!(error.starts_with(wanted), "{error}");
    }
}
