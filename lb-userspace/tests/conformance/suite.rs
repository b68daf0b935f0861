//! What a list of tests consists of: each by the name that Kubernetes gives it, with its body or the reason why it has
//! none. Which tests there are is told in `suites`.

use anyhow::Result;

use crate::case::Case;

/// A test's behaviour: fails with a sentence.
pub type Body = fn(&Case<'_>) -> Result<()>;

/// The tests of one description upstream.
pub struct Suite {
    /// As it stands in each test's full name.
    pub title: &'static str,
    /// The file below `test/e2e/network` of Kubernetes.
    pub file: &'static str,
    /// In upstream's order.
    pub tests: Vec<Test>,
}

/// One test.
pub struct Test {
    /// Without the title of its suite.
    pub name: &'static str,
    /// Whether a cluster must pass it to be certified.
    pub conformance: bool,
    /// Whether nothing else may run at the same time.
    pub alone: bool,
    /// What became of it here.
    pub port: Port,
    /// In what it differs from upstream's, if it does.
    pub remark: &'static str,
}

/// What became of a test here.
pub enum Port {
    /// All that it asserts is asserted.
    Whole(Body),
    /// What it asserts of ClusterIPs is asserted, and the rest (node ports) is not served.
    ClusterIp(Body),
    /// It is about something else: what.
    Outside(&'static str),
}

/// A test that is part of Kubernetes' conformance suite.
pub fn conformance(name: &'static str, port: Port) -> Test {
    Test {
        conformance: true,
        ..test(name, port)
    }
}

/// A test that is not part of the conformance suite.
pub fn test(name: &'static str, port: Port) -> Test {
    Test {
        name,
        conformance: false,
        alone: false,
        port,
        remark: "",
    }
}

impl Test {
    /// Nothing else runs beside it.
    pub fn alone(self) -> Test {
        Test {
            alone: true,
            ..self
        }
    }

    /// Says in what it differs from upstream's.
    pub fn remark(self, remark: &'static str) -> Test {
        Test { remark, ..self }
    }

    /// As upstream prints it.
    pub fn full_name(&self, suite: &Suite) -> String {
        let mark = if self.conformance {
            " [Conformance]"
        } else {
            ""
        };
        format!("[sig-network] {} {}{mark}", suite.title, self.name)
    }
}
