use super::*;

/// A machine on which nothing is missing.
fn good() -> Facts {
    Facts {
        attach: Attach::Auto,
        object_error: None,
        capabilities: Capabilities(u64::MAX),
        bpffs: Bpffs {
            path: "/sys/fs/bpf".into(),
            state: BpffsState::Mounted,
        },
        cgroup: Cgroup::Found("/sys/fs/cgroup".into()),
        memlock: Memlock::Unlimited,
        features: Some(Features {
            needed: vec![
                ("LRU hash maps".into(), Probe::Present),
                ("the helper function bpf_jiffies64".into(), Probe::Present),
            ],
            tcx: true,
        }),
    }
}

/// Holds that the only finding has this severity and says all of this.
fn check(facts: Facts, severity: Severity, says: &[&str]) {
    let findings = evaluate(&facts);
    let [finding] = findings.as_slice() else {
        panic!("expected one finding, got {findings:?}");
    };
    assert_eq!(finding.severity, severity, "{finding}");
    for part in says {
        assert!(
            finding.sentence.contains(part),
            "{finding} should say {part:?}"
        );
    }
    assert!(
        !finding.sentence.contains(". "),
        "{finding} should be one sentence"
    );
}

fn with_bpffs(state: BpffsState) -> Facts {
    let path = "/run/bpf".into();
    Facts {
        bpffs: Bpffs { path, state },
        ..good()
    }
}

fn with_features(change: impl FnOnce(&mut Features)) -> Facts {
    let mut facts = good();
    change(facts.features.as_mut().unwrap());
    facts
}

#[test]
fn a_good_machine_has_no_finding() {
    assert_eq!(evaluate(&good()), []);
    assert!(!is_fatal(&[]));
}

#[test]
fn missing_capabilities_are_all_named() {
    let facts = Facts {
        capabilities: Capabilities(0),
        features: None,
        ..good()
    };
    check(
        facts,
        Severity::Fatal,
        &["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "securityContext"],
    );
}

#[test]
fn sys_admin_takes_the_place_of_the_newer_capabilities() {
    let old = Capabilities(1 << 21 | 1 << 12);
    assert_eq!(old.missing(), Vec::<&str>::new());
    let new = Capabilities(1 << 39 | 1 << 38 | 1 << 12);
    assert_eq!(new.missing(), Vec::<&str>::new());
    assert_eq!(Capabilities(1 << 39 | 1 << 12).missing(), ["CAP_PERFMON"]);
    assert_eq!(Capabilities(1 << 21).missing(), ["CAP_NET_ADMIN"]);
}

#[test]
fn a_missing_bpf_file_system_comes_with_the_command_that_mounts_it() {
    let mount = "`mount -t bpf bpf /run/bpf`";
    check(
        with_bpffs(BpffsState::OtherFileSystem),
        Severity::Fatal,
        &[mount],
    );
    check(
        with_bpffs(BpffsState::Missing),
        Severity::Fatal,
        &["`mkdir -p /run/bpf`", mount],
    );
    check(
        with_bpffs(BpffsState::ReadOnly),
        Severity::Fatal,
        &["read-only", "remount,rw /run/bpf"],
    );
    let unreadable = BpffsState::Unreadable("Permission denied".into());
    check(
        with_bpffs(unreadable),
        Severity::Fatal,
        &["/run/bpf", "Permission denied"],
    );
}

#[test]
fn missing_features_are_all_named() {
    let facts = with_features(|f| {
        f.needed[0].1 = Probe::Missing;
        f.needed[1].1 = Probe::Missing;
    });
    check(
        facts,
        Severity::Fatal,
        &["LRU hash maps", "bpf_jiffies64", "5.10"],
    );
}

#[test]
fn a_kernel_that_does_not_answer_is_told_from_one_that_lacks_something() {
    let facts = with_features(|f| f.needed[1].1 = Probe::Unknown("Operation not permitted".into()));
    check(
        facts,
        Severity::Fatal,
        &["bpf_jiffies64", "Operation not permitted", "user namespace"],
    );
}

#[test]
fn without_tcx_clsact_will_do_unless_tcx_is_demanded() {
    check(
        with_features(|f| f.tcx = false),
        Severity::Degraded,
        &["clsact", "6.6"],
    );
    let mut demanded = with_features(|f| f.tcx = false);
    demanded.attach = Attach::Tcx;
    check(demanded, Severity::Fatal, &["tcx is demanded", "6.6"]);
    let mut clsact = with_features(|f| f.tcx = false);
    clsact.attach = Attach::Clsact;
    assert_eq!(evaluate(&clsact), []);
}

#[test]
fn locked_memory_that_is_limited_comes_with_the_limit() {
    let facts = Facts {
        memlock: Memlock::Limited(65_536),
        ..good()
    };
    check(
        facts,
        Severity::Fatal,
        &["65536", "ulimit -l unlimited", "CAP_SYS_RESOURCE"],
    );
}

#[test]
fn a_missing_cgroup_v2_only_degrades() {
    for (cgroup, remedy) in [
        (Cgroup::Unmounted, "mount -t cgroup2"),
        (
            Cgroup::NotTheRoot("/sys/fs/cgroup".into()),
            "/sys/fs/cgroup shows",
        ),
        (Cgroup::Foreign("/tmp".into()), "/tmp is no cgroup"),
    ] {
        let facts = Facts { cgroup, ..good() };
        let says = ["cgroup v2", remedy, "--socket-lb=off"];
        check(facts, Severity::Degraded, &says);
    }
}

#[test]
fn no_cgroup_is_missed_where_none_is_wanted() {
    let facts = Facts {
        cgroup: Cgroup::Unwanted,
        ..good()
    };
    assert_eq!(evaluate(&facts), []);
}

#[test]
fn a_binary_without_its_object_says_how_to_get_one() {
    let error = "this binary was built without the BPF object: run `cargo xtask build-ebpf` and build again";
    let facts = Facts {
        object_error: Some(error.into()),
        ..good()
    };
    check(facts, Severity::Fatal, &["cargo xtask build-ebpf"]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_the_fatal_first() {
    let facts = Facts {
        capabilities: Capabilities(0),
        cgroup: Cgroup::Unmounted,
        features: None,
        ..with_bpffs(BpffsState::Missing)
    };
    let findings = evaluate(&facts);
    let severities: Vec<_> = findings.iter().map(|f| f.severity).collect();
    assert_eq!(
        severities,
        [Severity::Fatal, Severity::Fatal, Severity::Degraded]
    );
    assert!(is_fatal(&findings));
}
