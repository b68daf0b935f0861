//! The redirect path: decides whether packets between pods go past the host's stack, keeps the pods that they can be handed to
//! and the ways to those of other nodes, and follows what either depends on.
//!
//! What would be bypassed is asked of [`crate::netfilter`], of the rules of policy routing and of the policies of IPsec; which
//! pods there are, of [`crate::devices::pods`] and [`crate::devices::remote`]. A device on which somebody else has a program or a filter is left out alone. Without the agent the
//! redirect path is off, by the kernel's own doing ([`Delivery`]).

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lb_common::redirect::{LocalPod, RedirectState};
use nix::libc;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use crate::causes::with_causes;
use crate::datapath::{Delivery, Links, Uplinks};
use crate::devices::pods::{Neighbourhood, local_pods};
use crate::devices::remote::remote_pods;
use crate::devices::{DeviceState, FollowerStatus, neighbourhood};
use crate::ipsec;
use crate::maps::MapError;
use crate::maps::bpf::{LocalPodMaps, RemotePodMaps, Ways};
use crate::model::{Families, Family};
use crate::netfilter;
use crate::netlink::{Groups, Notifications, Received, Socket, Told};

/// How often everything is looked at though nothing was told: tables of iptables-legacy and programs of others come untold.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Changes that come together are taken together.
const SETTLING: Duration = Duration::from_millis(20);
/// So many of the places that would be bypassed are named.
const NAMED: usize = 5;

/// Chains of filters, which libc does not have.
const RTM_NEWCHAIN: u16 = 100;
const RTM_DELCHAIN: u16 = 101;

/// What the flag says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// On where nothing would be bypassed.
    Auto,
    /// On, whatever is bypassed.
    On,
    /// Off.
    #[default]
    Off,
}

/// How it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Whether it is on, or why not.
    pub state: RedirectState,
    /// Pods that packets can be handed to.
    pub pods: usize,
    /// Prefixes of pods of other nodes to which packets can be sent.
    pub prefixes: usize,
    /// Uplinks on which packets to pods of this node are received.
    pub uplinks: usize,
}

impl Status {
    fn off(state: RedirectState) -> Self {
        Self {
            state,
            pods: 0,
            prefixes: 0,
            uplinks: 0,
        }
    }
}

#[derive(Debug, Error)]
enum Error {
    #[error("cannot {action}")]
    Netlink {
        action: &'static str,
        source: io::Error,
    },
    #[error("cannot write the pods of this node and the ways to others")]
    Maps(#[from] MapError),
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Netlink { action, source }
}

/// What it is made of.
pub struct Parts {
    /// What the flag says.
    pub mode: Mode,
    /// The families that are served.
    pub families: Families,
    /// The switch, or why there is none.
    pub delivery: Result<Delivery, RedirectState>,
    /// The map of pods.
    pub pods: LocalPodMaps,
    /// The map of ways to pods of other nodes.
    pub ways: RemotePodMaps,
    /// The programs on devices.
    pub links: Arc<Links>,
    /// Which devices have them.
    pub attached: watch::Receiver<FollowerStatus>,
}

/// The task.
pub struct Redirector {
    mode: Mode,
    families: Families,
    delivery: Result<Delivery, RedirectState>,
    maps: LocalPodMaps,
    way_maps: RemotePodMaps,
    links: Arc<Links>,
    uplinks: Option<Uplinks>,
    attached: watch::Receiver<FollowerStatus>,
    sources: Option<Sources>,
    known: Neighbourhood,
    /// Devices on which no one else's program runs, and others.
    alone: BTreeMap<u32, bool>,
    written: BTreeMap<IpAddr, LocalPod>,
    written_ways: Ways,
    is_on: bool,
    /// How many uplinks have their program.
    received_on: usize,
    status: watch::Sender<Status>,
    /// What was told last, to tell it once.
    told: Option<(RedirectState, Vec<String>)>,
    look_again: Interval,
}

struct Sources {
    questions: Socket,
    pods: Notifications,
    netfilter: Option<Notifications>,
}

impl Sources {
    fn open() -> io::Result<Self> {
        Ok(Self {
            pods: Notifications::of(Socket::open(Groups::Pods)?)?,
            netfilter: netfilter::follow()?,
            questions: Socket::open(Groups::None)?,
        })
    }
}

/// What has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum News {
    /// Nothing that matters.
    None,
    /// A pod has come or gone, or may have.
    Pods,
    /// A rule has come or gone, or may have.
    Rules,
    /// Anything.
    Anything,
}

