//! What the logs of the daemons have in common: times, and the routers that they name.

use super::record::Watched;

/// What a line of a daemon's log says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// A neighbour is in this state now.
    Neighbour {
        /// In which protocol.
        protocol: Watched,
        /// The neighbour's number on the LAN.
        host: u8,
        /// As the daemon names it.
        state: String,
    },
    /// The router itself is this on the link now.
    Role {
        /// In which protocol.
        protocol: Watched,
        /// As the daemon names it.
        role: String,
    },
    /// A packet was refused for its authentication.
    Refused {
        /// The number on the LAN of who it claims to be from.
        from: Option<u8>,
        /// The daemon's words.
        text: String,
    },
}

/// The number of the router that has this address or router id: 10.9.0.N, 10.9.255.N, fd09::N, or the link-local
/// address of [`link_local`](super::net::link_local). Punctuation and an interface after it are left aside.
#[must_use]
pub fn router_of(text: &str) -> Option<u8> {
    let text = text.split('%').next()?.trim_end_matches([',', ':', '.', ')']);
    for prefix in ["10.9.0.", "10.9.255."] {
        if let Some(host) = text.strip_prefix(prefix) {
            return host.parse().ok();
        }
    }
    for prefix in ["fe80::9ff:fe00:", "fd09::"] {
        if let Some(host) = text.strip_prefix(prefix) {
            return u8::from_str_radix(host, 16).ok();
        }
    }
    None
}

/// Unix time in milliseconds of "2026-11-24 11:23:36.731" or "2026/11/24 11:23:36.731", both in UTC.
#[must_use]
pub fn stamp(text: &str) -> Option<u64> {
    let (date, time) = text.trim().split_once(' ')?;
    let mut date = date.split(['-', '/']).map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    if !(1970..3000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.split(':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    let ms: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    // Days since 1970 in the Gregorian calendar, with years that begin in March so that the leap day is the last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + of_year - 719_468;
    let days = u64::try_from(days).ok()?;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_daemons_are_read() {
        assert_eq!(stamp("1970-01-01 00:00:00.000"), Some(0));
        assert_eq!(stamp("2000-02-29 12:00:00.5"), Some(951_825_600_500));
        assert_eq!(stamp("2026/11/24 11:22:53.650"), Some(1_795_519_373_650));
        assert_eq!(stamp("2026-13-24 11:22:53.650"), None);
        assert_eq!(stamp("soon"), None);
    }

    #[test]
    fn routers_are_known_by_any_of_their_addresses() {
        for text in [
            "10.9.0.3",
            "10.9.255.3,",
            "fd09::3",
            "fe80::9ff:fe00:3%eth0",
            "10.9.255.3%eth0:",
        ] {
            assert_eq!(router_of(text), Some(3), "{text}");
        }
        assert_eq!(router_of("fe80::9ff:fe00:42"), Some(66));
        assert_eq!(router_of("10.8.0.3"), None);
        assert_eq!(router_of("10.9.0.300"), None);
    }
}
