//! An instance on its way to its first event.

use std::time::Instant;

use bytes::Bytes;
use proto_node::StartKind;
use proto_sandbox::FromSandbox;
use tokio::time::timeout_at;

use crate::capture::Guest;
use crate::clock;
use crate::decide::Input;
use crate::failure::Failure;
use crate::instance::{Init, Instance};
use crate::invocation::{Invocation, Order, first};
use crate::launch::{CapturePoint, Link};

impl Instance {
    /// Starts a sandbox; one that is restored takes the event along that waits for this instance.
    pub(crate) async fn launch(&mut self, limit: Instant) -> Result<Box<dyn Link>, Failure> {
        let began = clock::now();
        self.launched = began;
        let (id, shared, function) = (self.id, &self.shared, &self.function);
        let (taken, given) = (&mut self.taken, self.shell.take());
        let shell = given.unwrap_or_else(|| shared.another_shell(id));
        let mut take = || {
            *taken = shared.take(id);
            taken.as_ref().map(|invocation| first(function, invocation))
        };
        let launching = shared
            .launcher
            .launch(function, &self.stream, shell, &mut take);
        let launched = timeout_at(limit.into(), launching).await;
        self.launching = clock::now() - began;
        match launched {
            Ok(launched) => {
                let restored = matches!(&launched, Ok(link) if link.start() == StartKind::Restored);
                if !restored {
                    self.put_back();
                    self.shared.step(Input::WithoutSnapshot(id));
                }
                Ok(launched?)
            }
            // An event that came along may have begun: it is not given to another.
            Err(_) => Err(Failure::Platform(
                "the sandbox process took too long to start".into(),
            )),
        }
    }

    /// Gives up the event that came along: whoever can shall take it.
    fn put_back(&mut self) {
        if let Some(invocation) = self.taken.take() {
            self.shared.give_back_from(self.id, invocation);
        }
    }

    pub(crate) async fn initialise(&mut self, link: &mut dyn Link, limit: Instant) -> Init {
        let mut init = self.come_to_first_event(link, limit).await;
        if let Some((invocation, at)) = self.not_begun(link).await {
            init = Init::Begun(invocation, at);
        }
        if matches!(init, Init::Failed(_) | Init::TimedOut) && link.origin().is_some() {
            self.shared.launcher.distrust(&self.function);
        }
        init
    }

    /// Ends a sandbox that did not come up with the event that it took along, which another shall take, unless it was
    /// begun with in the meantime.
    async fn not_begun(&mut self, link: &mut dyn Link) -> Option<(Box<Invocation>, Instant)> {
        self.taken.as_ref()?;
        link.end_now().await;
        while let Ok(Some(message)) = link.receive().await {
            let begun = self.begun(&message.head);
            self.note(message.head, &Bytes::from(message.payload));
            if begun.is_some() {
                return begun;
            }
        }
        self.put_back();
        None
    }

    /// The event that a message says was begun with, and when.
    fn begun(&mut self, head: &FromSandbox) -> Option<(Box<Invocation>, Instant)> {
        let FromSandbox::Begun { at, .. } = head else {
            return None;
        };
        let invocation = self.taken.take()?;
        Some((Box::new(invocation), clock::told(*at, self.launched)))
    }

    async fn come_to_first_event(&mut self, link: &mut dyn Link, mut limit: Instant) -> Init {
        // Once it went on, what no snapshot may hold can be in its memory. What was restored needs none.
        let mut offered = link.start() == StartKind::Restored;
        loop {
            let message = tokio::select! {
                message = timeout_at(limit.into(), link.receive()) => message,
                order = self.orders.recv() => match order {
                    Some(Order::Invoke(invocation)) => {
                        self.shared.give_back(*invocation);
                        continue;
                    }
                    Some(Order::Stop) | None => return Init::Stopped,
                },
            };
            let message = match message {
                Err(_) => return Init::TimedOut,
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return Init::Failed(Failure::Vanished),
                Ok(Err(error)) => return Init::Failed(Failure::Platform(error.to_string())),
            };
            match &message.head {
                FromSandbox::Begun { .. } => {
                    let begun = self.begun(&message.head);
                    self.note(message.head, &Bytes::new());
                    return match begun {
                        Some((invocation, at)) => Init::Begun(invocation, at),
                        None => {
                            Init::Failed(Failure::Platform("it began with no event".to_owned()))
                        }
                    };
                }
                FromSandbox::Ready if offered => return Init::Ready,
                FromSandbox::Ready => {
                    return match self.at_first_event(link).await {
                        Ok(_) => Init::Ready,
                        Err(failure) => Init::Failed(failure),
                    };
                }
                head @ (FromSandbox::RestorePoint | FromSandbox::CaptureAsked) => {
                    let moment = match head {
                        FromSandbox::CaptureAsked => CapturePoint::Asked,
                        _ => CapturePoint::Offered,
                    };
                    let stands = clock::now();
                    let stood = self.at_restore_point(link, moment).await;
                    offered |= moment == CapturePoint::Offered || self.keeping.is_some();
                    match stood {
                        Ok(Guest::Waits) => {}
                        Ok(Guest::Ready) => return Init::Ready,
                        Err(failure) => return Init::Failed(failure),
                    }
                    // It could do nothing meanwhile.
                    limit += clock::now() - stands;
                }
                _ => {}
            }
            if let Some(failure) = self.note(message.head, &Bytes::from(message.payload)) {
                return Init::Failed(failure);
            }
        }
    }
}
