//! One list and watch: everything that there is, then each change, then everything again where the watch has lost its place.
//! A cut connection is taken up where it broke off. Never goes back in time: a new list is at least as new as what was seen,
//! unless the API itself has gone back.
//!
//! Knows neither kinds nor what becomes of the objects.

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use kube::Resource;
use kube::api::{Api, ListParams, VersionMatch, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::failure::Failure;
use super::item::Item;

/// How long a complete list may take; the API server gives one up after a minute.
const LIST_PATIENCE: Duration = Duration::from_secs(90);
/// How long a watch may take to begin.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);
/// After how long the API server is asked to end a watch, in seconds.
const WATCH_SECONDS: u32 = 290;
/// How long a watch may stay silent; that its connection is dead shows much earlier.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
/// A watch that ends earlier and without a word has failed.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);
/// After so many failures to go on from a version, everything is listed.
const TRIES_WITH_VERSION: u32 = 5;
/// Objects of one page where the API server does not answer from memory.
const PAGE: u32 = 500;

/// What a list and watch tells.
#[derive(Debug)]
pub(super) enum Event<K> {
    /// Everything that there is.
    List(Vec<Item<K>>),
    /// Changes are followed from now on.
    Connected,
    /// An object is now this.
    Put(Item<K>),
    /// An object is gone.
    Delete(Item<K>),
    /// Nothing is heard; the next try follows.
    Failed(Failure),
}

/// Which objects.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) labels: Option<String>,
    pub(super) fields: Option<String>,
}

/// What there is and what changes, for ever.
pub(super) fn reflect<K>(api: Api<Item<K>>, filter: Filter) -> impl Stream<Item = Event<K>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let start = Reflector {
        api,
        filter,
        place: Place::Lost(From::Cache),
        backoff: Backoff::default(),
        wait: None,
        tries: 0,
    };
    stream::unfold(start, |mut reflector| async move {
        let event = reflector.next().await;
        Some((event, reflector))
    })
}

struct Reflector<K> {
    api: Api<Item<K>>,
    filter: Filter,
    place: Place<K>,
    backoff: Backoff,
    /// How long to wait before the next try.
    wait: Option<Duration>,
    /// Failures in a row to go on from a version.
    tries: u32,
}

enum Place<K> {
    /// Everything has to be listed.
    Lost(From),
    /// Everything up to a version is known.
    Known(String),
    /// Changes since a version are coming in.
    Watching(Watch<K>),
}

/// How new a list must be at least.
enum From {
    /// Whatever the API server has in memory: the first list of many nodes at once should cost etcd nothing.
    Cache,
    /// As new as this version, so that no object comes back that was seen to go.
    Version(String),
    /// As new as etcd has it.
    Etcd,
}

struct Watch<K> {
    version: String,
    events: BoxStream<'static, kube::Result<WatchEvent<Item<K>>>>,
    opened: Instant,
    heard: bool,
}

