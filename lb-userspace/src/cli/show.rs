//! The commands that print what the maps hold. They need no agent, and change nothing but for `cleanup`.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

use super::address::Listen;
use super::watches::{self, WithWatches};
use crate::datapath::{self, PinPaths};
use crate::maps::Walk;
use crate::maps::bpf::{Access, BpfMaps};
use crate::view;

/// How a view is printed.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Output {
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// Aligned columns.
    Text,
    /// JSON.
    Json,
}

/// Options of `lb status`.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    output: Output,

    /// Where the agent answers scrapes, as it was told; it is asked how its watches of the API stand.
    #[arg(
        long,
        value_name = "IP:PORT",
        env = "LB_METRICS_BIND_ADDRESS",
        default_value = "127.0.0.1:10249",
        value_parser = super::address::listen
    )]
    metrics_bind_address: Listen,
}

pub(super) fn status(bpffs: &Path, args: StatusArgs) -> Result<()> {
    let maps = open(bpffs)?;
    let paths = PinPaths::new(bpffs);
    let devices =
        datapath::attach_points(&paths).context("cannot tell which devices have programs")?;
    let agent_running = datapath::is_held(&paths).context("cannot tell whether an agent runs")?;
    let programs = datapath::attached_hooks(&paths)
        .context("cannot tell which programs of sockets are attached")?;
    let status = view::status(&maps, devices, agent_running, clock()?)?;
    let address = args.metrics_bind_address.0.filter(|_| agent_running);
    let view = WithWatches {
        status: status.with_socket_programs(programs),
        watches: address.map_or_else(Vec::new, watches::ask),
    };
    print(&view, args.output)
}

pub(super) fn services(bpffs: &Path, output: Output) -> Result<()> {
    print(&view::services(&open(bpffs)?)?, output)
}

pub(super) fn backends(bpffs: &Path, output: Output) -> Result<()> {
    print(&view::backends(&open(bpffs)?)?, output)
}

pub(super) fn conntrack(bpffs: &Path, output: Output) -> Result<()> {
    let flows = view::conntrack(&open(bpffs)?, clock()?)?;
    print(&flows, output)?;
    if flows.walk == Walk::Incomplete {
        eprintln!("lb: flows come and go too fast to be read whole; some are missing above");
    }
    Ok(())
}

pub(super) fn cleanup(bpffs: &Path, output: Output) -> Result<()> {
    print(&datapath::cleanup(&PinPaths::new(bpffs))?, output)
}

fn clock() -> Result<view::Clock> {
    view::Clock::now().context("cannot read the kernel's clock")
}

fn open(bpffs: &Path) -> Result<BpfMaps> {
    let folder = PinPaths::new(bpffs).layout();
    BpfMaps::open(&folder, Access::Read).with_context(|| {
        format!(
            "the maps in {} can't be read; is there an agent on this node, are you root, and is --bpffs right?",
            folder.display()
        )
    })
}

fn print<T: Serialize + Display>(view: &T, output: Output) -> Result<()> {
    let text = match output.output {
        Form::Text => view.to_string(),
        Form::Json => serde_json::to_string_pretty(view)? + "\n",
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Who reads only the first lines (`| head`) has what it wants.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the output"),
    }
}
