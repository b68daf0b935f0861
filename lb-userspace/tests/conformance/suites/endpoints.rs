//! The lists of `endpoints.go`: about an object that the Service proxy does not read.

use crate::suite::Port::Outside;
use crate::suite::{Suite, conformance};

const NOT_READ: &str = "about Endpoints, which the Service proxy does not read: EndpointSlices are";

pub fn suite() -> Suite {
    Suite {
        title: "Endpoints",
        file: "endpoints.go",
        tests: vec![conformance(
            "should test the lifecycle of an Endpoint",
            Outside(NOT_READ),
        )],
    }
}

pub fn controller() -> Suite {
    Suite {
        title: "EndpointsController",
        file: "endpoints.go",
        tests: vec![
            conformance(
                "should create and delete Endpoints for a Service with a selector that matches no pods",
                Outside(NOT_READ),
            ),
            conformance(
                "should create Endpoints for Pods matching a Service",
                Outside(NOT_READ),
            ),
        ],
    }
}
