//! A pod that reaches itself through its own Service (S-42).

use std::collections::BTreeMap;

use lab::client;

use super::cluster::{DATAGRAMS, Endpoint, HTTP, STREAMS, Service};
use super::on_both_cnis;

on_both_cnis! {
    fn a_pod_that_is_its_only_backend_reaches_itself(builder) {
        builder.nodes(1).test(|cluster| {
            let pod = cluster.backend(1, "alone")?;
            let own = Service::new("own", 10);
            cluster.publish(&own, &[Endpoint::of(&pod)])?;
            for vip in own.at(HTTP) {
                let answer = client::http_get(&pod.netns, vip)?;
                // With its own address as the client's, it would answer itself past the node.
                assert_eq!((&*answer.pod, answer.peer.ip()), ("alone", vip.ip()));
            }
            for vip in own.at(DATAGRAMS) {
                let answer = client::udp_exchange(&pod.netns, vip, b"hello")?;
                assert_eq!((&*answer.pod, answer.peer.ip()), ("alone", vip.ip()));
            }
            for vip in own.at(STREAMS) {
                client::stream(&pod.netns, vip, 4 << 20)?;
            }
            Ok(())
        })
    }

    fn a_backend_reaches_itself_and_its_siblings_alike(builder) {
        builder.test(|cluster| {
            let pods = [
                cluster.backend(1, "self")?,
                cluster.backend(1, "near")?,
                cluster.backend(2, "far")?,
            ];
            let web = Service::new("web", 10);
            cluster.publish(&web, &Endpoint::all(&pods))?;
            for vip in web.at(HTTP) {
                let report = client::http_many(&pods[0].netns, vip, 300, 4)?;
                assert_eq!(report.errors, 0, "{vip}: {report}");
                let answered: BTreeMap<_, _> = report
                    .pods
                    .iter()
                    .map(|(pod, count)| (pod.as_str(), *count > 60))
                    .collect();
                let expected = BTreeMap::from([("self", true), ("near", true), ("far", true)]);
                assert_eq!(answered, expected, "{vip}: {report}");
            }
            Ok(())
        })
    }
}
