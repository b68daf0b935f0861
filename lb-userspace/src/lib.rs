//! The agent: watches Services and EndpointSlices and fills the maps that the BPF programs read.
//!
//! The modules form a pipeline in one direction: `source` → `model` → `resolve` → `desired` → `delta` → `reconciler` →
//! `maps`. Beside it stand `datapath` (programs, pins, links), `devices` (which devices get a link), `cli` and `app`.

pub mod app;
mod causes;
pub mod cli;
pub mod datapath;
pub mod delta;
pub mod desired;
pub mod devices;
pub mod events;
mod few;
mod hashed;
pub mod http;
mod ipsec;
pub mod maps;
pub mod model;
pub mod netfilter;
mod netlink;
pub mod preflight;
pub mod reconciler;
pub mod redirect;
pub mod resolve;
pub mod source;
pub mod view;
