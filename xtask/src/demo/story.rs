//! What the demonstration does, in order; a chapter each has a file.

mod borders;
mod churn;
mod inside;
mod opening;
mod requests;
mod restart;

use std::path::Path;

use anyhow::Result;

use super::cluster::Cluster;
use super::servers::last_lines;
use super::talk::Talk;

/// Makes the cluster and tells all chapters. The cluster is there as long as the result's first part; the second one is
/// the last line to print.
///
/// # Errors
/// When something could not be done at all. A claim that does not hold is an error of the second part.
pub fn tell(lb: &Path) -> Result<(Cluster, Result<String>)> {
    let mut talk = Talk::default();
    let mut cluster = opening::pods(lb, &mut talk)?;
    let told = chapters(&mut cluster, &mut talk);
    if told.is_err() || talk.has_failed() {
        println!();
        for agent in &cluster.agents {
            println!("{}", last_lines(agent.log()));
        }
    }
    told?;
    Ok((cluster, talk.verdict()))
}

fn chapters(cluster: &mut Cluster, talk: &mut Talk) -> Result<()> {
    opening::agents(cluster, talk)?;
    requests::by_name_and_by_vip(cluster, talk)?;
    requests::spread(cluster, talk)?;
    churn::pods_come_and_go(cluster, talk)?;
    restart::the_agents_are_killed(cluster, talk)?;
    borders::what_is_refused(cluster, talk)?;
    inside::what_the_kernel_holds(cluster, talk)
}
