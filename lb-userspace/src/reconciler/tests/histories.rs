//! The whole way, from objects of the Kubernetes API to maps: whatever happens to Services, EndpointSlices and the node,
//! in whatever order, the maps are whole after every write and end as if the final objects had been there from the start.
//!
//! Proves S-1 to S-8 and S-20 to S-25 together; the tables beside `convert` and `resolve` prove them one by one.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1 as discovery;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::watched::Watched;
use crate::maps::Maps;
use crate::model::{Concern, Index, ObjectName, SourceEvent, Unread};
use crate::source::convert;

const HERE: &str = "node-1";
const SERVICES: [&str; 3] = ["backend", "cache", "dns"];
const SLICES: [&str; 6] = [
    "backend-1-v4",
    "backend-2-v4",
    "backend-v6",
    "cache-v4",
    "cache-v6",
    "dns-v4",
];

/// The objects that exist, as the API server has them.
type Objects = BTreeMap<(Kind, &'static str), Value>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Service,
    Slice,
    Node,
}

#[derive(Clone, Debug)]
enum Event {
    Put(Kind, &'static str, Value),
    Delete(Kind, &'static str),
    Write,
    Wait(u64),
    /// Another agent starts, and sees so many objects before the list is complete.
    Restart(usize),
    /// Another agent starts, and can't read these objects before it has written.
    RestartBlind(BTreeSet<(Kind, &'static str)>),
}

/// A Service of any type, with or without labels that make it another's.
fn service(name: &'static str) -> impl Strategy<Value = Value> {
    let at = SERVICES
        .iter()
        .position(|service| *service == name)
        .unwrap();
    // One address is contended for by all.
    let v4 = select(vec![
        format!("10.96.0.{at}"),
        format!("10.96.1.{at}"),
        "10.96.2.1".into(),
    ]);
    let addresses = (v4, any::<bool>(), any::<bool>()).prop_map(move |(v4, dual, v6_first)| {
        let v6 = format!("fd00:96::{at}");
        match (dual, v6_first) {
            (false, false) => json!([v4]),
            (false, true) => json!([v6]),
            (true, false) => json!([v4, v6]),
            (true, true) => json!([v6, v4]),
        }
    });
    let kind = select(vec![
        "ClusterIP",
        "ClusterIP",
        "ClusterIP",
        "NodePort",
        "LoadBalancer",
        "ExternalName",
        "headless",
        "other-proxy",
    ]);
    let port = (
        select(vec!["http", "http", "dns", ""]),
        select(vec!["TCP", "TCP", "UDP"]),
        select(vec![53, 80]),
    )
        .prop_map(
            |(name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}),
        );
    let affinity = prop_oneof![
        3 => Just(json!({})),
        1 => Just(json!({"sessionAffinity": "ClientIP"})),
        1 => (1..200_u32).prop_map(|seconds| json!({
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}},
        })),
    ];
    (addresses, kind, vec(port, 1..4), any::<bool>(), affinity).prop_map(
        move |(addresses, kind, ports, local, affinity)| {
            let mut spec = json!({
                "clusterIP": addresses[0],
                "clusterIPs": addresses,
                "type": kind,
                "ports": ports,
                "internalTrafficPolicy": if local { "Local" } else { "Cluster" },
            });
            spec.as_object_mut()
                .unwrap()
                .extend(affinity.as_object().unwrap().clone());
            let mut labels = json!({});
            match kind {
                "ExternalName" => spec["clusterIPs"] = json!([]),
                "headless" => {
                    spec["type"] = json!("ClusterIP");
                    spec["clusterIP"] = json!("None");
                    spec["clusterIPs"] = json!(["None"]);
                }
                "other-proxy" => {
                    spec["type"] = json!("ClusterIP");
                    labels = json!({"service.kubernetes.io/service-proxy-name": "other"});
                }
                _ => {}
            }
            json!({
                "metadata": {
                    "name": name, "namespace": "default", "labels": labels,
                    "creationTimestamp": format!("2026-01-01T00:00:0{at}Z"),
                },
                "spec": spec,
            })
        },
    )
}

fn endpoint(family: &'static str) -> impl Strategy<Value = Value> {
    let condition = || prop::option::weighted(0.6, any::<bool>());
    (
        1..6_u8,
        (condition(), condition(), condition()),
        prop::option::of(select(vec![HERE, "node-2"])),
        prop::option::of(select(vec!["zone-a", "zone-b"])),
        prop::option::of(select(vec![HERE, "node-2"])),
    )
        .prop_map(
            move |(host, (ready, serving, terminating), node, zone, hint)| {
                let address = match family {
                    "IPv4" => format!("10.1.0.{host}"),
                    _ => format!("fd00:1::{host}"),
                };
                let mut hints = json!({});
                if let Some(zone) = zone {
                    hints["forZones"] = json!([{"name": zone}]);
                }
                if let Some(node) = hint {
                    hints["forNodes"] = json!([{"name": node}]);
                }
                json!({
                    "addresses": [address],
                    "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
                    "nodeName": node,
                    "hints": hints,
                })
            },
        )
}

/// A slice of the Service that its name begins with and of the family that it ends with, most of the time.
fn slice(name: &'static str) -> impl Strategy<Value = Value> {
    let owner = prop_oneof![
        8 => Just(name.split('-').next().unwrap()),
        1 => select(SERVICES.to_vec()),
    ];
    let port = (
        select(vec!["http", "http", "dns", ""]),
        select(vec!["TCP", "TCP", "UDP"]),
        prop::option::weighted(0.9, select(vec![53, 8080, 9090])),
    )
        .prop_map(
            |(name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}),
        );
    let usual = if name.ends_with("v4") { "IPv4" } else { "IPv6" };
    let family = select(vec![usual, usual, usual, usual, "FQDN"]);
    let rest = family.prop_flat_map(|family| (Just(family), vec(endpoint(family), 0..6)));
    (owner, vec(port, 1..4), rest, prop::bool::weighted(0.1)).prop_map(
        move |(owner, ports, (family, endpoints), headless)| {
            let mut labels = json!({"kubernetes.io/service-name": owner});
            if headless {
                labels["service.kubernetes.io/headless"] = json!("");
            }
            json!({
                "metadata": {"name": name, "namespace": "default", "labels": labels},
                "addressType": family,
                "ports": ports,
                "endpoints": endpoints,
            })
        },
    )
}