impl<K> Reflector<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    async fn next(&mut self) -> Event<K> {
        if let Some(wait) = self.wait.take() {
            sleep(wait).await;
        }
        loop {
            match std::mem::replace(&mut self.place, Place::Lost(From::Etcd)) {
                Place::Lost(from) => return self.list(from).await,
                Place::Known(version) => return self.open(version).await,
                Place::Watching(watch) => {
                    if let Some(event) = self.hear(watch).await {
                        return event;
                    }
                }
            }
        }
    }

    async fn list(&mut self, from: From) -> Event<K> {
        let failure = match timeout(LIST_PATIENCE, pages(&self.api, &self.filter, &from)).await {
            Ok(Ok((items, version))) => {
                self.place = Place::Known(version);
                self.tries = 0;
                return Event::List(items);
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure::timeout("the list was not complete", LIST_PATIENCE),
        };
        self.place = Place::Lost(if failure.is_answer() {
            From::Etcd
        } else {
            from
        });
        self.failed(failure)
    }

    async fn open(&mut self, version: String) -> Event<K> {
        let params = WatchParams {
            label_selector: self.filter.labels.clone(),
            field_selector: self.filter.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            ..WatchParams::default()
        };
        let failure = match timeout(OPEN_PATIENCE, self.api.watch(&params, &version)).await {
            Ok(Ok(events)) => {
                self.place = Place::Watching(Watch {
                    version,
                    events: events.boxed(),
                    opened: Instant::now(),
                    heard: false,
                });
                return Event::Connected;
            }
            Ok(Err(error)) => Failure::of(&error),
            Err(_) => Failure::timeout("the watch did not begin", OPEN_PATIENCE),
        };
        self.lost_touch(version, failure)
    }

    /// The next event of a watch, none where there is none and the watch is to be opened again or waited for further.
    async fn hear(&mut self, mut watch: Watch<K>) -> Option<Event<K>> {
        let event = match timeout(SILENCE, watch.events.next()).await {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(error))) => {
                return Some(self.lost_touch(watch.version, Failure::of(&error)));
            }
            Ok(None) if !watch.heard && watch.opened.elapsed() < SHORTEST_WATCH => {
                return Some(self.lost_touch(watch.version, Failure::ended()));
            }
            // The API server ends a watch now and then, and a cut connection looks the same.
            Ok(None) => {
                self.proven();
                self.place = Place::Known(watch.version);
                return None;
            }
            Err(_) => {
                let failure = Failure::timeout("the watch said nothing", SILENCE);
                return Some(self.lost_touch(watch.version, failure));
            }
        };
        let event = match event {
            WatchEvent::Added(item) | WatchEvent::Modified(item) => Event::Put(item),
            WatchEvent::Deleted(item) => Event::Delete(item),
            WatchEvent::Bookmark(bookmark) => {
                watch.version = bookmark.metadata.resource_version;
                watch.heard = true;
                self.proven();
                self.place = Place::Watching(watch);
                return None;
            }
            WatchEvent::Error(status) => {
                return Some(self.lost_touch(watch.version, Failure::of_status(&status)));
            }
        };
        if let Event::Put(item) | Event::Delete(item) = &event
            && let Some(version) = item.meta().resource_version.clone()
        {
            watch.version = version;
        }
        watch.heard = true;
        self.proven();
        self.place = Place::Watching(watch);
        Some(event)
    }

    /// A watch failed; the next try goes on from its version where that is of use.
    fn lost_touch(&mut self, version: String, failure: Failure) -> Event<K> {
        self.tries += u32::from(failure.is_answer());
        self.place = if failure.spoils_version() {
            Place::Lost(From::Etcd)
        } else if failure.hides_changes() || self.tries >= TRIES_WITH_VERSION {
            Place::Lost(From::Version(version))
        } else {
            Place::Known(version)
        };
        self.failed(failure)
    }

    fn failed(&mut self, failure: Failure) -> Event<K> {
        self.wait = Some(self.backoff.failed(failure.retry_after));
        Event::Failed(failure)
    }

    fn proven(&mut self) {
        self.backoff.succeeded();
        self.tries = 0;
    }
}

/// All pages of a list, and its version.
async fn pages<K>(
    api: &Api<Item<K>>,
    filter: &Filter,
    from: &From,
) -> Result<(Vec<Item<K>>, String), Failure>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let (resource_version, limit) = match from {
        From::Cache => (Some("0".to_owned()), None),
        From::Version(version) => (Some(version.clone()), None),
        From::Etcd => (None, Some(PAGE)),
    };
    let mut params = ListParams {
        label_selector: filter.labels.clone(),
        field_selector: filter.fields.clone(),
        version_match: resource_version
            .is_some()
            .then_some(VersionMatch::NotOlderThan),
        resource_version,
        limit,
        ..ListParams::default()
    };
    let mut items = Vec::new();
    loop {
        let page = api.list(&params).await.map_err(|e| Failure::of(&e))?;
        items.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => {
                params.continue_token = Some(token);
                params.limit = Some(PAGE);
            }
            None => {
                let version = page.metadata.resource_version;
                let version = version.filter(|version| !version.is_empty());
                return Ok((items, version.ok_or_else(Failure::no_version)?));
            }
        }
    }
}
