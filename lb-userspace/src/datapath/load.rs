//! Loads the programs with their pinned maps. Attaches nothing and writes no entry but the agent's own `config`.

mod secret;

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Map, PerCpuArray, PerCpuValues},
    programs::{ProgramFd, ProgramInfo, SchedClassifier},
};
use lb_common::entries::{self, Change, Lru};
use lb_common::layout::name;
use lb_common::pipeline::socket::Scope;
use lb_common::redirect::RedirectState;
use lb_common::socket::SocketLb;
use thiserror::Error;
use tracing::{info, warn};

use super::{
    bpf,
    cgroup::{self, Globals, SocketPrograms},
    delivery::{self, Delivery},
    object::{self, ObjectError},
    pins::{
        self, CarryOver, CopyReport, FlowTables, PinError, PinOutcome, PinPaths, PinState, Prepared,
    },
    raise_memlock,
    ticks::Ticks,
    verify::{LOG_LEVEL, verify},
};
use crate::maps::spec::{self, LimitError, Limits, Shape};
use crate::model::Family;

/// Program that sees packets from a workload.
const FROM_WORKLOAD: &str = "from_workload";
/// Program that sees packets to a workload.
const TO_WORKLOAD: &str = "to_workload";

/// The programs could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The object.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A limit.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A pin.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The kernel refused a map or the object is inconsistent.
    #[error("cannot load the BPF object")]
    Load(#[source] Box<EbpfError>),
    /// The verifier or the kernel refused a program.
    #[error("the kernel refuses the program {program}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The verifier's words.
        source: Box<aya::programs::ProgramError>,
    },
    /// The object lacks a program.
    #[error("the BPF object has no program {0:?}: run `cargo xtask build-ebpf` and build again")]
    MissingProgram(&'static str),
    /// A map is not what was demanded, though its pin was a moment ago.
    #[error(
        "the map {map} is {found} where {expected} was demanded: another agent changes the same pins; stop it, and start this one again"
    )]
    Shape {
        /// Its name.
        map: &'static str,
        /// What it is.
        found: Shape,
        /// What it should be.
        expected: Shape,
    },
    /// aya goes on without type information where the kernel refuses it.
    #[error(
        "the kernel took no BTF type information for {0}: build the object with `cargo xtask build-ebpf`, which adds it"
    )]
    NoBtf(String),
    /// A system call that should not fail.
    #[error("cannot {action}")]
    Call {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> LoadError {
    move |source| LoadError::Call { action, source }
}

/// What to load and where to pin it.
#[derive(Clone, Copy, Debug)]
pub struct Loader<'a> {
    /// The BPF object; [`object::embedded`] in the agent.
    pub object: &'a [u8],
    /// Where pins are.
    pub paths: &'a PinPaths,
    /// How much the maps are to hold.
    pub limits: Limits,
    /// Whose sockets are to be served; none if no socket is.
    pub sockets: Option<Scope>,
    /// Whether packets may be delivered past the host's stack.
    pub redirect: bool,
}

/// The loaded programs and their maps. Dropping it takes nothing off a device and removes no pin.
#[derive(Debug)]
pub struct Datapath {
    ebpf: Ebpf,
    programs: Programs,
    pins: BTreeMap<&'static str, PinOutcome>,
    other_layouts: Vec<u32>,
    ticks: Ticks,
    carry_over: Vec<CarryOver>,
    flow_tables: Vec<(Family, FlowTables)>,
    sockets: Option<Result<SocketPrograms, SocketLb>>,
    delivery: Option<Result<Delivery, RedirectState>>,
}

/// The programs of a workload device.
#[derive(Debug)]
pub struct Programs {
    /// For packets from the workload.
    pub from_workload: LoadedProgram,
    /// For packets to the workload.
    pub to_workload: LoadedProgram,
}

/// A program in the kernel.
#[derive(Debug)]
pub struct LoadedProgram {
    /// Its name in the object and in the kernel.
    pub name: &'static str,
    /// The kernel's number of it.
    pub id: u32,
    /// Instructions that the verifier walked through; none before Linux 5.16.
    pub verified_instructions: Option<u32>,
    fd: OwnedFd,
}

