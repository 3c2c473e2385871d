//! The address that an interface has, for a router whose configuration leaves it to the interface.

use std::net::IpAddr;

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};

/// The address of `interface` of the wanted family that a router should use, or `current` if the interface still has it.
///
/// IPv4: the first. IPv6: the link-local one, which stays when prefixes come and go.
///
/// # Errors
/// What is missing, and what to do about it.
pub fn address_of(interface: &str, ipv6: bool, current: Option<IpAddr>) -> Result<IpAddr, String> {
    let entries: Vec<_> = getifaddrs()
        .map_err(|errno| format!("the interfaces cannot be listed: {errno}"))?
        .filter(|entry| entry.interface_name == interface)
        .collect();
    let Some(first) = entries.first() else {
        return Err(format!("there is no interface {interface}; waiting for it"));
    };
    if !first.flags.contains(InterfaceFlags::IFF_UP) {
        return Err(format!(
            "interface {interface} is down; waiting for it (ip link set {interface} up)"
        ));
    }
    let addresses = entries.iter().filter_map(|entry| {
        let address = entry.address.as_ref()?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    let addresses: Vec<IpAddr> = addresses.filter(|address| address.is_ipv6() == ipv6).collect();
    if let Some(current) = current.filter(|current| addresses.contains(current)) {
        return Ok(current);
    }
    let link_local = |address: &&IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let best = addresses.iter().find(link_local).or_else(|| addresses.first());
    best.copied().ok_or_else(|| {
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        format!("interface {interface} has no {family} address; waiting for one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn loopback_has_its_address() {
        let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(address_of("lo", false, None), Ok(localhost));
        assert_eq!(
            address_of("lo", false, Some(Ipv4Addr::BROADCAST.into())),
            Ok(localhost)
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = address_of("karp-none0", false, None).unwrap_err();
        assert!(error.contains("no interface karp-none0"), "{error}");
    }
}
