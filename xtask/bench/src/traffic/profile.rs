//! Where the time of a request goes: `perf` looks at the processor of clients and servers some thousand times a second while they
//! exchange octets, and what it finds there is sorted into parts of the kernel.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::Sandbox;
use serde::{Deserialize, Serialize};

use super::mode::{Asks, Mode, Place, Plane, Workload};
use super::rig::Rig;

/// How long is looked at each.
const LOOKED_AT: Duration = Duration::from_secs(2);
/// How long before and after the exchange goes on: `perf` takes a while to begin and to end.
const AROUND: Duration = Duration::from_millis(700);
/// Samples a second; no divisor of anything that recurs.
const FREQUENCY: u32 = 9_973;

/// The time of a request of one mode.
#[derive(Debug, Serialize, Deserialize)]
pub struct Profile {
    #[serde(flatten)]
    pub mode: Mode,
    pub place: Place,
    /// A request and its answer on one TCP connection, in nanoseconds.
    pub transaction: f64,
    /// How often the processor was looked at.
    pub samples: u32,
    /// Share of them in each part of [`PARTS`], and in none of them.
    pub shares: Vec<f64>,
    /// Functions of the first part with their shares, those that take most first.
    pub programs: Vec<(String, f64)>,
}

/// A part of the kernel: what it does, and how its functions begin.
type Part = (&'static str, &'static [&'static str]);

/// What is sorted into: the first part of which a function has a beginning.
// A part a line.
#[rustfmt::skip]
pub const PARTS: &[Part] = &[
    ("BPF programs, and what they call", &["bpf_", "__bpf_", "htab_", "__htab_", "lookup_nulls_elem", "trie_", "array_map_", "inet_proto_csum_", "skb_do_redirect", "__skb_checksum_complete_fail"]),
    ("netfilter", &["nf_", "__nf_", "nft_", "__nft_", "ipt_", "iptable_", "xt_", "hash_conntrack", "l4proto_", "__in6_dev", "ct_", "csum_block"]),
    ("IP: routing and forwarding", &["ip_", "__ip_", "ipv4_", "fib_", "__fib_", "rt_", "dst_", "inet_gro", "inet_get_", "__inet_dev", "neigh_", "__neigh_", "arp_", "make_route", "find_exception"]),
    ("TCP and sockets", &["tcp_", "__tcp_", "inet_", "__inet_", "sock_", "__sock_", "sk_", "__sk_", "release_sock", "lock_sock", "tcpv4", "bictcp", "cubictcp", "minmax_", "security_", "sockfd_", "apparmor_"]),
    ("packets' memory", &["skb_", "__skb", "kfree_skb", "__kfree_skb", "alloc_skb", "__alloc_skb", "pskb_", "__pskb", "kmem_cache_", "__kmalloc", "kfree", "kmalloc_", "___slab", "__slab", "page_frag", "napi_skb", "consume_skb", "sl_", "slab_", "mod_objcg", "__build_skb", "build_skb", "napi_consume"]),
    ("devices and their queues, hooks included", &["veth_", "dev_", "__dev_", "netif_", "__netif_", "net_rx_", "process_backlog", "eth_", "enqueue_to_backlog", "napi_", "__napi_", "validate_xmit", "tc_run", "tcf_", "tcx_", "sch_", "qdisc_", "passthru_", "netdev_", "is_skb_forwardable", "backlog_", "net_tx_", "skb_network"]),
    ("softirqs, timers, locks", &["handle_softirqs", "__do_softirq", "do_softirq", "irq_", "__local_bh", "local_bh", "_raw_", "__raw_", "mod_timer", "__mod_timer", "timer_", "get_nohz", "rcu_", "__rcu_", "raise_softirq", "__raise_softirq", "native_queued", "read_tsc", "ktime_", "timekeeping_", "jiffies"]),
    ("scheduling and waking", &["schedule", "__schedule", "finish_task", "try_to_wake", "__wake_", "wake_", "autoremove_", "pick_", "__pick_", "update_", "__update_", "enqueue_", "dequeue_", "set_next", "put_prev", "ttwu_", "select_task", "prepare_to_wait", "finish_wait", "add_wait", "remove_wait", "woken_wake", "wait_woken", "default_wake", "available_idle", "sched_", "__switch_to", "switch_", "reweight_", "place_entity", "check_preempt", "wakeup_", "resched_", "native_smp", "psi_", "cpuacct_", "place_", "avg_vruntime", "vruntime_", "entity_"]),
    ("system calls and the processes", &["entry_", "do_syscall", "syscall_", "__x64_", "x64_sys", "__sys_", "ksys_", "vfs_", "new_sync", "rw_verify", "fdget", "__fdget", "fget", "fput", "copy_", "_copy_", "rep_movs", "__check_object", "exit_to_user", "import_", "move_addr", "__virt_addr", "check_", "__get_user", "__put_user", "fault_in", "iov_", "simple_copy", "[unknown]"]),
];

impl Profile {
    /// The time in a part, or in none of them for the number after the last, in nanoseconds.
    pub fn nanoseconds(&self, part: usize) -> Option<f64> {
        Some(self.shares.get(part)? * self.transaction)
    }

    /// BPF programs' functions, and what they call, with the time in each, if it is so many nanoseconds.
    pub fn functions(&self, least: f64) -> impl Iterator<Item = (&str, f64)> {
        self.programs
            .iter()
            .map(|(name, share)| (name.as_str(), share * self.transaction))
            .filter(move |(_, nanoseconds)| *nanoseconds >= least)
    }
}

/// Looks at RR of the modes that differ most.
///
/// # Errors
/// When `perf` does not run, or something with the measurement.
pub fn take(modes: &[Mode], rigs: &[Rig], cpu: usize) -> Result<Vec<Profile>> {
    let mut profiles = Vec::new();
    for place in Place::ALL {
        for mode in chosen(modes) {
            let rig = rigs.iter().find(|rig| rig.is_of(mode));
            let Some(rig) = rig else {
                bail!("{} has no testbed", mode.name());
            };
            profiles.push(of(rig, mode, place, cpu)?);
        }
    }
    Ok(profiles)
}

/// Of each data plane that goes another way, the one with the most Services.
fn chosen(modes: &[Mode]) -> Vec<Mode> {
    const PLANES: [Plane; 6] = [
        Plane::Direct,
        Plane::Idle,
        Plane::Stack,
        Plane::Redirect,
        Plane::Nftables,
        Plane::Iptables,
    ];
    let most = |plane: Plane| {
        let asks = if plane.has_services() {
            Asks::Vip
        } else {
            Asks::Pod
        };
        let of_plane = modes
            .iter()
            .filter(|mode| (mode.plane, mode.asks) == (plane, asks));
        of_plane.max_by_key(|mode| mode.services).copied()
    };
    PLANES.into_iter().filter_map(most).collect()
}

fn of(rig: &Rig, mode: Mode, place: Place, cpu: usize) -> Result<Profile> {
    let file = Sandbox::current()?.directory().join("perf.data");
    let (sample, recorded) = thread::scope(|scope| {
        let recorder = scope.spawn(|| {
            thread::sleep(AROUND);
            record(cpu, &file)
        });
        let time = LOOKED_AT + AROUND * 3;
        let sample = rig.measure(mode, place, Workload::TcpRr, time);
        (sample, recorder.join())
    });
    let sample = sample?;
    match recorded {
        Ok(recorded) => recorded?,
        Err(_) => bail!("the thread that records has panicked"),
    }
    sorted(&read(&file)?, mode, place, 1e9 / sample.rate)
}

/// Records what runs on a processor.
fn record(cpu: usize, file: &Path) -> Result<()> {
    let output = perf()
        .args(["record", "--quiet", "--event", "cpu-clock"])
        .args(["--freq", &FREQUENCY.to_string()])
        .args(["--cpu", &cpu.to_string()])
        .arg("--output")
        .arg(file)
        .args(["--", "sleep", &LOOKED_AT.as_secs_f64().to_string()])
        .stdout(Stdio::null())
        .output()
        .context("perf")?;
    ensure!(
        output.status.success(),
        "perf record: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A function for each sample.
fn read(file: &Path) -> Result<String> {
    let output = perf()
        .args(["script", "--fields", "ip,sym", "--input"])
        .arg(file)
        .output()
        .context("perf")?;
    ensure!(
        output.status.success(),
        "perf script: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn perf() -> Command {
    Command::new("perf")
}

/// Sorts the samples.
fn sorted(script: &str, mode: Mode, place: Place, transaction: f64) -> Result<Profile> {
    let mut counts = vec![0_u32; PARTS.len() + 1];
    let mut programs: BTreeMap<String, u32> = BTreeMap::new();
    for line in script.lines() {
        let mut words = line.split_whitespace();
        let (Some(address), Some(function)) = (words.next(), words.next()) else {
            continue;
        };
        let part = part(address, function);
        counts[part] += 1;
        if part == 0 {
            *programs.entry(short_name(function)).or_default() += 1;
        }
    }
    let samples: u32 = counts.iter().sum();
    ensure!(samples > 0, "perf has seen nothing");
    let share = |count| f64::from(count) / f64::from(samples);
    let mut programs: Vec<(String, f64)> = programs
        .into_iter()
        .map(|(name, count)| (name, share(count)))
        .collect();
    programs.sort_by(|one, other| other.1.total_cmp(&one.1));
    Ok(Profile {
        mode,
        place,
        transaction,
        samples,
        shares: counts.into_iter().map(share).collect(),
        programs,
    })
}

/// A function's name. The kernel puts the program's tag before it, and what is generic behind it is written in letters and digits:
/// functions of both families count as one.
fn short_name(function: &str) -> String {
    let function = match function.strip_prefix("bpf_prog_") {
        Some(program) => program.split_once('_').map_or(program, |(_, name)| name),
        None => function,
    };
    let name = function.split("_3C_").next().unwrap_or(function);
    name.split('.').next().unwrap_or(name).to_owned()
}

/// The number of a function's part. The kernel's addresses are the upper half of all.
fn part(address: &str, function: &str) -> usize {
    let is_kernels = address.len() == 16 && address.starts_with('f');
    let function = if is_kernels { function } else { "[unknown]" };
    let has = |(_, beginnings): &Part| beginnings.iter().any(|it| function.starts_with(it));
    PARTS.iter().position(has).unwrap_or(PARTS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_sorted_into_parts_and_processes_into_theirs() {
        let script = "\
 ffffffff82036881 tcp_v4_rcv
 ffffffffc0067401 bpf_prog_3165b133284f646b_to_pod_3C__5B_u8_3B__20_4_5D__2C__20_4_3E_
 ffffffff81ffc99d ip_finish_output2
     7f901c17989e tcp_of_a_library
 ffffffff81ffc99d nobody_knows

";
        let mode = Mode::all(&[], &[], &[])[0];
        let profile = sorted(script, mode, Place::Local, 1_000.0).unwrap();
        assert_eq!(profile.samples, 5);
        let of = |what: &str| {
            let part = PARTS.iter().position(|(name, _)| name.starts_with(what));
            profile.nanoseconds(part.unwrap()).unwrap()
        };
        for what in ["BPF", "TCP", "IP", "system calls"] {
            assert_eq!(of(what), 200.0, "{what}");
        }
        assert_eq!(of("netfilter"), 0.0);
        assert_eq!(profile.nanoseconds(PARTS.len()), Some(200.0));
        assert_eq!(profile.programs, [("to_pod".to_owned(), 0.2)]);
        assert!(sorted("", mode, Place::Local, 1.0).is_err());
    }

    #[test]
    fn of_each_data_plane_the_one_with_the_most_services_is_looked_at() {
        let planes = [Plane::Nftables, Plane::Stack, Plane::Sockets];
        let modes = Mode::all(&planes, &[1, 100], &[1, 10]);
        let names: Vec<String> = chosen(&modes).into_iter().map(Mode::name).collect();
        assert_eq!(names, ["direct", "lb, 100", "kube-proxy nftables, 10"]);
    }
}
