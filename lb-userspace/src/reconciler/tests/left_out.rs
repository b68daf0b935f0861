//! SCTP endpoints that no packet can be translated to.

use super::*;
use crate::desired::Problem;

#[test]
fn s_3_sctp_endpoints_with_another_port_are_told_of_while_there_are_any() {
    let mut world = Watched::roomy();
    let mut sctp = ResolvedPort {
        left_out: vec![2906, 2907],
        ..port("sgw", &["10.96.0.1:2905"], &[])
    };
    sctp.name.protocol = Protocol::Sctp;
    apply(&mut world, sctp.clone());
    let texts = |world: &mut Watched| -> Vec<String> {
        let problems = world.reconcile().problems;
        problems.iter().map(Problem::to_string).collect()
    };
    assert_eq!(
        texts(&mut world),
        [
            "Service default/sgw/SCTP: its clients are refused, for its endpoints have port 2906, 2907, because the checksum of SCTP covers the ports and none can be translated; set targetPort to 2905"
        ]
    );
    sctp.left_out.clear();
    apply(&mut world, sctp);
    assert_eq!(texts(&mut world), [""; 0]);
}
