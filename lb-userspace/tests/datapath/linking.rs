//! Programs on devices, by both mechanisms.

use anyhow::Result;
use lb_userspace::datapath::{
    Attach, AttachPoint, Change, Holder, LOG_LEVEL, LinkError, Side, attach_points, verify,
};

use crate::support::{assert_attached_once, names, node};

const BOTH: [Attach; 2] = [Attach::Tcx, Attach::Clsact];

fn names_for(attach: Attach, tcx: &'static str, clsact: &'static str) -> &'static str {
    match attach {
        Attach::Clsact => clsact,
        _ => tcx,
    }
}

#[test]
fn each_side_of_a_device_gets_its_program_once() -> Result<()> {
    for attach in BOTH {
        let node = node(names_for(attach, "link-once-tcx", "link-once-cls"))?;
        let _pod = node.add_pod("veth1", 100)?;
        let (datapath, links) = node.start(attach)?;
        let changes = node.netns.run(|| links.attach(100, "veth1"))?;
        assert_eq!(
            changes,
            [
                (Side::Egress, Change::Added),
                (Side::Ingress, Change::Added)
            ]
        );
        assert_attached_once(&node, "veth1", &datapath)?;
        let pins: &[&str] = match attach {
            Attach::Clsact => &[],
            _ => &["if100_egress", "if100_ingress"],
        };
        assert_eq!(node.link_pins()?, pins, "{attach:?}");

        node.netns.run(|| links.attach(100, "veth1"))?;
        assert_attached_once(&node, "veth1", &datapath)?;
    }
    Ok(())
}

#[test]
fn programs_stay_when_the_agent_goes_and_are_replaced_in_place_when_it_comes_back() -> Result<()> {
    for attach in BOTH {
        let node = node(names_for(attach, "link-again-tcx", "link-again-cls"))?;
        let _pod = node.add_pod("veth1", 100)?;
        let (datapath, links) = node.start(attach)?;
        node.netns.run(|| links.attach(100, "veth1"))?;
        let before = node.programs("veth1", Side::Ingress)?;
        let place = node.attachment("veth1", attach)?;
        drop((datapath, links));
        assert_eq!(
            node.programs("veth1", Side::Ingress)?,
            before,
            "{attach:?}: they stay"
        );

        let (datapath, links) = node.start(attach)?;
        let changes = node.netns.run(|| links.attach(100, "veth1"))?;
        assert_eq!(
            changes.map(|(_, change)| change),
            [Change::Replaced; 2],
            "{attach:?}"
        );
        assert_attached_once(&node, "veth1", &datapath)?;
        assert_ne!(node.programs("veth1", Side::Ingress)?, before);
        assert_eq!(
            node.attachment("veth1", attach)?,
            place,
            "{attach:?}: the link or filter is the same"
        );
    }
    Ok(())
}

impl crate::support::Node {
    /// What holds the ingress program there: the id of the link, or the filter's place.
    fn attachment(&self, device: &str, attach: Attach) -> Result<String> {
        if attach == Attach::Clsact {
            let filters = self.tc(&format!("-j filter show dev {device} ingress"))?;
            let filters: serde_json::Value = serde_json::from_str(&filters)?;
            let filter = &filters[1];
            return Ok(format!(
                "{} {}",
                filter["pref"], filter["options"]["handle"]
            ));
        }
        let output = std::process::Command::new("bpftool")
            .args(["-j", "link", "show", "pinned"])
            .arg(self.paths.link(100, Side::Ingress))
            .output()?;
        let link: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        Ok(link["id"].to_string())
    }
}

