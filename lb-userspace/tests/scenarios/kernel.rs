//! What only maps in the kernel can show: pins of another shape, read-only opening, full maps, conntrack, counters.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use aya::maps::{HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use lb_common::addr::{Endpoint, Port, Protocol};
use lb_common::conntrack::{Chosen, ConntrackKey, Flow, FlowState, Tuple};
use lb_common::frontend::Frontend;
use lb_common::layout::name;
use lb_common::reason::Reason;
use lb_common::service::ServiceName;
use lb_userspace::maps::bpf::{Access, BpfMaps};
use lb_userspace::maps::create::{create, create_all};
use lb_userspace::maps::{FrontendAt, Limits, MapError, Maps, Op, spec};
use lb_userspace::model::{Families, Family};
use lb_userspace::view;

use crate::bpffs::with_private_bpffs;

const SMALL: Limits = Limits {
    families: Families::Both,
    frontends: 4,
    backends: 4,
    slots: 128,
    services: 4,
    flows: 112,
    conntrack: 64,
    transient: 64,
    affinity: 64,
    sockets: 64,
};

#[test]
fn a_pin_of_another_shape_is_refused_with_both_shapes() {
    let error = with_private_bpffs(|dir| {
        create_all(dir, &SMALL).unwrap();
        std::fs::remove_file(dir.join(name::BACKENDS_V6)).unwrap();
        let specs = spec::all(&SMALL);
        let mut old = *specs.iter().find(|s| s.name == name::BACKENDS_V6).unwrap();
        old.value_size = 20;
        create(dir, &old).unwrap();
        BpfMaps::open(dir, Access::Write).err().unwrap().to_string()
    });
    assert_eq!(
        error,
        "map backends_v6 pinned at /sys/fs/bpf/backends_v6 is array of 5 entries, 4-byte keys, 20-byte values, flags \
         0x400, and this version needs array of 65537 entries, 4-byte keys, 28-byte values, flags 0x400; remove the pin or \
         run the version that made it"
    );
}

#[test]
fn every_map_is_checked_for_its_type() {
    for spec in spec::all(&SMALL) {
        let error = with_private_bpffs(|dir| {
            create_all(dir, &SMALL).unwrap();
            std::fs::remove_file(dir.join(spec.name)).unwrap();
            let kind = match spec.kind {
                spec::MapKind::Hash => spec::MapKind::LruHash,
                spec::MapKind::LruHash => spec::MapKind::Hash,
                _ => spec::MapKind::Hash,
            };
            create(
                dir,
                &spec::MapSpec {
                    kind,
                    flags: 0,
                    ..spec
                },
            )
            .unwrap();
            BpfMaps::open(dir, Access::Read).err()
        });
        assert!(
            matches!(error, Some(MapError::Shape { map, .. }) if map == spec.name),
            "{error:?}"
        );
    }
}

#[test]
fn a_missing_pin_is_named() {
    let error =
        with_private_bpffs(|dir| BpfMaps::open(dir, Access::Read).err().unwrap().to_string());
    assert_eq!(
        error,
        "cannot open map frontends_v4 pinned at /sys/fs/bpf/frontends_v4: No such file or directory (os error 2)"
    );
}

#[test]
fn the_limits_are_those_that_the_maps_were_made_with() {
    for families in [
        Families::Both,
        Families::Only(Family::V4),
        Families::Only(Family::V6),
    ] {
        let made = Limits { families, ..SMALL };
        let limits = with_private_bpffs(|dir| {
            create_all(dir, &made).unwrap();
            BpfMaps::open(dir, Access::Read).unwrap().limits()
        });
        assert_eq!(limits, made);
    }
}

#[test]
fn maps_opened_for_reading_show_everything_and_take_no_write() {
    let ops = every_write();
    with_maps(|dir, maps| {
        assert!(maps.apply(&ops).iter().all(Result::is_ok));
        let mut reader = BpfMaps::open(dir, Access::Read).unwrap();
        assert_eq!(view::dump(&reader).unwrap(), view::dump(maps).unwrap());
        for (op, result) in ops.iter().zip(reader.apply(&ops)) {
            assert!(
                matches!(result, Err(MapError::Access { .. })),
                "{op:?}: {result:?}"
            );
        }
    });
}

