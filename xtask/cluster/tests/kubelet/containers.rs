//! What a container finds itself in: its capabilities, files and variables.

use anyhow::Result;

use super::site::Site;

const SHELL: &str = "image: busybox, command: [sh, -c]";

#[tokio::test]
async fn a_container_has_exactly_the_capabilities_that_it_is_given() -> Result<()> {
    let site = Site::new("capabilities").await?;
    let only = "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_ADMIN]}}";
    let script = "args: ['grep -E ^Cap /proc/self/status; grep NoNew /proc/self/status; \
                  echo 0 > /proc/sys/net/ipv4/ip_forward; ip link set lo mtu 1400 && echo changed']";
    let policy = "restartPolicy: Never";
    site.run_with("one", &format!("{SHELL}, {script}, {only}"), policy)?;
    site.wait_until_over("one").await?;
    let log = site.logs("one")?;
    let lines: Vec<&str> = log.split_whitespace().collect();
    let net_admin = "0000000000001000";
    let none = "0000000000000000";
    // No runtime leaves inheritable or ambient ones.
    let expected = [
        "CapInh:",
        none,
        "CapPrm:",
        net_admin,
        "CapEff:",
        net_admin,
        "CapBnd:",
        net_admin,
        "CapAmb:",
        none,
        "NoNewPrivs:",
        "1",
    ];
    assert_eq!(lines[..12], expected, "{log}");
    assert!(
        log.contains("Read-only file system") && log.ends_with("changed\n"),
        "{log}"
    );

    let usual = "args: ['grep CapEff /proc/self/status; ip link set lo mtu 1400 || echo refused']";
    site.run_with("usual", &format!("{SHELL}, {usual}"), policy)?;
    site.wait_until_over("usual").await?;
    let log = site.logs("usual")?;
    assert!(
        log.contains("00000000a80425fb") && log.ends_with("refused\n"),
        "{log}"
    );
    Ok(())
}

#[tokio::test]
async fn a_container_finds_its_volumes_and_variables() -> Result<()> {
    let site = Site::new("volumes").await?;
    site.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {colour: blue, size: '7'}}")?;
    let script = "args: ['cat /run/settings/paint; cd /var/run/secrets/kubernetes.io/serviceaccount; cat namespace; echo; \
                  head -1 ca.crt; cut -c1-2 token; touch x || echo read-only; echo own > /mnt/own; cat /mnt/own; \
                  echo $MACHINE $HOST_IP $POD_IPS $SIZE $(COMBINED); stat -f -c %T /sys/fs/bpf; ls /sys/fs/bpf | wc -l; \
                  echo $KUBERNETES_SERVICE_HOST $KUBECONFIG']";
    let mounts = "volumeMounts: [{name: settings, mountPath: /run/settings}, {name: scratch, mountPath: /mnt}, \
                  {name: bpf, mountPath: /sys/fs/bpf}]";
    let field = |path: &str| format!("valueFrom: {{fieldRef: {{fieldPath: {path}}}}}");
    let variables = format!(
        "env: [{{name: MACHINE, {}}}, {{name: HOST_IP, {}}}, {{name: POD_IPS, {}}}, \
         {{name: SIZE, valueFrom: {{configMapKeyRef: {{name: settings, key: size}}}}}}, \
         {{name: COMBINED, value: \"$(SIZE)-$(MACHINE)\"}}]",
        field("spec.nodeName"),
        field("status.hostIP"),
        field("status.podIPs"),
    );
    let spec = "restartPolicy: Never, volumes: [{name: settings, configMap: {name: settings, items: [{key: colour, path: paint}]}}, \
                {name: scratch, emptyDir: {}}, {name: bpf, hostPath: {path: /sys/fs/bpf, type: Directory}}]";
    site.run_with(
        "all",
        &format!("{SHELL}, {script}, {mounts}, {variables}"),
        spec,
    )?;
    site.wait_until_over("all").await?;
    let log = site.logs("all")?;
    let lines: Vec<&str> = log.lines().collect();
    let status = site.pods().get("all").await?.status.unwrap_or_default();
    let ips: Vec<String> = status
        .pod_ips
        .into_iter()
        .flatten()
        .map(|ip| ip.ip)
        .collect();
    let node = &site.lab.node(1).ipv4;
    let facts = format!("{} {node} {} 7 7-{}", site.node, ips.join(","), site.node);
    let expected = [
        // A key without a newline at its end.
        &format!("blue{}", site.namespace),
        "-----BEGIN CERTIFICATE-----",
        "ey",
    ];
    assert_eq!(lines[..3], expected, "{log}");
    assert!(lines[3].contains("Read-only file system"), "{log}");
    let rest = ["read-only", "own", &facts, "bpf_fs", "0", "10.96.0.1"];
    assert_eq!(lines[4..], rest, "{log}");
    assert!(!std::path::Path::new("/mnt/own").exists());
    Ok(())
}

#[tokio::test]
async fn a_read_only_container_writes_to_its_volumes_alone() -> Result<()> {
    let site = Site::new("read-only").await?;
    let script = "args: ['for file in /etc/x /run/x /tmp/x /mnt/x; do echo > $file && echo wrote $file; done']";
    let confined = "securityContext: {readOnlyRootFilesystem: true}, \
                    volumeMounts: [{name: scratch, mountPath: /mnt}]";
    let spec = "restartPolicy: Never, volumes: [{name: scratch, emptyDir: {}}]";
    site.run_with("one", &format!("{SHELL}, {script}, {confined}"), spec)?;
    site.wait_until_over("one").await?;
    let log = site.logs("one")?;
    let wrote: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("wrote"))
        .collect();
    assert_eq!(wrote, ["wrote /mnt/x"], "{log}");
    Ok(())
}

#[tokio::test]
async fn pods_are_in_the_control_group_of_their_node() -> Result<()> {
    let (site, _cgroup) = Site::with_cgroup("groups").await?;
    let script =
        "args: ['grep 0::/ /proc/self/cgroup; ls /run/group/cgroup.threads; ls -A /sys/fs/cgroup']";
    let mounts = "volumeMounts: [{name: group, mountPath: /run/group, mountPropagation: HostToContainer, readOnly: true}]";
    let spec = "restartPolicy: Never, volumes: [{name: group, hostPath: {path: /sys/fs/cgroup, type: Directory}}]";
    for (pod, network) in [("own", ""), ("host", ", hostNetwork: true")] {
        site.run_with(
            pod,
            &format!("{SHELL}, {script}, {mounts}"),
            &format!("{spec}{network}"),
        )?;
        site.wait_until_over(pod).await?;
        let log = site.logs(pod)?;
        let lines: Vec<&str> = log.lines().collect();
        assert!(lines[0].ends_with("/groups"), "{log}");
        assert_eq!(lines[1..], ["/run/group/cgroup.threads"], "{log}");
    }
    Ok(())
}

#[tokio::test]
async fn an_image_that_nothing_stands_for_is_told_in_the_status() -> Result<()> {
    let site = Site::new("images").await?;
    site.run("none", "image: 'redis:7'")?;
    let told = |status: &k8s_openapi::api::core::v1::PodStatus| {
        let containers = status.container_statuses.as_deref().unwrap_or_default();
        let waiting = containers
            .first()
            .and_then(|container| container.state.as_ref()?.waiting.as_ref());
        waiting.is_some_and(|waiting| {
            let message = waiting.message.as_deref().unwrap_or_default();
            waiting.reason.as_deref() == Some("ErrImageNeverPull") && message.contains("redis:7")
        })
    };
    site.wait_for_status("none", "a reason", told).await?;
    Ok(())
}
