//! What the figures should be, and what they are.

use super::mode::{Asks, Place, Plane, Workload};
use super::results::{Ratio, Results, Row};

/// A ratio with what it should be.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    /// The goal's number.
    pub id: &'static str,
    pub plane: Plane,
    pub asks: Asks,
    pub over: Over,
    pub place: Place,
    pub workload: Workload,
    /// The least that may ship.
    pub gate: f64,
    pub goal: Option<f64>,
}

/// What a figure with the most Services is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// That of no load balancer.
    Direct,
    /// The data plane's own with the fewest Services.
    Fewest,
}

const LOCAL: Place = Place::Local;
const REMOTE: Place = Place::Remote;
const RR: Workload = Workload::TcpRr;
const CRR: Workload = Workload::TcpCrr;
const UDP: Workload = Workload::UdpRr;

/// All of them, in the order of their numbers.
pub fn all() -> Vec<Goal> {
    let mut goals = vec![
        vip("P1", Plane::Stack, LOCAL, RR, 1.04, 1.02),
        vip("P1", Plane::Stack, LOCAL, CRR, 1.07, 1.04),
        vip("P2", Plane::Redirect, LOCAL, RR, 0.95, 0.88),
        vip("P2", Plane::Redirect, LOCAL, CRR, 0.96, 0.88),
        vip("P2", Plane::Redirect, LOCAL, UDP, 0.95, 0.90),
        vip("P3", Plane::Redirect, LOCAL, Workload::Stream, 1.05, 1.20),
        vip("P4", Plane::Redirect, REMOTE, RR, 0.94, 0.87),
        vip("P4", Plane::Redirect, REMOTE, CRR, 0.95, 0.85),
        vip("P4", Plane::Redirect, REMOTE, UDP, 0.95, 0.88),
        vip("P4", Plane::Redirect, REMOTE, Workload::Stream, 1.05, 1.18),
    ];
    for plane in [Plane::Stack, Plane::Redirect] {
        for place in Place::ALL {
            for workload in [RR, CRR] {
                goals.push(Goal {
                    over: Over::Fewest,
                    ..vip("P5", plane, place, workload, 1.03, 1.01)
                });
            }
        }
    }
    for (plane, goal) in [(Plane::Stack, None), (Plane::Redirect, Some(0.92))] {
        for place in Place::ALL {
            for workload in [RR, CRR] {
                goals.push(Goal {
                    asks: Asks::Pod,
                    goal,
                    ..vip("P6", plane, place, workload, 1.01, 1.0)
                });
            }
        }
    }
    goals
}

fn vip(
    id: &'static str,
    plane: Plane,
    place: Place,
    workload: Workload,
    gate: f64,
    goal: f64,
) -> Goal {
    Goal {
        id,
        plane,
        asks: Asks::Vip,
        over: Over::Direct,
        place,
        workload,
        gate,
        goal: Some(goal),
    }
}

impl Goal {
    /// In words.
    pub fn what(&self) -> String {
        let over = match self.over {
            Over::Direct => "direct",
            Over::Fewest => "with the fewest Services",
        };
        let asks = match self.asks {
            Asks::Vip => "",
            Asks::Pod => ", for no Service",
        };
        let Goal {
            plane,
            place,
            workload,
            ..
        } = self;
        format!(
            "{}{asks}: {} {} ÷ {over}",
            plane.name(),
            place.name(),
            workload.name()
        )
    }

    /// What it came to.
    pub fn figure(&self, results: &Results) -> Option<Ratio> {
        self.of(results, self.plane)
    }

    /// What another data plane's came to.
    pub fn of(&self, results: &Results, plane: Plane) -> Option<Ratio> {
        let extreme = |most| -> Option<&Row> {
            results.extreme(plane, self.asks, most, self.place, self.workload)
        };
        let most = extreme(true)?;
        match self.over {
            Over::Direct => most.over(results.direct(self.place, self.workload)?),
            Over::Fewest => {
                let fewest = extreme(false)?;
                (fewest.mode != most.mode).then(|| most.over(fewest))?
            }
        }
    }

    /// Whether more is better.
    pub fn is_rate(&self) -> bool {
        self.workload == Workload::Stream
    }

    /// As it stands in the table.
    pub fn verdict(&self, value: f64) -> &'static str {
        let is_met = |limit: f64| {
            if self.is_rate() {
                value >= limit
            } else {
                value <= limit
            }
        };
        if self.goal.is_some_and(is_met) {
            "goal"
        } else if is_met(self.gate) {
            "gate"
        } else {
            "**no**"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_stream_more_is_better() {
        let stream = vip("P3", Plane::Redirect, LOCAL, Workload::Stream, 1.05, 1.20);
        let verdicts = [1.0, 1.1, 1.3].map(|value| stream.verdict(value));
        assert_eq!(verdicts, ["**no**", "gate", "goal"]);
        let time = vip("P2", Plane::Redirect, LOCAL, RR, 0.95, 0.88);
        let verdicts = [1.0, 0.9, 0.8].map(|value| time.verdict(value));
        assert_eq!(verdicts, ["**no**", "gate", "goal"]);
    }
}
