//! A real Kubernetes cluster for tests, without containers or machines: etcd, the API server and its controllers, and
//! nodes and pods that are network namespaces.
//!
//! It knows nothing of the data plane under test.
//!
//! ```no_run
//! lab::sandbox!(); // once per test binary
//!
//! use cluster::ControlPlane;
//!
//! #[tokio::test]
//! async fn a_service_gets_an_address() -> anyhow::Result<()> {
//!     let control_plane = ControlPlane::shared()?; // one for all tests of the binary
//!     let namespace = control_plane.create_namespace("my-test").await?; // one for each test
//!     control_plane.apply("{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}", &namespace)?;
//!     let client = control_plane.client().await?; // a kube::Client, for everything else
//!     # let _ = client;
//!     Ok(())
//! }
//! ```
//!
//! | | |
//! |---|---|
//! | [`ControlPlane`] | etcd, API server, controller manager and scheduler, in a namespace of their own |
//! | [`Identity`] | whom a kubeconfig is for |
//! | [`Relay`] | the way from a node's namespace to the API server, which a test can cut |
//! | [`binaries`] | where the programs are; they are built when missing |
//! | [`kubelet`] | pods as namespaces |
//! | [`kept`] | `cargo xtask cluster up` and `down` |
//! | [`weather`] | a proxy that is as bad as a network and an API server can be |

mod certificates;
mod control_plane;
mod kubeconfig;
mod progress;
mod relay;

pub mod binaries;
pub mod kept;
pub mod kubelet;
pub mod weather;

pub use control_plane::{Asked, ControlPlane, Options};
pub use kubeconfig::Identity;
pub use relay::Relay;
