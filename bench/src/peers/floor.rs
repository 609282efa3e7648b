//! The floor of a restore, as the guest program plays it.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Instant;

use serde::Serialize;

use crate::kit::Kit;

/// What a restored instance consists of on the host, and so what its floor must do.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Shape {
    pub(crate) mappings: u64,
    /// Pages that are there and clean.
    pub(crate) reads: u64,
    /// Pages of its own.
    pub(crate) writes: u64,
}

/// A bare process that forks; ends with this value.
pub(crate) struct Floor {
    child: Child,
    to: Option<ChildStdin>,
    from: ChildStdout,
}

impl Floor {
    pub(crate) fn start(kit: &Kit, shape: Shape) -> io::Result<Floor> {
        let numbers = [shape.mappings, shape.reads, shape.writes].map(|number| number.to_string());
        let (mut command, _) = kit.commands(&["@guest", "floor", "@floor"]);
        let mut child = command
            .args(numbers)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => Ok(Floor {
                child,
                to: Some(to),
                from,
            }),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Milliseconds until each of so many children had its pages.
    pub(crate) fn burst(&mut self, count: usize) -> io::Result<Vec<f64>> {
        let started = Instant::now();
        if let Some(to) = &mut self.to {
            writeln!(to, "{count}")?;
        }
        let mut times = Vec::with_capacity(count);
        let mut byte = [0];
        while times.len() < count {
            self.from.read_exact(&mut byte)?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        Ok(times)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.to = None;
        let _ = self.child.wait();
    }
}
