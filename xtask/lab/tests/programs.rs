//! What a program of the lab is confined to: files that it may write, and the control group that it is in.

use anyhow::Result;
use lab::{Cgroup, Netns, Sandbox};

lab::sandbox!();

fn output(command: &mut lab::Command) -> Result<String> {
    let output = command.output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn with_a_read_only_root_a_program_writes_only_to_what_it_is_shown() -> Result<()> {
    let netns = Netns::create("read-only")?;
    let shown = Sandbox::current()?.directory().join("shown");
    std::fs::create_dir(&shown)?;
    let script = "for file in /etc/x /run/x /tmp/x /run/kept/x /run/own/x; do echo > $file && echo wrote $file; done";
    let said = output(
        netns
            .command("sh")
            .args(["-c", script])
            .read_only_root()
            .bind(&shown, "/run/kept")
            .private_dir("/run/own"),
    )?;
    let wrote: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("wrote "))
        .collect();
    assert_eq!(wrote, ["/run/kept/x", "/run/own/x"], "{said}");
    assert!(shown.join("x").exists());
    // Nobody else is confined.
    std::fs::write("/run/x", "")?;
    Ok(())
}

#[test]
fn a_program_and_its_children_are_in_the_control_group_that_they_are_given() -> Result<()> {
    let netns = Netns::create("grouped")?;
    let cgroup = Cgroup::create("grouped")?;
    let script = "grep 0::/ /proc/self/cgroup";
    let mut command = netns.command("sh");
    let said = output(command.args(["-c", script]).cgroup(cgroup.path()))?;
    assert!(said.trim_end().ends_with("/grouped"), "{said}");
    let said = output(netns.command("sh").args(["-c", script]))?;
    assert!(
        said.starts_with("0::/") && !said.contains("grouped"),
        "{said}"
    );
    let mut command = netns.command("true");
    let error = command.cgroup("/run").status().expect_err("no group");
    assert!(
        format!("{error:#}").contains("/run is no control group"),
        "{error:#}"
    );
    Ok(())
}
