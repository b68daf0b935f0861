//! The command line: words in, an agent or a view out. The one place of the crate, beside `app`, where errors lose their
//! types.

mod address;
mod agent;
mod show;
mod watches;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// An eBPF data plane for Kubernetes Services.
#[derive(Parser, Debug)]
#[command(name = "lb", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// Where the BPF file system is mounted; everything is pinned below DIR/lb.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "LB_BPFFS",
        default_value = "/sys/fs/bpf"
    )]
    bpffs: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the data plane of this node.
    Agent(Box<agent::Args>),
    /// Show how the data plane is: what is written, how full the maps are, which devices have programs, what became of packets.
    Status(show::StatusArgs),
    /// Show the Services that the data plane serves.
    #[command(subcommand)]
    Service(Service),
    /// Show the backends that Services have.
    #[command(subcommand)]
    Backend(Backend),
    /// Show the connections that go through a Service.
    #[command(subcommand)]
    Conntrack(Conntrack),
    /// Remove every link, filter, map and pin that an agent of any version has left on this node.
    Cleanup(show::Output),
}

#[derive(Subcommand, Debug)]
enum Service {
    /// One line for each frontend.
    List(show::Output),
}

#[derive(Subcommand, Debug)]
enum Backend {
    /// One line for each backend.
    List(show::Output),
}

#[derive(Subcommand, Debug)]
enum Conntrack {
    /// One line for each flow.
    List(show::Output),
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// One sentence that says what is wrong and what to do about it.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Agent(args) => agent::run(*args, self.bpffs),
            Command::Status(args) => show::status(&self.bpffs, args),
            Command::Service(Service::List(output)) => show::services(&self.bpffs, output),
            Command::Backend(Backend::List(output)) => show::backends(&self.bpffs, output),
            Command::Conntrack(Conntrack::List(output)) => show::conntrack(&self.bpffs, output),
            Command::Cleanup(output) => show::cleanup(&self.bpffs, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn check(line: &str, accepted: bool) {
        let parsed = Cli::try_parse_from(line.split(' '));
        assert_eq!(parsed.is_ok(), accepted, "{line}: {parsed:?}");
    }

    #[test]
    fn one_source_of_services_at_the_most() {
        check("lb agent --node-name n", true);
        check("lb agent --node-name n --manifests d", true);
        check("lb agent --node-name n --kubeconfig f", true);
        check("lb agent --node-name n --manifests d --kubeconfig f", false);
    }

    #[test]
    fn every_view_is_text_or_json() {
        for view in [
            "status",
            "service list",
            "backend list",
            "conntrack list",
            "cleanup",
        ] {
            check(&format!("lb {view}"), true);
            check(&format!("lb {view} -o json"), true);
            check(&format!("lb {view} -o xml"), false);
        }
    }
}
