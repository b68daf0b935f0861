//! The servers asked over loopback, as kubelet and Prometheus ask them.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpStream};
use std::time::Instant;

use jiff::Timestamp;
use lb_common::redirect::RedirectState;
use tokio::sync::watch;

use super::*;
use crate::devices::{DeviceState, DeviceStatus, FollowerStatus};
use crate::model::Family;
use crate::redirect;
use crate::source::Observed;
use crate::source::observed::{NodeState, Trigger};

const LOOPBACK: &str = "127.0.0.1:0";
const PATIENCE: Duration = Duration::from_secs(20);

struct Agent {
    observed: Arc<Observed>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    healthz: SocketAddr,
    scrape: SocketAddr,
    _http: Http,
}

fn pages(observed: &Arc<Observed>) -> Pages {
    let device = |name: &str, state| DeviceStatus {
        name: name.into(),
        state,
    };
    let devices = FollowerStatus {
        devices: [
            (2, device("veth2", DeviceState::Attached)),
            (3, device("veth3", DeviceState::Pending)),
        ]
        .into(),
        is_complete: false,
    };
    Pages {
        health: Arc::new(Health::new(observed.clone())),
        metrics: Arc::default(),
        data_plane: Arc::new(DataPlane::new(
            None,
            watch::channel(devices).1,
            watch::channel(redirect::Status {
                state: RedirectState::On,
                pods: 2,
                prefixes: 3,
                uplinks: 1,
            })
            .1,
            observed.clone(),
        )),
    }
}

fn agent() -> Agent {
    let listen = |site| {
        let address = LOOPBACK.parse().expect("an address");
        Server::listen(site, address, true, &Events::nowhere()).expect("a free port")
    };
    let servers = vec![listen(Site::Healthz), listen(Site::Metrics)];
    let address = |at: usize| servers[at].local_address().expect("it listens");
    let (healthz, scrape) = (address(0), address(1));
    let observed = Arc::new(Observed::default());
    let pages = pages(&observed);
    Agent {
        observed,
        health: pages.health.clone(),
        metrics: pages.metrics.clone(),
        healthz,
        scrape,
        _http: start(servers, pages).expect("a thread"),
    }
}

/// The status, the head in small letters, and the body.
fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let code = head.split(' ').nth(1).expect("a status");
    (
        code.parse().expect("a number"),
        head.to_lowercase(),
        body.to_owned(),
    )
}

#[test]
fn s_61_and_s_62_each_path_is_answered_where_it_belongs_and_nowhere_else() {
    let agent = agent();
    let check = |address, path: &str, code: u16, content_type: &str, start: &str| {
        let (found, head, body) = get(address, path);
        assert_eq!(found, code, "{path}: {body}");
        let line = format!("content-type: {content_type}");
        assert!(head.contains(&line), "{path}: {head}");
        assert!(
            head.contains("x-content-type-options: nosniff"),
            "{path}: {head}"
        );
        assert!(body.starts_with(start), "{path}: {body}");
    };
    let json = "application/json\r\n";
    check(agent.healthz, "/livez", 200, json, "{\"lastUpdated\":\"");
    check(
        agent.healthz,
        "/healthz?a=b",
        200,
        json,
        "{\"lastUpdated\":\"",
    );
    let written = "{\"lastUpdated\":\"0001";
    check(agent.healthz, "/livez?written", 503, json, written);
    agent.health.updated(Timestamp::now());
    check(
        agent.healthz,
        "/livez?written",
        200,
        json,
        "{\"lastUpdated\":\"2",
    );
    check(agent.scrape, "/proxyMode", 200, "text/plain", "ebpf");
    check(agent.scrape, "/healthz", 200, "text/plain", "ok");
    check(
        agent.scrape,
        "/metrics",
        200,
        "text/plain; version=0.0.4",
        "# HELP",
    );
    for (address, path) in [
        (agent.healthz, "/metrics"),
        (agent.healthz, "/proxyMode"),
        (agent.healthz, "/"),
        (agent.scrape, "/livez"),
        (agent.scrape, "/metrics/x"),
    ] {
        check(address, path, 404, "text/plain", "404");
    }
}

#[test]
fn s_61_the_status_follows_the_writes_and_the_node_and_is_counted() {
    let agent = agent();
    let codes = || ["/livez", "/healthz"].map(|path| get(agent.healthz, path).0);
    assert_eq!(get(agent.healthz, "/livez?written").0, 503, "not counted");
    assert_eq!(codes(), [200, 200]);
    agent.observed.set_node(NodeState::Tainted);
    assert_eq!(codes(), [200, 503]);
    let long_ago = Instant::now().checked_sub(health::PATIENCE);
    agent
        .health
        .queued(long_ago.expect("the machine is up for a minute"));
    assert_eq!(codes(), [503, 503]);
    agent.observed.set_node(NodeState::Eligible);
    agent.health.updated(Timestamp::now());
    assert_eq!(codes(), [200, 200]);

    let (_, _, metrics) = get(agent.scrape, "/metrics");
    for line in [
        r#"kubeproxy_proxy_livez_total{code="200"} 3"#,
        r#"kubeproxy_proxy_livez_total{code="503"} 1"#,
        r#"kubeproxy_proxy_healthz_total{code="200"} 2"#,
        r#"kubeproxy_proxy_healthz_total{code="503"} 2"#,
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} in\n{metrics}"
        );
    }
}

