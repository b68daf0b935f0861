//! Which Services a change concerns, and that the way to a state does not show in what it resolves to.

use lb_common::addr::Protocol;
use proptest::prelude::*;

use super::*;
use crate::model::{Cidr, Endpoint, EndpointPort, Family, ServicePort};

const HERE: &str = "here";

fn name(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}

fn service(service_name: &str, internal_local: bool) -> Arc<Service> {
    Arc::new(Service {
        name: name(service_name),
        created: 0,
        cluster_ips: vec!["10.96.0.10".parse().expect("address")],
        ports: vec![ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 80,
        }],
        internal_local,
        affinity_seconds: 0,
    })
}

fn slice(slice_name: &str, service: &str, hosts: &[u8]) -> Arc<EndpointSlice> {
    Arc::new(EndpointSlice {
        name: name(slice_name),
        service: service.into(),
        family: Family::V4,
        ports: vec![EndpointPort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 8080,
        }],
        endpoints: hosts
            .iter()
            .map(|host| Endpoint {
                address: [10, 0, 0, *host].into(),
                ready: host % 5 != 0,
                serving: true,
                terminating: host % 5 == 0,
                node: (host % 2 == 0).then(|| HERE.into()),
                zone_hints: vec![format!("zone-{}", host % 3)],
                node_hints: Vec::new(),
            })
            .collect(),
    })
}

fn tell_service(service: Arc<Service>) -> SourceEvent {
    SourceEvent::Service(service.name.clone(), Some(service))
}

fn tell_slice(slice: Arc<EndpointSlice>) -> SourceEvent {
    SourceEvent::EndpointSlice(slice.name.clone(), Some(slice))
}

fn tell_zone(zone: &str) -> SourceEvent {
    SourceEvent::Node(Some(Arc::new(Node {
        name: HERE.into(),
        zone: Some(zone.into()),
    })))
}

/// Services `a` and `b`, of which `a` has the slice `s`.
fn index() -> Index {
    let mut index = Index::new(HERE);
    for event in [
        tell_service(service("a", false)),
        tell_service(service("b", false)),
        tell_slice(slice("s", "a", &[1])),
    ] {
        index.apply(event);
    }
    index
}

#[track_caller]
fn check(event: SourceEvent, concerned: &[&str]) {
    let expected: Vec<_> = concerned.iter().map(|service| name(service)).collect();
    let mut index = index();
    assert_eq!(index.apply(event.clone()), expected, "{event:?}");
    assert_eq!(index.apply(event.clone()), [], "told twice: {event:?}");
}

#[test]
fn a_change_concerns_the_services_that_it_may_resolve_anew() {
    check(tell_service(service("a", true)), &["a"]);
    check(tell_service(service("c", false)), &["c"]);
    check(SourceEvent::Service(name("a"), None), &["a"]);
    check(tell_slice(slice("s", "a", &[2])), &["a"]);
    check(tell_slice(slice("t", "b", &[2])), &["b"]);
    check(SourceEvent::EndpointSlice(name("s"), None), &["a"]);
}

#[test]
fn a_slice_that_changes_its_service_label_concerns_both() {
    check(tell_slice(slice("s", "b", &[1])), &["a", "b"]);
    let mut index = index();
    index.apply(tell_slice(slice("s", "b", &[1])));
    assert!(index.resolve(&name("a"))[0].endpoints.is_empty());
    assert_eq!(index.resolve(&name("b"))[0].endpoints.len(), 1);
}

#[test]
fn what_changes_nothing_concerns_nobody() {
    check(tell_service(service("a", false)), &[]);
    check(tell_slice(slice("s", "a", &[1])), &[]);
    check(SourceEvent::EndpointSlice(name("unknown"), None), &[]);
    check(tell_slice(slice("t", "nobody", &[1])), &[]);
    check(SourceEvent::Node(None), &[]);
    check(SourceEvent::Synced(Unread::default()), &["b"]);
    check(SourceEvent::Synced(Unread::anything()), &[]);
}

