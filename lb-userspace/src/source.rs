//! Where Services, EndpointSlices and the node come from: the Kubernetes API or a directory of manifests. Either tells the
//! same [`SourceEvent`]s over a channel; a new complete list becomes the changes to what was told before, never a wipe
//! (S-8). Nothing here knows what becomes of the objects.

pub mod convert;
pub mod kubernetes;
pub mod manifests;
pub mod observed;

mod known;
mod synced;

pub use crate::model::SourceEvent;
pub use observed::Observed;

/// Changes that belong together, to be taken in at once: a list, an edit of a manifest, a single event of a watch.
pub type Batch = Vec<SourceEvent>;
