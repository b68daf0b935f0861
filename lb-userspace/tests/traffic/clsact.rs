//! The same by clsact, as kernels without tcx have it, and the change from one to the other.

use anyhow::Result;
use lab::client::{self, Kind};

use super::cluster::{Agent, Cluster, DATAGRAMS, Endpoint, HTTP, STREAMS, Service};
use super::load::MixedLoad;
use super::on_both_cnis;

on_both_cnis! {
    fn filters_serve_as_links_do(builder) {
        builder.flag("--attach", "clsact").test(|cluster| {
            let pods = [cluster.backend(1, "near")?, cluster.backend(2, "far")?];
            let client = cluster.client(1, "client")?;
            let (web, own, empty) = (
                Service::new("web", 10),
                Service::new("own", 11),
                Service::new("empty", 12),
            );
            cluster.publish(&web, &Endpoint::all(&pods))?;
            cluster.publish(&own, &[Endpoint::of(&pods[0])])?;
            cluster.publish(&empty, &[])?;
            assert_attached(cluster.agent(1), &client.host_device, "clsact")?;

            for vip in web.at(HTTP) {
                let report = client::http_many(&client.netns, vip, 200, 4)?;
                assert_eq!(report.errors, 0, "{vip}: {report}");
                assert!(report.of("near") > 50 && report.of("far") > 50, "{vip}: {report}");
            }
            for vip in web.at(DATAGRAMS) {
                client::udp_exchange(&client.netns, vip, b"x")?;
            }
            for vip in web.at(STREAMS) {
                client::stream(&client.netns, vip, 4 << 20)?;
            }
            for vip in own.at(HTTP) {
                assert_eq!(client::http_get(&pods[0].netns, vip)?.pod, "near", "hairpin");
            }
            for vip in empty.at(DATAGRAMS) {
                let outcome = client::udp_exchange(&client.netns, vip, b"x");
                assert!(outcome.is_err_and(|error| error.is_refused()));
            }
            Ok(())
        })
    }

    fn a_killed_agent_leaves_filters_and_its_successor_replaces_them(builder) {
        builder.flag("--attach", "clsact").test(|cluster| {
            let (client, load) = under_load(cluster, &[Kind::Http, Kind::KeepAlive, Kind::Udp])?;
            for _ in 0..2 {
                cluster.agent(1).kill()?;
                load.wait_for_more(20)?;
                cluster.agent(1).start_and_wait()?;
                load.wait_for_more(20)?;
            }
            assert_attached(cluster.agent(1), &client.host_device, "clsact")?;
            load.stop_without_errors();
            Ok(())
        })
    }

    fn a_change_from_filters_to_links_and_back_costs_no_packet(builder) {
        builder.flag("--attach", "clsact").test(|cluster| {
            let (client, load) = under_load(cluster, &[Kind::Http, Kind::KeepAlive, Kind::Udp])?;
            for mechanism in ["tcx", "clsact"] {
                change(cluster, mechanism)?;
                assert_attached(cluster.agent(1), &client.host_device, mechanism)?;
                load.wait_for_more(20)?;
            }
            load.stop_without_errors();
            Ok(())
        })
    }

    /// Where a device gets its first filter the kernel stops it for a moment (`qdisc_graft` in `net/sched/sch_api.c`):
    /// what is lost then is sent again, but for datagrams.
    fn a_change_from_links_to_filters_costs_no_connection(builder) {
        builder.test(|cluster| {
            let (client, load) = under_load(cluster, &[Kind::Http, Kind::KeepAlive])?;
            change(cluster, "clsact")?;
            assert_attached(cluster.agent(1), &client.host_device, "clsact")?;
            load.wait_for_more(20)?;
            load.stop_without_errors();
            Ok(())
        })
    }
}

/// Kills the agents and starts others that attach by this mechanism.
fn change(cluster: &mut Cluster, mechanism: &'static str) -> Result<()> {
    for node in [1, 2] {
        let agent = cluster.agent(node);
        agent.kill()?;
        agent.flags.insert("--attach", mechanism);
    }
    cluster.start_agents()
}

/// A client whose requests go to a backend on its node and to one on the other.
fn under_load(cluster: &mut Cluster, kinds: &[Kind]) -> Result<(lab::Pod, MixedLoad)> {
    let web = Service::new("web", 10);
    let pods = [cluster.backend(1, "near")?, cluster.backend(2, "far")?];
    cluster.publish(&web, &Endpoint::all(&pods))?;
    let client = cluster.client(1, "client")?;
    let load = MixedLoad::start_kinds(&client, &web, kinds)?;
    cluster.keep(pods);
    Ok((client, load))
}

/// Waits until both sides of a device run one program each, by this mechanism alone.
fn assert_attached(agent: &Agent, device: &str, mechanism: &str) -> Result<()> {
    let expected = match mechanism {
        "clsact" => (0, 2),
        _ => (2, 0),
    };
    lab::wait_until(
        &format!("{device} to be served by {mechanism} alone"),
        std::time::Duration::from_secs(10),
        || {
            let now = agent
                .tcx_programs(device)
                .ok()
                .zip(agent.filters(device).ok());
            now == Some(expected)
        },
    )
}
