//! Name, meaning, labels and buckets of each metric. Every series whose labels are known beforehand is there from the start,
//! as zero.

use std::sync::Mutex;

use lb_common::reason::Reason;
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, exponential_buckets, linear_buckets,
};

use super::{FAMILIES, Metrics, Scraped, SyncMetrics};

const FAMILY: &str = "ip_family";
const RESOURCE: &str = "resource";

/// Makes metrics and enters them in a registry.
#[derive(Default)]
pub(super) struct Definitions {
    registry: Registry,
}

/// All metrics.
pub(super) fn metrics(define: &Definitions) -> Metrics {
    let build = define.int_gauges(
        "lb_build_info",
        "1, with the version of the agent.",
        &["version"],
    );
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    let probes = |name, path| {
        let text = format!("Answers to probes of {path}, by status.");
        let counters = define.int_counters(name, &text, &["code"]);
        for code in ["200", "503"] {
            counters.with_label_values(&[code]);
        }
        counters
    };
    let events = define.int_counters(
        "lb_events_total",
        "Events for the API, by what became of them.",
        &["outcome"],
    );
    for outcome in ["sent", "failed", "dropped"] {
        events.with_label_values(&[outcome]);
    }
    Metrics {
        registry: define.registry.clone(),
        sync: sync(define),
        healthz: probes("kubeproxy_proxy_healthz_total", "/healthz"),
        livez: probes("kubeproxy_proxy_livez_total", "/livez"),
        problems: define.int_gauge(
            "lb_reconciler_problems",
            "What keeps Services from being served as they were asked for, at present.",
        ),
        events,
        scraped: Mutex::new(scraped(define)),
    }
}

fn sync(define: &Definitions) -> SyncMetrics {
    let duration = define.histograms(
        "kubeproxy_sync_proxy_rules_duration_seconds",
        "How long a pass over what differs took. One pass writes both families.",
        exponential_buckets(0.001, 2.0, 15),
    );
    let programming = define.histograms(
        "kubeproxy_network_programming_duration_seconds",
        "From the cause of a change of endpoints, by the control plane's word, to its being written.",
        programming_buckets(),
    );
    let last = define.gauges(
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
        "When everything that was told of was last written, in seconds of Unix time.",
        &[FAMILY],
    );
    let last_queued = define.gauges(
        "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
        "When something to write last came, in seconds of Unix time.",
        &[FAMILY],
    );
    let no_local = define.int_gauges(
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
        "Service ports that want endpoints of this node alone and have none, though there are some elsewhere.",
        &["traffic_policy", FAMILY],
    );
    for (_, family) in FAMILIES {
        duration.with_label_values(&[family]);
        programming.with_label_values(&[family]);
        last.with_label_values(&[family]);
        last_queued.with_label_values(&[family]);
        no_local.with_label_values(&["internal", family]);
    }
    SyncMetrics {
        duration,
        last,
        last_queued,
        programming,
        slices_pending: define.int_gauge(
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
            "Changes of EndpointSlices that are not written yet.",
        ),
        slices_total: define.int_counter(
            "kubeproxy_sync_proxy_rules_endpoint_changes_total",
            "Changes of EndpointSlices.",
        ),
        services_pending: define.int_gauge(
            "kubeproxy_sync_proxy_rules_service_changes_pending",
            "Changes of Services that are not written yet.",
        ),
        services_total: define.int_counter(
            "kubeproxy_sync_proxy_rules_service_changes_total",
            "Changes of Services.",
        ),
        no_local,
        writes: define.int_counter(
            "lb_reconciler_writes_total",
            "Entries of maps that were written or deleted.",
        ),
    }
}

fn scraped(define: &Definitions) -> Scraped {
    let decisions = define.int_counters(
        "lb_dataplane_decisions_total",
        "What became of packets, and of the sockets of the node's own processes, by reason.",
        &["reason"],
    );
    for reason in Reason::ALL {
        decisions.with_label_values(&[reason.name()]);
    }
    Scraped {
        decisions,
        entries: define.int_gauges("lb_map_entries", "Entries in use.", &["map"]),
        max_entries: define.int_gauges(
            "lb_map_max_entries",
            "Entries that there is room for.",
            &["map"],
        ),
        displaced: define.int_gauges(
            "lb_map_displaced_entries",
            "Entries that had to go for others since the maps were made, at least.",
            &["map"],
        ),
        devices: define.int_gauges(
            "lb_devices",
            "Workload devices, by whether they have their programs.",
            &["state"],
        ),
        redirect: define.int_gauges(
            "lb_redirect_state",
            "1 for what became of the redirect path, 0 for the other states.",
            &["state"],
        ),
        local_pods: define.int_gauge(
            "lb_local_pods",
            "Addresses of pods of this node that packets are handed to past the host's stack.",
        ),
        remote_prefixes: define.int_gauge(
            "lb_remote_pod_prefixes",
            "Prefixes of pods of other nodes to which packets are sent past the host's stack.",
        ),
        uplinks: define.int_gauge(
            "lb_redirect_uplinks",
            "Uplinks whose packets are handed to pods past the host's stack.",
        ),
        connected: define.int_gauges(
            "lb_source_connected",
            "1 while changes of the resource are followed, else 0: what was seen last stays in force.",
            &[RESOURCE],
        ),
        since: define.gauges(
            "lb_source_state_timestamp_seconds",
            "Since when lb_source_connected is what it is, in seconds of Unix time.",
            &[RESOURCE],
        ),
        relists: define.int_counters(
            "lb_source_relists_total",
            "Complete lists after the first one.",
            &[RESOURCE],
        ),
        errors: define.int_counters(
            "lb_source_errors_total",
            "Lists and watches that failed.",
            &[RESOURCE, "kind"],
        ),
        rejected: define.int_gauges(
            "lb_source_rejected_objects",
            "Objects that can't be read at present.",
            &[RESOURCE],
        ),
        broken: false,
    }
}

/// kube-proxy's: fine up to a minute, coarse up to five.
fn programming_buckets() -> prometheus::Result<Vec<f64>> {
    let mut buckets = vec![0.25, 0.5];
    buckets.extend(linear_buckets(1.0, 1.0, 59)?);
    buckets.extend(linear_buckets(60.0, 5.0, 12)?);
    buckets.extend(linear_buckets(120.0, 30.0, 7)?);
    Ok(buckets)
}

impl Definitions {
    fn int_gauge(&self, name: &str, help: &str) -> IntGauge {
        self.enter(IntGauge::new(name, help))
    }

    fn int_counter(&self, name: &str, help: &str) -> IntCounter {
        self.enter(IntCounter::new(name, help))
    }

    fn int_gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.enter(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn int_counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.enter(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.enter(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: prometheus::Result<Vec<f64>>,
    ) -> HistogramVec {
        let options = buckets.map(|buckets| HistogramOpts::new(name, help).buckets(buckets));
        self.enter(options.and_then(|options| HistogramVec::new(options, &[FAMILY])))
    }

    fn enter<M: Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> M {
        let metric = metric.expect("names and labels are constants that a test has tried");
        self.registry
            .register(Box::new(metric.clone()))
            .expect("no name occurs twice, as a test has tried");
        metric
    }
}
