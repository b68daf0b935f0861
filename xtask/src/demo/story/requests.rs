//! Requests through the Services: by name, by VIP, from the front-end and on from the back-end; and how they spread.

use std::time::Instant;

use anyhow::Result;
use lab::client::http_many;

use crate::demo::cluster::Cluster;
use crate::demo::servers::DATABASE_LOGIN;
use crate::demo::services::BACKEND;
use crate::demo::shell::{self, Dns};
use crate::demo::spread;
use crate::demo::talk::Talk;

const REQUESTS: u64 = 10_000;
const CONCURRENCY: usize = 16;
/// A pod's share may be off an even one by so many parts of all requests. With hashed choices the standard deviation of a
/// third of 10 000 is half a point.
pub const TOLERANCE: f64 = 0.03;

/// The chain of the web application.
pub fn by_name_and_by_vip(cluster: &Cluster, talk: &mut Talk) -> Result<()> {
    talk.chapter("The front-end reaches the back-end by name and by VIP");
    let front_end = &cluster.front_end;
    let name = "http://backend:80";
    let [vip_v4, vip_v6] = BACKEND.sockets().map(shell::url);
    for (words, claim) in [
        (vec!["curl", "-sS", name], "by name"),
        (vec!["curl", "-sS", &vip_v4], "by VIP"),
        (vec!["curl", "-sS", &vip_v6], "by IPv6 VIP"),
    ] {
        let ran = cluster.run(front_end, &words)?;
        talk.command(&ran);
        talk.claim(
            format!("a back-end pod answers {claim}"),
            ran.printed("backend-"),
        );
    }
    talk.say("Each answer is the pod's name and the client it sees: the front-end's own address.");
    let words = ["curl", "-4", "-sS", name];
    let own = format!("{}:", front_end.ipv4);
    let ran = shell::run(
        &front_end.netns,
        &front_end.name,
        Dns::cluster().over_tcp(),
        &words,
    )?;
    talk.say("the same with the cluster DNS asked over TCP (`options use-vc` in resolv.conf):");
    talk.command(&ran);
    talk.claim(
        "names resolve over TCP too, and the client keeps its address",
        ran.printed(&own),
    );

    talk.say("The back-end reaches Redis and MySQL through their Services:");
    let backend = cluster.pod("backend-2")?;
    let ping = cluster.run(backend, &["redis-cli", "-h", "redis", "PING"])?;
    talk.command(&ping);
    talk.claim("Redis answers", ping.printed("PONG"));
    let select = "SELECT id, item, USER() AS seen_as FROM shop.orders";
    let login = ["mariadb", "--no-defaults", "-h", "mysql"];
    let words = [&login[..], &DATABASE_LOGIN, &["-t", "-e", select]].concat();
    let rows = cluster.run(backend, &words)?;
    talk.command(&rows);
    let client = format!("app@{}", backend.ipv4);
    let client_v6 = format!("app@{}", backend.ipv6);
    talk.claim(
        "MySQL answers, and sees the back-end pod itself",
        rows.printed("a bicycle") && (rows.printed(&client) || rows.printed(&client_v6)),
    );
    Ok(())
}

/// Many requests from one pod to one VIP.
pub fn spread(cluster: &Cluster, talk: &mut Talk) -> Result<()> {
    talk.chapter("Requests spread over the pods");
    let pods = cluster.pods_of(&BACKEND);
    for vip in BACKEND.sockets() {
        let start = Instant::now();
        let report = http_many(&cluster.front_end.netns, vip, REQUESTS, CONCURRENCY)?;
        let took = start.elapsed().as_secs_f64();
        talk.say(format!(
            "{REQUESTS} requests to {}, a connection each, {CONCURRENCY} at a time: {took:.1} s, {:.0} a second",
            shell::url(vip),
            report.total as f64 / took
        ));
        talk.quote(&spread::table(&report, &pods));
        talk.claim(
            format!("{} errors in {} requests", report.errors, report.total),
            report.errors == 0 && report.total == REQUESTS,
        );
        let off = spread::farthest_from_even(&report, pods.len());
        talk.claim(
            format!(
                "no pod is off an even share by more than {:.0} points: {:.2} at most",
                TOLERANCE * 100.0,
                off * 100.0
            ),
            off <= TOLERANCE,
        );
    }
    Ok(())
}