#[test]
fn s_21_another_zone_concerns_every_service() {
    check(tell_zone("zone-1"), &["a", "b"]);
    let mut index = index();
    index.apply(tell_zone("zone-1"));
    assert_eq!(index.apply(SourceEvent::Node(None)), [name("a"), name("b")]);
    assert_eq!(index.node().zone, None);
}

#[test]
fn slices_may_be_told_before_their_service() {
    let mut index = Index::new(HERE);
    assert_eq!(index.apply(tell_slice(slice("s", "a", &[1]))), []);
    assert_eq!(index.apply(tell_service(service("a", false))), [name("a")]);
    assert_eq!(index.resolve(&name("a"))[0].endpoints.len(), 1);
}

#[test]
fn s_8_an_index_is_synced_and_complete_once_it_was_told_so() {
    let mut index = index();
    assert_eq!((index.is_synced(), index.unread()), (false, None));
    index.apply(SourceEvent::Synced(Unread::anything()));
    assert_eq!((index.is_synced(), index.unread()), (true, None));
    index.apply(SourceEvent::Synced(Unread::default()));
    assert_eq!((index.is_synced(), index.unread()), (true, Some([].into())));
}

#[test]
fn s_8_a_service_without_slices_is_unknown_until_the_list_is_complete() {
    let mut index = Index::new(HERE);
    index.apply(tell_service(service("a", false)));
    index.apply(tell_service(service("b", false)));
    index.apply(tell_slice(slice("s", "a", &[1])));
    index.apply(SourceEvent::Synced(Unread::anything()));
    let endpoints = |index: &Index, service| {
        let ports = index.resolve_known(&name(service))?;
        Some(ports.iter().map(|port| port.endpoints.len()).sum::<usize>())
    };
    assert_eq!(endpoints(&index, "a"), Some(1));
    assert_eq!(endpoints(&index, "b"), None);
    assert_eq!(endpoints(&index, "gone"), Some(0));

    let dirty = index.apply(SourceEvent::Synced(Unread::default()));
    assert_eq!(dirty, [name("b")]);
    assert_eq!(endpoints(&index, "b"), Some(0));
}

#[test]
fn s_8_what_cannot_be_read_leaves_unknown_only_whom_it_concerns() {
    let mut index = Index::new(HERE);
    let mut dual = Service::clone(&service("dual", false));
    dual.cluster_ips
        .push("fd00:96::10".parse().expect("address"));
    for event in [
        tell_service(service("a", false)),
        tell_service(service("b", false)),
        tell_service(service("some", false)),
        tell_service(dual.into()),
        tell_slice(slice("s", "some", &[1])),
        tell_slice(slice("d", "dual", &[1])),
    ] {
        index.apply(event);
    }
    let unread = Unread {
        services: [name("hidden")].into(),
        owners: ["a", "some", "dual", "gone"].map(name).into(),
        anything: false,
    };
    // Of `dual` only one family would have endpoints.
    assert_eq!(
        index.apply(SourceEvent::Synced(unread.clone())),
        [name("b")]
    );
    let known = ["a", "b", "some", "dual", "gone", "hidden"]
        .map(|service| index.resolve_known(&name(service)).is_some());
    assert_eq!(known, [false, true, true, false, true, true]);
    let concerned = ["a", "dual", "hidden", "some"].map(name).into();
    assert_eq!(index.unread(), Some(concerned));

    let unread = Unread {
        owners: [name("dual")].into(),
        ..unread
    };
    assert_eq!(index.apply(SourceEvent::Synced(unread)), [name("a")]);
    index.apply(SourceEvent::Service(name("dual"), None));
    assert_eq!(index.unread(), Some([name("hidden")].into()));
}

fn events() -> impl Strategy<Value = Vec<SourceEvent>> {
    let services = prop::sample::select(vec!["a", "b", "c"]);
    let slices = prop::sample::select(vec!["r", "s", "t", "u"]);
    let hosts = prop::collection::vec(1..12u8, 0..5);
    let event = prop_oneof![
        3 => (services.clone(), any::<bool>()).prop_map(|(name, local)| tell_service(service(name, local))),
        1 => services.clone().prop_map(|service| SourceEvent::Service(name(service), None)),
        5 => (slices.clone(), services, hosts).prop_map(|(name, owner, hosts)| tell_slice(slice(name, owner, &hosts))),
        1 => slices.prop_map(|slice| SourceEvent::EndpointSlice(name(slice), None)),
        1 => (0..3u8).prop_map(|zone| tell_zone(&format!("zone-{zone}"))),
        1 => Just(SourceEvent::Node(None)),
    ];
    prop::collection::vec(event, 0..40)
}

