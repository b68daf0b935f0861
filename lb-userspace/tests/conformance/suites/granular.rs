//! The list "Granular Checks: Services" of `networking.go`: everybody reaches a Service of both protocols, and all of its
//! pods. The same checks on the secondary VIP are in `dual_stack`.

pub mod checks;

use crate::suite::Port::{ClusterIp, Outside, Whole};
use crate::suite::{Suite, test};
use crate::traffic::{Http, Sctp, Udp};
use checks::Family::Primary;

pub const SCTP: &str =
    "the pods speak it by raw packets, so that the kernel need not: here it has no SCTP";
const NODE_PORTS: &str = "about node ports, which are not served";

pub fn suite() -> Suite {
    Suite {
        title: "Networking Granular Checks: Services",
        file: "networking.go",
        tests: vec![
            test(
                "should function for pod-Service: http",
                ClusterIp(|case| checks::from_pod(case, Primary, Http)),
            ),
            test(
                "should function for pod-Service: udp",
                ClusterIp(|case| checks::from_pod(case, Primary, Udp)),
            ),
            test(
                "should function for pod-Service: sctp",
                Whole(|case| checks::from_pod(case, Primary, Sctp)),
            )
            .remark(SCTP),
            test(
                "should function for node-Service: http",
                ClusterIp(|case| checks::from_node(case, Primary, Http)),
            ),
            test(
                "should function for node-Service: udp",
                ClusterIp(|case| checks::from_node(case, Primary, Udp)),
            ),
            test(
                "should function for node-Service: sctp",
                Outside("skipped by upstream itself"),
            ),
            test(
                "should function for endpoint-Service: http",
                ClusterIp(|case| checks::from_endpoints(case, Primary, Http)),
            ),
            test(
                "should function for endpoint-Service: udp",
                ClusterIp(|case| checks::from_endpoints(case, Primary, Udp)),
            ),
            test(
                "should function for endpoint-Service: sctp",
                Whole(|case| checks::from_endpoints(case, Primary, Sctp)),
            )
            .remark(SCTP),
            test(
                "should function for multiple endpoint-Services with same selector",
                ClusterIp(|case| checks::same_selector(case, Primary)),
            ),
            test(
                "should update endpoints: http",
                Whole(|case| checks::updated(case, Primary, Http)),
            ),
            test(
                "should update endpoints: udp",
                Whole(|case| checks::updated(case, Primary, Udp)),
            ),
            test("should update nodePort: http [Slow]", Outside(NODE_PORTS)),
            test(
                "should support basic nodePort: udp functionality",
                Outside(NODE_PORTS),
            ),
            test("should update nodePort: udp [Slow]", Outside(NODE_PORTS)),
            test(
                "should function for client IP based session affinity: http [LinuxOnly]",
                Whole(|case| checks::affinity(case, Primary, Http)),
            ),
            test(
                "should function for client IP based session affinity: udp [LinuxOnly]",
                Whole(|case| checks::affinity(case, Primary, Udp)),
            ),
            test(
                "should be able to handle large requests: http",
                Whole(|case| checks::large_http(case, Primary)),
            ),
            test(
                "should be able to handle large requests: udp",
                Whole(|case| checks::large_udp(case, Primary)),
            )
            .remark("a datagram of 2000 octets, which is sent in fragments, and so is its answer"),
            test(
                "should function for service endpoints using hostNetwork",
                ClusterIp(|case| checks::host_network(case, Primary)),
            ),
        ],
    }
}
