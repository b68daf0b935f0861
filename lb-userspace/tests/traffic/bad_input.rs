//! What is wrong costs itself alone, and says so in one sentence with a remedy.

use std::time::Duration;

use anyhow::Result;
use lab::{Netns, Sandbox, client, wait_until};

use super::cluster::{Cluster, Endpoint, HTTP, Service};
use super::load::MixedLoad;

#[test]
fn objects_that_are_wrong_cost_themselves_alone() -> Result<()> {
    Cluster::builder().nodes(1).test(|cluster| {
        let good = Service::new("good", 10).made_in(2020);
        let pod = cluster.backend(1, "b")?;
        let client = cluster.client(1, "client")?;
        cluster.publish(&good, &[Endpoint::of(&pod)])?;
        let load = MixedLoad::start(&client, &good)?;
        let mut check = |file: &str, text: &str, words: &[&str]| -> Result<()> {
            cluster.write(file, text)?;
            let line = cluster.agent(1).wait_for_log(words)?;
            assert!(line.contains(" WARN "), "{line}");
            let log = cluster.agent(1).log();
            let times = log
                .lines()
                .filter(|other| words.iter().all(|word| other.contains(word)));
            assert_eq!(times.count(), 1, "{line}");
            Ok(())
        };

        check(
            "broken.yaml",
            "kind: Service\nspec: [",
            &["file broken.yaml", "line 2"],
        )?;
        check(
            "torn.json",
            "{\"kind\": \"Service\"",
            &["file torn.json", "line 1"],
        )?;
        let slices = Service::new("typed", 11).manifests(&[]);
        check(
            "typed.yaml",
            &slices.replace("addressType: IPv6", "addressType: IPv8"),
            &[
                "default/typed-ipv6",
                "\"IPv8\" is unknown",
                "set addressType to IPv4 or IPv6",
            ],
        )?;
        let wrong_ip = Service::new("wrong", 12).manifests(&[]);
        check(
            "wrong.yaml",
            &wrong_ip.replace("10.96.0.12", "10.96.0.300"),
            &[
                "default/wrong",
                "\"10.96.0.300\" is not an IP address",
                "correct spec.clusterIPs",
            ],
        )?;
        let endpoint = Service::new("astray", 13).manifests(&[Endpoint::of(&pod)]);
        check(
            "astray.yaml",
            &endpoint.replace(&pod.ipv4.to_string(), "10.244.1"),
            &[
                "default/astray-ipv4",
                "\"10.244.1\" is not an IP address",
                "correct endpoints[].addresses",
            ],
        )?;
        // The same VIPs as an older Service.
        let usurper = Service::new("usurper", 10).made_in(2024).manifests(&[]);
        check(
            "usurper.yaml",
            &usurper,
            &[
                "default/usurper:http/TCP",
                "10.96.0.10:80/TCP belongs to default/good:http/TCP",
                "give one of them another address or port",
            ],
        )?;

        // What is right goes on, beside all of that.
        load.wait_for_more(20)?;
        load.stop_without_errors();
        let late = Service::new("late", 20);
        cluster.publish(&late, &[Endpoint::of(&pod)])?;
        for vip in [
            good.at(HTTP),
            late.at(HTTP),
            Service::new("astray", 13).at(HTTP),
        ]
        .concat()
        .into_iter()
        // The IPv4 endpoint of this one is what is wrong with it.
        .filter(|vip| *vip != Service::new("astray", 13).at(HTTP)[0])
        {
            assert_eq!(client::http_get(&client.netns, vip)?.pod, "b", "{vip}");
        }
        assert!(cluster.agent(1).is_alive());
        Ok(())
    })
}

/// Three ports a pod: there is room for one pod in each family, and for no second one.
#[test]
fn a_full_map_refuses_a_service_whole_and_names_the_flag() -> Result<()> {
    Cluster::builder()
        .nodes(1)
        .flag("--max-backends", "5")
        .test(|cluster| {
            let pods = [cluster.backend(1, "b1")?, cluster.backend(1, "b2")?];
            let client = cluster.client(1, "client")?;
            let (good, surplus) = (Service::new("good", 10), Service::new("surplus", 11));
            cluster.publish(&good, &[Endpoint::of(&pods[0])])?;
            cluster.write(
                &surplus.file(),
                &surplus.manifests(&[Endpoint::of(&pods[1])]),
            )?;
            let agent = cluster.agent(1);
            agent.wait_for_log(&[
                " WARN ",
                "Service default/surplus is not served",
                "no room for",
                "raise --max-backends",
            ])?;
            for vip in good.at(HTTP) {
                assert_eq!(client::http_get(&client.netns, vip)?.pod, "b1");
            }
            assert!(agent.is_alive());
            // With room it is served.
            agent.kill()?;
            agent.flags.insert("--max-backends", "20");
            agent.start_and_wait()?;
            agent.wait_until_serves(&surplus, &[Endpoint::of(&pods[1])])?;
            for vip in surplus.at(HTTP) {
                assert_eq!(client::http_get(&client.netns, vip)?.pod, "b2");
            }
            Ok(())
        })
}

#[test]
fn without_a_bpf_file_system_the_agent_says_how_to_get_one() -> Result<()> {
    Cluster::builder()
        .nodes(1)
        .without_agents()
        .test(|cluster| {
            let nowhere = Sandbox::current()?.directory().to_owned();
            let missing = nowhere.join("missing");
            for bpffs in [nowhere, missing] {
                let agent = cluster.agent(1);
                agent.bpffs = bpffs.clone();
                let output = agent.start_another()?;
                let said = String::from_utf8(output.stderr)?;
                assert_eq!(output.status.code(), Some(1), "{said}");
                assert_eq!(said.lines().count(), 1, "{said}");
                let path = bpffs.to_string_lossy();
                for words in [&*path, &format!("mount -t bpf bpf {path}")] {
                    assert!(said.contains(words), "{words:?} in {said}");
                }
            }
            Ok(())
        })
}

/// Most of these devices are gone before the agent gets to them.
#[test]
fn devices_that_vanish_while_they_are_served_cost_nobody_anything() -> Result<()> {
    Cluster::builder().nodes(1).test(|cluster| {
        let web = Service::new("web", 10);
        let pod = cluster.backend(1, "b")?;
        let client = cluster.client(1, "client")?;
        cluster.publish(&web, &[Endpoint::of(&pod)])?;
        let load = MixedLoad::start(&client, &web)?;
        let node = &cluster.lab.node(1).netns;
        let elsewhere = Netns::create(&format!("{}-fleeting", node.name()))?;
        let lines: Vec<String> = (0..100)
            .flat_map(|number| {
                let (one, peer) = (format!("veth-f{number}"), elsewhere.name());
                [
                    format!("link add name {one} type veth peer name f{number} netns {peer}"),
                    format!("link del {one}"),
                ]
            })
            .collect();
        node.ip(&lines)?;
        let late = cluster.client(1, "late")?;
        for vip in web.at(HTTP) {
            assert_eq!(client::http_get(&late.netns, vip)?.pod, "b");
        }
        load.stop_without_errors();
        let agent = cluster.agent(1);
        assert!(agent.is_alive());
        assert!(!agent.log().contains(" ERROR "), "{}", agent.log());
        // Two links for each of the three pods' devices are all that is left.
        let links = agent.pins().join("links");
        wait_until(
            "the links of vanished devices to go",
            Duration::from_secs(10),
            || std::fs::read_dir(&links).is_ok_and(|entries| entries.count() == 6),
        )
    })
}
