//! The programs of sockets: loading, and links to a cgroup of the test's own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::Cgroup;
use lb_common::pipeline::socket::Scope;
use lb_common::socket::SocketLb;
use lb_userspace::datapath::{
    self, AttachedHooks, Hook, Loader, SocketBalancer, SocketConfig, attached_hooks, cleanup,
    object,
};

use crate::support::{Node, names, node, small_limits};

const ALL: AttachedHooks = AttachedHooks { attached: 8, of: 8 };
const NONE: AttachedHooks = AttachedHooks { attached: 0, of: 8 };

/// What a starting agent has on a node.
fn start(node: &Node, scope: Option<Scope>, cgroup: &Path) -> Result<SocketBalancer> {
    let config = SocketConfig {
        scope,
        cgroup: Some(cgroup.into()),
    };
    let found = match scope {
        Some(_) => datapath::Cgroup::find(Some(cgroup), None),
        None => datapath::Cgroup::Unwanted,
    };
    let mut loaded = node.netns.run(|| {
        let object = object::for_kernel()?;
        let loader = Loader {
            object,
            paths: &node.paths,
            limits: small_limits(),
            sockets: scope,
            redirect: false,
        };
        anyhow::Ok(loader.load()?)
    })?;
    let programs = loaded.take_socket_programs();
    Ok(SocketBalancer::new(
        &config,
        &found,
        programs,
        node.paths.clone(),
    ))
}

/// Ids of the programs that run at a cgroup, by their attach types.
fn programs_at(cgroup: &Cgroup) -> Result<Vec<(String, u64)>> {
    let output = std::process::Command::new("bpftool")
        .args(["-j", "cgroup", "show"])
        .arg(cgroup.path())
        .output()
        .context("bpftool")?;
    if output.stdout.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let rows = rows.as_array().context("a list")?.iter();
    let mut programs: Vec<_> = rows
        .map(|row| {
            let name = row["name"].as_str().context("name")?.to_owned();
            Ok((name, row["id"].as_u64().context("id")?))
        })
        .collect::<Result<_>>()?;
    programs.sort();
    Ok(programs)
}

#[test]
fn every_hook_gets_its_program_once_and_keeps_it_without_an_agent() -> Result<()> {
    let node = node("sock-first")?;
    let cgroup = Cgroup::create("sock-first")?;
    let mut first = start(&node, Some(Scope::Host), cgroup.path())?;
    assert_eq!(attached_hooks(&node.paths)?, NONE, "the maps are empty yet");
    assert_eq!(first.serve(), SocketLb::Host);
    assert_eq!(attached_hooks(&node.paths)?, ALL);
    let before = programs_at(&cgroup)?;
    let mut expected: Vec<_> = Hook::ALL.map(|hook| hook.program().to_owned()).into();
    expected.sort();
    let running: Vec<_> = before.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(running, expected);
    drop(first);
    assert_eq!(programs_at(&cgroup)?, before);

    let mut second = start(&node, Some(Scope::All), cgroup.path())?;
    assert_eq!(second.serve(), SocketLb::All);
    let after = programs_at(&cgroup)?;
    assert_eq!(after.len(), 8, "{after:?}");
    for (old, new) in before.iter().zip(&after) {
        assert!(old.0 == new.0 && old.1 != new.1, "{old:?} {new:?}");
    }
    Ok(())
}

#[test]
fn what_somebody_else_detaches_is_attached_again() -> Result<()> {
    let node = node("sock-repair")?;
    let cgroup = Cgroup::create("sock-repair")?;
    let mut balancer = start(&node, Some(Scope::Host), cgroup.path())?;
    balancer.serve();
    assert_eq!(balancer.repair(), None, "nothing is amiss");
    let pin = node.paths.links().join("cgroup_connect4");
    let detached = std::process::Command::new("bpftool")
        .args(["link", "detach", "pinned"])
        .arg(&pin)
        .status()?;
    assert!(detached.success());
    assert_eq!(attached_hooks(&node.paths)?.attached, 7);
    balancer.repair();
    assert_eq!(attached_hooks(&node.paths)?, ALL);
    assert_eq!(programs_at(&cgroup)?.len(), 8);
    Ok(())
}

#[test]
fn another_cgroup_takes_the_place_of_the_first() -> Result<()> {
    let node = node("sock-move")?;
    let (first, second) = (Cgroup::create("sock-a")?, Cgroup::create("sock-b")?);
    for (cgroup, other) in [(&first, &second), (&second, &first)] {
        let mut balancer = start(&node, Some(Scope::Host), cgroup.path())?;
        assert_eq!(balancer.serve(), SocketLb::Host);
        assert_eq!(
            (programs_at(cgroup)?.len(), programs_at(other)?.len()),
            (8, 0)
        );
    }
    Ok(())
}

