//! One list and watch: everything that there is, then each change, then everything again where the watch has lost its place.
//! A cut connection is taken up where it broke off. Never goes back in time: a new list is at least as new as what was seen,
//! unless the API itself has gone back.
//!
//! Knows neither kinds nor what becomes of the objects.

use std::pin::pin;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{AsyncBufReadExt, Stream, StreamExt, stream};
use kube::api::{ListParams, VersionMatch, WatchEvent, WatchParams};
use kube::core::Request;
use kube::{Client, Resource};
use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::failure::Failure;
use super::item::Item;
use super::splitter::{Metadata, NoList, Splitter};
use super::watched::ApiKind;

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
pub(super) enum Event<T: ApiKind> {
    /// Everything that there is.
    List(Vec<Item<T>>),
    /// Changes are followed from now on.
    Connected,
    /// An object is now this.
    Put(Item<T>),
    /// An object is gone.
    Delete(Item<T>),
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
pub(super) fn reflect<T: ApiKind>(
    client: Client,
    filter: Filter,
) -> impl Stream<Item = Event<T>> + Send {
    let start = Reflector {
        client,
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

struct Reflector<T: ApiKind> {
    client: Client,
    filter: Filter,
    place: Place<T>,
    backoff: Backoff,
    /// How long to wait before the next try.
    wait: Option<Duration>,
    /// Failures in a row to go on from a version.
    tries: u32,
}

enum Place<T: ApiKind> {
    /// Everything has to be listed.
    Lost(From),
    /// Everything up to a version is known.
    Known(String),
    /// Changes since a version are coming in.
    Watching(Watch<T>),
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

struct Watch<T: ApiKind> {
    version: String,
    events: BoxStream<'static, kube::Result<WatchEvent<Item<T>>>>,
    opened: Instant,
    heard: bool,
}

impl<T: ApiKind> Reflector<T> {
    async fn next(&mut self) -> Event<T> {
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

    async fn list(&mut self, from: From) -> Event<T> {
        let failure = match timeout(LIST_PATIENCE, pages(&self.client, &self.filter, &from)).await {
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

    async fn open(&mut self, version: String) -> Event<T> {
        let params = WatchParams {
            label_selector: self.filter.labels.clone(),
            field_selector: self.filter.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            ..WatchParams::default()
        };
        let failure = match timeout(OPEN_PATIENCE, watch(&self.client, &params, &version)).await {
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
    async fn hear(&mut self, mut watch: Watch<T>) -> Option<Event<T>> {
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
            && let Some(version) = item.version.clone()
        {
            watch.version = version;
        }
        watch.heard = true;
        self.proven();
        self.place = Place::Watching(watch);
        Some(event)
    }

    /// A watch failed; the next try goes on from its version where that is of use.
    fn lost_touch(&mut self, version: String, failure: Failure) -> Event<T> {
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

    fn failed(&mut self, failure: Failure) -> Event<T> {
        self.wait = Some(self.backoff.failed(failure.retry_after));
        Event::Failed(failure)
    }

    fn proven(&mut self) {
        self.backoff.succeeded();
        self.tries = 0;
    }
}

/// Begins a watch.
async fn watch<T: ApiKind>(
    client: &Client,
    params: &WatchParams,
    version: &str,
) -> kube::Result<BoxStream<'static, kube::Result<WatchEvent<Item<T>>>>> {
    let request = request::<T>().watch(params, version);
    let events = client
        .request_events(request.map_err(kube::Error::BuildRequest)?)
        .await?;
    Ok(events.boxed())
}

/// All pages of a list, and its version.
async fn pages<T: ApiKind>(
    client: &Client,
    filter: &Filter,
    from: &From,
) -> Result<(Vec<Item<T>>, String), Failure> {
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
        let metadata = page(client, &params, &mut items).await?;
        match metadata.token.filter(|token| !token.is_empty()) {
            Some(token) => {
                params.continue_token = Some(token);
                params.limit = Some(PAGE);
            }
            None => {
                let version = metadata.version.filter(|version| !version.is_empty());
                return Ok((items, version.ok_or_else(Failure::no_version)?));
            }
        }
    }
}

/// Adds the objects of one page. Each is decoded as soon as it has arrived, while the server still writes those behind it.
async fn page<T: ApiKind>(
    client: &Client,
    params: &ListParams,
    items: &mut Vec<Item<T>>,
) -> Result<Metadata, Failure> {
    let failed = |error| Failure::of(&error);
    let request = request::<T>().list(params);
    let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
    let mut text = pin!(client.request_stream(request).await.map_err(failed)?);
    let mut splitter = Splitter::default();
    loop {
        let piece = text.fill_buf().await;
        let piece = piece.map_err(|error| failed(kube::Error::ReadEvents(error)))?;
        if piece.is_empty() {
            return splitter.finish().map_err(|error| Failure::no_list(&error));
        }
        let pushed = splitter.push(piece, |object| {
            items.push(Item::from_text(object).map_err(NoList::Object)?);
            Ok(())
        });
        pushed.map_err(|error| Failure::no_list(&error))?;
        let octets = piece.len();
        text.consume_unpin(octets);
    }
}

fn request<T: ApiKind>() -> Request {
    Request::new(T::Object::url_path(&(), None))
}