/// What an event is about: the last event about one thing says how it is.
fn subject(event: &SourceEvent) -> String {
    match event {
        SourceEvent::Service(name, _) => format!("Service {name}"),
        SourceEvent::EndpointSlice(name, _) => format!("EndpointSlice {name}"),
        SourceEvent::Node(_) => "Node".into(),
        SourceEvent::ServiceCidr(name, _) => format!("ServiceCIDR {name}"),
        SourceEvent::ServiceCidrsKnown => "ServiceCIDRs".into(),
        SourceEvent::Synced(_) | SourceEvent::Problems { .. } => String::new(),
    }
}

proptest! {
    #[test]
    fn only_the_final_objects_decide_the_resolution(events in events()) {
        let mut index = Index::new(HERE);
        let mut resolved: BTreeMap<ObjectName, Vec<ResolvedPort>> = BTreeMap::new();
        for event in &events {
            for service in index.apply(event.clone()) {
                let ports = index.resolve(&service);
                resolved.insert(service, ports);
            }
        }

        let last: BTreeMap<_, _> = events.iter().map(|event| (subject(event), event.clone())).collect();
        let mut fresh = Index::new(HERE);
        for event in last.into_values() {
            fresh.apply(event);
        }
        prop_assert!(index.services().eq(fresh.services()));
        for service in ["a", "b", "c"].map(name) {
            let expected = fresh.resolve(&service);
            prop_assert_eq!(&index.resolve(&service), &expected);
            // Whoever resolves only what a change concerns is never left behind.
            prop_assert_eq!(resolved.get(&service).cloned().unwrap_or_default(), expected);
        }
    }
}

fn tell_ranges(texts: &[&str]) -> SourceEvent {
    let ranges = texts.iter().map(|text| text.parse().expect("a range"));
    let object = ServiceCidr {
        ranges: ranges.collect(),
    };
    SourceEvent::ServiceCidr(ObjectName::new("", "ranges"), Some(Arc::new(object)))
}

#[test]
fn s_30_d_ranges_are_known_once_they_were_told_and_every_services_address_is() {
    let unread = |anything, services: &[&str]| {
        SourceEvent::Synced(Unread {
            services: services.iter().map(|it| name(it)).collect(),
            anything,
            ..Unread::default()
        })
    };
    let texts = |index: &Index| {
        let ranges = index.service_cidrs()?;
        Some(ranges.iter().map(Cidr::to_string).collect::<Vec<_>>())
    };
    let expected = Some(vec!["10.96.0.0/12".to_owned()]);
    let mut index = index();
    for (event, known) in [
        (tell_ranges(&["10.96.0.0/12"]), false),
        (SourceEvent::ServiceCidrsKnown, false),
        (unread(true, &[]), false),
        (unread(false, &["a", "odd"]), false),
        (tell_service(service("odd", false)), true),
        (unread(false, &[]), true),
    ] {
        index.apply(event);
        assert_eq!(texts(&index), expected.clone().filter(|_| known));
    }
    let gone = SourceEvent::ServiceCidr(ObjectName::new("", "ranges"), None);
    index.apply(gone);
    assert_eq!(texts(&index), Some(Vec::new()));

    let given = ["10.0.0.0/8".parse().expect("a range")].into();
    let mut index = Index::new(HERE).with_service_cidrs(Some(given));
    assert_eq!(texts(&index), None, "S-8");
    index.apply(tell_ranges(&["10.96.0.0/12"]));
    index.apply(unread(false, &[]));
    assert_eq!(texts(&index), Some(vec!["10.0.0.0/8".to_owned()]));
}

