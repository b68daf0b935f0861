//! The rest of `networking.go`, and `no_snat.go`.

use anyhow::{Result, ensure};
use lab::client::raw_get;

use crate::case::{Case, all_ready};
use crate::suite::Port::{Outside, Whole};
use crate::suite::{Suite, test};
use crate::traffic::Http;

pub fn suite() -> Suite {
    Suite {
        title: "Networking",
        file: "networking.go",
        tests: vec![
            test(
                "should provide unchanging, static URL paths for kubernetes api services",
                Outside("about the API server alone"),
            ),
            test("should check kube-proxy urls", Whole(urls)),
            test(
                "should recreate its iptables rules if they are deleted [Disruptive]",
                Outside("about iptables, of which the agent makes no rule"),
            ),
            test(
                "should allow creating a Pod with an SCTP HostPort [LinuxOnly]",
                Outside("about host ports, which are the CNI plugin's"),
            ),
        ],
    }
}

pub fn no_snat() -> Suite {
    Suite {
        title: "NoSNAT",
        file: "no_snat.go",
        tests: vec![test(
            "Should be able to send traffic between Pods without SNAT",
            Whole(between_pods),
        )],
    }
}

fn urls(case: &Case<'_>) -> Result<()> {
    let host = case.pod("host").on(1).on_host_network().ready()?;
    let get = |port: u16, path| {
        let to = (std::net::Ipv4Addr::LOCALHOST, port).into();
        let answer = raw_get(&host.netns, to, path)?;
        ensure!(answer.contains(" 200 OK"), "{path} answers {answer}");
        Ok(answer)
    };
    let health = get(10_256, "/healthz")?;
    ensure!(health.contains("lastUpdated"), "{health}");
    get(10_249, "/proxyMode")?;
    Ok(())
}

fn between_pods(case: &Case<'_>) -> Result<()> {
    let pods = [1, 2, 3].map(|node| case.pod(&format!("pod-{node}")).on(node).serving(8080));
    let pods = all_ready(pods.into())?;
    for client in &pods {
        for server in pods.iter().filter(|server| server.name != client.name) {
            let at = server.addresses.map(|address| (address, 8080).into());
            client.reaches(Http, &at, &[server])?;
            for (to, own) in at.into_iter().zip(client.addresses) {
                let seen = client.ask(Http, to)?.peer.ip();
                ensure!(seen == own, "{} was seen as {seen} at {to}", client.name);
            }
        }
    }
    Ok(())
}
