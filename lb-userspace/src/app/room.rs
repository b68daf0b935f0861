//! Whether there is room for more connections, told when it becomes little and when there is more again: in the log, and as an
//! Event of the node.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use lb_common::entries::Lru;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::events::Events;
use crate::maps::Maps;
use crate::maps::bpf::{Access, BpfMaps};
use crate::view::{self, Clock};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How full a map of connections in use is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fill {
    map: &'static str,
    used: u64,
    max: u32,
}

/// Looks at the maps pinned in a folder, for ever.
pub(super) async fn watch(folder: PathBuf, events: Events) {
    let mut told = BTreeSet::new();
    let mut broken = false;
    loop {
        sleep(LOOK_EVERY).await;
        let folder = folder.clone();
        // Walking over a full map takes a good part of a second.
        let read = spawn_blocking(move || read(&BpfMaps::open(&folder, Access::Read)?)).await;
        match read {
            Ok(Ok(fill)) => {
                broken = false;
                for sentence in tell(&mut told, &fill) {
                    warn!("{sentence}");
                    events.of_node("ConntrackNearlyFull", "TrackConnections", &sentence);
                }
            }
            Ok(Err(error)) if !broken => {
                broken = true;
                warn!(%error, "cannot tell how much room there is for connections");
            }
            Ok(Err(_)) => {}
            // A panic of the walk, which has been printed.
            Err(_) => return std::future::pending().await,
        }
    }
}

/// How full conntrack is, by family. A map that has never had so many entries as to be nearly full is not walked over.
fn read(maps: &dyn Maps) -> Result<Vec<Fill>> {
    let max = maps.limits().conntrack;
    let most = view::most_entries(maps, Lru::Conntrack)?;
    let used = if most.iter().any(|most| view::is_nearly_full(*most, max)) {
        view::connections(maps, Clock::now()?)?
    } else {
        most
    };
    let names = Lru::Conntrack.names().into_iter();
    let fill = names.zip(used).map(|(map, used)| Fill { map, used, max });
    Ok(fill.collect())
}

/// What is to be told of the maps that have become nearly full. One is told of again when it was less than 70 % full meanwhile.
fn tell(told: &mut BTreeSet<&'static str>, fill: &[Fill]) -> Vec<String> {
    let mut sentences = Vec::new();
    for Fill { map, used, max } in fill {
        if view::is_nearly_full(*used, *max) {
            if told.insert(map) {
                sentences.push(format!(
                    "{map} has {used} of {max} entries in use; when it is full, connections that were silent for longest are \
                     forgotten: raise --max-conntrack (LB_MAX_CONNTRACK)"
                ));
            }
        } else if used * 10 < u64::from(*max) * 7 && told.remove(map) {
            info!(map, used, max, "there is room for connections again");
        }
    }
    sentences
}

#[cfg(test)]
mod tests {
    use lb_common::addr::Protocol;
    use lb_common::conntrack::Direction;
    use lb_common::entries::{self, Change};

    use super::*;
    use crate::maps::memory::Memory;
    use crate::maps::{FlowRow, Limits};

    #[test]
    fn a_map_is_told_of_once_until_it_has_room_again() {
        let mut told = BTreeSet::new();
        let mut tell = |used| {
            let map = "conntrack_v4";
            tell(
                &mut told,
                &[Fill {
                    map,
                    used,
                    max: 100,
                }],
            )
            .len()
        };
        let told = [79, 80, 100, 75, 85, 69, 80].map(&mut tell);
        assert_eq!(told, [0, 1, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn the_sentence_says_what_to_do() {
        let fill = Fill {
            map: "conntrack_v6",
            used: 9,
            max: 10,
        };
        let sentences = tell(&mut BTreeSet::new(), &[fill]);
        assert!(sentences[0].starts_with("conntrack_v6 has 9 of 10 entries in use"));
        assert!(sentences[0].ends_with("raise --max-conntrack (LB_MAX_CONNTRACK)"));
    }

    /// What is in it is nobody's here.
    #[test]
    fn only_a_map_that_may_be_nearly_full_is_walked_over() {
        let limits = Limits {
            flows: 0,
            conntrack: 10,
            slots: 1,
            ..Limits::default()
        };
        let mut maps = Memory::new(limits);
        let [client, frontend, backend] = [
            ([10, 2, 0, 1], 40_000),
            ([10, 96, 0, 1], 80),
            ([10, 1, 0, 1], 80),
        ];
        let over = FlowRow {
            direction: Direction::FromClient,
            protocol: Protocol::Tcp,
            client: client.into(),
            frontend: frontend.into(),
            source_port: 40_000,
            backend: backend.into(),
            state: "established",
            backend_id: 1,
            epoch: 1,
            service_id: 1,
            last_seen: Clock::now().expect("a clock").now.wrapping_sub(1 << 20),
            longest_silence: 0,
        };
        maps.conntrack = vec![over; 8];
        let made = entries::index(4, Lru::Conntrack, Change::Made) as usize;
        for (count, used) in [(7, 7), (8, 0), (1_000, 0)] {
            maps.lru_entries[made] = count;
            let fill = read(&maps).expect("maps in memory");
            assert_eq!(
                fill[0],
                Fill {
                    map: "conntrack_v4",
                    used,
                    max: 10
                }
            );
        }
    }
}
