//! What TLS connections are accepted with, as Python gives it: one mapping, see `TlsCredentials` in
//! the stub.

use imfast_engine::{
    Certificate, ClientCertificates, Credentials, TLS_PROTOCOLS, TicketKey, TlsSettings,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Extracted item by item; a missing or ill-typed one is an error that names it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct TlsCredentials {
    certificates: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>,
    client_certificates: String,
    client_authorities: Vec<u8>,
    ticket_keys: Vec<Vec<u8>>,
    ticket_lifetime_s: u32,
}

impl TlsCredentials {
    pub(crate) fn into_settings(self) -> PyResult<TlsSettings> {
        let clients = match self.client_certificates.as_str() {
            "off" => ClientCertificates::Off,
            "optional" => ClientCertificates::Optional,
            "required" => ClientCertificates::Required,
            other => {
                let text =
                    format!("client_certificates: {other:?} is none of off, optional, required");
                return Err(PyValueError::new_err(text));
            }
        };
        let key = |bytes: Vec<u8>| {
            let bytes: &[u8; TicketKey::BYTES] = bytes.as_slice().try_into().ok()?;
            Some(TicketKey::new(bytes))
        };
        let ticket_keys = self.ticket_keys.into_iter().map(key).collect::<Option<_>>();
        let ticket_keys =
            ticket_keys.ok_or_else(|| PyValueError::new_err("ticket_keys: 48 bytes each"))?;
        let certificate = |(chain, key, ocsp)| Certificate { chain, key, ocsp };
        Ok(TlsSettings {
            certificates: self.certificates.into_iter().map(certificate).collect(),
            clients,
            client_authorities: self.client_authorities,
            ticket_keys,
            ticket_lifetime_s: self.ticket_lifetime_s,
            protocols: TLS_PROTOCOLS.iter().map(|name| name.to_vec()).collect(),
        })
    }
}

/// Checks credentials as an engine does that takes them. None: they can be used; else which
/// certificate cannot, counted from 0 (None: it is none of them), and why.
#[pyfunction]
pub(crate) fn check_tls(credentials: TlsCredentials) -> PyResult<Option<(Option<usize>, String)>> {
    let settings = credentials.into_settings()?;
    let refused = Credentials::new(&settings).err();
    Ok(refused.map(|error| (error.certificate, error.reason)))
}
