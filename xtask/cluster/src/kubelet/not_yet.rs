//! Why a container does not run yet, in the words of a container's waiting state.

use std::fmt::Display;

use thiserror::Error;

/// What stands in a container's way. The kubelet tries again until it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}: {message}")]
pub(super) struct NotYet {
    /// As the real kubelet names it: `CreateContainerConfigError` and the like.
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl NotYet {
    /// The pod's manifest asks for what is not there, or not understood.
    pub fn config(message: impl Display) -> NotYet {
        NotYet {
            reason: "CreateContainerConfigError",
            message: message.to_string(),
        }
    }

    /// No program stands for the image.
    pub fn image(message: impl Display) -> NotYet {
        NotYet {
            reason: "ErrImageNeverPull",
            message: message.to_string(),
        }
    }

    /// The program cannot be started.
    pub fn start(error: &anyhow::Error) -> NotYet {
        NotYet {
            reason: "RunContainerError",
            message: format!("{error:#}"),
        }
    }

    /// The pod's network namespace cannot be made.
    pub fn sandbox(error: &anyhow::Error) -> NotYet {
        NotYet {
            reason: "ContainerCreating",
            message: format!("{error:#}"),
        }
    }
}
