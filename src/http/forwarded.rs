//! Behind a proxy: whom it names as the client, believed only from configured networks.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::FORWARDED;
use ipnet::IpNet;

/// Names that are looked at; a longer chain is nobody's honest one.
const MAX_HOPS: usize = 32;

/// The client of a request from `peer`. The chain of proxies is walked from its end: the first name
/// that is not a trusted proxy's is the client; what stands before it may be made up.
pub(super) fn client_of(peer: IpAddr, trusted: &[IpNet], headers: &HeaderMap) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    let mut client = peer;
    for name in chain(headers).into_iter().rev().take(MAX_HOPS) {
        // A name that cannot be read hides who was before it.
        let Some(address) = name else {
            return client;
        };
        client = address;
        if !is_trusted(&client) {
            return client;
        }
    }
    client
}

/// The names in the order in which proxies added them.
fn chain(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = |name| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
    };
    let mut forwarded = lines(FORWARDED).flat_map(|line| line.split(',')).peekable();
    if forwarded.peek().is_some() {
        return forwarded.map(for_of).collect();
    }
    let names = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok());
    names
        .flat_map(|line| line.split(','))
        .map(address)
        .collect()
}

/// The `for=` of one element of RFC 7239.
fn for_of(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for")
            .then(|| address(value.trim_matches('"')))?
    })
}

/// `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => text,
    };
    let parsed = bare.parse().ok().or_else(|| {
        let socket: std::net::SocketAddr = bare.parse().ok()?;
        Some(socket.ip())
    });
    parsed.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, name: &'static str, value: &'static str) -> String {
        let proxies = [
            "10.0.0.0/8".parse().expect("a net"),
            "fd00::/8".parse().expect("a net"),
        ];
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a value"));
        client_of(peer.parse().expect("an address"), &proxies, &headers).to_string()
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_nobody_else() {
        let name = "x-forwarded-for";
        assert_eq!(seen("10.0.0.1", name, "192.0.2.7"), "192.0.2.7");
        assert_eq!(
            seen("192.0.2.1", name, "192.0.2.7"),
            "192.0.2.1",
            "not a proxy"
        );
        assert_eq!(
            seen("10.0.0.1", name, "1.1.1.1, 192.0.2.7, 10.0.0.2"),
            "192.0.2.7"
        );
        assert_eq!(seen("10.0.0.1", name, "192.0.2.7, unknown"), "10.0.0.1");
        assert_eq!(seen("fd00::1", name, "[2001:db8::1]:4711"), "2001:db8::1");
    }

    #[test]
    fn the_standard_header_comes_first() {
        let value = "for=1.1.1.1, for=\"[2001:db8::1]:80\";proto=https, For=10.1.1.1";
        assert_eq!(seen("10.0.0.1", "forwarded", value), "2001:db8::1");
        assert_eq!(seen("10.0.0.1", "forwarded", "for=_hidden"), "10.0.0.1");
    }
}
