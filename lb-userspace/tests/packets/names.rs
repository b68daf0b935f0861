//! `bpftool map dump` shows the fields of the maps by name.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use lb_common::layout::name;
use lb_common::packet::TcpFlags;
use lb_common::testing::{Frame, L4};

use crate::family::{WEB, on_both_families, services};
use crate::loaded::{Loaded, Program};

/// What `bpftool map dump` prints of a map.
fn dump(loaded: &mut Loaded, map: &str) -> Result<String> {
    let output = Command::new("bpftool")
        .args(["map", "dump", "id", &loaded.map_id(map)?.to_string()])
        .output()
        .context("bpftool, which `cargo xtask setup` installs")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "bpftool map dump of {map}: {error}"
    );
    Ok(String::from_utf8(output.stdout)?)
}

on_both_families! {
    fn a_dump_names_the_fields<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let frame = Frame::<A>::new(A::pod(100), A::vip(WEB), L4::tcp(40_000, 80, TcpFlags::SYN));
        loaded.run(Program::FromWorkload, &frame.build())?;
        let flow = *loaded.flows::<A>()?.values().next().context("a flow")?;
        loaded.set_rows(A::TRANSIENT, &[(flow.from_client(), flow)].into())?;
        for (map, fields) in [
            (A::FRONTENDS, &["address", "port", "protocol", "service_id", "cluster_offset", "cluster_len", "flags"][..]),
            (A::BACKENDS, &["address", "port", "state", "epoch", "service_id"]),
            (A::TRANSIENT, &["client", "peer", "direction", "frontend_port", "backend_id", "epoch", "last_seen"]),
            (A::FLOWS, &["tags", "spilled", "ways", "client", "frontend_port", "backend_id", "epoch", "last_seen"]),
            (name::SLOTS, &["backend_ids"]),
            (name::CONFIG, &["secret", "started_at", "generation", "ticks_per_second"]),
        ] {
            let dump = dump(&mut loaded, map)?;
            for field in fields {
                assert!(dump.contains(&format!("\"{field}\": ")), "no {field} in the dump of {map}:\n{dump:.2000}");
            }
        }
        Ok(())
    }

    fn ports_and_ids_are_plain_numbers<A>() -> Result<()> {
        let mut loaded = Loaded::with(&services::<A>())?;
        let frontends = dump(&mut loaded, A::FRONTENDS)?;
        for text in ["\"port\": 80,", "\"protocol\": 6,", "\"service_id\": 1,"] {
            assert!(frontends.contains(text), "no {text} in:\n{frontends}");
        }
        let backends = dump(&mut loaded, A::BACKENDS)?;
        assert!(backends.contains("\"port\": 8080,"), "{backends}");
        Ok(())
    }
}
