//! `lb` beside the agent: what it shows, and what it takes away.

use std::time::Duration;

use anyhow::Result;
use lab::client::{self, KeptConnection};
use serde_json::Value;

use super::cluster::{Cluster, Endpoint, HTTP, Service};

#[test]
fn lists_show_services_backends_and_flows_by_name() -> Result<()> {
    Cluster::builder().nodes(1).test(|cluster| {
        let web = Service::new("web", 10);
        let pod = cluster.backend(1, "b")?;
        cluster.publish(&web, &[Endpoint::of(&pod)])?;
        let client = cluster.client(1, "client")?;
        let mut kept = Vec::new();
        for (vip, target) in web.at(HTTP).into_iter().zip(pod.sockets(HTTP.target)) {
            let mut connection = KeptConnection::open(&client.netns, vip)?;
            connection.request()?;
            kept.push((connection, vip, target));
        }
        let agent = cluster.agent(1);
        for (connection, vip, target) in &kept {
            let local = connection.local();
            check(
                agent.json(&["service", "list"])?,
                &[
                    ("namespace", "default"),
                    ("name", "web"),
                    ("port_name", "http"),
                    ("frontend", &vip.to_string()),
                ],
            );
            check(
                agent.json(&["backend", "list"])?,
                &[
                    ("service", "default/web:http/TCP"),
                    ("address", &target.to_string()),
                    ("state", "active"),
                ],
            );
            check(
                agent.json(&["conntrack", "list"])?,
                &[
                    ("protocol", "TCP"),
                    ("client", &local.to_string()),
                    ("frontend", &vip.to_string()),
                    ("backend", &target.to_string()),
                    ("service", "default/web:http/TCP"),
                    ("state", "established"),
                ],
            );
            check_line(
                &agent.text(&["service", "list"])?,
                &["default/web", "http", &vip.to_string()],
            );
            check_line(
                &agent.text(&["backend", "list"])?,
                &["default/web:http/TCP", &target.to_string()],
            );
            check_line(
                &agent.text(&["conntrack", "list"])?,
                &[
                    &local.to_string(),
                    &vip.to_string(),
                    &target.to_string(),
                    "default/web:http/TCP",
                ],
            );
        }
        let status = agent.json(&["status"])?;
        assert!(status["generation"].as_u64() >= Some(1), "{status}");
        let text = agent.text(&["status"])?;
        check_line(&text, &["agent", "running, process"]);
        check_line(&text, &["frontends_v4", "256"]);
        check_line(&text, &["new-flow", "2"]);
        assert_eq!(status["agent_running"], true, "{status}");
        let agent = cluster.agent(1);
        agent.kill()?;
        assert_eq!(agent.json(&["status"])?["agent_running"], false);
        check_line(&agent.text(&["status"])?, &["agent", "not running"]);
        Ok(())
    })
}

