//! Pods come and go under load: the VIP stays, nothing fails.

use std::time::Duration;

use anyhow::Result;
use lab::client::{Kind, Load, Options, http_many};

use crate::demo::cluster::Cluster;
use crate::demo::servers::Program;
use crate::demo::services::BACKEND;
use crate::demo::spread;
use crate::demo::story::requests::TOLERANCE;
use crate::demo::talk::Talk;

/// How long a load may take for the next few requests.
pub const PATIENCE: Duration = Duration::from_secs(20);
const AFTERWARDS: u64 = 3_000;
const CONCURRENCY: usize = 16;
const GOING: &str = "backend-2";
const COMING: &str = "backend-4";

/// Requests as a few busy clients make them, which leave some of the machine to the others.
pub fn busy() -> Options {
    Options {
        pause: Duration::from_millis(1),
        ..Options::default()
    }
}

/// A pod is deleted, another one takes its place with another address.
pub fn pods_come_and_go(cluster: &mut Cluster, talk: &mut Talk) -> Result<()> {
    talk.chapter("A pod is deleted under load, and re-created with another address");
    let [vip, _] = BACKEND.sockets();
    let netns = cluster.front_end.netns.clone();
    let load = Load::start_with(&netns, vip, Kind::Http, CONCURRENCY, busy())?;
    load.wait_for_more(500, PATIENCE)?;

    let gone = cluster.pod(GOING)?.ipv4;
    let mut answered = (0, 0);
    let mut followed_in = Duration::ZERO;
    cluster.delete_pod(GOING, |known_in| {
        followed_in = known_in;
        let before = load.report().of(GOING);
        // More requests than can be under way: those that were begun before have ended.
        load.wait_for_more(500, PATIENCE)?;
        answered = (before, load.report().of(GOING));
        Ok(())
    })?;
    talk.say(format!(
        "{GOING} ({gone}) terminates: both nodes know after {} ms; it finishes its requests, ends and is gone.",
        followed_in.as_millis()
    ));
    load.wait_for_more(500, PATIENCE)?;
    cluster.add_pod(&BACKEND, COMING, 1, Program::Nginx)?;
    let come = cluster.pod(COMING)?.ipv4;
    talk.say(format!(
        "{COMING} ({come}) answers and is listed: both nodes know after {} ms.",
        cluster.followed_in.as_millis()
    ));
    load.wait_for_more(1_000, PATIENCE)?;
    let report = load.stop()?;
    talk.quote(&spread::table(&report, &cluster.pods_of(&BACKEND)));
    talk.claim(
        format!(
            "{} errors in {} requests while pods came and went",
            report.errors, report.total
        ),
        report.errors == 0,
    );
    let (before, after) = answered;
    talk.claim(
        format!(
            "once both nodes knew, {GOING} ended {} requests that were under way, and got no other",
            after - before
        ),
        after - before <= CONCURRENCY as u64 && report.of(GOING) == after,
    );

    let pods = cluster.pods_of(&BACKEND);
    let report = http_many(&netns, vip, AFTERWARDS, CONCURRENCY)?;
    talk.say(format!("{AFTERWARDS} requests afterwards:"));
    talk.quote(&spread::table(&report, &pods));
    let exist = report.pods.keys().all(|pod| pods.contains(pod));
    talk.claim(
        "the answers come from the pods that exist, evenly, without an error",
        report.errors == 0 && exist && spread::farthest_from_even(&report, pods.len()) <= TOLERANCE,
    );
    Ok(())
}
