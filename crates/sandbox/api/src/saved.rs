//! The served Runtime API as part of a snapshot.
//!
//! The guest's ends of its connections are saved with the guest; which of the restored kernel ends is
//! which connection of the state machine is told by the guest's address. The guest must be frozen
//! while its server is saved, and not run yet when it is loaded.

use std::net::SocketAddr;
use std::sync::Arc;

use base_abi::Errno;
use kernel_net::NetStack;
use kernel_vfs::save::{LoadError, Unsavable};
use sandbox_runtime::{RuntimeLimits, Saved};
use serde::{Deserialize, Serialize};

use crate::{ApiServer, Connection, Sink};

/// Bytes of a saved server that are parsed at all: every connection may hold a whole body.
const MAX_BYTES: usize = 1 << 30;

#[derive(Serialize)]
struct Saving<R: Serialize> {
    runtime: R,
    connections: Vec<SavedConnection>,
}

#[derive(Deserialize)]
struct Loading {
    runtime: Saved,
    connections: Vec<SavedConnection>,
}

/// What the kernel's side knows of a connection.
#[derive(Serialize, Deserialize)]
struct SavedConnection {
    id: u64,
    /// The guest's address.
    peer: SocketAddr,
    held: Vec<u8>,
    ended: bool,
}

impl ApiServer {
    /// The server as bytes.
    ///
    /// # Errors
    /// When the guest is not frozen: something is left to tell.
    pub fn save(&self) -> Result<Vec<u8>, Unsavable> {
        let state = self.state.lock();
        let runtime = state.runtime.save();
        let runtime =
            runtime.ok_or_else(|| Unsavable::new("the Runtime API in the middle of a request"))?;
        let connections = state.connections.iter();
        let connections = connections.map(|(id, connection)| SavedConnection {
            id: id.number(),
            peer: connection.stream.peer_address(),
            held: connection.held.clone(),
            ended: connection.ended,
        });
        let saving = Saving {
            runtime,
            connections: connections.collect(),
        };
        postcard::to_stdvec(&saving).map_err(|error| Unsavable::new(error.to_string()))
    }

    /// Serves again what was saved, on the connections that the restored guest has.
    ///
    /// # Errors
    /// When the bytes are no saved server, or the address is taken.
    pub fn load(
        stack: &Arc<NetStack>,
        address: SocketAddr,
        limits: RuntimeLimits,
        sink: Sink,
        bytes: &[u8],
    ) -> Result<Arc<Self>, LoadError> {
        let malformed = LoadError::Malformed("the Runtime API");
        if bytes.len() > MAX_BYTES {
            return Err(malformed);
        }
        let (loading, rest) =
            postcard::take_from_bytes::<Loading>(bytes).map_err(|_| malformed.clone())?;
        let mut runtime = loading
            .runtime
            .load(limits)
            .map_err(|_| malformed.clone())?;
        if !rest.is_empty() || loading.connections.len() > limits.connections {
            return Err(malformed);
        }
        let mut streams = stack.take_resumed();
        let mut found = Vec::new();
        for saved in loading.connections {
            let id = runtime.connections().find(|id| id.number() == saved.id);
            let id = id.ok_or_else(|| malformed.clone())?;
            let at = streams
                .iter()
                .position(|stream| stream.peer_address() == saved.peer);
            match at {
                Some(at) => found.push((id, streams.swap_remove(at), saved)),
                // The guest hung up just before it was captured.
                None => runtime.close(id),
            }
        }
        let known: Vec<_> = found.iter().map(|(id, ..)| *id).collect();
        let lost: Vec<_> = runtime
            .connections()
            .filter(|id| !known.contains(id))
            .collect();
        lost.into_iter().for_each(|id| runtime.close(id));
        let server = Self::listen(stack, address, runtime, sink)
            .map_err(|errno: Errno| LoadError::failed("the Runtime API's address")(errno))?;
        {
            let mut state = server.state.lock();
            for (id, stream, saved) in found {
                let connection = Connection {
                    held: saved.held,
                    ended: saved.ended,
                    ..Connection::new(stream, &server)
                };
                state.connections.insert(id, connection);
            }
        }
        server.run();
        Ok(server)
    }
}