#[test]
fn bpftool_shows_fields_by_name() -> Result<()> {
    Cluster::builder().nodes(1).test(|cluster| {
        let web = Service::new("web", 10);
        let pod = cluster.backend(1, "b")?;
        cluster.publish(&web, &[Endpoint::of(&pod)])?;
        let client = cluster.client(1, "client")?;
        for vip in web.at(HTTP) {
            client::http_get(&client.netns, vip)?;
        }
        let pins = cluster.agent(1).pins();
        let dump = |map: &str| -> Result<String> {
            let mut bpftool = cluster.lab.node(1).netns.command("bpftool");
            let output = bpftool
                .args(["map", "dump", "pinned"])
                .arg(pins.join(map))
                .output()?;
            assert!(output.status.success(), "{map}: {output:?}");
            // One space for any white space: line breaks are bpftool's choice.
            let text = String::from_utf8(output.stdout)?;
            Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        for (map, words) in [
            (
                "frontends_v4",
                &[
                    "\"address\": [10,96,0,10 ]",
                    "\"port\": 80",
                    "\"service_id\": ",
                ][..],
            ),
            (
                "frontends_v6",
                &["\"address\": [253,0,0,16,0,150,", "\"port\": 7000"],
            ),
            (
                "backends_v4",
                &[
                    "\"address\": [10,244,1,2 ]",
                    "\"port\": 8080",
                    "\"epoch\": ",
                ],
            ),
            (
                "flows_v4",
                &["\"frontend\": [10,96,0,10 ]", "\"backend_port\": 8080"],
            ),
            ("services", &["\"namespace\": ", "\"name\": "]),
            ("config", &["\"generation\": ", "\"agent_pid\": "]),
        ] {
            let dump = dump(map)?;
            for words in words {
                assert!(dump.contains(words), "{map}: no {words} in {dump}");
            }
        }
        Ok(())
    })
}

#[test]
fn cleanup_takes_away_links_and_everything_else() -> Result<()> {
    check_cleanup("tcx")
}

#[test]
fn cleanup_takes_away_filters_and_everything_else() -> Result<()> {
    check_cleanup("clsact")
}

fn check_cleanup(mechanism: &'static str) -> Result<()> {
    Cluster::builder()
        .nodes(1)
        .flag("--attach", mechanism)
        .test(|cluster| {
            let web = Service::new("web", 10);
            let pod = cluster.backend(1, "b")?;
            let client = cluster.client(1, "client")?;
            cluster.publish(&web, &[Endpoint::of(&pod)])?;
            for vip in web.at(HTTP) {
                client::http_get(&client.netns, vip)?;
            }
            let agent = cluster.agent(1);
            let refused = agent.text(&["cleanup"]).expect_err("the agent runs");
            for words in ["an agent is running (process ", "stop it first"] {
                assert!(refused.to_string().contains(words), "{refused}");
            }
            for vip in web.at(HTTP) {
                client::http_get(&client.netns, vip)?;
            }
            agent.terminate()?;

            let said = agent.text(&["cleanup"])?;
            let words: &[&str] = match mechanism {
                "tcx" => &["removed", "links/if"],
                _ => &["removed", "filter"],
            };
            check_line(&said, words);
            check_line(&said, &["removed", "frontends_v4"]);
            assert_eq!(
                std::fs::read_dir(&agent.bpffs)?.count(),
                0,
                "no pin is left"
            );
            for pod in [&pod, &client] {
                let device = &pod.host_device;
                assert_eq!(
                    (agent.tcx_programs(device)?, agent.filters(device)?),
                    (0, 0),
                    "{device}"
                );
            }
            for (vip, own) in web.at(HTTP).into_iter().zip(pod.sockets(HTTP.target)) {
                let outcome =
                    client::http_get_within(&client.netns, vip, Duration::from_millis(300));
                assert!(outcome.is_err_and(|error| error.is_timeout()), "{vip}");
                assert_eq!(client::http_get(&client.netns, own)?.pod, "b");
            }
            assert_eq!(agent.text(&["cleanup"])?, "nothing to remove\n");

            agent.start_and_wait()?;
            agent.wait_until_serves(&web, &[Endpoint::of(&pod)])?;
            agent.wait_until_attached(&client)?;
            for vip in web.at(HTTP) {
                assert_eq!(client::http_get(&client.netns, vip)?.pod, "b");
            }
            Ok(())
        })
}

#[test]
fn views_without_a_data_plane_say_what_to_look_at() -> Result<()> {
    Cluster::builder()
        .nodes(1)
        .without_agents()
        .test(|cluster| {
            let agent = cluster.agent(1);
            for words in [
                &["status"][..],
                &["service", "list"],
                &["conntrack", "list"],
            ] {
                let error = agent
                    .text(words)
                    .expect_err("there is nothing to show")
                    .to_string();
                for part in [
                    &*agent.pins().to_string_lossy(),
                    "is there an agent on this node",
                ] {
                    assert!(error.contains(part), "{part:?} in {error}");
                }
            }
            Ok(())
        })
}

/// Holds that one row has all of these fields.
#[track_caller]
fn check(rows: Value, fields: &[(&str, &str)]) {
    let found = rows.as_array().is_some_and(|rows| {
        rows.iter()
            .any(|row| fields.iter().all(|(field, value)| row[field] == *value))
    });
    assert!(found, "no row with {fields:?} in {rows:#}");
}

/// Holds that one line has all of these words.
#[track_caller]
fn check_line(text: &str, words: &[&str]) {
    let found = text
        .lines()
        .any(|line| words.iter().all(|word| line.contains(word)));
    assert!(found, "no line with {words:?} in\n{text}");
}
