//! The text form of monitors' addresses: what `mon host` of a `ceph.conf` says.
//!
//! Plain data; no names are resolved.

use std::str::FromStr as _;

use super::MONITORS_MAX;
use crate::error::Error;
use crate::wire::{AddrType, AddrVec, EntityAddr};

/// The ports of monitors, by version of the protocol.
const PORT_V1: u16 = 6789;
const PORT_V2: u16 = 3300;

/// Reads a list of monitors, separated by commas, semicolons or blanks. Each is `v1:IP[:PORT]`,
/// `v2:IP[:PORT]`, `IP[:PORT]`, or several addresses of one monitor in brackets. What has no
/// port has the usual one; what has neither version nor port has an address of both, and what
/// has port 6789 alone is taken for v1.
///
/// # Errors
/// If a part is none of that, or there are none or more than [`MONITORS_MAX`].
pub fn parse_hosts(text: &str) -> Result<Vec<AddrVec>, Error> {
    let mut monitors = Vec::new();
    for part in split(text) {
        let monitor = if let Some(inner) = list(part) {
            let addrs = split(inner).map(addresses);
            let addrs = addrs.collect::<Option<Vec<_>>>();
            addrs.map(|addrs| AddrVec(addrs.concat()))
        } else {
            addresses(part).map(AddrVec)
        };
        match monitor.filter(|monitor| !monitor.0.is_empty()) {
            Some(monitor) => monitors.push(monitor),
            None => {
                let text = format!(
                    "{part:?} is no address of a monitor; write v1:IP:PORT, v2:IP:PORT, IP, or \
                     several in brackets, such as [v2:10.0.0.1:3300,v1:10.0.0.1:6789]"
                );
                return Err(Error::misuse(text));
            }
        }
    }
    if monitors.is_empty() || monitors.len() > MONITORS_MAX {
        let n = monitors.len();
        let text = format!("{n} monitors in {text:?}, not 1 to {MONITORS_MAX}");
        return Err(Error::misuse(text));
    }
    Ok(monitors)
}

/// The inside of a list in brackets. An IPv6 address has brackets too, but only colons and digits
/// in them, and no prefix.
fn list(part: &str) -> Option<&str> {
    let inner = part.strip_prefix('[')?.strip_suffix(']')?;
    let is_ip = inner.parse::<std::net::Ipv6Addr>().is_ok();
    (!is_ip).then_some(inner)
}

/// Cuts at separators that are not in brackets.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    let parts = text.split(move |c: char| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && (c.is_whitespace() || matches!(c, ',' | ';'))
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

fn addresses(text: &str) -> Option<Vec<EntityAddr>> {
    let given = EntityAddr::from_str(text).ok()?;
    let sock = given.sock.filter(|sock| !sock.ip().is_unspecified())?;
    let with = |kind, port| {
        let mut sock = sock;
        sock.set_port(port);
        EntityAddr {
            kind,
            nonce: given.nonce,
            sock: Some(sock),
        }
    };
    let is_prefixed = text.starts_with("v1:") || text.starts_with("v2:");
    let addrs = match (is_prefixed, given.kind, sock.port()) {
        (true, AddrType::Legacy, 0) => vec![with(AddrType::Legacy, PORT_V1)],
        (true, AddrType::Msgr2, 0) => vec![with(AddrType::Msgr2, PORT_V2)],
        (true, AddrType::Legacy | AddrType::Msgr2, _) => vec![given],
        (false, AddrType::Msgr2, 0) => vec![
            with(AddrType::Msgr2, PORT_V2),
            with(AddrType::Legacy, PORT_V1),
        ],
        (false, AddrType::Msgr2, PORT_V1) => vec![with(AddrType::Legacy, PORT_V1)],
        (false, AddrType::Msgr2, _) => vec![given],
        _ => return None,
    };
    Some(addrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let monitors = parse_hosts(text).expect(text);
        monitors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_ceph_conf_may_say() {
        let both = "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]";
        for (text, want) in [
            ("10.0.0.1", &[both][..]),
            (" 10.0.0.1 ; ", &[both]),
            ("10.0.0.1:6789", &["[v1:10.0.0.1:6789/0]"]),
            ("10.0.0.1:3300", &["[v2:10.0.0.1:3300/0]"]),
            ("10.0.0.1:4000", &["[v2:10.0.0.1:4000/0]"]),
            ("v1:10.0.0.1", &["[v1:10.0.0.1:6789/0]"]),
            ("v2:[::1]", &["[v2:[::1]:3300/0]"]),
            ("[::1]", &["[v2:[::1]:3300/0,v1:[::1]:6789/0]"]),
            ("[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]", &[both]),
            (
                "[v2:10.0.0.1, v1:10.0.0.1],v1:10.0.0.2:1 v1:10.0.0.3:2",
                &[both, "[v1:10.0.0.2:1/0]", "[v1:10.0.0.3:2/0]"],
            ),
            ("[v1:[::1]:6789]", &["[v1:[::1]:6789/0]"]),
        ] {
            assert_eq!(shown(text), want, "{text}");
        }
    }

    #[test]
    fn what_it_may_not() {
        for text in [
            "",
            ",",
            "a.example.org",
            "v3:1.2.3.4:5",
            "[]",
            "[v1:1.2.3.4:5",
            "0.0.0.0:1",
            "v1:1.2.3.4:99999",
            "-",
            "any:1.2.3.4:5",
            "[v1:1.2.3.4:5]]",
            "[[v1:1.2.3.4:5]]",
        ] {
            assert!(parse_hosts(text).is_err(), "{text}");
        }
        let many = vec!["v1:1.2.3.4:5"; MONITORS_MAX + 1].join(",");
        assert!(parse_hosts(&many).is_err());
    }
}
