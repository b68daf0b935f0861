//! The views over maps in memory, as text and as JSON.

use lb_common::addr::Protocol;
use lb_common::backend::BackendState;
use lb_common::conntrack::Direction;
use lb_common::entries;
use lb_common::frontend::{Frontend, SlotRange};
use lb_common::reason::Reason;
use lb_common::service::ServiceName;

use super::*;
use crate::datapath::{AttachPoint, AttachedHooks, Holder};
use crate::maps::memory::Memory;
use crate::maps::{BackendRow, FlowRow, FrontendAt, Limits, Maps, Op};
use crate::model::{Cidr, Families};

/// The flows of the example were last seen five seconds ago.
const CLOCK: Clock = Clock {
    now: 1_000,
    ticks_per_second: 100,
};

#[test]
fn services_are_shown_one_frontend_a_line() {
    assert_eq!(
        services(&example()).unwrap().to_string(),
        "\
SERVICE      PORT  PROTOCOL  FRONTEND       CLUSTER  LOCAL  AFFINITY  POLICY   ID
default/dns  -     UDP       10.96.0.10:53        0      1  -         Local     2
default/web  http  TCP       10.96.0.1:80         2      0  10800s    Cluster   1
"
    );
}

#[test]
fn backends_are_shown_with_their_share_of_the_slots() {
    assert_eq!(
        backends(&example()).unwrap().to_string(),
        "\
SERVICE               ADDRESS        STATE        SLOTS  EPOCH  ID
default/dns/UDP       10.1.0.1:5353  active       1/1       13   3
default/web:http/TCP  10.1.0.1:8080  active       2/4       11   1
default/web:http/TCP  10.1.0.2:8080  terminating  2/4       12   2
"
    );
}

#[test]
fn a_flow_is_shown_once_and_one_of_a_service_that_is_gone_says_so() {
    let clock = Clock {
        now: 1_000,
        ticks_per_second: 100,
    };
    let mut maps = example();
    // A copy from before it was assured.
    let state = "answered";
    let copy = FlowRow {
        state,
        last_seen: 300,
        ..maps.conntrack[0]
    };
    let client = "10.2.0.2:40000".parse().unwrap();
    let source_port = 51_234;
    let other = FlowRow {
        client,
        source_port,
        ..copy
    };
    maps.transient = vec![copy, other];
    assert_eq!(
        conntrack(&maps, clock).unwrap().to_string(),
        "\
PROTOCOL  CLIENT          FRONTEND      SOURCE  BACKEND        STATE        IDLE  SERVICE
TCP       10.2.0.1:40000  10.96.0.1:80   40000  10.1.0.1:8080  established  5s    default/web:http/TCP
TCP       10.2.0.1:40001  10.96.0.1:80   40000  10.1.0.1:8080  established  0s    unknown service port 9
TCP       10.2.0.2:40000  10.96.0.1:80   51234  10.1.0.1:8080  answered     7s    default/web:http/TCP
"
    );
}

#[test]
fn idle_time_is_right_when_the_clock_wraps() {
    let clock = Clock {
        now: 200,
        ticks_per_second: 100,
    };
    let mut maps = example();
    maps.conntrack[0].last_seen = u32::MAX - 99;
    assert_eq!(conntrack(&maps, clock).unwrap().rows[0].idle_seconds, 3);
}