impl LoadedProgram {
    /// What is known of a program that was just loaded.
    pub(super) fn of(
        name: &'static str,
        info: ProgramInfo,
        fd: &ProgramFd,
    ) -> Result<Self, LoadError> {
        if info.btf_id().is_none() {
            return Err(LoadError::NoBtf(format!("the program {name}")));
        }
        Ok(Self {
            name,
            id: info.id(),
            verified_instructions: info.verified_instruction_count(),
            fd: fd
                .as_fd()
                .try_clone_to_owned()
                .map_err(failed("keep a handle to a program"))?,
        })
    }
}

impl AsFd for LoadedProgram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Programs {
    /// All of them.
    pub fn all(&self) -> [&LoadedProgram; 2] {
        [&self.from_workload, &self.to_workload]
    }

    /// A second handle to the same programs.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let clone = |program: &LoadedProgram| {
            Ok::<_, io::Error>(LoadedProgram {
                fd: program.fd.try_clone()?,
                ..*program
            })
        };
        Ok(Self {
            from_workload: clone(&self.from_workload)?,
            to_workload: clone(&self.to_workload)?,
        })
    }
}

impl Loader<'_> {
    /// Loads the programs and opens or makes their maps.
    ///
    /// # Errors
    /// If the object, a pin or the kernel stands in the way. Pins of another shape are gone then, which the next try makes
    /// up for; programs on devices go on with what they have.
    pub fn load(&self) -> Result<Datapath, LoadError> {
        self.limits.check()?;
        raise_memlock();
        let demanded = with_limits(object::map_shapes(self.object)?, &self.limits);
        let mut prepared = pins::prepare(self.paths, &demanded, self.limits.families)?;
        let other_layouts = pins::other_layouts(self.paths)?;
        if !other_layouts.is_empty() {
            info!(
                layouts = ?other_layouts,
                "maps of other versions are pinned and serve nothing once this agent runs; `lb cleanup`, after this agent \
                 has been stopped, removes everything"
            );
        }
        let ticks = Ticks::of_kernel().map_err(failed("learn the length of the kernel's tick"))?;
        let secret = secret::known(self.paths, &prepared)
            .map_err(failed("read the config map"))?
            .map_or_else(secret::random, Ok)
            .map_err(failed("get random bytes"))?;

        let sockets = Globals::gather(self.sockets);
        let mut ebpf =
            self.load_object(&demanded, secret, ticks.per_second(), sockets.as_ref().ok())?;
        check_maps(&ebpf, &demanded)?;
        secret::keep(map_fd(&ebpf, name::CONFIG), secret, ticks.per_second())
            .map_err(failed("write the config map"))?;
        if let Some(family) = self.limits.families.missing() {
            // What its maps had was let go and is not to be taken for displaced if it is served again.
            forget_counts(&mut ebpf, family)?;
        }
        let flow_tables = self.flow_tables(&ebpf, &mut prepared, secret, ticks.per_second())?;
        let (pins, carry_over) = take_over(&ebpf, prepared)?;
        move_flows(&flow_tables);
        let programs = Programs {
            from_workload: load_program(&mut ebpf, FROM_WORKLOAD)?,
            to_workload: load_program(&mut ebpf, TO_WORKLOAD)?,
        };
        let sockets = sockets.and_then(|_| cgroup::load(&mut ebpf));
        let delivery = match (self.redirect, delivery::is_possible()) {
            (false, _) => Err(RedirectState::Off),
            (true, false) => Err(RedirectState::Unsupported),
            (true, true) => delivery::load(&mut ebpf),
        };
        for program in programs.all() {
            info!(
                program = program.name,
                id = program.id,
                verified_instructions = program.verified_instructions,
                "loaded"
            );
        }
        Ok(Datapath {
            ebpf,
            programs,
            pins,
            other_layouts,
            ticks,
            carry_over,
            flow_tables,
            sockets: Some(sockets),
            delivery: Some(delivery),
        })
    }

    /// The tables of flows of those families that get new ones.
    fn flow_tables(
        &self,
        ebpf: &Ebpf,
        prepared: &mut Prepared,
        secret: u64,
        ticks_per_second: u32,
    ) -> Result<Vec<(Family, FlowTables)>, LoadError> {
        let mut tables = Vec::new();
        for (family, [name, conntrack, transient]) in FLOW_TABLES {
            if prepared.states.get(name) == Some(&PinState::Same)
                || !self.limits.families.has(family)
            {
                continue;
            }
            let handle = |name| {
                let fd = map_fd(ebpf, name).ok_or(ObjectError::MissingMap(name))?;
                fd.try_clone_to_owned()
                    .map_err(failed("keep a handle to a map"))
            };
            let moved = FlowTables {
                from: prepared.old_entries.remove(name),
                to: handle(name)?,
                others: [handle(conntrack)?, handle(transient)?],
                secret,
                ticks_per_second,
                is_used: object::flow_buckets(self.limits.flows) != 0,
            };
            tables.push((family, moved));
        }
        Ok(tables)
    }

    fn load_object(
        &self,
        demanded: &BTreeMap<&'static str, Shape>,
        secret: u64,
        ticks_per_second: u32,
        sockets: Option<&Globals>,
    ) -> Result<Ebpf, LoadError> {
        let redirect = u32::from(self.redirect && delivery::is_possible());
        let mut loader = EbpfLoader::new();
        for (name, shape) in demanded {
            loader
                .map_pin_path(name, self.paths.map(name))
                .map_max_entries(name, shape.max_entries);
        }
        if let Some(sockets) = sockets {
            sockets.set(&mut loader);
        }
        loader
            .verifier_log_level(LOG_LEVEL)
            .override_global("SECRET", &secret, true)
            .override_global("TICKS_PER_SECOND", &ticks_per_second, true)
            .override_global(
                "FLOW_BUCKETS",
                &object::flow_buckets(self.limits.flows),
                true,
            )
            .override_global("REDIRECT", &redirect, true)
            .override_global(
                "KNOWS_IPV6_SUMS",
                &u32::from(object::knows_ipv6_sums()),
                true,
            )
            .override_global("FAMILIES", &self.limits.families.bits(), true)
            .load(self.object)
            .map_err(|error| LoadError::Load(Box::new(error)))
    }
}

