//! Objects that are no Service and no EndpointSlice by this agent's book: they cost nobody else anything, and of them what
//! was known stays.

use std::time::Instant;

use anyhow::Result;
use cluster::ControlPlane;
use cluster::weather::{Edit, Fault, Requests};
use lab::wait_until;
use serde_json::{Value, json};

use super::{SERVICES, SLICES};
use crate::site::{PATIENCE, RECOVERY, Site};

/// Makes `name` unreadable in what is told of its kind, first in an event and then in a list, while others change.
fn check(resource: &str, name: &str, place: &str, value: Value) -> Result<()> {
    let kind = match resource {
        SERVICES => "Service",
        _ => "EndpointSlice",
    };
    Site::test(ControlPlane::shared()?, |site| {
        let pods = [site.backend("one")?, site.backend("two")?];
        let sick = site.publish("sick", &[&pods[0]])?;
        let moving = site.publish("moving", &[&pods[0]])?;
        site.wait_until_watching()?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&sick, &moving])?);

        let edit = Fault::Edit(Edit::of_object(
            site.objects.namespace(),
            name,
            place,
            value,
        ));
        let spell = site.weather.during(Requests::of(resource), edit);
        site.objects.touch(resource, name)?;
        site.agent.wait_for_log(&["WARN", name])?;
        let rejected = format!("lb_source_rejected_objects{{resource=\"{kind}\"}}");
        assert_eq!(site.agent.metric(&rejected)?, 1.0);
        site.move_to(&moving, &pods[1])?;
        site.make_list_anew(resource)?;
        site.move_to(&moving, &pods[0])?;
        assert_eq!(site.agent.metric(&rejected)?, 1.0);
        site.assert_live();
        vigil.end()?.assert(&[], &["moving"], &[]);

        let vigil = site.vigil()?;
        drop(spell);
        site.make_list_anew(resource)?;
        site.objects.lead(&sick, &[&pods[1]])?;
        site.recovered(&sick, &pods[1], Instant::now())?;
        loads.stop_without_errors();
        vigil.end()?.assert(&[], &["sick"], &[]);
        assert_eq!(site.agent.metric(&rejected)?, 0.0);
        wait_until("the end of the warning", PATIENCE, || {
            site.agent
                .log()
                .lines()
                .any(|line| line.contains("no longer") && line.contains(name))
        })?;
        site.keep(pods);
        Ok(())
    })
}

/// Makes `name` unreadable while an agent starts: of `sick` nothing is known but what an earlier agent wrote. What has
/// become of others while no agent was there is made up for all the same.
fn check_start(resource: &str, name: &str, place: &str, value: Value) -> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        let pods = [site.backend("one")?, site.backend("two")?];
        let sick = site.publish("sick", &[&pods[0]])?;
        let moving = site.publish("moving", &[&pods[0]])?;
        let going = site.publish("going", &[&pods[0]])?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&sick, &moving])?);
        let edit = Edit::of_object(site.objects.namespace(), name, place, value);
        let spell = site
            .weather
            .during(Requests::of(resource), Fault::Edit(edit));
        site.agent.kill()?;
        site.objects.remove(&going)?;
        let bare = site.objects.put_service("bare")?;
        site.agent.start()?;
        site.wait_until_withdrawn(&going, RECOVERY)?;
        site.wait_until_serves(&bare, &[], RECOVERY)?;
        site.move_to(&moving, &pods[1])?;
        loads.wait_for_more(100)?;
        vigil.end()?.assert(&["going"], &["moving"], &["bare"]);

        let vigil = site.vigil()?;
        drop(spell);
        site.make_list_anew(resource)?;
        site.move_to(&sick, &pods[1])?;
        loads.stop_without_errors();
        vigil.end()?.assert(&[], &["sick"], &[]);
        site.keep(pods);
        Ok(())
    })
}

#[test]
fn s_8_an_agent_that_starts_keeps_what_was_written_of_a_service_that_it_cannot_read_and_no_more()
-> Result<()> {
    check_start(SERVICES, "sick", "/spec/ports", json!("eighty"))
}

#[test]
fn s_8_an_agent_that_starts_keeps_what_was_written_of_a_slice_that_it_cannot_read_and_no_more()
-> Result<()> {
    check_start(SLICES, "sick-ipv4", "/endpoints", json!(7))
}

#[test]
fn a_service_that_cannot_be_read_costs_no_other_and_keeps_what_it_had() -> Result<()> {
    check(SERVICES, "sick", "/spec/ports", json!("eighty"))
}

#[test]
fn a_slice_that_cannot_be_read_costs_no_other_and_keeps_what_it_had() -> Result<()> {
    check(SLICES, "sick-ipv4", "/endpoints", json!(7))
}
