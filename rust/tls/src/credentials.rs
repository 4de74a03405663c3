//! What the server shows and what it asks for: certificates, keys, authorities, tickets.

use crate::names::Names;
use crate::tickets::{TicketKey, Tickets};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::sync::Arc;

/// One certificate with its key, as files have them.
#[derive(Clone, Default)]
pub struct Certificate {
    /// PEM: the certificate, then what leads from it to an authority.
    pub chain: Vec<u8>,
    /// PEM.
    pub key: Vec<u8>,
    /// DER of an OCSP response to be stapled; empty: none.
    pub ocsp: Vec<u8>,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    Off,
    /// One that they show must be good.
    Optional,
    /// They must show a good one.
    Required,
}

/// Everything that connections are accepted with.
#[derive(Clone, Default)]
pub struct Settings {
    pub certificates: Vec<Certificate>,
    pub clients: ClientCertificates,
    /// PEM of the authorities of clients' certificates.
    pub client_authorities: Vec<u8>,
    /// The first seals; empty: no session is resumed.
    pub ticket_keys: Vec<TicketKey>,
    pub ticket_lifetime_s: u32,
    /// Protocols within TLS, the most wanted first.
    pub protocols: Vec<Vec<u8>>,
}

/// Checked settings, shared by all connections that are accepted with them.
#[derive(Debug, Clone)]
pub struct Credentials(pub(crate) Arc<ServerConfig>);

/// Why settings cannot be used. `certificate` counts from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsError {
    pub certificate: Option<usize>,
    pub reason: String,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.certificate {
            Some(index) => write!(f, "certificate {}: {}", index + 1, self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for CredentialsError {}

impl Credentials {
    /// # Errors
    /// A certificate, key or authority cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, CredentialsError> {
        let general = |reason: String| CredentialsError {
            certificate: None,
            reason,
        };
        if settings.certificates.is_empty() {
            return Err(general("no certificate is given".into()));
        }
        let provider = Arc::new(ring::default_provider());
        let mut names = Names::default();
        for (index, certificate) in settings.certificates.iter().enumerate() {
            let (key, known) = load(certificate, &provider).map_err(|reason| CredentialsError {
                certificate: Some(index),
                reason,
            })?;
            names.add(Arc::new(key), known.into_iter());
        }
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| general(error.to_string()))?;
        let builder = match settings.clients {
            ClientCertificates::Off => builder.with_no_client_auth(),
            asked => {
                let roots = Arc::new(authorities(&settings.client_authorities).map_err(general)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = if asked == ClientCertificates::Optional {
                    verifier.allow_unauthenticated()
                } else {
                    verifier
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| general(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(names));
        config.alpn_protocols.clone_from(&settings.protocols);
        // Whatever is needed to resume is in the ticket, so that any worker can.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let tickets = Tickets::new(&settings.ticket_keys, settings.ticket_lifetime_s)
            .ok_or_else(|| general("a ticket key cannot be used".into()))?;
        config.ticketer = Arc::new(tickets);
        // A client that opens several connections at once uses one ticket for each.
        config.send_tls13_tickets = 2;
        // What comes before the handshake ends could be played again by anybody.
        config.max_early_data_size = 0;
        Ok(Self(Arc::new(config)))
    }
}

fn load(
    certificate: &Certificate,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, Vec<String>), String> {
    let chain = chain_of(&certificate.chain)?;
    let key = PrivateKeyDer::from_pem_slice(&certificate.key)
        .map_err(|error| format!("the key file has no private key in PEM: {error}"))?;
    let leaf = chain.first().ok_or("the file has no certificate in PEM")?;
    let names = {
        let parsed = webpki::EndEntityCert::try_from(leaf)
            .map_err(|error| format!("not a certificate of a server: {error}"))?;
        parsed.valid_dns_names().map(str::to_owned).collect()
    };
    let mut certified =
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                "certificate and key do not belong together".to_owned()
            }
            other => other.to_string(),
        })?;
    if !certificate.ocsp.is_empty() {
        certified.ocsp = Some(certificate.ocsp.clone());
    }
    Ok((certified, names))
}

fn chain_of(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("not PEM: {error}"))
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for authority in chain_of(pem).map_err(|reason| format!("clients' authorities: {reason}"))? {
        roots
            .add(authority)
            .map_err(|error| format!("clients' authorities: {error}"))?;
    }
    if roots.is_empty() {
        return Err("clients' authorities: the file has no certificate in PEM".to_owned());
    }
    Ok(roots)
}