#[test]
fn the_metrics_tell_what_was_told_and_written_and_how_the_watches_stand() {
    let agent = agent();
    let metrics = &agent.metrics;
    metrics.service_changed();
    metrics.slice_changed();
    metrics.slice_changed();
    let at = |second| Timestamp::from_second(second).expect("a time");
    metrics.queued(at(100));
    let lines = || -> Vec<String> {
        let (_, _, text) = get(agent.scrape, "/metrics");
        text.lines().map(str::to_owned).collect()
    };
    let check = |expected: &[&str]| {
        let lines = lines();
        for line in expected {
            assert!(
                lines.iter().any(|found| found == line),
                "{line} in {lines:#?}"
            );
        }
    };
    check(&[
        "kubeproxy_sync_proxy_rules_service_changes_pending 1",
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending 2",
        r#"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family="IPv6"} 100"#,
        r#"kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 0"#,
        r#"kubeproxy_network_programming_duration_seconds_count{ip_family="IPv6"} 0"#,
        r#"lb_devices{state="attached"} 1"#,
        r#"lb_devices{state="pending"} 1"#,
        r#"lb_redirect_state{state="on"} 1"#,
        r#"lb_redirect_state{state="netfilter"} 0"#,
        "lb_local_pods 2",
        "lb_remote_pod_prefixes 3",
        "lb_redirect_uplinks 1",
        r#"lb_dataplane_decisions_total{reason="forward"} 0"#,
    ]);
    metrics.wrote(Duration::from_millis(3), 7);
    metrics.set_no_local([0, 2]);
    metrics.set_problems(4);
    let cause = Trigger {
        family: Family::V6,
        at: at(99),
    };
    metrics.up_to_date(at(102), &[cause]);
    agent.observed.expect("Service");
    agent.observed.failed("Service", "throttled");
    agent.observed.listed("Service", true, 1);
    check(&[
        "kubeproxy_sync_proxy_rules_service_changes_pending 0",
        "kubeproxy_sync_proxy_rules_service_changes_total 1",
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total 2",
        r#"kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 102"#,
        r#"kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.002"} 0"#,
        r#"kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.004"} 1"#,
        r#"kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv6",le="2"} 0"#,
        r#"kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv6",le="3"} 1"#,
        r#"kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv6",le="300"} 1"#,
        "# TYPE kubeproxy_sync_proxy_rules_no_local_endpoints_total gauge",
        r#"kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv6",traffic_policy="internal"} 2"#,
        "lb_reconciler_problems 4",
        "lb_reconciler_writes_total 7",
        r#"lb_source_connected{resource="Service"} 0"#,
        r#"lb_source_errors_total{kind="throttled",resource="Service"} 1"#,
        r#"lb_source_relists_total{resource="Service"} 1"#,
        r#"lb_source_rejected_objects{resource="Service"} 1"#,
    ]);
    let again = lines();
    let counted: Vec<_> = again
        .iter()
        .filter(|line| line.starts_with("lb_source_relists_total{"))
        .collect();
    assert_eq!(
        counted,
        [r#"lb_source_relists_total{resource="Service"} 1"#],
        "a second scrape counts nothing twice"
    );
}

#[test]
fn s_62_every_metric_is_in_the_documentation_and_no_other() {
    let agent = agent();
    let (_, _, text) = get(agent.scrape, "/metrics");
    let served: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let document = include_str!("../../../docs/metrics.md");
    let documented: Vec<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
        .filter(|name| !name.starts_with('/'))
        .collect();
    for name in &served {
        assert!(
            documented.contains(name),
            "{name} is not in docs/metrics.md"
        );
    }
    // Without maps there is no fill, without watches nothing of theirs, and an empty family is not shown.
    let conditional = ["lb_map_", "lb_source_"];
    for name in documented {
        let may_miss = conditional.iter().any(|prefix| name.starts_with(prefix));
        assert!(may_miss || served.contains(&name), "{name} is not served");
    }
}

#[test]
fn all_addresses_are_those_of_both_families() {
    let listener = bind("0.0.0.0:0".parse().expect("an address")).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    TcpStream::connect(("127.0.0.1", port)).expect("over IPv4");
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("over IPv6");
    } else {
        let address = listener.local_addr().expect("an address");
        assert!(address.is_ipv4(), "the kernel has no IPv6, yet {address}");
    }
}

/// Whoever can reach the port can hold connections; kubelet must be answered all the same.
#[test]
fn connections_that_say_nothing_keep_no_probe_out() {
    let agent = agent();
    let idle: Vec<TcpStream> = (0..2 * CONNECTIONS)
        .map(|_| TcpStream::connect(agent.healthz).expect("a connection"))
        .collect();
    let start = Instant::now();
    assert_eq!(get(agent.healthz, "/livez").0, 200);
    assert!(start.elapsed() < HEAD_PATIENCE / 2, "{:?}", start.elapsed());
    drop(idle);
}

#[test]
fn s_64_a_port_in_use_is_tried_again_or_is_an_error_with_the_remedy_if_it_must_be_had() {
    let occupant = TcpListener::bind(LOOPBACK).expect("a free port");
    let address = occupant.local_addr().expect("an address");
    let listen = |must| Server::listen(Site::Healthz, address, must, &Events::nowhere());
    let error = listen(true).expect_err("it is in use").to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("--healthz-bind-address"),
        "{error}"
    );
    let server = listen(false).expect("it is tried again");
    assert_eq!(server.local_address(), None);
    let observed = Arc::new(Observed::default());
    let _http = start(vec![server], pages(&observed)).expect("a thread");
    drop(occupant);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "it never listens");
        thread::yield_now();
    }
    assert_eq!(get(address, "/livez").0, 200);
}