fn node() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!({"topology.kubernetes.io/zone": "zone-a"}),
        json!({"topology.kubernetes.io/zone": "zone-b"}),
    ])
    .prop_map(|labels| json!({"metadata": {"name": HERE, "labels": labels}}))
}

fn event() -> impl Strategy<Value = Event> {
    let services = || select(SERVICES.to_vec());
    let slices = || select(SLICES.to_vec());
    let put_service = services().prop_flat_map(|name| {
        service(name).prop_map(move |object| Event::Put(Kind::Service, name, object))
    });
    let put_slice = slices().prop_flat_map(|name| {
        slice(name).prop_map(move |object| Event::Put(Kind::Slice, name, object))
    });
    prop_oneof![
        6 => put_service,
        10 => put_slice,
        1 => node().prop_map(|object| Event::Put(Kind::Node, HERE, object)),
        1 => services().prop_map(|name| Event::Delete(Kind::Service, name)),
        1 => slices().prop_map(|name| Event::Delete(Kind::Slice, name)),
        1 => Just(Event::Delete(Kind::Node, HERE)),
        6 => Just(Event::Write),
        1 => (1..15_u64).prop_map(Event::Wait),
        1 => (0..6_usize).prop_map(Event::Restart),
        1 => hidden().prop_map(Event::RestartBlind),
    ]
}

fn hidden() -> impl Strategy<Value = BTreeSet<(Kind, &'static str)>> {
    let services = SERVICES.map(|name| (Kind::Service, name));
    let slices = SLICES.map(|name| (Kind::Slice, name));
    let objects = Vec::from_iter(services.into_iter().chain(slices));
    prop::sample::subsequence(objects, 1..4).prop_map(BTreeSet::from_iter)
}

/// What a source would tell of an object.
fn told(kind: Kind, name: &str, object: Option<&Value>) -> SourceEvent {
    let id = ObjectName::new("default", name);
    let object = object.cloned();
    match kind {
        Kind::Service => {
            let converted = object.and_then(|object| {
                let object: v1::Service = serde_json::from_value(object).unwrap();
                convert::service(&id, &object).object
            });
            SourceEvent::Service(id, converted)
        }
        Kind::Slice => {
            let converted = object.and_then(|object| {
                let object: discovery::EndpointSlice = serde_json::from_value(object).unwrap();
                convert::endpoint_slice(&id, &object).object
            });
            SourceEvent::EndpointSlice(id, converted)
        }
        Kind::Node => SourceEvent::Node(object.map(|object| {
            let object: v1::Node = serde_json::from_value(object).unwrap();
            convert::node(&object).into()
        })),
    }
}

/// An agent with its maps.
struct Agent {
    index: Index,
    world: Watched,
}

impl Agent {
    fn new(world: Watched) -> Self {
        Self {
            index: Index::new(HERE),
            world,
        }
    }

    fn hear(&mut self, event: SourceEvent) {
        for service in self.index.apply(event) {
            if let Some(ports) = self.index.resolve_known(&service) {
                self.world.apply(&service, ports);
            }
        }
    }

    /// Hears of all objects; after the first `before` of them a list is there that is not complete.
    fn hear_all(&mut self, objects: &Objects, before: usize) {
        for (i, ((kind, name), object)) in objects.iter().enumerate() {
            if i == before {
                self.hear(SourceEvent::Synced(Unread::anything()));
                self.world.reconcile_known();
            }
            self.hear(told(*kind, name, Some(object)));
        }
        self.hear(SourceEvent::Synced(Unread::default()));
    }
}

