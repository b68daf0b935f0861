//! What runs in a guest: the `lb` binary and test programs, as the other levels build them, and which of their tests.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context, Result, bail};

use super::Release;
use crate::{step::step, workspace};

/// Where a test needs what not every kernel has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Links at devices (Linux 6.6).
    Tcx,
    /// The size of a packet against a device's (Linux 5.12), for the redirect path.
    CheckMtu,
    /// The cookie of a network namespace that is not the machine's first (Linux 5.14): a lab's nodes are such.
    Cookie,
}

use Needs::{CheckMtu, Cookie, Nothing, Tcx};

impl Needs {
    fn are_met_by(self, release: Release) -> bool {
        match self {
            Nothing => true,
            CheckMtu | Cookie => release > Release::V5_10,
            Tcx => release > Release::V6_1,
        }
    }
}

/// The tests of one program, by their full names.
struct Selection {
    program: &'static str,
    tests: &'static [(&'static str, Needs)],
}

/// Few, since loading the programs once takes seconds in a guest: each is here for something that kernels differ in.
const SELECTIONS: [Selection; 3] = [
    // The verifier, map types, pinning, both ways to attach, the cgroup hooks.
    Selection {
        program: "datapath",
        tests: &[
            ("preflight::this_machine_can_run_the_agent", Nothing),
            ("loading::programs_load_and_every_map_is_pinned", Nothing),
            (
                "loading::the_verifier_follows_the_search_of_the_table_of_flows",
                Nothing,
            ),
            (
                "pinning::flows_move_to_a_conntrack_map_of_another_size",
                Nothing,
            ),
            ("linking::a_second_copy_of_our_filter_is_removed", Nothing),
            (
                "linking::changing_the_mechanism_leaves_each_program_once",
                Tcx,
            ),
            (
                "sockets::every_hook_gets_its_program_once_and_keeps_it_without_an_agent",
                Cookie,
            ),
        ],
    },
    // What the helpers do to a packet.
    Selection {
        program: "packets",
        tests: &[
            (
                "chains::a_connection_opens_carries_data_and_ends::v4",
                Nothing,
            ),
            (
                "chains::a_connection_opens_carries_data_and_ends::v6",
                Nothing,
            ),
            (
                "related::errors_are_translated_in_both_directions_and_make_no_flow_s32::v6",
                Nothing,
            ),
        ],
    },
    // Both families there and back, of pods and of the node; agents that come and go.
    Selection {
        program: "traffic",
        tests: &[
            (
                "arrivals::a_pod_that_comes_while_the_agent_runs_is_served::bridged",
                Nothing,
            ),
            (
                "streams::datagrams_go_through_the_vip_and_back::routed",
                Nothing,
            ),
            (
                "errors::path_mtu_discovery_works_through_a_vip_s32::routed",
                Nothing,
            ),
            (
                "refusal::a_service_without_endpoints_refuses_at_once::bridged",
                Nothing,
            ),
            (
                "host_clients::connections_of_the_node_reach_every_backend",
                Cookie,
            ),
            (
                "host_clients::datagrams::an_unconnected_socket_gets_its_answers_from_the_vip",
                Cookie,
            ),
            (
                "host_clients::datagrams::a_connected_socket_is_ended_with_its_backend_and_no_other",
                Cookie,
            ),
            (
                "host_clients::lifetime::the_node_is_served_without_an_agent_and_by_the_next_one_until_cleanup",
                Cookie,
            ),
            (
                "host_clients::pods::where_all_sockets_are_served_a_pods_packets_need_no_translation",
                Cookie,
            ),
            (
                "restart::an_agent_that_is_asked_to_end_leaves_the_data_plane",
                Nothing,
            ),
            (
                "redirect::requests_and_answers_go_past_the_stack::routed",
                CheckMtu,
            ),
            (
                "redirect::every_kernel_serves_pods_and_says_whether_it_can_do_it",
                Nothing,
            ),
            (
                "commands::cleanup_takes_away_filters_and_everything_else",
                Nothing,
            ),
            (
                "commands::cleanup_takes_away_links_and_everything_else",
                Tcx,
            ),
        ],
    },
];

/// Programs as cargo built them.
pub(super) struct TestPrograms {
    /// `lb`, at the path that the tests look for it.
    pub lb: PathBuf,
    /// Those with tests, by name.
    pub tests: Vec<(&'static str, PathBuf)>,
}

/// Builds them, with the flags of the other levels, so that they are built once.
///
/// # Errors
/// If they don't compile.
pub(super) fn build() -> Result<TestPrograms> {
    let output = step("build the programs that run in the guests", || {
        let mut cargo = workspace::cargo();
        cargo.args([
            "test",
            "--workspace",
            "--no-run",
            "--message-format=json-render-diagnostics",
        ]);
        for selection in &SELECTIONS {
            cargo.args(["--test", selection.program]);
        }
        let output = cargo
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start cargo")?;
        if !output.status.success() {
            bail!("the test programs do not compile");
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    })?;
    let built = |name: &str| {
        executable(&output, name).with_context(|| format!("cargo built no program {name}"))
    };
    let tests = SELECTIONS
        .iter()
        .map(|selection| Ok((selection.program, built(selection.program)?)));
    Ok(TestPrograms {
        lb: built("lb")?,
        tests: tests.collect::<Result<_>>()?,
    })
}

/// What the guest's shell is to run, one line for each program.
pub(super) fn commands(release: Release) -> String {
    let mut script = String::new();
    for selection in &SELECTIONS {
        let tests: Vec<&str> = selection
            .tests
            .iter()
            .filter(|(_, needs)| needs.are_met_by(release))
            .map(|(name, _)| *name)
            .collect();
        script += &format!(
            "try {} {} {}\n",
            tests.len(),
            selection.program,
            tests.join(" ")
        );
    }
    script
}

/// How many tests run in a guest.
pub(super) fn number(release: Release) -> u32 {
    let tests = SELECTIONS.iter().flat_map(|selection| selection.tests);
    tests.filter(|(_, needs)| needs.are_met_by(release)).count() as u32
}

/// The path of the program that cargo's messages tell for a target.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut paths = messages.filter_map(|message| {
        let kind = message["target"]["kind"][0].as_str()?;
        let wanted = message["target"]["name"] == name && matches!(kind, "bin" | "test");
        // A binary is built twice: once to be run, once for its own unit tests.
        let for_tests = message["profile"]["test"].as_bool()?;
        (wanted && for_tests == (kind == "test"))
            .then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    paths.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_tcx_is_not_asked_for_it() {
        assert!(number(Release::V5_10) < number(Release::Newest));
        assert!(!commands(Release::V5_10).contains("changing_the_mechanism"));
        assert!(commands(Release::Newest).contains("changing_the_mechanism"));
    }

    #[test]
    fn the_program_to_run_is_told_from_the_one_with_its_unit_tests() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"lb"},"profile":{"test":true},"executable":"/t/deps/lb-1"}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"lb"},"profile":{"test":false},"executable":"/t/lb"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"traffic"},"profile":{"test":true},"executable":"/t/deps/traffic-1"}
not json"#;
        assert_eq!(executable(messages, "lb"), Some("/t/lb".into()));
        assert_eq!(
            executable(messages, "traffic"),
            Some("/t/deps/traffic-1".into())
        );
        assert_eq!(executable(messages, "packets"), None);
    }
}
