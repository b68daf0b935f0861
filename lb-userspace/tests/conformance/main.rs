//! Kubernetes' own end-to-end tests of Services, by their names: on a real control plane, with the real agent on every
//! node and real connections. A complete run writes `docs/conformance.md`.
//!
//! What upstream's tests assert is asserted anew here; none of their code is. What is about node ports, load balancers or
//! the API server alone is listed and not run.

mod case;
mod cluster;
mod report;
mod suite;
mod suites;
mod traffic;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use case::Case;
use cluster::Cluster;
use report::Report;
use suite::{Body, Port};

lab::sandbox!();

/// More than there are processors: tests mostly wait for the control plane.
const TESTS_AT_ONCE: usize = 6;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(TESTS_AT_ONCE));
    let report = Report::new();
    let mut together = Vec::new();
    let mut alone = Vec::new();
    for suite in suites::all() {
        for test in &suite.tests {
            let name = test.full_name(&suite);
            let trial = match test.port {
                Port::Whole(body) | Port::ClusterIp(body) => runs(name, body, &report),
                Port::Outside(_) => continue,
            };
            let list = if test.alone {
                &mut alone
            } else {
                &mut together
            };
            list.push(trial);
        }
    }
    // Those that disturb others come last, one after the other.
    let mut failed = libtest_mimic::run(&arguments, together).has_failed();
    arguments.test_threads = Some(1);
    failed |= libtest_mimic::run(&arguments, alone).has_failed();
    if failed {
        println!("{}", cluster::logs());
    }
    if !arguments.list {
        match report.conclude(failed) {
            Ok(summary) => println!("{summary}"),
            Err(error) => {
                println!("{error:#}");
                failed = true;
            }
        }
    }
    if failed {
        ExitCode::from(101)
    } else {
        ExitCode::SUCCESS
    }
}

fn runs(name: String, body: Body, report: &Report) -> Trial {
    let report = report.clone();
    Trial::test(name.clone(), move || {
        let cluster = Cluster::shared().map_err(failed)?;
        let case = Case::begin(cluster).map_err(failed)?;
        let outcome = body(&case).and_then(|()| case.assert_no_checksum_errors());
        case.end();
        outcome.map_err(failed)?;
        report.passed(&name);
        Ok(())
    })
}

fn failed(error: anyhow::Error) -> Failed {
    format!("{error:#}").into()
}
