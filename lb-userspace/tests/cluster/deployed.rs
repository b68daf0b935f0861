//! The agent as a cluster runs it: the manifests of `deploy/kubernetes`, applied with kubectl, and a kubelet that gives it
//! the token, arguments, environment, volumes and capabilities that they say. What a pod sees of it, and what the API does.
//!
//! There is one such cluster for all of these tests, which take turns at it.

mod cluster;
mod draining;
mod eligibility;
mod example;
mod kubernetes;
mod leaving;
mod permissions;
mod privileges;
mod service_cidrs;
mod shop;

mod udp;

use std::time::Duration;

/// How long anything may take while nothing is wrong and the machine is busy.
const PATIENCE: Duration = Duration::from_secs(60);