#[test]
fn status_warns_of_a_map_that_is_nearly_full_and_of_devices_without_programs() {
    let point =
        |ifindex, device: Option<&str>, ingress: &[Holder], egress: &[Holder]| AttachPoint {
            ifindex,
            device: device.map(str::to_owned),
            ingress: ingress.to_vec(),
            egress: egress.to_vec(),
        };
    let devices = vec![
        point(9, Some("vetha"), &[Holder::Tcx], &[Holder::Tcx]),
        point(10, None, &[Holder::Gone], &[Holder::Gone]),
        point(11, Some("vethbbb"), &[], &[Holder::Tcx, Holder::Clsact]),
    ];
    let mut maps = example();
    let flow = maps.conntrack[0];
    maps.conntrack.resize(100, flow);
    maps.transient = vec![flow];
    maps.lru_entries[2] = 60;
    maps.lru_entries[3] = 3;
    maps.lru_entries[entries::displaced_index(4) as usize] = 5;
    for range in ["fd00:10:96::/112", "10.96.0.0/12"] {
        let range: Cidr = range.parse().unwrap();
        maps.apply(&[Op::PutServiceCidrs(range.family(), vec![range])]);
    }
    let status = status(&maps, devices, true, CLOCK)
        .unwrap()
        .with_socket_programs(AttachedHooks { attached: 8, of: 8 });
    assert_eq!(
        status.to_string(),
        "\
layout      v9
families    IPv4 and IPv6
agent       running, process 77, started 2026-01-01T00:00:00Z
desired     written 3 times, last 2026-01-01T00:00:10Z
sockets     host, 8 of 8 programs attached
cidrs       10.96.0.0/12 fd00:10:96::/112
redirect    on, between pods

MAP              USED  ENTRIES
frontends_v4        4        5  nearly full: raise --max-frontends
frontends_v6        0        5
slots               5      100
backends_v4         3       10
backends_v6         0       10
flows_v4            0       70  gave up 5 that were not assured
flows_v6            0       70
conntrack_v4      100      100  nearly full, then forgets connections: raise --max-conntrack
conntrack_v6        0      100
transient_v4        1       50  forgot the longest unused, 7 so far
transient_v6        0       50
affinity_v4         0      100
affinity_v6         0      100
vip_filter          1   524288
services            2       10
unserved_v4         0    65536
unserved_v6         0    65536
socket_peers        0      100
socket_affinity     0      100

DEVICE   IFINDEX  INGRESS  EGRESS
vetha          9  tcx      tcx
-             10  gone     gone
vethbbb       11  missing  tcx+clsact

REASON        PACKETS
new-flow            7
unknown-port        1
"
    );
}

#[test]
fn connections_in_use_are_a_reason_to_warn_and_those_that_are_nobodys_are_not() {
    let row = |conntrack: &[FlowRow], transient: &[FlowRow], map: &str| {
        let mut maps = example();
        maps.conntrack = conntrack.to_vec();
        maps.transient = transient.to_vec();
        let status = status(&maps, Vec::new(), true, CLOCK).unwrap();
        let row = status.maps.into_iter().find(|row| row.map == map).unwrap();
        (row.used, row.nearly_full)
    };
    let used = example().conntrack[0];
    let silent = FlowRow {
        longest_silence: 4,
        ..used
    };
    assert_eq!(row(&[used; 79], &[], "conntrack_v4"), (79, false));
    assert_eq!(row(&[used; 80], &[], "conntrack_v4"), (80, true));
    assert_eq!(row(&[silent; 100], &[], "conntrack_v4"), (0, false));
    // Whatever comes along is there, and nothing else is to be expected.
    assert_eq!(row(&[], &[used; 50], "transient_v4"), (50, false));
    assert_eq!(row(&[], &[], "frontends_v4"), (4, true));
}

#[test]
fn status_tells_an_agent_that_runs_from_one_that_does_not() {
    let check = |maps: &Memory, running, words: &str| {
        let status = status(maps, Vec::new(), running, CLOCK).unwrap();
        let text = status.to_string();
        let line = text.lines().find_map(|line| line.strip_prefix("agent"));
        assert_eq!(line.unwrap().trim_start(), words);
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["agent_running"], running);
    };
    let new = Memory::new(Limits::default());
    check(&new, false, "not running, none has run yet");
    check(&new, true, "running, about to start");
    check(
        &example(),
        true,
        "running, process 77, started 2026-01-01T00:00:00Z",
    );
    check(
        &example(),
        false,
        "not running, the last one was process 77, started 2026-01-01T00:00:00Z",
    );
}

#[test]
fn a_data_plane_that_no_agent_has_written_says_so() {
    let text = status(&Memory::new(Limits::default()), Vec::new(), false, CLOCK)
        .unwrap()
        .to_string();
    assert!(text.contains("never written yet"), "{text}");
}

#[test]
fn json_holds_the_fields_of_a_row() {
    let json = serde_json::to_value(services(&example()).unwrap()).unwrap();
    assert_eq!(
        json[1],
        serde_json::json!({
            "namespace": "default",
            "name": "web",
            "port_name": "http",
            "protocol": "TCP",
            "frontend": "10.96.0.1:80",
            "cluster_backends": 2,
            "local_backends": 0,
            "affinity_seconds": 10800,
            "policy": "Cluster",
            "id": 1
        })
    );
}

