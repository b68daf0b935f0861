//! Pins that are not what they should be.

use std::{
    fs,
    os::{fd::AsFd, unix::fs::symlink},
};

use anyhow::{Context, Result, bail};
use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData, MapInfo, PerCpuArray, PerCpuValues},
};
use lb_common::{
    addr::{Endpoint, Port, Protocol},
    conntrack::{Chosen, ConntrackKey, Flow, FlowState, Tuple},
    entries::{self, Change, Lru},
    layout::{LAYOUT, name},
};
use lb_userspace::datapath::{
    Datapath, Found, LOG_LEVEL, PinOutcome, PinState, object, other_layouts, states, verify,
};
use lb_userspace::maps::{
    Limits, Maps as _,
    bpf::{Access, BpfMaps, FlowArray, Put},
    spec,
};
use lb_userspace::model::{Families, Family};

use crate::support::{Node, node, small_limits};

const KEY: usize = size_of::<ConntrackKey<[u8; 4]>>();
const FLOW: usize = size_of::<Flow<[u8; 4]>>();

fn pin_state(node: &Node, map: &str) -> Result<PinState> {
    let demanded = object::map_shapes(object::embedded()?)?;
    Ok(states(&node.paths, &demanded)?[map])
}

#[test]
fn a_pinned_map_of_another_shape_is_found_out_and_never_used() -> Result<()> {
    let node = node("pin-shape")?;
    fs::create_dir_all(node.paths.layout())?;
    let wrong = HashMap::<MapData, u32, [u8; 64]>::create(64, 0)?;
    Map::HashMap(into_data(wrong, &node, "wrong")?).pin(node.paths.map(name::FRONTENDS_V4))?;

    let PinState::OtherShape {
        found: Found::Map(found),
        expected,
    } = pin_state(&node, name::FRONTENDS_V4)?
    else {
        panic!("the wrong map was not found out");
    };
    assert_eq!((found.key_size, found.value_size), (4, 64));
    assert_ne!(found.key_size, expected.key_size);

    let datapath = node.load()?;
    let outcome = datapath.pins()[name::FRONTENDS_V4];
    assert!(
        matches!(outcome, PinOutcome::Replaced { found: Found::Map(f), carried_over: None, .. } if f == found),
        "{outcome:?}"
    );
    let used = MapInfo::from_pin(node.paths.map(name::FRONTENDS_V4))?;
    assert_eq!(used.key_size(), expected.key_size);
    assert_eq!(
        datapath.pins()[name::SLOTS],
        PinOutcome::Created,
        "the others are not concerned"
    );
    Ok(())
}

/// A map's data by way of a pin, as aya hands it out in no other way.
fn into_data<K: Pod, V: Pod>(
    map: HashMap<MapData, K, V>,
    node: &Node,
    name: &str,
) -> Result<MapData> {
    let path = node.paths.bpffs().join(name);
    map.pin(&path)?;
    let data = MapData::from_pin(&path)?;
    fs::remove_file(&path)?;
    Ok(data)
}

#[test]
fn each_part_of_the_shape_counts() -> Result<()> {
    let node = node("pin-parts")?;
    drop(node.load()?);
    let demanded = Limits::default();
    assert_ne!(demanded, small_limits());
    let state = pin_state(&node, name::CONNTRACK_V6)?;
    assert!(
        matches!(state, PinState::OtherShape { .. }),
        "another size: {state:?}"
    );
    assert_eq!(pin_state(&node, name::VIP_FILTER)?, PinState::Same);

    // Same sizes, but it can't be mapped.
    fs::remove_file(node.paths.map(name::VIP_FILTER))?;
    let unmappable = Array::<MapData, u64>::create(lb_common::vip_filter::WORDS, 0)?;
    unmappable.pin(node.paths.map(name::VIP_FILTER))?;
    let state = pin_state(&node, name::VIP_FILTER)?;
    assert!(
        matches!(state, PinState::OtherShape { found: Found::Map(f), expected } if f.flags != expected.flags),
        "{state:?}"
    );
    Ok(())
}

