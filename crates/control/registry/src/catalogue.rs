//! What nodes are supplied with.

use std::{collections::BTreeSet, sync::Arc};

use bytes::BytesMut;
use proto_node::{Body, BoxFuture, Catalogue, CodeRef, FunctionSpec, PIECE_BYTES, Revision};
use tokio::{fs::File, io::AsyncReadExt};

use crate::Registry;

impl Catalogue for Registry {
    fn revisions(&self) -> BTreeSet<Revision> {
        Registry::revisions(self)
    }

    fn functions(&self, revisions: &BTreeSet<Revision>) -> Vec<Arc<FunctionSpec>> {
        let functions = self.with_revisions(revisions);
        functions.iter().map(|it| Arc::clone(&it.spec)).collect()
    }

    fn codes(&self) -> BTreeSet<CodeRef> {
        self.code.references()
    }

    fn archive(&self, code: CodeRef) -> BoxFuture<'_, Option<Body>> {
        Box::pin(async move {
            let held = self.code.get(&code.sha256)?;
            let opened = File::open(held.archive()).await;
            let mut file = opened
                .inspect_err(|error| tracing::error!(%error, "an archive cannot be read"))
                .ok()?;
            let (writer, body) = Body::pipe(1);
            tokio::spawn(async move {
                // Keeps it on disk meanwhile.
                let _held = held;
                loop {
                    let mut piece = BytesMut::with_capacity(PIECE_BYTES);
                    match file.read_buf(&mut piece).await {
                        Ok(0) => return writer.finish().await,
                        Ok(_) => writer.send(piece.freeze()).await?,
                        // Its reader hears that it broke off.
                        Err(_) => return Ok(()),
                    }
                }
            });
            Some(body)
        })
    }
}
