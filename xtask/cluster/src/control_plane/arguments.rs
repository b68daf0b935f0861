//! The command lines of the control plane's programs. All of them listen on the loopback device of a namespace that is
//! theirs alone, so ports are the usual ones.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;

use super::Options;
use super::files::Files;

pub(super) const API_SERVER: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 6443));
pub(super) const ETCD: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2379));
const ETCD_PEER: &str = "http://127.0.0.1:2380";

/// Nodes here have no kubelet that renews leases, and are nobody's to evict from; nothing has volumes, certificates of
/// nodes, quotas or a cloud. Fewer controllers start faster.
const CONTROLLERS: [&str; 20] = [
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "endpointslice-mirroring-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "replicationcontroller-controller",
    "root-ca-certificate-publisher-controller",
    "service-cidr-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
    "ttl-after-finished-controller",
];

pub(super) fn etcd(directory: &Path) -> Vec<String> {
    vec![
        "--name=etcd".into(),
        format!("--data-dir={}", directory.display()),
        format!("--listen-client-urls=http://{ETCD}"),
        format!("--advertise-client-urls=http://{ETCD}"),
        format!("--listen-peer-urls={ETCD_PEER}"),
        format!("--initial-advertise-peer-urls={ETCD_PEER}"),
        format!("--initial-cluster=etcd={ETCD_PEER}"),
        // What a power cut would lose is of no worth here.
        "--unsafe-no-fsync".into(),
        format!("--quota-backend-bytes={}", 8_u64 << 30),
        "--log-level=warn".into(),
    ]
}

pub(super) fn api_server(files: &Files, options: &Options) -> Vec<String> {
    let mut arguments = vec![
        format!("--etcd-servers=http://{ETCD}"),
        format!("--bind-address={}", API_SERVER.ip()),
        format!("--secure-port={}", API_SERVER.port()),
        // The namespace has no default route to take an address from.
        format!("--advertise-address={}", options.advertise_address),
        format!(
            "--service-cluster-ip-range={},{}",
            lab::VIPS_V4,
            lab::VIPS_V6
        ),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        format!("--authentication-config={}", files.authentication()),
        format!("--client-ca-file={}", files.authority()),
        format!("--tls-cert-file={}", files.server_certificate()),
        format!("--tls-private-key-file={}", files.server_key()),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!(
            "--service-account-signing-key-file={}",
            files.service_account_key()
        ),
        format!(
            "--service-account-key-file={}",
            files.service_account_public_key()
        ),
        "--allow-privileged=true".into(),
        // Without it an API server that is asked to end waits a minute for watches, which do not end by themselves.
        "--shutdown-watch-termination-grace-period=5s".into(),
        "--profiling=false".into(),
    ];
    if !options.audited.is_empty() {
        arguments.extend([
            format!("--audit-policy-file={}", files.audit_policy()),
            format!("--audit-log-path={}", files.audit_log()),
            // What was answered has been noted.
            "--audit-log-mode=blocking".into(),
        ]);
    }
    arguments
}

pub(super) fn controller_manager(files: &Files) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", files.controller_manager()),
        "--bind-address=127.0.0.1".into(),
        "--leader-elect=false".into(),
        format!("--controllers={}", CONTROLLERS.join(",")),
        "--use-service-account-credentials=true".into(),
        format!(
            "--service-account-private-key-file={}",
            files.service_account_key()
        ),
        format!("--root-ca-file={}", files.authority()),
        // The usual 20 requests a second are for production.
        "--kube-api-qps=2000".into(),
        "--kube-api-burst=4000".into(),
        "--concurrent-service-endpoint-syncs=10".into(),
        "--profiling=false".into(),
    ]
}

pub(super) fn scheduler(files: &Files) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", files.scheduler()),
        "--bind-address=127.0.0.1".into(),
        "--leader-elect=false".into(),
        "--kube-api-qps=2000".into(),
        "--kube-api-burst=4000".into(),
        "--profiling=false".into(),
    ]
}
