//! A mail server as far as the tests need one (RFC 5321).

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::until::until;

/// How a server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// It answers everything.
    Good,
    /// It takes the connection and says nothing.
    Silent,
    /// It hangs up where a goodbye is due.
    Abrupt,
}

/// A server that remembers what it was told.
pub(crate) struct MailServer {
    address: String,
    mails: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl MailServer {
    pub(crate) async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mails = Arc::<Mutex<Vec<String>>>::default();
        let taken = mails.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mail = if manners == Manners::Silent { listen(stream).await } else { take(stream, manners).await };
                taken.lock().unwrap().push(mail);
            }
        });
        Self { address, mails, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// Waits for so many conversations. Each is all lines that were sent.
    pub(crate) async fn until_mails(&self, count: usize) -> Vec<String> {
        until(&format!("{count} mails came"), async || {
            let mails = self.mails.lock().unwrap().clone();
            if mails.len() >= count { Ok(mails) } else { Err(format!("{mails:?}")) }
        })
        .await
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A conversation of which only one side speaks.
async fn listen(mut stream: TcpStream) -> String {
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    said
}

/// One conversation.
async fn take(stream: TcpStream, manners: Manners) -> String {
    let mut stream = BufReader::new(stream);
    let (mut said, mut is_data) = (String::new(), false);
    stream.write_all(b"220 ready\r\n").await.unwrap();
    loop {
        let start = said.len();
        if stream.read_line(&mut said).await.unwrap() == 0 {
            return said;
        }
        let line = said[start..].trim_end();
        if line == "QUIT" && manners == Manners::Abrupt {
            return said;
        }
        let answer = match line {
            "." if is_data => "250 taken",
            _ if is_data => continue,
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        is_data = line == "DATA";
        stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
        if answer.starts_with("221") {
            return said;
        }
    }
}
