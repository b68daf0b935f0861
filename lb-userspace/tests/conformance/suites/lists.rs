//! Lists of which nothing is run here, with the reason for each.

use crate::suite::Port::Outside;
use crate::suite::{Suite, Test, conformance, test};

const BALANCERS: &str = "about load balancers, which are not served";

pub fn kube_proxy() -> Suite {
    Suite {
        title: "KubeProxy",
        file: "kube_proxy.go",
        tests: vec![
            test(
                "should set TCP CLOSE_WAIT timeout [Privileged]",
                Outside("about the kernel's own conntrack, which is not used"),
            ),
            test(
                "should update metric for tracking accepted packets destined for localhost nodeports [Feature:KubeProxyNFAcct]",
                Outside("about iptables, of which the agent makes no rule"),
            ),
        ],
    }
}

pub fn host_port() -> Suite {
    Suite {
        title: "HostPort",
        file: "hostport.go",
        tests: vec![conformance(
            "validates that there is no conflict between pods with same hostPort but different hostIP and protocol [LinuxOnly]",
            Outside("about host ports, which are the CNI plugin's"),
        )],
    }
}

pub fn proxy() -> Suite {
    let own = "about the API server's own proxy, which goes to pods directly";
    Suite {
        title: "Proxy version v1",
        file: "proxy.go",
        tests: vec![
            test(
                "should proxy logs on node with explicit kubelet port using proxy subresource",
                Outside(own),
            ),
            test(
                "should proxy logs on node using proxy subresource",
                Outside(own),
            ),
            conformance("should proxy through a service and a pod", Outside(own)),
            conformance(
                "A set of valid responses are returned for both pod and service ProxyWithPath",
                Outside(own),
            ),
            conformance(
                "A set of valid responses are returned for both pod and service Proxy",
                Outside(own),
            ),
        ],
    }
}

pub fn load_balancers() -> Suite {
    let names = [
        "should be able to change the type and ports of a TCP service [Slow]",
        "should be able to change the type and ports of a UDP service [Slow]",
        "should only allow access from service loadbalancer source ranges [Slow]",
        "should have session affinity work for LoadBalancer service with Local traffic policy [Slow] [LinuxOnly]",
        "should be able to switch session affinity for LoadBalancer service with Local traffic policy [Slow] [LinuxOnly]",
        "should have session affinity work for LoadBalancer service with Cluster traffic policy [Slow] [LinuxOnly]",
        "should be able to switch session affinity for LoadBalancer service with Cluster traffic policy [Slow] [LinuxOnly]",
        "should handle load balancer cleanup finalizer for service [Slow]",
        "should be able to create LoadBalancer Service without NodePort and change it [Slow]",
        "should be able to preserve UDP traffic when server pod cycles for a LoadBalancer service on different nodes",
        "should be able to preserve UDP traffic when server pod cycles for a LoadBalancer service on the same nodes",
        "should not have connectivity disruption during rolling update with externalTrafficPolicy=Cluster [Slow]",
        "should not have connectivity disruption during rolling update with externalTrafficPolicy=Local [Slow]",
    ];
    Suite {
        title: "LoadBalancers [Feature:LoadBalancer]",
        file: "loadbalancer.go",
        tests: names.map(balancer).into(),
    }
}

pub fn load_balancers_local() -> Suite {
    let names = [
        "should work for type=LoadBalancer",
        "should only target nodes with endpoints",
        "should target all nodes with endpoints",
        "should work from pods",
    ];
    Suite {
        title: "LoadBalancers ExternalTrafficPolicy: Local [Feature:LoadBalancer] [Slow]",
        file: "loadbalancer.go",
        tests: names.map(balancer).into(),
    }
}

fn balancer(name: &'static str) -> Test {
    test(name, Outside(BALANCERS))
}
