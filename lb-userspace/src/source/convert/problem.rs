//! Everything that can be wrong with an object, each with its remedy. Says what is wrong, not with which object: whoever
//! reports it puts that in front.

use std::net::IpAddr;

use thiserror::Error;

use crate::model::CidrError;

/// Something wrong with an object. Only the part that it names is left out.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Problem {
    /// A ClusterIP that does not parse.
    #[error("cluster IP {0:?} is not an IP address; correct spec.clusterIPs")]
    InvalidClusterIp(String),
    /// A ClusterIP that no Service can have.
    #[error(
        "cluster IP {0} is {1}, which no Service can have; choose an address of the Service range in spec.clusterIPs"
    )]
    SpecialClusterIp(IpAddr, &'static str),
    /// A second ClusterIP of one family.
    #[error(
        "cluster IP {0} is ignored, because there is one of its family already; leave one of each family in spec.clusterIPs"
    )]
    SurplusClusterIp(IpAddr),
    /// A Service without a port that can be served.
    #[error("no port is left to serve; give it a TCP, UDP or SCTP port in spec.ports")]
    NoPort,
    /// A Service port out of range.
    #[error("port {name:?} has the number {number}; choose one from 1 to 65535 in spec.ports")]
    InvalidServicePort {
        /// Name of the port.
        name: String,
        /// Its number.
        number: i32,
    },
    /// A Service port of a protocol that is not balanced.
    #[error(
        "port {number} is not served, because its protocol is {protocol:?}; only TCP, UDP and SCTP are balanced"
    )]
    UnsupportedProtocol {
        /// Number of the port.
        number: i32,
        /// Name of the protocol.
        protocol: String,
    },
    /// Two ports of a Service that cannot be told apart.
    #[error(
        "port {name:?} {number}/{protocol} is ignored, because an earlier port has its name or number; make both unique in spec.ports"
    )]
    DuplicateServicePort {
        /// Name of the port.
        name: String,
        /// Its number.
        number: u16,
        /// Name of the protocol.
        protocol: &'static str,
    },
    /// An affinity that is neither None nor ClientIP.
    #[error(
        "session affinity {0:?} is unknown and taken as None; set spec.sessionAffinity to None or ClientIP"
    )]
    UnknownAffinity(String),
    /// An affinity timeout out of range.
    #[error(
        "session affinity timeout {seconds} s is taken as {default} s; choose 1 to 86400 in spec.sessionAffinityConfig"
    )]
    InvalidAffinityTimeout {
        /// What the Service says.
        seconds: i32,
        /// What is used.
        default: u32,
    },
    /// A policy that is neither Cluster nor Local.
    #[error(
        "internal traffic policy {0:?} is unknown and taken as Cluster; set spec.internalTrafficPolicy to Cluster or Local"
    )]
    UnknownInternalPolicy(String),
    /// A range that does not parse.
    #[error("{0}; correct spec.cidrs")]
    InvalidCidr(CidrError),
    /// An address type other than IPv4, IPv6 and FQDN.
    #[error(
        "address type {0:?} is unknown, so its endpoints are not used; set addressType to IPv4 or IPv6"
    )]
    UnknownAddressType(String),
    /// An endpoint without an address.
    #[error("endpoint {0} has no address and is not used; give it one in endpoints[].addresses")]
    NoAddress(usize),
    /// An endpoint address that does not parse.
    #[error(
        "endpoint address {0:?} is not an IP address and is not used; correct endpoints[].addresses"
    )]
    InvalidAddress(String),
    /// An endpoint address of the other family.
    #[error(
        "endpoint address {address} is not used, because it is not of the slice's type {family}; correct addressType or endpoints[].addresses"
    )]
    ForeignAddress {
        /// The address.
        address: IpAddr,
        /// Type of the slice.
        family: &'static str,
    },
    /// An endpoint address that no pod can have.
    #[error(
        "endpoint address {0} is {1}, which no endpoint can have, and is not used; correct endpoints[].addresses"
    )]
    SpecialAddress(IpAddr, &'static str),
    /// An endpoint port out of range.
    #[error(
        "endpoint port {name:?} has the number {number} and is not used; choose one from 1 to 65535 in ports"
    )]
    InvalidEndpointPort {
        /// Name of the port.
        name: String,
        /// Its number.
        number: i32,
    },
    /// An endpoint port whose protocol is none.
    #[error(
        "endpoint port {name:?} is not used, because its protocol is {protocol:?}; set it to TCP, UDP or SCTP in ports"
    )]
    UnknownEndpointProtocol {
        /// Name of the port.
        name: String,
        /// Name of the protocol.
        protocol: String,
    },
}
