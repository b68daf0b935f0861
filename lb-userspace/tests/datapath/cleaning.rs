//! Cleanup.

use std::fs;

use anyhow::Result;
use aya::maps::{Array, MapData};
use lb_common::layout::name;
use lb_userspace::datapath::{Attach, Lock, PinPaths, Side, cleanup};

use crate::support::{assert_attached_once, names, node};

#[test]
fn cleanup_takes_everything_off_and_a_second_one_finds_nothing() -> Result<()> {
    let node = node("clean-all")?;
    let _pods = (
        node.add_pod("veth1", 100)?,
        node.add_pod("veth2", 200)?,
        node.add_pod("veth3", 300)?,
    );
    for (attach, ifindex, device) in [
        (Attach::Tcx, 100, "veth1"),
        (Attach::Clsact, 200, "veth2"),
        (Attach::Tcx, 300, "veth3"),
    ] {
        let (_datapath, links) = node.start(attach)?;
        node.netns.run(|| links.attach(ifindex, device))?;
    }
    node.netns.ip(&["link del veth3"])?;
    fs::create_dir_all(node.paths.folder().join("v0/links"))?;
    Array::<MapData, u64>::create(1, 0)?.pin(node.paths.folder().join("v0/old_map"))?;

    let done = node.netns.run(|| cleanup(&node.paths))?;
    for device in ["veth1", "veth2"] {
        for side in [Side::Ingress, Side::Egress] {
            assert_eq!(
                node.programs(device, side)?,
                Vec::<u32>::new(),
                "{device} {side:?}"
            );
        }
    }
    assert_eq!(names(node.paths.bpffs().into())?, Vec::<String>::new());
    // The maps, two links of each tcx device, and the other layout's map.
    assert_eq!(done.pins.len(), name::ALL.len() + 4 + 1, "{done}");
    assert_eq!(done.filters, [(200, Side::Ingress), (200, Side::Egress)]);
    assert!(done.to_string().contains("lb/v0/old_map"), "{done}");

    let again = node.netns.run(|| cleanup(&node.paths))?;
    assert!(again.removed_nothing(), "{again}");
    assert_eq!(again.to_string(), "nothing to remove\n");
    Ok(())
}

#[test]
fn cleanup_leaves_what_is_not_ours() -> Result<()> {
    let node = node("clean-foreign")?;
    let _pod = node.add_pod("veth1", 100)?;
    let (_datapath, links) = node.start(Attach::Clsact)?;
    node.netns.run(|| links.attach(100, "veth1"))?;
    node.tc("filter add dev veth1 egress prio 99 u32 match u32 0 0 flowid 1:1")?;
    let foreign_map = node.paths.bpffs().join("foreign");
    Array::<MapData, u64>::create(1, 0)?.pin(&foreign_map)?;
    let foreign_folder = node.paths.folder().join("vendor");
    fs::create_dir(&foreign_folder)?;

    let done = node.netns.run(|| cleanup(&node.paths))?;
    assert!(foreign_map.exists());
    assert!(node.tc("filter show dev veth1 egress")?.contains("u32"));
    assert_eq!(done.left, [foreign_folder]);
    assert!(!node.paths.layout().exists());
    Ok(())
}

#[test]
fn cleanup_beside_an_agent_is_refused_and_removes_nothing() -> Result<()> {
    let node = node("clean-beside")?;
    let _pod = node.add_pod("veth1", 100)?;
    let agent = Lock::take(&node.paths)?;
    let (datapath, links) = node.start(Attach::Tcx)?;
    node.netns.run(|| links.attach(100, "veth1"))?;
    let pins = names(node.paths.layout())?;

    let error = node.netns.run(|| cleanup(&node.paths)).unwrap_err();
    let sentence = format!("an agent is running (process {})", std::process::id());
    assert!(error.to_string().starts_with(&sentence), "{error}");
    assert_attached_once(&node, "veth1", &datapath)?;
    assert_eq!(names(node.paths.layout())?, pins);

    drop(agent);
    node.netns.run(|| cleanup(&node.paths))?;
    assert_eq!(names(node.paths.bpffs().into())?, Vec::<String>::new());
    Ok(())
}

/// A folder where an agent can have no pins says nothing of an agent that has them elsewhere.
#[test]
fn cleanup_in_the_wrong_place_removes_nothing() -> Result<()> {
    let node = node("clean-elsewhere")?;
    let _pod = node.add_pod("veth1", 100)?;
    let _agent = Lock::take(&node.paths)?;
    let (datapath, links) = node.start(Attach::Clsact)?;
    node.netns.run(|| links.attach(100, "veth1"))?;
    let ordinary = tempfile::tempdir()?;
    for bpffs in [ordinary.path(), "/no/such/folder".as_ref()] {
        let paths = PinPaths::new(bpffs);
        let error = node.netns.run(|| cleanup(&paths)).unwrap_err();
        let sentence = format!("{} is no BPF file system", bpffs.display());
        assert!(error.to_string().starts_with(&sentence), "{error}");
        assert_attached_once(&node, "veth1", &datapath)?;
        assert_eq!(names(ordinary.path().into())?, Vec::<String>::new());
    }
    Ok(())
}
