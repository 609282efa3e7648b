//! The log of one instance: guest bytes become records, platform lines go between.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use proto_node::{FunctionSpec, LogKind, LogRecord};
use proto_sandbox::LogStream;

use crate::budget::LogBudget;
use crate::hub::LogHub;
use crate::lines::Lines;
use crate::tail::Tail;

/// What one instance says.
pub struct InstanceLog {
    hub: Arc<LogHub>,
    function: Arc<FunctionSpec>,
    stream: String,
    request_id: Option<String>,
    out: Lines,
    err: Lines,
    rest: Rest,
}

/// What a line passes through; apart from the buffers it is cut from.
struct Rest {
    budget: LogBudget,
    tail: Tail,
    /// Bytes not stored since the last time that was said.
    dropped: u64,
}

impl InstanceLog {
    /// A log that goes to `hub`, as stream `stream` of the function.
    pub fn new(hub: Arc<LogHub>, function: Arc<FunctionSpec>, stream: String) -> Self {
        let (out, err) = (Lines::default(), Lines::default());
        let budget = LogBudget::new(base_clock::now());
        let rest = Rest {
            budget,
            tail: Tail::default(),
            dropped: 0,
        };
        Self {
            hub,
            function,
            stream,
            request_id: None,
            out,
            err,
            rest,
        }
    }

    /// What follows belongs to this event.
    pub fn begin_event(&mut self, request_id: &str) {
        self.request_id = Some(request_id.to_owned());
        self.rest.tail.clear();
    }

    /// What follows belongs to no event.
    pub fn end_event(&mut self) {
        self.request_id = None;
    }

    /// Bytes the guest wrote; `dropped` more were lost before them.
    pub fn guest(&mut self, stream: LogStream, bytes: &[u8], dropped: u64) {
        self.rest.dropped = self.rest.dropped.saturating_add(dropped);
        let mut lines = match stream {
            LogStream::Stdout => std::mem::take(&mut self.out),
            LogStream::Stderr => std::mem::take(&mut self.err),
        };
        let now = base_clock::now();
        lines.push(bytes, |line| self.guest_line(line, now));
        match stream {
            LogStream::Stdout => self.out = lines,
            LogStream::Stderr => self.err = lines,
        }
    }

    /// Ends lines that the guest left open: nothing of it runs now.
    pub fn flush(&mut self) {
        let now = base_clock::now();
        for mut lines in [std::mem::take(&mut self.out), std::mem::take(&mut self.err)] {
            lines.finish(|line| self.guest_line(line, now));
        }
        self.say_dropped();
    }

    fn guest_line(&mut self, line: &[u8], now: Instant) {
        self.rest.tail.push_line(line);
        if self.rest.budget.spend(line.len(), now) {
            self.say_dropped();
            self.publish(
                LogKind::Function,
                String::from_utf8_lossy(line).into_owned(),
            );
        } else {
            self.rest.dropped = self.rest.dropped.saturating_add(line.len() as u64 + 1);
        }
    }

    fn say_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.rest.dropped);
        if dropped > 0 {
            let text = format!("LOGS_DROPPED Dropped Bytes: {dropped} Reason: too much output");
            self.publish(LogKind::Platform, text);
        }
    }

    /// A line of the platform.
    pub fn platform(&mut self, line: &str) {
        self.flush();
        self.rest.tail.push_line(line.as_bytes());
        self.publish(LogKind::Platform, line.to_owned());
    }

    /// The end of the log since [`InstanceLog::begin_event`].
    pub fn tail(&self) -> Bytes {
        Bytes::copy_from_slice(self.rest.tail.bytes())
    }

    fn publish(&self, kind: LogKind, message: String) {
        self.hub.publish(LogRecord {
            timestamp_ms: base_clock::epoch_ms(),
            function: self.function.name.clone(),
            version: self.function.version.clone(),
            group: self.function.log_group.clone(),
            stream: self.stream.clone(),
            request_id: self.request_id.clone(),
            kind,
            message,
        });
    }
}
