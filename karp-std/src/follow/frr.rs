//! What FRR shows of OSPFv2 and OSPFv3 (ospfd's and ospf6d's JSON, tried with FRR 10.3), in the default VRF and instance.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use karp_core::algorithm::RoutingProtocol;
use serde_json::Value;

use super::{LinkRole, Neighbour, ObserveError, Observer, Snapshot};
use crate::{
    daemons::frr::Vty,
    sinks::{SinkError, frr::socket},
};

/// How often it is looked at, if the caller would wait longer. A look costs a few milliseconds.
const INTERVAL: Duration = Duration::from_millis(500);

/// Looks at one interface of ospfd or ospf6d.
#[derive(Debug)]
pub struct FrrObserver {
    socket: PathBuf,
    protocol: RoutingProtocol,
    interface: String,
}

impl FrrObserver {
    /// An observer of `protocol` on `interface`; `directory` has the sockets of FRR's daemons (`/run/frr`).
    ///
    /// # Errors
    /// If the protocol is neither OSPFv2 nor OSPFv3, or `interface` no name that an interface can have.
    pub fn new(directory: &Path, protocol: RoutingProtocol, interface: String) -> Result<Self, ObserveError> {
        let is_plain = |c: char| c.is_ascii_graphic() && c != '|';
        if interface.is_empty() || interface.len() > 15 || !interface.chars().all(is_plain) {
            return Err(ObserveError {
                not_running: false,
                problem: format!(
                    "`{}` is no interface's name; set the name that `ip link` shows",
                    interface.escape_debug()
                ),
            });
        }
        Ok(Self {
            socket: socket(directory, protocol).map_err(observe_error)?,
            protocol,
            interface,
        })
    }

    fn look(&self) -> Result<Snapshot, SinkError> {
        let mut vty = Vty::connect(&self.socket)?;
        // In the words of the sink.
        let epoch = format!("{} {}", self.protocol.name(), vty.epoch()?);
        let mut show = |command: &str| {
            let answer = vty.show(command)?;
            serde_json::from_str(answer.text()).map_err(|error| {
                SinkError::unreachable(
                    format!(
                        "{}: the answer to `{command}` is no JSON ({error})",
                        self.socket.display()
                    ),
                    "FRR 10.3 is what karp is tried with",
                )
            })
        };
        let name = &self.interface;
        let seen = if self.protocol == RoutingProtocol::Ospfv2 {
            let interface = show(&format!("show ip ospf interface {name} json"))?;
            let neighbours = show("show ip ospf neighbor json")?;
            ospfv2(name, &interface, &neighbours)
        } else {
            let process = show("show ipv6 ospf6 json")?;
            let interface = show(&format!("show ipv6 ospf6 interface {name} json"))?;
            let neighbours = show("show ipv6 ospf6 neighbor json")?;
            ospfv3(name, &process, &interface, &neighbours)
        };
        Ok(Snapshot {
            protocol: self.protocol,
            epoch,
            router_id: seen.router_id,
            role: seen.role,
            neighbours: seen.neighbours,
            sequence: seen.sequence,
        })
    }
}

impl Observer for FrrObserver {
    fn describe(&self) -> String {
        format!(
            "frr {} {} {}",
            self.socket.display(),
            self.protocol.name(),
            self.interface
        )
    }

    fn snapshot(&mut self) -> Result<Snapshot, ObserveError> {
        self.look().map_err(observe_error)
    }

    /// FRR tells of nothing by itself: this sleeps, half a second at most.
    fn wait(&mut self, at_most: Duration) {
        thread::sleep(at_most.min(INTERVAL));
    }
}