/// Makes the attached programs those of another layout, and returns where their pins are.
fn as_of_another_layout(node: &Node) -> Result<PathBuf> {
    let old = node.paths.folder().join("v0/links");
    std::fs::create_dir_all(&old)?;
    for hook in Hook::ALL {
        let pin = format!("cgroup_{}", hook.program());
        std::fs::rename(node.paths.links().join(&pin), old.join(&pin))?;
    }
    Ok(old)
}

/// They would be asked first, and answer from tables that nobody writes any more.
#[test]
fn programs_of_another_layout_give_way() -> Result<()> {
    let node = node("sock-layout")?;
    let cgroup = Cgroup::create("sock-layout")?;
    start(&node, Some(Scope::Host), cgroup.path())?.serve();
    let old = as_of_another_layout(&node)?;
    assert_eq!(programs_at(&cgroup)?.len(), 8);
    let mut balancer = start(&node, Some(Scope::Host), cgroup.path())?;
    assert_eq!(balancer.serve(), SocketLb::Host);
    assert_eq!(programs_at(&cgroup)?.len(), 8);
    assert_eq!(names(old)?, Vec::<String>::new());
    assert_eq!(attached_hooks(&node.paths)?, ALL);
    Ok(())
}

/// Wanted or not, and whether this version's can be attached or not.
#[test]
fn programs_of_another_layout_go_where_this_agent_attaches_none() -> Result<()> {
    let node = node("sock-layout-off")?;
    for (scope, named, state) in [
        (None, None, SocketLb::Off),
        (Some(Scope::Host), Some("/proc"), SocketLb::NoCgroup),
    ] {
        let cgroup = Cgroup::create("sock-layout-off")?;
        start(&node, Some(Scope::Host), cgroup.path())?.serve();
        let old = as_of_another_layout(&node)?;
        let mut balancer = start(&node, scope, named.map_or(cgroup.path(), Path::new))?;
        assert_eq!(balancer.serve(), state);
        assert_eq!(programs_at(&cgroup)?, []);
        assert_eq!(names(old)?, Vec::<String>::new());
    }
    Ok(())
}

/// On a node that has cgroup v1 as well, the hierarchy of v2 is in the folder `unified`.
#[test]
fn the_folder_of_all_hierarchies_may_be_named_for_the_one_of_v2() -> Result<()> {
    let cgroup = Cgroup::create("unified")?;
    let folder = cgroup.path().parent().context("a parent")?;
    // A group above, seen through a folder that is of no hierarchy.
    let named = lab::Sandbox::current()?.directory().join("hierarchies");
    std::fs::create_dir(&named)?;
    std::os::unix::fs::symlink(folder, named.join("unified"))?;
    assert_eq!(
        datapath::Cgroup::find(Some(&named), None),
        datapath::Cgroup::Found(named.join("unified"))
    );
    Ok(())
}

#[test]
fn who_wants_no_sockets_and_who_cleans_up_takes_the_programs_off() -> Result<()> {
    let node = node("sock-off")?;
    let cgroup = Cgroup::create("sock-off")?;
    start(&node, Some(Scope::Host), cgroup.path())?.serve();
    let mut off = start(&node, None, cgroup.path())?;
    assert_eq!(off.serve(), SocketLb::Off);
    assert_eq!(attached_hooks(&node.paths)?, NONE);
    assert_eq!(programs_at(&cgroup)?, []);

    start(&node, Some(Scope::Host), cgroup.path())?.serve();
    let done = node.netns.run(|| cleanup(&node.paths))?;
    assert!(
        done.pins.iter().any(|pin| pin.ends_with("cgroup_connect6")),
        "{done}"
    );
    assert_eq!(programs_at(&cgroup)?, []);
    assert_eq!(names(node.paths.bpffs().into())?, Vec::<String>::new());
    Ok(())
}

#[test]
fn where_the_cgroup_is_none_pods_are_served_all_the_same() -> Result<()> {
    let node = node("sock-none")?;
    for (cgroup, state) in [
        (Path::new("/proc"), SocketLb::NoCgroup),
        (Path::new("/no/such/folder"), SocketLb::NoCgroup),
    ] {
        let mut balancer = start(&node, Some(Scope::Host), cgroup)?;
        assert_eq!(balancer.serve(), state, "{}", cgroup.display());
    }
    // It goes away between the checks and the start.
    let cgroup = Cgroup::create("sock-gone")?;
    let mut balancer = start(&node, Some(Scope::Host), cgroup.path())?;
    drop(cgroup);
    assert_eq!(balancer.serve(), SocketLb::NotAttached);
    assert_eq!(attached_hooks(&node.paths)?, NONE);
    Ok(())
}