#[test]
fn the_dump_names_what_is_missing() {
    let mut maps = example();
    let frontend = FrontendAt::new("10.96.0.2:80".parse().unwrap(), Protocol::Tcp);
    let range = SlotRange { offset: 50, len: 2 };
    let row = Frontend::new(8, range, SlotRange::default(), 0, 0);
    assert!(maps.apply(&[Op::PutFrontend(frontend, row)])[0].is_ok());
    let dump = dump(&maps).unwrap();
    assert!(
        dump.contains("vip      10.96.0.10 endpoints=no NOT IN THE FILTER\n"),
        "{dump}"
    );
    assert!(
        dump.contains(
            "frontend 10.96.0.2:80/TCP unknown service port 8 policy=Cluster endpoints=no affinity=0s cluster=[MISSING(2)] local=[]\n"
        ),
        "{dump}"
    );
}

/// Two Services, three backends, two flows of which one is a Service's that is gone.
fn example() -> Memory {
    let limits = Limits {
        families: Families::Both,
        frontends: 5,
        backends: 10,
        slots: 100,
        services: 10,
        flows: 70,
        conntrack: 100,
        transient: 50,
        affinity: 100,
        sockets: 100,
    };
    let mut maps = Memory::new(limits);
    let at = |socket: &str, protocol| FrontendAt::new(socket.parse().unwrap(), protocol);
    let backend = |socket: &str, state, epoch, service_id| {
        BackendRow::new(socket.parse().unwrap(), state, epoch, service_id)
    };
    let web = SlotRange { offset: 0, len: 4 };
    let dns = SlotRange { offset: 4, len: 1 };
    let none = SlotRange::default();
    let flags = Frontend::LOCAL_ONLY | Frontend::HAS_ENDPOINTS;
    let address = |socket: &str| FrontendAt::address_row(at(socket, Protocol::Tcp).address());
    let config = lb_common::config::Config {
        secret: 1,
        started_at: 1_767_225_600,
        synced_at: 1_767_225_610,
        generation: 3,
        agent_pid: 77,
        ticks_per_second: 100,
        socket_lb: 1,
        redirect: 1,
    };
    let results = maps.apply(&[
        Op::PutService(
            1,
            ServiceName::new("default", "web", "http", Protocol::Tcp)
                .unwrap()
                .into(),
        ),
        Op::PutService(
            2,
            ServiceName::new("default", "dns", "", Protocol::Udp)
                .unwrap()
                .into(),
        ),
        Op::PutBackend(1, backend("10.1.0.1:8080", BackendState::Active, 11, 1)),
        Op::PutBackend(
            2,
            backend("10.1.0.2:8080", BackendState::Terminating, 12, 1),
        ),
        Op::PutBackend(3, backend("10.1.0.1:5353", BackendState::Active, 13, 2)),
        Op::WriteSlots {
            offset: 0,
            ids: [1, 2, 1, 2, 3].into(),
        },
        Op::SetVipBit(crate::maps::row::vip_bit(&"10.96.0.1".parse().unwrap())),
        Op::PutFrontend(
            at("10.96.0.1:80", Protocol::Tcp),
            Frontend::new(1, web, none, 10_800, 2),
        ),
        Op::PutFrontend(
            at("10.96.0.10:53", Protocol::Udp),
            Frontend::new(2, none, dns, 0, flags),
        ),
        Op::PutFrontend(address("10.96.0.1:80"), Frontend::address_row(true)),
        Op::PutFrontend(address("10.96.0.10:53"), Frontend::address_row(false)),
        Op::PutConfig(config),
    ]);
    assert!(results.iter().all(Result::is_ok));
    let flow = |client: &str, direction, service_id, last_seen| FlowRow {
        direction,
        protocol: Protocol::Tcp,
        client: client.parse().unwrap(),
        frontend: "10.96.0.1:80".parse().unwrap(),
        source_port: 40_000,
        backend: "10.1.0.1:8080".parse().unwrap(),
        state: "established",
        backend_id: 1,
        epoch: 11,
        service_id,
        last_seen,
        longest_silence: 86_400,
    };
    maps.conntrack = vec![
        flow("10.2.0.1:40000", Direction::FromClient, 1, 500),
        flow("10.2.0.1:40000", Direction::FromBackend, 1, 500),
        // Stamped after the clock was read.
        flow("10.2.0.1:40001", Direction::FromClient, 9, 1_001),
    ];
    maps.counters[Reason::NewFlow as usize] = 7;
    maps.counters[Reason::UnknownPort as usize] = 1;
    maps
}
