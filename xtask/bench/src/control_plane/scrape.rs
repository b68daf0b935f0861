//! What a data plane says of itself: how long its passes over the rules or maps took. All of them use kube-proxy's name for it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::Netns;

const METRICS: &str = "127.0.0.1:10249";
const PASSES: &str = "kubeproxy_sync_proxy_rules_duration_seconds";
const WRITES: &str = "lb_reconciler_writes_total";

/// The passes so far, of IPv4.
#[derive(Debug, Clone, Copy, Default)]
pub struct Passes {
    /// How many.
    pub count: f64,
    /// How long they took together, in seconds.
    pub seconds: f64,
    /// Entries of maps that were written; 0 for kube-proxy.
    pub writes: f64,
}

impl Passes {
    /// Of the data plane of a node, now.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn of(netns: &Netns) -> Result<Passes> {
        let text = get(netns).context("the metrics are not served")?;
        Ok(Passes {
            count: sum(&text, &format!("{PASSES}_count")),
            seconds: sum(&text, &format!("{PASSES}_sum")),
            writes: sum(&text, WRITES),
        })
    }

    /// Those since an earlier moment.
    pub fn since(&self, earlier: &Passes) -> Passes {
        Passes {
            count: self.count - earlier.count,
            seconds: self.seconds - earlier.seconds,
            writes: self.writes - earlier.writes,
        }
    }
}

/// HTTP/1.0, so that the answer ends with the connection.
fn get(netns: &Netns) -> Result<String> {
    let mut stream = netns.run(|| TcpStream::connect(METRICS))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Of all series of a metric but those of IPv6.
fn sum(text: &str, metric: &str) -> f64 {
    let series = text.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let labels = name.strip_prefix(metric)?;
        let ours =
            labels.is_empty() || labels.starts_with('{') && !labels.contains("ip_family=\"IPv6\"");
        ours.then(|| value.parse::<f64>().ok()).flatten()
    });
    series.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_ipv6_and_of_other_metrics_are_left_out() {
        let text = "# HELP a_sum x\na_sum{ip_family=\"IPv4\"} 1.5\na_sum{ip_family=\"IPv6\"} 7\na_summer 9\nb 4\na_sum 1\n";
        assert_eq!(sum(text, "a_sum"), 2.5);
        assert_eq!(sum(text, "b"), 4.0);
    }
}
