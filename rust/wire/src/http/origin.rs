//! Which web pages may open a connection (RFC 6455 section 10.2): browsers let any page open a
//! WebSocket to any server and only tell the server, in `Origin`, which page it was.

/// Whose pages may connect. Requests without an origin do not come from a page and are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OriginPolicy {
    /// Pages whose host and port are those of the request's `Host`.
    #[default]
    SameHost,
    /// Every page.
    Any,
    /// Pages with one of these origins, written as browsers do: `https://example.com`.
    List(Vec<String>),
}

impl OriginPolicy {
    /// Whether a page of `origin` may connect to `host`, both as they stand in their headers.
    pub fn allows(&self, origin: &str, host: &str) -> bool {
        match self {
            Self::SameHost => same_host(origin, host),
            Self::Any => true,
            Self::List(origins) => origins.iter().any(|o| o.eq_ignore_ascii_case(origin)),
        }
    }

    /// Whether a browser is to let pages of `origin` read answers (the fetch standard's CORS), as a
    /// number for [`Self::shared_with`]. 0: it needs no telling, or is not to.
    pub fn shares_with(&self, origin: &str) -> u16 {
        match self {
            Self::SameHost => 0,
            Self::Any => ANY,
            Self::List(origins) => origins
                .iter()
                .position(|o| o.eq_ignore_ascii_case(origin))
                .and_then(|at| u16::try_from(at).ok()?.checked_add(ANY + 1))
                .unwrap_or(0),
        }
    }

    /// The origin that [`Self::shares_with`] gave a number, `*` for all.
    pub(crate) fn shared_with(&self, number: u16) -> Option<&str> {
        match self {
            _ if number == 0 => None,
            Self::SameHost => None,
            Self::Any => Some("*"),
            Self::List(origins) => origins.get(usize::from(number - ANY - 1)).map(|o| &**o),
        }
    }
}

/// The number of all origins; those of a list follow.
const ANY: u16 = 1;

fn same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    let (origin_host, origin_port) = split_port(authority, port);
    let (host, host_port) = split_port(host, port);
    !host.is_empty() && origin_host.eq_ignore_ascii_case(host) && origin_port == host_port
}

/// Splits `host:port`; an IPv6 address keeps its brackets.
fn split_port<'a>(authority: &'a str, default_port: &'a str) -> (&'a str, &'a str) {
    match authority.rsplit_once(':') {
        Some((host, "")) if !host.ends_with(':') => (host, default_port),
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, port),
        _ => (authority, default_port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_host_compares_host_and_port_but_not_the_scheme() {
        let same = |origin, host| OriginPolicy::SameHost.allows(origin, host);
        assert!(same("https://example.com", "example.com"));
        assert!(same("https://Example.com", "example.COM:443"));
        assert!(same("http://localhost:8080", "localhost:8080"));
        assert!(same("http://[::1]:8080", "[::1]:8080"));
        assert!(same("http://[::1]", "[::1]"));
        assert!(!same("https://example.com", "example.com:8443"));
        assert!(!same("https://evil.example", "example.com"));
        assert!(!same("https://example.com.evil.example", "example.com"));
        assert!(!same("null", "example.com"));
        assert!(!same("https://", ""));
        assert!(!same("file://example.com", "example.com"));
    }

    #[test]
    fn a_list_allows_its_origins_only() {
        let list = OriginPolicy::List(vec!["https://app.example".to_owned()]);
        assert!(list.allows("https://app.example", "api.example"));
        assert!(!list.allows("https://api.example", "api.example"));
        assert!(!list.allows("http://app.example", "api.example"));
    }
}
