//! A watch on its way through: event by event, so that one can be changed, held back, cut, or told in addition.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::Value;
use tokio::sync::mpsc;

use super::forward::{Answer, Error};
use super::spells::Sky;
use super::{Asked, Edit};

type Frames = mpsc::Sender<Result<Frame<Bytes>, Error>>;

/// The body of the answer to a watch. It ends when the API server's does, and that one when the client is gone.
pub(super) fn relay(body: Body, asked: Asked, sky: Arc<Sky>) -> Answer {
    // One frame at a time: what the client has not taken is not read either.
    let (frames, mut taken) = mpsc::channel(1);
    let injected = sky.watch(&asked);
    tokio::spawn(async move {
        let passed = async {
            if let Err(error) = pass(body, &asked, &sky, injected, &frames).await {
                let _ = frames.send(Err(error)).await;
            }
        };
        tokio::select! {
            () = passed => {}
            () = frames.closed() => {}
        }
    });
    StreamBody::new(futures::stream::poll_fn(move |context| {
        taken.poll_recv(context)
    }))
    .boxed_unsync()
}

async fn pass(
    body: Body,
    asked: &Asked,
    sky: &Sky,
    mut injected: mpsc::UnboundedReceiver<Value>,
    frames: &Frames,
) -> Result<(), Error> {
    let mut events = Events {
        body,
        read: BytesMut::new(),
    };
    loop {
        let event = tokio::select! {
            Some(event) = injected.recv() => Bytes::from(format!("{event}\n")),
            event = events.next() => match event? {
                Some(event) => edited(event, &sky.edits(asked)),
                None => return Ok(()),
            },
        };
        sky.calm(asked).await;
        if sky.cuts_event(asked) {
            frames
                .send(Ok(Frame::data(event.slice(..event.len() / 2))))
                .await?;
            // Lets the connection send the half before it breaks.
            tokio::task::yield_now().await;
            return Err("cut in the middle of an event".into());
        }
        frames.send(Ok(Frame::data(event))).await?;
    }
}

fn edited(event: Bytes, edits: &[Edit]) -> Bytes {
    match edits {
        [] => event,
        _ => Edit::event(edits, &event).map_or(event, Bytes::from),
    }
}

/// The events of the API server, each a line.
struct Events {
    body: Body,
    read: BytesMut,
}

impl Events {
    /// The next one with its newline; what follows the last newline at the end too. Nothing is lost when this is dropped
    /// half-way.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(end) = self.read.iter().position(|octet| *octet == b'\n') {
                return Ok(Some(self.read.split_to(end + 1).freeze()));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
                None if self.read.is_empty() => return Ok(None),
                None => return Ok(Some(self.read.split().freeze())),
            }
        }
    }
}
