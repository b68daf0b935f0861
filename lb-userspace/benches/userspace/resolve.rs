//! One Service is resolved.

use std::hint::black_box;

use criterion::Criterion;
use lb_userspace::model::Node;
use lb_userspace::resolve::resolve;

use crate::cluster;

/// Measures it.
pub fn measure(criterion: &mut Criterion) {
    let service = cluster::service(1);
    let slice = cluster::slice(1, 0);
    let node = Node {
        name: cluster::NODE.into(),
        zone: Some("zone-a".into()),
    };
    criterion.bench_function("resolve", |bencher| {
        bencher.iter(|| resolve(black_box(&service), &[&slice], &node));
    });
}