/// Frontends of a Service's ports in the maps, by the Service's name.
fn frontends(world: &Watched) -> BTreeMap<ObjectName, BTreeSet<String>> {
    let maps = world.reconciler.maps();
    let names: BTreeMap<u32, _> = maps.services().unwrap().into_iter().collect();
    let mut found: BTreeMap<ObjectName, BTreeSet<String>> = BTreeMap::new();
    for (at, row) in maps.frontends().unwrap() {
        if let Some(name) = names.get(&row.service_id()) {
            let service = ObjectName::new(name.namespace(), name.name());
            found.entry(service).or_default().insert(at.to_string());
        }
    }
    found
}

/// What of `objects` a source that can't read `hidden` would name.
fn unread(objects: &Objects, hidden: &BTreeSet<(Kind, &'static str)>) -> Unread {
    let hidden = objects.iter().filter(|(key, _)| hidden.contains(*key));
    hidden
        .map(|((kind, name), object)| match kind {
            Kind::Service => Concern::Service(ObjectName::new("default", *name)),
            _ => convert::owner("default", &object["metadata"]["labels"]),
        })
        .collect()
}

/// An agent that takes maps over and can't read `hidden` leaves the rest as if nothing had been there before it, and takes
/// no frontend from whom it can't read.
fn restart_blind(
    world: Watched,
    objects: &Objects,
    hidden: &BTreeSet<(Kind, &'static str)>,
) -> Agent {
    let before = frontends(&world);
    let unread = unread(objects, hidden);
    let [agent, fresh] = [world.restart(), Watched::roomy()].map(|world| {
        let mut agent = Agent::new(world);
        for ((kind, name), object) in objects {
            if !hidden.contains(&(*kind, *name)) {
                agent.hear(told(*kind, name, Some(object)));
            }
        }
        agent.hear(SourceEvent::Synced(unread.clone()));
        let concerned = agent.index.unread().expect("all are named");
        agent.world.reconcile_but(concerned);
        agent
    });
    let (now, fresh) = (frontends(&agent.world), frontends(&fresh.world));
    let taken: BTreeSet<&String> = fresh.values().flatten().collect();
    for service in SERVICES.map(|name| ObjectName::new("default", name)) {
        let of =
            |all: &BTreeMap<_, BTreeSet<String>>| all.get(&service).cloned().unwrap_or_default();
        let is_known = agent.index.resolve_known(&service).is_some();
        if is_known && !unread.services.contains(&service) {
            assert_eq!(of(&now), of(&fresh), "{service}");
        } else {
            let mut kept = of(&before);
            kept.retain(|at| !taken.contains(at));
            assert_eq!(of(&now), kept, "{service}");
        }
    }
    agent
}

/// The maps after a history, and the objects at its end.
fn run(events: Vec<Event>) -> (Agent, Objects) {
    let mut objects = Objects::new();
    let mut agent = Agent::new(Watched::roomy());
    agent.hear_all(&objects, 0);
    for event in events {
        match event {
            Event::Put(kind, name, object) => {
                agent.hear(told(kind, name, Some(&object)));
                objects.insert((kind, name), object);
            }
            Event::Delete(kind, name) => {
                agent.hear(told(kind, name, None));
                objects.remove(&(kind, name));
            }
            Event::Write => {
                agent.world.reconcile();
            }
            Event::Wait(seconds) => agent.world.advance(seconds),
            Event::Restart(before) => {
                agent = Agent::new(agent.world.restart());
                agent.hear_all(&objects, before);
            }
            Event::RestartBlind(hidden) => {
                agent = restart_blind(agent.world, &objects, &hidden);
                agent.hear_all(&objects, usize::MAX);
            }
        }
    }
    agent.world.settle();
    (agent, objects)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_of_objects_ends_as_if_the_last_ones_had_always_been_there(events in vec(event(), 1..60)) {
        let (agent, objects) = run(events);
        let mut fresh = Agent::new(Watched::roomy());
        fresh.hear_all(&objects, usize::MAX);
        fresh.world.settle();
        prop_assert_eq!(agent.world.dump(), fresh.world.dump());
    }
}

/// Without this a mistake in the strategies could leave nothing to compare.
#[test]
fn histories_contain_what_they_are_meant_to() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut served = 0;
    let mut with_backends = 0;
    for _ in 0..100 {
        let events = vec(event(), 60).new_tree(&mut runner).unwrap().current();
        let (agent, _) = run(events);
        let dump = agent.world.dump();
        served += usize::from(dump.contains("10.96."));
        with_backends += usize::from(dump.contains("10.1.0."));
    }
    assert!(served > 50, "{served} of 100 histories end with a Service");
    assert!(
        with_backends > 25,
        "{with_backends} of 100 histories end with a backend"
    );
}