/// They would translate what a Service no longer asks for, by tables that nobody writes any more.
#[test]
fn programs_of_another_layout_give_way() -> Result<()> {
    for attach in BOTH {
        let node = node(names_for(attach, "link-layout-tcx", "link-layout-cls"))?;
        let _pods = (node.add_pod("veth1", 100)?, node.add_pod("veth2", 200)?);
        let (_earlier, links) = node.start(Attach::Tcx)?;
        node.netns.run(|| links.attach(100, "veth1"))?;
        node.netns.run(|| links.attach(200, "veth2"))?;
        let old = node.paths.folder().join("v0/links");
        std::fs::create_dir_all(&old)?;
        for pin in node.link_pins()? {
            std::fs::rename(node.paths.links().join(&pin), old.join(&pin))?;
        }

        let (datapath, links) = node.start(attach)?;
        assert_eq!(node.netns.run(|| links.devices())?, [100, 200].into());
        let changes = node.netns.run(|| links.attach(100, "veth1"))?;
        assert_eq!(changes.map(|(_, change)| change), [Change::Replaced; 2]);
        assert_attached_once(&node, "veth1", &datapath)?;
        // It is no workload device any more.
        node.netns.run(|| links.detach(200))?;
        for side in [Side::Ingress, Side::Egress] {
            assert_eq!(node.programs("veth2", side)?, Vec::<u32>::new());
        }
        assert_eq!(names(old)?, Vec::<String>::new(), "{attach:?}");
    }
    Ok(())
}

#[test]
fn the_pin_of_a_deleted_device_is_no_obstacle_for_a_new_one_with_its_number() -> Result<()> {
    let node = node("link-stale")?;
    let pod = node.add_pod("veth1", 100)?;
    let (datapath, links) = node.start(Attach::Tcx)?;
    node.netns.run(|| links.attach(100, "veth1"))?;
    node.netns.ip(&["link del veth1"])?;
    assert_eq!(node.link_pins()?.len(), 2, "the pins outlive the device");
    drop(pod);

    let _pod = node.add_pod("veth1", 100)?;
    let changes = node.netns.run(|| links.attach(100, "veth1"))?;
    assert_eq!(
        changes.map(|(_, change)| change),
        [Change::AddedOverStalePin; 2]
    );
    assert_attached_once(&node, "veth1", &datapath)
}

#[test]
fn the_link_of_a_device_in_another_namespace_is_not_taken_for_ours() -> Result<()> {
    let here = node("link-here")?;
    let there = node("link-there")?;
    let _pods = (here.add_pod("veth1", 100)?, there.add_pod("veth1", 100)?);
    let (datapath, links) = here.start(Attach::Tcx)?;
    there.netns.run(|| links.attach(100, "veth1"))?;

    let changes = here.netns.run(|| links.attach(100, "veth1"))?;
    assert_eq!(
        changes.map(|(_, change)| change),
        [Change::AddedOverStalePin; 2]
    );
    assert_attached_once(&here, "veth1", &datapath)?;
    assert_eq!(
        there.programs("veth1", Side::Ingress)?,
        Vec::<u32>::new(),
        "its pin was its life"
    );
    Ok(())
}

#[test]
fn what_is_pinned_in_a_links_place_is_replaced() -> Result<()> {
    let node = node("link-nolink")?;
    let _pod = node.add_pod("veth1", 100)?;
    let (datapath, links) = node.start(Attach::Tcx)?;
    aya::maps::Array::<aya::maps::MapData, u64>::create(1, 0)?
        .pin(node.paths.link(100, Side::Ingress))?;
    node.netns.run(|| links.attach(100, "veth1"))?;
    assert_attached_once(&node, "veth1", &datapath)
}

#[test]
fn a_device_that_is_not_there_has_vanished() -> Result<()> {
    for attach in BOTH {
        let node = node(names_for(attach, "link-gone-tcx", "link-gone-cls"))?;
        let (_datapath, links) = node.start(attach)?;
        let error = node.netns.run(|| links.attach(4711, "veth9")).unwrap_err();
        assert!(
            matches!(&error, LinkError::Vanished { device } if device == "veth9"),
            "{attach:?}: {error:?}"
        );
        assert_eq!(node.link_pins()?, Vec::<String>::new());
        node.netns.run(|| links.detach(4711))?;
    }
    Ok(())
}

