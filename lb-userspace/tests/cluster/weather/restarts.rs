//! The API server itself ends and comes again, and etcd forgets its history. Each test has a control plane of its own.

use std::time::Instant;

use anyhow::Result;
use cluster::{ControlPlane, Options};

use super::{SERVICES, SLICES, lists};
use crate::site::Site;

/// Nobody else writes objects at the control planes of these tests.
const WRITES: &str = "lb_reconciler_writes_total";

#[test]
fn an_api_server_that_is_restarted_or_crashes_costs_no_request_and_no_change() -> Result<()> {
    let control_plane = ControlPlane::start(Options::default())?;
    Site::test(&control_plane, |site| {
        let pods = [site.backend("one")?, site.backend("two")?];
        let still = site.publish("still", &[&pods[0]])?;
        let moving = site.publish("moving", &[&pods[0]])?;
        site.wait_until_watching()?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&still, &moving])?);
        control_plane.restart_api_server()?;
        site.move_to(&moving, &pods[1])?;
        site.wait_until_watching()?;
        control_plane.kill_api_server()?;
        loads.wait_for_more(20)?;
        control_plane.start_api_server()?;
        site.move_to(&moving, &pods[0])?;
        loads.stop_without_errors();
        vigil.end()?.assert(&[], &["moving"], &[]);
        site.keep(pods);
        Ok(())
    })
}

#[test]
fn history_that_is_compacted_during_an_outage_costs_a_list_and_exactly_the_changes() -> Result<()> {
    let control_plane = ControlPlane::start(Options::default())?;
    Site::test(&control_plane, |site| {
        let pods = [site.backend("one")?, site.backend("two")?];
        let still = site.publish("still", &[&pods[0]])?;
        let moving = site.publish("moving", &[&pods[0]])?;
        let going = site.publish("going", &[&pods[0]])?;
        site.wait_until_watching()?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&still, &moving])?);
        let before = [SERVICES, SLICES].map(|kind| site.weather.count(&lists(kind)));
        let written = site.agent.metric(WRITES)?;
        site.weather.refuse();
        site.objects.lead(&moving, &[&pods[1]])?;
        site.objects.remove(&going)?;
        control_plane.compact_etcd()?;
        // What it remembers by itself goes too.
        control_plane.restart_api_server()?;
        site.weather.admit()?;
        site.recovered(&moving, &pods[1], Instant::now())?;
        site.wait_until_withdrawn(&going, super::RECOVERY)?;
        loads.stop_without_errors();
        vigil.end()?.assert(&["going"], &["moving"], &[]);
        let written = site.agent.metric(WRITES)? - written;
        println!("{written} writes for one Service that went and one that moved");
        assert!(written <= 32.0, "{written} writes");
        let after = [SERVICES, SLICES].map(|kind| site.weather.count(&lists(kind)));
        assert!(
            after[0] > before[0] && after[1] > before[1],
            "{before:?} {after:?}"
        );
        site.agent.wait_for_log(&["lost its place"])?;
        site.keep(pods);
        Ok(())
    })
}
