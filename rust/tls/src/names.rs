//! Which certificate is shown, by the name that the client asks for (RFC 6066, section 3).

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// Certificates in the order of the configuration; the first is shown where no name fits.
#[derive(Debug, Default)]
pub(crate) struct Names {
    all: Vec<Arc<CertifiedKey>>,
    /// Indexes of those that are for a name, in lower case, perhaps `*.` and a domain.
    by_name: HashMap<String, Vec<usize>>,
}

impl Names {
    pub(crate) fn add(&mut self, key: Arc<CertifiedKey>, names: impl Iterator<Item = String>) {
        let index = self.all.len();
        self.all.push(key);
        for name in names {
            self.by_name
                .entry(name.to_ascii_lowercase())
                .or_default()
                .push(index);
        }
    }

    /// Certificates for a name: those that have it, or else a wildcard in the place of its first
    /// label, or else all.
    fn fitting(&self, name: Option<&str>) -> Vec<&Arc<CertifiedKey>> {
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            self.by_name.get(&name).or_else(|| {
                let (_, domain) = name.split_once('.')?;
                self.by_name.get(&format!("*.{domain}"))
            })
        });
        match found {
            Some(indexes) => indexes.iter().filter_map(|at| self.all.get(*at)).collect(),
            None => self.all.iter().collect(),
        }
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fitting = self.fitting(hello.server_name());
        let schemes = hello.signature_schemes();
        // One name may have certificates of several algorithms.
        let signs = |key: &&&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let chosen = fitting.iter().find(signs).or(fitting.first())?;
        Some(Arc::clone(chosen))
    }
}
