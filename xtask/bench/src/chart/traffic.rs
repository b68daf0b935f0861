//! Traffic: every data plane divided by none, a panel for each workload, a file for each place.

use std::path::Path;

use anyhow::Result;

use super::svg::{Axis, Bar, Chart, Panel, Tone};
use super::{read, source, write};
use crate::traffic::mode::{Mode, Place, Plane, Workload};
use crate::traffic::results::Results;

/// Draws `FILE-local.svg` and `FILE-remote.svg`.
///
/// # Errors
/// When the results are not readable or a chart cannot be written.
pub fn of_traffic(json: &Path) -> Result<()> {
    let results: Results = read(json)?;
    for place in Place::ALL {
        let where_ = match place {
            Place::Local => "both pods on one node",
            Place::Remote => "pods on two nodes",
        };
        let chart = Chart {
            title: format!("Traffic, {where_}, divided by direct traffic without a load balancer"),
            source: source(&results.command, &results.machine),
            columns: 2,
            panels: Workload::ALL
                .into_iter()
                .map(|workload| panel(&results, place, workload))
                .collect(),
        };
        write(json, place.name(), &chart)?;
    }
    Ok(())
}

fn panel(results: &Results, place: Place, workload: Workload) -> Panel {
    let what = match workload {
        Workload::Stream => "stream: rate, more is better",
        Workload::TcpRr => "RR: time of a request, less is better",
        Workload::TcpCrr => "CRR: time of a connection and request, less is better",
        Workload::UdpRr => "UDP_RR: time of a request, less is better",
    };
    let modes = results.modes().into_iter().skip(1);
    Panel {
        title: what.to_owned(),
        axis: Axis::Linear,
        reference: Some(1.0),
        bars: modes
            .filter_map(|mode| bar(results, mode, place, workload))
            .collect(),
    }
}

fn bar(results: &Results, mode: Mode, place: Place, workload: Workload) -> Option<Bar> {
    let row = results.row(mode, place, workload)?;
    let ratio = row.over(results.direct(place, workload)?)?;
    Some(Bar {
        label: mode.name(),
        value: ratio.value,
        low: ratio.low,
        high: ratio.high,
        text: format!("{:.2}", ratio.value),
        tone: match mode.plane {
            Plane::Direct | Plane::Idle | Plane::Nftables => Tone::Other,
            Plane::Iptables | Plane::IptablesNft => Tone::Another,
            Plane::Stack | Plane::Sockets => Tone::OwnToo,
            Plane::RedirectClient | Plane::Redirect | Plane::SocketsRedirect => Tone::Own,
        },
        limits: vec![],
    })
}
