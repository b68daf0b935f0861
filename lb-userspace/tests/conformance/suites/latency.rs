//! The list of `service_latency.go`, and its body: how long it takes until a new Service is of use.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::case::Case;
use crate::suite::Port::Whole;
use crate::suite::{Suite, conformance};
use crate::traffic::Http;

/// As many as upstream wants at least.
const TRIALS: usize = 100;
const AT_ONCE: usize = 15;
const MEDIAN: Duration = Duration::from_secs(20);
const TAIL: Duration = Duration::from_secs(50);

pub fn suite() -> Suite {
    Suite {
        title: "Service endpoints latency",
        file: "service_latency.go",
        tests: vec![
            conformance("should not be very high", Whole(not_very_high)).remark(
                "100 Services instead of 200, and until the VIP is answered, not only until there are endpoints",
            ),
        ],
    }
}

fn not_very_high(case: &Case<'_>) -> Result<()> {
    let server = case.pod("server").of("server").serving(8080).ready()?;
    let client = case.client()?;
    let mut under_way = VecDeque::new();
    let mut took = Vec::new();
    for trial in 0..TRIALS + AT_ONCE {
        if trial < TRIALS {
            let start = Instant::now();
            let service = case.service(
                &format!("latency-{trial}"),
                json!({
                    "selector": { "app": "server" },
                    "ports": [{ "port": 80, "targetPort": 8080 }],
                }),
            )?;
            under_way.push_back((start, service));
        }
        if trial >= AT_ONCE {
            let Some((start, service)) = under_way.pop_front() else {
                break;
            };
            client.reaches(Http, &service.at(80), &[&server])?;
            took.push(start.elapsed());
        }
    }
    took.sort();
    let at = |percent: usize| took[took.len() * percent / 100];
    ensure!(took.len() == TRIALS, "only {} trials", took.len());
    ensure!(
        at(50) < MEDIAN && at(99) < TAIL,
        "{:?}, {:?}",
        at(50),
        at(99)
    );
    Ok(())
}