impl Redirector {
    /// Turns nothing on yet. Empties the map of pods, in which an earlier agent may have left what is no longer true. Must run
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// If the kernel refuses to empty the map.
    pub fn new(mut parts: Parts) -> Result<Self, MapError> {
        let (mut maps, mut way_maps) = (parts.pods, parts.ways);
        maps.change(&maps.rows()?, &BTreeMap::new())?;
        way_maps.change(&way_maps.rows()?, &Ways::new())?;
        let mut look_again = interval(LOOK_EVERY);
        look_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = match parts.delivery {
            Ok(_) => RedirectState::Unknown,
            Err(state) => state,
        };
        let uplinks = match &mut parts.delivery {
            Ok(delivery) => delivery.take_uplinks(parts.links.mechanism()),
            Err(_) => None,
        };
        Ok(Self {
            mode: parts.mode,
            families: parts.families,
            delivery: parts.delivery,
            maps,
            way_maps,
            uplinks,
            links: parts.links,
            attached: parts.attached,
            sources: None,
            known: Neighbourhood::default(),
            alone: BTreeMap::new(),
            written: BTreeMap::new(),
            written_ways: Ways::new(),
            is_on: false,
            received_on: 0,
            status: watch::Sender::new(Status::off(state)),
            told: None,
            look_again,
        })
    }

    /// Where to read how it stands.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Runs until the future is dropped. Never fails: what can't be told turns it off, and is tried again.
    pub async fn run(mut self) {
        if let Err(state) = &self.delivery {
            info!(state = state.name(), "redirect path");
            return pending().await;
        }
        loop {
            let news = self.next().await;
            if news == News::Pods {
                sleep(SETTLING).await;
            }
            self.act(news);
        }
    }

    /// Waits for something that matters. While it is off, nothing but the passing of time does.
    async fn next(&mut self) -> News {
        let Some(sources) = self.sources.as_mut().filter(|_| self.is_on) else {
            self.look_again.tick().await;
            return News::Anything;
        };
        let (known, alone) = (&self.known, &mut self.alone);
        let mut news = News::None;
        let told = tokio::select! {
            told = sources.pods.next(|message| news = news.or(sort(message, known, alone))) => told,
            told = changes(&mut sources.netfilter) => {
                news = News::Rules;
                told
            }
            _ = self.look_again.tick() => {
                alone.clear();
                return News::Anything;
            }
            // Where the follower has ended the agent ends as well.
            Ok(()) = self.attached.changed() => return News::Pods,
        };
        match told {
            Ok(Told::Messages) => news,
            Ok(Told::Lost) => {
                alone.clear();
                News::Anything
            }
            Err(error) => {
                warn!(%error, "the redirect path can't be followed");
                self.sources = None;
                News::Anything
            }
        }
    }

    fn act(&mut self, news: News) {
        if news == News::None {
            return;
        }
        let (state, why) = match self.look(news) {
            Ok(found) => found,
            Err(error) => {
                self.sources = None;
                (RedirectState::Blind, vec![with_causes(&error)])
            }
        };
        let turned = if state == RedirectState::On {
            self.turn_on()
        } else {
            self.turn_off()
        };
        let (state, why) = match turned {
            Ok(()) => (state, why),
            Err(error) => {
                let why = with_causes(&error);
                if let Err(error) = self.turn_off() {
                    warn!(error = %with_causes(&error), "the redirect path can't be turned off");
                }
                (RedirectState::Blind, vec![why])
            }
        };
        self.tell(state, why);
    }

    /// Whether it may be on, with what would be bypassed; and, where it may, which pods there are.
    fn look(&mut self, news: News) -> Result<(RedirectState, Vec<String>), Error> {
        let sources = match &mut self.sources {
            Some(sources) => sources,
            // What changed while nobody followed is found by what is asked now.
            none => none.insert(Sources::open().map_err(failed("follow pods and rules"))?),
        };
        if !self.is_on {
            // What waits is older than what is asked now.
            let waiting = [Some(&mut sources.pods), sources.netfilter.as_mut()];
            for notifications in waiting.into_iter().flatten() {
                notifications.drain().map_err(failed("follow pods"))?;
            }
        }
        if self.mode == Mode::Auto {
            if news != News::Pods {
                let places = netfilter::places().map_err(failed("list netfilter's rules"))?;
                if !places.is_empty() {
                    return Ok((RedirectState::Netfilter, places));
                }
            }
            let rules = neighbourhood::routing_rules(&sources.questions)
                .map_err(failed("list the rules of policy routing"))?;
            if !rules.is_empty() {
                return Ok((RedirectState::PolicyRouting, rules));
            }
            let policies = ipsec::policies().map_err(failed("list the policies of IPsec"))?;
            if policies > 0 {
                let policies = vec![format!("{policies} policies (ip xfrm policy)")];
                return Ok((RedirectState::Ipsec, policies));
            }
        }
        self.known = neighbourhood::list(&sources.questions)
            .map_err(failed("list routes and neighbours"))?;
        Ok((RedirectState::On, Vec::new()))
    }

