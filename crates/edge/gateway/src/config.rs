//! Settings of the gateway, with their defaults.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use base_telemetry::Metric;

/// A key with which clients sign.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Sent with every request, like a user name.
    pub id: String,
    /// Never sent.
    pub secret: String,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessKey({})", self.id)
    }
}

/// Settings of the gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one. Anything but loopback needs keys.
    pub listen: SocketAddr,
    /// Keys that may sign, from [`crate::read_keys`]. Without any, every request on loopback is served.
    pub keys: Vec<AccessKey>,
    /// Connections served at once; more are answered 503.
    pub connections: usize,
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
            keys: Vec::new(),
            connections: 1024,
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
