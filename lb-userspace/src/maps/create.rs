//! Makes and pins all maps without any program, in the shapes of [`crate::maps::spec`].
//!
//! Tests and tools need maps where there is no BPF object. Maps made here carry no type information (BTF): `bpftool`
//! shows their rows as plain bytes. The agent's maps are made by [`crate::datapath`], from the object.

use std::path::Path;

use aya::maps::MapData;

use crate::causes::with_causes;
use crate::maps::MapError;
use crate::maps::spec::{self, Limits, MapSpec};

/// Makes every map and pins it in `dir`, a directory of a BPF file system, under its name. The number of CPUs decides
/// the true size of per-CPU maps.
pub fn create_all(dir: &Path, limits: &Limits) -> Result<(), MapError> {
    spec::all(limits)
        .iter()
        .try_for_each(|spec| create(dir, spec))
}

/// Makes one map and pins it in `dir`.
pub fn create(dir: &Path, spec: &MapSpec) -> Result<(), MapError> {
    let failed = |reason: String| MapError::Create {
        map: spec.name,
        reason,
    };
    let object = aya_obj::Map::new_from_params(
        spec.kind as u32,
        spec.key_size,
        spec.value_size,
        spec.max_entries,
        spec.flags,
    );
    let map = MapData::create(object, spec.name, None).map_err(|e| failed(with_causes(&e)))?;
    map.pin(dir.join(spec.name))
        .map_err(|e| failed(with_causes(&e)))
}
