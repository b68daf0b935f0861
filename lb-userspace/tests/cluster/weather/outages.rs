//! An API server that can't be reached while the cluster changes, and an agent that starts meanwhile. Of a world that has
//! changed exactly the changes are made, and nothing else is touched at any time.

use std::time::{Duration, Instant};

use anyhow::Result;
use cluster::ControlPlane;
use cluster::weather::{Edit, Fault};
use lab::client::http_get;
use lab::wait_until;

use super::{KINDS, SERVICES, lists};
use crate::site::{PATIENCE, RECOVERY, Service, Site};

/// Long enough for the pauses between two tries to reach half a minute or nearly so.
const OUTAGE: Duration = Duration::from_secs(20);

/// How long a connection may be silent before it is given up.
const SILENCE: Duration = Duration::from_secs(45);

/// Three Services for a world that changes.
struct World {
    pods: [lab::Pod; 2],
    still: Service,
    moving: Service,
    going: Service,
}

impl World {
    fn make(site: &mut Site) -> Result<Self> {
        let pods = [site.backend("one")?, site.backend("two")?];
        Ok(Self {
            still: site.publish("still", &[&pods[0]])?,
            moving: site.publish("moving", &[&pods[0]])?,
            going: site.publish("going", &[&pods[0]])?,
            pods,
        })
    }

    /// Changes all that is to change. Nobody tells the agent.
    fn change(&self, site: &Site) -> Result<()> {
        site.objects.lead(&self.moving, &[&self.pods[1]])?;
        site.objects.remove(&self.going)?;
        let coming = site.objects.put_service("coming")?;
        site.objects.lead(&coming, &[&self.pods[1]])
    }

    /// Waits until the agent has followed.
    fn wait_until_changed(&self, site: &Site, better: Instant) -> Result<()> {
        site.recovered(&self.moving, &self.pods[1], better)?;
        site.wait_until_withdrawn(&self.going, RECOVERY)?;
        let coming = site.objects.put_service("coming")?;
        site.wait_until_serves(&coming, &[&self.pods[1]], RECOVERY)?;
        for vip in coming.at() {
            assert_eq!(http_get(&site.client.netns, vip)?.pod, "two");
        }
        Ok(())
    }
}

#[test]
fn what_changes_while_the_api_server_is_gone_is_made_up_for_exactly() -> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        let world = World::make(site)?;
        site.wait_until_watching()?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&world.still, &world.moving])?);
        let gone = Instant::now();
        site.weather.refuse();
        world.change(site)?;
        site.agent.wait_for_log(&["cannot be watched"])?;
        let since = site.wait_until_told(false)?;
        while gone.elapsed() < OUTAGE {
            loads.wait_for_more(100)?;
        }
        let still = site.wait_until_told(false)?;
        assert!(
            since
                .iter()
                .zip(still)
                .all(|(since, still)| (since - still).abs() < 1.0),
            "down since {since:?}, then since {still:?}"
        );
        for kind in KINDS {
            assert!(site.errors(kind, "connection")? >= 3.0, "{kind}");
        }
        site.assert_live();
        vigil.end()?.assert(&[], &[], &[]);

        let vigil = site.vigil()?;
        site.weather.admit()?;
        world.wait_until_changed(site, Instant::now())?;
        loads.stop_without_errors();
        vigil.end()?.assert(&["going"], &["moving"], &["coming"]);
        assert!(site.agent.is_alive());
        site.keep(world.pods);
        Ok(())
    })
}

/// As when its machine dies, or a firewall forgets: no connection is closed, and nothing comes any more.
#[test]
fn an_api_server_that_falls_silent_is_noticed_and_taken_up_again() -> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        let world = World::make(site)?;
        site.wait_until_watching()?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&world.still, &world.moving])?);
        site.reach_weather(false)?;
        let silent = Instant::now();
        world.change(site)?;
        wait_until("the silence to be noticed", SILENCE, || {
            site.agent.log().contains("cannot be watched")
        })?;
        println!("noticed after {:.1} s", silent.elapsed().as_secs_f64());
        site.assert_live();
        loads.wait_for_more(100)?;
        vigil.end()?.assert(&[], &[], &[]);

        let vigil = site.vigil()?;
        site.reach_weather(true)?;
        world.wait_until_changed(site, Instant::now())?;
        site.wait_until_told(true)?;
        loads.stop_without_errors();
        vigil.end()?.assert(&["going"], &["moving"], &["coming"]);
        site.keep(world.pods);
        Ok(())
    })
}

#[test]
fn s_72_an_agent_that_starts_without_an_api_server_deletes_nothing_and_serves_new_pods()
-> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        let world = World::make(site)?;
        let (vigil, loads) = (site.vigil()?, site.load(&[&world.still, &world.moving])?);
        site.weather.refuse();
        site.agent.kill()?;
        world.change(site)?;
        site.agent.start()?;
        site.agent.wait_for_log(&["cannot be watched"])?;
        site.wait_until_told(false)?;
        site.assert_live();
        let late = site.backend("late")?;
        site.agent.wait_until_attached(&late)?;
        for service in [&world.still, &world.moving, &world.going] {
            for vip in service.at() {
                assert_eq!(http_get(&late.netns, vip)?.pod, "one", "{vip}");
            }
        }
        loads.wait_for_more(100)?;
        vigil.end()?.assert(&[], &[], &[]);

        let vigil = site.vigil()?;
        site.weather.admit()?;
        world.wait_until_changed(site, Instant::now())?;
        loads.stop_without_errors();
        vigil.end()?.assert(&["going"], &["moving"], &["coming"]);
        site.keep(world.pods);
        site.keep([late]);
        Ok(())
    })
}

/// As kube-proxy does: who is told by the API server that there is no Service has none. Only a complete list counts.
#[test]
fn an_empty_list_is_believed_and_so_is_the_next_one() -> Result<()> {
    Site::test(ControlPlane::shared()?, |site| {
        let pod = site.backend("one")?;
        let web = site.publish("web", &[&pod])?;
        let spell = site
            .weather
            .during(lists(SERVICES), Fault::Edit(Edit::empty_lists()));
        site.make_list_anew(SERVICES)?;
        site.wait_until_withdrawn(&web, PATIENCE)?;
        assert!(site.agent.is_alive());
        drop(spell);
        site.make_list_anew(SERVICES)?;
        site.wait_until_serves(&web, &[&pod], PATIENCE)?;
        for vip in web.at() {
            assert_eq!(http_get(&site.client.netns, vip)?.pod, "one");
        }
        site.keep([pod]);
        Ok(())
    })
}
