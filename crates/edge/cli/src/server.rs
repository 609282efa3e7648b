//! A `rekindle serve` of one's own, for as long as a command needs it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use host_sys::process::{Pid, PidFd};

use crate::client::Client;
use crate::failure::Failure;
use crate::values::PlatformArg;

/// How long the server may take to answer first.
const SERVER_WITHIN: Duration = Duration::from_secs(20);

/// How long it may take to end in order, before it is killed.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// A server at a free loopback address, with a temporary data directory; both end with this value.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    data: PathBuf,
}

impl Server {
    /// Starts `program serve` with these arguments more; it may take a moment until it answers, see [`Server::client`].
    ///
    /// # Errors
    /// When the host refuses the directory or the process.
    pub fn start(program: &Path, platform: PlatformArg, arguments: &[&str]) -> io::Result<Server> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("rekindle-serve-{}-{number}", std::process::id());
        let data = std::env::temp_dir().join(name);
        std::fs::create_dir(&data)?;
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let log = std::fs::File::create(data.join("serve.log"))?;
        let child = Command::new(program)
            .args(["serve", "--listen", &address.to_string(), "--data"])
            .arg(data.join("data"))
            .args(["--platform", platform.name()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Server {
            child,
            address,
            data,
        })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client, once the server answers.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn client(&self) -> Result<Client, Failure> {
        let client = Client::new(&format!("http://{}", self.address))?;
        let deadline = Instant::now() + SERVER_WITHIN;
        let path = "/2015-03-31/functions/";
        loop {
            match client.request(http::Method::GET, path, &[], "").await {
                Ok(_) => return Ok(client),
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An orderly end first, so that its sandboxes end too.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let ended = Pid::try_from(self.child.id())
            .map_err(io::Error::other)
            .and_then(PidFd::open)
            .and_then(|process| process.wait_ended(ENDS_WITHIN));
        if !ended.is_ok_and(|ended| ended) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}
