//! Why a Service is not served as it was asked for, in one sentence that names it and the remedy.

use std::fmt;

use crate::maps::FrontendAt;
use crate::model::{ObjectName, ServicePortName};

/// A problem of one Service.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// Another service port has the frontend.
    #[error(
        "Service {port}: {frontend} belongs to {winner}, which is older or, of the same age, the first by name; give one of \
         them another address or port"
    )]
    Conflict {
        /// The service port that does not get it.
        port: ServicePortName,
        /// The frontend.
        frontend: FrontendAt,
        /// The service port that has it.
        winner: ServicePortName,
    },
    /// A map is too small.
    #[error("Service {service} {consequence}: {reason}")]
    Exhausted {
        /// The Service.
        service: ObjectName,
        /// What becomes of it.
        consequence: Consequence,
        /// What there is no room for.
        reason: Exhausted,
    },
    /// A part of a name is longer than the API allows.
    #[error(
        "Service {port} is not served: its namespace or name is longer than 63 octets or its port's name longer than \
         15; give it a shorter name"
    )]
    NameTooLong {
        /// The service port.
        port: ServicePortName,
    },
    /// Two ports have the same name and protocol.
    #[error(
        "Service {port}: two of its ports have this name and protocol, the first one is served; rename the other"
    )]
    DuplicatePort {
        /// The service port.
        port: ServicePortName,
    },
    /// The kernel refused a write.
    #[error("Service {service} {consequence}: {error}; it is tried again")]
    Write {
        /// The Service.
        service: ObjectName,
        /// What becomes of it.
        consequence: Consequence,
        /// The map's error in words.
        error: String,
    },
}

impl Problem {
    /// The Service that has it.
    pub fn service(&self) -> &ObjectName {
        match self {
            Self::Conflict { port, .. }
            | Self::NameTooLong { port }
            | Self::DuplicatePort { port } => &port.service,
            Self::Exhausted { service, .. } | Self::Write { service, .. } => service,
        }
    }
}

impl Problem {
    /// What is wrong, without the numbers of others: how full a map is changes all the time, and the problem stays the same.
    pub fn identity(&self) -> String {
        match self {
            Self::Exhausted {
                service,
                consequence,
                reason,
            } => format!("{service} {consequence} {}", reason.resource),
            other => other.to_string(),
        }
    }
}

/// What becomes of a Service that can't be served as it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consequence {
    /// It is served as before.
    Kept,
    /// It is not served.
    Removed,
}

impl fmt::Display for Consequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "is served as before its last change",
            Self::Removed => "is not served",
        })
    }
}

/// What there is no room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "no room for {needed} more {resource} ({used} of {limit} are in use); raise --max-{resource}"
)]
pub struct Exhausted {
    /// What.
    pub resource: Resource,
    /// How many more are needed.
    pub needed: u32,
    /// How many are in use.
    pub used: u32,
    /// How many there are.
    pub limit: u32,
}

/// What a map has only so many of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// Rows of `frontends_v4` or `frontends_v6`.
    Frontends,
    /// Rows of `backends_v4` or `backends_v6`.
    Backends,
    /// Slots.
    Slots,
    /// Rows of `services`.
    Services,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frontends => "frontends",
            Self::Backends => "backends",
            Self::Slots => "slots",
            Self::Services => "services",
        })
    }
}
