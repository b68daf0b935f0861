//! An API server that answers, but not with what was asked for. Lists and watches are tried again, less and less often, and
//! what was seen last stays in force.

use std::time::Instant;

use anyhow::Result;
use cluster::ControlPlane;
use cluster::weather::{Fault, Refusal, Requests, Verb};
use lab::wait_until;

use super::{KINDS, SERVICES, SLICES, lists, watches};
use crate::site::{RECOVERY, Site};

/// Every list and watch is refused until a few have been, while a Service moves. The metrics have a word for it.
fn check(refusal: Refusal, word: &str) -> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        let pods = [site.backend("one")?, site.backend("two")?];
        let still = site.publish("still", &[&pods[0]])?;
        let moving = site.publish("moving", &[&pods[0]])?;
        site.wait_until_watching()?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&still, &moving])?);
        let spell = site.weather.during(Requests::all(), Fault::Refuse(refusal));
        site.weather.cut();
        site.objects.lead(&moving, &[&pods[1]])?;
        // Each of the four watches a few times.
        wait_until("refused requests", RECOVERY, || {
            let errors = |kind| site.errors(kind, word).is_ok_and(|errors| errors >= 3.0);
            spell.struck() >= 16 && KINDS.into_iter().all(errors)
        })?;
        vigil.end()?.assert(&[], &[], &[]);
        site.wait_until_told(false)?;
        site.assert_live();

        let vigil = site.vigil()?;
        drop(spell);
        site.recovered(&moving, &pods[1], Instant::now())?;
        site.wait_until_told(true)?;
        loads.stop_without_errors();
        vigil.end()?.assert(&[], &["moving"], &[]);
        site.keep(pods);
        Ok(())
    })
}

#[test]
fn an_api_server_that_asks_for_a_pause_gets_it() -> Result<()> {
    check(Refusal::too_many_requests(1), "throttled")
}

#[test]
fn an_api_server_that_fails_is_asked_again() -> Result<()> {
    check(Refusal::internal_error(), "server")
}

#[test]
fn an_api_server_that_is_unavailable_is_asked_again() -> Result<()> {
    check(Refusal::unavailable(), "server")
}

#[test]
fn permissions_that_are_taken_away_and_given_back_cost_nothing() -> Result<()> {
    check(Refusal::forbidden(), "forbidden")
}

#[test]
fn lists_that_are_refused_after_a_watch_has_lost_its_place_change_nothing() -> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        let pods = [site.backend("one")?, site.backend("two")?];
        let moving = site.publish("moving", &[&pods[0]])?;
        site.wait_until_watching()?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&moving])?);
        let spells = [SERVICES, SLICES].map(|kind| {
            let gone = Refusal::gone().event();
            let refused = Fault::Refuse(Refusal::unavailable());
            let spell = site.weather.during(lists(kind), refused);
            assert_eq!(site.weather.inject(&watches(kind), &gone), 1);
            spell
        });
        site.objects.lead(&moving, &[&pods[1]])?;
        wait_until("refused lists", RECOVERY, || {
            spells.iter().all(|spell| spell.struck() >= 3)
        })?;
        vigil.end()?.assert(&[], &[], &[]);
        let vigil = site.vigil()?;
        drop(spells);
        site.recovered(&moving, &pods[1], Instant::now())?;
        loads.stop_without_errors();
        vigil.end()?.assert(&[], &["moving"], &[]);
        site.keep(pods);
        Ok(())
    })
}

#[test]
fn a_place_that_is_forgotten_costs_a_list_and_no_write() -> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        let pods = [site.backend("one")?, site.backend("two")?];
        let still = site.publish("still", &[&pods[0]])?;
        let moving = site.publish("moving", &[&pods[0]])?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&still, &moving])?);
        for (kind, resource) in [("Service", SERVICES), ("EndpointSlice", SLICES)] {
            site.make_list_anew(resource)?;
            let metric = format!("lb_source_relists_total{{resource=\"{kind}\"}}");
            assert_eq!(site.agent.metric(&metric)?, 1.0, "{metric}");
            assert_eq!(site.errors(kind, "version")?, 1.0, "{kind}");
        }
        vigil.end()?.assert(&[], &[], &[]);

        // As the status of the answer, too: as long as it is so, each try begins with a list, and tries get rarer.
        let vigil = site.vigil()?;
        let gone = Fault::Refuse(Refusal::gone());
        let spell = site.weather.during(Requests::all().that(Verb::Watch), gone);
        let before = site.weather.count(&lists(SLICES));
        let start = Instant::now();
        site.weather.cut();
        wait_until("refused watches", RECOVERY, || spell.struck() >= 12)?;
        let listed = site.weather.count(&lists(SLICES)) - before;
        println!(
            "{listed} lists in {:?} of watches that are refused",
            start.elapsed()
        );
        assert!((1..=12).contains(&listed), "{listed} lists");
        drop(spell);
        site.move_to(&moving, &pods[1])?;
        loads.stop_without_errors();
        vigil.end()?.assert(&[], &["moving"], &[]);
        site.keep(pods);
        Ok(())
    })
}