#[test]
fn s_30_d_a_service_without_ports_or_that_is_not_known_yet_keeps_its_addresses() {
    let mut index = index();
    let addresses = service("b", false).cluster_ips.clone();
    assert_eq!(index.unserved(&name("a")), [] as [IpAddr; 0]);
    assert_eq!(index.unserved(&name("b")), addresses, "it may have slices");
    index.apply(SourceEvent::Synced(Unread::default()));
    assert_eq!(index.unserved(&name("b")), [] as [IpAddr; 0]);
    let portless = Service {
        ports: Vec::new(),
        ..Service::clone(&service("b", false))
    };
    index.apply(tell_service(Arc::new(portless)));
    assert_eq!(index.unserved(&name("b")), addresses);
    assert_eq!(index.resolve_known(&name("b")), Some(Vec::new()));
    index.apply(SourceEvent::Service(name("b"), None));
    assert_eq!(index.unserved(&name("b")), [] as [IpAddr; 0]);
}

/// A Service with these addresses, and its slices of both families.
fn dual_stack(name: &str, addresses: &[&str]) -> Vec<SourceEvent> {
    let mut service = Arc::unwrap_or_clone(service(name, false));
    service.cluster_ips = addresses
        .iter()
        .map(|text| text.parse().expect("an address"))
        .collect();
    let v4 = slice(&format!("{name}-4"), name, &[1]);
    let mut v6 = Arc::unwrap_or_clone(slice(&format!("{name}-6"), name, &[1]));
    v6.family = Family::V6;
    v6.endpoints[0].address = "fd00::1".parse().expect("an address");
    vec![
        tell_service(Arc::new(service)),
        tell_slice(v4),
        tell_slice(Arc::new(v6)),
    ]
}

#[test]
fn addresses_slices_and_ranges_of_a_family_that_is_not_served_are_not_known() {
    let range = |text: &str| text.parse::<Cidr>().expect("a range");
    let both = [range("10.96.0.0/12"), range("fd00:10:96::/112")];
    for (families, given) in [
        (Families::Only(Family::V4), None),
        (Families::Only(Family::V6), Some(BTreeSet::from(both))),
    ] {
        let mut index = Index::new(HERE)
            .with_families(families)
            .with_service_cidrs(given);
        let mut events = dual_stack("both", &["10.96.0.10", "fd00:10:96::10"]);
        events.extend(dual_stack("four", &["10.96.0.11"]));
        events.extend(dual_stack("six", &["fd00:10:96::11"]));
        let cidr = ServiceCidr {
            ranges: both.to_vec(),
        };
        events.extend([
            SourceEvent::ServiceCidr(name("kubernetes"), Some(Arc::new(cidr))),
            SourceEvent::ServiceCidrsKnown,
            SourceEvent::Synced(Unread::default()),
        ]);
        for event in events {
            index.apply(event);
        }
        let served = |service: &str| {
            let ports = index.resolve_known(&name(service)).expect("a known one");
            let addresses = ports.into_iter().flat_map(|port| {
                let endpoints = port.endpoints.into_iter().map(|it| it.address);
                port.frontends.into_iter().chain(endpoints)
            });
            addresses
                .map(|at| at.ip().to_string())
                .collect::<Vec<String>>()
        };
        let found = ["both", "four", "six"].map(served);
        let ranges = index.service_cidrs().expect("known ranges");
        let (expected, range): ([&[&str]; 3], _) = match families {
            Families::Only(Family::V6) => (
                [
                    &["fd00:10:96::10", "fd00::1"],
                    &[],
                    &["fd00:10:96::11", "fd00::1"],
                ],
                both[1],
            ),
            _ => (
                [
                    &["10.96.0.10", "10.0.0.1"],
                    &["10.96.0.11", "10.0.0.1"],
                    &[],
                ],
                both[0],
            ),
        };
        assert_eq!(found, expected, "{families:?}");
        assert_eq!(ranges, [range].into(), "{families:?}");
        for service in ["both", "four", "six"] {
            assert_eq!(index.unserved(&name(service)), [] as [IpAddr; 0]);
        }
    }
}
