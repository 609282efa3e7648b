//! Does what is decided.

use std::sync::Arc;

use proto_node::Revision;
use tokio::sync::mpsc;

use super::{Begin, Seat, Shared, State};
use crate::decide::{Action, Input, InstanceId, TicketId};
use crate::invocation::Order;
use crate::terms::rejected;

impl Shared {
    pub(super) fn act(&self, state: &mut State, action: Action) {
        match action {
            Action::Start(id, revision, shell) => self.start(state, id, &revision, shell),
            Action::Assign(ticket, id) => state.assign(ticket, id),
            Action::Prepare(ticket, id) => {
                if let Some(wish) = state.wishes.remove(&ticket) {
                    let (sender, orders) = mpsc::unbounded_channel();
                    state.orders.insert(id, sender);
                    // Who left took the wish along.
                    let _ = wish.send(Ok(Seat { id, orders }));
                }
            }
            Action::MakeShell(id, revision) => self.make_shell(state, id, &revision),
            Action::Reject(ticket, why) => {
                if let Some(invocation) = state.waiting.remove(&ticket) {
                    invocation.answer.finish(Err(rejected(why)), None);
                } else if let Some(wish) = state.wishes.remove(&ticket) {
                    let _ = wish.send(Err(why));
                }
            }
            Action::Stop(id) => state.order(id, Order::Stop),
            // One that nobody asked for.
            Action::UseShell(_, id) | Action::DropShell(id) => self.drop_shell(id),
        }
    }

    fn start(
        &self,
        state: &mut State,
        id: InstanceId,
        revision: &Revision,
        shell: Option<InstanceId>,
    ) {
        let (Some(function), Some(shared)) = (state.functions.get(revision), self.myself.upgrade())
        else {
            return;
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        state.orders.insert(id, sender);
        let begin = Begin {
            id,
            shared,
            function: Arc::clone(function),
            shell,
            orders: receiver,
        };
        (self.begin)(&self.runtime, begin);
    }

    fn make_shell(&self, state: &mut State, id: InstanceId, revision: &Revision) {
        let (Some(function), Some(shared)) = (state.functions.get(revision), self.myself.upgrade())
        else {
            return;
        };
        let function = Arc::clone(function);
        self.runtime.spawn(async move {
            match shared.launcher.make_shell(id, &function).await {
                Ok(()) => shared.step(Input::Started(id)),
                Err(why) => {
                    // The start that needs it will find out, and act on it.
                    tracing::debug!(function = function.name, %why, "no shell was made");
                    shared.step(Input::StartFailed(id));
                    shared.step(Input::Gone(id));
                }
            }
        });
    }

    fn drop_shell(&self, id: InstanceId) {
        if let Some(shared) = self.myself.upgrade() {
            self.runtime.spawn(async move {
                shared.launcher.drop_shell(id).await;
                shared.step(Input::Gone(id));
            });
        }
    }
}

impl State {
    fn assign(&mut self, ticket: TicketId, id: InstanceId) {
        if let Some(invocation) = self.waiting.remove(&ticket) {
            self.order(id, Order::Invoke(Box::new(invocation)));
        }
    }

    fn order(&mut self, id: InstanceId, order: Order) {
        if let Some(orders) = self.orders.get(&id) {
            // An instance that has ended reports Gone itself.
            let _ = orders.send(order);
        }
    }
}
