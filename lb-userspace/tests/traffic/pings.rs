//! `ping` of a VIP (S-31).

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use lab::Pod;

use super::cluster::{Endpoint, Service};
use super::on_both_cnis;

/// Pings of each size.
const COUNT: &str = "3";

on_both_cnis! {
    fn a_vip_answers_while_its_service_has_an_endpoint_s31(builder) {
        builder.test(|cluster| {
            let client = cluster.client(1, "client")?;
            let pod = cluster.backend(2, "b")?;
            let web = Service::new("web", 10);
            cluster.publish(&web, &[Endpoint::of(&pod)])?;
            for vip in web.vips() {
                // Of 1 452 octets and the ICMP and IPv6 headers a whole packet is full.
                for size in ["0", "1", "56", "1452"] {
                    let said = ping(&client, vip, size)?;
                    ensure!(said.contains(" 3 received, 0% packet loss"), "{vip}, {size} octets: {said}");
                }
            }
            ensure!(cluster.agent(1).counter("echo")? >= 2 * 4 * 3);
            cluster.publish(&web, &[])?;
            for vip in web.vips() {
                let said = ping(&client, vip, "56")?.to_lowercase();
                ensure!(said.contains(" 0 received"), "{vip}: {said}");
                ensure!(said.contains("port unreachable"), "{vip}: {said}");
            }
            cluster.publish(&web, &[Endpoint::of(&pod)])?;
            for vip in web.vips() {
                let said = ping(&client, vip, "56")?;
                ensure!(said.contains(" 3 received"), "{vip}: {said}");
            }
            Ok(())
        })
    }

    /// What has to be cut to fit the device is answered by nobody.
    fn a_ping_in_fragments_is_not_answered_s31(builder) {
        builder.nodes(1).test(|cluster| {
            let client = cluster.client(1, "client")?;
            let pod = cluster.backend(1, "b")?;
            let web = Service::new("web", 10);
            cluster.publish(&web, &[Endpoint::of(&pod)])?;
            for vip in web.vips() {
                let said = ping(&client, vip, "4000")?;
                ensure!(said.contains(" 0 received"), "{vip}: {said}");
            }
            ensure!(cluster.agent(1).counter("unknown-protocol")? > 0);
            Ok(())
        })
    }
}

/// What `ping` says. It ends with an error where nobody answers.
pub fn ping(from: &Pod, to: IpAddr, size: &str) -> Result<String> {
    let output = from
        .netns
        .command("ping")
        .args(["-n", "-c", COUNT, "-i", "0.05", "-W", "1", "-s", size])
        .arg(to.to_string())
        .output()
        .context("ping, which `cargo xtask setup` installs")?;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).into_owned())
}