#[test]
fn detaching_takes_our_programs_off_and_leaves_foreign_ones() -> Result<()> {
    for attach in BOTH {
        let node = node(names_for(attach, "link-off-tcx", "link-off-cls"))?;
        let _pod = node.add_pod("veth1", 100)?;
        // Another agent's programs with other pins, and a filter that is in our usual place.
        node.tc("qdisc add dev veth1 clsact")?;
        node.tc("filter add dev veth1 ingress prio 10 u32 match u32 0 0 flowid 1:1")?;
        let foreign = super::support::node(names_for(attach, "link-off-tcx2", "link-off-cls2"))?;
        let (_foreign_datapath, foreign_links) = foreign.start(Attach::Tcx)?;
        if attach == Attach::Tcx {
            node.netns.run(|| foreign_links.attach(100, "veth1"))?;
        }
        let before = node.programs("veth1", Side::Ingress)?;

        let (_datapath, links) = node.start(attach)?;
        node.netns.run(|| links.attach(100, "veth1"))?;
        assert_eq!(
            node.programs("veth1", Side::Ingress)?.len(),
            before.len() + 1
        );
        node.netns.run(|| links.detach(100))?;
        assert_eq!(node.programs("veth1", Side::Ingress)?, before, "{attach:?}");
        assert_eq!(node.link_pins()?, Vec::<String>::new());
        assert!(node.tc("filter show dev veth1 ingress")?.contains("u32"));
        node.netns.run(|| links.detach(100))?;
    }
    Ok(())
}

#[test]
fn our_program_runs_before_foreign_ones_for_they_may_end_the_chain() -> Result<()> {
    let node = node("link-order")?;
    let _pod = node.add_pod("veth1", 100)?;
    let other = super::support::node("link-order-other")?;
    let (_other_datapath, other_links) = other.start(Attach::Tcx)?;
    node.netns.run(|| other_links.attach(100, "veth1"))?;
    let (datapath, links) = node.start(Attach::Tcx)?;
    node.netns.run(|| links.attach(100, "veth1"))?;
    let order = node.tcx_programs("veth1", Side::Ingress)?;
    assert_eq!(
        (order.len(), order[0]),
        (2, datapath.programs().from_workload.id)
    );
    Ok(())
}

#[test]
fn changing_the_mechanism_leaves_each_program_once() -> Result<()> {
    let node = node("link-switch")?;
    let _pod = node.add_pod("veth1", 100)?;
    for attach in [Attach::Clsact, Attach::Tcx, Attach::Clsact, Attach::Auto] {
        let (datapath, links) = node.start(attach)?;
        node.netns.run(|| links.attach(100, "veth1"))?;
        assert_attached_once(&node, "veth1", &datapath)?;
    }
    Ok(())
}

#[test]
fn a_second_copy_of_our_filter_is_removed() -> Result<()> {
    let node = node("link-copies")?;
    let _pod = node.add_pod("veth1", 100)?;
    let (datapath, links) = node.start(Attach::Clsact)?;
    node.netns.run(|| links.attach(100, "veth1"))?;
    let pin = node.paths.bpffs().join("copy");
    let mut object = aya::EbpfLoader::new()
        .verifier_log_level(LOG_LEVEL)
        .load(lb_userspace::datapath::object::for_kernel()?)?;
    let program: &mut aya::programs::SchedClassifier =
        object.program_mut("from_workload").unwrap().try_into()?;
    verify("from_workload", || program.load())?;
    program.pin(&pin)?;
    for priority in [5, 20] {
        let id = aya::programs::ProgramInfo::from_pin(&pin)?.id();
        node.netns.run(|| -> Result<()> {
            use aya::programs::tc::{NlOptions, TcAttachOptions};
            let options = NlOptions {
                priority,
                ..NlOptions::default()
            };
            let link = program.attach_with_options(
                "veth1",
                aya::programs::TcAttachType::Ingress,
                TcAttachOptions::Netlink(options),
            )?;
            std::mem::forget(program.take_link(link)?);
            Ok(())
        })?;
        assert!(node.clsact_programs("veth1", Side::Ingress)?.contains(&id));
    }
    assert_eq!(node.clsact_programs("veth1", Side::Ingress)?.len(), 3);
    // Those carry the program's name, not our filter's: they are foreign and stay.
    node.netns.run(|| links.attach(100, "veth1"))?;
    assert_eq!(node.clsact_programs("veth1", Side::Ingress)?.len(), 3);

    // Now one by our filter's own name, as after a crash in the middle of a change of mechanism.
    node.tc(&format!(
        "filter add dev veth1 ingress prio 30 bpf direct-action object-pinned {}",
        pin.display()
    ))?;
    node.netns.run(|| links.attach(100, "veth1"))?;
    let ours = datapath.programs().from_workload.id;
    let count = node
        .clsact_programs("veth1", Side::Ingress)?
        .iter()
        .filter(|id| **id == ours)
        .count();
    assert_eq!(count, 1);
    Ok(())
}

