//! Connections that break, stall and are slow: every change comes through in the end, and no other follows from it.

use std::time::{Duration, Instant};

use anyhow::Result;
use cluster::ControlPlane;
use cluster::weather::{Fault, Requests, Verb};
use lab::wait_until;

use super::{CIDRS, NODES, SERVICES, SLICES, watches};
use crate::site::{PATIENCE, Site};

#[test]
fn s_1_four_kinds_are_asked_for_with_their_selectors_and_nothing_else_but_events_is_written()
-> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        site.wait_until_watching()?;
        let node = format!("metadata.name={}-node", site.objects.namespace());
        for asked in site.weather.asked() {
            let selectors = (
                asked.label_selector.as_deref(),
                asked.field_selector.as_deref(),
            );
            let expected = match asked.resource.as_str() {
                SERVICES => (None, Some("spec.clusterIP!=None")),
                CIDRS => (None, None),
                SLICES => (Some("!service.kubernetes.io/headless"), None),
                NODES => (None, Some(node.as_str())),
                "events" if asked.verb == Verb::Create => continue,
                _ => panic!("nobody needs {asked:?}"),
            };
            assert_eq!(selectors, expected, "{asked:?}");
            assert!(
                matches!(asked.verb, Verb::List | Verb::Watch),
                "nobody needs {asked:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn connections_that_are_cut_cost_no_request_and_no_change() -> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        let pods = [site.backend("one")?, site.backend("two")?];
        let still = site.publish("still", &[&pods[0]])?;
        let moving = site.publish("moving", &[&pods[0]])?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&still, &moving])?);
        for pod in [&pods[1], &pods[0], &pods[1]] {
            site.wait_until_watching()?;
            site.weather.cut();
            site.move_to(&moving, pod)?;
        }
        loads.stop_without_errors();
        vigil.end()?.assert(&[], &["moving"], &[]);
        site.keep(pods);
        Ok(())
    })
}

#[test]
fn an_event_that_is_cut_in_its_middle_is_told_again() -> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        let pods = [site.backend("one")?, site.backend("two")?];
        let still = site.publish("still", &[&pods[0]])?;
        let moving = site.publish("moving", &[&pods[0]])?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&still, &moving])?);
        for pod in [&pods[1], &pods[0]] {
            site.wait_until_watching()?;
            let spell = site.weather.times(1, watches(SLICES), Fault::CutEvent);
            site.move_to(&moving, pod)?;
            assert_eq!(spell.struck(), 1);
        }
        loads.stop_without_errors();
        vigil.end()?.assert(&[], &["moving"], &[]);
        site.keep(pods);
        Ok(())
    })
}

#[test]
fn answers_that_are_slow_are_waited_for() -> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        let pods = [site.backend("one")?, site.backend("two")?];
        let moving = site.publish("moving", &[&pods[0]])?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&moving])?);
        let delay = Duration::from_secs(5);
        let spell = site.weather.during(Requests::all(), Fault::Delay(delay));
        site.wait_until_watching()?;
        site.weather.cut();
        let cut = Instant::now();
        site.move_to(&moving, &pods[1])?;
        assert!(cut.elapsed() >= delay && spell.struck() > 0);
        loads.stop_without_errors();
        vigil.end()?.assert(&[], &["moving"], &[]);
        site.keep(pods);
        Ok(())
    })
}

#[test]
fn a_watch_that_is_silent_keeps_what_is_there_and_catches_up() -> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        let pods = [site.backend("one")?, site.backend("two")?];
        let moving = site.publish("moving", &[&pods[0]])?;
        site.wait_until_watching()?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&moving])?);
        let spell = site.weather.during(watches(SLICES), Fault::Stall);
        site.objects.lead(&moving, &[&pods[1]])?;
        wait_until("an event to be held back", PATIENCE, || spell.struck() > 0)?;
        loads.wait_for_more(100)?;
        vigil.end()?.assert(&[], &[], &[]);
        drop(spell);
        site.recovered(&moving, &pods[1], Instant::now())?;
        loads.stop_without_errors();
        site.keep(pods);
        Ok(())
    })
}
