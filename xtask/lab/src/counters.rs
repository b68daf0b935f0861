//! What the kernel counted inside a namespace. Counters of the data plane itself are in its maps, not here.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use crate::netns::Netns;

/// All packets refused in `netns` for a wrong checksum: IP, TCP, UDP and ICMP of both families.
///
/// # Errors
/// When the counters cannot be read.
pub fn checksum_errors(netns: &Netns) -> Result<u64> {
    let all = counters(netns)?;
    Ok(all
        .iter()
        .filter(|(name, _)| name.ends_with("InCsumErrors"))
        .map(|(_, count)| count)
        .sum())
}

/// The kernel's SNMP counters of `netns` by name: `Tcp.InCsumErrors`, `Udp.InErrors`, `TcpExt.TCPTimeouts`,
/// `Udp6InCsumErrors`, … TCP counts both families in `Tcp.`.
///
/// # Errors
/// When the counters cannot be read.
pub fn counters(netns: &Netns) -> Result<BTreeMap<String, u64>> {
    netns.run(|| {
        // `/proc/net` would be the main thread's.
        let read = |name: &str| {
            let path = format!("/proc/thread-self/net/{name}");
            fs::read_to_string(&path).context(path)
        };
        let mut all = BTreeMap::new();
        parse_pairs_of_lines(&read("snmp")?, &mut all);
        parse_pairs_of_lines(&read("netstat")?, &mut all);
        parse_columns(&read("snmp6")?, &mut all);
        Ok(all)
    })
}

/// `Tcp: A B` followed by `Tcp: 1 2`. Negative values (`MaxConn`) are limits, no counters.
fn parse_pairs_of_lines(text: &str, all: &mut BTreeMap<String, u64>) {
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.chunks_exact(2) {
        let (Some((group, names)), Some((_, values))) =
            (pair[0].split_once(':'), pair[1].split_once(':'))
        else {
            continue;
        };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            if let Ok(value) = value.parse() {
                all.insert(format!("{group}.{name}"), value);
            }
        }
    }
}

/// `Udp6InCsumErrors    3`
fn parse_columns(text: &str, all: &mut BTreeMap<String, u64>) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(Ok(value))) = (words.next(), words.next().map(str::parse)) {
            all.insert(name.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_of_the_kernel_are_read() {
        let mut all = BTreeMap::new();
        parse_pairs_of_lines(
            "Tcp: MaxConn InCsumErrors\nTcp: -1 7\nUdp: InErrors\nUdp: 2\n",
            &mut all,
        );
        parse_columns("Udp6InCsumErrors                \t3\n", &mut all);
        let expected = [
            ("Tcp.InCsumErrors", 7),
            ("Udp.InErrors", 2),
            ("Udp6InCsumErrors", 3),
        ];
        assert_eq!(
            all,
            expected
                .map(|(name, value)| (name.to_owned(), value))
                .into()
        );
    }
}
