//! How the data plane is: what the agent has written, how full the maps are, which devices have programs, what became of
//! packets.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use jiff::Timestamp;
use lb_common::entries::{self, Change, Lru};
use lb_common::layout::{LAYOUT, limit, name};
use lb_common::reason::Reason;
use lb_common::redirect::RedirectState;
use lb_common::socket::SocketLb;
use lb_common::vip_filter;
use serde::Serialize;

use super::columns;
use super::flows::Clock;
use crate::datapath::{AttachPoint, AttachedHooks, Holder};
use crate::maps::{MapError, Maps, spec};
use crate::model::Family;

/// The state of the data plane.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Status {
    /// Version of the maps' layout.
    pub layout: u32,
    /// The address families that are served.
    pub families: &'static str,
    /// Whether an agent runs.
    pub agent_running: bool,
    /// Process id of the running or last agent, 0 if none has run.
    pub agent_pid: u32,
    /// Unix time in seconds when that agent started, 0 if none has.
    pub started_at: u64,
    /// How many writes of the desired state were completed.
    pub generation: u64,
    /// Unix time in seconds of the last one, 0 if there was none.
    pub synced_at: u64,
    /// The sockets of the node's own processes.
    pub sockets: SocketsView,
    /// The Service CIDRs: packets to addresses of these that no Service has are dropped.
    pub service_cidrs: Vec<String>,
    /// Whether packets between pods of the node go past the host's stack, or why not, in words.
    pub redirect: &'static str,
    /// How full the maps are.
    pub maps: Vec<FillView>,
    /// The devices that have the programs, or had them until they went.
    pub devices: Vec<AttachPoint>,
    /// Packets by reason, without those that did not occur.
    pub counters: Vec<CounterView>,
}

/// What becomes of the sockets of the node's own processes.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct SocketsView {
    /// `host`, `all`, or why none is served.
    pub state: &'static str,
    /// Whether an agent has said that it serves some.
    pub served: bool,
    /// The programs that are attached.
    pub programs: AttachedHooks,
}

/// How full a map is.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct FillView {
    /// Name of the map.
    pub map: &'static str,
    /// Entries in use; of flows those that were seen, which are fewer where these come and go very fast. Entries of conntrack whose flow
    /// was silent for too long to be anybody's are not in use.
    pub used: u64,
    /// Entries that there is room for.
    pub max: u64,
    /// 80 % or more are in use, and what does not fit will be refused, or cost a connection that is in use.
    pub nearly_full: bool,
    /// A full map forgets what was unused for longest and refuses nothing, so it may well be full.
    pub forgets_unused: bool,
    /// Entries that had to go for others, at least; none where they are not counted.
    pub displaced: Option<u64>,
    /// The flag that makes room, if one does.
    pub flag: Option<&'static str>,
}

/// A counter.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct CounterView {
    /// Name of the reason.
    pub reason: &'static str,
    /// Packets.
    pub packets: u64,
}

/// Reads the maps, the tables of flows whole. What is on devices and cgroups and whether an agent runs the maps do not tell.
pub fn status(
    maps: &dyn Maps,
    devices: Vec<AttachPoint>,
    agent_running: bool,
    clock: Clock,
) -> Result<Status, MapError> {
    let config = maps.config()?;
    let counters = maps.counters()?;
    let named = Reason::ALL.iter().zip(counters);
    Ok(Status {
        layout: LAYOUT,
        families: maps.limits().families.name(),
        agent_running,
        agent_pid: config.agent_pid,
        started_at: config.started_at,
        generation: config.generation,
        synced_at: config.synced_at,
        sockets: sockets(SocketLb::from_number(config.socket_lb)),
        service_cidrs: service_cidrs(maps)?,
        redirect: match RedirectState::from_number(config.redirect) {
            RedirectState::On if !agent_running => "off: no agent runs",
            state => state.name(),
        },
        maps: fill(maps, clock)?,
        devices,
        counters: named
            .filter(|(_, packets)| *packets > 0)
            .map(|(reason, packets)| CounterView {
                reason: reason.name(),
                packets,
            })
            .collect(),
    })
}

fn service_cidrs(maps: &dyn Maps) -> Result<Vec<String>, MapError> {
    let mut ranges = maps.service_cidrs()?;
    ranges.sort_unstable();
    Ok(ranges.iter().map(ToString::to_string).collect())
}

