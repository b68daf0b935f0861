//! The list of `service.go`. Bodies are in the files below, by what they change.

mod affinity;
mod endpoints;
mod labels;
mod ports;
mod refusal;
mod restarts;
mod terminating;
mod traffic_policy;
mod types;
mod updown;

use crate::suite::Port::{ClusterIp, Outside, Whole};
use crate::suite::{Suite, conformance, test};

const NODE_PORTS: &str = "about node ports, which are not served";
const API: &str = "about the API server alone";

pub fn suite() -> Suite {
    Suite {
        title: "Services",
        file: "service.go",
        tests: vec![
            conformance(
                "should serve a basic endpoint from pods",
                Whole(endpoints::basic),
            ),
            conformance(
                "should serve multiport endpoints from pods",
                Whole(ports::multiport),
            ),
            test(
                "should be updated after adding or deleting ports",
                Whole(ports::edited),
            ),
            test(
                "should preserve source pod IP for traffic thru service cluster IP [LinuxOnly]",
                Whole(endpoints::source_address),
            ),
            test(
                "should allow pods to hairpin back to themselves through services",
                Whole(endpoints::hairpin),
            ),
            test(
                "should be able to up and down services",
                Whole(updown::up_and_down),
            ),
            test(
                "should work after the service has been recreated",
                Whole(updown::recreated),
            ),
            test(
                "should work after restarting kube-proxy [Disruptive]",
                Whole(restarts::proxy),
            )
            .remark("the agents are restarted")
            .alone(),
            test(
                "should work after restarting apiserver [Disruptive]",
                Whole(restarts::api_server),
            )
            .alone(),
            conformance(
                "should be able to create a functioning NodePort service",
                ClusterIp(types::node_port),
            )
            .remark("reached at its VIP"),
            test(
                "should be possible to connect to a service via ExternalIP when the external IP is not assigned to a node",
                Outside("about external IPs, which are not served"),
            ),
            test(
                "should be able to update service type to NodePort listening on same port number but different protocols",
                ClusterIp(types::node_port_of_both_protocols),
            )
            .remark("both protocols are reached at the VIP"),
            conformance(
                "should be able to change the type from ExternalName to ClusterIP",
                Whole(types::external_name_to_cluster_ip),
            ),
            conformance(
                "should be able to change the type from ExternalName to NodePort",
                ClusterIp(types::external_name_to_node_port),
            )
            .remark("reached at its VIP"),
            conformance(
                "should be able to change the type from ClusterIP to ExternalName",
                Whole(types::cluster_ip_to_external_name),
            )
            .remark("the VIP that it had is no longer answered; the look-up of a name is DNS's"),
            conformance(
                "should be able to change the type from NodePort to ExternalName",
                ClusterIp(types::node_port_to_external_name),
            )
            .remark("the VIP that it had is no longer answered; the look-up of a name is DNS's"),
            test("should prevent NodePort collisions", Outside(API)),
            test("should check NodePort out-of-range", Outside(API)),
            test("should release NodePorts on delete", Outside(NODE_PORTS)),
            test(
                "should create endpoints for unready pods",
                Whole(endpoints::unready),
            ),
            test(
                "should be able to connect to terminating and unready endpoints if PublishNotReadyAddresses is true",
                ClusterIp(terminating::published),
            )
            .remark("reached at its VIP"),
            test(
                "should not be able to connect to terminating and unready endpoints if PublishNotReadyAddresses is false",
                ClusterIp(terminating::not_published),
            )
            .remark("refused at its VIP"),
            conformance(
                "should have session affinity work for service with type clusterIP [LinuxOnly]",
                Whole(affinity::works),
            ),
            test(
                "should have session affinity timeout work for service with type clusterIP [LinuxOnly]",
                Whole(affinity::times_out),
            )
            .remark("a time-out of 2 s instead of 125 s"),
            conformance(
                "should be able to switch session affinity for service with type clusterIP [LinuxOnly]",
                Whole(affinity::switches),
            ),
            conformance(
                "should have session affinity work for NodePort service [LinuxOnly]",
                Outside(NODE_PORTS),
            ),
            test(
                "should have session affinity timeout work for NodePort service [LinuxOnly]",
                Outside(NODE_PORTS),
            ),
            conformance(
                "should be able to switch session affinity for NodePort service [LinuxOnly]",
                Outside(NODE_PORTS),
            ),
            test(
                "should implement service.kubernetes.io/service-proxy-name",
                Whole(labels::service_proxy_name),
            ),
            test(
                "should implement service.kubernetes.io/headless",
                Whole(labels::headless),
            ),
            test(
                "should be rejected when no endpoints exist",
                Whole(refusal::no_endpoints),
            ),
            test(
                "should be rejected for evicted pods (no endpoints exist)",
                Whole(refusal::evicted),
            )
            .remark("the pod is declared evicted, since no kubelet measures disks here"),
            test(
                "should respect internalTrafficPolicy=Local Pod to Pod",
                Whole(traffic_policy::pod_to_pod),
            ),
            test(
                "should respect internalTrafficPolicy=Local Pod (hostNetwork: true) to Pod",
                Whole(traffic_policy::host_to_pod),
            ),
            test(
                "should respect internalTrafficPolicy=Local Pod and Node, to Pod (hostNetwork: true)",
                Whole(traffic_policy::all_to_host),
            ),
            test(
                "should support externalTrafficPolicy=Local for type=NodePort",
                Outside(NODE_PORTS),
            ),
            test(
                "should fail health check node port if there are only terminating endpoints",
                Outside("about health check node ports, which only load balancers ask"),
            ),
            test(
                "should fallback to terminating endpoints when there are no ready endpoints with internalTrafficPolicy=Cluster",
                Whole(terminating::fallback),
            ),
            test(
                "should fallback to local terminating endpoints when there are no ready endpoints with internalTrafficPolicy=Local",
                Whole(terminating::local_fallback),
            ),
            test(
                "should fallback to terminating endpoints when there are no ready endpoints with externallTrafficPolicy=Cluster",
                Outside(NODE_PORTS),
            ),
            test(
                "should fallback to local terminating endpoints when there are no ready endpoints with externalTrafficPolicy=Local",
                Outside(NODE_PORTS),
            ),
            conformance(
                "should find a service from listing all namespaces",
                Outside(API),
            ),
            conformance("should complete a service status lifecycle", Outside(API)),
            conformance("should delete a collection of services", Outside(API)),
            conformance(
                "should serve endpoints on same port and different protocols",
                Whole(ports::both_protocols),
            ),
            test(
                "should serve endpoints on same port and different protocol for internal traffic on Type LoadBalancer",
                Whole(ports::both_protocols_of_a_load_balancer),
            ),
            test(
                "should allow creating a basic SCTP service with pod and endpoints [LinuxOnly]",
                Whole(ports::sctp),
            ),
            test(
                "should implement NodePort and HealthCheckNodePort correctly when ExternalTrafficPolicy changes",
                Outside(NODE_PORTS),
            ),
            test(
                "should connect to the ports exposed by restartable init containers",
                Whole(ports::of_sidecars),
            ),
            test(
                "should connect to the named ports exposed by restartable init containers",
                Whole(ports::named_of_sidecars),
            ),
            test(
                "should support named targetPorts that resolve to different ports on different endpoints",
                Whole(ports::named_differently),
            ),
        ],
    }
}
