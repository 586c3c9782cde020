//! Which addresses may be called: public ones, and those that the configuration opens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::access::parse_network;

/// Longest host name.
const NAME_MAX: usize = 253;

/// What is open beside the public addresses: networks, and hosts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    networks: Vec<IpNet>,
    names: Vec<String>,
}

impl Allowed {
    /// Reads the entries of the configuration: an address, a network such as `10.0.0.0/8`, or a host name.
    ///
    /// # Errors
    /// The entry that is none of these.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut allowed = Self::default();
        for entry in entries.into_iter().map(str::trim).filter(|entry| !entry.is_empty()) {
            if let Some(network) = parse_network(entry) {
                allowed.networks.push(network);
            } else if is_name(entry) {
                allowed.names.push(canonical(entry));
            } else {
                return Err(entry.to_owned());
            }
        }
        Ok(allowed)
    }

    /// Whether the configuration opens this host by its name, wherever it resolves to.
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        let host = canonical(host);
        self.names.contains(&host)
    }

    /// Whether this very address may be connected to.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        is_public(address) || self.networks.iter().any(|network| network.contains(&canonical) || network.contains(&address))
    }
}

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn is_name(text: &str) -> bool {
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let text = text.trim_end_matches('.');
    // What ends in a number would be an address in some notation.
    let ends_in_letter = text.rsplit('.').next().is_some_and(|label| label.bytes().any(|byte| byte.is_ascii_alphabetic()));
    text.len() <= NAME_MAX && ends_in_letter && text.split('.').all(is_label)
}

/// Whether an address is a public one: reachable on the internet, and of one host.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)            // this network, private, loopback
            | (100, 64..=127, _)        // shared by a carrier's customers
            | (169, 254, _)             // link-local, with the metadata services of clouds
            | (172, 16..=31, _)         // private
            | (192, 0, 0)               // protocol assignments
            | (192, 0, 2)               // documentation
            | (192, 88, 99)             // relays of 6to4
            | (192, 168, _)             // private
            | (198, 18 | 19, _)         // benchmarks
            | (198, 51, 100)            // documentation
            | (203, 0, 113)             // documentation
            | (224..=255, _, _) // multicast, reserved, broadcast
    )
}

/// Global unicast is 2000::/3; whatever carries an IPv4 address is as public as that.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [a, b, ..] = segments;
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    match segments {
        // NAT64 with the well-known prefix.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => return v4(high, low),
        // 6to4.
        [0x2002, high, low, ..] if !v4(high, low) => return false,
        // ISATAP.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] if !v4(high, low) => return false,
        _ => {}
    }
    let is_special = match (a, b) {
        // Teredo, ORCHID, benchmarks and other protocol assignments.
        (0x2001, 0..=0x1ff) => true,
        // Documentation.
        (0x2001, 0xdb8) | (0x3fff, 0..=0xfff) => true,
        _ => false,
    };
    a & 0xe000 == 0x2000 && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        let public = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808", "2002:808:808::1"];
        for address in public.iter().chain(&["::ffff:8.8.8.8", "11.0.0.1", "2001:4860:4860::8888"]) {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        let other = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fc00::1",
            "fd00::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001:db8::1",
            "3fff::1",
            "2001::1",
            "2001:2::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::8.8.8.8",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::808:808",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "2a00::5efe:127.0.0.1",
            "2a00::200:5efe:192.168.0.1",
            "5f00::1",
        ];
        for address in other {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn the_configuration_opens_networks_and_names() {
        let allowed = Allowed::parse(["10.1.0.0/16", " 127.0.0.1 ", "", "Hooks.Internal.", "::1"]).unwrap();
        for address in ["10.1.2.3", "127.0.0.1", "::ffff:127.0.0.1", "::1", "8.8.8.8"] {
            assert!(allowed.permits(address.parse().unwrap()), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.2", "fe80::1"] {
            assert!(!allowed.permits(address.parse().unwrap()), "{address}");
        }
        assert!(allowed.names("hooks.internal") && allowed.names("HOOKS.internal.") && !allowed.names("internal"));
        for bad in ["10.0.0.0/33", "http://a", "a b", "2130706433", "a..b", "*"] {
            assert_eq!(Allowed::parse([bad]), Err(bad.to_owned()));
        }
    }
}
