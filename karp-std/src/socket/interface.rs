//! Which interface of this machine has an address.

use std::net::{IpAddr, Ipv4Addr};

use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    net::if_::{InterfaceFlags, if_nametoindex},
    sys::socket::SockaddrStorage,
};

use super::SocketError;

/// A network interface that is up and has the node's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Its number, which changes when the interface is made anew.
    pub index: u32,
    /// Whether it is the loopback interface.
    pub loopback: bool,
}

impl Interface {
    /// The interface of this machine that has `address`, or, if `name` is given, the interface of that name, which must
    /// have it.
    ///
    /// # Errors
    /// If there is no such interface, it lacks the address or is down, or several have the address and none is named.
    pub fn find(address: IpAddr, name: Option<&str>) -> Result<Self, SocketError> {
        let all: Vec<InterfaceAddress> = getifaddrs()
            .map_err(|errno| {
                SocketError::other("address", address, "list this machine's interfaces", errno.into())
            })?
            .collect();
        if let Some(name) = name
            && !all.iter().any(|entry| entry.interface_name == name)
        {
            return Err(SocketError::new(
                "interface",
                name,
                "this machine has no such interface",
                format!("bring it up, or name one of: {}", names(&all)),
            ));
        }
        let named = |entry: &&InterfaceAddress| name.is_none_or(|name| entry.interface_name == name);
        let mut having = all.iter().filter(named).filter(|entry| has(entry, address));
        let Some(entry) = having.next() else {
            return Err(lacks(address, name, &all));
        };
        if having.any(|other| other.interface_name != entry.interface_name) {
            return Err(SocketError::new(
                "interface",
                "(none)",
                format!("several interfaces have {address}"),
                "name the one to use",
            ));
        }
        let name = entry.interface_name.as_str();
        if !entry.flags.contains(InterfaceFlags::IFF_UP) {
            return Err(SocketError::new(
                "interface",
                name,
                "the interface is down",
                format!("run: ip link set {name} up"),
            ));
        }
        let index = if_nametoindex(name).map_err(|errno| {
            SocketError::other("interface", name, "learn the interface's number", errno.into())
        })?;
        let loopback = entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        Ok(Self {
            name: name.to_owned(),
            index,
            loopback,
        })
    }
}

fn lacks(address: IpAddr, name: Option<&str>, all: &[InterfaceAddress]) -> SocketError {
    match name {
        Some(name) => SocketError::new(
            "address",
            address,
            format!("interface {name} does not have this address"),
            format!(
                "give the interface the address, or name one that it has: {}",
                addresses(all, Some(name), address)
            ),
        ),
        None => SocketError::new(
            "address",
            address,
            "no interface of this machine has this address",
            format!(
                "bring the interface up, or name an address that is there: {}",
                addresses(all, None, address)
            ),
        ),
    }
}

/// Whether an interface's entry stands for `address`. The whole of 127.0.0.0/8 is the loopback interface's.
fn has(entry: &InterfaceAddress, address: IpAddr) -> bool {
    match (entry.address.as_ref().and_then(ip), address) {
        (Some(IpAddr::V4(own)), IpAddr::V4(asked)) if asked.is_loopback() && own.is_loopback() => {
            let mask = entry.netmask.as_ref().and_then(ip);
            let mask = if let Some(IpAddr::V4(mask)) = mask {
                mask.to_bits()
            } else {
                Ipv4Addr::BROADCAST.to_bits()
            };
            own.to_bits() & mask == asked.to_bits() & mask
        }
        (own, asked) => own == Some(asked),
    }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

fn names(all: &[InterfaceAddress]) -> String {
    let mut names: Vec<&str> = all.iter().map(|entry| entry.interface_name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// The addresses of the family of `like` that there are, for a message.
fn addresses(all: &[InterfaceAddress], name: Option<&str>, like: IpAddr) -> String {
    let of_family = all
        .iter()
        .filter(|entry| name.is_none_or(|name| entry.interface_name == name))
        .filter_map(|entry| Some((entry.address.as_ref().and_then(ip)?, &entry.interface_name)))
        .filter(|(address, _)| address.is_ipv4() == like.is_ipv4());
    let list: Vec<String> = of_family
        .map(|(address, name)| format!("{address} ({name})"))
        .collect();
    if list.is_empty() {
        "none of this family".to_owned()
    } else {
        list.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    #[test]
    fn loopback_is_found() {
        let found = Interface::find(Ipv4Addr::LOCALHOST.into(), None).unwrap();
        assert!(found.loopback && found.index > 0);
        assert_eq!(
            Interface::find(Ipv4Addr::LOCALHOST.into(), Some(&found.name)).unwrap(),
            found
        );
        assert_eq!(
            Interface::find(Ipv4Addr::new(127, 3, 2, 1).into(), None).unwrap(),
            found
        );
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let error = Interface::find(Ipv4Addr::LOCALHOST.into(), Some("karp-none0")).unwrap_err();
        assert_eq!((error.field, error.value.as_str()), ("interface", "karp-none0"));
        let text = error.to_string();
        assert!(
            text.starts_with("interface karp-none0: this machine has no such interface; "),
            "{text}"
        );
        assert!(text.contains("lo"), "{text}");
    }

    #[test]
    fn an_address_that_is_not_here_is_named() {
        // Documentation addresses (RFC 5737, RFC 3849): nobody has them.
        for address in [
            IpAddr::from([192, 0, 2, 77]),
            IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 77)),
        ] {
            let error = Interface::find(address, None).unwrap_err();
            assert_eq!((error.field, error.value), ("address", address.to_string()));
            let lo = Interface::find(Ipv4Addr::LOCALHOST.into(), None).unwrap().name;
            let text = Interface::find(address, Some(&lo)).unwrap_err().to_string();
            assert!(
                text.contains(&format!("interface {lo} does not have this address")),
                "{text}"
            );
        }
    }
}
