//! Single packets through the loaded programs (`BPF_PROG_TEST_RUN`): no device, no traffic, nothing pinned. Needs root and
//! the BPF object.
//!
//! What comes out is compared with frames that are built from scratch, and with what the same decisions do over maps in
//! memory.

mod agreement;
mod budgets;
mod chains;
mod counters;
mod deliver;
mod echo;
mod families;
mod family;
mod fixtures;
mod fragments;
mod loaded;
mod malformed;
mod names;
mod related;
mod source_port;
mod stack;
mod summed;
mod test_run;
mod unallocated;
mod uplink;

// The runs take place on the loopback device of the process's own, empty network.
lab::sandbox!();
