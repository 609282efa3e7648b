//! Settings of the gateway, with their defaults.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use base_telemetry::Metric;
use edge_keys::KeyRing;

use crate::tls::Tls;

/// Settings of the gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one. Anything but loopback needs keys.
    pub listen: SocketAddr,
    /// Keys that may sign. Without, every request on loopback is served.
    pub keys: Option<Arc<KeyRing>>,
    /// What TLS is spoken with; without it HTTP is.
    pub tls: Option<Tls>,
    /// Connections at once that are to bring a request, or the rest of one; when more come, those go that have brought
    /// nothing for longest.
    pub reading: usize,
    /// Requests served at once; more are answered 503.
    pub serving: usize,
    /// How many of them may be of one peer that is not this machine.
    pub serving_per_peer: usize,
    /// Longest request line and headers in bytes.
    pub header_bytes: usize,
    /// Longest time for a connection to send its next request's headers, idle time included.
    pub header_timeout: Duration,
    /// Longest time between two pieces of a request body.
    pub body_idle_timeout: Duration,
    /// Longest time for a whole request body.
    pub body_timeout: Duration,
    /// Longest time that a client may leave an answer unread.
    pub write_timeout: Duration,
    /// Bytes of all request bodies held at once; a request waits for room.
    pub body_memory: usize,
    /// What GetAccountSettings tells as the limit of concurrent executions.
    pub concurrency: u32,
    /// Longest time that requests under way get at shutdown.
    pub shutdown_grace: Duration,
    /// Metrics of other parts of this process, shown after the service's.
    pub metrics: Vec<&'static dyn Metric>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9000)),
            keys: None,
            tls: None,
            reading: 1024,
            serving: 1024,
            serving_per_peer: 768,
            header_bytes: 64 * 1024,
            header_timeout: Duration::from_secs(30),
            body_idle_timeout: Duration::from_secs(20),
            body_timeout: Duration::from_secs(300),
            write_timeout: Duration::from_secs(60),
            body_memory: 512 * 1024 * 1024,
            concurrency: 1000,
            shutdown_grace: Duration::from_secs(10),
            metrics: Vec::new(),
        }
    }
}
