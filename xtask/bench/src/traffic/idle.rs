//! Programs that do nothing where the agent has its own: what a hook costs by itself.

use anyhow::Result;

use super::mode::Place;
use super::testbed::Testbed;
use crate::bpf::program::{Hook, Link, Program};

/// Attaches a program that does nothing to both hooks of every pod's device in its node. They stay as long as the links live.
///
/// # Errors
/// When a device is not found, and where the kernel refuses: before Linux 6.6 it has no such hooks.
pub fn attach(testbed: &Testbed) -> Result<Vec<Link>> {
    let program = Program::empty()?;
    let mut links = Vec::new();
    for (node, pod) in [
        (1, testbed.client()),
        (1, testbed.backend(Place::Local)),
        (2, testbed.backend(Place::Remote)),
    ] {
        let device = pod.host_side().index()?;
        let both = testbed.node(node).netns.run(|| -> Result<[Link; 2]> {
            Ok([
                program.attach(Hook::TcxIngress, device)?,
                program.attach(Hook::TcxEgress, device)?,
            ])
        })?;
        links.extend(both);
    }
    Ok(links)
}