#[test]
fn a_map_without_room_says_that_it_is_full() {
    with_maps(|_, maps| {
        let name =
            |i: u32| ServiceName::new("default", &format!("s{i}"), "", Protocol::Tcp).unwrap();
        let ops: Vec<Op> = (1..=5).map(|i| Op::PutService(i, name(i).into())).collect();
        let results = maps.apply(&ops);
        assert!(results[..4].iter().all(Result::is_ok));
        let error = results[4].as_ref().unwrap_err();
        assert!(error.is_full());
        assert_eq!(
            error.to_string(),
            "map services has no room for service 5 (default/s5): No space left on device (os error 28)"
        );
    });
}

/// Whatever comes and goes meanwhile.
#[test]
fn every_row_that_stays_is_shown_once() {
    const STAYING: u32 = 5_000;
    let name = |i: u32| ServiceName::new("default", &format!("s{i}"), "", Protocol::Tcp).unwrap();
    let put = |i: u32| Op::PutService(i, name(i).into());
    with_private_bpffs(|dir| {
        let limits = Limits {
            services: 2 * STAYING,
            ..SMALL
        };
        create_all(dir, &limits).unwrap();
        let [mut writer, mut other] = [(), ()].map(|()| BpfMaps::open(dir, Access::Write).unwrap());
        let rows: Vec<Op> = (1..=STAYING).map(put).collect();
        assert!(writer.apply(&rows).iter().all(Result::is_ok));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let passing = STAYING + 1..STAYING + 100;
                    let come: Vec<Op> = passing.clone().map(put).collect();
                    let go: Vec<Op> = passing.map(Op::DeleteService).collect();
                    for ops in [come, go] {
                        assert!(other.apply(&ops).iter().all(Result::is_ok));
                    }
                }
            });
            for _ in 0..50 {
                let mut shown: Vec<u32> = writer
                    .services()
                    .unwrap()
                    .into_iter()
                    .map(|(id, _)| id)
                    .collect();
                shown.retain(|id| *id <= STAYING);
                shown.sort_unstable();
                assert!(shown.into_iter().eq(1..=STAYING));
            }
            is_over.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn a_row_that_there_is_no_room_for_costs_no_other_of_its_batch_anything() {
    with_maps(|_, maps| {
        let name =
            |i: u32| ServiceName::new("default", &format!("s{i}"), "", Protocol::Tcp).unwrap();
        let put = |ids: &[u32]| -> Vec<Op> {
            ids.iter()
                .map(|i| Op::PutService(*i, name(*i).into()))
                .collect()
        };
        let results = maps.apply(&put(&[1, 2, 3, 4, 5, 2, 6, 7, 1]));
        let refused: Vec<usize> = (0..results.len())
            .filter(|i| results[*i].is_err())
            .collect();
        assert_eq!(refused, [4, 6, 7]);
        for (index, id) in [(4, 5), (6, 6), (7, 7)] {
            let error = results[index].as_ref().unwrap_err();
            assert!(error.is_full());
            let key = format!("service {id} (default/s{id})");
            assert!(error.to_string().contains(&key), "{error}");
        }
        let mut ids: Vec<u32> = maps.services().unwrap().iter().map(|(id, _)| *id).collect();
        ids.sort();
        assert_eq!(ids, [1, 2, 3, 4]);
    });
}

#[test]
fn deleting_what_is_not_there_succeeds_and_slots_outside_are_refused() {
    with_maps(|_, maps| {
        let results = maps.apply(&[
            Op::DeleteService(7),
            Op::DeleteFrontend(at("10.96.0.1:80")),
            Op::WriteSlots {
                offset: 127,
                ids: [1, 2].into(),
            },
        ]);
        assert!(results[0].is_ok() && results[1].is_ok());
        let error = results[2].as_ref().unwrap_err().to_string();
        assert_eq!(error, "map slots has 128 entries, so there is no entry 128");
    });
}

