//! The Service `kubernetes`, whose VIP the agent serves and does not use.

use anyhow::{Context, Result};

use super::cluster::test;

/// As a program in a pod does that nobody has told anything.
const SCRIPT: &str = "cd /var/run/secrets/kubernetes.io/serviceaccount; \
    curl -sS --max-time 10 --cacert ca.crt -H \"Authorization: Bearer $(cat token)\" \
    https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/version";

#[test]
fn a_pod_reaches_the_api_server_through_the_vip_that_the_agent_itself_does_not_need() -> Result<()>
{
    test("api", |cluster, namespace| {
        for node in &cluster.nodes {
            let list = node.lb(&["service", "list"])?;
            let line = list
                .lines()
                .find(|line| line.contains("default/kubernetes"));
            let line = line.with_context(|| list.clone())?;
            assert!(line.contains("10.96.0.1:443"), "{line}");

            let pod = format!("ask-{}", node.name);
            let container = serde_json::json!({
                "name": "curl", "image": "curl", "command": ["sh", "-c", SCRIPT],
            });
            let manifest = format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: {pod}}}, \
                 spec: {{nodeName: {}, restartPolicy: Never, containers: [{container}]}}}}",
                node.name
            );
            cluster.apply(namespace, &manifest)?;
            let over = "jsonpath={.status.containerStatuses[0].state.terminated}";
            cluster.wait_for(namespace, &format!("pod/{pod}"), over)?;
            let log = node.kubelet.logs(namespace, &pod)?;
            assert!(log.contains("\"gitVersion\""), "{log}");
        }
        Ok(())
    })
}
