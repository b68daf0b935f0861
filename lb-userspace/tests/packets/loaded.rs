//! The object in the kernel, with maps of its own that are filled from a data plane in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::os::fd::AsFd;

use anyhow::{Context, Result, ensure};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, ProgramArray};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use lab::Sandbox;
use lb_common::affinity::{Affinity, AffinityKey};
use lb_common::backend::Backend;
use lb_common::conntrack::{ConntrackKey, Flow, Table};
use lb_common::flows::Bucket;
use lb_common::frontend::{Frontend, FrontendKey};
use lb_common::layout::name;
use lb_common::pipeline::Dataplane;
use lb_common::reason::Reason;
use lb_common::redirect::{LocalPod, RemotePods};
use lb_common::service_cidr::ServiceCidrs;
use lb_common::testing::MemoryDataplane;
use lb_common::{families, reply_filter, vip_filter};
use lb_userspace::datapath::{LOG_LEVEL, Ticks, object, verify};
use lb_userspace::maps::bpf::{FlowArray, Put};

use crate::family::Family;
use crate::test_run::run_summed;

/// A program of the object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// For packets from a pod.
    FromWorkload,
    /// For packets to a pod.
    ToWorkload,
}

impl Program {
    /// Its name in the object.
    pub fn name(self) -> &'static str {
        match self {
            Self::FromWorkload => "from_workload",
            Self::ToWorkload => "to_workload",
        }
    }
}

/// What a program made of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// The program's action: -1 (`TC_ACT_UNSPEC`), 2 (`TC_ACT_SHOT`), 7 (`TC_ACT_REDIRECT`).
    pub action: i32,
    /// The frame that came out.
    pub frame: Vec<u8>,
    /// The counters that went up, by name, and how far.
    pub counted: BTreeMap<&'static str, u64>,
}

/// The programs that deliver packets of pods, by family; `from_workload` ends in them.
pub const DELIVER: [&str; 2] = ["deliver_v4", "deliver_v6"];

/// The program for packets from other nodes, where the redirect path is on.
pub const FROM_UPLINK: &str = "from_uplink";

/// The frame goes on.
pub const NEXT: i32 = -1;
/// The frame is dropped.
pub const DROP: i32 = 2;
/// The frame is sent back.
pub const REDIRECT: i32 = 7;

/// No action: the sum that the kernel keeps beside the frame has become wrong.
pub const WRONG_SUM: i32 = -libc::EBADMSG;

/// The loaded object.
pub struct Loaded {
    ebpf: Ebpf,
    counters: PerCpuArray<MapData, u64>,
    counted: Vec<u64>,
    ticks_per_second: u32,
    has_flow_table: bool,
    /// Of the backends that were last written, by map.
    backend_ids: BTreeMap<&'static str, BTreeSet<u32>>,
}

const BOTH: u32 = families::IPV4 | families::IPV6;

/// Flows of one family that the table in front has room for.
const FLOWS: u32 = 16_384 * 7;

/// Lets aya copy our map types to and from the kernel.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Wire<T>(T);

// SAFETY: this file wraps nothing but the keys and values of our maps, for which lb-common proves that any bytes are a
// value and that there is no padding; a transparent wrapper has the representation of what it wraps.
unsafe impl<T: Copy + 'static> aya::Pod for Wire<T> {}

impl Loaded {
    /// Loads the object of this build, with the hash secret of the data plane in memory.
    ///
    /// # Errors
    /// Without root or the object, and if the kernel refuses it.
    pub fn new() -> Result<Self> {
        Self::load(Ticks::of_kernel()?.per_second(), FLOWS, BOTH, &[])
    }

    /// As [`Loaded::new`], for programs that take so many ticks of their clock for a second, with the table of flows or without.
    ///
    /// # Errors
    /// As for [`Loaded::new`].
    pub fn with_ticks(ticks_per_second: u32, has_flow_table: bool) -> Result<Self> {
        let flows = if has_flow_table { FLOWS } else { 0 };
        Self::load(ticks_per_second, flows, BOTH, &[])
    }

