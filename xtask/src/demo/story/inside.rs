//! A look at what the kernel holds, in Service names by `lb` and in field names by `bpftool`.

use anyhow::Result;

use crate::demo::cluster::Cluster;
use crate::demo::shell::{self, Dns};
use crate::demo::talk::Talk;

const SOME: usize = 6;
const DUMP: usize = 40;

/// The data plane of node1.
pub fn what_the_kernel_holds(cluster: &Cluster, talk: &mut Talk) -> Result<()> {
    talk.chapter("What the kernel of node1 holds");
    let agent = &cluster.agents[0];
    let services = agent.lb(&["service", "list"])?;
    talk.command(&services);
    talk.claim(
        "lb service list names the Services",
        services.printed("default/backend"),
    );
    let backends = agent.lb(&["backend", "list"])?;
    talk.command(&backends);
    talk.claim(
        "lb backend list names the pods' addresses",
        backends.printed(":6379"),
    );
    talk.command_head(&agent.lb(&["conntrack", "list"])?, SOME);
    talk.command(&agent.lb(&["status"])?);
    let map = agent.pins()?.join("frontends_v4");
    let words = ["bpftool", "map", "dump", "pinned", &map.to_string_lossy()];
    let dump = shell::run(agent.netns(), &agent.node, Dns::cluster(), &words)?;
    talk.command_head(&dump, DUMP);
    talk.claim(
        "bpftool prints addresses, ports and ids by field name",
        ["address", "port", "service_id"]
            .iter()
            .all(|field| dump.printed(&format!("\"{field}\""))),
    );
    Ok(())
}