fn sockets(state: SocketLb) -> SocketsView {
    SocketsView {
        state: match state {
            SocketLb::Unknown => "no agent has begun",
            SocketLb::Host => "host",
            SocketLb::All => "all",
            SocketLb::Off => "off",
            SocketLb::NoCgroup => "no cgroup v2 hierarchy with the node's processes",
            SocketLb::NoNamespace => "the kernel does not tell the agent's network namespace",
            SocketLb::Refused => "the kernel refuses the programs",
            SocketLb::NotAttached => "the programs can't be attached to the cgroup",
        },
        served: matches!(state, SocketLb::Host | SocketLb::All),
        programs: AttachedHooks::default(),
    }
}

fn fill(maps: &dyn Maps, clock: Clock) -> Result<Vec<FillView>, MapError> {
    let limits = maps.limits();
    let mut frontends = [0_u64; 2];
    let mut slots: HashMap<u32, u32> = HashMap::new();
    for (at, row) in maps.frontends()? {
        frontends[at.family() as usize] += 1;
        for range in [row.cluster(), row.local()] {
            slots.insert(
                range.offset,
                range
                    .len
                    .max(slots.get(&range.offset).copied().unwrap_or(0)),
            );
        }
    }
    let mut backends = [0_u64; 2];
    for (_, row) in maps.backends()? {
        backends[Family::of(&row.socket().ip()) as usize] += 1;
    }
    let flows = connections(maps, clock)?;
    let mut near = [0_u64; 2];
    let _ = maps.flow_table(&mut |flow| near[Family::of(&flow.client.ip()) as usize] += 1)?;
    let mut others = [0_u64; 2];
    let _ = maps.transient(&mut |flow| others[Family::of(&flow.client.ip()) as usize] += 1)?;
    let mut clients = [0_u64; 2];
    let _ = maps.affinity(&mut |row| clients[Family::of(&row.client) as usize] += 1)?;
    let (mut peers, mut sockets) = (0, 0);
    let _ = maps.socket_peers(&mut |_| peers += 1)?;
    let _ = maps.socket_affinity(&mut |_| sockets += 1)?;
    let mut unserved = [0_u64; 2];
    for address in maps.unserved()? {
        unserved[Family::of(&address) as usize] += 1;
    }
    let bits = maps
        .vip_filter()?
        .iter()
        .map(|word| u64::from(word.count_ones()))
        .sum();
    let slots = slots.values().map(|len| u64::from(*len)).sum();
    let services = maps.services()?.len() as u64;
    let frontends_flag = Some("--max-frontends");
    let backends_flag = Some("--max-backends");
    let conntrack_flag = Some("--max-conntrack");
    let transient_flag = Some("--max-transient");
    let affinity_flag = Some("--max-affinity");
    let rows = [
        (
            name::FRONTENDS_V4,
            frontends[0],
            limits.frontends,
            frontends_flag,
        ),
        (
            name::FRONTENDS_V6,
            frontends[1],
            limits.frontends,
            frontends_flag,
        ),
        (name::SLOTS, slots, limits.slots, Some("--max-slots")),
        (
            name::BACKENDS_V4,
            backends[0],
            limits.backends,
            backends_flag,
        ),
        (
            name::BACKENDS_V6,
            backends[1],
            limits.backends,
            backends_flag,
        ),
        (name::FLOWS_V4, near[0], limits.flows, Some("--max-flows")),
        (name::FLOWS_V6, near[1], limits.flows, Some("--max-flows")),
        (
            name::CONNTRACK_V4,
            flows[0],
            limits.conntrack,
            conntrack_flag,
        ),
        (
            name::CONNTRACK_V6,
            flows[1],
            limits.conntrack,
            conntrack_flag,
        ),
        (
            name::TRANSIENT_V4,
            others[0],
            limits.transient,
            transient_flag,
        ),
        (
            name::TRANSIENT_V6,
            others[1],
            limits.transient,
            transient_flag,
        ),
        (
            name::AFFINITY_V4,
            clients[0],
            limits.affinity,
            affinity_flag,
        ),
        (
            name::AFFINITY_V6,
            clients[1],
            limits.affinity,
            affinity_flag,
        ),
        (name::VIP_FILTER, bits, vip_filter::BITS, None),
        (
            name::SERVICES,
            services,
            limits.services,
            Some("--max-services"),
        ),
        (name::UNSERVED_V4, unserved[0], limit::UNSERVED, None),
        (name::UNSERVED_V6, unserved[1], limit::UNSERVED, None),
        (
            name::SOCKET_PEERS,
            peers,
            limits.sockets,
            Some("--max-sockets"),
        ),
        (
            name::SOCKET_AFFINITY,
            sockets,
            limits.affinity,
            affinity_flag,
        ),
    ];
    let displaced = displaced(maps)?;
    let view = |(map, used, max, flag)| {
        let lru = [
            name::FLOWS_V4,
            name::FLOWS_V6,
            name::CONNTRACK_V4,
            name::CONNTRACK_V6,
            name::TRANSIENT_V4,
            name::TRANSIENT_V6,
            name::AFFINITY_V4,
            name::AFFINITY_V6,
            name::SOCKET_PEERS,
            name::SOCKET_AFFINITY,
        ];
        let forgets_unused = lru.contains(&map);
        FillView {
            map,
            used,
            max: u64::from(max),
            nearly_full: (!forgets_unused || Lru::Conntrack.names().contains(&map))
                && is_nearly_full(used, max),
            forgets_unused,
            displaced: displaced.get(map).copied(),
            flag,
        }
    };
    // Without the table of flows, on kernels and processors that it is not for, it has no room. Nor has a family that is not served.
    let is_served = |map| spec::family_of(map).is_none_or(|family| limits.families.has(family));
    let rows = rows.into_iter();
    let rows = rows.filter(|(map, _, max, _)| *max > 0 && is_served(map));
    Ok(rows.map(view).collect())
}