    /// As [`Loaded::new`], with the redirect path, which is off until [`Loaded::turn_redirect_on`]. Kernels before 5.12 refuse
    /// it.
    ///
    /// # Errors
    /// As for [`Loaded::new`].
    pub fn redirecting() -> Result<Self> {
        let [v4, v6] = DELIVER;
        let names = [v4, v6, FROM_UPLINK];
        Self::load(Ticks::of_kernel()?.per_second(), FLOWS, BOTH, &names)
    }

    /// As [`Loaded::redirecting`], for programs that serve the families of these bits ([`lb_common::families`]).
    ///
    /// # Errors
    /// As for [`Loaded::new`].
    pub fn serving(families: u32) -> Result<Self> {
        let [v4, v6] = DELIVER;
        let names = [v4, v6, FROM_UPLINK];
        Self::load(Ticks::of_kernel()?.per_second(), FLOWS, families, &names)
    }

    /// As [`Loaded::new`], as on a kernel that can't be told that a checksum is of IPv6 (before Linux 6.16).
    ///
    /// # Errors
    /// As for [`Loaded::new`].
    pub fn without_ipv6_sums() -> Result<Self> {
        Self::load_for(Ticks::of_kernel()?.per_second(), FLOWS, BOTH, &[], false)
    }

    fn load(
        ticks_per_second: u32,
        flows: u32,
        families: u32,
        deliver: &[&'static str],
    ) -> Result<Self> {
        let knows_ipv6_sums = object::knows_ipv6_sums();
        Self::load_for(ticks_per_second, flows, families, deliver, knows_ipv6_sums)
    }

    fn load_for(
        ticks_per_second: u32,
        flows: u32,
        families: u32,
        deliver: &[&'static str],
        knows_ipv6_sums: bool,
    ) -> Result<Self> {
        Sandbox::current()?;
        let secret = MemoryDataplane::<[u8; 4]>::new().secret();
        let flow_buckets = object::flow_buckets(flows);
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(name::SLOTS, 4_096)
            .map_max_entries(name::CONNTRACK_V4, 65_536)
            .map_max_entries(name::CONNTRACK_V6, 65_536)
            .map_max_entries(name::TRANSIENT_V4, 65_536)
            .map_max_entries(name::TRANSIENT_V6, 65_536)
            .map_max_entries(name::FRAGMENTS_V4, 65_536)
            .map_max_entries(name::FRAGMENTS_V6, 65_536)
            .map_max_entries(name::HELD_V4, 8_192)
            .map_max_entries(name::HELD_V6, 8_192)
            .verifier_log_level(LOG_LEVEL)
            .map_max_entries(name::FLOWS_V4, flow_buckets.max(1))
            .map_max_entries(name::FLOWS_V6, flow_buckets.max(1))
            .override_global("FLOW_BUCKETS", &flow_buckets, true)
            .override_global("SECRET", &secret, true)
            .override_global("TICKS_PER_SECOND", &ticks_per_second, true)
            .override_global("FAMILIES", &families, true)
            .override_global("KNOWS_IPV6_SUMS", &u32::from(knows_ipv6_sums), true)
            .override_global("REDIRECT", &u32::from(!deliver.is_empty()), true)
            .load(object::for_kernel()?)
            .context("the object")?;
        let of_devices = [Program::FromWorkload, Program::ToWorkload].map(Program::name);
        for name in of_devices.iter().chain(deliver) {
            let program: &mut SchedClassifier = ebpf
                .program_mut(name)
                .with_context(|| format!("no program {name}"))?
                .try_into()?;
            verify(name, || program.load())?;
        }
        let counters: PerCpuArray<MapData, u64> = ebpf
            .take_map(name::COUNTERS)
            .context("no counters")?
            .try_into()?;
        let mut loaded = Self {
            ebpf,
            counters,
            counted: vec![0; Reason::ALL.len()],
            ticks_per_second,
            has_flow_table: flow_buckets != 0,
            backend_ids: BTreeMap::new(),
        };
        loaded.newly_counted()?;
        Ok(loaded)
    }

    /// Loads the object with what a data plane in memory knows.
    ///
    /// # Errors
    /// As for [`Loaded::new`].
    pub fn with<A: Family>(dp: &MemoryDataplane<A>) -> Result<Self> {
        let mut loaded = Self::new()?;
        loaded.fill(dp)?;
        Ok(loaded)
    }

    /// Makes the maps of one family equal to those in memory, but for the flows.
    ///
    /// # Errors
    /// If the kernel refuses a write.
    pub fn fill<A: Family>(&mut self, dp: &MemoryDataplane<A>) -> Result<()> {
        let mut filter: Array<_, u64> = self.map(name::VIP_FILTER)?.try_into()?;
        for bit in &dp.vip_filter {
            let (word, mask) = vip_filter::word_and_mask(*bit);
            filter.set(word, filter.get(&word, 0)? | mask, 0)?;
        }
        let mut slots: Array<_, [u32; 2]> = self.map(name::SLOTS)?.try_into()?;
        for (index, pair) in dp.slots.chunks(2).enumerate() {
            let pair = [pair[0], pair.get(1).copied().unwrap_or(0)];
            slots.set(index as u32, pair, 0)?;
        }
        let mut cidrs: Array<_, Wire<ServiceCidrs<A>>> = self.map(A::SERVICE_CIDR)?.try_into()?;
        cidrs.set(0, Wire(dp.service_cidrs), 0)?;
        self.fill_unserved(dp)?;
        self.fill_backends(dp)?;
        replace::<FrontendKey<A>, Frontend>(self.map(A::FRONTENDS)?, &dp.frontends)
    }

    fn fill_unserved<A: Family>(&mut self, dp: &MemoryDataplane<A>) -> Result<()> {
        let mut map: LpmTrie<_, Wire<A>, u32> = self.map(A::UNSERVED)?.try_into()?;
        let old: Vec<Key<Wire<A>>> = map.keys().collect::<Result<_, _>>()?;
        for key in &old {
            map.remove(key)?;
        }
        for address in &dp.unserved {
            let key = Key::new(A::OCTETS as u32 * 8, Wire(*address));
            map.insert(&key, 1, 0)?;
        }
        Ok(())
    }

    fn fill_backends<A: Family>(&mut self, dp: &MemoryDataplane<A>) -> Result<()> {
        let old = self.backend_ids.remove(A::BACKENDS).unwrap_or_default();
        let mut map: Array<_, Wire<Backend<A>>> = self.map(A::BACKENDS)?.try_into()?;
        for id in old.iter().filter(|id| !dp.backends.contains_key(id)) {
            map.set(*id, Wire(Backend::none()), 0)?;
        }
        for (id, row) in &dp.backends {
            map.set(*id, Wire(*row), 0)?;
        }
        let ids = dp.backends.keys().copied().collect();
        self.backend_ids.insert(A::BACKENDS, ids);
        Ok(())
    }

    /// Makes the pods of this node of one family these.
    ///
    /// # Errors
    /// If the kernel refuses a write.
    pub fn set_local_pods<A: Family>(
        &mut self,
        pods: &std::collections::HashMap<A, LocalPod>,
    ) -> Result<()> {
        replace::<A, LocalPod>(self.map(A::LOCAL_PODS)?, pods)
    }

    /// Makes these the ways to pods of other nodes of one family, by prefix.
    ///
    /// # Errors
    /// If the kernel refuses a write.
    pub fn set_remote_pods<A: Family>(&mut self, ways: &[(A, u32, RemotePods<A>)]) -> Result<()> {
        let mut map: LpmTrie<_, Wire<A>, Wire<RemotePods<A>>> =
            self.map(A::REMOTE_PODS)?.try_into()?;
        for (address, bits, way) in ways {
            map.insert(&Key::new(*bits, Wire(*address)), Wire(*way), 0)?;
        }
        Ok(())
    }

    /// From now on packets to pods of this node are delivered.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn turn_redirect_on(&mut self) -> Result<()> {
        let programs = DELIVER.map(|name| anyhow::Ok(self.named(name)?.fd()?.try_clone()?));
        let mut array: ProgramArray<_> = self.map("deliver")?.try_into()?;
        for (index, program) in (0..).zip(programs) {
            array.set(index, &program?, 0)?;
        }
        Ok(())
    }

    /// The flows of one family as packets find them, by their keys: what conntrack has of a flow counts, not an older copy of
    /// it.
    ///
    /// # Errors
    /// If a map can't be read, or conntrack has a flow that is not assured or is over.
    pub fn flows<A: Family>(
        &mut self,
    ) -> Result<std::collections::HashMap<ConntrackKey<A>, Flow<A>>> {
        let mut rows = self.rows(A::TRANSIENT)?;
        for (key, flow) in self.rows::<ConntrackKey<A>, Flow<A>>(A::CONNTRACK)? {
            ensure!(
                flow.state().table() == Table::Conntrack,
                "{flow:?} has no place in conntrack"
            );
            rows.insert(key, flow);
        }
        self.flow_array::<A>()?.each(&mut |flow| {
            rows.insert(flow.from_client(), *flow);
            rows.insert(flow.from_backend(), *flow);
        });
        Ok(rows)
    }

    /// Lets a flow have a backend of this address: packets from there to a pod are read.
    ///
    /// # Errors
    /// If the kernel refuses a write.
    pub fn mark_backend<A: Family>(&mut self, address: &A) -> Result<()> {
        let (element, place) = reply_filter::element_and_place(reply_filter::mark(address));
        let mut filter: Array<_, [u8; reply_filter::MARKS_PER_ELEMENT as usize]> =
            self.map(name::REPLY_FILTER)?.try_into()?;
        let mut marks = filter.get(&element, 0)?;
        marks[place as usize] = 1;
        Ok(filter.set(element, marks, 0)?)
    }

    /// Makes these the flows of one family.
    ///
    /// # Errors
    /// If the kernel refuses a write.
    pub fn set_flows<A: Family>(
        &mut self,
        flows: &std::collections::HashMap<ConntrackKey<A>, Flow<A>>,
    ) -> Result<()> {
        let secret = MemoryDataplane::<A>::new().secret();
        let mut array: Array<_, Wire<Bucket<A>>> = self.map(A::FLOWS)?.try_into()?;
        for index in 0..array.len() {
            array.set(index, Wire(Bucket::empty()), 0)?;
        }
        let array = self.flow_array::<A>()?;
        let mut others = std::collections::HashMap::new();
        for (key, flow) in flows {
            // Both entries of a flow say the same of it.
            if !self.has_flow_table
                || array.put(flow, secret, self.ticks_per_second) == Put::Spilled
            {
                others.insert(*key, *flow);
            }
        }
        let flows = &others;
        for (table, map) in [
            (Table::Conntrack, A::CONNTRACK),
            (Table::Transient, A::TRANSIENT),
        ] {
            let rows = flows
                .iter()
                .filter(|(_, flow)| flow.state().table() == table);
            self.set_rows(map, &rows.map(|(key, flow)| (*key, *flow)).collect())?;
        }
        for flow in flows.values() {
            self.mark_backend(&flow.backend().address)?;
        }
        Ok(())
    }

    fn flow_array<A: Family>(&mut self) -> Result<FlowArray<A>> {
        let Map::Array(data) = self.map(A::FLOWS)? else {
            anyhow::bail!("{} is no array", A::FLOWS);
        };
        let buckets = data.info()?.max_entries();
        Ok(FlowArray::map(data.fd().as_fd(), buckets, true)?)
    }

    /// Which backends the clients of one family have.
    ///
    /// # Errors
    /// If the map can't be read.
    pub fn affinity<A: Family>(
        &mut self,
    ) -> Result<std::collections::HashMap<AffinityKey<A>, Affinity>> {
        self.rows(A::AFFINITY)
    }

    /// The rows of a map, by their keys.
    ///
    /// # Errors
    /// If the map can't be read, or holds no such keys and values.
    pub fn rows<K, V>(&mut self, map: &str) -> Result<std::collections::HashMap<K, V>>
    where
        K: Copy + Eq + Hash + 'static,
        V: Copy + 'static,
    {
        let rows: HashMap<_, Wire<K>, Wire<V>> = self.map(map)?.try_into()?;
        let rows = rows.iter().map(|row| row.map(|(k, v)| (k.0, v.0)));
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Makes these the rows of a map.
    ///
    /// # Errors
    /// If the kernel refuses a write, or the map holds no such keys and values.
    pub fn set_rows<K, V>(
        &mut self,
        map: &str,
        rows: &std::collections::HashMap<K, V>,
    ) -> Result<()>
    where
        K: Copy + Eq + Hash + 'static,
        V: Copy + 'static,
    {
        replace(self.map(map)?, rows)
    }

    /// Empties the flow tables of one family.
    ///
    /// # Errors
    /// If the kernel refuses a write.
    pub fn forget_flows<A: Family>(&mut self) -> Result<()> {
        self.set_flows::<A>(&Default::default())
    }

    /// Runs a program on a frame.
    ///
    /// # Errors
    /// If the kernel refuses the run: it wants a frame that is longer than an Ethernet header.
    pub fn run(&mut self, program: Program, frame: &[u8]) -> Result<Ran> {
        self.run_named(program.name(), frame)
    }

    /// As [`Loaded::run`], of a program by its name in the object.
    ///
    /// # Errors
    /// As for [`Loaded::run`], and if the program is not loaded.
    pub fn run_named(&mut self, program: &'static str, frame: &[u8]) -> Result<Ran> {
        let mut out = vec![0; frame.len() + 256];
        let result = self
            .named(program)?
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ..TestRunOptions::default()
            })
            .with_context(|| format!("{program:?} on {} octets", frame.len()))?;
        out.truncate(result.data_size_out as usize);
        Ok(Ran {
            action: result.return_value as i32,
            frame: out,
            counted: self.newly_counted()?,
        })
    }

