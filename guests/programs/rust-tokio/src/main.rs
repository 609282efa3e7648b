//! Tokio: many connections on several worker threads, timers, blocking work, files, processes, signals.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, oneshot};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

async fn echo(listener: TcpListener) -> Outcome<()> {
    loop {
        let (mut socket, _) = listener.accept().await?;
        tokio::spawn(async move {
            let (mut from, mut to) = socket.split();
            tokio::io::copy(&mut from, &mut to).await
        });
    }
}

async fn ask(address: std::net::SocketAddr, number: usize) -> Outcome<usize> {
    let mut socket = TcpStream::connect(address).await?;
    let text = vec![b'x'; 1000 * number];
    let (mut from, mut to) = socket.split();
    let mut got = Vec::new();
    let write = async {
        to.write_all(&text).await?;
        to.shutdown().await
    };
    let (wrote, read) = tokio::join!(write, from.read_to_end(&mut got));
    wrote?;
    Ok(read?)
}

#[tokio::main(worker_threads = 4)]
async fn main() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(echo(listener));
    let tasks: Vec<_> = (0..100).map(|n| tokio::spawn(ask(address, n))).collect();
    let mut total = 0;
    for task in tasks {
        total += task.await??;
    }
    println!("{total}");

    let (send, mut receive) = mpsc::channel(4);
    for n in 0..10 {
        let send = send.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(n)).await;
            send.send(n).await
        });
    }
    drop(send);
    let mut sum = 0;
    while let Some(n) = receive.recv().await {
        sum += n;
    }
    println!("{sum}");
    let slow = tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>());
    println!("{}", slow.await.unwrap_err());
    let blocking: Vec<_> = (0..20u64).map(|n| tokio::task::spawn_blocking(move || n * n)).collect();
    let mut squares = 0;
    for work in blocking {
        squares += work.await?;
    }
    println!("{squares}");

    tokio::fs::write("f", vec![7u8; 300_000]).await?;
    println!("{}", tokio::fs::read("f").await?.len());
    println!("{}", tokio::fs::read("none").await.unwrap_err());
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", "echo one; echo two; exit 3"])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
    while let Some(line) = lines.next_line().await? {
        println!("{line}");
    }
    println!("{}", child.wait().await?);

    let unix = UnixListener::bind("u.sock")?;
    let server = tokio::spawn(async move {
        let (mut socket, _) = unix.accept().await?;
        socket.write_all(b"unix").await
    });
    let mut text = String::new();
    UnixStream::connect("u.sock").await?.read_to_string(&mut text).await?;
    server.await??;
    let (left, right) = (UdpSocket::bind("127.0.0.1:0").await?, UdpSocket::bind("127.0.0.1:0").await?);
    left.send_to(b"datagram", right.local_addr()?).await?;
    let mut buffer = [0; 100];
    println!("{text} {}", right.recv(&mut buffer).await?);

    let mut usr1 = signal(SignalKind::user_defined1())?;
    let pid = std::process::id().to_string();
    tokio::process::Command::new("kill").args(["-USR1", &pid]).status().await?;
    println!("signal {}", usr1.recv().await.is_some());
    let (one, two) = oneshot::channel::<u8>();
    drop(one);
    println!("{}", two.await.unwrap_err());
    println!("{}", Semaphore::new(3).available_permits());
    std::process::exit(24);
}
