//! The real `lb` on a real API server: what objects that are made there become for a pod's connections.
//!
//! Tests share one control plane and stay apart by Kubernetes namespace and by network; those that restart a part of the
//! control plane, and those that deploy to all nodes, have another. What a cluster without an API server shows is another
//! test's business.

mod deployed;
mod site;
mod weather;

lab::sandbox!();
