//! What becomes of traffic while the agent is killed, away, or another one: nothing (S-72).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use lab::Sandbox;
use lab::client::{self, KeptConnection, Kind, UdpClient};
use serde_json::Value;

use super::cluster::{Cluster, DATAGRAMS, Endpoint, HTTP, Service};
use super::load::MixedLoad;
use super::on_both_cnis;

on_both_cnis! {
    fn a_killed_agent_costs_no_request_and_its_successor_neither(builder) {
        builder.test(|cluster| {
            let web = Service::new("web", 10);
            let pods = [cluster.backend(1, "near")?, cluster.backend(2, "far")?];
            cluster.publish(&web, &Endpoint::all(&pods))?;
            let client = cluster.client(1, "client")?;
            let before = tables(cluster)?;
            let load = MixedLoad::start(&client, &web)?;
            for _ in 0..2 {
                for node in [1, 2] {
                    cluster.agent(node).kill()?;
                }
                load.wait_for_more(20)?;
                cluster.start_agents()?;
                load.wait_for_more(20)?;
            }
            load.stop_without_errors();
            // Ids and epochs too.
            assert_eq!(tables(cluster)?, before);
            Ok(())
        })
    }

    fn what_happens_while_the_agent_is_away_is_made_up_for(builder) {
        builder.test(|cluster| {
            let web = Service::new("web", 10);
            let old = cluster.backend(1, "old")?;
            cluster.publish(&web, &[Endpoint::of(&old)])?;
            let early = cluster.client(1, "early")?;
            for node in [1, 2] {
                cluster.agent(node).kill()?;
            }
            let new = [cluster.backend(1, "near")?, cluster.backend(2, "far")?];
            let late = cluster.client(1, "late")?;
            cluster.publish(&web, &Endpoint::all(&new))?;
            for vip in web.at(HTTP) {
                assert_eq!(client::http_get(&early.netns, vip)?.pod, "old", "{vip}");
            }

            cluster.start_agents()?;
            cluster.publish(&web, &Endpoint::all(&new))?;
            cluster.agent(1).wait_until_attached(&late)?;
            old.delete()?;
            for client in [&early, &late] {
                for vip in web.at(HTTP) {
                    let report = client::http_many(&client.netns, vip, 60, 4)?;
                    assert_eq!((report.errors, report.of("old")), (0, 0), "{vip}: {report}");
                    assert!(report.of("near") > 0 && report.of("far") > 0, "{vip}: {report}");
                }
            }
            Ok(())
        })
    }
}

/// Another binary with another object in it: the licence that it tells the kernel is another one of the same length.
#[test]
fn a_changed_binary_takes_over_under_load() -> Result<()> {
    Cluster::builder().test(|cluster| {
        let web = Service::new("web", 10);
        let pods = [cluster.backend(1, "near")?, cluster.backend(2, "far")?];
        cluster.publish(&web, &Endpoint::all(&pods))?;
        let client = cluster.client(1, "client")?;
        let changed = Sandbox::current()?.directory().join("another-lb");
        let mut octets = fs::read(&cluster.agent(1).binary)?;
        ensure!(replace(&mut octets, b"Dual MIT/GPL\0", b"Dual BSD/GPL\0") > 0);
        fs::write(&changed, octets)?;
        fs::set_permissions(&changed, fs::Permissions::from_mode(0o755))?;

        let before = tables(cluster)?;
        let load = MixedLoad::start(&client, &web)?;
        for node in [1, 2] {
            let agent = cluster.agent(node);
            agent.kill()?;
            agent.binary.clone_from(&changed);
        }
        load.wait_for_more(20)?;
        cluster.start_agents()?;
        load.wait_for_more(20)?;
        load.stop_without_errors();
        assert_eq!(tables(cluster)?, before);
        Ok(())
    })
}

/// Writes `new` over each `old`, of one length, and tells how often.
fn replace(octets: &mut [u8], old: &[u8], new: &[u8]) -> usize {
    let found: Vec<usize> = (0..octets.len().saturating_sub(old.len()))
        .filter(|at| octets[*at..].starts_with(old))
        .collect();
    for at in &found {
        octets[*at..][..new.len()].copy_from_slice(new);
    }
    found.len()
}

