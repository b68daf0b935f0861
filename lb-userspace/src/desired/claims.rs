//! Who gets a frontend that several service ports ask for: the older Service, and of two of one age the lesser name.
//!
//! It decides by what is asked for, not by what there is room for, so the winner does not depend on the order of events.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::hashed::HashMap;
use crate::maps::FrontendAt;
use crate::model::{ObjectName, ServicePortName};
use crate::resolve::ResolvedPort;

/// Claims of all service ports on frontends.
#[derive(Default, Debug)]
pub struct Claims {
    /// Of each frontend in order, the first of which wins.
    by_frontend: HashMap<FrontendAt, Vec<Claim>>,
}

/// One claim; the least of all on one frontend wins.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Claim {
    created: i64,
    port: ServicePortName,
}

impl Claims {
    /// Replaces the claims of a Service, which are those that follow from its `before`. Returns the other Services whose standing on
    /// some frontend has changed.
    pub fn replace(
        &mut self,
        service: &ObjectName,
        before: &[ResolvedPort],
        ports: &[ResolvedPort],
    ) -> BTreeSet<ObjectName> {
        if before.iter().map(asked).eq(ports.iter().map(asked)) {
            return BTreeSet::new();
        }
        let new: Vec<(FrontendAt, Claim)> = ports.iter().flat_map(claims_of).collect();
        let old: Vec<(FrontendAt, Claim)> = before.iter().flat_map(claims_of).collect();
        let at: BTreeSet<FrontendAt> = old.iter().chain(&new).map(|(at, _)| *at).collect();
        let winners: Vec<Option<Claim>> = at.iter().map(|at| self.first(at).cloned()).collect();

        for (at, claim) in &old {
            if let Some(claims) = self.by_frontend.get_mut(at) {
                claims.retain(|it| it != claim);
                if claims.is_empty() {
                    self.by_frontend.remove(at);
                }
            }
        }
        for (at, claim) in &new {
            let claims = self.by_frontend.entry(*at).or_default();
            if let Err(index) = claims.binary_search(claim) {
                // Nearly always it is the only one.
                claims.reserve_exact(1);
                claims.insert(index, claim.clone());
            }
        }
        let changed = at
            .iter()
            .zip(&winners)
            .filter(|(at, winner)| self.first(at) != winner.as_ref());
        changed
            .flat_map(|(at, winner)| self.by_frontend.get(at).into_iter().flatten().chain(winner))
            .map(|claim| claim.port.service.clone())
            .filter(|other| other != service)
            .collect()
    }

    /// The service port that a frontend belongs to.
    pub fn winner(&self, at: &FrontendAt) -> Option<&ServicePortName> {
        self.first(at).map(|claim| &claim.port)
    }

    fn first(&self, at: &FrontendAt) -> Option<&Claim> {
        self.by_frontend.get(at).and_then(|claims| claims.first())
    }
}

/// What the claims of a port follow from: endpoints come and go without a change of these.
fn asked(port: &ResolvedPort) -> (&ServicePortName, i64, &[SocketAddr]) {
    (&port.name, port.created, &port.frontends)
}

fn claims_of(port: &ResolvedPort) -> impl Iterator<Item = (FrontendAt, Claim)> + '_ {
    let claim = Claim {
        created: port.created,
        port: port.name.clone(),
    };
    let at = |at: &SocketAddr| FrontendAt::new(*at, port.name.protocol);
    port.frontends
        .iter()
        .map(move |socket| (at(socket), claim.clone()))
}
