//! Pods of the test's kubelet behave as a cluster's do, as far as the control plane and their clients can see. All tests
//! share one control plane; each has a node and a namespace of its own.

lab::sandbox!();

mod containers;
mod endpoints;
mod life;
mod site;