/// How many entries of conntrack are in use, by family.
pub fn connections(maps: &dyn Maps, clock: Clock) -> Result<[u64; 2], MapError> {
    let mut used = [0_u64; 2];
    // What an incomplete walk has seen is near enough to tell how full the map is.
    let _ = maps.conntrack(&mut |flow| {
        used[Family::of(&flow.client.ip()) as usize] += u64::from(clock.is_in_use(&flow));
    })?;
    Ok(used)
}

/// How many entries the maps of a kind can have, by family: what was made, less what was removed and what did not fit.
pub fn most_entries(maps: &dyn Maps, lru: Lru) -> Result<[u64; 2], MapError> {
    let (counts, displaced) = (maps.lru_entries()?, displaced(maps)?);
    let mut most = [4, 16].map(|octets| {
        let [made, removed] = made_and_removed(&counts, octets, lru);
        made.saturating_sub(removed)
    });
    for (most, name) in most.iter_mut().zip(lru.names()) {
        *most -= displaced.get(name).copied().unwrap_or(0);
    }
    Ok(most)
}

fn made_and_removed(counts: &[u64], octets: usize, lru: Lru) -> [u64; 2] {
    [Change::Made, Change::Removed].map(|change| {
        let index = entries::index(octets, lru, change) as usize;
        counts.get(index).copied().unwrap_or(0)
    })
}

/// Whether 80 % are in use.
pub fn is_nearly_full(used: u64, max: u32) -> bool {
    used * 5 >= u64::from(max) * 4
}

/// How many entries had to go for others, at least, of each map that this is counted of. Reads no entry.
pub fn displaced(maps: &dyn Maps) -> Result<BTreeMap<&'static str, u64>, MapError> {
    let (limits, counts) = (maps.limits(), maps.lru_entries()?);
    let mut displaced = BTreeMap::new();
    for lru in Lru::ALL {
        let room = match lru {
            Lru::Conntrack => limits.conntrack,
            Lru::Transient => limits.transient,
            Lru::Affinity => limits.affinity,
        };
        for (octets, name) in [4, 16].into_iter().zip(lru.names()) {
            let [made, removed] = made_and_removed(&counts, octets, lru);
            displaced.insert(name, entries::displaced(made, removed, room));
        }
    }
    for (octets, name) in [(4, name::FLOWS_V4), (16, name::FLOWS_V6)] {
        let index = entries::displaced_index(octets) as usize;
        displaced.insert(name, counts.get(index).copied().unwrap_or(0));
    }
    Ok(displaced)
}