fn observe_error(error: SinkError) -> ObserveError {
    ObserveError {
        not_running: error.is_not_running(),
        problem: error.to_string(),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    router_id: Option<u32>,
    role: Option<LinkRole>,
    neighbours: Vec<Neighbour>,
    sequence: Option<(u64, u64)>,
}

/// From `show ip ospf interface NAME json` and `show ip ospf neighbor json`. ospfd shows no sequence numbers; they are the
/// time in seconds, or one more than the last.
fn ospfv2(name: &str, interface: &Value, neighbours: &Value) -> Seen {
    let interface = interface.get("interfaces").and_then(|all| all.get(name));
    let field = |field: &str| interface.and_then(|interface| text(interface, field));
    let enabled = interface.and_then(|interface| interface.get("ospfEnabled"));
    let role = field("state")
        .and_then(role)
        .filter(|_| enabled.and_then(Value::as_bool) == Some(true));

    let by_id = neighbours.get("neighbors").and_then(Value::as_object);
    let each = by_id.into_iter().flatten().flat_map(|(id, adjacencies)| {
        let adjacencies = adjacencies.as_array().into_iter().flatten();
        adjacencies.map(move |adjacency| (id, adjacency))
    });
    // "eth0:10.9.0.1": the interface and our address on it.
    let here = each.filter(|(_, adjacency)| {
        let at = text(adjacency, "ifaceName").unwrap_or_default();
        at == name || at.rsplit_once(':').is_some_and(|(at, _)| at == name)
    });
    let neighbours = here.map(|(id, adjacency)| {
        let shown = text(adjacency, "nbrState").unwrap_or_default();
        let (state, theirs) = shown.split_once('/').unwrap_or((shown, ""));
        neighbour(id, shown, state, theirs, role)
    });
    Seen {
        router_id: field("routerId").and_then(router_id),
        role,
        neighbours: neighbours.collect(),
        sequence: None,
    }
}

/// From `show ipv6 ospf6 json`, `show ipv6 ospf6 interface NAME json` and `show ipv6 ospf6 neighbor json`.
fn ospfv3(name: &str, process: &Value, interface: &Value, neighbours: &Value) -> Seen {
    let interface = interface.get(name);
    let attached = interface.and_then(|interface| interface.get("attachedToArea"));
    let role = interface
        .and_then(|interface| text(interface, "ospf6InterfaceState"))
        .and_then(role)
        .filter(|_| attached.and_then(Value::as_bool) == Some(true));

    let all = neighbours.get("neighbors").and_then(Value::as_array);
    let here = all
        .into_iter()
        .flatten()
        .filter(|neighbour| text(neighbour, "interfaceName") == Some(name));
    let neighbours = here.map(|shown| {
        let state = text(shown, "state").unwrap_or_default();
        let theirs = text(shown, "ifState").unwrap_or_default();
        let id = text(shown, "neighborId").unwrap_or_default();
        neighbour(id, &format!("{state}/{theirs}"), state, theirs, role)
    });
    // The two halves of RFC 7166's sequence number, of which the higher counts the starts of the daemon.
    let half = |field: &str| process.get(field)?.as_u64()?.try_into().ok();
    let sequence = half("AuthTrailerHigherSeqNo").zip(half("AuthTrailerLowerSeqNo"));
    Seen {
        router_id: text(process, "routerId").and_then(router_id),
        role,
        neighbours: neighbours.collect(),
        sequence: sequence
            .map(|(higher, lower): (u32, u32)| (u64::from(higher) << 32 | u64::from(lower), u64::MAX)),
    }
}

fn neighbour(id: &str, shown: &str, state: &str, theirs: &str, ours: Option<LinkRole>) -> Neighbour {
    let up = match state {
        "Full" => true,
        // All that two routers become which are neither DR nor BDR.
        "2-Way" | "Twoway" => theirs == "DROther" && ours == Some(LinkRole::Other),
        _ => false,
    };
    Neighbour {
        id: id.to_owned(),
        state: shown.to_owned(),
        up,
    }
}

/// The role in an interface's state. An interface that is down, or waits to learn who is DR, has none.
fn role(state: &str) -> Option<LinkRole> {
    Some(match state {
        "DR" => LinkRole::Dr,
        "BDR" | "Backup" => LinkRole::Bdr,
        "DROther" | "Point-To-Point" | "PointToPoint" | "PtMultipoint" => LinkRole::Other,
        _ => return None,
    })
}

fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object.get(field)?.as_str()
}

