//! A resource server that keeps every byte, answers as one of the two readers reads, and is judged
//! by both.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::message::{Message, Reading, read_all};
use crate::{sloppy, strict};

/// How it reads what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// To the letter; what is broken ends the connection.
    Strict,
    /// As old servers do.
    Sloppy,
}

/// What it writes in answer to a request.
#[derive(Clone, Debug)]
pub struct Script {
    /// Sent at once.
    pub bytes: Vec<u8>,
    /// What follows.
    pub then: Then,
}

/// What follows an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next request.
    GoOn,
    /// The end of the connection.
    Close,
    /// These bytes, over and over, for as long as they are taken.
    Endless(Vec<u8>),
}

/// Makes the answer to a request; the number counts requests.
pub type Answers = Arc<dyn Fn(&Message, u64) -> Script + Send + Sync>;

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Record {
    connections: Mutex<Vec<Arc<Mutex<Kept>>>>,
    served: AtomicU64,
    /// Bytes that never became a whole request.
    torn: AtomicU64,
}

/// Runs until it is dropped.
#[derive(Debug)]
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    record: Arc<Record>,
    listening: JoinHandle<()>,
}

/// What arrived since the last look.
#[derive(Debug, Default)]
pub struct Arrived {
    /// Requests on which both readers agree.
    pub messages: Vec<Message>,
    /// Where they do not.
    pub disagreements: Vec<String>,
    /// Every byte, whoever understands it.
    pub bytes: Vec<u8>,
}

impl Origin {
    /// Listens on a free port of this machine. Answers without end are written in the `crowd`, so
    /// that nobody here waits for its turn among them.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn start(manner: Manner, answers: Answers, crowd: Handle) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let record = Arc::<Record>::default();
        let kept = Arc::clone(&record);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (record, answers) = (Arc::clone(&kept), Arc::clone(&answers));
                let crowd = crowd.clone();
                let connection = Arc::<Mutex<Kept>>::default();
                lock(&record.connections).push(Arc::clone(&connection));
                tokio::spawn(async move {
                    converse(stream, manner, &record, &connection, answers, crowd).await;
                    lock(&connection).is_closed = true;
                });
            }
        });
        Ok(Self { address, record, listening })
    }

    /// Requests that it answered.
    pub fn served(&self) -> u64 {
        self.record.served.load(Ordering::Relaxed)
    }

    /// Takes what arrived, as both readers see it.
    pub fn take(&self) -> Arrived {
        let mut arrived = Arrived::default();
        lock(&self.record.connections).retain(|connection| {
            let mut kept = lock(connection);
            let strictly = read_all(&kept.bytes, strict::read);
            let sloppily = read_all(&kept.bytes, sloppy::read);
            if let Some(why) = strictly.broken {
                arrived.disagreements.push(format!("the strict reader met {why}"));
            }
            if strictly.messages != sloppily.messages || strictly.used != sloppily.used {
                let (one, other) = (strictly.messages.len(), sloppily.messages.len());
                arrived.disagreements.push(format!(
                    "the readers differ: {one} and {other} requests in {:?}",
                    String::from_utf8_lossy(&kept.bytes)
                ));
            }
            arrived.bytes.extend_from_slice(&kept.bytes);
            arrived.messages.extend(strictly.messages);
            kept.bytes.drain(..strictly.used);
            if kept.is_closed && !kept.bytes.is_empty() {
                self.record.torn.fetch_add(1, Ordering::Relaxed);
            }
            !kept.is_closed
        });
        arrived
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn converse(
    mut stream: TcpStream,
    manner: Manner,
    record: &Record,
    kept: &Mutex<Kept>,
    answers: Answers,
    crowd: Handle,
) {
    let _ = stream.set_nodelay(true);
    let mut unread = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    loop {
        let reading = if unread.is_empty() {
            Reading::Unfinished
        } else {
            match manner {
                Manner::Strict => strict::read(&unread),
                Manner::Sloppy => sloppy::read(&unread),
            }
        };
        match reading {
            Reading::Whole(message, used) => {
                unread.drain(..used);
                let number = record.served.fetch_add(1, Ordering::Relaxed);
                let script = answers(&message, number);
                if stream.write_all(&script.bytes).await.is_err() {
                    return;
                }
                match script.then {
                    Then::GoOn => {}
                    Then::Close => return,
                    Then::Endless(more) => {
                        let writing = async move { while stream.write_all(&more).await.is_ok() {} };
                        let _ = crowd.spawn(writing).await;
                        return;
                    }
                }
            }
            Reading::Broken(_) => return,
            Reading::Unfinished => match stream.read(&mut piece).await {
                Ok(read) if read > 0 => {
                    unread.extend_from_slice(&piece[..read]);
                    lock(kept).bytes.extend_from_slice(&piece[..read]);
                }
                Ok(_) | Err(_) => return,
            },
        }
    }
}

/// The good answer: it says to which request it belongs.
pub fn echo(message: &Message, number: u64) -> Script {
    let body = format!("{number} {} {}", message.method, message.target);
    let length = body.len();
    let shown = if message.method == "HEAD" { "" } else { &body };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{shown}");
    Script { bytes: head.into_bytes(), then: Then::GoOn }
}