impl Status {
    /// With the programs that are attached for sockets.
    pub fn with_socket_programs(mut self, programs: AttachedHooks) -> Self {
        self.sockets.programs = programs;
        self
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "layout      v{}", self.layout)?;
        writeln!(f, "families    {}", self.families)?;
        let started = utc(self.started_at);
        match (self.agent_running, self.agent_pid) {
            (false, 0) => writeln!(f, "agent       not running, none has run yet")?,
            (true, 0) => writeln!(f, "agent       running, about to start")?,
            (true, pid) => writeln!(f, "agent       running, process {pid}, started {started}")?,
            (false, pid) => writeln!(
                f,
                "agent       not running, the last one was process {pid}, started {started}"
            )?,
        }
        match self.generation {
            0 => writeln!(f, "desired     never written yet")?,
            n => writeln!(
                f,
                "desired     written {n} times, last {}",
                utc(self.synced_at)
            )?,
        }
        let SocketsView {
            state,
            served,
            programs: AttachedHooks { attached, of },
        } = self.sockets;
        match (served, attached) {
            (true, _) => writeln!(
                f,
                "sockets     {state}, {attached} of {of} programs attached"
            )?,
            (false, 0) => writeln!(f, "sockets     not served: {state}")?,
            (false, _) => writeln!(
                f,
                "sockets     served by {attached} of {of} programs of an earlier agent: {state}"
            )?,
        }
        match &self.service_cidrs[..] {
            [] => writeln!(
                f,
                "cidrs       none: packets to addresses that no Service has pass"
            )?,
            ranges => writeln!(f, "cidrs       {}", ranges.join(" "))?,
        }
        writeln!(f, "redirect    {}", self.redirect)?;
        writeln!(f)?;
        let rows = self.maps.iter().map(|fill| {
            let remark = match (fill.nearly_full, fill.flag) {
                (true, Some(flag)) if fill.forgets_unused => {
                    format!("nearly full, then forgets connections: raise {flag}")
                }
                (true, Some(flag)) => format!("nearly full: raise {flag}"),
                (true, None) => "nearly full".to_owned(),
                (false, _) if fill.displaced > Some(0) => {
                    let displaced = fill.displaced.unwrap_or_default();
                    if [name::FLOWS_V4, name::FLOWS_V6].contains(&fill.map) {
                        format!("gave up {displaced} that were not assured")
                    } else {
                        format!("forgot the longest unused, {displaced} so far")
                    }
                }
                (false, _) if fill.forgets_unused && fill.used >= fill.max => {
                    "full: forgets the longest unused".to_owned()
                }
                (false, _) => String::new(),
            };
            [
                fill.map.to_owned(),
                fill.used.to_string(),
                fill.max.to_string(),
                remark,
            ]
        });
        columns::write(f, ["MAP", "USED", "ENTRIES", ""], rows)?;
        writeln!(f)?;
        let rows = self.devices.iter().map(|point| {
            [
                point.device.clone().unwrap_or_else(|| "-".to_owned()),
                point.ifindex.to_string(),
                side(&point.ingress),
                side(&point.egress),
            ]
        });
        columns::write(f, ["DEVICE", "IFINDEX", "INGRESS", "EGRESS"], rows)?;
        writeln!(f)?;
        let rows = self
            .counters
            .iter()
            .map(|c| [c.reason.to_owned(), c.packets.to_string()]);
        columns::write(f, ["REASON", "PACKETS"], rows)
    }
}

fn side(holders: &[Holder]) -> String {
    match holders {
        [] => "missing".to_owned(),
        _ => holders
            .iter()
            .map(|h| h.name())
            .collect::<Vec<_>>()
            .join("+"),
    }
}

/// A Unix time as `2026-01-31T12:00:00Z`; as it is where no calendar reaches that far.
fn utc(seconds: u64) -> String {
    let time = i64::try_from(seconds)
        .ok()
        .and_then(|s| Timestamp::from_second(s).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn unix_time_is_written_as_a_date() {
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_767_225_599), "2025-12-31T23:59:59Z");
        assert_eq!(utc(u64::MAX), u64::MAX.to_string());
    }
}