fn router_id(text: &str) -> Option<u32> {
    text.parse::<Ipv4Addr>().ok().map(u32::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        daemons::frr::fake::{Fake, Lie},
        sinks::{
            Sink as _,
            frr::{FrrSink, Settings},
        },
    };

    fn v2(state: &str, neighbours: Value) -> Seen {
        let interface = json!({"interfaces": {"eth0": {
            "ifUp": true, "ospfEnabled": true, "routerId": "10.9.255.1", "state": state, "drId": "10.9.255.1",
        }}});
        ospfv2("eth0", &interface, &json!({"neighbors": neighbours}))
    }

    #[test]
    fn ospfv2_neighbours_of_the_interface_alone_are_shown() {
        let seen = v2(
            "DR",
            json!({
                "10.9.255.2": [{"nbrState": "Full/Backup", "converged": "Full", "role": "Backup", "ifaceName": "eth0:10.9.0.1"}],
                "10.9.255.3": [
                    {"nbrState": "Full/DR", "converged": "Full", "role": "DR", "ifaceName": "eth1:10.8.0.1"},
                    {"nbrState": "Init/DROther", "converged": "Init", "role": "DROther", "ifaceName": "eth0:10.9.0.1"},
                ],
            }),
        );
        assert_eq!(
            (seen.router_id, seen.role, seen.sequence),
            (Some(0x0a09_ff01), Some(LinkRole::Dr), None)
        );
        let seen: Vec<_> = seen
            .neighbours
            .iter()
            .map(|n| (n.id.as_str(), n.state.as_str(), n.up))
            .collect();
        assert_eq!(
            seen,
            [
                ("10.9.255.2", "Full/Backup", true),
                ("10.9.255.3", "Init/DROther", false)
            ]
        );
    }

    #[test]
    fn two_way_is_up_between_routers_that_are_neither_dr_nor_bdr() {
        let two_way = |theirs: &str| json!({"10.9.255.3": [{"nbrState": format!("2-Way/{theirs}"), "ifaceName": "eth0:10.9.0.1"}]});
        let up = |state: &str, theirs: &str| v2(state, two_way(theirs)).neighbours[0].up;
        assert!(up("DROther", "DROther"));
        assert!(!up("DROther", "DR"));
        assert!(!up("DR", "DROther"));
        assert!(!up("Waiting", "DROther"));
    }

    #[test]
    fn an_interface_that_does_not_take_part_has_no_role() {
        for state in ["Down", "Waiting", "Loopback", "", "dr"] {
            assert_eq!(v2(state, json!({})).role, None, "{state}");
        }
        let off = ospfv2("eth0", &json!({}), &json!({}));
        assert_eq!((off.router_id, off.role, off.neighbours), (None, None, vec![]));
        let disabled = json!({"interfaces": {"eth0": {"ospfEnabled": false, "state": "DR"}}});
        assert_eq!(ospfv2("eth0", &disabled, &json!({})).role, None);
        let none = ospfv3(
            "eth0",
            &json!({}),
            &json!({"noSuchInterface": "eth0"}),
            &json!({}),
        );
        assert_eq!((none.role, none.sequence), (None, None));
    }

    #[test]
    fn ospfv3_shows_its_sequence_number_in_halves() {
        let process =
            json!({"routerId": "10.9.255.1", "AuthTrailerHigherSeqNo": 3, "AuthTrailerLowerSeqNo": 446});
        let interface =
            json!({"eth0": {"attachedToArea": true, "ospf6InterfaceState": "BDR", "dr": "10.9.255.2"}});
        let neighbours = json!({"neighbors": [
            {"neighborId": "10.9.255.2", "state": "Full", "ifState": "DR", "interfaceName": "eth0", "interfaceState": "BDR"},
            {"neighborId": "10.9.255.9", "state": "Full", "ifState": "DR", "interfaceName": "eth1", "interfaceState": "BDR"},
        ]});
        let seen = ospfv3("eth0", &process, &interface, &neighbours);
        let expected = Seen {
            router_id: Some(0x0a09_ff01),
            role: Some(LinkRole::Bdr),
            neighbours: vec![Neighbour {
                id: "10.9.255.2".to_owned(),
                state: "Full/DR".to_owned(),
                up: true,
            }],
            sequence: Some(((3 << 32) + 446, u64::MAX)),
        };
        assert_eq!(seen, expected);
        let negative = json!({"AuthTrailerHigherSeqNo": -1, "AuthTrailerLowerSeqNo": 4_294_967_296_u64});
        assert_eq!(ospfv3("eth0", &negative, &json!([]), &json!(7)).sequence, None);
    }

    #[test]
    fn shapes_that_ospf_never_shows_do_no_harm() {
        let odd = [
            json!(null),
            json!(1.5),
            json!("x"),
            json!([[]]),
            json!({"interfaces": [], "neighbors": {"a": 1, "b": [1, {"ifaceName": 3}, {"ifaceName": "eth0"}]}}),
            json!({"interfaces": {"eth0": "up"}, "eth0": [], "neighbors": [null, {"interfaceName": "eth0"}]}),
        ];
        for one in &odd {
            for other in &odd {
                ospfv2("eth0", one, other);
                ospfv3("eth0", one, one, other);
            }
        }
    }

    #[test]
    fn a_daemon_is_asked_anew_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let observer = |protocol| FrrObserver::new(directory.path(), protocol, "eth0".to_owned()).unwrap();
        let mut observer = observer(RoutingProtocol::Ospfv3);
        assert!(observer.snapshot().unwrap_err().not_running);
        let ospf6d = Fake::start(directory.path(), "ospf6d.vty");
        // The fake does not know these commands yet.
        let unknown = observer.snapshot().unwrap_err();
        assert!(
            !unknown.not_running && unknown.problem.contains("status 2"),
            "{unknown}"
        );
        ospf6d.lies("show ipv6 ospf6 neighbor", Lie::Says("{\"neighbors\": []}"));
        ospf6d.lies(
            "show ipv6 ospf6 interface eth0 json",
            Lie::Says(r#"{"eth0": {"attachedToArea": true, "ospf6InterfaceState": "DR"}}"#),
        );
        ospf6d.lies("show ipv6 ospf6 json", Lie::Says("{\"routerId\": \"10.9.255.1\""));
        assert!(observer.snapshot().unwrap_err().problem.contains("no JSON"));
        ospf6d.state().lies.pop();
        ospf6d.lies(
            "show ipv6 ospf6 json",
            Lie::Says("{\"routerId\": \"10.9.255.1\"}"),
        );
        let seen = observer.snapshot().unwrap();
        assert_eq!(
            (seen.role, seen.router_id),
            (Some(LinkRole::Dr), Some(0x0a09_ff01))
        );
        // The words of the sink for one daemon.
        let mut sink = FrrSink::new(Settings {
            directory: directory.path().to_owned(),
            chains: [(RoutingProtocol::Ospfv3, "karp".to_owned())].into(),
        })
        .unwrap();
        assert_eq!(sink.epoch().unwrap(), Some(seen.epoch));
    }

    #[test]
    fn names_that_no_interface_has_are_refused() {
        for name in ["", "a b", "eth0\0json", "eth0|grep", "interface-with-a-long-name"] {
            let refused = FrrObserver::new(Path::new("/run/frr"), RoutingProtocol::Ospfv2, name.to_owned());
            assert!(refused.unwrap_err().problem.contains("ip link"));
        }
        let isis = FrrObserver::new(Path::new("/run/frr"), RoutingProtocol::Isis, "eth0".to_owned());
        assert!(isis.unwrap_err().problem.contains("IS-IS"));
    }
}