/// Flows move to the new maps while packets go on: connections live on, whether they are busy at the time or idle. One
/// that begins between the copy and the change of programs is not in this load: its first answer may be missed.
#[test]
fn another_size_of_the_tables_of_flows_keeps_connections() -> Result<()> {
    Cluster::builder().test(|cluster| {
        let web = Service::new("web", 10);
        let pods = [cluster.backend(1, "near")?, cluster.backend(2, "far")?];
        cluster.publish(&web, &Endpoint::all(&pods))?;
        let client = cluster.client(1, "client")?;
        let mut kept = Vec::new();
        for vip in web.at(HTTP) {
            let mut connection = KeptConnection::open(&client.netns, vip)?;
            let pod = connection.request()?.pod;
            kept.push((connection, pod));
        }
        let mut sockets = Vec::new();
        for vip in web.at(DATAGRAMS) {
            let socket = UdpClient::open(&client.netns, vip)?;
            let pod = socket.request(b"who?")?.pod;
            sockets.push((socket, pod));
        }
        let load = MixedLoad::start_kinds(&client, &web, &[Kind::KeepAlive])?;
        for (flows, entries) in [("14336", "100000"), ("0", "30000"), ("7168", "65536")] {
            let agent = cluster.agent(1);
            agent.kill()?;
            agent.flags.insert("--max-flows", flows);
            agent.flags.insert("--max-conntrack", entries);
            agent.start_and_wait()?;
            load.wait_for_more(20)?;
            let status = agent.json(&["status"])?;
            assert_eq!(room(&status, "conntrack_v4"), entries);
            if flows != "0" {
                assert_eq!(room(&status, "flows_v4"), flows);
            }
            for (connection, pod) in &mut kept {
                assert_eq!(connection.request()?.pod, *pod, "{entries} entries");
            }
            for (socket, pod) in &sockets {
                assert_eq!(socket.request(b"who?")?.pod, *pod, "{entries} entries");
            }
            for vip in web.at(HTTP) {
                let report = client::http_many(&client.netns, vip, 50, 4)?;
                assert_eq!(report.errors, 0, "{entries} entries: {vip}: {report}");
            }
        }
        load.stop_without_errors();
        Ok(())
    })
}

#[test]
fn a_second_agent_on_the_same_pins_is_refused_in_one_sentence() -> Result<()> {
    Cluster::builder().nodes(1).test(|cluster| {
        let web = Service::new("web", 10);
        let pod = cluster.backend(1, "b")?;
        cluster.publish(&web, &[Endpoint::of(&pod)])?;
        let client = cluster.client(1, "client")?;
        let agent = cluster.agent(1);
        let output = agent.start_another()?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{said}");
        let last: Vec<&str> = said
            .lines()
            .filter(|line| !line.contains(" INFO "))
            .collect();
        let pins = agent.bpffs.join("lb");
        assert_eq!(last.len(), 1, "{said}");
        for words in [
            "an agent is running (process ",
            &pins.to_string_lossy(),
            "stop it first",
        ] {
            assert!(last[0].contains(words), "{words:?} in {said}");
        }
        assert!(agent.is_alive());
        for vip in web.at(HTTP) {
            assert_eq!(client::http_get(&client.netns, vip)?.pod, "b");
        }
        Ok(())
    })
}

#[test]
fn an_agent_that_is_asked_to_end_leaves_the_data_plane() -> Result<()> {
    Cluster::builder().nodes(1).test(|cluster| {
        let web = Service::new("web", 10);
        let pod = cluster.backend(1, "b")?;
        cluster.publish(&web, &[Endpoint::of(&pod)])?;
        let client = cluster.client(1, "client")?;
        let before = tables(cluster)?;
        let load = MixedLoad::start(&client, &web)?;
        assert_eq!(cluster.agent(1).terminate()?.code(), Some(0));
        load.wait_for_more(20)?;
        assert_eq!(tables(cluster)?, before);
        cluster.start_agents()?;
        load.wait_for_more(20)?;
        load.stop_without_errors();
        assert_eq!(tables(cluster)?, before);
        Ok(())
    })
}

/// What both lists of the first node show.
fn tables(cluster: &mut Cluster) -> Result<[Value; 2]> {
    let agent = cluster.agent(1);
    Ok([
        agent.json(&["service", "list"])?,
        agent.json(&["backend", "list"])?,
    ])
}

/// How many entries of a map there is room for, as text.
fn room(status: &Value, name: &str) -> String {
    let maps = status["maps"].as_array().into_iter().flatten();
    let found: Vec<String> = maps
        .filter(|map| map["map"] == name)
        .map(|map| map["max"].to_string())
        .collect();
    found.concat()
}
