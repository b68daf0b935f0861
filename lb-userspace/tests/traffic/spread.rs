//! Where requests go, and whom the backends see.

use anyhow::Result;
use lab::client;

use super::cluster::{Endpoint, HTTP, Service};
use super::on_both_cnis;

on_both_cnis! {
    /// Three pods share ten thousand requests, one of them on the client's node and two on the other.
    fn requests_of_one_pod_spread_evenly_and_none_fails(builder) {
        builder.test(|cluster| {
            let pods = [(1, "b1"), (2, "b2"), (2, "b3")]
                .into_iter()
                .map(|(node, name)| cluster.backend(node, name))
                .collect::<Result<Vec<_>>>()?;
            let web = Service::new("web", 10);
            cluster.publish(&web, &Endpoint::all(&pods))?;
            let client = cluster.client(1, "client")?;
            for vip in web.at(HTTP) {
                let report = client::http_many(&client.netns, vip, 10_000, 16)?;
                assert_eq!((report.total, report.errors), (10_000, 0), "{vip}: {report}");
                let off = report.worst_imbalance(3);
                assert!(off < 0.03, "{vip}: a share is off by {off:.3}: {report}");
            }
            Ok(())
        })
    }

    /// S-40: no address is translated but the VIP's.
    fn a_backend_sees_the_address_of_the_client_pod(builder) {
        builder.test(|cluster| {
            let pods = [cluster.backend(1, "near")?, cluster.backend(2, "far")?];
            let client = cluster.client(1, "client")?;
            for (pod, octet) in pods.iter().zip(10..) {
                let service = Service::new("one", octet);
                cluster.publish(&service, &[Endpoint::of(pod)])?;
                for (vip, own) in service.at(HTTP).into_iter().zip(client.addresses()) {
                    let answer = client::http_get(&client.netns, vip)?;
                    assert_eq!((answer.pod.as_str(), answer.peer.ip()), (&*pod.name, own));
                    assert_eq!(answer.peer, answer.local, "{vip}");
                }
            }
            Ok(())
        })
    }
}
