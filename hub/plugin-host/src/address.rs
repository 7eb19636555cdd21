//! Which addresses a connector may reach: the public internet, and nothing else unless an admin named it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of address this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A public address.
    Public,
    /// Reachable only if the admin named the host or the address; the word says what it is.
    Private(&'static str),
    /// Reachable only if the admin named this very address: a cloud's metadata service hands out credentials.
    Metadata,
    /// Never a silo.
    Never(&'static str),
}

/// Judges an address, whatever form it is written in.
pub(crate) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [169, 254, 169, 254] | [100, 100, 100, 200] => Reach::Metadata,
        [0, ..] => Reach::Never("an unspecified address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Reach::Private("a private address"),
        [100, 64..=127, ..] => Reach::Private("a carrier's shared address"),
        [127, ..] => Reach::Private("a loopback address"),
        [169, 254, ..] => Reach::Private("a link-local address"),
        [192, 0, 0, _] | [198, 18..=19, ..] => Reach::Private("a special-purpose address"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Reach::Never("a documentation address"),
        [224..=239, ..] => Reach::Never("a multicast address"),
        [240..=255, ..] => Reach::Never("a reserved or broadcast address"),
        _ => Reach::Public,
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if address == Ipv6Addr::UNSPECIFIED {
        return Reach::Never("an unspecified address");
    }
    if address == Ipv6Addr::LOCALHOST {
        return Reach::Private("a loopback address");
    }
    if let Some(embedded) = embedded_v4(address) {
        return reach_embedded(embedded);
    }
    match address.segments() {
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] => Reach::Metadata,
        [0xfc00..=0xfdff, ..] => Reach::Private("a private address"),
        [0xfe80..=0xfebf, ..] => Reach::Private("a link-local address"),
        [0xfec0..=0xfeff, ..] => Reach::Private("a site-local address"),
        [0x0064, 0xff9b, 0x0001, ..] => Reach::Private("a local translation address"),
        [0xff00..=0xffff, ..] => Reach::Never("a multicast address"),
        [0x2001, 0x0000, ..] => Reach::Never("a tunnel address"),
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => Reach::Never("a documentation address"),
        [0x0100, 0, 0, 0, ..] => Reach::Never("a discard address"),
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Never("an unassigned address"),
    }
}

/// The IPv4 address inside a mapped, compatible, NAT64 or 6to4 address.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let low = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, a, b] => Some(low(a, b)),
        [0x0064, 0xff9b, 0, 0, 0, 0, a, b] => Some(low(a, b)),
        [0x2002, a, b, ..] => Some(low(a, b)),
        _ => None,
    }
}

// A silo has no reason to be reached through such a form, an attacker has: refused even when the address inside is public.
fn reach_embedded(embedded: Ipv4Addr) -> Reach {
    match reach_v4(embedded) {
        Reach::Public => Reach::Private("an IPv4 address inside an IPv6 address"),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> &'static str {
        match reach(text.parse().unwrap()) {
            Reach::Public => "public",
            Reach::Private(_) => "private",
            Reach::Metadata => "metadata",
            Reach::Never(_) => "never",
        }
    }

    #[test]
    fn only_public_addresses_are_public() {
        for address in ["1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"] {
            assert_eq!(kind(address), "public", "{address}");
        }
    }

    #[test]
    fn inner_addresses_are_private_in_every_form() {
        let inner = [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.1.2.3",
            "169.254.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "fec0::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::7f00:1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:c0a8:101::1",
        ];
        for address in inner {
            assert_eq!(kind(address), "private", "{address}");
        }
    }

    #[test]
    fn metadata_services_are_known_in_every_form() {
        for address in ["169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "fd00:ec2::254", "100.100.100.200"] {
            assert_eq!(kind(address), "metadata", "{address}");
        }
    }

    #[test]
    fn what_can_be_no_silo_is_never_reached() {
        let never = [
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.2.1",
            "::",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "100::1",
            "::ffff:224.0.0.1",
            "4000::1",
        ];
        for address in never {
            assert_eq!(kind(address), "never", "{address}");
        }
    }
}
