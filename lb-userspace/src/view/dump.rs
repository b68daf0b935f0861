//! Every row of the maps that the agent writes, as text without ids: two states that mean the same have the same dump.
//!
//! A row that refers to nothing says so. Epochs, ids, places in the slots array and the config are left out.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use lb_common::frontend::{Frontend, SlotRange};
use lb_common::vip_filter;

use super::backends::state;
use super::names::{self, Names};
use super::services::policy;
use crate::maps::row::vip_bit;
use crate::maps::{BackendKey, BackendRow, MapError, Maps};
use crate::model::Family;

/// The dump, a line for each row, sorted.
pub fn dump(maps: &dyn Maps) -> Result<String, MapError> {
    let names = Names::read(maps)?;
    let backends: HashMap<BackendKey, BackendRow> = maps
        .backends()?
        .into_iter()
        .map(|(id, row)| (row.key(id), row))
        .collect();
    let filter = maps.vip_filter()?;
    let mut lines = Vec::new();

    let mut frontends = maps.frontends()?;
    frontends.sort_by_key(|(at, _)| *at);
    for (at, row) in frontends {
        if at.is_address_row() {
            let (word, mask) = vip_filter::word_and_mask(vip_bit(&at.address()));
            let is_set = filter[word as usize] & mask != 0;
            lines.push(format!(
                "vip      {at} endpoints={}{}",
                endpoints(&row),
                if is_set { "" } else { " NOT IN THE FILTER" }
            ));
            continue;
        }
        let table = |range| table(maps, &backends, at.family(), range);
        lines.push(format!(
            "frontend {at} {} policy={} endpoints={} affinity={}s cluster=[{}] local=[{}]",
            names.text(row.service_id()),
            policy(&row),
            endpoints(&row),
            row.affinity_seconds(),
            table(row.cluster())?,
            table(row.local())?,
        ));
    }

    let mut cidrs = maps.service_cidrs()?;
    cidrs.sort_unstable();
    lines.extend(cidrs.iter().map(|cidr| format!("cidr     {cidr}")));
    let mut unserved = maps.unserved()?;
    unserved.sort_unstable();
    lines.extend(unserved.iter().map(|it| format!("unserved {it}")));

    let mut rows: Vec<String> = backends
        .values()
        .map(|row| {
            format!(
                "backend  {} {} {}",
                names.text(row.service_id()),
                row.socket(),
                state(row.state())
            )
        })
        .collect();
    rows.sort();
    lines.append(&mut rows);

    let mut rows: Vec<String> = names
        .iter()
        .map(|(_, name)| format!("service  {}", names::text(name)))
        .collect();
    rows.sort();
    lines.append(&mut rows);

    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// Whether a usable endpoint exists somewhere.
fn endpoints(row: &Frontend) -> &'static str {
    if row.flags() & Frontend::HAS_ENDPOINTS != 0 {
        "yes"
    } else {
        "no"
    }
}

/// A table folded to `backend(slots)`.
fn table(
    maps: &dyn Maps,
    backends: &HashMap<BackendKey, BackendRow>,
    family: Family,
    range: SlotRange,
) -> Result<String, MapError> {
    let slots: Range<u32> = range.offset..range.offset.saturating_add(range.len);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for id in maps.slots(slots)? {
        let backend = backends.get(&BackendKey { family, id });
        let backend = backend.map_or_else(|| "MISSING".to_owned(), |row| row.socket().to_string());
        *counts.entry(backend).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(backend, slots)| format!("{backend}({slots})"))
        .collect();
    Ok(counts.join(" "))
}
