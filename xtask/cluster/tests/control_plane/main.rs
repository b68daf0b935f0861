//! The control plane behaves as a cluster's does. Tests share one and stay apart by Kubernetes namespace; those that stop
//! a part of it have their own.

lab::sandbox!();

mod objects;
mod relay;
mod restart;
mod users;
mod wait;