    /// As [`Loaded::run`], on a frame whose sum the device has taken over all of it. The action is [`WRONG_SUM`] where what the
    /// kernel keeps of it beside the packet is not true afterwards; the frame is then empty.
    ///
    /// # Errors
    /// As for [`Loaded::run`].
    pub fn run_summed(&mut self, program: Program, frame: &[u8]) -> Result<Ran> {
        let (action, frame) = match run_summed(self.program(program)?, frame) {
            Err(error) if error.raw_os_error() == Some(libc::EBADMSG) => (WRONG_SUM, Vec::new()),
            ran => ran.with_context(|| format!("{program:?} on {} octets", frame.len()))?,
        };
        Ok(Ran {
            action,
            frame,
            counted: self.newly_counted()?,
        })
    }

    /// A loaded program.
    ///
    /// # Errors
    /// Never, once loaded.
    pub fn program(&self, program: Program) -> Result<&SchedClassifier> {
        self.named(program.name())
    }

    /// A loaded program by its name in the object.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(&self, name: &'static str) -> Result<&SchedClassifier> {
        Ok(self.ebpf.program(name).context(name)?.try_into()?)
    }

    /// The kernel's number of a map.
    ///
    /// # Errors
    /// If there is no such map.
    pub fn map_id(&mut self, name: &str) -> Result<u32> {
        let (Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data)) = self.map(name)?
        else {
            anyhow::bail!("{name} is no plain map");
        };
        Ok(data.info()?.id())
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf
            .map_mut(name)
            .with_context(|| format!("no map {name}"))
    }

    /// What was counted since this was last asked.
    fn newly_counted(&mut self) -> Result<BTreeMap<&'static str, u64>> {
        let mut counted = BTreeMap::new();
        for (reason, old) in Reason::ALL.iter().zip(&mut self.counted) {
            let new: u64 = self.counters.get(&(*reason as u32), 0)?.iter().sum();
            if new != *old {
                counted.insert(reason.name(), new - *old);
            }
            *old = new;
        }
        Ok(counted)
    }
}

fn replace<K, V>(map: &mut Map, rows: &std::collections::HashMap<K, V>) -> Result<()>
where
    K: Copy + Eq + Hash + 'static,
    V: Copy + 'static,
{
    let mut map: HashMap<_, Wire<K>, Wire<V>> = map.try_into()?;
    let old: Vec<Wire<K>> = map.keys().collect::<Result<_, _>>()?;
    for key in old.iter().filter(|key| !rows.contains_key(&key.0)) {
        map.remove(key)?;
    }
    for (key, row) in rows {
        map.insert(Wire(*key), Wire(*row), 0)?;
    }
    Ok(())
}