#[test]
fn what_is_no_map_is_replaced_as_well() -> Result<()> {
    let node = node("pin-program")?;
    let datapath = node.load()?;
    drop(datapath);
    let slots = node.paths.map(name::SLOTS);
    fs::remove_file(&slots)?;
    let mut object = aya::EbpfLoader::new()
        .verifier_log_level(LOG_LEVEL)
        .load(object::for_kernel()?)?;
    let program: &mut aya::programs::SchedClassifier = object
        .program_mut("to_workload")
        .context("to_workload")?
        .try_into()?;
    verify("to_workload", || program.load())?;
    program.pin(&slots)?;

    assert!(matches!(
        pin_state(&node, name::SLOTS)?,
        PinState::OtherShape {
            found: Found::NotAMap,
            ..
        }
    ));
    let outcome = node.load()?.pins()[name::SLOTS];
    assert!(
        matches!(
            outcome,
            PinOutcome::Replaced {
                found: Found::NotAMap,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(MapInfo::from_pin(&slots)?.max_entries(), 64);
    Ok(())
}

#[test]
fn flows_move_to_a_conntrack_map_of_another_size() -> Result<()> {
    let node = node("pin-resize")?;
    let mut datapath = node.load()?;
    let map = datapath.take_map(name::CONNTRACK_V4).context("conntrack")?;
    let mut flows = HashMap::<_, [u8; KEY], [u8; FLOW]>::try_from(map)?;
    for i in 0..200u8 {
        flows.insert([i; KEY], [i; FLOW], 0)?;
    }
    let larger = Limits {
        flows: 700,
        conntrack: 4096,
        transient: 2048,
        ..small_limits()
    };
    let mut datapath = node.load_with(larger)?;
    let PinOutcome::Replaced {
        carried_over: Some(report),
        ..
    } = datapath.pins()[name::CONNTRACK_V4]
    else {
        panic!("{:?}", datapath.pins());
    };
    assert_eq!((report.copied, report.known, report.refused), (200, 0, 0));

    // The old programs go on with the old map until they are replaced.
    flows.insert([201; KEY], [201; FLOW], 0)?;
    datapath.carry_over_again();
    let map = datapath.take_map(name::CONNTRACK_V4).context("conntrack")?;
    let moved = HashMap::<_, [u8; KEY], [u8; FLOW]>::try_from(map)?;
    for i in (0..200).chain([201]) {
        assert_eq!(moved.get(&[i; KEY], 0)?, [i; FLOW]);
    }
    assert_eq!(
        MapInfo::from_pin(node.paths.map(name::CONNTRACK_V4))?.max_entries(),
        4096
    );
    Ok(())
}

/// A client would lose its backend, and a process be shown a backend that it does not know.
/// A flow in use of a client's port.
fn flow_in_use(port: u16) -> Flow<[u8; 4]> {
    let end = |address, port| Endpoint {
        address,
        port: Port::new(port),
    };
    let tuple = Tuple {
        client: end([10, 244, 0, 1], port),
        peer: end([10, 96, 0, 10], 80),
        protocol: Protocol::Tcp,
    };
    let chosen = Chosen {
        id: 1,
        epoch: 1,
        service_id: 1,
        endpoint: end([10, 244, 1, 1], 8080),
    };
    let state = FlowState::REPLIED.with(FlowState::ASSURED);
    Flow::new(&tuple, &chosen, state, 1_000)
}

/// How many flows the flow table and conntrack have of IPv4.
fn stored(node: &Node) -> Result<[usize; 2]> {
    let maps = BpfMaps::open(&node.paths.layout(), Access::Read)?;
    let (mut table, mut conntrack) = (0, 0);
    let _ = maps.flow_table(&mut |_| table += 1)?;
    let _ = maps.conntrack(&mut |_| conntrack += 1)?;
    Ok([table, conntrack / 2])
}

#[test]
fn flows_move_to_a_table_of_another_size_and_to_conntrack_where_there_is_none() -> Result<()> {
    const FLOWS: u16 = 200;
    let node = node("pin-flows")?;
    let sized = |flows| Limits {
        flows,
        ..small_limits()
    };
    let open = |datapath: &mut Datapath| -> Result<FlowArray<[u8; 4]>> {
        let Some(Map::Array(data)) = datapath.take_map(name::FLOWS_V4) else {
            bail!("no flow table");
        };
        let buckets = data.info()?.max_entries();
        Ok(FlowArray::map(data.fd().as_fd(), buckets, true)?)
    };
    let mut datapath = node.load_with(sized(700))?;
    let secret = BpfMaps::open(&node.paths.layout(), Access::Read)?
        .config()?
        .secret;
    let table = open(&mut datapath)?;
    for port in 1..=FLOWS {
        let put = table.put(&flow_in_use(port), secret, 250);
        assert!(put != Put::Known, "{port}");
    }
    let before = stored(&node)?;
    // With 128 buckets for 200 flows as good as none has more than seven.
    assert!(before[0] > 190, "{before:?}");

    let mut larger = node.load_with(sized(7_000))?;
    assert_eq!(stored(&node)?, before);
    // The old programs go on with the old table until they are replaced.
    table.put(&flow_in_use(FLOWS + 1), secret, 250);
    larger.carry_over_again();
    assert_eq!(stored(&node)?, [before[0] + 1, 0]);

    drop(node.load_with(sized(0))?);
    assert_eq!(stored(&node)?, [0, before[0] + 1]);

    // The new table knows of what conntrack has.
    let mut datapath = node.load_with(sized(700))?;
    let table = open(&mut datapath)?;
    let noted = |flow: Flow<[u8; 4]>| table.is_noted(&flow.from_client(), secret);
    assert!((1..=FLOWS + 1).map(flow_in_use).all(noted));
    let mut others = (0..100).map(|n| flow_in_use(10_000 + n));
    assert!(!others.all(noted), "not every bucket");
    Ok(())
}

/// How many entries each pinned map has room for.
fn rooms(node: &Node) -> Result<Vec<(&'static str, u32)>> {
    let room = |map| Ok((map, MapInfo::from_pin(node.paths.map(map))?.max_entries()));
    name::ALL.into_iter().map(room).collect()
}

#[test]
fn a_family_that_is_no_longer_served_lets_its_maps_go_and_has_them_again_when_it_is() -> Result<()>
{
    let node = node("pin-families")?;
    let serving = |families| Limits {
        families,
        ..small_limits()
    };
    let mut datapath = node.load()?;
    let before = rooms(&node)?;
    for affinity in [name::AFFINITY_V4, name::AFFINITY_V6] {
        let map = datapath.take_map(affinity).context(affinity)?;
        if affinity == name::AFFINITY_V4 {
            HashMap::<_, [u8; 8], [u8; 12]>::try_from(map)?.insert([1; 8], [2; 12], 0)?;
        } else {
            HashMap::<_, [u8; 20], [u8; 12]>::try_from(map)?.insert([1; 20], [2; 12], 0)?;
        }
    }
    let counts = datapath.take_map(name::LRU_ENTRIES).context("counts")?;
    let mut counts = PerCpuArray::<_, u64>::try_from(counts)?;
    let made = [4, 16].map(|octets| entries::index(octets, Lru::Affinity, Change::Made));
    for index in made {
        let ones = vec![1; aya::util::nr_cpus().map_err(|(_, error)| error)?];
        counts.set(index, PerCpuValues::try_from(ones)?, 0)?;
    }

    let mut datapath = node.load_with(serving(Families::Only(Family::V4)))?;
    let alone = rooms(&node)?;
    for ((map, room), (_, usual)) in alone.iter().zip(&before) {
        let served = spec::family_of(map) != Some(Family::V6);
        assert_eq!(*room, if served { *usual } else { 1 }, "{map}");
        let outcome = &datapath.pins()[map];
        let replaced = matches!(
            outcome,
            PinOutcome::Replaced {
                carried_over: None,
                ..
            }
        );
        // Where one entry is all that there ever is, the map is the same.
        assert_eq!(replaced, room != usual, "{map}: {outcome:?}");
        assert!(
            replaced || *outcome == PinOutcome::Reused,
            "{map}: {outcome:?}"
        );
    }
    datapath.carry_over_again();
    let clients = |node: &Node| -> Result<Vec<bool>> {
        let maps = BpfMaps::open(&node.paths.layout(), Access::Read)?;
        let mut clients = Vec::new();
        let _ = maps.affinity(&mut |row| clients.push(row.client.is_ipv4()))?;
        Ok(clients)
    };
    assert_eq!(clients(&node)?, [true]);
    let count = |index: &u32| -> Result<u64> { Ok(counts.get(index, 0)?.iter().sum()) };
    assert!(count(&made[0])? > 0);
    assert_eq!(
        count(&made[1])?,
        0,
        "nothing of what is let go was displaced"
    );

    let mut datapath = node.load()?;
    datapath.carry_over_again();
    assert_eq!(rooms(&node)?, before);
    assert_eq!(clients(&node)?, [true]);
    // And once more the same: nothing is made anew.
    let datapath = node.load()?;
    assert!(datapath.pins().values().all(|it| *it == PinOutcome::Reused));
    Ok(())
}

#[test]
fn clients_and_sockets_move_to_maps_of_another_size() -> Result<()> {
    let node = node("pin-resize-more")?;
    let mut datapath = node.load()?;
    for affinity in [name::AFFINITY_V4, name::SOCKET_AFFINITY, name::SOCKET_PEERS] {
        let map = datapath.take_map(affinity).context(affinity)?;
        match affinity {
            name::AFFINITY_V4 => {
                HashMap::<_, [u8; 8], [u8; 12]>::try_from(map)?.insert([1; 8], [2; 12], 0)?
            }
            name::SOCKET_AFFINITY => {
                HashMap::<_, [u8; 16], [u8; 12]>::try_from(map)?.insert([1; 16], [2; 12], 0)?
            }
            _ => HashMap::<_, [u8; 32], [u8; 32]>::try_from(map)?.insert([1; 32], [2; 32], 0)?,
        }
    }
    let larger = Limits {
        affinity: 4096,
        sockets: 4096,
        ..small_limits()
    };
    let datapath = node.load_with(larger)?;
    for affinity in [name::AFFINITY_V4, name::SOCKET_AFFINITY, name::SOCKET_PEERS] {
        let outcome = datapath.pins()[affinity];
        let PinOutcome::Replaced {
            carried_over: Some(report),
            ..
        } = outcome
        else {
            panic!("{affinity}: {outcome:?}");
        };
        assert_eq!((report.copied, report.refused), (1, 0), "{affinity}");
    }
    Ok(())
}

#[test]
fn pins_of_other_layouts_are_told_and_left_alone() -> Result<()> {
    let node = node("pin-layouts")?;
    for layout in ["v0", "v77", "vx"] {
        fs::create_dir_all(node.paths.folder().join(layout))?;
    }
    Array::<MapData, u64>::create(1, 0)?.pin(node.paths.folder().join("v77/slots"))?;
    let datapath = node.load()?;
    assert_eq!(datapath.other_layouts(), [0, 77]);
    assert_eq!(
        other_layouts(&node.paths)?,
        [0, 77],
        "{LAYOUT} is this one's"
    );
    assert!(node.paths.folder().join("v77/slots").exists());
    Ok(())
}

#[test]
fn a_pin_that_cannot_be_opened_is_named() -> Result<()> {
    let node = node("pin-folder")?;
    // A folder where a map should be.
    fs::create_dir_all(node.paths.map(name::SERVICES))?;
    let error = format!("{:#}", node.load().unwrap_err());
    assert!(error.contains("services"), "{error}");
    // Symbolic links are allowed in a BPF file system and lead nowhere here.
    fs::remove_dir(node.paths.map(name::SERVICES))?;
    symlink("/proc/self/status", node.paths.map(name::SERVICES))?;
    let error = format!("{:#}", node.load().unwrap_err());
    assert!(error.contains("services"), "{error}");
    Ok(())
}
