//! The agents are killed under load and started again: connections old and new do not notice.

use anyhow::Result;
use lab::client::{KeptConnection, Kind, Load};

use super::churn::{PATIENCE, busy};
use crate::demo::agent::{Agent, Incarnation};
use crate::demo::cluster::Cluster;
use crate::demo::services::BACKEND;
use crate::demo::talk::Talk;

const CONCURRENCY: usize = 8;
/// Requests of each load in each phase.
const PHASE: u64 = 1_000;

/// kill -9 on both nodes, requests without agents, new agents.
pub fn the_agents_are_killed(cluster: &mut Cluster, talk: &mut Talk) -> Result<()> {
    talk.chapter("The agents are killed with SIGKILL under load, and started again");
    let netns = cluster.front_end.netns.clone();
    let vips = BACKEND.sockets();
    let mut kept = KeptConnection::open(&netns, vips[0])?;
    let first = kept.request()?.pod;
    let loads = vips.map(|vip| Load::start_with(&netns, vip, Kind::Http, CONCURRENCY, busy()));
    let loads: Vec<Load> = loads.into_iter().collect::<Result<_>>()?;
    let more = |count: u64| {
        loads
            .iter()
            .try_for_each(|load| load.wait_for_more(count, PATIENCE))
    };
    let answered = || {
        loads
            .iter()
            .map(|load| load.report().answered())
            .sum::<u64>()
    };
    more(PHASE)?;

    let before: Vec<Incarnation> = each(cluster, |agent| agent.incarnation())?;
    each(cluster, Agent::kill)?;
    let dead_from = answered();
    more(PHASE)?;
    let kept_without = kept.request().map(|answer| answer.pod);
    let dead_to = answered();
    talk.say(format!(
        "no agent runs: {} requests were answered meanwhile, IPv4 and IPv6",
        dead_to - dead_from
    ));

    each(cluster, Agent::start)?;
    let mut successors = Vec::new();
    for (agent, before) in cluster.agents.iter_mut().zip(&before) {
        agent.wait_for_successor(*before)?;
        successors.push(agent.incarnation()?);
    }
    more(PHASE)?;
    let kept_after = kept.request().map(|answer| answer.pod);
    for ((agent, before), after) in cluster.agents.iter().zip(&before).zip(&successors) {
        talk.say(format!(
            "{}: process {} took over the maps of process {}; completed writes went on from {} to {}",
            agent.node, after.process, before.process, before.generation, after.generation
        ));
    }

    for (load, family) in loads.into_iter().zip(["IPv4", "IPv6"]) {
        let report = load.stop()?;
        for error in &report.error_texts {
            talk.quote(error);
        }
        talk.claim(
            format!(
                "{family}: {} errors in {} requests across kill and restart, the slowest took {} ms",
                report.errors,
                report.total,
                report.max_latency.as_millis()
            ),
            report.errors == 0,
        );
    }
    let same =
        |answer: &std::result::Result<String, _>| answer.as_ref().is_ok_and(|pod| *pod == first);
    talk.claim(
        format!("a connection to {first} that was open before stayed open"),
        same(&kept_without) && same(&kept_after),
    );
    Ok(())
}

fn each<T>(cluster: &mut Cluster, work: impl FnMut(&mut Agent) -> Result<T>) -> Result<Vec<T>> {
    cluster.agents.iter_mut().map(work).collect()
}