    /// Writes the pods first, then turns it on.
    fn turn_on(&mut self) -> Result<(), Error> {
        let eligible = self.eligible();
        let mut desired = local_pods(&self.known, &eligible);
        desired.retain(|address, _| self.families.has(Family::of(address)));
        if desired != self.written {
            debug!(pods = desired.len(), "pods of this node changed");
            let result = self.maps.change(&self.written, &desired);
            // A failed change is somewhere in between.
            self.written = match result {
                Ok(()) => desired,
                Err(_) => self.maps.rows()?,
            };
            result?;
        }
        let uplinks = self.write_ways()?;
        if !self.is_on {
            if let Ok(delivery) = &mut self.delivery {
                delivery.turn_on().map_err(failed("turn it on"))?;
            }
            self.is_on = true;
        }
        let alone = self.mode == Mode::Auto;
        self.received_on = self
            .uplinks
            .as_mut()
            .map_or(0, |it| it.set(&uplinks, alone));
        Ok(())
    }

    /// Writes the ways to pods of other nodes, and returns the uplinks that they lead out of.
    fn write_ways(&mut self) -> Result<BTreeSet<u32>, Error> {
        let of_pods = self.attached.borrow().devices.keys().copied().collect();
        let mut desired = remote_pods(&self.known, &of_pods);
        desired.retain(|prefix, _| self.families.has(Family::of(&prefix.address)));
        if desired != self.written_ways {
            debug!(
                prefixes = desired.len(),
                "ways to pods of other nodes changed"
            );
            let result = self.way_maps.change(&self.written_ways, &desired);
            self.written_ways = match result {
                Ok(()) => desired,
                Err(_) => self.way_maps.rows()?,
            };
            result?;
        }
        let ways = self.written_ways.values().flatten();
        Ok(ways.map(|way| way.ifindex).collect())
    }

    /// Turns it off, and forgets the pods, whom nobody follows then.
    fn turn_off(&mut self) -> Result<(), Error> {
        if let Some(uplinks) = &mut self.uplinks {
            self.received_on = uplinks.set(&BTreeSet::new(), false);
        }
        if let Ok(delivery) = &mut self.delivery {
            delivery.turn_off().map_err(failed("turn it off"))?;
        }
        self.is_on = false;
        self.alone.clear();
        if !self.written.is_empty() {
            self.maps.change(&self.written, &BTreeMap::new())?;
            self.written.clear();
        }
        if !self.written_ways.is_empty() {
            self.way_maps.change(&self.written_ways, &Ways::new())?;
            self.written_ways.clear();
        }
        Ok(())
    }

    /// The devices that have our programs and nobody else's.
    fn eligible(&mut self) -> BTreeSet<u32> {
        let attached: BTreeSet<u32> = self
            .attached
            .borrow_and_update()
            .devices
            .iter()
            .filter(|(_, device)| device.state == DeviceState::Attached)
            .map(|(ifindex, _)| *ifindex)
            .collect();
        self.alone.retain(|ifindex, _| attached.contains(ifindex));
        let is_always = self.mode == Mode::On;
        let is_alone = |ifindex: &u32| {
            is_always || *self.alone.entry(*ifindex).or_insert_with(|| {
                match self.links.is_alone(*ifindex) {
                    Ok(is_alone) => is_alone,
                    Err(error) => {
                        debug!(ifindex, error = %with_causes(&error), "left to the host's stack");
                        false
                    }
                }
            })
        };
        attached.into_iter().filter(is_alone).collect()
    }

    fn tell(&mut self, state: RedirectState, mut why: Vec<String>) {
        let more = why.len().saturating_sub(NAMED);
        why.truncate(NAMED);
        if more > 0 {
            why.push(format!("and {more} more"));
        }
        let told = Some((state, why));
        if self.told != told {
            if let Some((state, why)) = &told {
                info!(mode = ?self.mode, state = state.name(), bypassed = %why.join("; "), "redirect path");
            }
            self.told = told;
        }
        let status = Status {
            state,
            pods: self.written.len(),
            prefixes: self.written_ways.values().flatten().count(),
            uplinks: self.received_on,
        };
        self.status.send_if_modified(|old| {
            let is_new = *old != status;
            *old = status;
            is_new
        });
    }
}

impl News {
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, news) | (news, Self::None) => news,
            (one, other) if one == other => one,
            _ => Self::Anything,
        }
    }
}

/// What a notification means; forgets what it makes doubtful.
fn sort(message: &Received<'_>, known: &Neighbourhood, alone: &mut BTreeMap<u32, bool>) -> News {
    match message.kind {
        libc::RTM_NEWRULE | libc::RTM_DELRULE => News::Rules,
        libc::RTM_NEWQDISC
        | libc::RTM_DELQDISC
        | libc::RTM_NEWTFILTER
        | libc::RTM_DELTFILTER
        | RTM_NEWCHAIN
        | RTM_DELCHAIN => {
            if let Some(ifindex) = message.u32(4) {
                alone.remove(&ifindex);
            }
            News::Pods
        }
        _ if neighbourhood::is_news(message, known) => News::Pods,
        _ => News::None,
    }
}

async fn changes(notifications: &mut Option<Notifications>) -> io::Result<Told> {
    match notifications {
        Some(notifications) => notifications.next(|_| {}).await,
        None => pending().await,
    }
}
