//! When a source says that everything was told.

use super::SourceEvent;
use crate::model::Unread;

/// What a source has said of it.
#[derive(Default, Debug)]
pub(super) struct Synced(Option<Unread>);

impl Synced {
    /// Everything was told but for what can't be read now: the event which says so, unless it was said before.
    pub(super) fn tell(&mut self, now: Unread) -> Option<SourceEvent> {
        let left = match self.0.clone() {
            Some(before) if before.is_nothing() => return None,
            Some(before) => before.left(now),
            None => now,
        };
        let news = self.0.as_ref() != Some(&left);
        self.0 = Some(left.clone());
        news.then_some(SourceEvent::Synced(left))
    }
}
