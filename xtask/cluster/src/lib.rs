//! A real Kubernetes cluster for tests, without containers or machines: etcd, the API server and its controllers, and
//! nodes and pods that are network namespaces.
//!
//! It knows nothing of the data plane under test.

pub mod kubelet;
pub mod weather;
