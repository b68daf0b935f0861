//! Where the time of a request goes: `perf` looks at the processor of clients and servers some thousand times a second while they
//! exchange octets, and what it finds there is sorted into parts of the kernel.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use lab::Sandbox;
use serde::{Deserialize, Serialize};

use super::mode::{Asks, Mode, Place, Plane, Workload};
use super::rig::{ATTEMPTS, Rig};

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
    pub shares: Vec<(String, f64)>,
    /// Functions of the first part with their shares, those that take most first.
    pub programs: Vec<(String, f64)>,
}

const PROGRAMS: &str = "BPF programs and helpers";
const NETFILTER: &str = "netfilter";
/// What belongs to no part.
const ELSE: &str = "anything else";
/// Stands for whatever a process does by itself.
const PROCESS: &str = "[process]";
/// Who calls it is whoever translates.
const CHECKSUM: &str = "inet_proto_csum_";

/// A part of the kernel: what it does, and how its functions begin.
type Part = (&'static str, &'static [&'static str]);

/// What is sorted into: the first part of which a function has a beginning.
// A part a line.
#[rustfmt::skip]
const PARTS: &[Part] = &[
    (PROGRAMS, &["bpf_", "__bpf_", "htab_", "__htab_", "lookup_nulls_elem", "trie_", "array_map_", "skb_do_redirect"]),
    (NETFILTER, &["nf_", "__nf_", "nft_", "__nft_", "ipt_", "iptable_", "xt_", "hash_conntrack", "l4proto_", "ipv4_conntrack", "tcp_mt", "udp_mt", "conntrack_mt", "comment_mt", "mark_mt", "mark_tg"]),
    ("IP: routing and forwarding", &["ip_", "__ip_", "ipv4_", "fib_", "__fib_", "rt_", "dst_", "inet_gro", "inet_get_", "__inet_dev", "neigh_", "__neigh_", "arp_", "make_route", "find_exception"]),
    ("TCP and sockets", &["tcp_", "__tcp_", "inet_", "__inet_", "sock_", "__sock_", "sk_", "__sk_", "release_sock", "lock_sock", "tcpv4", "bictcp", "cubictcp", "minmax_", "security_", "sockfd_", "apparmor_"]),
    ("packets' memory", &["skb_", "__skb", "kfree_skb", "__kfree_skb", "alloc_skb", "__alloc_skb", "pskb_", "__pskb", "kmem_cache_", "__kmalloc", "kfree", "kmalloc_", "___slab", "__slab", "page_frag", "napi_skb", "consume_skb", "sl_", "slab_", "mod_objcg", "__build_skb", "build_skb", "napi_consume"]),
    ("devices and their queues, hooks included", &["veth_", "dev_", "__dev_", "netif_", "__netif_", "net_rx_", "process_backlog", "eth_", "enqueue_to_backlog", "napi_", "__napi_", "validate_xmit", "tc_run", "tcf_", "tcx_", "sch_", "qdisc_", "passthru_", "netdev_", "is_skb_forwardable", "backlog_", "net_tx_"]),
    ("softirqs, timers, locks", &["handle_softirqs", "__do_softirq", "do_softirq", "irq_", "__local_bh", "local_bh", "_raw_", "__raw_", "mod_timer", "__mod_timer", "timer_", "get_nohz", "rcu_", "__rcu_", "raise_softirq", "__raise_softirq", "native_queued", "read_tsc", "ktime_", "timekeeping_", "jiffies"]),
    ("scheduling and waking", &["schedule", "__schedule", "finish_task", "try_to_wake", "__wake_", "wake_", "autoremove_", "pick_", "__pick_", "update_", "__update_", "enqueue_", "dequeue_", "set_next", "put_prev", "ttwu_", "select_task", "prepare_to_wait", "finish_wait", "add_wait", "remove_wait", "woken_wake", "wait_woken", "default_wake", "available_idle", "sched_", "__switch_to", "switch_", "reweight_", "place_entity", "check_preempt", "wakeup_", "resched_", "native_smp", "psi_", "cpuacct_", "place_", "avg_vruntime", "vruntime_", "entity_"]),
    ("system calls and the processes", &["entry_", "do_syscall", "syscall_", "__x64_", "x64_sys", "__sys_", "ksys_", "vfs_", "new_sync", "rw_verify", "fdget", "__fdget", "fget", "fput", "copy_", "_copy_", "rep_movs", "__check_object", "exit_to_user", "import_", "move_addr", "__virt_addr", "check_", "__get_user", "__put_user", "fault_in", "iov_", "simple_copy", PROCESS]),
];

impl Profile {
    /// The time in each part, in nanoseconds.
    pub fn parts(&self) -> impl Iterator<Item = (&str, f64)> {
        let shares = self.shares.iter();
        shares.map(|(part, share)| (part.as_str(), share * self.transaction))
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
    for _ in 1..ATTEMPTS {
        if let (profile, None) = once(rig, mode, place, cpu)? {
            return Ok(profile);
        }
    }
    let (profile, wrong_way) = once(rig, mode, place, cpu)?;
    wrong_way.map_or(Ok(profile), Err)
}

/// What was seen, and what is wrong with the way that packets took.
fn once(rig: &Rig, mode: Mode, place: Place, cpu: usize) -> Result<(Profile, Option<Error>)> {
    let file = Sandbox::current()?.directory().join("perf.data");
    rig.wait_for_way(mode, place, Workload::TcpRr)?;
    let (measured, recorded) = thread::scope(|scope| {
        let recorder = scope.spawn(|| {
            thread::sleep(AROUND);
            record(cpu, LOOKED_AT, &file).map(|()| Instant::now())
        });
        let time = LOOKED_AT + AROUND * 3;
        let measured = rig.once(mode, place, Workload::TcpRr, time);
        let end = Instant::now();
        (measured.map(|it| (it, end)), recorder.join())
    });
    let ((sample, wrong_way), end) = measured?;
    let Ok(recorded) = recorded else {
        bail!("the thread that records has panicked");
    };
    ensure!(
        recorded? <= end,
        "{}: perf was still looking when the exchange was over: is the machine busy?",
        mode.name()
    );
    let profile = sorted(&read(&file)?, mode, place, 1e9 / sample.rate)?;
    let expected = LOOKED_AT.as_secs() as u32 * FREQUENCY;
    ensure!(
        profile.samples > expected / 2,
        "{}: perf has looked {} times instead of {expected}: something throttles it",
        mode.name(),
        profile.samples
    );
    let sees_programs = profile
        .programs
        .iter()
        .any(|(name, _)| name.ends_with("_workload"));
    ensure!(
        sees_programs || !mode.plane.is_lb(),
        "{}: perf can't name BPF programs: set net.core.bpf_jit_harden and kernel.kptr_restrict to 0",
        mode.name()
    );
    Ok((profile, wrong_way))
}

/// Fails where `perf` does, before anything else takes its time.
///
/// # Errors
/// Then.
pub fn check(cpu: usize) -> Result<()> {
    let file = Sandbox::current()?.directory().join("perf.data");
    record(cpu, Duration::from_millis(1), &file)
}

/// Records what runs on a processor, from another one where there is one.
fn record(cpu: usize, time: Duration, file: &Path) -> Result<()> {
    let mut command = perf(cpu);
    command
        .args(["record", "--quiet", "--event", "cpu-clock"])
        .args(["--freq", &FREQUENCY.to_string()])
        .args(["--cpu", &cpu.to_string()])
        .arg("--output")
        .arg(file)
        .args(["--", "sleep", &time.as_secs_f64().to_string()]);
    output(command).map(drop)
}

/// A function for each sample.
fn read(file: &Path) -> Result<String> {
    let mut command = Command::new("perf");
    command.args(["script", "--fields", "ip,sym", "--input"]);
    command.arg(file);
    output(command)
}

/// What a command prints.
fn output(mut command: Command) -> Result<String> {
    let output = command.output().context("perf")?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `perf`, kept off a processor where there is one of a lower number.
fn perf(cpu: usize) -> Command {
    if cpu == 0 {
        return Command::new("perf");
    }
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &format!("0-{}", cpu - 1), "perf"]);
    command
}

/// Sorts the samples.
fn sorted(script: &str, mode: Mode, place: Place, transaction: f64) -> Result<Profile> {
    let names = PARTS.iter().map(|(name, _)| *name).chain([ELSE]);
    let mut parts: Vec<(&str, u32)> = names.map(|name| (name, 0)).collect();
    let mut programs: BTreeMap<String, u32> = BTreeMap::new();
    for line in script.lines() {
        let mut words = line.split_whitespace();
        let (Some(address), Some(function)) = (words.next(), words.next()) else {
            continue;
        };
        let name = part(address, function, mode.plane);
        for (part, count) in &mut parts {
            *count += u32::from(*part == name);
        }
        if name == PROGRAMS {
            *programs.entry(short_name(function)).or_default() += 1;
        }
    }
    let samples: u32 = parts.iter().map(|(_, count)| count).sum();
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
        shares: parts
            .into_iter()
            .map(|(part, count)| (part.to_owned(), share(count)))
            .collect(),
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

/// A function's part. The kernel's addresses are the upper half of all.
fn part(address: &str, function: &str, plane: Plane) -> &'static str {
    let is_kernels = address.len() == 16 && address.starts_with('f');
    let function = if is_kernels { function } else { PROCESS };
    if function.starts_with(CHECKSUM) {
        return if plane.is_kube_proxy() {
            NETFILTER
        } else {
            PROGRAMS
        };
    }
    let has = |(_, beginnings): &&Part| beginnings.iter().any(|it| function.starts_with(it));
    PARTS.iter().find(has).map_or(ELSE, |(name, _)| name)
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
 ffffffffc0067401 [unknown]
 ffffffff81ffc99d inet_proto_csum_replace4
 ffffffff81ffc99d tcp_mt

";
        let [direct, proxy] = Mode::all(&[Plane::Iptables], &[], &[1])[..2] else {
            panic!("both are modes");
        };
        let profile = sorted(script, direct, Place::Local, 1_000.0).unwrap();
        assert_eq!(profile.samples, 8);
        let expected = [
            (PROGRAMS, 250.0),
            ("IP", 125.0),
            ("TCP", 125.0),
            ("system calls", 125.0),
            (NETFILTER, 125.0),
            (ELSE, 250.0),
        ];
        for (name, ns) in profile.parts() {
            let is_it = |(what, _): &&(&str, f64)| name.starts_with(what);
            let expected = expected.iter().find(is_it).map_or(0.0, |(_, ns)| *ns);
            assert_eq!(ns, expected, "{name}");
        }
        let of_programs = ["inet_proto_csum_replace4", "to_pod"].map(|it| (it.to_owned(), 0.125));
        assert_eq!(profile.programs, of_programs);
        let profile = sorted(script, proxy, Place::Local, 1_000.0).unwrap();
        let netfilter = profile.parts().find(|(name, _)| *name == NETFILTER);
        assert_eq!(netfilter, Some((NETFILTER, 250.0)));
        assert!(sorted("", direct, Place::Local, 1.0).is_err());
    }

    #[test]
    fn of_each_data_plane_the_one_with_the_most_services_is_looked_at() {
        let planes = [Plane::Nftables, Plane::Stack, Plane::Sockets];
        let modes = Mode::all(&planes, &[1, 100], &[1, 10]);
        let names: Vec<String> = chosen(&modes).into_iter().map(Mode::name).collect();
        assert_eq!(names, ["direct", "lb, 100", "kube-proxy nftables, 10"]);
    }
}
