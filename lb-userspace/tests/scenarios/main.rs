//! Kubernetes objects in, content of the maps out: one file under `data` for each scenario, each run on maps in memory and
//! on maps in the kernel.
//!
//! `UPDATE_SCENARIOS=1 cargo test --test scenarios memory` writes what the maps hold into the files; the difference is
//! then reviewed like any other change.

#[path = "../../benches/userspace/agent.rs"]
mod agent;
mod bpffs;
mod budgets;
mod calls;
#[path = "../../benches/userspace/cluster.rs"]
mod cluster;
mod kernel;
mod run;
mod script;

use lb_userspace::maps::bpf::{Access, BpfMaps};
use lb_userspace::maps::create::create_all;
use lb_userspace::maps::memory::Memory;

use script::Script;

/// Makes two tests of each scenario.
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),+];

        $(mod $name {
            #[test]
            fn in_memory() {
                super::check_in_memory(stringify!($name));
            }

            #[test]
            fn in_the_kernel() {
                super::check_in_the_kernel(stringify!($name));
            }
        })+
    };
}

scenarios! {
    all_endpoints_removed,
    broken_manifest,
    clusterip,
    conflict,
    draining,
    dualstack,
    full,
    invalid_addresses,
    local_policy,
    multiport,
    named_target_ports,
    restart,
    scaling,
    sctp,
    service_cidr,
    service_cidr_foreign,
    service_cidr_full,
    service_cidr_many,
    service_deleted,
    several_slices,
    single_family,
    terminating_fallback,
}

#[test]
fn every_file_of_data_is_run() {
    let mut files: Vec<String> = std::fs::read_dir(script::folder())
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    files.sort();
    assert_eq!(files, NAMES);
}

fn check_in_memory(name: &str) {
    let script = Script::read(name);
    let limits = script.limits;
    run::run(script, &|maps| maps.unwrap_or_else(|| Memory::new(limits)));
}

fn check_in_the_kernel(name: &str) {
    let script = Script::read(name);
    bpffs::with_private_bpffs(move |dir| {
        create_all(dir, &script.limits).unwrap();
        run::run(script, &|_| BpfMaps::open(dir, Access::Write).unwrap());
    });
}