#[test]
fn flows_are_shown_once_and_counters_are_summed_over_the_cpus() {
    with_maps(|dir, maps| {
        maps.apply(&every_write())
            .into_iter()
            .for_each(Result::unwrap);
        put_flow(dir);
        let reason = Reason::NewFlow;
        let data = MapData::from_pin(dir.join(name::COUNTERS)).unwrap();
        let mut counters: PerCpuArray<_, u64> = Map::PerCpuArray(data).try_into().unwrap();
        let cpus = aya::util::nr_cpus().unwrap();
        counters
            .set(
                reason as u32,
                PerCpuValues::try_from(vec![5; cpus]).unwrap(),
                0,
            )
            .unwrap();

        let clock = view::Clock {
            now: 1_750,
            ticks_per_second: 250,
        };
        assert_eq!(
            view::conntrack(maps, clock).unwrap().to_string(),
            "PROTOCOL  CLIENT          FRONTEND      SOURCE  BACKEND      STATE        IDLE  SERVICE\n\
             TCP       10.2.0.9:40000  10.96.0.1:80   40000  10.1.0.1:80  established  3s    default/web/TCP\n"
        );
        let status = view::status(maps, Vec::new(), false, clock).unwrap();
        let counted: Vec<_> = status
            .counters
            .iter()
            .map(|c| (c.reason, c.packets))
            .collect();
        assert_eq!(counted, [(reason.name(), 5 * cpus as u64)]);
        let fill: Vec<_> = status
            .maps
            .iter()
            .map(|fill| (fill.map, fill.used, fill.max))
            .collect();
        assert!(fill.contains(&(name::CONNTRACK_V4, 2, 64)), "{fill:?}");
    });
}

fn with_maps<T: Send>(test: impl FnOnce(&Path, &mut BpfMaps) -> T + Send) -> T {
    with_private_bpffs(|dir| {
        create_all(dir, &SMALL).unwrap();
        test(dir, &mut BpfMaps::open(dir, Access::Write).unwrap())
    })
}

fn at(socket: &str) -> FrontendAt {
    FrontendAt::new(socket.parse().unwrap(), Protocol::Tcp)
}

/// One write into every map that the agent writes, of both families.
fn every_write() -> Vec<Op> {
    let name = ServiceName::new("default", "web", "", Protocol::Tcp).unwrap();
    let backend = |at: &str| {
        let state = lb_common::backend::BackendState::Active;
        lb_userspace::maps::BackendRow::new(at.parse().unwrap(), state, 1, 1)
    };
    let range = lb_common::frontend::SlotRange { offset: 0, len: 2 };
    let row = Frontend::new(1, range, Default::default(), 0, 0);
    let config = lb_common::config::Config {
        secret: 1,
        started_at: 2,
        synced_at: 3,
        generation: 4,
        agent_pid: 5,
        ticks_per_second: 250,
        socket_lb: 1,
        redirect: 0,
    };
    vec![
        Op::SetVipBit(7),
        Op::PutBackend(1, backend("10.1.0.1:80")),
        Op::PutBackend(2, backend("[fd00::1]:80")),
        Op::WriteSlots {
            offset: 0,
            ids: [1, 1].into(),
        },
        Op::PutService(1, name.into()),
        Op::PutFrontend(at("10.96.0.1:80"), row),
        Op::PutFrontend(
            at("[fd96::1]:80"),
            Frontend::new(1, Default::default(), Default::default(), 0, 0),
        ),
        Op::PutConfig(config),
    ]
}

/// A flow as the data plane keeps it: an entry for each direction.
fn put_flow(dir: &Path) {
    let end = |address, port| Endpoint {
        address,
        port: Port::new(port),
    };
    let tuple = Tuple {
        client: end([10, 2, 0, 9], 40_000),
        peer: end([10, 96, 0, 1], 80),
        protocol: Protocol::Tcp,
    };
    let chosen = Chosen {
        id: 1,
        epoch: 1,
        service_id: 1,
        endpoint: end([10, 1, 0, 1], 80),
    };
    let flow = Flow::new(
        &tuple,
        &chosen,
        FlowState::REPLIED.with(FlowState::ASSURED),
        1_000,
    );
    let data = MapData::from_pin(dir.join(name::CONNTRACK_V4)).unwrap();
    let mut map: HashMap<_, [u8; KEY], [u8; FLOW]> = Map::LruHashMap(data).try_into().unwrap();
    for key in [flow.from_client(), flow.from_backend()] {
        let key: [u8; KEY] = bytemuck::bytes_of(&key).try_into().unwrap();
        let value: [u8; FLOW] = bytemuck::bytes_of(&flow).try_into().unwrap();
        map.insert(key, value, 0).unwrap();
    }
}

const KEY: usize = size_of::<ConntrackKey<[u8; 4]>>();
const FLOW: usize = size_of::<Flow<[u8; 4]>>();