#[test]
fn an_ingress_queueing_discipline_is_named_with_the_remedy() -> Result<()> {
    let node = node("link-qdisc")?;
    let _pod = node.add_pod("veth1", 100)?;
    node.tc("qdisc add dev veth1 ingress")?;
    let (_datapath, links) = node.start(Attach::Clsact)?;
    let error = node.netns.run(|| links.attach(100, "veth1")).unwrap_err();
    assert!(matches!(error, LinkError::IngressQdisc { .. }), "{error:?}");
    assert!(
        error.to_string().contains("tc qdisc del dev veth1 ingress"),
        "{error}"
    );
    Ok(())
}

#[test]
fn the_devices_with_something_of_ours_are_known_also_when_they_are_gone() -> Result<()> {
    let node = node("link-list")?;
    let _pods = (node.add_pod("veth1", 100)?, node.add_pod("veth2", 200)?);
    let (_datapath, tcx) = node.start(Attach::Tcx)?;
    let (_datapath, clsact) = node.start(Attach::Clsact)?;
    node.netns.run(|| -> Result<()> {
        tcx.attach(100, "veth1")?;
        clsact.attach(200, "veth2")?;
        Ok(())
    })?;
    node.netns.ip(&["link del veth1"])?;
    let devices = node.netns.run(|| tcx.devices())?;
    assert_eq!(devices.into_iter().collect::<Vec<_>>(), [100, 200]);
    Ok(())
}

#[test]
fn what_is_on_devices_is_told_without_an_agent() -> Result<()> {
    let node = node("link-points")?;
    let _pods = (
        node.add_pod("veth1", 100)?,
        node.add_pod("veth2", 200)?,
        node.add_pod("veth3", 300)?,
        node.add_pod("veth4", 400)?,
        node.add_pod("veth5", 500)?,
    );
    // No workload device, so that nothing is missing.
    node.netns.ip(&["link add br0 type bridge"])?;
    for (attach, ifindex, device) in [
        (Attach::Tcx, 100, "veth1"),
        (Attach::Clsact, 200, "veth2"),
        (Attach::Tcx, 300, "veth3"),
        (Attach::Tcx, 400, "veth4"),
    ] {
        let (_datapath, links) = node.start(attach)?;
        node.netns.run(|| links.attach(ifindex, device))?;
    }
    // Somebody else's filter is none of ours.
    node.tc("qdisc add dev veth1 clsact")?;
    node.tc("filter add dev veth1 egress prio 99 u32 match u32 0 0 flowid 1:1")?;
    node.netns.ip(&["link del veth3"])?;
    std::fs::remove_file(node.paths.link(400, Side::Egress))?;

    let found = node.netns.run(|| attach_points(&node.paths))?;
    let check = |index: usize, ifindex, device: Option<&str>, ingress, egress| {
        let expected = AttachPoint {
            ifindex,
            device: device.map(str::to_owned),
            ingress,
            egress,
        };
        assert_eq!(found[index], expected);
    };
    check(0, 100, Some("veth1"), vec![Holder::Tcx], vec![Holder::Tcx]);
    check(
        1,
        200,
        Some("veth2"),
        vec![Holder::Clsact],
        vec![Holder::Clsact],
    );
    check(2, 300, None, vec![Holder::Gone], vec![Holder::Gone]);
    check(3, 400, Some("veth4"), vec![Holder::Tcx], vec![]);
    check(4, 500, Some("veth5"), vec![], vec![]);
    assert_eq!(found.len(), 5);

    let elsewhere = super::support::node("link-points-else")?;
    let found = elsewhere.netns.run(|| attach_points(&node.paths))?;
    assert_eq!(
        found[0].ingress,
        [Holder::Gone],
        "its device is not in this namespace"
    );
    Ok(())
}
