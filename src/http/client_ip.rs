//! Whose request it is: the peer, or whom a trusted proxy names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Who is at the connection's other end.
#[must_use]
pub fn peer(extensions: &Extensions) -> IpAddr {
    extensions.get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip().to_canonical())
}

/// Whether an address is a trusted proxy's.
#[must_use]
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// The client's address. `X-Forwarded-For` counts from its right end, as far as each hop is a trusted proxy: what stands
/// further to the left, anybody can write. An entry that is no address ends the walk at the proxy that sent it.
#[must_use]
pub fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return client;
    }
    for header in headers.get_all(FORWARDED_FOR).iter().rev() {
        for entry in header.as_bytes().rsplit(|byte| *byte == b',') {
            let Some(address) = std::str::from_utf8(entry).ok().and_then(parse) else { return client };
            client = address;
            if !is_trusted(client, trusted) {
                return client;
            }
        }
    }
    client
}

/// An address, alone or with a port, IPv6 in brackets or without.
fn parse(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().or_else(|_| entry.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let trusted = ["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        client_ip(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_peer_is_believed() {
        assert_eq!(client("198.51.100.1", &["192.0.2.1"]), "198.51.100.1");
        assert_eq!(client("127.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("::ffff:127.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn the_rightmost_address_that_is_no_trusted_proxy_counts() {
        assert_eq!(client("127.0.0.1", &["192.0.2.1, 10.0.0.1"]), "10.0.0.1");
        assert_eq!(client("127.0.0.1", &["10.0.0.1,192.0.2.1 , 127.0.0.2"]), "192.0.2.1");
        assert_eq!(client("127.0.0.1", &["192.0.2.1", "10.0.0.1"]), "10.0.0.1");
        assert_eq!(client("127.0.0.1", &["10.0.0.1", "127.0.0.3, fd00::1"]), "10.0.0.1");
        assert_eq!(client("127.0.0.1", &["127.0.0.9"]), "127.0.0.9");
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        for broken in ["", "not an address", "unknown", "192.0.2.1, x", "1.2.3", "[::1"] {
            assert_eq!(client("127.0.0.1", &[broken]), "127.0.0.1", "{broken}");
        }
        assert_eq!(client("127.0.0.1", &["192.0.2.1, nonsense, 127.0.0.2"]), "127.0.0.2");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        let cases = [
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ];
        for (entry, address) in cases {
            assert_eq!(client("127.0.0.1", &[entry]), address);
        }
    }
}
