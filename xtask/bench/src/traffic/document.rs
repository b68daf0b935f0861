//! The results as the document that stands in the repository.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use super::mode::Place;
use super::results::Results;
use super::tables::tables;
use crate::numbers::range;
use crate::{chart, document};

const WHAT: &str = "\
Each data plane has two nodes of its own: network namespaces, joined by a veth; pods are namespaces behind a veth, and their node
routes to them. All data planes are up at the same time. In each round every figure is taken once; those that are compared are taken
right after each other, each round in another order. A ratio is that of two figures of the same round; the tables have the median of the rounds, with the
lowest and the highest in brackets.

- *direct*: the client asks the pod's own address; the nodes have no load balancer and no netfilter rule.
- *programs that do nothing*: the same, with an empty program at both hooks of each pod's device, where lb has its own. It is what is paid
  for being asked at all; no program at these hooks can cost less.
- *kube-proxy*: the real one follows a real API server on both nodes until its rules are written, and ends; the rules stay. Each Service has
  three endpoints. The measured Services come last.
- *lb*: the agent runs on both nodes, with the flags that its name says and a Service CIDR; else with its defaults. The other Services of
  many are written into its maps by its own library, with one endpoint each.
- lb's tables of flows have their default sizes, and fill in the course of the run with what earlier measurements left.
- *for no Service*: the client asks the pod's own address on nodes that have that data plane.
- The programs at sockets are attached to groups of the testbed's own, with clients and servers in them. With `--socket-lb=all` too, a
  connected UDP socket of a pod goes by its packets.
- *RR*: an octet to and fro on one TCP connection. *CRR*: a connection for each. *UDP_RR*: an octet to and fro from one connected UDP socket.
  Compared is the time of the transaction in the middle. *stream*: one TCP connection, 128 KiB at a time; compared is the rate.
- Client and server are processes with blocking sockets on one and the same processor; TCP uses cubic on both ends. IPv4. A socket's
  options (cubic, two time-outs) are set before it connects and are a part of CRR's time, for all alike.
- *Where the time goes*: after the rounds each of these data planes exchanges octets for some seconds more, and for two of them `perf`
  looks at the processor of client and server 9973 times a second (`perf record --event cpu-clock`). The sum is the mean time of a
  transaction meanwhile, `perf` included; the tables above have medians without it. A function of the kernel is sorted by how its name
  begins; what the compiler has put into another one counts as that. The calls of the programs at the hooks are a part of the devices'
  functions, what helpers do with packets' memory a part of that. The clock can't look where interrupts are off: that time is
  found where they are turned on again, most often at the end of a lock or of a change between processes.
- CPU is what the whole machine was busy with, interrupts included, for each transaction.
- No transaction failed: a measurement with a refused connection, a lost datagram or a missing octet ends the run. After each, the
  kernel's counters of forwarded packets must show that packets took the way that the data plane's name says.
";

/// Writes `FILE.md`, `FILE.json` and the charts.
///
/// # Errors
/// When they cannot be written.
pub fn write(results: &Results, file: &Path) -> Result<()> {
    let json = document::write(file, results, &page(results))?;
    chart::of_traffic(&json)
}

fn page(results: &Results) -> String {
    let Results {
        machine, settings, ..
    } = results;
    let mut text = String::from(
        "# What a request costs\n\nFrom pod to pod, with devices and stack. Written by the command below; what every round gave is in [traffic.json](traffic.json).\n\n",
    );
    let _ = writeln!(text, "```\n{}\n```\n", results.command);
    let _ = writeln!(
        text,
        "{machine}. {} rounds, {} ms for each figure, clients and servers on processor {}.",
        settings.rounds, settings.milliseconds, settings.cpu,
    );
    if let Some((low, high)) = range(&results.load_averages) {
        let _ = writeln!(
            text,
            "Load average of the machine before each round: {low} to {high}; the run itself keeps one processor busy."
        );
    }
    let versions: Vec<String> = results
        .versions
        .iter()
        .map(|it| format!("{}: {}", it.program, it.version))
        .collect();
    let _ = writeln!(text, "{}.", versions.join("; "));
    let _ = writeln!(
        text,
        "TCP segments that were sent again, in all measurements together: {}.\n",
        results.retransmitted
    );
    for place in Place::ALL {
        let name = place.name();
        let _ = writeln!(text, "![{name} traffic](traffic-{name}.svg)\n");
    }
    text += &tables(results);
    text += "\n## How it is measured\n\n";
    text += WHAT;
    text
}
