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
use super::talk::Talk;

/// Makes the cluster and tells all chapters. The cluster is there as long as the result's first part; the second one is
/// the last line to print.
///
/// # Errors
/// When something could not be done at all. A claim that does not hold is an error of the second part.
pub fn tell(lb: &Path) -> Result<(Cluster, Result<String>)> {
    let mut talk = Talk::default();
    let mut cluster = opening::pods(lb, &mut talk)?;
    opening::agents(&mut cluster, &mut talk)?;
    requests::by_name_and_by_vip(&cluster, &mut talk)?;
    requests::spread(&cluster, &mut talk)?;
    churn::pods_come_and_go(&mut cluster, &mut talk)?;
    restart::the_agents_are_killed(&mut cluster, &mut talk)?;
    borders::what_is_refused(&mut cluster, &mut talk)?;
    inside::what_the_kernel_holds(&cluster, &mut talk)?;
    Ok((cluster, talk.verdict()))
}