impl Datapath {
    /// The programs.
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// What became of each map's pin.
    pub fn pins(&self) -> &BTreeMap<&'static str, PinOutcome> {
        &self.pins
    }

    /// Other layouts of which something is pinned.
    pub fn other_layouts(&self) -> &[u32] {
        &self.other_layouts
    }

    /// The data plane's clock.
    pub fn ticks(&self) -> Ticks {
        self.ticks
    }

    /// A map by its name in [`lb_common::layout::name`], for its one writer. None the second time.
    pub fn take_map(&mut self, name: &str) -> Option<Map> {
        self.ebpf.take_map(name)
    }

    /// The programs of sockets, or why there are none; for their one user.
    pub fn take_socket_programs(&mut self) -> Result<SocketPrograms, SocketLb> {
        self.sockets.take().unwrap_or(Err(SocketLb::Off))
    }

    /// The switch of the redirect path, or why there is none; for its one user.
    pub fn take_delivery(&mut self) -> Result<Delivery, RedirectState> {
        self.delivery.take().unwrap_or(Err(RedirectState::Off))
    }

    /// Copies what came into maps of an old size while their programs were still running. To be called once
    /// every device has the new programs; the old maps are let go.
    pub fn carry_over_again(&mut self) {
        move_flows(&self.flow_tables);
        self.flow_tables.clear();
        for carry_over in self.carry_over.drain(..) {
            match carry_over.again() {
                Ok(report) => info!(map = carry_over.name, ?report, "copied the last entries"),
                Err(error) => warn!(map = carry_over.name, %error, "cannot copy the last entries"),
            }
        }
    }
}

/// The table of flows and the two others, by family.
const FLOW_TABLES: [(Family, [&str; 3]); 2] = [
    (
        Family::V4,
        [name::FLOWS_V4, name::CONNTRACK_V4, name::TRANSIENT_V4],
    ),
    (
        Family::V6,
        [name::FLOWS_V6, name::CONNTRACK_V6, name::TRANSIENT_V6],
    ),
];

fn move_flows(tables: &[(Family, FlowTables)]) {
    for (family, tables) in tables {
        let moved = match family {
            Family::V4 => tables.carry_over::<[u8; 4]>(),
            Family::V6 => tables.carry_over::<[u8; 16]>(),
        };
        match moved {
            Ok(report) => info!(?family, ?report, "flows are in the new table"),
            Err(error) => warn!(?family, %error, "cannot move flows to the new table"),
        }
    }
}

