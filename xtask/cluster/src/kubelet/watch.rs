//! The node's Pod objects, as the API tells of them, and a task for each. A pod whose name an earlier one still has waits
//! for that one's end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::worker::{Message, Worker};
use super::{Name, Shared, name_of};

/// How long a failure of the API is waited for before it is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the pods of a node that goes may take.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A pod's task.
struct Task {
    uid: String,
    inbox: UnboundedSender<Message>,
    end: JoinHandle<()>,
}

/// The tasks of a node's pods.
#[derive(Default)]
struct Tasks {
    by_name: BTreeMap<Name, Task>,
    /// What a new list has named so far.
    listed: BTreeSet<String>,
}

/// Runs the node's pods until `off`; then ends them.
pub(super) async fn run(shared: Arc<Shared>, off: impl Future<Output = ()>) {
    let mut tasks = Tasks::default();
    tokio::select! {
        () = watch(&shared, &mut tasks) => {}
        () = off => {}
    }
    tasks.turn_off().await;
}

async fn watch(shared: &Arc<Shared>, tasks: &mut Tasks) {
    let own = watcher::Config::default().fields(&format!("spec.nodeName={}", shared.name));
    let api: Api<Pod> = Api::all(shared.client.clone());
    let mut events = watcher(api, own).boxed();
    loop {
        match events.try_next().await {
            Ok(Some(event)) => tasks.hear(shared, event),
            Ok(None) => return,
            // The pods go on meanwhile.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

impl Tasks {
    fn hear(&mut self, shared: &Arc<Shared>, event: Event<Pod>) {
        match event {
            Event::Apply(pod) => self.apply(shared, pod),
            Event::Delete(pod) => {
                let uid = pod.uid().unwrap_or_default();
                self.end_where(shared, |task| task.uid == uid);
            }
            Event::Init => self.listed.clear(),
            Event::InitApply(pod) => {
                self.listed.extend(pod.uid());
                self.apply(shared, pod);
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                self.end_where(shared, |task| !listed.contains(&task.uid));
            }
        }
    }

    fn apply(&mut self, shared: &Arc<Shared>, pod: Pod) {
        let (name, uid) = (name_of(&pod), pod.uid().unwrap_or_default());
        if let Some(task) = self.by_name.get(&name)
            && task.uid == uid
        {
            // Its task may have ended by itself.
            let _ = task.inbox.send(Message::Object(Box::new(pod)));
            return;
        }
        let earlier = self.by_name.remove(&name);
        let (inbox, outbox) = unbounded_channel();
        shared.introduce(&name, inbox.clone());
        let worker = Worker::new(shared.clone(), pod, inbox.clone(), outbox);
        let end = tokio::spawn(async move {
            if let Some(earlier) = earlier {
                let _ = earlier.inbox.send(Message::Gone);
                // A panic has been printed by its thread.
                let _ = earlier.end.await;
            }
            worker.run().await;
        });
        self.by_name.insert(name, Task { uid, inbox, end });
    }

    /// The task itself stays until its name is used again or the node goes, since its pod takes a while to go.
    fn end_where(&mut self, shared: &Shared, is_over: impl Fn(&Task) -> bool) {
        self.by_name
            .retain(|_, task| !task.end.is_finished() || !is_over(task));
        for (name, task) in &self.by_name {
            if is_over(task) {
                let _ = task.inbox.send(Message::Gone);
                shared.part_with(name);
            }
        }
    }

    async fn turn_off(self) {
        for task in self.by_name.values() {
            let _ = task.inbox.send(Message::Off);
        }
        let ends = self.by_name.into_values().map(|task| task.end);
        // Whatever remains goes with the runtime.
        let _ = tokio::time::timeout(LAST_WORDS, futures::future::join_all(ends)).await;
    }
}
