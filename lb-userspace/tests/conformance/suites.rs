//! Every test of Services that Kubernetes v1.36 has, by upstream's files.

mod api_server;
mod conntrack;
mod dual_stack;
mod endpoint_slices;
mod endpoints;
mod granular;
mod latency;
mod lists;
mod mirroring;
mod networking;
mod pod_lifecycle;
mod service_cidrs;
mod services;
mod topology;
mod traffic_distribution;

use crate::suite::Suite;

/// All suites, the ones that are most about Services first.
pub fn all() -> Vec<Suite> {
    vec![
        services::suite(),
        endpoint_slices::suite(),
        mirroring::suite(),
        endpoints::suite(),
        endpoints::controller(),
        conntrack::suite(),
        granular::suite(),
        networking::suite(),
        networking::no_snat(),
        dual_stack::suite(),
        traffic_distribution::suite(),
        topology::suite(),
        pod_lifecycle::suite(),
        latency::suite(),
        service_cidrs::suite(),
        service_cidrs::api(),
        api_server::suite(),
        lists::kube_proxy(),
        lists::host_port(),
        lists::proxy(),
        lists::load_balancers(),
        lists::load_balancers_local(),
    ]
}