/// Zeroes the counts of a family's LRU maps.
fn forget_counts(ebpf: &mut Ebpf, family: Family) -> Result<(), LoadError> {
    let octets = match family {
        Family::V4 => 4,
        Family::V6 => 16,
    };
    let of_lru = Lru::ALL.into_iter().flat_map(|lru| {
        [Change::Made, Change::Removed].map(|change| entries::index(octets, lru, change))
    });
    let missing = ObjectError::MissingMap(name::LRU_ENTRIES);
    let map = ebpf.map_mut(name::LRU_ENTRIES).ok_or(missing)?;
    let refused = |error| LoadError::Load(Box::new(EbpfError::MapError(error)));
    let mut counts = PerCpuArray::<_, u64>::try_from(map).map_err(refused)?;
    for index in of_lru.chain([entries::displaced_index(octets)]) {
        let per_cpu = counts.get(&index, 0).map_err(refused)?;
        let zeroes = PerCpuValues::try_from(vec![0; per_cpu.len()])
            .map_err(failed("make values for each CPU"))?;
        counts.set(index, zeroes, 0).map_err(refused)?;
    }
    Ok(())
}

/// The object's maps with these limits in place of the compiled ones.
fn with_limits(
    mut shapes: BTreeMap<&'static str, Shape>,
    limits: &Limits,
) -> BTreeMap<&'static str, Shape> {
    for spec in spec::all(limits).iter().filter(|spec| !spec.fixed_entries) {
        if let Some(shape) = shapes.get_mut(spec.name) {
            shape.max_entries = spec.max_entries;
        }
    }
    shapes
}

/// Copies entries from maps of another size, and tells what became of each pin.
fn take_over(
    ebpf: &Ebpf,
    mut prepared: Prepared,
) -> Result<(BTreeMap<&'static str, PinOutcome>, Vec<CarryOver>), LoadError> {
    let mut outcomes = BTreeMap::new();
    let mut carry_over = Vec::new();
    for (name, state) in prepared.states {
        let outcome = match state {
            PinState::Absent => PinOutcome::Created,
            PinState::Same => PinOutcome::Reused,
            PinState::OtherShape { found, expected } => {
                let old = prepared.old_entries.remove(name).zip(map_fd(ebpf, name));
                let mut copied = None;
                if let Some((from, to)) = old {
                    copied = copy_old(name, from.as_fd(), to);
                    let to = to
                        .try_clone_to_owned()
                        .map_err(failed("keep a handle to a map"))?;
                    carry_over.push(CarryOver { name, from, to });
                }
                PinOutcome::Replaced {
                    found,
                    expected,
                    carried_over: copied,
                }
            }
        };
        outcomes.insert(name, outcome);
    }
    Ok((outcomes, carry_over))
}

fn copy_old(name: &str, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Option<CopyReport> {
    match pins::copy_entries(from, to) {
        Ok(report) => {
            info!(map = name, ?report, "copied the entries");
            Some(report)
        }
        Err(error) => {
            warn!(map = name, %error, "cannot copy the entries, they are lost");
            None
        }
    }
}

/// Compares what the programs will use with what was demanded, and sees to it that its types are known.
fn check_maps(ebpf: &Ebpf, demanded: &BTreeMap<&'static str, Shape>) -> Result<(), LoadError> {
    let mut without_btf = Vec::new();
    for (name, expected) in demanded {
        let fd = map_fd(ebpf, name).ok_or(ObjectError::MissingMap(name))?;
        let info = bpf::map_info(fd).map_err(failed("read what the kernel knows of a map"))?;
        let found = Shape::from(info);
        if found != *expected {
            return Err(LoadError::Shape {
                map: name,
                found,
                expected: *expected,
            });
        }
        if info.btf_id == 0 || info.btf_value_type_id == 0 {
            without_btf.push(*name);
        }
    }
    if without_btf.is_empty() {
        Ok(())
    } else {
        Err(LoadError::NoBtf(format!(
            "the maps {}",
            without_btf.join(", ")
        )))
    }
}

fn map_fd<'e>(ebpf: &'e Ebpf, name: &str) -> Option<BorrowedFd<'e>> {
    let data = match ebpf.map(name)? {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data) => data,
        _ => return None,
    };
    Some(data.fd().as_fd())
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<LoadedProgram, LoadError> {
    let refused = |source| LoadError::Program {
        program: name,
        source: Box::new(source),
    };
    let program: &mut SchedClassifier = ebpf
        .program_mut(name)
        .ok_or(LoadError::MissingProgram(name))?
        .try_into()
        .map_err(refused)?;
    verify(name, || program.load()).map_err(refused)?;
    LoadedProgram::of(
        name,
        program.info().map_err(refused)?,
        program.fd().map_err(refused)?,
    )
}
