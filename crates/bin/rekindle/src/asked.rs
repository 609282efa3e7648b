//! Being asked to end: SIGTERM or SIGINT, once in good order, twice at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How often this process was asked to end.
#[derive(Clone)]
pub(crate) struct Asked(watch::Receiver<u32>);

impl Asked {
    /// From now on neither signal ends this process by itself.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (asking, asked) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = term.recv() => {}
                    Some(()) = interrupt.recv() => {}
                    else => return,
                }
                asking.send_modify(|times| *times += 1);
                tracing::info!("asked to end: what runs may finish; asked again it is cut off");
            }
        });
        Ok(Self(asked))
    }

    /// Resolves when it was asked so often.
    pub(crate) async fn times(&self, times: u32) {
        let mut asked = self.0.clone();
        let _ = asked.wait_for(|asked| *asked >= times).await;
    }
}
